//! Why somebody is turned away.

use crate::http::failure::Failure;

/// Why somebody is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// No credentials, or wrong ones.
    Unknown(&'static str),
    /// Known, and not allowed to.
    Forbidden,
    /// Too many wrong passwords, or too many at once: come back in so many seconds.
    TooMany(u32),
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unknown(words) => Self::denied(words),
            Denied::Forbidden => Self::denied("authorization failed!"),
            Denied::TooMany(seconds) => {
                Self::too_many("too many wrong passwords, or too many at once", seconds)
            }
        }
    }
}

pub(super) const NO_USER: Denied = Denied::Unknown("user not found!");

pub(super) const BAD_TOKEN: Denied = Denied::Unknown("token invalid or expired!");

pub(super) const BAD_PASSWORD: Denied = Denied::Unknown("unknown user!");
