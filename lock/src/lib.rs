//! Locks by name, as clients of Nacos 3.x take them: whoever acquires a free name holds it until
//! somebody releases it or its time is over. No client owns one of the first kind: Nacos lets any
//! other release it, and a lost connection releases nothing (`MutexAtomicLock` of Nacos 3.1). Those
//! of the SDK 3.3 have owners, who alone free them, and a queue: first come, first served, and
//! whoever does not take a lock when its turn has come loses it.
//!
//! A pure state machine behind the Raft log. What is particular is its time, see [`Stamp`]. Reading
//! order: `command` is what goes through the log, `owner` says who an owner is, `table` applies
//! commands, `shares` counts what each has, `snapshot` is the whole state.
//!
//! ```
//! use nacolet_lock::{Acquire, Command, Locks, Stamp};
//! use nacolet_model::Duration;
//!
//! let mut locks = Locks::new();
//! let at = |millis| Stamp { clock: 7, millis };
//! let acquire = Acquire::new("job", Duration::from_secs(30), at(0))?;
//! assert_eq!(locks.apply(&Command::Acquire(acquire.clone())), Ok(true));
//! assert_eq!(locks.apply(&Command::Acquire(acquire.clone())), Ok(false));
//! assert_eq!(locks.apply(&Command::Acquire(Acquire { stamp: at(30_000), ..acquire })), Ok(true));
//! # Ok::<(), nacolet_lock::KeyError>(())
//! ```
#![no_std]

extern crate alloc;

mod command;
mod owner;
mod shares;
mod snapshot;
mod table;

pub use command::{
    Acquire, ApplyError, Command, CommandError, Forgo, Free, Gone, Invalid, KeyError, Kind, Look,
    Release, Renew, Stamp, Take, millis_at_most,
};
pub use owner::{name_of, owner};
pub use snapshot::{Capture, LoadError, Loader};
pub use table::{Answer, Locks, Notice};
