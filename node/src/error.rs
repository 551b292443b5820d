//! Why a node ends.

use std::io;
use std::net::SocketAddr;

use nacolet_raft::{Fatal, StartError, engine};

use crate::cluster::member::MemberError;
use crate::users::UsersError;

/// Why a node does not run, or runs no longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("no random numbers from the system: {0}")]
    Random(getrandom::Error),
    #[error(transparent)]
    Storage(#[from] nacolet_raft::StorageError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    #[error(transparent)]
    Fatal(#[from] Fatal),
    #[error(transparent)]
    Member(#[from] MemberError),
    #[error(transparent)]
    Users(#[from] UsersError),
}

impl RunError {
    /// Whether what was durable cannot be read any more.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Storage(error) | Self::Start(StartError::Storage(error)) => error.damaged,
            Self::Start(StartError::Engine(error)) => *error != engine::ImpossibleStart::Config,
            Self::Start(StartError::Bootstrap(_))
            | Self::Random(_)
            | Self::Listen { .. }
            | Self::Thread(_)
            | Self::Fatal(_)
            | Self::Member(_)
            | Self::Users(_) => false,
        }
    }
}
