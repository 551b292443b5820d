//! What a route needs of its caller.

use nacolet_auth::Action;

/// What a caller must be allowed to do. Checked before the handler runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Anybody: health and login.
    Open,
    /// Read configs of the namespace named in the call.
    ConfigRead,
    /// Write configs of the namespace named in the call.
    ConfigWrite,
    /// Read services of the namespace named in the call.
    NamingRead,
    /// Write services of the namespace named in the call.
    NamingWrite,
    /// Look at the node as a whole: namespaces, members, metrics. Every user may.
    Console,
    /// Change the node as a whole, or look at what is in all namespaces.
    Admin,
}

impl Permission {
    /// What is done, where the permissions of a user decide.
    pub(crate) const fn action(self) -> Option<Action> {
        match self {
            Self::Open | Self::Console | Self::Admin => None,
            Self::ConfigRead | Self::NamingRead => Some(Action::Read),
            Self::ConfigWrite | Self::NamingWrite => Some(Action::Write),
        }
    }
}
