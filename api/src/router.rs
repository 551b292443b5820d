//! Every path on one page. A route names its method, its permission and its handler together; a route
//! without a permission does not compile, and an unknown path is 404 before anything looks at it.
//!
//! Handlers come in two kinds: `now` reads shared state and answers on the spot, `later` waits for the
//! core thread. The few hottest are marked `hot` and found by comparing strings ahead of tide's router;
//! they pass the same [`Route::answer`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use hyper::Method;
use nacolet_auth::{Action, Kind};
use nacolet_model::limits;

use crate::call::{Answer, Call};
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
    /// What is asked of the permissions of a user, where those decide.
    pub(crate) const fn asks(self) -> Option<(Kind, Action)> {
        match self {
            Self::Open | Self::Console | Self::Admin => None,
            Self::ConfigRead => Some((Kind::Config, Action::Read)),
            Self::ConfigWrite => Some((Kind::Config, Action::Write)),
            Self::NamingRead => Some((Kind::Naming, Action::Read)),
            Self::NamingWrite => Some((Kind::Naming, Action::Write)),
        }
    }

    /// This permission for what `scope` says of a call.
    pub(crate) const fn over(self, scope: fn(&Call) -> Scope) -> Rule {
        Rule { permission: self, scope }
    }
}

/// What a call is about, for the permissions on configs and services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The one config or service that its parameters name.
    Named,
    /// Whatever is in the namespace that its parameters name.
    Namespace,
    /// Things of any namespace.
    All,
    /// What its body names: the handler asks.
    Handler,
}

/// What a route needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) permission: Permission,
    pub(crate) scope: fn(&Call) -> Scope,
}

impl From<Permission> for Rule {
    fn from(permission: Permission) -> Self {
        permission.over(|_| Scope::Named)
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

type Outcome = Result<Answer, Failure>;
type Now = fn(&State, &Call) -> Outcome;
type Pending = Pin<Box<dyn Future<Output = Outcome> + Send>>;
type Later = Box<dyn Fn(Arc<State>, Call) -> Pending + Send + Sync>;

enum Handler {
    Now(Now),
    Later(Later),
    /// As `Now`, and as `Later` for the calls that the function picks.
    NowOrLater(Now, fn(&Call) -> bool, Later),
    /// As `Later`, but counted by the handler itself, since it waits for a long time.
    LongPoll(Later),
}

/// A method and a path with what serves them.
pub(crate) struct Route {
    method: Method,
    /// Behind the context path.
    path: &'static str,
    rule: Rule,
    style: Style,
    handler: Handler,
    body_bytes_max: fn(&Call) -> usize,
}

impl Route {
    /// Checks and serves one call.
    pub(crate) async fn answer(&self, state: &Arc<State>, mut call: Call) -> Answer {
        if state.access.is_on() {
            // Large, and not there for most servers.
            let checked = Box::pin(state.access.check(state.now(), &self.rule, &mut call));
            if let Err(denied) = checked.await {
                return self.tell(state, &denied.into(), &call);
            }
        }
        let outcome = match &self.handler {
            Handler::NowOrLater(handler, is_late, _) if !is_late(&call) => {
                handler(state, &call).map_err(|failure| (failure, call))
            }
            Handler::Now(handler) => handler(state, &call).map_err(|failure| (failure, call)),
            Handler::Later(handler) | Handler::NowOrLater(_, _, handler) => {
                let Some(_permit) = state.enter() else {
                    let failure = Failure::unavailable("too many requests in progress");
                    return self.tell(state, &failure, &call);
                };
                let head = head_of(&call);
                handler(Arc::clone(state), call).await.map_err(|failure| (failure, head))
            }
            Handler::LongPoll(handler) => {
                let head = head_of(&call);
                handler(Arc::clone(state), call).await.map_err(|failure| (failure, head))
            }
        };
        outcome.unwrap_or_else(|(failure, call)| self.tell(state, &failure, &call))
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

    fn tell(&self, state: &State, failure: &Failure, call: &Call) -> Answer {
        failure.answer(self.style, call.path(), state.now().1)
    }
}

/// The part of a call that an error body needs once the handler has taken the call.
fn head_of(call: &Call) -> Call {
    Call { uri: call.uri.clone(), ..Call::default() }
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
        At { routes: self, path }
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
}

impl At<'_> {
    /// A handler that answers on the spot.
    pub(crate) fn now(self, method: Method, rule: impl Into<Rule>, handler: Now) -> Self {
        self.add(method, rule, Handler::Now(handler))
    }

    /// A handler that answers on the spot, and one that waits, for the calls that `is_late` picks.
    pub(crate) fn now_or_later<F, Fut>(
        self,
        method: Method,
        rule: impl Into<Rule>,
        now: Now,
        is_late: fn(&Call) -> bool,
        later: F,
    ) -> Self
    where
        F: Fn(Arc<State>, Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        self.add(method, rule, Handler::NowOrLater(now, is_late, boxed(later)))
    }

    /// A handler that waits for the core thread.
    pub(crate) fn later<F, Fut>(self, method: Method, rule: impl Into<Rule>, handler: F) -> Self
    where
        F: Fn(Arc<State>, Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        self.add(method, rule, Handler::Later(boxed(handler)))
    }

    /// A handler that waits for a long time and counts itself.
    pub(crate) fn long_poll<F, Fut>(
        self,
        method: Method,
        rule: impl Into<Rule>,
        body_bytes_max: fn(&Call) -> usize,
        handler: F,
    ) -> Self
    where
        F: Fn(Arc<State>, Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        let handler = Handler::LongPoll(boxed(handler));
        self.add_sized(method, rule, handler, body_bytes_max)
    }

    /// As [`Self::later`], for a route that takes larger bodies than others.
    pub(crate) fn later_large<F, Fut>(
        self,
        method: Method,
        rule: impl Into<Rule>,
        body_bytes_max: fn(&Call) -> usize,
        handler: F,
    ) -> Self
    where
        F: Fn(Arc<State>, Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        self.add_sized(method, rule, Handler::Later(boxed(handler)), body_bytes_max)
    }

    /// Lets the route added last take the short cut too.
    pub(crate) fn hot(self) -> Self {
        self.routes.hot.extend(self.routes.table.last().cloned());
        self
    }

    fn add(self, method: Method, rule: impl Into<Rule>, handler: Handler) -> Self {
        self.add_sized(method, rule, handler, |_| limits::BODY_BYTES_MAX)
    }

    fn add_sized(
        self,
        method: Method,
        rule: impl Into<Rule>,
        handler: Handler,
        body_bytes_max: fn(&Call) -> usize,
    ) -> Self {
        let (path, style, rule) = (self.path, Style::of(self.path), rule.into());
        self.routes.add(Route { method, path, rule, style, handler, body_bytes_max });
        self
    }
}

fn boxed<F, Fut>(handler: F) -> Later
where
    F: Fn(Arc<State>, Call) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Outcome> + Send + 'static,
{
    Box::new(move |state, call| Box::pin(handler(state, call)))
}

/// Whether a path has one spelling only: the router would let others pass for the same route.
pub(crate) fn is_plain(path: &str) -> bool {
    let is_plain = |part: &str| !part.is_empty() && !part.starts_with('.');
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
        permission: route.rule.permission,
    };
    table.iter().map(info).collect()
}
