//! The first administrator. Where everybody has to log in and there is no user yet, somebody must
//! be able to: a node makes `nacos`, with the password of a file or a random one, before it opens
//! its doors. In a cluster the first member to be agreed on does, for all.

use std::path::Path;

use nacolet_api::{PasswordError, hash_password, random_password};
use nacolet_auth::{Begin, Command as AuthCommand, CommandError, Key, Name};
use nacolet_model::limits;
use nacolet_raft::ClientWriteError;
use nacolet_storage::DataDir;

use crate::command::{Command, Refused};
use crate::machine::{Shared, read};
use crate::proposer::Proposer;
use crate::settings::AuthSettings;

/// Name of the first administrator, as in Nacos.
const FIRST: &str = "nacos";
/// The file in the data directory that a random password is written to.
const PASSWORD_FILE: &str = "admin-password";

/// Why there is no administrator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsersError {
    #[error("cannot read the password of the administrator from {path}: {source}")]
    Unreadable { path: Box<Path>, source: std::io::Error },
    #[error("the password of the administrator in {path} is not taken: {source}")]
    Unfit { path: Box<Path>, source: PasswordError },
    #[error("cannot write the password of the administrator into the data directory: {0}")]
    Unwritable(std::io::Error),
    #[error("no random numbers from the system: {0}")]
    Random(getrandom::Error),
    #[error("the password of the administrator cannot be made: {0}")]
    Password(PasswordError),
    #[error("the password of the administrator cannot be hashed")]
    Hash,
}

/// What is needed to make the first administrator.
pub(crate) struct First {
    settings: AuthSettings,
    dir: DataDir,
    shared: Shared,
    proposer: Proposer,
}

impl First {
    pub(crate) fn new(
        settings: AuthSettings,
        dir: DataDir,
        shared: Shared,
        proposer: Proposer,
    ) -> Self {
        Self { settings, dir, shared, proposer }
    }

    /// Resolves once somebody administers.
    ///
    /// # Errors
    /// See [`UsersError`].
    pub(crate) async fn make(&self) -> Result<(), UsersError> {
        if self.is_made() {
            return Ok(());
        }
        let (password, is_random) = self.password()?;
        let hash = smol::unblock(move || hash_password(&password)).await;
        let hash = hash.map_err(|source| match (&self.settings.password_file, source) {
            (Some(path), source @ PasswordError::Length) => {
                UsersError::Unfit { path: path.as_path().into(), source }
            }
            (None, PasswordError::Length) | (_, PasswordError::Hash | PasswordError::Random) => {
                UsersError::Hash
            }
        })?;
        let mut key = Key::default();
        getrandom::fill(&mut key).map_err(UsersError::Random)?;
        // The name is a constant that is one.
        let Ok(user) = Name::new(FIRST) else { return Err(UsersError::Hash) };
        let command = Command::Auth(AuthCommand::Begin(Begin { user, hash, key }));
        while !self.is_made() {
            match self.proposer.propose(command.clone()).await {
                Ok(_) => {
                    self.tell(is_random);
                    return Ok(());
                }
                Err(ClientWriteError::Rejected(Refused::Auth(CommandError::Exists(_)))) => break,
                Err(_) => {
                    smol::Timer::after(limits::RAFT_FULL_RETRY_MIN).await;
                }
            }
        }
        // Another member was first, and its password is the one that counts.
        if is_random && let Err(error) = self.dir.remove_secret(PASSWORD_FILE) {
            tracing::warn!(%error, file = PASSWORD_FILE, "a password that is not the right one stays");
        }
        Ok(())
    }

    /// Says where the password is, and not what it is.
    fn tell(&self, is_random: bool) {
        let file = match &self.settings.password_file {
            Some(path) if !is_random => path.clone(),
            _ => self.dir.path().join(PASSWORD_FILE),
        };
        let file = file.display();
        tracing::warn!("the administrator {FIRST} is made; the password is in the file {file}");
    }

    fn is_made(&self) -> bool {
        read(&self.shared.users).has_admin()
    }

    /// The password, and whether it is a random one, which then is on disk.
    fn password(&self) -> Result<(String, bool), UsersError> {
        if let Some(path) = &self.settings.password_file {
            let text = std::fs::read_to_string(path)
                .map_err(|source| UsersError::Unreadable { path: path.as_path().into(), source })?;
            return Ok((text.trim_end_matches(['\r', '\n']).to_owned(), false));
        }
        let password = random_password().map_err(UsersError::Password)?;
        self.dir
            .write_secret(PASSWORD_FILE, &format!("{password}\n"))
            .map_err(UsersError::Unwritable)?;
        Ok((password, true))
    }
}
