//! From a path to its handler. A route has its method, its permission, its decoder and its handler
//! together; a route without a permission does not compile. The decoder makes the one value that
//! permission is asked of and that the handler gets.
//!
//! Handlers come in two kinds: `now` reads shared state and answers on the spot, `later` waits for
//! the core thread. The few hottest are marked `hot` and found by comparing strings ahead of tide's
//! router; they pass the same [`Route::answer`].
//!
//! Reading order: this file is what a route does with a call, `ask` is what its handler gets,
//! `table` collects all routes, `router` finds the one of a call, `spelling` is how paths are read.

pub(crate) mod ask;
pub(crate) mod router;
pub(crate) mod spelling;
pub(crate) mod table;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use hyper::Method;
use hyper::body::Bytes;
use nacolet_model::limits;

use crate::access::Login;
use crate::access::about::About;
use crate::access::proof::{PROOF_HEADER, Proved};
use crate::access::rule::Permission;
use crate::http::answer::HttpAnswer;
use crate::http::browser;
use crate::http::call::Call;
use crate::http::failure::{Failure, Style};
use crate::http::params::{Fields, Form, Parts};
use crate::route::ask::Ask;
use crate::state::State;

/// Where all Nacos paths hang.
pub(crate) const CONTEXT: &str = "/nacos";

/// How a handler ends.
pub(crate) type Outcome = Result<HttpAnswer, Failure>;

/// Makes the one value that a call is about.
pub(crate) type Decode<T> = fn(&Parts<'_>) -> Result<T, Failure>;

/// A handler that answers on the spot.
pub(crate) type Now<T> = fn(&State, &Ask<T>) -> Outcome;

pub(crate) type Pending = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A handler that answers on the spot what does not take long.
pub(crate) type Try<T> = fn(&State, &Ask<T>) -> Option<Outcome>;

/// A handler that waits.
pub(crate) type Later<T> = Box<dyn Fn(Arc<State>, Ask<T>) -> Pending + Send + Sync>;

pub(crate) enum Handler<T> {
    Now(Now<T>),
    Later(Later<T>),
    /// As `Now`, and as `Later` for the calls that the former has no answer to.
    NowOrLater(Try<T>, Later<T>),
    /// As `Later`, but counted by the handler itself, since it waits for a long time.
    LongPoll(Later<T>),
}

/// A call as far as it is read before anything of it is decoded.
pub(crate) struct Read {
    call: Call,
    fields: Fields,
    user: Option<Arc<Login>>,
    is_proved: bool,
    /// It is longer than what is decoded where it came in.
    is_large: bool,
}

/// How far a call came.
pub(crate) enum Begun {
    Answered(Outcome),
    Waits(Pending),
}

/// Decodes a call, asks whether it may be made, and hands it to its handler: the one way there.
pub(crate) type Serve =
    Box<dyn Fn(&Arc<State>, Permission, Read) -> Result<Begun, Failure> + Send + Sync>;

pub(crate) fn serve<T: About>(decode: Decode<T>, handler: Handler<T>) -> Serve {
    let handler = Arc::new(handler);
    Box::new(move |state, permission, read| {
        if !read.is_large {
            return handler.begin(state, permission, decoded(decode, read)?);
        }
        let (state, handler) = (Arc::clone(state), Arc::clone(&handler));
        Ok(Begun::Waits(Box::pin(async move {
            // It takes a while, and others are served meanwhile.
            let ask = smol::unblock(move || decoded(decode, read)).await?;
            match handler.begin(&state, permission, ask)? {
                Begun::Answered(outcome) => outcome,
                Begun::Waits(pending) => pending.await,
            }
        })))
    })
}

fn decoded<T>(decode: Decode<T>, read: Read) -> Result<Ask<T>, Failure> {
    let Read {
        call: Call { uri, headers, ip, is_same_address, body, room, .. },
        fields,
        user,
        is_proved,
        ..
    } = read;
    let parts = Parts { fields: &fields, uri: &uri, headers: &headers, body: &body, room: &room };
    let about = decode(&parts)?;
    let is_v3 = uri.path().contains("/v3/");
    Ok(Ask { about, params: fields, headers, ip, is_same_address, is_proved, user, is_v3, room })
}

impl<T: About> Handler<T> {
    /// Asks whether a call may be made, and begins it.
    fn begin(
        &self,
        state: &Arc<State>,
        permission: Permission,
        mut ask: Ask<T>,
    ) -> Result<Begun, Failure> {
        if let Some(numbered) = ask.about.numbered() {
            let configs = state.all_configs()?;
            let found = configs.by_ids(numbered.ids());
            let found = found.into_iter().map(|(key, config)| Some((config.id, key.to_key()?)));
            numbered.find(found.flatten());
        }
        state.access.check(permission, ask.user.as_deref(), &ask.about)?;
        Ok(match self {
            Self::Now(handler) => Begun::Answered(handler(state, &ask)),
            Self::Later(handler) => Begun::Waits(handler(Arc::clone(state), ask)),
            Self::NowOrLater(now, later) => match now(state, &ask) {
                Some(outcome) => Begun::Answered(outcome),
                None => Begun::Waits(later(Arc::clone(state), ask)),
            },
            Self::LongPoll(handler) => Begun::Waits(handler(Arc::clone(state), ask)),
        })
    }
}

/// A method and a path with what serves them.
pub(crate) struct Route {
    method: Method,
    /// Behind the context path.
    path: &'static str,
    permission: Permission,
    /// Name of the type that its decoder makes.
    about: &'static str,
    style: Style,
    serve: Serve,
    is_long: bool,
    /// Whether it takes name and password as HTTP has them.
    takes_basic: bool,
    /// Whether it changes something, whatever its method says.
    acts: bool,
    body_bytes_max: fn(&Call) -> usize,
}

impl Route {
    /// Serves one call.
    pub(crate) async fn answer(&self, state: &Arc<State>, call: Call) -> HttpAnswer {
        let uri = call.uri.clone();
        let outcome = self.outcome(state, call).await;
        outcome.unwrap_or_else(|failure| failure.answer(self.style, uri.path(), state.now().1))
    }

    async fn outcome(&self, state: &Arc<State>, mut call: Call) -> Outcome {
        if !state.port.stage.is_open() && !self.is_early(state) {
            return Err(Failure::starting(&state.port.stage, state.access.is_on()));
        }
        if self.acts {
            browser::check_act(&call).map_err(Failure::denied)?;
        }
        let access = &state.access;
        let needs_user = access.is_on() && self.permission != Permission::Open;
        // Who shows a token in a header is known before anything else of the call is read.
        let mut user = None;
        if needs_user {
            user = access.user_of_headers(state.now(), &call.headers)?;
        }
        let is_proved = call.headers.get(PROOF_HEADER).is_some_and(|shown| {
            let target = call.uri.path_and_query().map_or("", |target| target.as_str());
            let proved = Proved { method: call.method.as_str(), target, body: &call.body };
            state.proofs.proves(state.now().0, shown.as_bytes(), proved)
        });
        let is_large = call.body.len() > limits::INLINE_BYTES_MAX;
        let form = call.take_form();
        let is_multipart = matches!(form, Form::Multipart(..));
        // Its fields are a copy, and it may be thirty megabytes: it goes as soon as they are made.
        let fields = if is_large {
            let uri = call.uri.clone();
            smol::unblock(move || Fields::of(&uri, &form)).await?
        } else {
            Fields::of(&call.uri, &form)?
        };
        if is_large && is_multipart && !fields.has_file() {
            call.body = Bytes::new();
        }
        if needs_user && user.is_none() {
            // Large, and rare: clients show a token.
            let identified =
                Box::pin(access.identify(state.now(), &call, &fields, self.takes_basic)).await;
            user = Some(identified?);
        } else if access.is_on() && user.is_none() {
            user = access.shown(state.now(), &call.headers, &fields);
        }
        match (self.serve)(
            state,
            self.permission,
            Read { call, fields, user, is_proved, is_large },
        )? {
            Begun::Answered(outcome) => outcome,
            Begun::Waits(pending) if self.is_long => pending.await,
            Begun::Waits(pending) => {
                let Some(_permit) = state.enter() else {
                    return Err(Failure::unavailable("too many requests in progress"));
                };
                pending.await
            }
        }
    }

    /// Whether it is served before the node serves anything else: what tells of the node only, to
    /// those of whom nothing needs to be known, since users are part of the state.
    fn is_early(&self, state: &State) -> bool {
        const EARLY: [&str; 4] = [
            "/metrics",
            "/actuator/prometheus",
            "/v3/admin/nacolet/cluster",
            "/v3/admin/nacolet/cluster/nonce",
        ];
        let is_open = self.permission == Permission::Open;
        let is_open = is_open || (!state.access.is_on() && EARLY.contains(&self.path));
        self.method == Method::GET && is_open
    }

    /// Whether this route serves the call.
    pub(crate) fn matches(&self, call: &Call) -> bool {
        self.method == call.method
            && call.path().strip_prefix(CONTEXT).is_some_and(|path| path == self.path)
    }

    /// The largest body this call may have.
    pub(crate) fn body_bytes_max(&self, call: &Call) -> usize {
        (self.body_bytes_max)(call)
    }
}

pub(crate) fn boxed<T: About, F, Fut>(handler: F) -> Later<T>
where
    F: Fn(Arc<State>, Ask<T>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Outcome> + Send + 'static,
{
    Box::new(move |state, ask| Box::pin(handler(state, ask)))
}
