//! Routes of Nacos that mean nothing here. Each is answered 501 and a sentence that says why, in
//! the shape of its family: a bare 404 would look like a mistake of the caller.

use hyper::Method;

use crate::access::about;
use crate::access::rule::Permission;
use crate::http::answer::HttpAnswer;
use crate::http::failure::Failure;
use crate::http::params::field;
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::route::{Now, Outcome};
use crate::state::State;

const AI: &str = "there is no registry of AI resources here, such as MCP servers and agents";

/// Which paths, with which methods, and the handler that says why there is nothing.
const ABSENT: &[(&str, &[Method], Now<()>)] = &[
    ("/v3/console/core/cluster/server/leave", &[Method::POST], |_, _| none(LEAVE)),
    ("/v3/admin/core/plugin/:verb", ALL, |_, _| none(PLUGINS)),
    ("/v3/admin/ai/:kind", ALL, |_, _| none(AI)),
    ("/v3/admin/ai/:kind/:verb", ALL, |_, _| none(AI)),
    ("/v3/admin/ai/:kind/:verb/:more", ALL, |_, _| none(AI)),
    ("/v3/client/ai/:kind", ALL, |_, _| none(AI)),
    ("/v3/client/ai/:kind/:verb", ALL, |_, _| none(AI)),
    ("/v3/console/ai/:kind", ALL, |_, _| none(AI)),
    ("/v3/console/ai/:kind/:verb", ALL, |_, _| none(AI)),
    ("/v3/console/ai/:kind/:verb/:more", ALL, |_, _| none(AI)),
];

const PLUGINS: &str =
    "there are no plug-ins here: what they do for Nacos is built in, or is not there";

const LEAVE: &str =
    "a member is taken out of this cluster by its node id: `nacolet cluster remove`";

const ALL: &[Method] = &[Method::GET, Method::POST, Method::PUT, Method::DELETE];

pub(crate) fn routes(routes: &mut Routes) {
    for (path, methods, handler) in ABSENT {
        let mut at = routes.at(path);
        for method in *methods {
            at = at.now(method.clone(), Permission::Console, about::nothing, *handler);
        }
    }
    // Entities of a CMDB have labels. There is none, so there is no label, which Nacos tells with
    // an empty answer.
    routes.at("/v1/cmdb/ops/label").now(Method::GET, Permission::Console, about::nothing, no_label);
}

fn none(words: &'static str) -> Outcome {
    Err(Failure::disabled(words))
}

fn no_label(_state: &State, ask: &Ask<()>) -> Outcome {
    ask.params.required(field::ENTRY)?;
    ask.params.required(field::LABEL)?;
    Ok(HttpAnswer::text(""))
}
