//! What goes through the Raft log. A command is checked where it is made; whether it fits the users
//! that there are is decided when it is applied. A file and wire format: append variants and
//! fields, never reorder; golden bytes are at the end of this file.

use alloc::boxed::Box;

use nacolet_model::limits;
use serde::{Deserialize, Serialize};

use crate::resource::{Actions, Pattern, PatternError};

/// Signs tokens.
pub type Key = [u8; 32];

/// Name of a user or a role, checked where it is made. One that is decoded has to be checked again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Name(Box<str>);

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    /// It is empty, too long, or has characters that show as nothing.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let name = Self(text.into());
        name.check().map(|()| name)
    }

    /// Whether it is one.
    pub(crate) fn check(&self) -> Result<(), NameError> {
        let text = &self.0;
        if text.is_empty() || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(NameError::Illegal);
        }
        if text.chars().count() > limits::USER_NAME_CHARS_MAX {
            return Err(NameError::TooLong);
        }
        Ok(())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or blanks in it.
    #[error("a name has at least one character, and no blanks")]
    Illegal,
    /// Too long.
    #[error("the name is longer than {} characters", limits::USER_NAME_CHARS_MAX)]
    TooLong,
}

/// One change of the users, their roles or what roles permit.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Makes the first administrator and the key of all tokens; refused once somebody administers.
    /// A user of that name who is there gets this password.
    Begin(Begin),
    /// Makes a user.
    CreateUser {
        /// Its name.
        user: Name,
        /// Hash of its password.
        hash: Box<str>,
    },
    /// Replaces the password of a user; tokens made before are worth nothing.
    SetPassword {
        /// Whose.
        user: Name,
        /// Hash of the new one.
        hash: Box<str>,
    },
    /// Removes a user and takes its roles.
    RemoveUser {
        /// Which one.
        user: Name,
    },
    /// Gives a role to a user. A role is there as long as somebody has it.
    AddRole {
        /// The role.
        role: Name,
        /// To whom.
        user: Name,
    },
    /// Takes a role from a user, or from all. A role that nobody has any more loses its
    /// permissions.
    RemoveRole {
        /// The role.
        role: Name,
        /// From whom; from everybody when nobody is named.
        user: Option<Name>,
    },
    /// Permits a role something.
    Permit {
        /// The role.
        role: Name,
        /// To do it with what.
        resource: Pattern,
        /// What it may do.
        actions: Actions,
    },
    /// Takes a permission back.
    Forbid {
        /// The role.
        role: Name,
        /// As it was permitted.
        resource: Pattern,
        /// As it was permitted.
        actions: Actions,
    },
    /// Makes the key of all tokens before anybody administers, so that there can be users while
    /// nobody has to log in; nothing where there is a key.
    Open {
        /// Random bytes.
        key: Key,
    },
}

impl Command {
    /// Whether it is one that a client may ask for: to be asked before it is proposed, wherever it
    /// comes from. Applying asks again.
    ///
    /// # Errors
    /// See [`Invalid`].
    pub fn check(&self) -> Result<(), Invalid> {
        match self {
            Self::Begin(Begin { user, hash, key: _ })
            | Self::CreateUser { user, hash }
            | Self::SetPassword { user, hash } => {
                user.check()?;
                check_hash(hash)
            }
            Self::RemoveUser { user } => Ok(user.check()?),
            Self::AddRole { role, user } => {
                role.check()?;
                Ok(user.check()?)
            }
            Self::RemoveRole { role, user } => {
                role.check()?;
                user.iter().try_for_each(|user| Ok(user.check()?))
            }
            Self::Permit { role, resource, actions: _ }
            | Self::Forbid { role, resource, actions: _ } => {
                role.check()?;
                Ok(resource.check()?)
            }
            Self::Open { key: _ } => Ok(()),
        }
    }
}

/// Of all that is stored: the same to who applies a command and who loads a state.
pub(crate) fn check_hash(hash: &str) -> Result<(), Invalid> {
    if hash.len() > limits::PASSWORD_HASH_BYTES_MAX { Err(Invalid::Hash) } else { Ok(()) }
}

/// Why a command is none that a client may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A resource is none.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// The hash of the password is too long.
    #[error("the hash of the password is longer than {} bytes", limits::PASSWORD_HASH_BYTES_MAX)]
    Hash,
}

/// Why applying a command changed nothing.
pub type ApplyError = nacolet_model::ApplyError<Invalid, CommandError>;

/// Names what is changed and hides hashes and keys: debug output ends in logs.
impl core::fmt::Debug for Command {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (what, name) = match self {
            Self::Begin(Begin { user, .. }) => ("Begin", user),
            Self::CreateUser { user, .. } => ("CreateUser", user),
            Self::SetPassword { user, .. } => ("SetPassword", user),
            Self::RemoveUser { user } => ("RemoveUser", user),
            Self::AddRole { role, .. } => ("AddRole", role),
            Self::RemoveRole { role, .. } => ("RemoveRole", role),
            Self::Permit { role, .. } => ("Permit", role),
            Self::Forbid { role, .. } => ("Forbid", role),
            Self::Open { .. } => return f.write_str("Open"),
        };
        write!(f, "{what}({})", name.as_str())
    }
}

/// See [`Command::Begin`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// Name of the first administrator.
    pub user: Name,
    /// Hash of its password.
    pub hash: Box<str>,
    /// Random bytes.
    pub key: Key,
}

/// What a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// A user.
    User,
    /// A role, or that a user has it.
    Role,
    /// A permission.
    Permission,
}

impl What {
    /// A word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Role => "role",
            Self::Permission => "permission",
        }
    }
}

/// Why a command changed nothing. A wire format, as commands are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum CommandError {
    /// It is there already.
    #[error("the {} exists already", .0.as_str())]
    Exists(What),
    /// It is not there.
    #[error("there is no such {}", .0.as_str())]
    Unknown(What),
    /// As many as may be are there.
    #[error("no {} can be added, the limit is reached", .0.as_str())]
    TooMany(What),
    /// Nobody would be left who may administer.
    #[error("the last administrator stays")]
    LastAdministrator,
    /// There is no key of tokens yet.
    #[error("there is no administrator: a node that is started with auth makes the first one")]
    NotBegun,
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    #[test]
    fn commands_keep_their_bytes() {
        let check = |command: Command, golden: &[u8]| {
            assert_eq!(postcard::to_allocvec(&command).as_deref(), Ok(golden));
            assert_eq!(postcard::from_bytes(golden), Ok(command));
        };
        let key = [9; 32];
        let begin = Command::Begin(Begin { user: name("n"), hash: "h".into(), key });
        check(begin, &[[0, 1, b'n', 1, b'h'].as_slice(), &key].concat());
        let (user, role) = (|| name("u"), || name("r"));
        let hash = || "h".into();
        check(Command::CreateUser { user: user(), hash: hash() }, b"\x01\x01u\x01h");
        check(Command::SetPassword { user: user(), hash: hash() }, b"\x02\x01u\x01h");
        check(Command::RemoveUser { user: user() }, b"\x03\x01u");
        check(Command::AddRole { role: role(), user: user() }, b"\x04\x01r\x01u");
        check(Command::RemoveRole { role: role(), user: Some(user()) }, b"\x05\x01r\x01\x01u");
        check(Command::RemoveRole { role: role(), user: None }, b"\x05\x01r\0");
        let resource = || Pattern::new("a:b:c").expect("a resource");
        let permit = Command::Permit { role: role(), resource: resource(), actions: Actions::Both };
        check(permit, b"\x06\x01r\x05a:b:c\x02");
        let forbid =
            Command::Forbid { role: role(), resource: resource(), actions: Actions::Write };
        check(forbid, b"\x07\x01r\x05a:b:c\x01");
        check(Command::Open { key }, &[[8].as_slice(), &key].concat());
    }

    #[test]
    fn debug_output_has_no_secret() {
        let hash: Box<str> = "$2b$10$secret".into();
        let begin = Begin { user: name("n"), hash: hash.clone(), key: [0xab; 32] };
        let (set, open) =
            (Command::SetPassword { user: name("n"), hash }, Command::Open { key: [0xab; 32] });
        for command in [Command::Begin(begin), set, open] {
            let shown = format!("{command:?}");
            assert!(!shown.contains("secret") && !shown.contains("171"), "{shown}");
        }
    }

    #[test]
    fn names_have_limits() {
        for text in ["", " ", "a b", "a\n", "\u{a0}"] {
            assert_eq!(Name::new(text), Err(NameError::Illegal), "{text:?}");
        }
        let longest = "ü".repeat(limits::USER_NAME_CHARS_MAX);
        assert_eq!(Name::new(&longest).expect("a name").as_str(), longest);
        assert_eq!(Name::new(&(longest + "x")), Err(NameError::TooLong));
    }
}
