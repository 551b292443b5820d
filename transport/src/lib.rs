//! What members say to each other, over TCP: one connection per direction and pair, opened by the
//! one who has something to say. Messages of Raft and Distro go one way; a call is answered on the
//! connection that brought it. Nothing is decoded before both sides have proved that they hold the
//! cluster key, and every frame after that carries a keyed check.
//!
//! ```text
//!  RaftNetwork ─┐ raft                                              raft ─► Handler::raft
//!  tell ────────┤ distro                                          distro ─► Handler::distro
//!  call ────────┤ calls ─► outgoing link ═══ TCP ═══► incoming link ─────► Handler::call
//!  chunks ──────┘ bulk          ◄──────────── replies ──────────────┘
//! ```
//!
//! Nothing is spawned: [`Runner::run`] is one future that drives every link. A node that has no
//! peers needs none of this and opens no port.
//!
//! Reading order: [`message`] (what is said), [`frame`] (bytes on the wire), [`handshake`] (who
//! speaks), [`peer`] (what waits for one peer), `shared` (what all links share), `link` (outgoing
//! links), `lobby` (those who knock), [`listen`] (incoming links), [`transport`] (all together),
//! [`relay`] (what an application asks).

pub mod frame;
pub mod handshake;
mod link;
pub mod listen;
mod lobby;
pub mod message;
pub mod peer;
pub mod relay;
mod shared;
mod socket;
pub mod transport;

pub use frame::FrameError;
pub use handshake::{ClusterKey, HandshakeError, KeyTooShort, Refusal};
pub use listen::Handler;
pub use message::{Call, Chunk, ClusterId, FollowerState, Progress, Reply, StateDigest};
pub use peer::{CallError, PeerNetwork};
pub use relay::{Relay, RelayError, SmolTimer};
pub use shared::{Counters, LinkSettings, LocalFuture, Patience, Unreachable};
pub use transport::{Networks, Runner, Transport};
