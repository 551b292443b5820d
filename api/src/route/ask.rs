//! What a handler gets: what the call is about, and beside that nothing that could say it
//! otherwise.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::{HOST, HeaderMap};

use crate::access::Login;
use crate::http::browser;
use crate::http::failure::Failure;
use crate::http::params::Fields;
use crate::http::room::Room;

/// What a handler gets: what the call is about, and beside that nothing that could say it
/// otherwise.
#[derive(Debug)]
pub(crate) struct Ask<T> {
    /// What its decoder made of the identifiers, and what permission was asked of.
    pub(crate) about: T,
    /// Its other parameters.
    pub(crate) params: Fields,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Address of the socket it came from. See [`address_text`].
    pub(crate) ip: Arc<str>,
    /// See [`crate::http::call::Call::is_same_address`].
    pub(crate) is_same_address: bool,
    /// Whether it proves that the caller has the cluster key.
    pub(crate) is_proved: bool,
    /// Who calls; with authentication off nobody is known.
    pub(crate) user: Option<Arc<Login>>,
    /// Whether its path is one of `/v3`.
    pub(crate) is_v3: bool,
    /// Where a long answer is counted while it is made.
    pub(crate) room: Room,
}

impl<T> Ask<T> {
    /// The same about another value, made of this one.
    pub(crate) fn about<U>(
        self,
        make: impl FnOnce(T) -> Result<U, Failure>,
    ) -> Result<Ask<U>, Failure> {
        let Self { about, params, headers, ip, is_same_address, is_proved, user, is_v3, room } =
            self;
        Ok(Ask {
            about: make(about)?,
            params,
            headers,
            ip,
            is_same_address,
            is_proved,
            user,
            is_v3,
            room,
        })
    }

    /// What the call is about, and the rest of it.
    pub(crate) fn apart(self) -> (T, Ask<()>) {
        let Self { about, params, headers, ip, is_same_address, is_proved, user, is_v3, room } =
            self;
        (
            about,
            Ask { about: (), params, headers, ip, is_same_address, is_proved, user, is_v3, room },
        )
    }

    /// The name of the user, where one is known.
    pub(crate) fn user_name(&self) -> Option<&str> {
        self.user.as_deref().map(Login::name)
    }

    /// Whether it comes from this host, and not through a proxy on it, nor by a name that was
    /// turned to it. A header is there whatever its bytes are.
    pub(crate) fn is_from_own_host(&self, is_proxy: impl Fn(IpAddr) -> bool) -> bool {
        let Ok(ip) = self.ip.parse::<IpAddr>() else { return false };
        let is_named = self
            .headers
            .get(HOST)
            .is_some_and(|host| host.to_str().map_or(true, |host| !browser::is_unmistakable(host)));
        let is_passed_on = self.headers.keys().any(|name| is_of_proxies(name.as_str()));
        (ip.is_loopback() || self.is_same_address) && !is_proxy(ip) && !is_named && !is_passed_on
    }

    /// A header's text; absent when it is missing or not text. `name` is in lower case.
    pub(crate) fn header(&self, name: &'static str) -> Option<&str> {
        std::str::from_utf8(self.headers.get(name)?.as_bytes()).ok()
    }
}

/// Whether proxies tell by this header whose call they pass on, and no client has it.
fn is_of_proxies(name: &str) -> bool {
    const NAMES: [&str; 6] =
        ["forwarded", "via", "x-real-ip", "true-client-ip", "x-client-ip", "x-cluster-client-ip"];
    NAMES.contains(&name) || name.starts_with("x-forwarded-") || name.starts_with("cf-connecting-")
}
