//! All routes, collected by the families of paths. An unknown path is 404 before anything looks at
//! it.

use std::future::Future;
use std::sync::Arc;

use hyper::Method;
use nacolet_model::limits;

use crate::access::about::About;
use crate::access::rule::Permission;
use crate::http::call::Call;
use crate::http::failure::Style;
use crate::route::ask::Ask;
use crate::route::{CONTEXT, Decode, Handler, Now, Outcome, Route, Try, boxed, serve};
use crate::state::State;

/// One line of the route table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteInfo {
    /// Its method.
    pub method: Method,
    /// Its path with the context path.
    pub path: String,
    /// What it needs.
    pub permission: Permission,
    /// The type that its decoder makes, and that permission is asked of.
    pub about: String,
    /// The largest body it takes, of a call without parameters.
    pub body_bytes_max: usize,
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
        self.at_large(path, |_| limits::BODY_BYTES_MAX)
    }

    /// As [`Self::at`], for a path that takes larger bodies than others.
    pub(crate) fn at_large(
        &mut self,
        path: &'static str,
        body_bytes_max: fn(&Call) -> usize,
    ) -> At<'_> {
        At { routes: self, path, takes_basic: false, acts: false, body_bytes_max }
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
    takes_basic: bool,
    acts: bool,
    body_bytes_max: fn(&Call) -> usize,
}

impl At<'_> {
    /// Changes something by a method that reads: pages of other sites cannot make a browser do it.
    pub(crate) fn acting(self) -> Self {
        Self { acts: true, ..self }
    }

    /// Takes `Authorization: Basic` too, for programs that know nothing else.
    pub(crate) fn with_basic(self) -> Self {
        Self { takes_basic: true, ..self }
    }

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

    /// A handler that answers on the spot, and one that waits, for the calls that the former
    /// leaves.
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
        let (about, takes_basic, acts) = (std::any::type_name::<T>(), self.takes_basic, self.acts);
        self.routes.add(Route {
            method,
            path,
            permission,
            about,
            style,
            serve,
            is_long,
            takes_basic,
            acts,
            body_bytes_max,
        });
        self
    }
}

/// Whether a path has one spelling only: the router would let others pass for the same route. It
/// takes `\\` for `/`, and dots for the way up however they are written.
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
        about: without_modules(route.about),
        body_bytes_max: route.body_bytes_max(&Call::default()),
    };
    table.iter().map(info).collect()
}

/// A type's name without the modules that it and its parameters are in.
fn without_modules(name: &str) -> String {
    let is_joint = |c: char| !c.is_alphanumeric() && !matches!(c, '_' | ':');
    let last = |path: &str| path.rsplit("::").next().unwrap_or_default().to_owned();
    name.split_inclusive(is_joint).map(last).collect()
}
