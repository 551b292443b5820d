//! Every route against callers who may not, and the tricks that have opened such doors elsewhere
//! (reliability B6: CVE-2021-29441 and its kin).

use nacolet_api::Permission;
use nacolet_api::RouteInfo;
use nacolet_api::call::Call;
use nacolet_auth::Actions;

use crate::world::{World, json, text};

/// Names in every spelling, all in one namespace.
fn names(namespace: &str) -> String {
    format!(
        "tenant={namespace}&namespaceId={namespace}&namespace={namespace}&dataId=d&group=g&\
         groupName=g&serviceName=s&content=x&ip=10.0.0.1&port=80&pageNo=1&pageSize=10&nid=1&id=1&\
         key={namespace}%23%23g@@s&config_detail=&configDetail="
    )
}

fn routes(world: &World) -> Vec<RouteInfo> {
    let mut routes = world.server.routes();
    routes.iter_mut().for_each(|route| route.path = route.path.replace(':', ""));
    routes
}

/// Routes that look into all namespaces, or into the one that their path names: `names` does not count.
fn is_elsewhere(path: &str) -> bool {
    path.starts_with("/nacos/prometheus") || path.ends_with("/instance/statuses/key")
}

/// Routes that know the word `tenant` for a namespace, and not `namespaceId`.
fn goes_by_tenant(path: &str) -> bool {
    let both = ["/nacos/v1/cs/configs", "/nacos/v1/cs/configs/listener"];
    path.starts_with("/nacos/v1/cs/") && !both.contains(&path) || path.ends_with("/searchDetail")
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
            || path == "/nacos/v3/admin/core/state"
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
                matches!(status, 302 | 307 | 308 | 400 | 403 | 404 | 405),
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
    // The last one says `tenant=b` beside two other words for `a`: one of them counts, for each route.
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
            let is_mixed_own = !goes_by_tenant(&route.path);
            for (query, is_own) in [(&own, true), (&foreign, false), (&mixed, is_mixed_own)] {
                // A listener says in its body what it is about: see below.
                if route.path.ends_with("/configs/listener") && route.method == "POST" {
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
    for name in ["x", "xy"] {
        let target = format!("/nacos/v1/cs/configs?tenant=a&group=g&dataId={name}&content=1");
        assert_eq!(world.call("POST", &target, &[("accesstoken", &root)]).status, 200);
    }
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
    let history = "/nacos/v1/cs/history?tenant=a&group=g";
    assert_eq!(ask("GET", &format!("{history}&dataId=xy&nid=2")), 403);
    assert_eq!(ask("GET", &format!("{history}&dataId=x&nid=2")), 404, "of another config");
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
}

#[test]
fn what_is_permitted_is_told_by_the_state_of_the_server() {
    let mut world = World::new();
    let state = json(&world.call("GET", "/nacos/v1/console/server/state", &[]));
    assert_eq!(state["auth_enabled"], "true");
}
