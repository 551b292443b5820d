//! Names of what lives and of what is written, the same on every member.

use serde::{Deserialize, Serialize};

use crate::words::spec::InstanceKey;

/// One life of one member: random, other after every start, never 0. Half of the name of every
/// connection that the member holds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Life(pub u32);

/// Names one connection in the whole cluster: the life of the member that holds it, and a number of
/// its own; never 0.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct ClientId(pub u64);

impl ClientId {
    /// The connection with this number, counted from 1, of the node that lives this life.
    #[must_use]
    pub const fn new(life: Life, number: u32) -> Self {
        Self((life.0 as u64) << 32 | number as u64)
    }

    /// As one number, and back: others name connections without knowing what they are.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// See [`Self::as_u64`].
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The life that it is part of.
    #[must_use]
    pub const fn life(self) -> Life {
        Life((self.0 >> 32) as u32)
    }
}

/// Names one publication: an instance, and the client that says that it is there. A client does not
/// touch what others published: what it takes back they still have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublicationKey {
    /// What is published.
    pub instance: InstanceKey,
    /// The connection that published it; 0 where beats keep it alive, or nothing has to.
    pub owner: u64,
}

impl PublicationKey {
    /// What this connection published, or, without one, somebody who beats.
    #[must_use]
    pub fn new(instance: InstanceKey, owner: Option<ClientId>) -> Self {
        Self { instance, owner: owner.map_or(0, ClientId::as_u64) }
    }
}

/// Orders the writes to one instance: a counter that follows whatever its writer has seen
/// (Lamport), and the life of the writer, so that no two writes are equal. The counter is a
/// reference time.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct WriteVersion {
    /// See [`crate::ServiceView::last_ref_time`].
    pub counter: u64,
    /// Who wrote.
    pub life: Life,
}
