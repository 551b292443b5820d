//! The Raft log payload as this node proposes it; what it is says the crate `machine`.

pub(crate) use nacolet_machine::{Command, Refused, Response};
use nacolet_raft::decode;
use serde::{Deserialize, Serialize};

use crate::clock;

/// A command with the time of the member that proposes it. Raft is given nothing else, so no member
/// can propose a command without. Encoded it is the command.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Stamped(Command);

impl Stamped {
    /// The last thing before it is proposed.
    pub(crate) fn now(mut command: Command) -> Self {
        match &mut command {
            Command::Lock(command) => command.set_stamp(clock::stamp()),
            Command::Config(_) | Command::Registry(_) | Command::Auth(_) => {}
        }
        Self(command)
    }

    /// What was stamped.
    pub(crate) fn command(&self) -> &Command {
        &self.0
    }

    /// The command, which may have been stamped by another member and long ago.
    pub(crate) fn into_command(self) -> Command {
        self.0
    }
}

/// Whether an encoded command frees space.
pub(crate) fn frees(bytes: &[u8]) -> bool {
    decode(bytes).is_some_and(|command: Command| command.frees())
}
