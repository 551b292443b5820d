//! The replicated application: the state machines of configs, registry, locks and users as one. It
//! says what stands in the log, what applying that changes, and what a Raft snapshot consists of.
//!
//! It knows neither Raft nor a file: whoever replicates it, a node or a simulated one, puts these
//! pieces behind Raft's state machine trait. Read [`command`] first, then [`state`], then
//! [`snapshot`].
//!
//! ```
//! use nacolet_machine::{Command, Effects, Shared, State};
//! use nacolet_model::{Instant, Namespace, WallTime};
//! use nacolet_registry::RegistrySettings;
//!
//! let id = Namespace::parse("dev").expect("a namespace");
//! let remove = nacolet_config::Command::RemoveNamespace { id, at: WallTime(1) };
//! let mut state = State::new(Shared::new(RegistrySettings::default()));
//! let before = state.digest();
//! let result = state.apply(Instant::ZERO, 1, Command::Config(remove), &mut Effects::default());
//! assert!(result.is_ok() && state.digest() != before);
//! ```

pub mod command;
pub mod snapshot;
pub mod state;

pub use command::{Command, Refused, Response};
pub use snapshot::{Capture, LoadError, Loaded, Loader};
pub use state::{Digest, Effects, Shared, State, read, write};
