//! Every path on one page. A route names its method, its permission, its decoder and its handler together; a
//! route without a permission does not compile, and an unknown path is 404 before anything looks at it. The
//! decoder makes the one value that permission is asked of and that the handler gets.
//!
//! Handlers come in two kinds: `now` reads shared state and answers on the spot, `later` waits for the
//! core thread. The few hottest are marked `hot` and found by comparing strings ahead of tide's router;
//! they pass the same [`Route::answer`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use hyper::Method;
use nacolet_auth::Action;
use nacolet_model::limits;

use crate::about::About;
use crate::access::Login;
use crate::call::{Answer, Ask, Call};
use crate::params::{Fields, Parts};
use crate::server::State;
use crate::status::{Failure, Style};

/// Where all Nacos paths hang.
pub(crate) const CONTEXT: &str = "/nacos";

/// Registers every route.
pub(crate) fn page(routes: &mut Routes) {
    crate::page::routes(routes);
    crate::users::routes(routes);
    crate::config::routes(routes);
    crate::listener::routes(routes);
    crate::history::routes(routes);
    crate::capacity::routes(routes);
    crate::config_v2::routes(routes);
    crate::membership::routes(routes);
    crate::owners::routes(routes);
    crate::namespace::routes(routes);
    crate::naming::routes(routes);
}

/// What a caller must be allowed to do. Checked before the handler runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Anybody: health and login.
    Open,
    /// Read configs of the namespace named in the call.
    ConfigRead,
    /// Write configs of the namespace named in the call.
    ConfigWrite,
    /// Read services of the namespace named in the call.
    NamingRead,
    /// Write services of the namespace named in the call.
    NamingWrite,
    /// Look at the node as a whole: namespaces, members, metrics. Every user may.
    Console,
    /// Change the node as a whole, or look at what is in all namespaces.
    Admin,
}

impl Permission {
    /// What is done, where the permissions of a user decide.
    pub(crate) const fn action(self) -> Option<Action> {
        match self {
            Self::Open | Self::Console | Self::Admin => None,
            Self::ConfigRead | Self::NamingRead => Some(Action::Read),
            Self::ConfigWrite | Self::NamingWrite => Some(Action::Write),
        }
    }
}

/// One line of the route table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteInfo {
    /// Its method.
    pub method: Method,
    /// Its path with the context path.
    pub path: String,
    /// What it needs.
    pub permission: Permission,
}

/// How a handler ends.
pub(crate) type Outcome = Result<Answer, Failure>;
/// Makes the one value that a call is about.
pub(crate) type Decode<T> = fn(&Parts<'_>) -> Result<T, Failure>;
/// A handler that answers on the spot.
pub(crate) type Now<T> = fn(&State, &Ask<T>) -> Outcome;
type Pending = Pin<Box<dyn Future<Output = Outcome> + Send>>;
/// A handler that answers on the spot what does not take long.
pub(crate) type Try<T> = fn(&State, &Ask<T>) -> Option<Outcome>;
/// A handler that waits.
type Later<T> = Box<dyn Fn(Arc<State>, Ask<T>) -> Pending + Send + Sync>;

enum Handler<T> {
    Now(Now<T>),
    Later(Later<T>),
    /// As `Now`, and as `Later` for the calls that the former has no answer to.
    NowOrLater(Try<T>, Later<T>),
    /// As `Later`, but counted by the handler itself, since it waits for a long time.
    LongPoll(Later<T>),
}

/// A call as far as it is read before anything of it is decoded.
struct Read {
    call: Call,
    fields: Fields,
    user: Option<Arc<Login>>,
    /// It is longer than what is decoded where it came in.
    is_large: bool,
}

/// How far a call came.
enum Begun {
    Answered(Outcome),
    Waits(Pending),
}

/// Decodes a call, asks whether it may be made, and hands it to its handler: the one way there.
type Serve = Box<dyn Fn(&Arc<State>, Permission, Read) -> Result<Begun, Failure> + Send + Sync>;

fn serve<T: About>(decode: Decode<T>, handler: Handler<T>) -> Serve {
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
    let Read { call: Call { uri, headers, ip, body, .. }, fields, user, .. } = read;
    let about = decode(&Parts { fields: &fields, uri: &uri, headers: &headers, body: &body })?;
    let is_v3 = uri.path().contains("/v3/");
    Ok(Ask { about, params: fields, headers, ip, user, is_v3 })
}

impl<T: About> Handler<T> {
    /// Asks whether a call may be made, and begins it.
    fn begin(
        &self,
        state: &Arc<State>,
        permission: Permission,
        ask: Ask<T>,
    ) -> Result<Begun, Failure> {
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
    style: Style,
    serve: Serve,
    is_long: bool,
    body_bytes_max: fn(&Call) -> usize,
}

impl Route {
    /// Serves one call.
    pub(crate) async fn answer(&self, state: &Arc<State>, call: Call) -> Answer {
        let uri = call.uri.clone();
        let outcome = self.outcome(state, call).await;
        outcome.unwrap_or_else(|failure| failure.answer(self.style, uri.path(), state.now().1))
    }

    async fn outcome(&self, state: &Arc<State>, mut call: Call) -> Outcome {
        let access = &state.access;
        let needs_user = access.is_on() && self.permission != Permission::Open;
        // Who shows a token in a header is known before anything else of the call is read.
        let mut user = None;
        if needs_user {
            user = access.user_of_headers(state.now(), &call.headers)?;
        }
        let is_large = call.body.len() > limits::INLINE_BYTES_MAX;
        let form = call.take_form();
        // Its fields are a copy, and it may be thirty megabytes: it goes as soon as they are made.
        let fields = if is_large {
            let uri = call.uri.clone();
            smol::unblock(move || Fields::of(&uri, &form)).await?
        } else {
            Fields::of(&call.uri, &form)?
        };
        if needs_user && user.is_none() {
            // Large, and rare: clients show a token.
            let identified = Box::pin(access.identify(state.now(), &call, &fields)).await;
            user = Some(identified?);
        } else if access.is_on() && user.is_none() {
            user = access.shown(state.now(), &call.headers, &fields);
        }
        match (self.serve)(state, self.permission, Read { call, fields, user, is_large })? {
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

/// Collects routes.
pub(crate) struct Routes {
    /// tide's router.
    pub(crate) app: tide::Server<Arc<State>>,
    /// All routes.
    pub(crate) table: Vec<Arc<Route>>,
    /// Those of the short cut.
    pub(crate) hot: Vec<Arc<Route>>,
}

impl Routes {
    /// An empty collection around this state.
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self { app: tide::with_state(state), table: Vec::new(), hot: Vec::new() }
    }

    /// Starts a path; `path` is what follows `/nacos` and may hold tide's `:name` segments.
    pub(crate) fn at(&mut self, path: &'static str) -> At<'_> {
        At { routes: self, path, body_bytes_max: |_| limits::BODY_BYTES_MAX }
    }

    /// As [`Self::at`], for a path that takes larger bodies than others.
    pub(crate) fn at_large(
        &mut self,
        path: &'static str,
        body_bytes_max: fn(&Call) -> usize,
    ) -> At<'_> {
        At { routes: self, path, body_bytes_max }
    }

    fn add(&mut self, route: Route) {
        let route = Arc::new(route);
        self.table.push(Arc::clone(&route));
        let path = format!("{CONTEXT}{}", route.path);
        // Every method of the table is one that http-types knows; the router test walks them all.
        let Ok(method) = route.method.as_str().parse() else { return };
        self.app.at(&path).method(method, move |mut request: tide::Request<Arc<State>>| {
            let route = Arc::clone(&route);
            async move {
                let http: &mut tide::http::Request = request.as_mut();
                let call = http.ext_mut().remove::<Call>().unwrap_or_default();
                let answer = route.answer(request.state(), call).await;
                let mut response = tide::Response::new(answer.status.as_u16());
                response.insert_ext(answer);
                Ok(response)
            }
        });
    }
}

/// One path that takes methods.
pub(crate) struct At<'r> {
    routes: &'r mut Routes,
    path: &'static str,
    body_bytes_max: fn(&Call) -> usize,
}

impl At<'_> {
    /// A handler that answers on the spot.
    pub(crate) fn now<T: About>(
        self,
        method: Method,
        permission: Permission,
        decode: Decode<T>,
        handler: Now<T>,
    ) -> Self {
        self.add(method, permission, decode, Handler::Now(handler))
    }

    /// A handler that answers on the spot, and one that waits, for the calls that the former leaves.
    pub(crate) fn now_or_later<T: About, F, Fut>(
        self,
        method: Method,
        permission: Permission,
        decode: Decode<T>,
        now: Try<T>,
        later: F,
    ) -> Self
    where
        F: Fn(Arc<State>, Ask<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        self.add(method, permission, decode, Handler::NowOrLater(now, boxed(later)))
    }

    /// A handler that waits for the core thread.
    pub(crate) fn later<T: About, F, Fut>(
        self,
        method: Method,
        permission: Permission,
        decode: Decode<T>,
        handler: F,
    ) -> Self
    where
        F: Fn(Arc<State>, Ask<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        self.add(method, permission, decode, Handler::Later(boxed(handler)))
    }

    /// A handler that waits for a long time and counts itself.
    pub(crate) fn long_poll<T: About, F, Fut>(
        self,
        method: Method,
        permission: Permission,
        decode: Decode<T>,
        handler: F,
    ) -> Self
    where
        F: Fn(Arc<State>, Ask<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        self.add(method, permission, decode, Handler::LongPoll(boxed(handler)))
    }

    /// Lets the route added last take the short cut too.
    pub(crate) fn hot(self) -> Self {
        self.routes.hot.extend(self.routes.table.last().cloned());
        self
    }

    fn add<T: About>(
        self,
        method: Method,
        permission: Permission,
        decode: Decode<T>,
        handler: Handler<T>,
    ) -> Self {
        let (path, style) = (self.path, Style::of(self.path));
        let is_long = matches!(handler, Handler::LongPoll(_));
        let (serve, body_bytes_max) = (serve(decode, handler), self.body_bytes_max);
        let route = Route { method, path, permission, style, serve, is_long, body_bytes_max };
        self.routes.add(route);
        self
    }
}

fn boxed<T: About, F, Fut>(handler: F) -> Later<T>
where
    F: Fn(Arc<State>, Ask<T>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Outcome> + Send + 'static,
{
    Box::new(move |state, ask| Box::pin(handler(state, ask)))
}

/// Whether a path has one spelling only: the router would let others pass for the same route. It takes `\\`
/// for `/`, and dots for the way up however they are written.
pub(crate) fn is_plain(path: &str) -> bool {
    let is_plain = |part: &str| {
        let said = percent_encoding::percent_decode_str(part).decode_utf8_lossy();
        !said.is_empty() && !said.starts_with('.') && !said.contains('\\')
    };
    path.strip_prefix('/').is_some_and(|path| path.split('/').all(is_plain))
}

/// The methods that a path without variable segments takes.
pub(crate) fn methods_of<'t>(table: &'t [Arc<Route>], path: &str) -> Vec<&'t str> {
    let behind = path.strip_prefix(CONTEXT);
    let routes = table.iter().filter(|route| Some(route.path) == behind);
    routes.map(|route| route.method.as_str()).collect()
}

/// The table as values, for the route matrix.
pub(crate) fn describe(table: &[Arc<Route>]) -> Vec<RouteInfo> {
    let info = |route: &Arc<Route>| RouteInfo {
        method: route.method.clone(),
        path: format!("{CONTEXT}{}", route.path),
        permission: route.permission,
    };
    table.iter().map(info).collect()
}
