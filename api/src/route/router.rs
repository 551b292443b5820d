//! Finds the route of a call, by the short cut or through tide's router.

use std::str::FromStr as _;
use std::sync::Arc;

use hyper::header::{self, HeaderName};
use hyper::{Method, StatusCode};
use nacolet_model::limits;
use tide::http;

use crate::http::answer::HttpAnswer;
use crate::http::browser;
use crate::http::call::Call;
use crate::http::failure::spring_error;
use crate::route::table::{self, RouteInfo, Routes};
use crate::route::{CONTEXT, Route};
use crate::state::State;

/// The answer is of what the node knew when it last had a leader.
const STALE: HeaderName = HeaderName::from_static("nacolet-stale");
/// What was agreed is below these: what a node without a leader says of it, it said before. Lists
/// of instances are there too, but for those that say otherwise, see `HttpAnswer::was_agreed`.
const AGREED: [&str; 8] = [
    "/auth/",
    "/console/namespace",
    "/core/namespace",
    "/nacolet/service",
    "/ns/catalog/",
    "/ns/instance",
    "/ns/service",
    "/nacos/prometheus",
];
/// Who subscribes is never agreed.
const HEARD: &str = "/subscribers";
/// Where what is no route is 501 and not 404 or 405.
const NAMING: &str = "/nacos/v1/ns";

/// All routes, and the ways to them.
pub(crate) struct Router {
    state: Arc<State>,
    app: tide::Server<Arc<State>>,
    table: Vec<Arc<Route>>,
    hot: Vec<Arc<Route>>,
    base: http::Url,
}

impl Router {
    pub(crate) fn new(state: Arc<State>, routes: Routes) -> Self {
        let Routes { app, table, hot } = routes;
        let base = http::Url::parse("http://localhost/").expect("a constant URL is valid");
        Self { state, app, table, hot, base }
    }

    /// Every route with its permission.
    pub(crate) fn routes(&self) -> Vec<RouteInfo> {
        table::describe(&self.table)
    }

    /// The largest body that the route of this call takes.
    pub(crate) fn body_bytes_max(&self, call: &Call) -> usize {
        let route = self.table.iter().find(|route| route.matches(call));
        route.map_or(limits::BODY_BYTES_MAX, |route| route.body_bytes_max(call))
    }

    /// Serves one call that is read completely, and whose path is the one that routes have.
    pub(crate) async fn call(&self, call: Call) -> HttpAnswer {
        let hot = self.hot.iter().find(|route| route.matches(&call));
        let stage = &self.state.port.stage;
        let is_stale = !stage.is_ready() && stage.is_open() && is_of_agreed(&call);
        let mut answer = match (browser::check(&call), hot) {
            (Err(words), _) => {
                spring_error(StatusCode::FORBIDDEN, words, call.path(), self.state.now().1)
            }
            (Ok(()), Some(route)) => route.answer(&self.state, call).await,
            (Ok(()), None) => Box::pin(self.through_tide(call)).await,
        };
        answer.guard();
        if is_stale && answer.was_agreed && answer.status.is_success() {
            answer = answer.header(STALE, "true");
        }
        answer
    }

    async fn through_tide(&self, call: Call) -> HttpAnswer {
        if let Some(answer) = redirect(&call) {
            return answer;
        }
        let now = self.state.now().1;
        let path = call.path().to_owned();
        let verb = call.method.clone();
        // The router's own methods read lower case too, and HTTP's are other ones then.
        let known = http::Method::from_str(verb.as_str()).ok();
        let Some(method) = known.filter(|method| method.as_ref() == verb.as_str()) else {
            return spring_error(StatusCode::NOT_IMPLEMENTED, "unknown method", &path, now);
        };
        if verb == Method::HEAD && is_naming(&path) {
            return HttpAnswer::empty().status(StatusCode::NOT_IMPLEMENTED);
        }
        if !table::is_plain(&path) {
            return spring_error(StatusCode::NOT_FOUND, "No message available", &path, now);
        }
        // Only the path matters to the router: query, headers and body travel in the call.
        let mut url = self.base.clone();
        url.set_path(&path);
        let mut request = http::Request::new(method, url);
        request.ext_mut().insert(call);
        let response: http::Result<http::Response> = self.app.respond(request).await;
        let Ok(mut response) = response else {
            return spring_error(StatusCode::INTERNAL_SERVER_ERROR, "router failed", &path, now);
        };
        if let Some(answer) = response.ext_mut().remove::<HttpAnswer>() {
            return answer;
        }
        // Nacos has a filter there that knows all of its routes.
        if is_naming(&path) {
            let message = format!("no such api:{verb}:{path}");
            return spring_error(StatusCode::NOT_IMPLEMENTED, &message, &path, now);
        }
        if response.status() == http::StatusCode::MethodNotAllowed {
            let message = format!("Request method '{verb}' not supported");
            let allowed = table::methods_of(&self.table, &path).join(", ");
            return spring_error(StatusCode::METHOD_NOT_ALLOWED, &message, &path, now)
                .header(header::ALLOW, &allowed);
        }
        spring_error(StatusCode::NOT_FOUND, "No message available", &path, now)
    }
}

/// Whether a call is answered out of what was agreed.
fn is_of_agreed(call: &Call) -> bool {
    let path = call.path();
    let is_read = call.method == Method::GET && !path.ends_with(HEARD);
    path.contains("/cs/") || is_read && AGREED.iter().any(|part| path.contains(part))
}

fn is_naming(path: &str) -> bool {
    path.strip_prefix(NAMING).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Where people begin who know an address only, or Nacos.
fn redirect(call: &Call) -> Option<HttpAnswer> {
    let leads_here =
        call.method == Method::GET && ["/", "/nacos/", "/nacos/index.html"].contains(&call.path());
    leads_here.then(|| {
        HttpAnswer::empty().status(StatusCode::FOUND).header_static(header::LOCATION, CONTEXT)
    })
}
