//! The pure engine: no async, no IO, no clock, no randomness. Inputs are stepped in, orders come
//! out; the same seed and the same inputs give the same outputs, byte for byte.
//!
//! Read `step` first, then `state`, `transitions`, `election`, `replication`, `durability`; `io`
//! and `message` are the contract. The semantics are those of etcd raft.
//!
//! ```
//! use nacolet_model::{Instant, NodeId, RequestId};
//! use nacolet_raft::engine::{EngineConfig, Engine, Input, Output, RoleKind, Start};
//! use nacolet_raft::Membership;
//!
//! let config = EngineConfig::new(NodeId(1), 42);
//! let mut engine = Engine::new(config, Start::default(), Instant::ZERO)?;
//! engine.bootstrap(Membership::of_voters([(NodeId(1), "127.0.0.1:7848".into())]))?;
//! // The shell of this example has a disk and a state machine that finish at once.
//! let mut inputs = vec![Input::Wake];
//! while engine.role() != RoleKind::Leader || !inputs.is_empty() {
//!     let mut out = Vec::new();
//!     for input in inputs.drain(..) {
//!         engine.step(Instant::ZERO, input, &mut out);
//!     }
//!     engine.flush(Instant::ZERO, &mut out);
//!     for output in out {
//!         match output {
//!             Output::Persist { id, .. } => inputs.push(Input::Persisted(id)),
//!             Output::Apply(entries) => {
//!                 inputs.extend(entries.last().map(|entry| Input::Applied(entry.id.index)));
//!             }
//!             _ => {}
//!         }
//!     }
//!     inputs.extend(engine.next_deadline().map(|_| Input::Wake));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod durability;
mod election;
mod io;
mod log;
mod membership;
mod message;
mod progress;
mod quorum;
mod read_index;
mod reads;
mod replication;
mod retire;
mod role;
mod snapshot;
mod start;
mod state;
mod status;
mod step;
mod transfer;
mod transitions;

pub use config::EngineConfig;
pub use io::{Input, Output, PersistId, Refusal};
pub use membership::MembershipError;
pub use message::{AppendResult, Message, MessageBody};
pub use progress::ReplicationState;
pub use role::RoleKind;
pub use start::{BootstrapError, ImpossibleStart, Start};
pub use state::Engine;
pub use status::{FollowerStatus, Status};
