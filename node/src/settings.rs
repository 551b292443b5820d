//! Flags, environment and one TOML file become a checked `Settings`. Every setting has one line in
//! `ServeArgs`: its flag, its variable `NACOLET_<NAME>` and its key in the file. A flag wins over the
//! environment, the environment over the file, the file over the default. Unknown keys are errors.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};
use nacolet_model::limits;
use serde::Deserialize;

/// Everything `serve` can be told.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct ServeArgs {
    /// Where the Raft log, its snapshots and the node's identity live [default: ./nacolet-data]
    #[arg(long, env = "NACOLET_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// HTTP API and health checks [default: 127.0.0.1:8848]
    #[arg(long, env = "NACOLET_HTTP_ADDR", value_name = "HOST:PORT")]
    pub(crate) http_addr: Option<String>,

    /// gRPC API [default: the host of http-addr, its port + 1000]
    #[arg(long, env = "NACOLET_GRPC_ADDR", value_name = "HOST:PORT")]
    pub(crate) grpc_addr: Option<String>,

    /// HTTP threads, at most 4; 0 puts everything on one thread [default: one per core]
    #[arg(long, env = "NACOLET_THREADS", value_name = "N")]
    pub(crate) threads: Option<usize>,

    /// Serve an address other than loopback although nobody has to log in
    #[arg(long, env = "NACOLET_ALLOW_ANONYMOUS")]
    pub(crate) allow_anonymous: bool,

    /// Size of one log file on disk, in bytes [default: 1048576]
    #[arg(long, env = "NACOLET_LOG_FILE_BYTES", value_name = "BYTES")]
    pub(crate) log_file_bytes: Option<u64>,

    /// Size of the log on disk from which old files are removed, in bytes [default: 4194304]
    #[arg(long, env = "NACOLET_LOG_PURGE_BYTES", value_name = "BYTES")]
    pub(crate) log_purge_bytes: Option<u64>,

    /// Writes after which the state is saved as a snapshot and the log shortened [default: 10000]
    #[arg(long, env = "NACOLET_SNAPSHOT_ENTRIES", value_name = "N")]
    pub(crate) snapshot_entries: Option<u64>,

    /// TOML file with any of these settings, e.g. `http-addr = "127.0.0.1:8848"`
    #[arg(long, env = "NACOLET_SETTINGS", value_name = "FILE")]
    #[serde(skip)]
    pub(crate) settings: Option<PathBuf>,
}

/// What the node runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    pub(crate) http_addr: SocketAddr,
    pub(crate) grpc_addr: SocketAddr,
    pub(crate) threads: usize,
    pub(crate) log_file_bytes: u64,
    pub(crate) log_purge_bytes: u64,
    pub(crate) snapshot_entries: u64,
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Flag,
    Environment,
    File,
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        })
    }
}

/// One line of `nacolet settings`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) key: &'static str,
    pub(crate) value: String,
    pub(crate) origin: Origin,
}

/// Why the node does not start with these settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("cannot read the settings file {path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("the settings file {path} is not right: {source}")]
    File { path: PathBuf, source: Box<toml::de::Error> },
    #[error("{key} = {value:?} is not an address; write HOST:PORT, for example 127.0.0.1:8848")]
    Address { key: &'static str, value: String },
    #[error("{key} = {value} is out of range: {range}")]
    Range { key: &'static str, value: u64, range: &'static str },
    #[error(
        "{key} = {address} is not a loopback address and nobody has to log in; \
         add --allow-anonymous if every host that reaches it may read and change everything"
    )]
    Exposed { key: &'static str, address: SocketAddr },
}

impl ServeArgs {
    /// Reads the file, merges, checks.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub(crate) fn resolve(&self, matches: &ArgMatches) -> Result<(Settings, Vec<Line>), SettingsError> {
        let file = match &self.settings {
            Some(path) => read_file(path)?,
            None => Self::default(),
        };
        let mut merge = Merge { matches, lines: Vec::new() };
        let data_dir =
            merge.pick("data-dir", &self.data_dir, file.data_dir, || PathBuf::from("nacolet-data"), |p| {
                p.display().to_string()
            });
        let http_addr = merge.pick(
            "http-addr",
            &self.http_addr,
            file.http_addr,
            || "127.0.0.1:8848".to_owned(),
            Clone::clone,
        );
        let threads =
            merge.pick("threads", &self.threads, file.threads, default_threads, ToString::to_string);
        let flag = self.allow_anonymous.then_some(true);
        let in_file = file.allow_anonymous.then_some(true);
        let anonymous =
            merge.pick("allow-anonymous", &flag, in_file, || false, ToString::to_string);
        let log_file_bytes = merge.pick(
            "log-file-bytes",
            &self.log_file_bytes,
            file.log_file_bytes,
            || limits::LOG_FILE_BYTES,
            ToString::to_string,
        );
        let log_purge_bytes = merge.pick(
            "log-purge-bytes",
            &self.log_purge_bytes,
            file.log_purge_bytes,
            || limits::LOG_PURGE_BYTES,
            ToString::to_string,
        );
        let snapshot_entries = merge.pick(
            "snapshot-entries",
            &self.snapshot_entries,
            file.snapshot_entries,
            || limits::RAFT_SNAPSHOT_EVERY_ENTRIES,
            ToString::to_string,
        );
        let http_addr = address("http-addr", &http_addr)?;
        let grpc_addr = merge.pick(
            "grpc-addr",
            &self.grpc_addr,
            file.grpc_addr,
            || neighbour(http_addr).to_string(),
            Clone::clone,
        );
        let settings = Settings {
            data_dir,
            http_addr,
            grpc_addr: address("grpc-addr", &grpc_addr)?,
            threads,
            log_file_bytes,
            log_purge_bytes,
            snapshot_entries,
        };
        settings.check(anonymous)?;
        Ok((settings, merge.lines))
    }
}

impl Settings {
    fn check(&self, anonymous: bool) -> Result<(), SettingsError> {
        let range = |key, value, ok: bool, range| {
            if ok { Ok(()) } else { Err(SettingsError::Range { key, value, range }) }
        };
        let threads = u64::try_from(self.threads).unwrap_or(u64::MAX);
        range("threads", threads, self.threads <= limits::API_THREADS_MAX, "0 to 4")?;
        let file = self.log_file_bytes;
        range("log-file-bytes", file, (64 << 10..=1 << 30).contains(&file), "64 KiB to 1 GiB")?;
        let purge = self.log_purge_bytes;
        range("log-purge-bytes", purge, purge >= file && purge <= 1 << 40, "log-file-bytes to 1 TiB")?;
        let entries = self.snapshot_entries;
        range("snapshot-entries", entries, (10..=10_000_000).contains(&entries), "10 to 10000000")?;
        for (key, address) in [("http-addr", self.http_addr), ("grpc-addr", self.grpc_addr)] {
            if !is_loopback(address.ip()) && !anonymous {
                return Err(SettingsError::Exposed { key, address });
            }
        }
        Ok(())
    }
}

/// Where SDKs look for gRPC: 1000 ports above HTTP. A port that the system chooses has no neighbour,
/// and neither has one at the end of the range: the system chooses again.
fn neighbour(http: SocketAddr) -> SocketAddr {
    let above = http.port().checked_add(1000).filter(|_| http.port() != 0);
    SocketAddr::new(http.ip(), above.unwrap_or(0))
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(limits::API_THREADS_MAX)
}

fn read_file(path: &Path) -> Result<ServeArgs, SettingsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| SettingsError::Unreadable { path: path.to_owned(), source })?;
    toml::from_str(&text)
        .map_err(|source| SettingsError::File { path: path.to_owned(), source: Box::new(source) })
}

/// A name is resolved once, at start: `localhost:8848` is as good as `127.0.0.1:8848`.
fn address(key: &'static str, value: &str) -> Result<SocketAddr, SettingsError> {
    let wrong = || SettingsError::Address { key, value: value.to_owned() };
    if let Ok(address) = value.parse() {
        return Ok(address);
    }
    let mut found = std::net::ToSocketAddrs::to_socket_addrs(value).ok().ok_or_else(wrong)?;
    found.next().ok_or_else(wrong)
}

/// Collects each value beside its origin.
struct Merge<'a> {
    matches: &'a ArgMatches,
    lines: Vec<Line>,
}

impl Merge<'_> {
    fn pick<T: Clone>(
        &mut self,
        key: &'static str,
        given: &Option<T>,
        file: Option<T>,
        default: impl FnOnce() -> T,
        show: impl FnOnce(&T) -> String,
    ) -> T {
        let (value, origin) = match (given, file) {
            (Some(value), _) => (value.clone(), self.source(key)),
            (None, Some(value)) => (value, Origin::File),
            (None, None) => (default(), Origin::Default),
        };
        self.lines.push(Line { key, value: show(&value), origin });
        value
    }

    fn source(&self, key: &str) -> Origin {
        match self.matches.value_source(&key.replace('-', "_")) {
            Some(ValueSource::EnvVariable) => Origin::Environment,
            _ => Origin::Flag,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;

    fn resolve(arguments: &[&str]) -> Result<(Settings, Vec<Line>), SettingsError> {
        let command = ServeArgs::augment_args(Command::new("serve").no_binary_name(true));
        let matches = command.get_matches_from(arguments);
        let args = ServeArgs::from_arg_matches(&matches).expect("clap checked them");
        args.resolve(&matches)
    }

    fn file(name: &str, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("nacolet-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, text).expect("the temporary folder is writable");
        path
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let (settings, lines) = resolve(&[]).expect("defaults are right");
        assert_eq!(settings.data_dir, Path::new("nacolet-data"));
        assert_eq!(settings.http_addr, "127.0.0.1:8848".parse().expect("an address"));
        assert_eq!(settings.grpc_addr, "127.0.0.1:9848".parse().expect("an address"));
        assert!(lines.iter().all(|line| line.origin == Origin::Default));
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let path = file("merge", "threads = 1\nhttp-addr = \"127.0.0.1:9000\"\n");
        let path = path.to_str().expect("the path is text");
        let (settings, lines) =
            resolve(&["--settings", path, "--http-addr", "localhost:9001"]).expect("right");
        std::fs::remove_file(path).expect("the file is there");
        assert_eq!((settings.threads, settings.http_addr.port()), (1, 9001));
        let origin = |key| lines.iter().find(|l| l.key == key).map(|l| l.origin);
        assert_eq!(origin("threads"), Some(Origin::File));
        assert_eq!(origin("http-addr"), Some(Origin::Flag));
    }

    #[test]
    fn wrong_settings_are_refused_with_a_reason() {
        let unknown = file("unknown", "htp-addr = \"127.0.0.1:1\"\n");
        let unknown = unknown.to_str().expect("the path is text");
        let cases: [(&[&str], &str); 7] = [
            (&["--settings", unknown], "htp-addr"),
            (&["--settings", "/nonexistent/x.toml"], "cannot read"),
            (&["--http-addr", "8848"], "HOST:PORT"),
            (&["--http-addr", "0.0.0.0:8848"], "--allow-anonymous"),
            (&["--threads", "5"], "0 to 4"),
            (&["--log-file-bytes", "1"], "64 KiB"),
            (&["--log-purge-bytes", "70000"], "log-file-bytes to"),
        ];
        for (arguments, part) in cases {
            let error = resolve(arguments).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
        std::fs::remove_file(unknown).expect("the file is there");
        assert!(resolve(&["--http-addr", "0.0.0.0:8848", "--allow-anonymous"]).is_ok());
        let exposed = resolve(&["--grpc-addr", "0.0.0.0:9848"]).expect_err("exposed").to_string();
        assert!(exposed.starts_with("grpc-addr"), "{exposed}");
    }
}
