//! The administration of users, roles and permissions, in the paths of Nacos 1 and 2 (`/v1/auth`)
//! and 3 (`/v3/auth`). Both do the same and answer in other shapes.

use std::sync::Arc;

use hyper::Method;
use nacolet_auth::{Actions, Begin, Command, CommandError, Name, Pattern, Permission, What};
use nacolet_config::like;
use serde::Serialize;

use crate::access;
use crate::access::Login;
use crate::access::about::About;
use crate::access::rule::Permission as Needs;
use crate::access::token::random_key;
use crate::http::answer::HttpAnswer;
use crate::http::failure::{Code, Failure};
use crate::http::paging::{PageOf, page};
use crate::http::params::{Fields, Id, Parts, field};
use crate::node::operate;
use crate::port::request::WriteError;
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::state::State;

/// Items of a page where the caller names no number.
const PAGE_SIZE: usize = 100;
/// Most items of a page.
const PAGE_SIZE_MAX: usize = 500;
/// What is shown instead of the hash of a password.
const HIDDEN: &str = "******";

pub(crate) fn routes(routes: &mut Routes) {
    use Needs::{Admin, Console};
    let user = named_user;
    // The first family has its users in two places.
    for [one, list, search] in [
        ["/v1/auth", "/v1/auth", "/v1/auth/search"],
        ["/v1/auth/users", "/v1/auth/users", "/v1/auth/users/search"],
        ["/v3/auth/user", "/v3/auth/user/list", "/v3/auth/user/search"],
    ] {
        routes
            .at(one)
            .later(Method::POST, Admin, user, create_user)
            // Everybody may change the own password.
            .later(Method::PUT, Console, user, set_password)
            .later(Method::DELETE, Admin, user, remove_user);
        routes.at(list).now(Method::GET, Admin, UserFilter::decode, users);
        routes.at(search).now(Method::GET, Admin, user_text, user_names);
    }
    for [one, list, search] in [
        ["/v1/auth/roles", "/v1/auth/roles", "/v1/auth/roles/search"],
        ["/v3/auth/role", "/v3/auth/role/list", "/v3/auth/role/search"],
    ] {
        routes.at(one).later(Method::POST, Admin, add_role, change).later(
            Method::DELETE,
            Admin,
            remove_role,
            change,
        );
        routes.at(list).now(Method::GET, Admin, UserFilter::decode, roles);
        routes.at(search).now(Method::GET, Admin, role_text, role_names);
    }
    for one in ["/v1/auth/permissions", "/v3/auth/permission"] {
        routes.at(one).later(Method::POST, Admin, permit, change).later(
            Method::DELETE,
            Admin,
            forbid,
            change,
        );
    }
    routes.at("/v1/auth/permissions").now(Method::GET, Admin, PermissionQuery::decode, asked);
    routes.at("/v3/auth/permission").now(Method::GET, Admin, Permitted::decode, is_permitted);
    routes.at("/v3/auth/permission/list").now(Method::GET, Admin, UserFilter::decode, permissions);
}

/// A user.
impl About for Name {}

fn named_user(parts: &Parts<'_>) -> Result<Name, Failure> {
    name(parts, Id::USERNAME)
}

fn name(parts: &Parts<'_>, id: Id) -> Result<Name, Failure> {
    Ok(Name::new(parts.required_id(id)?)?)
}

/// A change without a password: the command, unless there is nothing to do, and the words that say
/// that it is done.
struct UserChange(Option<Command>, String);

impl About for UserChange {}

fn add_role(parts: &Parts<'_>) -> Result<UserChange, Failure> {
    let (role, user) = (name(parts, Id::ROLE)?, named_user(parts)?);
    Ok(UserChange(Some(Command::AddRole { role, user }), "add role ok!".to_owned()))
}

fn remove_role(parts: &Parts<'_>) -> Result<UserChange, Failure> {
    let role = name(parts, Id::ROLE)?;
    let user = parts.id(Id::USERNAME)?.map(Name::new).transpose()?;
    let words = format!("delete role of user {} ok!", user.as_ref().map_or("", Name::as_str));
    Ok(UserChange(Some(Command::RemoveRole { role, user }), words))
}

fn permit(parts: &Parts<'_>) -> Result<UserChange, Failure> {
    let role = name(parts, Id::ROLE)?;
    let resource = Pattern::new(parts.required_id(Id::RESOURCE)?)?;
    let actions = Actions::parse(parts.fields.required(field::ACTION)?);
    let actions = actions.ok_or(Failure::invalid("Param 'action' must be r, w or rw"))?;
    Ok(UserChange(
        Some(Command::Permit { role, resource, actions }),
        "add permission ok!".to_owned(),
    ))
}

fn forbid(parts: &Parts<'_>) -> Result<UserChange, Failure> {
    let Permitted { role, permission } = Permitted::decode(parts)?;
    let command = permission.map(|Permission { resource, actions }| Command::Forbid {
        role,
        resource,
        actions,
    });
    Ok(UserChange(command, "delete permission ok!".to_owned()))
}

/// A permission that a role may have; none where what is asked for is no permission.
struct Permitted {
    role: Name,
    permission: Option<Permission>,
}

impl About for Permitted {}

impl Permitted {
    fn decode(parts: &Parts<'_>) -> Result<Self, Failure> {
        let role = name(parts, Id::ROLE)?;
        let resource = Pattern::new(parts.required_id(Id::RESOURCE)?).ok();
        let actions = Actions::parse(parts.fields.required(field::ACTION)?);
        let permission = resource.zip(actions);
        let permission = permission.map(|(resource, actions)| Permission { resource, actions });
        Ok(Self { role, permission })
    }
}

/// Does what is asked, where it is not done already: what is gone can be removed again, and what is
/// permitted be permitted again.
async fn change(state: Arc<State>, ask: Ask<UserChange>) -> Result<HttpAnswer, Failure> {
    check_changer(&state, &ask)?;
    let UserChange(command, words) = ask.about;
    if let Some(command) = command {
        make(&state, &Changer { user: ask.user, ip: ask.ip }, command).await?;
    }
    Ok(done(ask.is_v3, &words))
}

/// Who changes something.
pub(crate) struct Changer {
    pub(crate) user: Option<Arc<Login>>,
    pub(crate) ip: Arc<str>,
}

/// Changes something, and says in the log of this node who did.
pub(crate) async fn write(
    state: &State,
    by: &Changer,
    command: Command,
) -> Result<(), WriteError<CommandError>> {
    let what = told(&command);
    state.write_auth(command).await?;
    let user = by.user.as_deref().map_or("nobody", Login::name);
    tracing::info!(by = user, address = %by.ip, "{what}");
    Ok(())
}

/// What a command does, without hashes and keys.
fn told(command: &Command) -> String {
    match command {
        Command::Begin(Begin { user, .. }) => {
            format!("the administrator {} is made", user.as_str())
        }
        Command::CreateUser { user, .. } => format!("the user {} is made", user.as_str()),
        Command::SetPassword { user, .. } => {
            format!("the user {} has another password", user.as_str())
        }
        Command::RemoveUser { user } => format!("the user {} is removed", user.as_str()),
        Command::AddRole { role, user } => {
            format!("the user {} gets the role {}", user.as_str(), role.as_str())
        }
        Command::RemoveRole { role, user } => {
            let user = user.as_ref().map_or("everybody", Name::as_str);
            format!("the role {} is taken from {user}", role.as_str())
        }
        Command::Permit { role, resource, actions } => {
            format!("the role {} may {} {}", role.as_str(), actions.as_str(), resource.as_str())
        }
        Command::Forbid { role, resource, actions } => {
            let (role, actions) = (role.as_str(), actions.as_str());
            format!("the role {role} may {actions} {} no more", resource.as_str())
        }
        Command::Open { .. } => "tokens can be made".to_owned(),
    }
}

async fn make(state: &State, by: &Changer, command: Command) -> Result<(), Failure> {
    let is_removal = matches!(
        command,
        Command::RemoveUser { .. } | Command::RemoveRole { .. } | Command::Forbid { .. }
    );
    match write(state, by, command).await {
        Err(WriteError::Refused(CommandError::Unknown(_))) if is_removal => Ok(()),
        Err(WriteError::Refused(CommandError::Exists(What::Permission))) => Ok(()),
        outcome => Ok(outcome?),
    }
}

/// How a family of paths answers.
fn shown(is_v3: bool, value: &impl Serialize) -> HttpAnswer {
    if is_v3 { HttpAnswer::result(value) } else { HttpAnswer::json(value) }
}

fn done(is_v3: bool, words: &str) -> HttpAnswer {
    if is_v3 { HttpAnswer::result(words) } else { HttpAnswer::rest_result(words) }
}

/// Where nobody has to log in, whoever makes users decides who may do what once somebody has to: no
/// stranger does.
fn check_changer<T>(state: &State, ask: &Ask<T>) -> Result<(), Failure> {
    if state.access.is_on() || operate::is_own_host(&state.settings, ask) {
        return Ok(());
    }
    Err(Failure::denied("while nobody has to log in, users are changed from the node's own host"))
}

async fn create_user(state: Arc<State>, ask: Ask<Name>) -> Result<HttpAnswer, Failure> {
    check_changer(&state, &ask)?;
    let password = ask.params.present(field::PASSWORD)?.to_owned();
    let (user, is_v3) = (ask.about, ask.is_v3);
    let by = Changer { user: ask.user, ip: ask.ip };
    let access = &state.access;
    let hash = access.hash(user.as_str(), password).await?;
    // Where nobody has to log in there may be users before anybody administers.
    if !access.is_on() && access.users().is_empty() {
        write(&state, &by, Command::Open { key: random_key()? }).await?;
    }
    write(&state, &by, Command::CreateUser { user, hash }).await?;
    Ok(done(is_v3, "create user ok!"))
}

/// An administrator stays: the role goes first.
async fn remove_user(state: Arc<State>, ask: Ask<Name>) -> Result<HttpAnswer, Failure> {
    check_changer(&state, &ask)?;
    let (user, is_v3) = (ask.about, ask.is_v3);
    if state.access.users().is_admin(user.as_str()) {
        return Err(Failure::invalid(format!("cannot delete admin: {}", user.as_str())));
    }
    make(&state, &Changer { user: ask.user, ip: ask.ip }, Command::RemoveUser { user }).await?;
    Ok(done(is_v3, "delete user ok!"))
}

async fn set_password(state: Arc<State>, ask: Ask<Name>) -> Result<HttpAnswer, Failure> {
    check_changer(&state, &ask)?;
    let password = ask.params.present(field::NEW_PASSWORD)?.to_owned();
    let access = &state.access;
    match ask.user.as_deref().filter(|user| user.name() == ask.about.as_str()) {
        // Nacos knows no old password: a login of a moment ago stands for it. A token that somebody
        // else found is not enough to take the account over.
        Some(own) if !access.is_fresh(state.now(), own) => {
            let old = ask.params.raw(field::OLD_PASSWORD).map(str::to_owned);
            let words = "oldPassword is needed, or a login within the last five minutes";
            let old = old.ok_or(Failure::denied(words))?;
            access.verify(state.now(), own.name(), old, &ask.ip).await?;
        }
        Some(_) => {}
        None => access.check_admin(ask.user.as_deref())?,
    }
    let (user, is_v3) = (ask.about, ask.is_v3);
    let hash = access.hash(user.as_str(), password).await?;
    let by = Changer { user: ask.user, ip: ask.ip };
    write(&state, &by, Command::SetPassword { user, hash }).await?;
    Ok(done(is_v3, "update user ok!"))
}

/// What a list of users, roles or permissions is narrowed by.
struct UserFilter {
    username: Box<str>,
    role: Box<str>,
}

impl UserFilter {
    fn decode(parts: &Parts<'_>) -> Result<Self, Failure> {
        let username = parts.id_or(Id::USERNAME, "")?.into();
        Ok(Self { username, role: parts.id_or(Id::ROLE, "")?.into() })
    }
}

impl About for UserFilter {}

/// Which names a call asks for: `search=blur` those that its text is like, where `*` is any text;
/// else the one that it is, and everything where there is no text.
struct NameFilter<'p> {
    text: &'p str,
    is_blurred: bool,
}

impl<'p> NameFilter<'p> {
    fn new(params: &Fields, text: &'p str) -> Self {
        Self { text, is_blurred: params.is(field::SEARCH, "blur") }
    }

    fn takes(&self, name: &str) -> bool {
        self.text.is_empty() || name == self.text || self.is_blurred && like(self.text, name)
    }
}

/// One page of what a call asks for. The first family has a list for each kind of search, and
/// none without.
fn paged<T: Serialize, A>(
    ask: &Ask<A>,
    items: impl Iterator<Item = T>,
) -> Result<HttpAnswer, Failure> {
    if !ask.is_v3 && !["accurate", "blur"].iter().any(|kind| ask.params.is(field::SEARCH, kind)) {
        return Err(Failure::unrouted());
    }
    for field in [field::PAGE_NO, field::PAGE_SIZE] {
        ask.params.required(field)?;
    }
    let asked = ask.params.page(PAGE_SIZE, PAGE_SIZE_MAX)?;
    let (total, items) = page(items, asked);
    Ok(shown(ask.is_v3, &PageOf::asked(total, asked, items)))
}

fn users(state: &State, ask: &Ask<UserFilter>) -> Result<HttpAnswer, Failure> {
    #[derive(Serialize)]
    struct User<'a> {
        username: &'a str,
        password: &'static str,
    }
    let filter = NameFilter::new(&ask.params, &ask.about.username);
    let users = state.access.users();
    let found = users.names().filter(|name| filter.takes(name));
    paged(ask, found.map(|username| User { username, password: HIDDEN }))
}

fn roles(state: &State, ask: &Ask<UserFilter>) -> Result<HttpAnswer, Failure> {
    #[derive(Serialize)]
    struct Role<'a> {
        role: &'a str,
        username: &'a str,
    }
    let (of_user, of_role) = (
        NameFilter::new(&ask.params, &ask.about.username),
        NameFilter::new(&ask.params, &ask.about.role),
    );
    let users = state.access.users();
    let found = users.roles().filter(|(role, user)| of_role.takes(role) && of_user.takes(user));
    paged(ask, found.map(|(role, username)| Role { role, username }))
}

/// What a list of permissions of the first family is about, or the one permission that is asked
/// for.
enum PermissionQuery {
    List(UserFilter),
    One(Permitted),
}

impl About for PermissionQuery {}

impl PermissionQuery {
    fn decode(parts: &Parts<'_>) -> Result<Self, Failure> {
        if parts.fields.text(field::SEARCH).is_some() {
            return UserFilter::decode(parts).map(Self::List);
        }
        Permitted::decode(parts).map(Self::One)
    }
}

fn asked(state: &State, ask: &Ask<PermissionQuery>) -> Result<HttpAnswer, Failure> {
    match &ask.about {
        PermissionQuery::List(names) => list_permissions(state, ask, names),
        PermissionQuery::One(permitted) => Ok(HttpAnswer::result(&has(state, permitted))),
    }
}

fn is_permitted(state: &State, ask: &Ask<Permitted>) -> Result<HttpAnswer, Failure> {
    Ok(HttpAnswer::result(&has(state, &ask.about)))
}

/// Whether this very permission is one of the role.
fn has(state: &State, Permitted { role, permission }: &Permitted) -> bool {
    let users = state.access.users();
    let mut of_role = users.permissions().filter(|(name, _)| *name == role.as_str());
    of_role.any(|(_, known)| permission.as_ref() == Some(known))
}

fn permissions(state: &State, ask: &Ask<UserFilter>) -> Result<HttpAnswer, Failure> {
    list_permissions(state, ask, &ask.about)
}

fn list_permissions<A>(
    state: &State,
    ask: &Ask<A>,
    of: &UserFilter,
) -> Result<HttpAnswer, Failure> {
    #[derive(Serialize)]
    struct Permission<'a> {
        role: &'a str,
        resource: &'a str,
        action: &'static str,
    }
    let filter = NameFilter::new(&ask.params, &of.role);
    let users = state.access.users();
    let found = users.permissions().filter(|(role, _)| filter.takes(role));
    paged(
        ask,
        found.map(|(role, permission)| Permission {
            role,
            resource: permission.resource.as_str(),
            action: permission.actions.as_str(),
        }),
    )
}

/// A part of a name, for a console that completes it.
struct NamePart(Box<str>);

impl About for NamePart {}

fn user_text(parts: &Parts<'_>) -> Result<NamePart, Failure> {
    Ok(NamePart(parts.present_id(Id::USERNAME)?.into()))
}

fn role_text(parts: &Parts<'_>) -> Result<NamePart, Failure> {
    Ok(NamePart(parts.present_id(Id::ROLE)?.into()))
}

fn user_names(state: &State, ask: &Ask<NamePart>) -> Result<HttpAnswer, Failure> {
    let users = state.access.users();
    let names = users.names().filter(|name| name.contains(&*ask.about.0));
    Ok(shown(ask.is_v3, &names.collect::<Vec<_>>()))
}

fn role_names(state: &State, ask: &Ask<NamePart>) -> Result<HttpAnswer, Failure> {
    let users = state.access.users();
    let mut names: Vec<&str> = users.roles().map(|(role, _)| role).collect();
    names.dedup();
    names.retain(|name| name.contains(&*ask.about.0));
    Ok(shown(ask.is_v3, &names))
}

impl From<nacolet_auth::NameError> for Failure {
    fn from(error: nacolet_auth::NameError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<nacolet_auth::PatternError> for Failure {
    fn from(error: nacolet_auth::PatternError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<access::PasswordError> for Failure {
    fn from(error: access::PasswordError) -> Self {
        match error {
            access::PasswordError::Length => Self::invalid(error.to_string()),
            access::PasswordError::Hash | access::PasswordError::Random => {
                Self::unavailable(error.to_string())
            }
        }
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        use CommandError as Error;
        let words = error.to_string();
        match error {
            Error::Unknown(_) | Error::Exists(_) | Error::LastAdministrator => Self::invalid(words),
            Error::NotBegun => Self::conflict(Code::RESOURCE_CONFLICT, words),
            Error::TooMany(_) => Self::conflict(Code::OVER_CLUSTER_QUOTA, words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_what_changed_and_no_secret() {
        let name = |text| Name::new(text).expect("a name");
        let (user, role, hash) = (name("u"), name("r"), "a hash");
        let resource = Pattern::new("public:*:*").expect("a pattern");
        let actions = Actions::parse("rw").expect("actions");
        let cases = [
            (Command::CreateUser { user: user.clone(), hash: hash.into() }, "the user u is made"),
            (
                Command::SetPassword { user: user.clone(), hash: hash.into() },
                "the user u has another password",
            ),
            (
                Command::AddRole { role: role.clone(), user: user.clone() },
                "the user u gets the role r",
            ),
            (
                Command::RemoveRole { role: role.clone(), user: None },
                "the role r is taken from everybody",
            ),
            (Command::Permit { role, resource, actions }, "the role r may rw public:*:*"),
            (Command::Open { key: [7; 32] }, "tokens can be made"),
        ];
        for (command, words) in cases {
            assert_eq!(told(&command), words);
        }
    }
}
