//! The first administrator. Where everybody has to log in and there is no user yet, somebody must be able
//! to: a node makes `nacos`, with the password of a file or a random one, before it opens its doors. In a
//! cluster the first member to be agreed on does, for all.

use std::path::Path;

use nacolet_api::{PasswordError, hash_password};
use nacolet_auth::{Begin, Command as AuthCommand, CommandError, Key, Name};
use nacolet_model::limits;
use nacolet_raft::{ClientWriteError, Raft};
use nacolet_storage::DataDir;

use crate::cluster::SharedCluster;
use crate::command::{Command, Refused};
use crate::machine::{Machine, Shared, read};
use crate::settings::AuthSettings;

/// Name of the first administrator, as in Nacos.
const FIRST: &str = "nacos";
/// The file in the data directory that a random password is written to.
const PASSWORD_FILE: &str = "admin-password";
/// Letters and digits of a random password: no two look alike.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Of five bits each.
const LETTERS_COUNT: usize = 26;

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
    #[error("the password of the administrator cannot be hashed")]
    Hash,
}

/// What is needed to make the first administrator.
pub(crate) struct First {
    settings: AuthSettings,
    dir: DataDir,
    shared: Shared,
    raft: Raft<Machine>,
    cluster: Option<SharedCluster>,
}

impl First {
    pub(crate) fn new(
        settings: AuthSettings,
        dir: DataDir,
        shared: Shared,
        raft: Raft<Machine>,
        cluster: Option<SharedCluster>,
    ) -> Self {
        Self { settings, dir, shared, raft, cluster }
    }

    /// Resolves once there is a user.
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
            (None, PasswordError::Length) | (_, PasswordError::Hash) => UsersError::Hash,
        })?;
        let mut key = Key::default();
        getrandom::fill(&mut key).map_err(UsersError::Random)?;
        // The name is a constant that is one.
        let Ok(user) = Name::new(FIRST) else { return Err(UsersError::Hash) };
        let command = Command::Auth(AuthCommand::Begin(Begin { user, hash, key }));
        while !self.is_made() {
            let outcome = match &self.cluster {
                Some(cluster) => cluster.write(command.clone()).await,
                None => self.raft.client_write(&command).await,
            };
            match outcome {
                Ok(_) => {
                    let from = if is_random { PASSWORD_FILE } else { "the file that was given" };
                    tracing::warn!(user = FIRST, password = from, "there is an administrator");
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

    fn is_made(&self) -> bool {
        !read(&self.shared.users).is_empty()
    }

    /// The password, and whether it is a random one, which then is on disk.
    fn password(&self) -> Result<(String, bool), UsersError> {
        if let Some(path) = &self.settings.password_file {
            let text = std::fs::read_to_string(path)
                .map_err(|source| UsersError::Unreadable { path: path.as_path().into(), source })?;
            return Ok((text.trim_end_matches(['\r', '\n']).to_owned(), false));
        }
        let password = random_password()?;
        self.dir
            .write_secret(PASSWORD_FILE, &format!("{password}\n"))
            .map_err(UsersError::Unwritable)?;
        Ok((password, true))
    }
}

/// 130 random bits that can be read out.
fn random_password() -> Result<String, UsersError> {
    let mut bytes = [0; LETTERS_COUNT];
    getrandom::fill(&mut bytes).map_err(UsersError::Random)?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_password_is_one_that_is_taken_and_no_two_are_alike() {
        let (first, second) = (random_password(), random_password());
        let (first, second) = (first.expect("random"), second.expect("random"));
        assert!(first != second && hash_password(&first).is_ok());
        assert!(first.bytes().all(|byte| LETTERS.contains(&byte)), "{first}");
    }
}
