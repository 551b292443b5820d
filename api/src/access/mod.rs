//! Who calls, and whether they may: the one place that answers, for HTTP and gRPC alike. A route
//! says what it needs (`router`), its decoder says about what (`about`); here the user is found, by
//! token or by name and password, and the users of `nacolet-auth` are asked.
//!
//! Reading order: this file, then `token` and `password`.

pub(crate) mod about;
pub(crate) mod denied;
mod headers;
pub(crate) mod password;
pub(crate) mod proof;
pub(crate) mod rule;
pub(crate) mod token;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use hyper::header::HeaderMap;
use nacolet_auth::{Action, Resource, Users};
use nacolet_model::repeats::Due;
use nacolet_model::{Duration, Instant, Repeats, WallTime, limits};
use nacolet_registry::By;

use crate::access::about::About;
use crate::access::denied::{BAD_PASSWORD, BAD_TOKEN, Denied, NO_USER};
use crate::access::rule::Permission;
use crate::http::call::Call;
use crate::http::failure::Failure;
use crate::http::params::{Fields, Id, Parts, field};
use crate::port::Port;

pub use password::{PasswordError, hash, random_password};
pub(crate) use token::LIFE_S;

/// The guard of a server.
pub(crate) struct Access {
    users: Arc<RwLock<Users>>,
    on: bool,
    clock: token::Clock,
    gate: password::Gate,
    /// Who failed to log in, as the log has it.
    failures: Mutex<Repeats>,
}

/// Somebody who has shown a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Login {
    name: Box<str>,
    /// Which password it was: `User::since`.
    since: u64,
    /// When it ends, seconds since 1970.
    exp: u64,
}

impl Login {
    /// Name of the user.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The same as the registry keeps it with a subscriber.
    pub(crate) fn subscribes(&self) -> By {
        By { user: self.name.clone(), since: self.since }
    }
}

impl Access {
    /// A guard that asks the users of this port. See `Settings::login_delay`.
    pub(crate) fn new(port: &Port, login_delay: Duration) -> Self {
        Self {
            users: Arc::clone(&port.users),
            on: port.auth,
            clock: token::Clock::new((port.clock)()),
            gate: password::Gate::new(login_delay),
            failures: Mutex::default(),
        }
    }

    /// Whether anybody has to log in.
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// The users, for reading. Never held across an await.
    pub(crate) fn users(&self) -> RwLockReadGuard<'_, Users> {
        self.users.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this caller may do this with what the call is about; with authentication off
    /// everybody may.
    pub(crate) fn check(
        &self,
        permission: Permission,
        user: Option<&Login>,
        about: &dyn About,
    ) -> Result<(), Denied> {
        if !self.on || permission == Permission::Open {
            return Ok(());
        }
        match permission.action() {
            Some(action) => self.permits(user, action, about),
            None if permission == Permission::Admin => self.check_admin(user),
            None => self.check_user(user),
        }
    }

    /// The user whose token is in the headers, if one is.
    pub(crate) fn user_of_headers(
        &self,
        now: (Instant, WallTime),
        headers: &HeaderMap,
    ) -> Result<Option<Arc<Login>>, Denied> {
        headers::token(headers).map(|token| self.login_of(now, token)).transpose()
    }

    /// The user of a call without a token in its headers: that of a token in its parameters, or of
    /// a name and a password in its headers or in its parameters. On a route of users those are
    /// what it is about, so headers come first.
    pub(crate) async fn identify(
        &self,
        now: (Instant, WallTime),
        call: &Call,
        fields: &Fields,
        takes_basic: bool,
    ) -> Result<Arc<Login>, Failure> {
        let (name, password) = {
            if let Some(token) = fields.text(field::ACCESS_TOKEN) {
                return Ok(self.login_of(now, token)?);
            }
            let Call { uri, headers, body, room, .. } = call;
            let shown = match headers::name_and_password(headers) {
                Some(shown) => Some(shown.ok_or(NO_USER)?),
                None => headers::basic(headers).filter(|_| takes_basic),
            };
            if let Some((name, password)) = shown {
                return Ok(self.verify(now, &name, password, &call.ip).await?);
            }
            let parts = Parts { fields, uri, headers, body, room };
            match (parts.id(Id::USERNAME)?, fields.raw(field::PASSWORD)) {
                (Some(name), Some(password)) => (name.to_owned(), password.to_owned()),
                _ => return Err(NO_USER.into()),
            }
        };
        Ok(self.verify(now, &name, password, &call.ip).await?)
    }

    /// The user of a call that needs none, if it shows a token that is good.
    pub(crate) fn shown(
        &self,
        now: (Instant, WallTime),
        headers: &HeaderMap,
        fields: &Fields,
    ) -> Option<Arc<Login>> {
        let token = headers::token(headers).or_else(|| fields.text(field::ACCESS_TOKEN))?;
        self.login_of(now, token).ok()
    }

    /// Whether somebody is logged in; with authentication off everybody counts as such.
    pub(crate) fn check_user(&self, user: Option<&Login>) -> Result<(), Denied> {
        if self.on && user.is_none() { Err(NO_USER) } else { Ok(()) }
    }

    /// The login that a token shows.
    pub(crate) fn login_of(
        &self,
        now: (Instant, WallTime),
        token: &str,
    ) -> Result<Arc<Login>, Denied> {
        let users = self.users();
        let claims = users.key().and_then(|key| token::read(key, token)).ok_or(BAD_TOKEN)?;
        drop(users);
        let is_alive = self.clock.is_alive(now, claims.exp);
        let login = Login { name: claims.sub.into(), since: claims.pwd, exp: claims.exp };
        if is_alive && self.is_current(&login) { Ok(Arc::new(login)) } else { Err(BAD_TOKEN) }
    }

    /// Whether this login was a moment ago.
    pub(crate) fn is_fresh(&self, now: (Instant, WallTime), login: &Login) -> bool {
        self.clock.is_fresh(now, login.exp)
    }

    /// Whether the user of a login is still there, with the password of then.
    pub(crate) fn is_current(&self, login: &Login) -> bool {
        self.users().user(&login.name).is_some_and(|user| user.since == login.since)
    }

    /// A login, if the password is right.
    pub(crate) async fn verify(
        &self,
        now: (Instant, WallTime),
        name: &str,
        password: String,
        ip: &str,
    ) -> Result<Arc<Login>, Denied> {
        let known = self.users().user(name).cloned();
        let since = known.as_ref().map_or(0, |user| user.since);
        if let Err(denied) = self.gate.verify(now.0, name, known, password, ip).await {
            self.note_failure(now.0, name, ip, denied);
            return Err(denied);
        }
        Ok(Arc::new(Login { name: name.into(), since, exp: self.clock.expiry(now) }))
    }

    fn note_failure(&self, now: Instant, name: &str, ip: &str, denied: Denied) {
        let what = match denied {
            _ if self.gate.is_shut(now, name, ip) => "logins are locked after too many failures",
            BAD_PASSWORD => "a login failed",
            // For a wrong password, or because too many wait.
            Denied::TooMany(_) => "a login is put off",
            Denied::Unknown(_) | Denied::Forbidden => return,
        };
        let line = failure_line(what, name, ip);
        if let Some(Due { line, times }) = self.told().note(now, &line, 1) {
            tracing::warn!(times, "{line}");
        }
    }

    /// Says in the log who fails to log in again and again.
    pub(crate) fn tell(&self, now: Instant) {
        let mut told = self.told();
        while let Some(Due { line, times }) = told.due(now) {
            tracing::warn!(times, "{line}");
        }
    }

    fn told(&self) -> MutexGuard<'_, Repeats> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token for whoever has just shown the password.
    pub(crate) fn token(&self, login: &Login) -> Result<String, Denied> {
        let users = self.users();
        let key = users.key().ok_or(BAD_PASSWORD)?;
        token::make(key, &login.name, login.since, login.exp).ok_or(BAD_PASSWORD)
    }

    /// The hash of a new password, made when it is its turn.
    pub(crate) async fn hash(&self, name: &str, password: String) -> Result<Box<str>, Failure> {
        let _turn = self.gate.turn(name, &password).await?;
        Ok(smol::unblock(move || hash(&password)).await?)
    }

    /// Whether this caller administers; with authentication off everybody does.
    pub(crate) fn check_admin(&self, user: Option<&Login>) -> Result<(), Denied> {
        self.check_user(user)?;
        let may = user.is_none_or(|user| self.users().is_admin(&user.name));
        if may { Ok(()) } else { Err(Denied::Forbidden) }
    }

    /// Whether this caller may do anything in a namespace; with authentication off everybody may.
    pub(crate) fn reaches(&self, user: Option<&Login>, namespace: &str) -> bool {
        !self.on || user.is_some_and(|user| self.users().reaches(&user.name, namespace))
    }

    /// Whether somebody who was permitted to hear of it still is: the user may have gone since,
    /// have got another password, or lost the permission.
    pub(crate) fn still_permits(&self, user: Option<&Login>, about: &dyn About) -> bool {
        let is_current = user.is_none_or(|login| self.is_current(login));
        is_current && self.permits(user, Action::Read, about).is_ok()
    }

    /// Whether this caller may do this with it; with authentication off everybody may.
    pub(crate) fn permits(
        &self,
        user: Option<&Login>,
        action: Action,
        about: &dyn About,
    ) -> Result<(), Denied> {
        if !self.on {
            return Ok(());
        }
        let (user, users) = (user.ok_or(NO_USER)?, self.users());
        let permits = |action, asked: &Resource<'_>| users.permits(&user.name, action, asked);
        if about.is_permitted(action, &permits) { Ok(()) } else { Err(Denied::Forbidden) }
    }
}

/// One line, whatever was sent as a name.
fn failure_line(what: &str, name: &str, ip: &str) -> String {
    let name: String = name.chars().take(limits::USER_NAME_CHARS_MAX).collect();
    format!("{what}: user {name:?} from {}", password::source(ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_short_line_whatever_the_name_is() {
        assert_eq!(failure_line("no", "u", "10.0.0.1"), "no: user \"u\" from 10.0.0.1");
        let name = format!("a\nb\u{1b}[31m\u{202e}\"{}", "c".repeat(10_000));
        let line = failure_line("no", &name, "fe80::1:2:3:4");
        assert!(line.starts_with("no: user \"a\\nb\\u{1b}[31m\\u{202e}\\\"cc"), "{line}");
        assert!(line.ends_with("c\" from fe80::") && line.len() < 2 * limits::USER_NAME_CHARS_MAX);
    }
}
