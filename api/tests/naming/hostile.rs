//! Every naming route with parameters that no client sends: nothing panics, and whoever is refused
//! is told so with a status of 400 or 404. The registry checks its own invariants after every step.

use std::time::Duration;

use nacolet_api::Call;
use nacolet_model::Prng;

use crate::world::World;

const NAMES: &[&str] = &[
    "serviceName",
    "groupName",
    "namespaceId",
    "ip",
    "port",
    "clusterName",
    "cluster",
    "clusters",
    "weight",
    "enabled",
    "enable",
    "healthy",
    "healthyOnly",
    "ephemeral",
    "metadata",
    "app",
    "beat",
    "instances",
    "consistencyType",
    "key",
    "udpPort",
    "clientIP",
    "pageNo",
    "pageSize",
    "selector",
    "protectThreshold",
    "healthChecker",
    "checkPort",
    "useInstancePort4Check",
    "entry",
    "value",
    "clientId",
    "expr",
    "valid",
    "heartBeat",
    "onlyStatus",
    "withInstances",
    "keyword",
    "state",
];

const VALUES: &[&str] = &[
    "",
    "s",
    "g@@s",
    "@@",
    "a@@b@@c",
    "public",
    "null",
    "10.0.0.1",
    "::1",
    "80",
    "0",
    "65536",
    "-1",
    "1e309",
    "NaN",
    "inf",
    "0.5",
    "true",
    "False",
    "maybe",
    "%00",
    "%ff%fe",
    "%",
    "%zz",
    "a,b",
    ",,",
    "k=v,k=w",
    "{}",
    "[]",
    "null",
    "{\"a\":1}",
    "{\"a\":{}}",
    "[{\"ip\":\"10.0.0.1\",\"port\":80}]",
    "{\"ip\":\"10.0.0.1\",\"port\":80,\"weight\":-1}",
    "{\"ip\":\"10.0.0.1\",\"port\":\"80\"}",
    "{\"type\":\"NONE\"}",
    "{\"type\":\"label\"}",
    "18446744073709551616",
    "ephemeral",
    "persist",
    "clientBeatInterval",
    "check",
    "public%23%23g@@s",
    "10.0.0.1:80%23true",
    "%E6%9C%8D",
    "*",
    ".*",
    "preserved.heart.beat.interval=1,preserved.ip.delete.timeout=1",
];

/// Families of paths that ask the core for nothing but the registry.
fn is_naming(path: &str) -> bool {
    ["/ns/", "/prometheus", "/metrics", "/core/cluster", "/server", "/health"]
        .iter()
        .any(|part| path.contains(part))
        && !path.contains("/cs/")
}

#[test]
fn no_parameter_breaks_a_route() {
    let mut world = World::new();
    let mut prng = Prng::new(7);
    let routes: Vec<_> =
        world.server.routes().into_iter().filter(|route| is_naming(&route.path)).collect();
    assert!(routes.len() > 80, "{} routes", routes.len());
    let mut served = 0;
    for _ in 0..100 {
        for route in &routes {
            let mut pick = |list: &[&'static str]| {
                let at = prng.below(u64::try_from(list.len()).expect("a short list"));
                list[usize::try_from(at).expect("a short list")]
            };
            let path: Vec<&str> = route
                .path
                .split('/')
                .map(|part| if part.starts_with(':') { "s" } else { part })
                .collect();
            let count = pick(&["", "1", "22", "55555", "999999999"]).len();
            let query: Vec<String> =
                (0..count).map(|_| format!("{}={}", pick(NAMES), pick(VALUES))).collect();
            // Half of the calls name an instance, or hardly any would come past the door.
            let base = pick(&["", "serviceName=s&ip=10.0.0.1&port=80&pageNo=1&pageSize=5&"]);
            let target = format!("{}?{base}{}", path.join("/"), query.join("&"));
            let uri = target.replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
            let Ok(uri) = uri.parse() else { continue };
            let mut call = Call { method: route.method.clone(), uri, ..Call::default() };
            call.body = format!("{base}{}", query.join("&")).into();
            let form = "application/x-www-form-urlencoded".parse().expect("a header");
            call.headers.insert("content-type", form);
            let agent = "Nacos-Java-Client:v1.4.2".parse().expect("a header");
            call.headers.insert("user-agent", agent);
            let status = world.serve(call).status.as_u16();
            let is_answer = [200, 400, 404, 410, 415, 501, 503].contains(&status);
            assert!(is_answer, "{} {target}: {status}", route.method);
            served += 1;
        }
        world.advance(Duration::from_secs(3));
    }
    assert!(served > 8_000, "{served} calls");
}
