//! Login, and the administration of users, roles and permissions, in the paths of Nacos 1 and 2
//! (`/v1/auth`) and 3 (`/v3/auth`). Both do the same and answer in other shapes.
//!
//! With authentication off login succeeds for everybody, because clients that have a user configured log
//! in regardless and fail on anything else (http-v1 §7).

use std::sync::Arc;

use hyper::header::AUTHORIZATION;
use hyper::{Method, StatusCode};
use nacolet_auth::{Actions, Command, Name, Pattern};
use nacolet_config::Page;
use serde::Serialize;

use crate::about::About;
use crate::access::{self, Denied, LIFE_S};
use crate::call::{Answer, Ask};
use crate::params::{Fields, Id, Parts, field};
use crate::router::{Permission, Routes};
use crate::search::PageOf;
use crate::server::State;
use crate::shapes::page;
use crate::status::{Code, Failure};

/// Token of Nacos with authentication off.
const AUTH_DISABLED: &str = "AUTH_DISABLED";
/// Items of a page where the caller names no number.
const PAGE_SIZE: usize = 100;
/// Most items of a page.
const PAGE_SIZE_MAX: usize = 500;
/// What is shown instead of the hash of a password.
const HIDDEN: &str = "******";

pub(crate) fn routes(routes: &mut Routes) {
    use Permission::{Admin, Console, Open};
    let user = named_user;
    for path in ["/v1/auth/login", "/v1/auth/users/login", "/v3/auth/user/login"] {
        routes.at(path).later(Method::POST, Open, Login::decode, login);
    }
    for [one, list, search] in [
        ["/v1/auth/users", "/v1/auth/users", "/v1/auth/users/search"],
        ["/v3/auth/user", "/v3/auth/user/list", "/v3/auth/user/search"],
    ] {
        routes
            .at(one)
            .later(Method::POST, Admin, user, create_user)
            // Everybody may change the own password.
            .later(Method::PUT, Console, user, set_password)
            .later(Method::DELETE, Admin, remove_user, change);
        routes.at(list).now(Method::GET, Admin, Names::decode, users);
        routes.at(search).now(Method::GET, Admin, Names::decode, user_names);
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
        routes.at(list).now(Method::GET, Admin, Names::decode, roles);
        routes.at(search).now(Method::GET, Admin, Names::decode, role_names);
    }
    for [one, list] in [
        ["/v1/auth/permissions", "/v1/auth/permissions"],
        ["/v3/auth/permission", "/v3/auth/permission/list"],
    ] {
        routes.at(one).later(Method::POST, Admin, permit, change).later(
            Method::DELETE,
            Admin,
            forbid,
            change,
        );
        routes.at(list).now(Method::GET, Admin, Names::decode, permissions);
    }
}

/// A user.
impl About for Name {}

fn named_user(parts: &Parts<'_>) -> Result<Name, Failure> {
    name(parts, Id::USERNAME)
}

fn name(parts: &Parts<'_>, id: Id) -> Result<Name, Failure> {
    Ok(Name::new(parts.required_id(id)?)?)
}

/// Whoever wants to log in.
struct Login(Box<str>);

impl Login {
    fn decode(parts: &Parts<'_>) -> Result<Self, Failure> {
        Ok(Self(parts.id_or(Id::USERNAME, "nacos")?.into()))
    }
}

impl About for Login {}

/// A change without a password: the command, and the words that say that it is done.
struct Change(Command, String);

impl About for Change {}

fn remove_user(parts: &Parts<'_>) -> Result<Change, Failure> {
    let user = named_user(parts)?;
    Ok(Change(Command::RemoveUser { user }, "delete user ok!".to_owned()))
}

fn add_role(parts: &Parts<'_>) -> Result<Change, Failure> {
    let (role, user) = (name(parts, Id::ROLE)?, named_user(parts)?);
    Ok(Change(Command::AddRole { role, user }, "add role ok!".to_owned()))
}

fn remove_role(parts: &Parts<'_>) -> Result<Change, Failure> {
    let role = name(parts, Id::ROLE)?;
    let user = parts.id(Id::USERNAME)?.map(Name::new).transpose()?;
    let words = match &user {
        Some(user) => format!("delete role of user {} ok!", user.as_str()),
        None => format!("delete role of user {} ok!", role.as_str()),
    };
    Ok(Change(Command::RemoveRole { role, user }, words))
}

fn permission(parts: &Parts<'_>) -> Result<(Name, Pattern, Actions), Failure> {
    let actions = Actions::parse(parts.fields.required(field::ACTION)?);
    let actions = actions.ok_or(Failure::invalid("Param 'action' must be r, w or rw"))?;
    let resource = Pattern::new(parts.required_id(Id::RESOURCE)?)?;
    Ok((name(parts, Id::ROLE)?, resource, actions))
}

fn permit(parts: &Parts<'_>) -> Result<Change, Failure> {
    let (role, resource, actions) = permission(parts)?;
    Ok(Change(Command::Permit { role, resource, actions }, "add permission ok!".to_owned()))
}

fn forbid(parts: &Parts<'_>) -> Result<Change, Failure> {
    let (role, resource, actions) = permission(parts)?;
    Ok(Change(Command::Forbid { role, resource, actions }, "delete permission ok!".to_owned()))
}

async fn change(state: Arc<State>, ask: Ask<Change>) -> Result<Answer, Failure> {
    let Change(command, words) = ask.about;
    state.write_auth(command).await?;
    Ok(done(ask.is_v3, &words))
}

async fn login(state: Arc<State>, ask: Ask<Login>) -> Result<Answer, Failure> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct LoggedIn<'a> {
        access_token: &'a str,
        token_ttl: u64,
        global_admin: bool,
        username: &'a str,
    }
    let name = &*ask.about.0;
    let password = ask.params.raw(field::PASSWORD).unwrap_or_default().to_owned();
    let access = &state.access;
    let (token, is_admin) = if access.is_on() {
        let login = match access.verify(state.now(), name, password, &ask.ip).await {
            Ok(login) => login,
            Err(denied @ Denied::TooMany) => return Err(denied.into()),
            Err(Denied::Unknown(words)) => {
                return Ok(Answer::text(words).status(StatusCode::FORBIDDEN));
            }
            Err(denied @ Denied::Forbidden) => return Err(denied.into()),
        };
        (access.token(&login)?, access.users().is_admin(name))
    } else {
        (AUTH_DISABLED.to_owned(), true)
    };
    let login = LoggedIn {
        access_token: &token,
        token_ttl: LIFE_S,
        global_admin: is_admin,
        username: name,
    };
    Ok(Answer::json(&login).header(AUTHORIZATION, &format!("Bearer {token}")))
}

/// How a family of paths answers.
fn shown(is_v3: bool, value: &impl Serialize) -> Answer {
    if is_v3 { Answer::result(value) } else { Answer::json(value) }
}

fn done(is_v3: bool, words: &str) -> Answer {
    if is_v3 { Answer::result(words) } else { Answer::rest_result_with(words, &()) }
}

async fn create_user(state: Arc<State>, ask: Ask<Name>) -> Result<Answer, Failure> {
    let password = ask.params.present(field::PASSWORD)?.to_owned();
    let (user, is_v3) = (ask.about, ask.is_v3);
    let hash = state.access.hash(user.as_str(), password).await?;
    state.write_auth(Command::CreateUser { user, hash }).await?;
    Ok(done(is_v3, "create user ok!"))
}

async fn set_password(state: Arc<State>, ask: Ask<Name>) -> Result<Answer, Failure> {
    let password = ask.params.present(field::NEW_PASSWORD)?.to_owned();
    let access = &state.access;
    match ask.user.as_deref().filter(|user| user.name() == ask.about.as_str()) {
        // Nacos knows no old password: a login of a moment ago stands for it. A token that somebody else
        // found is not enough to take the account over.
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
    state.write_auth(Command::SetPassword { user, hash }).await?;
    Ok(done(is_v3, "update user ok!"))
}

/// What a list of users, roles or permissions is narrowed by.
struct Names {
    username: Box<str>,
    role: Box<str>,
}

impl Names {
    fn decode(parts: &Parts<'_>) -> Result<Self, Failure> {
        let username = parts.id_or(Id::USERNAME, "")?.into();
        Ok(Self { username, role: parts.id_or(Id::ROLE, "")?.into() })
    }
}

impl About for Names {}

/// Which names a call asks for: `search=blur` those that have the text in them, where a `*` at either end
/// says nothing more; everything where there is no text.
struct Filter<'p> {
    text: &'p str,
    is_blurred: bool,
}

impl<'p> Filter<'p> {
    fn new(params: &Fields, text: &'p str) -> Self {
        let is_blurred = params.is(field::SEARCH, "blur");
        Self { text: if is_blurred { text.trim_matches('*') } else { text }, is_blurred }
    }

    fn takes(&self, name: &str) -> bool {
        self.text.is_empty() || name == self.text || self.is_blurred && name.contains(self.text)
    }
}

/// One page of what a call asks for.
fn paged<T: Serialize>(
    ask: &Ask<Names>,
    items: impl Iterator<Item = T>,
) -> Result<Answer, Failure> {
    let asked = ask.params.page(PAGE_SIZE, PAGE_SIZE_MAX)?;
    let (total, items) = page(items, asked);
    let pages = total.div_ceil(asked.size);
    let found = Page { total, page_no: asked.number, pages, items };
    Ok(shown(ask.is_v3, &PageOf::new(found, |item| item)))
}

fn users(state: &State, ask: &Ask<Names>) -> Result<Answer, Failure> {
    #[derive(Serialize)]
    struct User<'a> {
        username: &'a str,
        password: &'static str,
    }
    let filter = Filter::new(&ask.params, &ask.about.username);
    let users = state.access.users();
    let found = users.names().filter(|name| filter.takes(name));
    paged(ask, found.map(|username| User { username, password: HIDDEN }))
}

fn roles(state: &State, ask: &Ask<Names>) -> Result<Answer, Failure> {
    #[derive(Serialize)]
    struct Role<'a> {
        role: &'a str,
        username: &'a str,
    }
    let (of_user, of_role) =
        (Filter::new(&ask.params, &ask.about.username), Filter::new(&ask.params, &ask.about.role));
    let users = state.access.users();
    let found = users.roles().filter(|(role, user)| of_role.takes(role) && of_user.takes(user));
    paged(ask, found.map(|(role, username)| Role { role, username }))
}

fn permissions(state: &State, ask: &Ask<Names>) -> Result<Answer, Failure> {
    #[derive(Serialize)]
    struct Permission<'a> {
        role: &'a str,
        resource: &'a str,
        action: &'static str,
    }
    let filter = Filter::new(&ask.params, &ask.about.role);
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

/// Names that begin with a text, for a console that completes them.
fn user_names(state: &State, ask: &Ask<Names>) -> Result<Answer, Failure> {
    let wanted = &*ask.about.username;
    let users = state.access.users();
    Ok(shown(ask.is_v3, &users.names().filter(|name| name.contains(wanted)).collect::<Vec<_>>()))
}

fn role_names(state: &State, ask: &Ask<Names>) -> Result<Answer, Failure> {
    let wanted = &*ask.about.role;
    let users = state.access.users();
    let mut names: Vec<&str> = users.roles().map(|(role, _)| role).collect();
    names.dedup();
    names.retain(|name| name.contains(wanted));
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
            access::PasswordError::Hash => Self::unavailable(error.to_string()),
        }
    }
}

impl From<nacolet_auth::CommandError> for Failure {
    fn from(error: nacolet_auth::CommandError) -> Self {
        use nacolet_auth::CommandError as Error;
        let words = error.to_string();
        match error {
            Error::Unknown(_) => Self::not_found(Code::RESOURCE_NOT_FOUND, words),
            Error::Exists(_) | Error::LastAdministrator | Error::NotBegun => {
                Self::conflict(Code::RESOURCE_CONFLICT, words)
            }
            Error::TooMany(_) => Self::conflict(Code::OVER_CLUSTER_QUOTA, words),
        }
    }
}
