//! Locks by name, as clients of Nacos 3.x take them: whoever acquires a free name holds it until
//! somebody releases it or its time is over. Nobody owns a lock: Nacos lets any client release it, and
//! a lost connection releases nothing (Nacos `MutexAtomicLock`).
//!
//! A pure state machine behind the Raft log. What is particular is its time, see [`Stamp`]. Reading
//! order: `command` is what goes through the log, `table` applies it, `snapshot` is the whole state.
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
mod snapshot;
mod table;

pub use command::{Acquire, ApplyError, Command, CommandError, Invalid, KeyError, Release, Stamp};
pub use snapshot::{Capture, LoadError, Loader};
pub use table::Locks;
