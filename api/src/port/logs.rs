//! The levels of the log, which an operator changes while the node runs. The log is one for the
//! whole process and so is this: the node says once, when it starts to write it, how levels are
//! set.

use std::sync::OnceLock;

use tracing::level_filters::LevelFilter;

type Set = Box<dyn Fn(&str, LevelFilter) + Send + Sync>;

static SET: OnceLock<Set> = OnceLock::new();

/// Hands over what sets the level of the part of the log that a name of Nacos stands for. Only the
/// first counts.
pub fn levels_are_set_by(set: impl Fn(&str, LevelFilter) + Send + Sync + 'static) {
    let _ = SET.set(Box::new(set));
}

/// A text that is no level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoLevel(pub(crate) Box<str>);

/// Sets the level of a part of the log; where nobody writes a log there is none.
pub(crate) fn set_level(name: &str, level: &str) -> Result<(), NoLevel> {
    let level = match level.to_ascii_uppercase().as_str() {
        "OFF" => LevelFilter::OFF,
        "FATAL" | "ERROR" => LevelFilter::ERROR,
        "WARN" => LevelFilter::WARN,
        "INFO" => LevelFilter::INFO,
        "DEBUG" => LevelFilter::DEBUG,
        "TRACE" | "ALL" => LevelFilter::TRACE,
        _ => return Err(NoLevel(level.chars().take(32).collect())),
    };
    if let Some(set) = SET.get() {
        set(name, level);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_level_reaches_whoever_writes_the_log() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        levels_are_set_by(move |name, level| {
            kept.lock().expect("no panic before").push((name.to_owned(), level));
        });
        assert_eq!(set_level("config-server", "debug"), Ok(()));
        assert_eq!(set_level("x", "LOUD"), Err(NoLevel("LOUD".into())));
        let seen = seen.lock().expect("no panic before");
        assert_eq!(*seen, [("config-server".to_owned(), LevelFilter::DEBUG)]);
    }
}
