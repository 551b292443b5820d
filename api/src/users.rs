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

use crate::access::{self, Denied, LIFE_S};
use crate::call::{Answer, Call};
use crate::params::Params;
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
    for path in ["/v1/auth/login", "/v1/auth/users/login", "/v3/auth/user/login"] {
        routes.at(path).later(Method::POST, Open, login);
    }
    for [one, list, search] in [
        ["/v1/auth/users", "/v1/auth/users", "/v1/auth/users/search"],
        ["/v3/auth/user", "/v3/auth/user/list", "/v3/auth/user/search"],
    ] {
        routes
            .at(one)
            .later(Method::POST, Admin, create_user)
            // Everybody may change the own password.
            .later(Method::PUT, Console, set_password)
            .later(Method::DELETE, Admin, |state, call| change(state, call, remove_user));
        routes.at(list).now(Method::GET, Admin, users);
        routes.at(search).now(Method::GET, Admin, user_names);
    }
    for [one, list, search] in [
        ["/v1/auth/roles", "/v1/auth/roles", "/v1/auth/roles/search"],
        ["/v3/auth/role", "/v3/auth/role/list", "/v3/auth/role/search"],
    ] {
        routes
            .at(one)
            .later(Method::POST, Admin, |state, call| change(state, call, add_role))
            .later(Method::DELETE, Admin, |state, call| change(state, call, remove_role));
        routes.at(list).now(Method::GET, Admin, roles);
        routes.at(search).now(Method::GET, Admin, role_names);
    }
    for [one, list] in [
        ["/v1/auth/permissions", "/v1/auth/permissions"],
        ["/v3/auth/permission", "/v3/auth/permission/list"],
    ] {
        routes.at(one).later(Method::POST, Admin, |state, call| change(state, call, permit)).later(
            Method::DELETE,
            Admin,
            |state, call| change(state, call, forbid),
        );
        routes.at(list).now(Method::GET, Admin, permissions);
    }
}

async fn login(state: Arc<State>, call: Call) -> Result<Answer, Failure> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Login<'a> {
        access_token: &'a str,
        token_ttl: u64,
        global_admin: bool,
        username: &'a str,
    }
    let (name, password) = {
        let params = call.params();
        let password = params.raw("password").unwrap_or_default().to_owned();
        (params.text_or("username", "nacos").to_owned(), password)
    };
    let access = &state.access;
    let (token, is_admin) = if access.is_on() {
        match access.verify(state.now().0, &name, password, &call.ip).await {
            Ok(_) => {}
            Err(denied @ Denied::TooMany) => return Err(denied.into()),
            Err(Denied::Unknown(words)) => {
                return Ok(Answer::text(words).status(StatusCode::FORBIDDEN));
            }
            Err(denied @ Denied::Forbidden) => return Err(denied.into()),
        }
        (access.token(state.now(), &name)?, access.users().is_admin(&name))
    } else {
        (AUTH_DISABLED.to_owned(), true)
    };
    let login =
        Login { access_token: &token, token_ttl: LIFE_S, global_admin: is_admin, username: &name };
    Ok(Answer::json(&login).header(AUTHORIZATION, &format!("Bearer {token}")))
}

/// How a family of paths answers.
fn is_v3(call: &Call) -> bool {
    call.path().contains("/v3/")
}

fn shown(call: &Call, value: &impl Serialize) -> Answer {
    if is_v3(call) { Answer::result(value) } else { Answer::json(value) }
}

fn done(call: &Call, words: &str) -> Answer {
    if is_v3(call) { Answer::result(words) } else { Answer::rest_result_with(words, &()) }
}

async fn create_user(state: Arc<State>, call: Call) -> Result<Answer, Failure> {
    let (user, password) = named_password(&call, "password")?;
    let hash = state.access.hash(user.as_str(), password).await?;
    state.write_auth(Command::CreateUser { user, hash }).await?;
    Ok(done(&call, "create user ok!"))
}

async fn set_password(state: Arc<State>, call: Call) -> Result<Answer, Failure> {
    let (user, password) = named_password(&call, "newPassword")?;
    let is_own = call.user.as_deref() == Some(user.as_str());
    if !is_own {
        state.access.check_admin(call.user.as_deref())?;
    }
    let hash = state.access.hash(user.as_str(), password).await?;
    state.write_auth(Command::SetPassword { user, hash }).await?;
    Ok(done(&call, "update user ok!"))
}

fn named_password(call: &Call, word: &'static str) -> Result<(Name, String), Failure> {
    let params = call.params();
    Ok((name(&params, "username")?, params.present(word)?.to_owned()))
}

fn name(params: &Params<'_>, word: &'static str) -> Result<Name, Failure> {
    Ok(Name::new(params.required(word)?)?)
}

/// A change without a password: the command, and the words that say that it is done.
type Change = fn(&Params<'_>) -> Result<(Command, String), Failure>;

async fn change(state: Arc<State>, call: Call, change: Change) -> Result<Answer, Failure> {
    let (command, words) = change(&call.params())?;
    state.write_auth(command).await?;
    Ok(done(&call, &words))
}

fn remove_user(params: &Params<'_>) -> Result<(Command, String), Failure> {
    Ok((Command::RemoveUser { user: name(params, "username")? }, "delete user ok!".to_owned()))
}

fn add_role(params: &Params<'_>) -> Result<(Command, String), Failure> {
    let (role, user) = (name(params, "role")?, name(params, "username")?);
    Ok((Command::AddRole { role, user }, "add role ok!".to_owned()))
}

fn remove_role(params: &Params<'_>) -> Result<(Command, String), Failure> {
    let role = name(params, "role")?;
    let user = params.text("username").map(Name::new).transpose()?;
    let words = match &user {
        Some(user) => format!("delete role of user {} ok!", user.as_str()),
        None => format!("delete role of user {} ok!", role.as_str()),
    };
    Ok((Command::RemoveRole { role, user }, words))
}

fn permission(params: &Params<'_>) -> Result<(Name, Pattern, Actions), Failure> {
    let actions = Actions::parse(params.required("action")?);
    let actions = actions.ok_or(Failure::invalid("Param 'action' must be r, w or rw"))?;
    Ok((name(params, "role")?, Pattern::new(params.required("resource")?)?, actions))
}

fn permit(params: &Params<'_>) -> Result<(Command, String), Failure> {
    let (role, resource, actions) = permission(params)?;
    Ok((Command::Permit { role, resource, actions }, "add permission ok!".to_owned()))
}

fn forbid(params: &Params<'_>) -> Result<(Command, String), Failure> {
    let (role, resource, actions) = permission(params)?;
    Ok((Command::Forbid { role, resource, actions }, "delete permission ok!".to_owned()))
}

/// Which names a call asks for: `search=blur` those that have the text in them, where a `*` at either end
/// says nothing more; everything where there is no text.
struct Filter<'p> {
    text: &'p str,
    is_blurred: bool,
}

impl<'p> Filter<'p> {
    fn new(params: &'p Params<'_>, word: &str) -> Self {
        let is_blurred = params.raw("search") == Some("blur");
        let text = params.text_or(word, "");
        Self { text: if is_blurred { text.trim_matches('*') } else { text }, is_blurred }
    }

    fn takes(&self, name: &str) -> bool {
        self.text.is_empty() || name == self.text || self.is_blurred && name.contains(self.text)
    }
}

/// One page of what a call asks for.
fn paged<T: Serialize>(
    call: &Call,
    params: &Params<'_>,
    items: impl Iterator<Item = T>,
) -> Result<Answer, Failure> {
    let asked = params.page(PAGE_SIZE, PAGE_SIZE_MAX)?;
    let (total, items) = page(items, asked);
    let pages = total.div_ceil(asked.size);
    let found = Page { total, page_no: asked.number, pages, items };
    Ok(shown(call, &PageOf::new(found, |item| item)))
}

fn users(state: &State, call: &Call) -> Result<Answer, Failure> {
    #[derive(Serialize)]
    struct User<'a> {
        username: &'a str,
        password: &'static str,
    }
    let params = call.params();
    let filter = Filter::new(&params, "username");
    let users = state.access.users();
    let found = users.names().filter(|name| filter.takes(name));
    paged(call, &params, found.map(|username| User { username, password: HIDDEN }))
}

fn roles(state: &State, call: &Call) -> Result<Answer, Failure> {
    #[derive(Serialize)]
    struct Role<'a> {
        role: &'a str,
        username: &'a str,
    }
    let params = call.params();
    let (of_user, of_role) = (Filter::new(&params, "username"), Filter::new(&params, "role"));
    let users = state.access.users();
    let found = users.roles().filter(|(role, user)| of_role.takes(role) && of_user.takes(user));
    paged(call, &params, found.map(|(role, username)| Role { role, username }))
}

fn permissions(state: &State, call: &Call) -> Result<Answer, Failure> {
    #[derive(Serialize)]
    struct Permission<'a> {
        role: &'a str,
        resource: &'a str,
        action: &'static str,
    }
    let params = call.params();
    let filter = Filter::new(&params, "role");
    let users = state.access.users();
    let found = users.permissions().filter(|(role, _)| filter.takes(role));
    paged(
        call,
        &params,
        found.map(|(role, permission)| Permission {
            role,
            resource: permission.resource.as_str(),
            action: permission.actions.as_str(),
        }),
    )
}

/// Names that begin with a text, for a console that completes them.
fn user_names(state: &State, call: &Call) -> Result<Answer, Failure> {
    let params = call.params();
    let wanted = params.text_or("username", "");
    let users = state.access.users();
    Ok(shown(call, &users.names().filter(|name| name.contains(wanted)).collect::<Vec<_>>()))
}

fn role_names(state: &State, call: &Call) -> Result<Answer, Failure> {
    let params = call.params();
    let wanted = params.text_or("role", "");
    let users = state.access.users();
    let mut names: Vec<&str> = users.roles().map(|(role, _)| role).collect();
    names.dedup();
    names.retain(|name| name.contains(wanted));
    Ok(shown(call, &names))
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
