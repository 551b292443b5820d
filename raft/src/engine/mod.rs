//! The pure engine: no async, no IO, no clock, no randomness. Inputs are stepped in, orders come out;
//! the same seed and the same inputs give the same outputs, byte for byte.
//!
//! Read `step` first, then `role`, `election`, `replication`, `durability`; `io` and `message` are the
//! contract. The semantics are those of etcd raft.
//!
//! ```
//! use nacolet_model::{Instant, NodeId, RequestId};
//! use nacolet_raft::engine::{Config, Engine, Input, Output, RoleKind, Start};
//! use nacolet_raft::Membership;
//!
//! let config = Config::new(NodeId(1), 42);
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
mod replication;
mod retire;
mod role;
mod snapshot;
mod start;
mod status;
mod step;
mod transfer;

use alloc::vec::Vec;

use nacolet_model::{Duration, Instant, NodeId, Prng};

pub use config::Config;
pub use io::{Input, Output, PersistId, Refusal};
pub use membership::MembershipError;
pub use message::{AppendResult, Message, MessageBody};
pub use progress::ReplicationState;
pub use role::RoleKind;
pub use start::{BootstrapError, Start, StartError};
pub use status::{FollowerStatus, Status};

use crate::types::{Membership, Term};
use durability::Durability;
use log::Log;
use progress::Progress;
use role::Role;
use snapshot::Snapshots;
use status::Announced;
use transfer::Transfer;

/// One member of a Raft group, as a value. See the module's page for its use.
#[derive(Clone, Debug)]
pub struct Engine {
    config: Config,
    random: Prng,
    /// The latest time any input named.
    now: Instant,
    term: Term,
    voted_for: Option<NodeId>,
    /// Who leads in `term`, if known.
    leader: Option<NodeId>,
    role: Role,
    /// The membership in force: the last one applied.
    membership: Membership,
    /// How many took effect since the start.
    memberships_entered: u64,
    log: Log,
    /// The timeout drawn for the current wait.
    election_timeout: Duration,
    election_deadline: Instant,
    /// Times it stood for election since it last knew a leader.
    candidacies: u32,
    /// When the leader was last heard.
    heard_leader: Instant,
    /// After a restart, with lease reads, the promise given to a leader before may still hold.
    no_votes_before: Instant,
    /// A transfer that made this node step down, until the next leader is known.
    handing_over: Option<Transfer>,
    durability: Durability,
    snapshots: Snapshots,
    /// Messages that go out at the end of the turn.
    outbox: Vec<(NodeId, Message)>,
    /// Outputs that go out at the end of the step.
    answers: Vec<Output>,
    /// What was last announced.
    announced: Option<Announced>,
    /// Messages that no honest peer sends.
    dropped_messages: u64,
}
