//! Every route against callers who may not, and the tricks that have opened such doors elsewhere
//! (docs/reliability.md, "Attacks": CVE-2021-29441 and its kin).

use nacolet_api::Call;
use nacolet_api::Permission;
use nacolet_api::RouteInfo;
use nacolet_auth::Actions;

use crate::world::{World, json, text};

/// Names in every spelling, all in one namespace.
fn names(namespace: &str) -> String {
    format!(
        "tenant={namespace}&namespaceId={namespace}&namespace={namespace}&dataId=d&group=g&\
         groupName=g&serviceName=s&content=x&ip=10.0.0.1&port=80&pageNo=1&pageSize=10&nid=1&id=1&\
         key={namespace}%23%23g@@s&config_detail=&configDetail=&ids=1"
    )
}

fn routes(world: &World) -> Vec<RouteInfo> {
    let mut routes = world.server.routes();
    routes.iter_mut().for_each(|route| route.path = route.path.replace(':', ""));
    routes
}

/// Routes that look into all namespaces, or into the one that their path names: `names` does not
/// count.
fn is_elsewhere(path: &str) -> bool {
    path.starts_with("/nacos/prometheus")
        || path.ends_with("/instance/statuses/key")
        // By number, which may be of any namespace.
        || path.contains("/config/batch")
        || path.contains("/config/export")
}

/// Routes that know the word `tenant` for a namespace, and not `namespaceId`: of v1 a read alone
/// knows both.
fn goes_by_tenant(route: &RouteInfo) -> bool {
    let is_read = route.method == "GET" && route.path == "/nacos/v1/cs/configs";
    route.path.starts_with("/nacos/v1/cs/") && !is_read
        || route.path == "/nacos/v2/cs/config/searchDetail"
}

#[test]
fn the_open_routes_are_these() {
    let world = World::new();
    let open = routes(&world).into_iter().filter(|route| route.permission == Permission::Open);
    let mut open: Vec<String> = open.map(|route| route.path).collect();
    open.sort_unstable();
    open.dedup();
    let is_harmless = |path: &String| {
        path.ends_with("/login")
            || path.contains("/health")
            || path.ends_with("ness")
            || path.ends_with("/metrics") && path.contains("/ns/")
            || ["/nacos", "/nacos/console.js", "/nacos/console.css", "/nacos/serverlist"]
                .contains(&path.as_str())
            || path.starts_with("/nacos/v1/console/server/")
            || path.starts_with("/nacos/v3/console/server/")
            || path == "/nacos/actuator"
            || path == "/nacos/v3/admin/core/state"
            // They look themselves.
            || path.contains("/auth/") && path.ends_with("/admin")
    };
    assert!(open.iter().all(is_harmless), "{open:?}");
}

#[test]
fn without_a_token_that_we_signed_nothing_is_done() {
    let mut world = World::new();
    let token = world.token("nacos");
    let other = {
        // Of another cluster, with another key and the same users.
        let mut other = World::new();
        let users = nacolet_auth::Users::new();
        *other.port.users.write().expect("no panic before") = users;
        let begin = nacolet_auth::Begin {
            user: crate::world::name("nacos"),
            hash: nacolet_api::hash_password(crate::world::PASSWORD).expect("a password"),
            key: [8; 32],
        };
        other.apply(nacolet_auth::Command::Begin(begin));
        other.token("nacos")
    };
    let bent = format!("{}A", &token[..token.len() - 1]);
    let none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJuYWNvcyIsImV4cCI6OTk5OTk5OTk5OX0.";
    let credentials: Vec<Vec<(&str, &str)>> = vec![
        vec![],
        vec![("accesstoken", "x")],
        vec![("accesstoken", "AUTH_DISABLED")],
        vec![("accesstoken", &bent)],
        vec![("accesstoken", &other)],
        vec![("accesstoken", none)],
        vec![("authorization", "Bearer")],
        vec![("authorization", "Basic bmFjb3M6bmFjb3M=")],
        vec![("user-agent", "Nacos-Server")],
        vec![("serveridentity", "security"), ("user-agent", "Nacos-Server:v2")],
        vec![("nacos", "nacos"), ("x-forwarded-for", "127.0.0.1")],
        vec![("x-http-method-override", "GET"), ("x-original-url", "/nacos/v1/auth/login")],
        vec![("host", "localhost"), ("host", "127.0.0.1")],
    ];
    let query = names("a");
    for route in routes(&world) {
        if route.permission == Permission::Open {
            continue;
        }
        for headers in &credentials {
            let target = format!("{}?{query}", route.path);
            let answer = world.call(route.method.as_str(), &target, headers);
            let status = answer.status.as_u16();
            assert_eq!(status, 403, "{} {target} {headers:?}: {}", route.method, text(&answer));
        }
    }
}

/// As an image in a page of another site makes a browser call: over plain HTTP it does not say that
/// it is for such a page, and the page can keep it from saying for which.
#[test]
fn a_page_of_another_site_makes_a_browser_change_nothing_by_a_read() {
    const ACTING: [&str; 3] = ["reloadCurrent", "reloadClient", "smartReloadCluster"];
    let mut world = World::open();
    world.asked = Some(Vec::new());
    let query = format!(
        "{}&count=0&connectionId=c&udpPort=5000&beta=true&type=x&username=u&password=p&role=r&\
         resource=x&action=rw&clusters=a&healthyOnly=false&app=a",
        names("public")
    );
    let agent = ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)");
    let pages: [&[(&str, &str)]; 4] = [
        &[agent],
        &[agent, ("referer", "http://evil.example/")],
        &[("origin", "http://evil.example")],
        &[("sec-fetch-site", "cross-site")],
    ];
    let reads = routes(&world).into_iter().filter(|route| route.method == "GET");
    for route in reads.collect::<Vec<_>>() {
        let is_acting = ACTING.iter().any(|name| route.path.ends_with(name));
        let target = format!("{}?{query}", route.path);
        // What acts is for the own host alone, where nobody has to log in.
        let (ip, host) = match is_acting {
            true => ("127.0.0.1", "127.0.0.1:8848"),
            false => ("10.0.0.8", "10.0.0.7:8848"),
        };
        let mut ask = |method: &str, page: &[(&str, &str)]| {
            let mut call = Call { ip: ip.into(), ..Call::default() };
            call.method = method.parse().expect("a method");
            call.uri = target.parse().expect("a target");
            for (name, value) in page.iter().copied().chain([("host", host)]) {
                let name: hyper::header::HeaderName = name.parse().expect("a name");
                call.headers.insert(name, value.parse().expect("a value"));
            }
            world.serve(call).status.as_u16()
        };
        for (method, page) in pages.iter().flat_map(|page| [("GET", page), ("HEAD", page)]) {
            // Some are for the own host alone.
            let others = ask(method, &[]);
            let expected = if is_acting { 403 } else { others };
            assert_eq!(ask(method, page), expected, "{method} {target} {page:?}");
            assert!(!is_acting || others != 403, "{method} {target}");
        }
    }
    let asked = world.asked.take().unwrap_or_default();
    let is_question = |asked: &&String| {
        // A long poll, who listens, and how the cluster is.
        asked.starts_with('[')
            || ["Status", "Connections", "Key(", "Ip {"].iter().any(|word| asked.starts_with(word))
    };
    let acts: Vec<&String> = asked.iter().filter(|asked| !is_question(asked)).collect();
    assert!(acts.is_empty(), "{acts:?}");
}

#[test]
fn other_spellings_of_a_path_open_nothing() {
    let mut world = World::new();
    let query = names("a");
    for route in routes(&world) {
        if route.permission == Permission::Open {
            continue;
        }
        let path = route.path.as_str();
        let middle = path.replacen("/v", "//v", 1);
        for spelled in [
            format!("{path}/"),
            format!("{path}//"),
            format!("/{path}"),
            format!("{path}/."),
            format!("/nacos/./{}", &path["/nacos/".len().min(path.len())..]),
            format!("/nacos/x/../{}", &path["/nacos/".len().min(path.len())..]),
            format!("{path}%2e"),
            format!("{path}%2f"),
            format!("{path};x"),
            format!("{path};/nacos/v1/auth/login"),
            format!("{path}.js"),
            format!("{path}.png"),
            format!("{path}%00.js"),
            format!("{path}/v1/auth/login"),
            path.replace('/', "\\"),
            path.replacen("/v", "\\v", 1),
            format!("{}/x/%2e%2e/{}", &path[..path.len().min(6)], &path[7.min(path.len())..]),
            format!("{}/x/.%2E/{}", &path[..path.len().min(6)], &path[7.min(path.len())..]),
            format!("{path}/%2e%2e/{}", path.rsplit('/').next().unwrap_or_default()),
            path.to_uppercase(),
            path.replacen("/v", "/V", 1),
            path.replacen('n', "%6e", 1),
            middle,
            path.trim_start_matches("/nacos").to_owned(),
        ] {
            if spelled.is_empty() || !spelled.starts_with('/') || spelled.starts_with("//") {
                continue;
            }
            let Ok(uri) = format!("{spelled}?{query}").parse() else { continue };
            let call = Call { method: route.method.clone(), uri, ..Call::default() };
            let answer = world.serve(call);
            let status = answer.status.as_u16();
            assert!(
                matches!(status, 302 | 307 | 308 | 400 | 403 | 404 | 405 | 501),
                "{} {spelled}: {status} {}",
                route.method,
                text(&answer)
            );
        }
    }
}

#[test]
fn a_permission_for_one_namespace_is_none_for_another() {
    let mut world = World::new();
    world.user("reader", &[("a:*:*", Actions::Read)]);
    world.user("writer", &[("a:*:*", Actions::Both)]);
    let (reader, writer) = (world.token("reader"), world.token("writer"));
    // The last one says `tenant=b` beside two other words for `a`: one of them counts, for each
    // route.
    let (own, foreign, mixed) = (names("a"), names("b"), names("a").replacen("=a", "=b", 1));
    let (mut allowed, mut denied) = (0, 0);
    for route in routes(&world) {
        use Permission::{ConfigRead, ConfigWrite, NamingRead, NamingWrite};
        let is_write = match route.permission {
            ConfigRead | NamingRead => false,
            ConfigWrite | NamingWrite => true,
            Permission::Open | Permission::Console | Permission::Admin => continue,
        };
        for (who, token, may_write) in [("reader", &reader, false), ("writer", &writer, true)] {
            let is_mixed_own = !goes_by_tenant(&route);
            for (query, is_own) in [(&own, true), (&foreign, false), (&mixed, is_mixed_own)] {
                // These say in their bodies what they are about: see below.
                let by_body = ["/configs/listener", "/config/clone"];
                if by_body.iter().any(|end| route.path.ends_with(end)) && route.method == "POST" {
                    continue;
                }
                let target = format!("{}?{query}", route.path);
                let headers = [("accesstoken", token.as_str())];
                let answer = world.call(route.method.as_str(), &target, &headers);
                let may = is_own && (may_write || !is_write) && !is_elsewhere(&route.path);
                let is_denied = answer.status == 403;
                let (method, told) = (&route.method, text(&answer));
                assert_eq!(is_denied, !may, "{who} {method} {target}: {told}");
                if may { allowed += 1 } else { denied += 1 }
            }
        }
    }
    assert!(allowed > 60 && denied > 200, "{allowed} and {denied}");
}

#[test]
fn a_permission_for_one_config_is_none_for_its_neighbours() {
    let mut world = World::new();
    world.user("u", &[("a:g:config/x", Actions::Both)]);
    let (root, token) = (world.token("nacos"), world.token("u"));
    let history = "/nacos/v1/cs/history?tenant=a&group=g";
    for name in ["x", "xy"] {
        let target = format!("/nacos/v1/cs/configs?tenant=a&group=g&dataId={name}&content=1");
        assert_eq!(world.call("POST", &target, &[("accesstoken", &root)]).status, 200);
    }
    let list = format!("{history}&dataId=xy&search=accurate");
    let page = json(&world.call("GET", &list, &[("accesstoken", &root)]));
    let foreign = page["pageItems"][0]["id"].as_str().expect("an id").to_owned();
    let mut ask = |method: &str, target: &str| {
        let answer = world.call(method, target, &[("accesstoken", &token)]);
        answer.status.as_u16()
    };
    let base = "/nacos/v1/cs/configs?tenant=a&group=g";
    assert_eq!(ask("GET", &format!("{base}&dataId=x")), 200);
    assert_eq!(ask("GET", &format!("{base}&dataId=xy")), 403);
    assert_eq!(ask("GET", &format!("{base}&dataId=x&show=all")), 200);
    let search = format!("{base}&dataId=x&pageNo=1&pageSize=9");
    assert_eq!(ask("GET", &format!("{search}&search=blur")), 403);
    assert_eq!(ask("GET", &format!("{search}&search=accurate")), 403);
    assert_eq!(ask("GET", &format!("{base}&dataId=x&exportV2=true")), 403);
    assert_eq!(ask("GET", &format!("{base}&dataId=x&export=true&ids=1,2")), 403);
    assert_eq!(ask("DELETE", &format!("{base}&dataId=x&delType=ids&ids=2")), 403);
    assert_eq!(ask("GET", "/nacos/v1/cs/history/configs?tenant=a"), 403);
    assert_eq!(ask("GET", &format!("{history}&dataId=xy&nid={foreign}")), 403);
    assert_eq!(ask("GET", &format!("{history}&dataId=x&nid={foreign}")), 403, "of another config");
    assert_eq!(ask("DELETE", &format!("{base}&dataId=x")), 200);
}

#[test]
fn the_words_of_the_other_kind_cover_nothing() {
    let mut world = World::new();
    world.user("u", &[("a:g:naming/s", Actions::Both), ("a:g:config/d", Actions::Both)]);
    let token = world.token("u");
    let cases = [
        ("/nacos/v1/ns/instance/list?namespaceId=a&groupName=g&serviceName=s", 200),
        ("/nacos/v1/ns/instance/list?namespaceId=a&groupName=g&serviceName=other&dataId=s", 403),
        ("/nacos/v1/ns/instance/list?namespaceId=a&serviceName=h@@s&groupName=g", 403),
        ("/nacos/v1/cs/configs?tenant=a&group=g&dataId=d", 404),
        ("/nacos/v1/cs/configs?tenant=a&group=g&dataId=other&serviceName=d", 403),
        ("/nacos/v1/cs/configs?tenant=a&group=h&groupName=g&dataId=d", 403),
    ];
    for (target, status) in cases {
        let answer = world.call("GET", target, &[("accesstoken", &token)]);
        assert_eq!(answer.status, status, "{target}: {}", text(&answer));
    }
}

#[test]
fn every_config_of_a_listener_must_be_permitted() {
    let mut world = World::new();
    world.user("u", &[("a:g:config/x", Actions::Read)]);
    let token = world.token("u");
    let mut listen = |entries: &[(&str, &str)]| {
        let entry = |(name, tenant): &(&str, &str)| format!("{name}%02g%02%02{tenant}%01");
        let body: String = entries.iter().map(entry).collect();
        let form = format!("Listening-Configs={body}");
        let target = "/nacos/v1/cs/configs/listener?tenant=a";
        world.form("POST", target, &form, &[("accesstoken", &token)]).status.as_u16()
    };
    assert_eq!(listen(&[("x", "a")]), 200);
    assert_eq!(listen(&[("x", "a"), ("y", "a")]), 403);
    assert_eq!(listen(&[("x", "b")]), 403);
    assert_eq!(listen(&[("x", "")]), 403);
}

#[test]
fn an_archive_needs_the_namespace_that_it_names_inside() {
    let mut world = World::new();
    world.user("u", &[("a:*:*", Actions::Both)]);
    let token = world.token("u");
    let mut send = |query: &str, content_type: &str, body: &str| {
        let mut call = Call {
            method: "POST".parse().expect("a method"),
            uri: format!("/nacos/v1/cs/configs?{query}").parse().expect("a target"),
            body: body.to_owned().into(),
            ..Call::default()
        };
        call.headers.insert("accesstoken", token.parse().expect("a header"));
        call.headers.insert("content-type", content_type.parse().expect("a header"));
        let answer = world.serve(call);
        (answer.status.as_u16(), text(&answer).to_owned())
    };
    let part = |name: &str, text: &str| {
        format!("--X\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n")
    };
    let form = "multipart/form-data; boundary=X";
    for (namespace, status) in [("a", 200), ("b", 403), ("", 403)] {
        let parts = [part("namespace", namespace), part("file", "no archive")];
        let body = format!("{}--X--\r\n", parts.concat());
        let (found, told) = send("import=true", form, &body);
        assert_eq!(found, status, "{namespace}: {told}");
    }
    // Whatever is copied may come from anywhere.
    let wanted = r#"[{"cfgId": 1}]"#;
    assert_eq!(send("clone=true&tenant=a", "application/json", wanted).0, 403);
    for (path, namespace) in [("admin", "namespaceId"), ("console", "targetNamespaceId")] {
        let target = format!("/nacos/v3/{path}/cs/config/clone?{namespace}=a");
        let mut call = Call {
            method: "POST".parse().expect("a method"),
            uri: target.parse().expect("a target"),
            body: wanted.into(),
            ..Call::default()
        };
        call.headers.insert("accesstoken", token.parse().expect("a header"));
        assert_eq!(world.serve(call).status, 403, "{target}");
    }
}

#[test]
fn what_is_permitted_is_told_by_the_state_of_the_server() {
    let mut world = World::new();
    let state = json(&world.call("GET", "/nacos/v1/console/server/state", &[]));
    assert_eq!(state["auth_enabled"], "true");
}
