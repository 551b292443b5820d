//! Login. With authentication off it succeeds for everybody, because clients that have a user
//! configured log in regardless and fail on anything else (docs/nacos/http-v1.md, "Login and
//! users").

use std::sync::Arc;

use hyper::header::AUTHORIZATION;
use hyper::{Method, StatusCode};
use serde::Serialize;

use crate::access::LIFE_S;
use crate::access::about::About;
use crate::access::denied::Denied;
use crate::access::rule::Permission;
use crate::http::answer::HttpAnswer;
use crate::http::failure::Failure;
use crate::http::params::{Id, Parts, field};
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::state::State;

/// Token of Nacos with authentication off.
const AUTH_DISABLED: &str = "AUTH_DISABLED";

pub(crate) fn routes(routes: &mut Routes) {
    for path in ["/v1/auth/login", "/v1/auth/users/login", "/v3/auth/user/login"] {
        routes.at(path).later(Method::POST, Permission::Open, LoginName::decode, login);
    }
}

/// Whoever wants to log in.
struct LoginName(Box<str>);

impl LoginName {
    fn decode(parts: &Parts<'_>) -> Result<Self, Failure> {
        Ok(Self(parts.present_id(Id::USERNAME)?.into()))
    }
}

impl About for LoginName {}

async fn login(state: Arc<State>, ask: Ask<LoginName>) -> Result<HttpAnswer, Failure> {
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
            Err(Denied::Unknown(words)) => {
                return Ok(HttpAnswer::text(words).status(StatusCode::FORBIDDEN));
            }
            Err(denied @ (Denied::TooMany(_) | Denied::Forbidden)) => return Err(denied.into()),
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
    Ok(HttpAnswer::json(&login).header(AUTHORIZATION, &format!("Bearer {token}")))
}
