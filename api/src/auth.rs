//! Login as Nacos answers it with authentication off: it succeeds for everybody, because clients that
//! have a user configured log in regardless and fail on anything else (http-v1 §7).

use hyper::Method;
use hyper::header::AUTHORIZATION;
use serde::Serialize;

use crate::call::{Answer, Call};
use crate::router::{Permission, Routes};
use crate::server::State;
use crate::status::Failure;

/// Token of Nacos with authentication off.
const AUTH_DISABLED: &str = "AUTH_DISABLED";
/// Life of a token in seconds (Nacos default); Java and Go need it.
const TOKEN_TTL_S: u64 = 18_000;

pub(crate) fn routes(routes: &mut Routes) {
    for path in ["/v1/auth/login", "/v1/auth/users/login", "/v3/auth/user/login"] {
        routes.at(path).now(Method::POST, Permission::Open, login);
    }
}

fn login(_state: &State, call: &Call) -> Result<Answer, Failure> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Login<'a> {
        access_token: &'a str,
        token_ttl: u64,
        global_admin: bool,
        username: &'a str,
    }
    let params = call.params();
    let login = Login {
        access_token: AUTH_DISABLED,
        token_ttl: TOKEN_TTL_S,
        global_admin: true,
        username: params.text_or("username", "nacos"),
    };
    Ok(Answer::json(&login).header_static(AUTHORIZATION, "Bearer AUTH_DISABLED"))
}
