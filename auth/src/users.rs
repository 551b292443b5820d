//! Users, roles and permissions, and the question they are there for.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};

use nacolet_model::limits;

use crate::command::{ApplyError, Begin, Command, CommandError, Key, Name, What};
use crate::resource::{Action, Permission, Resource};

/// The role of those who may do everything (Nacos `AuthConstants.GLOBAL_ADMIN_ROLE`).
pub const ADMIN_ROLE: &str = "ROLE_ADMIN";

/// One user.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Hash of the password.
    pub hash: Box<str>,
    /// Log index of the command that set the password: a token made before is worth nothing.
    pub since: u64,
}

/// All of them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Users {
    pub(crate) key: Option<Key>,
    pub(crate) users: BTreeMap<Box<str>, User>,
    /// By role: who has it. Never empty.
    pub(crate) roles: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
    /// By role, each of which somebody has.
    pub(crate) permissions: BTreeMap<Box<str>, BTreeSet<Permission>>,
}

/// Counts, and shows no secret.
impl core::fmt::Debug for Users {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} users, {} roles", self.users.len(), self.roles.len())
    }
}

impl Users {
    /// Nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is no key of tokens, and so no user.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.key.is_none()
    }

    /// Whether somebody administers; from then on somebody always does.
    #[must_use]
    pub fn has_admin(&self) -> bool {
        self.roles.contains_key(ADMIN_ROLE)
    }

    /// What signs tokens; nothing before there is a user.
    #[must_use]
    pub fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    /// One user.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    /// Names of all users, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(|name| &**name)
    }

    /// Every role with everybody who has it, in order.
    pub fn roles(&self) -> impl Iterator<Item = (&str, &str)> {
        self.roles.iter().flat_map(|(role, users)| users.iter().map(|user| (&**role, &**user)))
    }

    /// Every permission with its role, in order.
    pub fn permissions(&self) -> impl Iterator<Item = (&str, &Permission)> {
        self.permissions.iter().flat_map(|(role, all)| all.iter().map(|one| (&**role, one)))
    }

    /// Whether this user may do everything.
    #[must_use]
    pub fn is_admin(&self, user: &str) -> bool {
        self.has(ADMIN_ROLE, user)
    }

    /// Whether this user may do this with all that is asked for.
    #[must_use]
    pub fn permits(&self, user: &str, action: Action, asked: &Resource<'_>) -> bool {
        let covers = |permission: &Permission| {
            permission.actions.allow(action) && permission.resource.covers(asked)
        };
        self.is_admin(user)
            || self
                .permissions
                .iter()
                .any(|(role, all)| self.has(role, user) && all.iter().any(covers))
    }

    /// Whether this user may do anything at all in a namespace.
    #[must_use]
    pub fn reaches(&self, user: &str, namespace: &str) -> bool {
        let reaches = |permission: &Permission| permission.resource.reaches(namespace);
        self.is_admin(user)
            || self
                .permissions
                .iter()
                .any(|(role, all)| self.has(role, user) && all.iter().any(reaches))
    }

    fn has(&self, role: &str, user: &str) -> bool {
        self.roles.get(role).is_some_and(|users| users.contains(user))
    }

    /// Applies a command from the log, whoever put it there.
    ///
    /// # Errors
    /// See [`ApplyError`]; nothing changed.
    pub fn apply_logged(&mut self, index: u64, command: Command) -> Result<(), ApplyError> {
        command.check().map_err(ApplyError::Invalid)?;
        self.apply(index, command).map_err(ApplyError::Refused)
    }

    /// Applies a command that is known to be valid, see [`Self::apply_logged`].
    ///
    /// # Errors
    /// It does not fit; nothing changed.
    pub fn apply(&mut self, index: u64, command: Command) -> Result<(), CommandError> {
        if self.is_empty() && !matches!(command, Command::Begin(_) | Command::Open { .. }) {
            return Err(CommandError::NotBegun);
        }
        match command {
            Command::Begin(begin) => self.begin(index, begin),
            Command::CreateUser { user, hash } => self.create(index, &user, hash),
            Command::SetPassword { user, hash } => {
                let known = self.users.get_mut(user.as_str());
                let known = known.ok_or(CommandError::Unknown(What::User))?;
                *known = User { hash, since: index };
                Ok(())
            }
            Command::RemoveUser { user } => self.remove(user.as_str()),
            Command::AddRole { role, user } => self.add_role(role.as_str(), user.as_str()),
            Command::RemoveRole { role, user } => {
                self.remove_role(role.as_str(), user.as_ref().map(Name::as_str))
            }
            Command::Permit { role, resource, actions } => {
                self.permit(role.as_str(), Permission { resource, actions })
            }
            Command::Forbid { role, resource, actions } => {
                self.forbid(role.as_str(), &Permission { resource, actions })
            }
            Command::Open { key } => {
                self.key.get_or_insert(key);
                Ok(())
            }
        }
    }

    /// There is room, see [`Self::reserved`].
    fn begin(&mut self, index: u64, begin: Begin) -> Result<(), CommandError> {
        if self.has_admin() {
            return Err(CommandError::Exists(What::User));
        }
        let Begin { user, hash, key } = begin;
        self.key = Some(key);
        self.users.insert(user.as_str().into(), User { hash, since: index });
        self.roles.entry(ADMIN_ROLE.into()).or_default().insert(user.as_str().into());
        Ok(())
    }

    /// Places that nobody but the first administrator gets.
    pub(crate) fn reserved(&self) -> usize {
        usize::from(!self.has_admin())
    }

    fn create(&mut self, index: u64, user: &Name, hash: Box<str>) -> Result<(), CommandError> {
        if self.users.contains_key(user.as_str()) {
            return Err(CommandError::Exists(What::User));
        }
        if self.users.len() + self.reserved() >= limits::USERS_MAX {
            return Err(CommandError::TooMany(What::User));
        }
        self.users.insert(user.as_str().into(), User { hash, since: index });
        Ok(())
    }

    fn remove(&mut self, user: &str) -> Result<(), CommandError> {
        if !self.users.contains_key(user) {
            return Err(CommandError::Unknown(What::User));
        }
        if self.is_last_admin(user) {
            return Err(CommandError::LastAdministrator);
        }
        self.users.remove(user);
        self.roles.values_mut().for_each(|users| _ = users.remove(user));
        self.drop_unused();
        Ok(())
    }

    fn is_last_admin(&self, user: &str) -> bool {
        self.is_admin(user) && self.roles.get(ADMIN_ROLE).is_some_and(|users| users.len() == 1)
    }

    fn add_role(&mut self, role: &str, user: &str) -> Result<(), CommandError> {
        if !self.users.contains_key(user) {
            return Err(CommandError::Unknown(What::User));
        }
        if self.has(role, user) {
            return Err(CommandError::Exists(What::Role));
        }
        if self.roles().count() + self.reserved() >= limits::USER_ROLES_MAX {
            return Err(CommandError::TooMany(What::Role));
        }
        self.roles.entry(role.into()).or_default().insert(user.into());
        Ok(())
    }

    fn remove_role(&mut self, role: &str, user: Option<&str>) -> Result<(), CommandError> {
        let known = self.roles.get_mut(role).ok_or(CommandError::Unknown(What::Role))?;
        let rest = match user {
            Some(user) if !known.contains(user) => return Err(CommandError::Unknown(What::Role)),
            Some(_) => known.len() - 1,
            None => 0,
        };
        if role == ADMIN_ROLE && rest == 0 {
            return Err(CommandError::LastAdministrator);
        }
        match user {
            Some(user) => _ = known.remove(user),
            None => known.clear(),
        }
        self.drop_unused();
        Ok(())
    }

    fn permit(&mut self, role: &str, permission: Permission) -> Result<(), CommandError> {
        if !self.roles.contains_key(role) {
            return Err(CommandError::Unknown(What::Role));
        }
        if self.permissions.get(role).is_some_and(|all| all.contains(&permission)) {
            return Err(CommandError::Exists(What::Permission));
        }
        if self.permissions().count() >= limits::PERMISSIONS_MAX {
            return Err(CommandError::TooMany(What::Permission));
        }
        self.permissions.entry(role.into()).or_default().insert(permission);
        Ok(())
    }

    fn forbid(&mut self, role: &str, permission: &Permission) -> Result<(), CommandError> {
        let all = self.permissions.get_mut(role);
        let is_gone = all.is_some_and(|all| all.remove(permission));
        self.drop_unused();
        if is_gone { Ok(()) } else { Err(CommandError::Unknown(What::Permission)) }
    }

    fn drop_unused(&mut self) {
        self.roles.retain(|_, users| !users.is_empty());
        let roles = &self.roles;
        self.permissions.retain(|role, all| !all.is_empty() && roles.contains_key(role));
    }

    /// What always holds; for tests.
    ///
    /// # Panics
    /// When it does not.
    pub fn invariants(&self) {
        assert!(self.users.len() <= limits::USERS_MAX);
        assert!(self.roles().count() <= limits::USER_ROLES_MAX);
        assert!(self.permissions().count() <= limits::PERMISSIONS_MAX);
        assert!(self.roles().all(|(_, user)| self.users.contains_key(user)));
        assert!(self.permissions.keys().all(|role| self.roles.contains_key(role)));
        assert!(self.roles.values().all(|users| !users.is_empty()));
        assert!(self.permissions.values().all(|all| !all.is_empty()));
        assert!(!self.is_empty() || self.users.is_empty(), "users without a key of tokens");
        assert!(self.users.len() + self.reserved() <= limits::USERS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use nacolet_model::Prng;

    use super::*;
    use crate::resource::{Actions, Kind, Pattern};

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).expect("a resource")
    }

    fn begin(user: &str) -> Command {
        Command::Begin(Begin { user: name(user), hash: "h".into(), key: [1; 32] })
    }

    fn create(user: &str) -> Command {
        Command::CreateUser { user: name(user), hash: "h".into() }
    }

    fn role(role: &str, user: &str) -> Command {
        Command::AddRole { role: name(role), user: name(user) }
    }

    fn permit(role: &str, resource: &str, actions: Actions) -> Command {
        Command::Permit { role: name(role), resource: pattern(resource), actions }
    }

    fn begun() -> Users {
        let mut users = Users::new();
        users.apply(1, begin("root")).expect("the first");
        users
    }

    /// Applies commands one by one; what is refused changes nothing.
    fn check(story: &[(Command, Result<(), CommandError>)]) -> Users {
        let mut users = begun();
        for (number, (command, expected)) in (2..).zip(story) {
            let before = users.clone();
            assert_eq!(users.apply(number, command.clone()), *expected, "{number}: {command:?}");
            assert!(expected.is_ok() || users == before, "{number}: {command:?}");
            users.invariants();
        }
        users
    }

    #[test]
    fn the_first_user_begins_once() {
        assert_eq!(Users::new().apply(1, create("early")), Err(CommandError::NotBegun));
        let mut users = begun();
        let key = users.key().copied();
        let again = users.apply(2, begin("other"));
        assert_eq!(again, Err(CommandError::Exists(What::User)));
        assert_eq!((users.key().copied(), users.user("other").is_none()), (key, true));
        assert!(users.is_admin("root"));
    }

    #[test]
    fn users_may_be_there_before_an_administrator() {
        let mut users = Users::new();
        let open = |byte| Command::Open { key: [byte; 32] };
        assert_eq!(users.apply(1, open(7)), Ok(()));
        assert_eq!(users.apply(2, open(8)), Ok(()));
        assert_eq!(users.key(), Some(&[7; 32]), "one key");
        assert_eq!(users.apply(3, create("root")), Ok(()));
        assert_eq!(users.apply(4, role("r", "root")), Ok(()));
        assert!(!users.is_admin("root") && !users.has_admin());
        for number in 0..limits::USERS_MAX - 2 {
            assert_eq!(users.apply(5, create(&format!("u{number}"))), Ok(()));
        }
        let refused = users.apply(6, create("more"));
        assert_eq!(refused, Err(CommandError::TooMany(What::User)), "one place is kept");
        users.invariants();
        assert_eq!(users.apply(9, begin("other")), Ok(()), "whatever strangers made");
        assert_eq!(users.key(), Some(&[1; 32]), "a token of before is worth nothing");
        assert_eq!(users.apply(10, begin("root")), Err(CommandError::Exists(What::User)));
        users.invariants();
    }

    #[test]
    fn the_first_administrator_takes_its_name_over() {
        let mut users = Users::new();
        assert_eq!(users.apply(1, Command::Open { key: [7; 32] }), Ok(()));
        let mine = Command::CreateUser { user: name("root"), hash: "of a stranger".into() };
        assert_eq!(users.apply(2, mine), Ok(()));
        assert_eq!(users.apply(3, begin("root")), Ok(()));
        let root = users.user("root").expect("there");
        assert_eq!((&*root.hash, root.since, users.is_admin("root")), ("h", 3, true));
    }

    #[test]
    fn a_user_may_what_its_roles_may() {
        let users = check(&[
            (create("u"), Ok(())),
            (create("u"), Err(CommandError::Exists(What::User))),
            (permit("reader", "a:*:*", Actions::Read), Err(CommandError::Unknown(What::Role))),
            (role("reader", "nobody"), Err(CommandError::Unknown(What::User))),
            (role("reader", "u"), Ok(())),
            (role("reader", "u"), Err(CommandError::Exists(What::Role))),
            (permit("reader", "a:*:*", Actions::Read), Ok(())),
            (permit("reader", "a:*:*", Actions::Read), Err(CommandError::Exists(What::Permission))),
            (permit("reader", "b:g:config/x", Actions::Both), Ok(())),
        ]);
        let may = |user: &str, action, namespace, name| {
            let asked = Resource { namespace, group: "g", kind: Kind::Config, name };
            users.permits(user, action, &asked)
        };
        assert!(may("u", Action::Read, "a", "x"));
        assert!(!may("u", Action::Write, "a", "x"));
        assert!(may("u", Action::Write, "b", "x"));
        assert!(!may("u", Action::Read, "b", "y"));
        assert!(!may("nobody", Action::Read, "a", "x"));
        assert!(may("root", Action::Write, "c", "z"));
    }

    #[test]
    fn a_role_that_nobody_has_permits_nothing_to_the_next_who_gets_it() {
        let mut users = check(&[
            (create("u"), Ok(())),
            (role("r", "u"), Ok(())),
            (permit("r", "a:*:*", Actions::Both), Ok(())),
            (Command::RemoveUser { user: name("u") }, Ok(())),
            (create("u"), Ok(())),
            (role("r", "u"), Ok(())),
        ]);
        let asked = Resource { namespace: "a", group: "g", kind: Kind::Naming, name: "s" };
        assert!(!users.permits("u", Action::Read, &asked));
        let gone = Command::RemoveRole { role: name("r"), user: None };
        assert_eq!(users.apply(90, gone.clone()), Ok(()));
        assert_eq!(users.apply(91, gone), Err(CommandError::Unknown(What::Role)));
    }

    #[test]
    fn somebody_always_administers() {
        let last = Err(CommandError::LastAdministrator);
        let remove = |user: &str| Command::RemoveUser { user: name(user) };
        let take = |user: Option<&str>| Command::RemoveRole {
            role: name(ADMIN_ROLE),
            user: user.map(name),
        };
        check(&[
            (remove("root"), last),
            (take(Some("root")), last),
            (take(None), last),
            (create("u"), Ok(())),
            (role(ADMIN_ROLE, "u"), Ok(())),
            (take(None), last),
            (remove("root"), Ok(())),
            (take(Some("u")), last),
        ]);
    }

    #[test]
    fn a_new_password_is_of_its_time() {
        let set = Command::SetPassword { user: name("root"), hash: "new".into() };
        let unknown = Command::SetPassword { user: name("x"), hash: "new".into() };
        let users = check(&[(set, Ok(())), (unknown, Err(CommandError::Unknown(What::User)))]);
        let root = users.user("root").expect("there");
        assert_eq!((&*root.hash, root.since), ("new", 2));
    }

    #[test]
    fn one_too_many_is_refused() {
        let mut users = begun();
        for number in 1..limits::USERS_MAX {
            assert_eq!(users.apply(2, create(&format!("u{number}"))), Ok(()));
        }
        let refused = users.apply(3, create("more"));
        assert_eq!(refused, Err(CommandError::TooMany(What::User)));
        for number in 1..limits::USER_ROLES_MAX {
            let (some, user) = (format!("r{}", number % 7), format!("u{}", 1 + number / 7));
            assert_eq!(users.apply(4, role(&some, &user)), Ok(()), "{number}");
        }
        let refused = users.apply(5, role("more", "u1"));
        assert_eq!(refused, Err(CommandError::TooMany(What::Role)));
        for number in 0..limits::PERMISSIONS_MAX {
            let some = format!("a:b:config/{number}");
            assert_eq!(users.apply(6, permit("r1", &some, Actions::Read)), Ok(()));
        }
        let refused = users.apply(7, permit("r1", "a:b:c", Actions::Read));
        assert_eq!(refused, Err(CommandError::TooMany(What::Permission)));
        users.invariants();
    }

    #[test]
    fn random_commands_keep_the_invariants() {
        let mut random = Prng::new(3);
        for _ in 0..200 {
            let mut users = Users::new();
            for index in 2..100 {
                let mut pick =
                    |prefix: &str, count| name(&format!("{prefix}{}", random.below(count)));
                let (user, some) = (pick("u", 4), pick("r", 3));
                let some = if random.below(5) == 0 { name(ADMIN_ROLE) } else { some };
                let (resource, actions) = (pattern("a:b:c"), Actions::Both);
                let command = match random.below(10) {
                    8 => Command::Open { key: [2; 32] },
                    9 => begin("root"),
                    0 | 1 => Command::CreateUser { user, hash: "h".into() },
                    2 => Command::RemoveUser { user },
                    3 | 4 => Command::AddRole { role: some, user },
                    5 => Command::RemoveRole { role: some, user: Some(user) },
                    6 => Command::Permit { role: some, resource, actions },
                    _ => Command::Forbid { role: some, resource, actions },
                };
                let before = users.clone();
                if users.apply(index, command).is_err() {
                    assert!(users == before, "what is refused changes nothing");
                }
                users.invariants();
                assert!(users.has_admin() || !before.has_admin(), "somebody always administers");
            }
        }
    }
}
