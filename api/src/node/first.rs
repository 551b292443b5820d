//! The first administrator by a call, as Nacos makes it: for a node where nobody has to log in yet,
//! so that somebody can when it is started with authentication. A node that is started with it has
//! made one before it opens its doors.

use std::sync::Arc;

use hyper::Method;
use nacolet_auth::{Begin, Command, CommandError, Name};
use serde::Serialize;

use crate::access::about;
use crate::access::password::random_password;
use crate::access::rule::Permission;
use crate::access::token::random_key;
use crate::http::answer::{Envelope, HttpAnswer};
use crate::http::failure::Failure;
use crate::http::params::field;
use crate::node::operate;
use crate::node::users::{Changer, write};
use crate::port::request::WriteError;
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::state::State;

/// Name of the first administrator, as in Nacos.
const FIRST: &str = "nacos";
/// What is told where there is one.
const CODE: u32 = 409;
const WORDS: &str = "there is an administrator already";

pub(crate) fn routes(routes: &mut Routes) {
    for path in ["/v1/auth/admin", "/v1/auth/users/admin", "/v3/auth/user/admin"] {
        routes.at(path).later(Method::POST, Permission::Open, about::nothing, first);
    }
}

/// Only for whoever is on the node's own host. Others are told no more than whether there is an
/// administrator, as the state of a server tells it.
async fn first(state: Arc<State>, ask: Ask<()>) -> Result<HttpAnswer, Failure> {
    #[derive(Serialize)]
    struct Made<'a> {
        username: &'a str,
        password: &'a str,
    }
    if state.access.users().has_admin() {
        return Ok(there_is_one(ask.is_v3));
    }
    if !operate::is_own_host(&state.settings, &ask) {
        return Err(Failure::denied("the first administrator is made from the node's own host"));
    }
    let password = match ask.params.text(field::PASSWORD) {
        Some(_) => ask.params.present(field::PASSWORD)?.to_owned(),
        None => random_password()?,
    };
    let (user, key) = (Name::new(FIRST)?, random_key()?);
    let hash = state.access.hash(FIRST, password.clone()).await?;
    let by = Changer { user: ask.user, ip: ask.ip };
    match write(&state, &by, Command::Begin(Begin { user, hash, key })).await {
        Err(WriteError::Refused(CommandError::Exists(_))) => return Ok(there_is_one(ask.is_v3)),
        outcome => outcome?,
    }
    let made = Made { username: FIRST, password: &password };
    Ok(if ask.is_v3 { HttpAnswer::result(&made) } else { HttpAnswer::json(&made) })
}

/// With status 200.
fn there_is_one(is_v3: bool) -> HttpAnswer {
    if is_v3 {
        return HttpAnswer::json(&Envelope { code: CODE, message: Some(WORDS), data: &() });
    }
    HttpAnswer::json(&Envelope { code: CODE, message: None, data: WORDS })
}
