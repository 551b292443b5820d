//! What goes through the Raft log. A command is checked where it is made, so that applying it never
//! fails half-way. A file and wire format: append variants and fields, never reorder; golden bytes
//! are at the end of this file.

use alloc::boxed::Box;

use nacolet_model::{Duration, limits};
use serde::{Deserialize, Serialize};

/// The time by the clock of whoever put a command into the log: its name, and milliseconds that
/// never go backwards. The name is new with every start of a process, so that two clocks are never
/// taken for one. Locks live by the differences between stamps of one clock: a wall clock that is
/// set, or members whose clocks differ, can neither end a lock early nor keep it for ever. When
/// another member begins to write stamps the time of the locks stands still for that one command.
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
    /// Takes a lock for an owner, or waits for it.
    Take(Take),
    /// An owner frees what it took.
    Free(Free),
    /// An owner holds a lock for longer.
    Renew(Renew),
    /// An owner waits for a lock no more.
    Forgo(Forgo),
    /// A connection is gone, and with it whatever was taken over it.
    Gone(Gone),
    /// Nothing but time passes: whoever waits for this lock hears of its end.
    Look(Look),
}

/// How a lock behaves. A file and wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// Whoever releases it frees it (Nacos `NACOS_LOCK`).
    Plain,
    /// Its owner may take it again, and frees it as often (Nacos `REENTRANT`).
    Reentrant,
    /// Its owner alone frees it (Nacos `NON_REENTRANT`).
    NonReentrant,
}

impl Command {
    /// Whether it is one that a client may ask for: to be asked before it is proposed, wherever it
    /// comes from. Applying asks again.
    ///
    /// # Errors
    /// See [`Invalid`].
    pub fn check(&self) -> Result<(), Invalid> {
        match self {
            Self::Acquire(Acquire { key, millis, .. }) => {
                check_key(key)?;
                check_time(*millis)
            }
            Self::Release(Release { key, .. }) | Self::Look(Look { key, .. }) => {
                Ok(check_key(key)?)
            }
            Self::Take(Take { key, owner, millis, wait_millis, .. }) => {
                check_key(key)?;
                check_owner(owner)?;
                check_time(*millis)?;
                check_wait(*wait_millis)
            }
            Self::Renew(Renew { key, owner, millis, .. }) => {
                check_key(key)?;
                check_owner(owner)?;
                check_time(*millis)
            }
            Self::Free(Free { key, owner, .. }) | Self::Forgo(Forgo { key, owner, .. }) => {
                check_key(key)?;
                check_owner(owner)
            }
            Self::Gone(Gone { .. }) => Ok(()),
        }
    }

    /// When it was proposed.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        match self {
            Self::Acquire(Acquire { stamp, .. })
            | Self::Release(Release { stamp, .. })
            | Self::Take(Take { stamp, .. })
            | Self::Free(Free { stamp, .. })
            | Self::Renew(Renew { stamp, .. })
            | Self::Forgo(Forgo { stamp, .. })
            | Self::Gone(Gone { stamp, .. })
            | Self::Look(Look { stamp, .. }) => *stamp,
        }
    }

    /// Sets the time: done by the member that proposes the command, at the last moment.
    pub fn set_stamp(&mut self, now: Stamp) {
        match self {
            Self::Acquire(Acquire { stamp, .. })
            | Self::Release(Release { stamp, .. })
            | Self::Take(Take { stamp, .. })
            | Self::Free(Free { stamp, .. })
            | Self::Renew(Renew { stamp, .. })
            | Self::Forgo(Forgo { stamp, .. })
            | Self::Gone(Gone { stamp, .. })
            | Self::Look(Look { stamp, .. }) => *stamp = now,
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

/// Takes a lock for an owner, or waits for it: in the order in which they came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Take {
    /// How it behaves; two kinds of one name are two locks.
    pub kind: Kind,
    /// Name of the lock.
    pub key: Box<str>,
    /// Who takes it.
    pub owner: Box<str>,
    /// The connection that it is taken over; 0 for one that nobody misses.
    pub connection: u64,
    /// How long it is held at most.
    pub millis: u64,
    /// How long its owner waits; 0 for one that does not wait.
    pub wait_millis: u64,
    /// When it was proposed.
    pub stamp: Stamp,
}

/// An owner frees what it took; one without an owner anybody of the same account does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Free {
    /// How it behaves.
    pub kind: Kind,
    /// Name of the lock.
    pub key: Box<str>,
    /// Who frees it.
    pub owner: Box<str>,
    /// When it was proposed.
    pub stamp: Stamp,
}

/// An owner holds a lock for longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    /// How it behaves.
    pub kind: Kind,
    /// Name of the lock.
    pub key: Box<str>,
    /// Who holds it.
    pub owner: Box<str>,
    /// How long from now on.
    pub millis: u64,
    /// When it was proposed.
    pub stamp: Stamp,
}

/// An owner waits for a lock no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgo {
    /// How it behaves.
    pub kind: Kind,
    /// Name of the lock.
    pub key: Box<str>,
    /// Who waits.
    pub owner: Box<str>,
    /// Over which connection.
    pub connection: u64,
    /// When it was proposed.
    pub stamp: Stamp,
}

/// A connection is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// Which one.
    pub connection: u64,
    /// When it was proposed.
    pub stamp: Stamp,
}

/// Nothing but time passes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// How the lock behaves that somebody waits for.
    pub kind: Kind,
    /// Its name.
    pub key: Box<str>,
    /// When it was proposed.
    pub stamp: Stamp,
}

/// Milliseconds of a time, cut at the longest that may be.
#[must_use]
pub fn millis_at_most(time: Duration, longest: Duration) -> u64 {
    u64::try_from(time.min(longest).as_millis()).unwrap_or(u64::MAX)
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

/// The same for who holds a lock or waits for it.
pub(crate) fn check_owner(owner: &str) -> Result<(), Invalid> {
    let is_owner = !owner.is_empty() && owner.len() <= limits::LOCK_OWNER_TEXT_BYTES_MAX;
    if is_owner { Ok(()) } else { Err(Invalid::Owner) }
}

/// The same for how long somebody waits.
pub(crate) fn check_wait(millis: u64) -> Result<(), Invalid> {
    if u128::from(millis) > limits::LOCK_WAIT_MAX.as_millis() { Err(Invalid::Wait) } else { Ok(()) }
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
    /// Its owner has no name, or too long a one.
    #[error(
        "the owner of the lock is blank or longer than {} bytes",
        limits::LOCK_OWNER_TEXT_BYTES_MAX
    )]
    Owner,
    /// It would wait for too long.
    #[error("a lock would be waited for longer than {} s", limits::LOCK_WAIT_MAX.as_secs())]
    Wait,
}

/// Why applying a command changed nothing.
pub type ApplyError = nacolet_model::ApplyError<Invalid, CommandError>;

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
    /// As many wait for this lock, or for all together, as may be.
    #[error("too many wait for a lock already")]
    TooManyWaiters,
    /// This account, or this connection, holds or waits for as many locks as it may.
    #[error("this user or this connection holds or waits for too many locks already")]
    TooManyOfOne,
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
        let (key, owner): (Box<str>, Box<str>) = ("a".into(), "o".into());
        let (kind, stamp, connection) = (Kind::Reentrant, STAMP, 7);
        let take = Take {
            kind,
            key: key.clone(),
            owner: owner.clone(),
            connection,
            millis: 1,
            wait_millis: 2,
            stamp,
        };
        check(Command::Take(take), &[2, 1, 1, b'a', 1, b'o', 7, 1, 2, 0xac, 2, 5]);
        let free = Free { kind, key: key.clone(), owner: owner.clone(), stamp };
        check(Command::Free(free), &[3, 1, 1, b'a', 1, b'o', 0xac, 2, 5]);
        let renew = Renew { kind, key: key.clone(), owner: owner.clone(), millis: 1, stamp };
        check(Command::Renew(renew), &[4, 1, 1, b'a', 1, b'o', 1, 0xac, 2, 5]);
        let forgo = Forgo { kind, key: key.clone(), owner, connection, stamp };
        check(Command::Forgo(forgo), &[5, 1, 1, b'a', 1, b'o', 7, 0xac, 2, 5]);
        check(Command::Gone(Gone { connection, stamp }), &[6, 7, 0xac, 2, 5]);
        check(Command::Look(Look { kind, key, stamp }), &[7, 1, 1, b'a', 0xac, 2, 5]);
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
