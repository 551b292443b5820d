//! Why a verb failed, in one sentence each.

use surf::StatusCode;

/// Why a verb failed, as the person at the shell reads it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error("{url} is not a server address; write it like http://127.0.0.1:8848")]
    Server { url: String },
    #[error("no node answers at {server}: {reason}")]
    Unreachable { server: String, reason: String },
    #[error(
        "the node wants to know who asks: give --username NAME and --password-file FILE, or set \
         NACOLET_USERNAME and NACOLET_PASSWORD"
    )]
    NoUser,
    #[error("the user name {username} and the password do not fit, or there is no such user")]
    Login { username: String },
    #[error("{what} does not exist")]
    NotFound { what: String },
    #[error("the node refused ({status}): {text}")]
    Refused { status: StatusCode, text: String },
    #[error("the node's answer is not understood: {reason}")]
    Answer { reason: String },
    #[error("{path}: {source}")]
    File { path: String, source: std::io::Error },
    #[error("{0}")]
    Usage(String),
}
