//! Who may do what: users with the hash of their password, roles, and what a role permits, as Nacos
//! has them. A pure state machine behind the Raft log, so all members know the same users and
//! accept each other's tokens: the key that signs them is part of the state.
//!
//! What it does not do: hash passwords, make or check tokens, count failed tries. That needs
//! clocks, chance and time to compute, and is the business of `api`. Reading order: `resource` says
//! what a permission means, `command` is what goes through the log, `users` applies it, `snapshot`
//! is the whole state.
//!
//! ```
//! use nacolet_auth::{Action, Begin, Command, Kind, Name, Resource, Users};
//!
//! let mut users = Users::new();
//! let root = Name::new("nacos")?;
//! let begin = Begin { user: root, hash: "$2b$…".into(), key: [7; 32] };
//! assert_eq!(users.apply(1, Command::Begin(begin)), Ok(()));
//! let config = Resource { namespace: "public", group: "g", kind: Kind::Config, name: "app.yaml" };
//! assert!(users.permits("nacos", Action::Write, &config));
//! assert!(!users.permits("guest", Action::Read, &config));
//! # Ok::<(), nacolet_auth::NameError>(())
//! ```
#![no_std]

extern crate alloc;

mod command;
mod resource;
mod snapshot;
mod users;

pub use command::{ApplyError, Begin, Command, CommandError, Invalid, Key, Name, NameError, What};
pub use resource::{Action, Actions, Kind, Pattern, PatternError, Permission, Resource};
pub use snapshot::{Capture, LoadError, Loader};
pub use users::{ADMIN_ROLE, User, Users};
