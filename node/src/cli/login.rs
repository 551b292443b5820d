//! As whom a verb asks: a user name and a password, which `client` turns into a token. A password
//! comes from a file, from the environment or from standard input, never from an argument: those
//! are seen by every process of the host.

use std::cell::RefCell;
use std::io::{BufRead, IsTerminal, Write};

use clap::Args;

use super::client::{Client, Login};
use super::error::CliError;
use super::terminal::read;

/// Where the password is, unless there is a file.
const PASSWORD: &str = "NACOLET_PASSWORD";

/// Which node to talk to, and as whom.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServerArgs {
    /// The node to talk to
    #[arg(
        long,
        env = "NACOLET_SERVER",
        default_value = "http://127.0.0.1:8848",
        value_name = "URL"
    )]
    server: String,
    /// User to log in as; the password comes from --password-file or from NACOLET_PASSWORD
    #[arg(long, env = "NACOLET_USERNAME", value_name = "NAME")]
    username: Option<String>,
    /// File with the password of the user
    #[arg(long, value_name = "FILE")]
    password_file: Option<String>,
}

impl ServerArgs {
    /// A client that logs in, if there is a user name.
    ///
    /// # Errors
    /// `CliError::Server`, `CliError::File`, or `CliError::Usage` when there is no password.
    pub(crate) fn client(&self) -> Result<Client, CliError> {
        Client::new(&self.server, self.login()?)
    }

    fn login(&self) -> Result<Option<Login>, CliError> {
        let environment = std::env::var_os(PASSWORD).filter(|password| !password.is_empty());
        let Some(username) = self.username.clone().filter(|name| !name.is_empty()) else {
            if self.password_file.is_some() || environment.is_some() {
                return Err(CliError::Usage(format!(
                    "a password is given without a user: add --username NAME, or set \
                     NACOLET_USERNAME; without a user, unset {PASSWORD}"
                )));
            }
            return Ok(None);
        };
        let password = match &self.password_file {
            Some(path) => text(read(path)?, path)?,
            None => environment
                .ok_or_else(|| {
                    CliError::Usage(format!(
                        "the user {username} is given without a password: add --password-file FILE, \
                         or set {PASSWORD}"
                    ))
                })?
                .into_string()
                .ok()
                .ok_or_else(|| CliError::Usage(format!("{PASSWORD} is not UTF-8")))?,
        };
        Ok(Some(Login { username, password, token: RefCell::default() }))
    }
}

/// Where a new password comes from.
#[derive(Args, Clone, Debug)]
pub(crate) struct NewPassword {
    /// File with the new password; one line of standard input when left out
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<String>,
}

impl NewPassword {
    /// Reads it.
    ///
    /// # Errors
    /// `CliError::File` names the path, `CliError::Usage` says that there is none.
    pub(crate) fn read(&self) -> Result<String, CliError> {
        let (password, path) = match &self.new_password_file {
            Some(path) => (text(read(path)?, path)?, path.as_str()),
            None => (line()?, "standard input"),
        };
        if password.is_empty() {
            return Err(CliError::Usage(format!("there is no new password in {path}")));
        }
        Ok(password)
    }
}

/// One line of standard input.
fn line() -> Result<String, CliError> {
    let failed = |source| CliError::File { path: "standard input".to_owned(), source };
    let mut input = std::io::stdin().lock();
    if input.is_terminal() {
        // Nothing is left to do when standard error is closed.
        let _ = write!(std::io::stderr(), "new password (it is shown): ");
    }
    let mut bytes = Vec::new();
    input.read_until(b'\n', &mut bytes).map_err(failed)?;
    text(bytes, "standard input")
}

/// A password without the end of its line, as the node reads the one of the first administrator.
fn text(bytes: Vec<u8>, path: &str) -> Result<String, CliError> {
    // The reason is dropped, because it holds the bytes.
    let mut text = String::from_utf8(bytes)
        .ok()
        .ok_or_else(|| CliError::Usage(format!("the password in {path} is not UTF-8")))?;
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_line_is_no_part_of_a_password() {
        let check = |bytes: &[u8], expected: &str| {
            assert_eq!(text(bytes.to_vec(), "f").expect("a password"), expected);
        };
        check(b"secret", "secret");
        check(b"secret\n", "secret");
        check(b" se cret \r\n", " se cret ");
        check(b"\n", "");
    }

    #[test]
    fn a_password_that_is_no_text_is_not_told() {
        let error = text(b"se\xffcret".to_vec(), "f").expect_err("it is no text").to_string();
        assert_eq!(error, "the password in f is not UTF-8");
    }
}
