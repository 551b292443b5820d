//! The console: one page with its script and its style, part of the binary. All that it shows it
//! fetches over the API as any other client does; these are the only answers that a browser may
//! take for HTML, and nothing of a request or of the state is in them.

use hyper::Method;
use hyper::header::{self, HeaderName};

use crate::access::about;
use crate::access::rule::Permission;
use crate::http::answer::HttpAnswer;
use crate::route::table::Routes;

const HTML: &str = include_str!("../../page/index.html");
const SCRIPT: &str = include_str!("../../page/console.js");
const STYLE: &str = include_str!("../../page/console.css");

/// Nothing from elsewhere, nothing inline, nobody's frame.
const POLICY: &str = "default-src 'self'; img-src data:; object-src 'none'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

pub(crate) fn routes(routes: &mut Routes) {
    let open = Permission::Open;
    routes
        .at("")
        .now(Method::GET, open, about::nothing, |_, _| Ok(part("text/html; charset=utf-8", HTML)));
    routes.at("/console.js").now(Method::GET, open, about::nothing, |_, _| {
        Ok(part("text/javascript; charset=utf-8", SCRIPT))
    });
    routes
        .at("/console.css")
        .now(Method::GET, open, about::nothing, |_, _| Ok(part("text/css; charset=utf-8", STYLE)));
}

fn part(content_type: &'static str, content: &'static str) -> HttpAnswer {
    HttpAnswer::new(content_type, content)
        .header_static(header::CONTENT_SECURITY_POLICY, POLICY)
        .header_static(header::REFERRER_POLICY, "no-referrer")
        .header_static(HeaderName::from_static("cross-origin-opener-policy"), "same-origin")
        .header_static(header::CACHE_CONTROL, "no-cache")
}
