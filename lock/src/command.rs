//! What goes through the Raft log. A command is checked where it is made, so that applying it never
//! fails half-way. A file and wire format: append variants and fields, never reorder; golden bytes
//! are at the end of this file.

use alloc::boxed::Box;

use nacolet_model::{Duration, limits};
use serde::{Deserialize, Serialize};

/// The time by the clock of whoever put a command into the log: its name, and milliseconds that never
/// go backwards. The name is new with every start of a process, so that two clocks are never taken
/// for one. Locks live by the differences between stamps of one clock: a wall clock that is set, or
/// members whose clocks differ, can neither end a lock early nor keep it for ever. When another
/// member begins to write stamps the time of the locks stands still for that one command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Which clock.
    pub clock: u64,
    /// Milliseconds by it.
    pub millis: u64,
}

/// One change of the locks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Takes a lock if it is free.
    Acquire(Acquire),
    /// Frees a lock.
    Release(Release),
}

impl Command {
    /// Whether it is one that a client may ask for: to be asked before it is proposed, wherever it comes
    /// from. Applying asks again.
    ///
    /// # Errors
    /// See [`Invalid`].
    pub fn check(&self) -> Result<(), Invalid> {
        match self {
            Self::Acquire(Acquire { key, millis, .. }) => {
                check_key(key)?;
                check_time(*millis)
            }
            Self::Release(Release { key, .. }) => Ok(check_key(key)?),
        }
    }

    /// Sets the time: done by the member that proposes the command, at the last moment.
    pub fn set_stamp(&mut self, now: Stamp) {
        match self {
            Self::Acquire(Acquire { stamp, .. }) | Self::Release(Release { stamp, .. }) => {
                *stamp = now;
            }
        }
    }
}

/// Takes a lock if it is free.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acquire {
    /// Name of the lock.
    pub key: Box<str>,
    /// How long it is held at most.
    pub millis: u64,
    /// When it was proposed.
    pub stamp: Stamp,
}

impl Acquire {
    /// A request for `key`, held for at most `time`, which is cut at the longest that may be.
    ///
    /// # Errors
    /// The name is blank or too long.
    pub fn new(key: &str, time: Duration, stamp: Stamp) -> Result<Self, KeyError> {
        check_key(key)?;
        let time = time.min(limits::LOCK_TIME_MAX);
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Ok(Self { key: key.into(), millis, stamp })
    }
}

/// Frees a lock, whoever took it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Name of the lock.
    pub key: Box<str>,
    /// When it was proposed.
    pub stamp: Stamp,
}

impl Release {
    /// A request to free `key`.
    ///
    /// # Errors
    /// The name is blank or too long.
    pub fn new(key: &str, stamp: Stamp) -> Result<Self, KeyError> {
        check_key(key)?;
        Ok(Self { key: key.into(), stamp })
    }
}

/// Of all that is stored: names are the same to who applies a command and who loads a state.
pub(crate) fn check_key(key: &str) -> Result<(), KeyError> {
    if key.trim().is_empty() {
        return Err(KeyError::Blank);
    }
    if key.len() > limits::LOCK_KEY_BYTES_MAX {
        return Err(KeyError::TooLong);
    }
    Ok(())
}

/// The same for how long a lock is held, from the moment on in which it was taken.
pub(crate) fn check_time(millis: u64) -> Result<(), Invalid> {
    if u128::from(millis) > limits::LOCK_TIME_MAX.as_millis() { Err(Invalid::Time) } else { Ok(()) }
}

/// Why a command is none that a client may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Its name is none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It would hold the lock for too long.
    #[error("the lock would be held for longer than {} s", limits::LOCK_TIME_MAX.as_secs())]
    Time,
}

/// Why applying a command changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Whoever put it into the log did not check it.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// It does not fit the state.
    #[error(transparent)]
    Refused(#[from] CommandError),
}

/// Why a command was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The name is blank.
    #[error("the key of the lock is blank")]
    Blank,
    /// The name is too long.
    #[error("the key of the lock is longer than {} bytes", limits::LOCK_KEY_BYTES_MAX)]
    TooLong,
}

/// Why a command changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum CommandError {
    /// As many locks are held as may be.
    #[error("{} locks are held already", limits::LOCKS_MAX)]
    TooManyLocks,
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { clock: 300, millis: 5 };

    #[test]
    fn commands_keep_their_bytes() {
        let check = |command: Command, golden: &[u8]| {
            assert_eq!(postcard::to_allocvec(&command).as_deref(), Ok(golden));
            assert_eq!(postcard::from_bytes(golden), Ok(command));
        };
        let acquire = Acquire::new("a", Duration::from_secs(1), STAMP).expect("a key");
        check(Command::Acquire(acquire), &[0, 1, b'a', 0xe8, 7, 0xac, 2, 5]);
        let release = Release::new("b", STAMP).expect("a key");
        check(Command::Release(release), &[1, 1, b'b', 0xac, 2, 5]);
    }

    #[test]
    fn names_and_times_have_limits() {
        let long = "k".repeat(limits::LOCK_KEY_BYTES_MAX);
        assert!(Release::new(&long, STAMP).is_ok());
        assert_eq!(Release::new(&(long + "k"), STAMP), Err(KeyError::TooLong));
        assert_eq!(Acquire::new(" ", Duration::ZERO, STAMP), Err(KeyError::Blank));
        let acquire = Acquire::new("a", Duration::MAX, STAMP).expect("a key");
        assert_eq!(u128::from(acquire.millis), limits::LOCK_TIME_MAX.as_millis());
    }
}
