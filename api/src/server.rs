//! One server for all api threads: the state that handlers see, the routes, and the two protocols
//! over it.

use std::io;
use std::net::TcpListener;
use std::str::FromStr as _;
use std::sync::Arc;

use hyper::Uri;
use hyper::header::{self, HeaderValue};
use tide::http;

use crate::connection;
use crate::grpc;
use crate::grpc::zone::counts::GrpcCounts;
use crate::http::answer::HttpAnswer;
use crate::http::call::{Call, address_text};
use crate::port::Port;
use crate::port::who::{Found, Sought};
use crate::route::router::Router;
use crate::route::spelling::settled;
use crate::route::table::{RouteInfo, Routes};
use crate::routes;
use crate::state::State;
use crate::state::settings::Settings;

/// The Nacos HTTP API over one port. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    state: Arc<State>,
    router: Arc<Router>,
    grpc: Arc<GrpcCounts>,
}

impl Server {
    /// A server that reads and writes through `port`.
    ///
    /// # Panics
    /// Never: what is expected holds for constants.
    #[must_use]
    pub fn new(port: Arc<Port>, settings: Settings) -> Self {
        let state = Arc::new(State::new(port, settings));
        let mut routes = Routes::new(Arc::clone(&state));
        routes::register(&mut routes);
        let router = Arc::new(Router::new(Arc::clone(&state), routes));
        Self { state, router, grpc: Arc::default() }
    }

    /// Every route with its permission.
    #[must_use]
    pub fn routes(&self) -> Vec<RouteInfo> {
        self.router.routes()
    }

    /// Stops: listeners close, long polls are answered, connections end after what is in flight.
    pub fn stop(&self) {
        self.state.stop();
    }

    /// Serves the HTTP connections of one listener until [`Self::stop`], then answers what is in
    /// flight. One such call per api thread.
    ///
    /// # Errors
    /// When the listener cannot be registered with the reactor.
    pub async fn serve_http(self, listener: TcpListener) -> io::Result<()> {
        connection::serve(listener, self.state, self.router).await
    }

    /// Serves the gRPC connections of one listener, and those of the HTTP port, until
    /// [`Self::stop`], then tells the clients to go elsewhere and answers what is in flight. One
    /// such call per api thread.
    ///
    /// # Errors
    /// When the listener cannot be registered with the reactor, or descriptors are lacking.
    pub async fn serve_grpc(self, listener: TcpListener) -> io::Result<()> {
        grpc::serve(listener, self.state, self.grpc).await
    }

    /// Who is connected to this node, subscribes or listens: for another member. None where too
    /// many ask.
    pub async fn who(&self, sought: Sought) -> Option<Found> {
        self.state.here(sought).await.ok()
    }

    /// Serves one call that is read completely.
    pub async fn call(&self, mut call: Call) -> HttpAnswer {
        call.uri = settled(call.uri);
        self.router.call(call).await
    }

    /// The heads and bodies of this server, without sockets. Only with the feature `fuzzing`.
    #[cfg(feature = "fuzzing")]
    #[must_use]
    pub fn listener(self) -> connection::fuzzing::Listener {
        connection::fuzzing::Listener::new(self.state, self.router)
    }

    /// Serves one request without a socket, for tests in process.
    ///
    /// # Errors
    /// When the request's body cannot be read or its parts are not valid HTTP.
    pub async fn respond(&self, mut request: http::Request) -> http::Result<http::Response> {
        let method = hyper::Method::from_str(request.method().as_ref())?;
        let url = request.url();
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let mut call = Call { method, uri: Uri::from_str(&target)?, ..Call::default() };
        for (name, values) in &request {
            let name = header::HeaderName::from_str(name.as_str())?;
            for value in values {
                call.headers.append(name.clone(), HeaderValue::from_str(value.as_str())?);
            }
        }
        if let Some(ip) = request.remote().and_then(|remote| remote.parse().ok()) {
            call.ip = address_text(ip);
        }
        call.body = request.body_bytes().await?.into();
        let mut answer = self.call(call).await;
        let mut response = http::Response::new(answer.status.as_u16());
        let headers = std::mem::take(&mut answer.headers);
        response.set_body(answer.whole()?.to_vec());
        for (name, value) in &headers {
            response.insert_header(name.as_str(), value.to_str()?);
        }
        Ok(response)
    }
}
