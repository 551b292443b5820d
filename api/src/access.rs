//! Who calls, and whether they may: the one place that answers, for HTTP and gRPC alike. A route says what
//! it needs (`router`), a call says about what; here the user is found, by token or by name and password,
//! and the users of `nacolet-auth` are asked.
//!
//! What a call is about is read strictly: every spelling of a namespace or group that it has must be
//! permitted, whichever of them its handler goes by, so that no two readings of one call can differ.
//!
//! Reading order: this file, then `token` and `password`.

mod password;
mod token;

use std::sync::{Arc, RwLock, RwLockReadGuard};

use nacolet_auth::{Action, Kind, Resource, Users};
use nacolet_model::{ConfigKey, Group, Instant, Namespace, WallTime};

use crate::call::Call;
use crate::params::Params;
use crate::request::Port;
use crate::router::{Permission, Rule, Scope};
use crate::status::Failure;

pub use password::{PasswordError, hash};
pub(crate) use token::LIFE_S;

/// Any, in a question about many things at once.
const ANY: &str = "*";

/// The guard of a server.
pub(crate) struct Access {
    users: Arc<RwLock<Users>>,
    on: bool,
    clock: token::Clock,
    gate: password::Gate,
}

/// Why somebody is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// No credentials, or wrong ones.
    Unknown(&'static str),
    /// Known, and not allowed to.
    Forbidden,
    /// Too many wrong passwords, or too many at once.
    TooMany,
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unknown(words) => Self::denied(words),
            Denied::Forbidden => Self::denied("authorization failed!"),
            Denied::TooMany => Self::too_many("too many wrong passwords, or too many at once"),
        }
    }
}

const NO_USER: Denied = Denied::Unknown("user not found!");
const BAD_TOKEN: Denied = Denied::Unknown("token invalid or expired!");
const BAD_PASSWORD: Denied = Denied::Unknown("unknown user!");

impl Access {
    /// A guard that asks the users of this port.
    pub(crate) fn new(port: &Port) -> Self {
        Self {
            users: Arc::clone(&port.users),
            on: port.auth,
            clock: token::Clock::new((port.clock)()),
            gate: password::Gate::new(),
        }
    }

    /// Whether anybody has to log in.
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// The users, for reading. Never held across an await.
    pub(crate) fn users(&self) -> RwLockReadGuard<'_, Users> {
        self.users.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Finds out who calls and whether they may, and writes the user down in the call.
    pub(crate) async fn check(
        &self,
        now: (Instant, WallTime),
        rule: &Rule,
        call: &mut Call,
    ) -> Result<(), Denied> {
        if !self.on || rule.permission == Permission::Open {
            return Ok(());
        }
        let user = self.identify(now, call).await?;
        let users = self.users();
        let may = match rule.permission.asks() {
            None => rule.permission != Permission::Admin || users.is_admin(&user),
            Some((kind, action)) => {
                let params = call.params();
                let permits = |asked: Resource<'_>| users.permits(&user, action, &asked);
                match (rule.scope)(call) {
                    Scope::Named => Asked::new(call, &params, kind).all(kind, permits),
                    Scope::Namespace => Asked::whole(call, &params).all(kind, permits),
                    Scope::All => permits(everything(kind)),
                    Scope::Handler => true,
                }
            }
        };
        drop(users);
        call.user = Some(user);
        if may { Ok(()) } else { Err(Denied::Forbidden) }
    }

    async fn identify(&self, now: (Instant, WallTime), call: &Call) -> Result<Arc<str>, Denied> {
        if let Some(token) = header_token(call) {
            return self.user_of(now, token);
        }
        let (name, password) = {
            let params = call.params();
            if let Some(token) = params.text("accessToken") {
                return self.user_of(now, token);
            }
            match (params.text("username"), params.raw("password")) {
                (Some(name), Some(password)) => (name.to_owned(), password.to_owned()),
                _ => return Err(NO_USER),
            }
        };
        self.verify(now.0, &name, password, &call.ip).await
    }

    /// The user that a token was made for.
    pub(crate) fn user_of(
        &self,
        now: (Instant, WallTime),
        token: &str,
    ) -> Result<Arc<str>, Denied> {
        let users = self.users();
        let claims = users.key().and_then(|key| token::read(key, token)).ok_or(BAD_TOKEN)?;
        let is_current = users.user(&claims.sub).is_some_and(|user| user.since == claims.pwd);
        let is_alive = self.clock.is_alive(now, claims.exp);
        if is_current && is_alive { Ok(claims.sub.into()) } else { Err(BAD_TOKEN) }
    }

    /// The user, if the password is right.
    pub(crate) async fn verify(
        &self,
        now: Instant,
        name: &str,
        password: String,
        ip: &str,
    ) -> Result<Arc<str>, Denied> {
        let known = self.users().user(name).cloned();
        self.gate.verify(now, name, known, password, ip).await?;
        Ok(name.into())
    }

    /// A token for this user, who has just shown the password.
    pub(crate) fn token(&self, now: (Instant, WallTime), name: &str) -> Result<String, Denied> {
        let users = self.users();
        let (Some(key), Some(user)) = (users.key(), users.user(name)) else {
            return Err(BAD_PASSWORD);
        };
        token::make(key, name, user.since, self.clock.expiry(now)).ok_or(BAD_PASSWORD)
    }

    /// The hash of a new password, made when it is its turn.
    pub(crate) async fn hash(&self, name: &str, password: String) -> Result<Box<str>, Failure> {
        let _turn = self.gate.turn(name, &password).await?;
        Ok(smol::unblock(move || hash(&password)).await?)
    }

    /// Whether this caller administers; with authentication off everybody does.
    pub(crate) fn check_admin(&self, user: Option<&str>) -> Result<(), Denied> {
        let may = !self.on || user.is_some_and(|user| self.users().is_admin(user));
        if may { Ok(()) } else { Err(Denied::Forbidden) }
    }

    /// Whether this caller may; with authentication off everybody may.
    pub(crate) fn permits(
        &self,
        user: Option<&str>,
        action: Action,
        asked: &Resource<'_>,
    ) -> Result<(), Denied> {
        let may = !self.on || user.is_some_and(|user| self.users().permits(user, action, asked));
        if may { Ok(()) } else { Err(Denied::Forbidden) }
    }
}

/// A token in the headers, in either spelling.
pub(crate) fn header_token(call: &Call) -> Option<&str> {
    let bearer = call.header("authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    call.header("accesstoken").filter(|token| !token.is_empty()).or(bearer)
}

/// All of one kind.
pub(crate) fn everything(kind: Kind) -> Resource<'static> {
    Resource { namespace: ANY, group: ANY, kind, name: ANY }
}

/// All of one kind in one namespace.
pub(crate) fn whole(namespace: &str, kind: Kind) -> Resource<'_> {
    Resource { namespace, group: ANY, kind, name: ANY }
}

/// One config.
pub(crate) fn config(key: &ConfigKey) -> Resource<'_> {
    let (namespace, group) = (key.namespace.as_str(), key.group.as_str());
    Resource { namespace, group, kind: Kind::Config, name: key.data_id.as_str() }
}

/// What a call is about, in every spelling that it has.
struct Asked<'p> {
    namespaces: Vec<&'p str>,
    groups: Vec<&'p str>,
    name: &'p str,
}

impl<'p> Asked<'p> {
    /// The names of a call, of this kind: the words of the other kind mean nothing to its handler.
    fn new(call: &Call, params: &'p Params<'_>, kind: Kind) -> Self {
        let asked = Self::whole(call, params);
        let given = ["group", "groupName"].into_iter().filter_map(|group| params.text(group));
        let mut groups: Vec<&str> = given.collect();
        let name = match kind {
            Kind::Config => params.text("dataId").unwrap_or(ANY),
            Kind::Naming => {
                match params.text("serviceName").map(|name| name.split_once("@@").ok_or(name)) {
                    // A grouped name goes before the parameter beside it; both must be permitted.
                    Some(Ok((group, name))) => {
                        groups.push(group);
                        name
                    }
                    Some(Err(name)) => {
                        if groups.is_empty() {
                            groups.push(Group::DEFAULT);
                        }
                        name
                    }
                    None => ANY,
                }
            }
        };
        if groups.is_empty() {
            groups.push(ANY);
        }
        Self { groups, name, ..asked }
    }

    /// The namespaces of a call, and all that is in them.
    fn whole(call: &Call, params: &'p Params<'_>) -> Self {
        let path = call.path();
        // The one word that the handlers of a family go by, where it is missing the default namespace.
        let is_v1 = path.contains("/v1/cs/") || path.ends_with("/searchDetail");
        let word = if is_v1 { "tenant" } else { "namespaceId" };
        let others = ["tenant", "namespaceId", "namespace"].into_iter();
        let others = others.filter(|other| *other != word).filter_map(|other| params.text(other));
        let canonical = |text| Namespace::canonical(text).unwrap_or(text);
        let namespaces = [params.text_or(word, "")].into_iter().chain(others).map(canonical);
        Self { namespaces: namespaces.collect(), groups: vec![ANY], name: ANY }
    }

    fn all(&self, kind: Kind, permits: impl Fn(Resource<'_>) -> bool) -> bool {
        let name = self.name;
        self.namespaces.iter().all(|namespace| {
            self.groups.iter().all(|group| permits(Resource { namespace, group, kind, name }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(uri: &str, kind: Option<Kind>) -> Vec<String> {
        let call = Call { uri: uri.parse().expect("a URI"), ..Call::default() };
        let params = call.params();
        let asked = match kind {
            Some(kind) => Asked::new(&call, &params, kind),
            None => Asked::whole(&call, &params),
        };
        let found = std::cell::RefCell::new(Vec::new());
        asked.all(Kind::Config, |Resource { namespace, group, name, .. }| {
            found.borrow_mut().push(format!("{namespace}:{group}:{name}"));
            true
        });
        found.into_inner()
    }

    #[test]
    fn every_spelling_in_a_call_must_be_permitted() {
        let config = |uri: &str, expected: &[&str]| {
            assert_eq!(asked(uri, Some(Kind::Config)), expected, "{uri}");
        };
        config("/nacos/v1/cs/configs?tenant=a&group=g&dataId=x", &["a:g:x"]);
        config("/nacos/v1/cs/configs?group=g&dataId=x", &["public:g:x"]);
        config("/nacos/v1/cs/configs?namespaceId=a&group=g&dataId=x", &["public:g:x", "a:g:x"]);
        config("/nacos/v2/cs/config?tenant=a&group=g&dataId=x", &["public:g:x", "a:g:x"]);
        config(
            "/nacos/v2/cs/config?namespaceId=a&group=g&groupName=h&dataId=x",
            &["a:g:x", "a:h:x"],
        );
        config("/nacos/v1/cs/configs?group=g&dataId=a@@b&serviceName=s", &["public:g:a@@b"]);
        config("/nacos/v1/cs/configs?serviceName=s", &["public:*:*"]);
        config("/nacos/v1/cs/configs?tenant=%20public%20&dataId=x", &["public:*:x"]);
        let naming = |uri: &str, expected: &[&str]| {
            assert_eq!(asked(uri, Some(Kind::Naming)), expected, "{uri}");
        };
        naming("/nacos/v1/ns/instance?namespaceId=a&serviceName=g@@s", &["a:g:s"]);
        naming("/nacos/v1/ns/instance?serviceName=g@@s&groupName=h", &["public:h:s", "public:g:s"]);
        naming("/nacos/v1/ns/instance?serviceName=s&dataId=x", &["public:DEFAULT_GROUP:s"]);
        naming("/nacos/v1/ns/instance?dataId=x", &["public:*:*"]);
        let whole = asked("/nacos/v1/ns/service/list?groupName=g&serviceName=s", None);
        assert_eq!(whole, ["public:*:*"]);
    }
}
