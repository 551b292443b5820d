//! What pages of other sites must not make a browser do: write across origins, as forms can without
//! being asked, and read or write through a name that was turned to this host (DNS rebinding).
//! Clients that are no browsers send no `Origin` and do not call themselves Mozilla, and are not
//! concerned.

use std::net::IpAddr;

use hyper::Method;
use hyper::header::HeaderValue;

use crate::http::call::Call;

const FOREIGN: &str = "pages of another origin cannot write here; a proxy has to pass the Host \
                       header on, or send X-Forwarded-Host";

/// Refuses with a sentence for whoever runs the node.
pub(crate) fn check(call: &Call) -> Result<(), &'static str> {
    let is_read = matches!(call.method, Method::GET | Method::HEAD | Method::OPTIONS);
    if !is_read && page(call) == Page::Foreign {
        return Err(FOREIGN);
    }
    if is_browser(call) && is_local(call) && !call.header("host").is_none_or(is_unmistakable) {
        return Err("from its own host the node is looked at as localhost or by an address");
    }
    Ok(())
}

/// Refuses a read that changes something, as an image in a page of another site would make it. A
/// browser says less of a read than of a write, and a page can keep it from saying anything.
pub(crate) fn check_act(call: &Call) -> Result<(), &'static str> {
    match page(call) {
        Page::Own => Ok(()),
        Page::Foreign => Err(FOREIGN),
        Page::Untold if is_browser(call) => {
            Err("a browser that does not say from which page it comes changes nothing here")
        }
        Page::Untold => Ok(()),
    }
}

fn is_browser(call: &Call) -> bool {
    call.header("user-agent").is_some_and(|agent| agent.starts_with("Mozilla/"))
}

/// The page that a call comes from, as the browser tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    /// It came from here, or it is none: somebody typed the address.
    Own,
    Foreign,
    Untold,
}

fn page(call: &Call) -> Page {
    let own = |is_own| if is_own { Page::Own } else { Page::Foreign };
    let is_of_own = |value: &HeaderValue| value.to_str().is_ok_and(|origin| is_own(call, origin));
    if let Some(origin) = call.headers.get("origin") {
        return own(is_of_own(origin));
    }
    // Sent to hosts that cannot be listened to on the way only.
    if let Some(site) = call.headers.get("sec-fetch-site") {
        return own(["none", "same-origin"].iter().any(|own| site == own));
    }
    call.headers.get("referer").map_or(Page::Untold, |referer| own(is_of_own(referer)))
}

/// Whether a page of this origin came from here, or through a proxy that says so: another site
/// cannot send that header without asking first.
fn is_own(call: &Call, origin: &str) -> bool {
    let Some((_, asked)) = origin.split_once("://") else { return false };
    let asked = asked.split('/').next().unwrap_or_default();
    let names = ["host", "x-forwarded-host"];
    names.iter().filter_map(|name| call.header(name)).any(|own| own.eq_ignore_ascii_case(asked))
}

fn is_local(call: &Call) -> bool {
    call.is_same_address || call.ip_text().parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether no name server had a say in this `HOST[:PORT]`.
pub(crate) fn is_unmistakable(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_end_matches('.');
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let labels = name.rsplit('.').next();
    bare.parse::<IpAddr>().is_ok()
        || labels.is_some_and(|last| last.eq_ignore_ascii_case("localhost"))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;

    use super::*;

    fn call(method: Method, ip: &str, headers: &[(&'static str, &'static str)]) -> Call {
        let mut call = Call { method, ip: ip.into(), ..Call::default() };
        for (name, value) in headers {
            let name = HeaderName::from_static(name);
            call.headers.insert(name, HeaderValue::from_static(value));
        }
        call
    }

    #[test]
    fn pages_of_other_origins_cannot_write() {
        let own = ("host", "10.0.0.7:8848");
        let cases: [(bool, &[(&str, &str)]); 8] = [
            (true, &[own]),
            (true, &[own, ("origin", "http://10.0.0.7:8848")]),
            (true, &[("host", "Edge:8848"), ("origin", "http://edge:8848")]),
            (false, &[own, ("origin", "http://evil.example")]),
            (false, &[own, ("origin", "http://10.0.0.7:80")]),
            (false, &[own, ("origin", "null")]),
            (false, &[("origin", "http://10.0.0.7:8848")]),
            (true, &[own, ("origin", "https://n.example"), ("x-forwarded-host", "n.example")]),
        ];
        for (allowed, headers) in cases {
            for method in [Method::POST, Method::PUT, Method::DELETE] {
                let outcome = check(&call(method, "10.0.0.8", headers));
                assert_eq!(outcome.is_ok(), allowed, "{headers:?}");
            }
            assert_eq!(check(&call(Method::GET, "10.0.0.8", headers)), Ok(()), "{headers:?}");
        }
    }

    #[test]
    fn what_changes_something_by_a_read_is_for_no_page_of_another_origin() {
        let own = ("host", "10.0.0.7:8848");
        let mozilla = ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)");
        let cases: [(bool, &[(&str, &str)]); 14] = [
            (true, &[own]),
            (true, &[own, ("user-agent", "curl/8.0")]),
            (false, &[own, mozilla]),
            (true, &[own, mozilla, ("origin", "http://10.0.0.7:8848")]),
            (false, &[own, ("origin", "http://evil.example")]),
            (false, &[own, ("origin", "null"), ("sec-fetch-site", "none")]),
            (true, &[own, mozilla, ("sec-fetch-site", "same-origin")]),
            (true, &[own, mozilla, ("sec-fetch-site", "none")]),
            (false, &[own, mozilla, ("sec-fetch-site", "same-site")]),
            (false, &[own, ("sec-fetch-site", "cross-site"), ("referer", "http://10.0.0.7:8848/")]),
            (true, &[own, mozilla, ("referer", "http://10.0.0.7:8848/nacos?a=http://x/")]),
            (false, &[own, mozilla, ("referer", "http://evil.example/10.0.0.7:8848/")]),
            (false, &[own, ("referer", "http://10.0.0.7:8848.evil.example/")]),
            (false, &[own, ("referer", "10.0.0.7:8848")]),
        ];
        for (allowed, headers) in cases {
            let outcome = check_act(&call(Method::GET, "10.0.0.8", headers));
            assert_eq!(outcome.is_ok(), allowed, "{headers:?}");
        }
    }

    #[test]
    fn a_browser_on_the_host_needs_a_name_that_nobody_can_turn() {
        let mozilla = ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)");
        for (allowed, host) in [
            (true, "localhost:8848"),
            (true, "LOCALHOST"),
            (true, "a.localhost.:1"),
            (true, "127.0.0.1:8848"),
            (true, "[::1]:8848"),
            (true, "[::1]"),
            (false, "evil.example:8848"),
            (false, "127.0.0.1.evil.example"),
            (false, "localhost.evil.example"),
            (false, "notlocalhost"),
            (false, ""),
        ] {
            let host = ("host", host);
            for ip in ["127.0.0.1", "::1"] {
                let outcome = check(&call(Method::GET, ip, &[host, mozilla]));
                assert_eq!(outcome.is_ok(), allowed, "{host:?}");
            }
            // Other clients have their names from a hosts file, and others' hosts are theirs to
            // name.
            assert_eq!(check(&call(Method::GET, "127.0.0.1", &[host])), Ok(()));
            assert_eq!(check(&call(Method::GET, "10.0.0.8", &[host, mozilla])), Ok(()));
        }
    }
}
