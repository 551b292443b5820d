//! What a node says of itself: lines on standard error, for people, for the journal or for
//! programs. By default that is what our own crates say at `info` and what anybody warns of;
//! `RUST_LOG` says otherwise, and `PUT /nacos/v2/core/ops/log` while the node runs.

use std::fmt;
use std::io::{self, Write as _};

use clap::ValueEnum;
use serde::Deserialize;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    /// For people; under systemd with the level as the journal reads it, and without the time,
    /// which the journal has.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Starts the log of a node.
pub(crate) fn start(format: LogFormat) {
    begin(
        format,
        Targets::new().with_default(LevelFilter::WARN).with_target("nacolet", Level::INFO),
    );
}

/// Starts the log of a verb, which has other ways to say what it did.
pub(crate) fn start_quietly() {
    begin(LogFormat::Text, Targets::new().with_default(LevelFilter::WARN));
}

fn begin(format: LogFormat, default: Targets) {
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    let filter = match wanted.parse() {
        Ok(filter) if !wanted.is_empty() => filter,
        _ => default,
    };
    let (filter, levels) = reload::Layer::new(filter);
    let lines = || tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false);
    let all = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Json => all.with(lines().json().flatten_event(true)).init(),
        LogFormat::Text => all.with(lines().event_format(Lines::new())).init(),
    }
    nacolet_api::logs::levels_are_set_by(move |name, level| {
        let set = levels.modify(|filter: &mut Targets| {
            let targets = targets(name).iter().map(|target| (*target, level));
            *filter = std::mem::take(filter).with_targets(targets);
        });
        if let Err(error) = set {
            tracing::error!(%error, "the level of the log cannot be set");
        }
    });
}

/// Lines of text.
struct Lines {
    format: Format<Full>,
    untimed: Option<Format<Full, ()>>,
}

impl Lines {
    fn new() -> Self {
        let format = Format::default().with_target(false);
        // systemd names the stream that the journal reads: standard error may be another one.
        let is_journal = std::env::var("JOURNAL_STREAM").is_ok_and(|stream| {
            rustix::fs::fstat(io::stderr())
                .is_ok_and(|of| stream == format!("{}:{}", of.st_dev, of.st_ino))
        });
        let untimed = is_journal.then(|| format.clone().without_time().with_level(false));
        Self { format, untimed }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(untimed) = &self.untimed else {
            return self.format.format_event(context, writer, event);
        };
        write!(writer, "<{}>", severity(*event.metadata().level()))?;
        untimed.format_event(context, writer, event)
    }
}

/// Numbers of syslog, which the journal takes from the beginning of a line.
const fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// The parts of our log that a logger of Nacos stands for, or one of them by its own name; nothing
/// for others, which nobody writes to.
fn targets(name: &str) -> &'static [&'static str] {
    const TARGETS: [(&str, &[&str]); 6] = [
        ("config", &["nacolet_config", "nacolet_api::config"]),
        ("naming", &["nacolet_registry", "nacolet_api::naming"]),
        ("raft", &["nacolet_raft"]),
        ("distro", &["nacolet_registry", "nacolet_transport"]),
        ("remote", &["nacolet_api::grpc", "nacolet_api::connection"]),
        ("core", &["nacolet"]),
    ];
    let family = name.strip_prefix("protocol-").unwrap_or(name);
    let found = TARGETS.iter().find(|(begin, _)| family.starts_with(begin));
    found.map_or(&[], |(_, targets)| targets)
}

/// A line on standard output, which may be closed.
pub(crate) fn print(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
