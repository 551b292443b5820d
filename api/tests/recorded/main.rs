//! What the server answers, recorded: every route, asked in ordinary, odd and forbidden ways, with
//! the status, the headers and the body of each answer. A change of the code that is meant to
//! change no answer changes no line of `answers/`; one that is meant to shows there what it does.
//!
//! `UPDATE=1 cargo test -p nacolet-api --test recorded` writes the record anew, for review.

mod calls;
mod world;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use nacolet_api::RouteInfo;
use nacolet_config::Md5;

use calls::{SPECIAL, Special};
use world::{PASSWORD, Seen, World};

/// A body of more bytes is recorded by its beginning and its md5.
const BODY_BYTES_MAX: usize = 400;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const JSON: (&str, &str) = ("content-type", "application/json");
const ADMIN: (&str, &str) = ("nacolet-admin", "1");

/// All parameters that any route knows, so that one query is good for each of them.
fn names(namespace: &str, data_id: &str, service: &str) -> String {
    format!(
        "tenant={namespace}&namespaceId={namespace}&namespace={namespace}&dataId={data_id}&group=g&\
         groupName=g&serviceName={service}&content=x&ip=10.0.0.1&port=80&pageNo=1&pageSize=10&nid=1&id=1&\
         key={namespace}%23%23g@@{service}&config_detail=&configDetail=&search=accurate&clusterName=DEFAULT&\
         metadata=%7B%22k%22%3A%22v%22%7D&checkPort=80&useInstancePort4Check=true&\
         healthChecker=%7B%22type%22%3A%22NONE%22%7D&namespaceName=n&customNamespaceId=c&namespaceDesc=d&\
         username=dev&password=secret-word&role=devs&resource=a:*:*&action=r&entry=pushEnabled&value=true&\
         node=0000000000000002&address=10.0.0.8:7848&healthy=true&clientId=10.0.0.1:80%23true&\
         instances=%5B%7B%22ip%22%3A%2210.0.0.1%22%2C%22port%22%3A80%7D%5D&quota=5&maxSize=100000"
    )
}

/// What is there before each call.
fn fill(world: &mut World, headers: &[(&str, &str)]) {
    let mut ask = |method: &str, target: &str, body: &str| {
        let mut all = vec![FORM];
        all.extend_from_slice(headers);
        let seen = world.call(method, &format!("/nacos{target}"), &all, body);
        assert_eq!(seen.status, 200, "{target}: {}", String::from_utf8_lossy(&seen.body));
    };
    ask("POST", "/v1/console/namespaces", "customNamespaceId=a&namespaceName=first&namespaceDesc=");
    for namespace in ["", "a"] {
        let place = format!("tenant={namespace}&group=g&dataId=d");
        for (content, more) in
            [("one: 1", "type=yaml"), ("one: 2", "type=yaml&config_tags=t1,t2&desc=words")]
        {
            ask("POST", "/v1/cs/configs", &format!("{place}&content={content}&{more}"));
        }
        let place = format!("namespaceId={namespace}&groupName=g");
        let service =
            format!("{place}&serviceName=s&protectThreshold=0.5&metadata=k%3Dv&ephemeral=true");
        ask("POST", "/v1/ns/service", &service);
        for (service, more) in [
            ("s", "ip=10.0.0.1&weight=2"),
            ("s", "ip=10.0.0.2"),
            ("p", "ip=10.0.0.3&ephemeral=false"),
        ] {
            let instance = format!("{place}&serviceName={service}&port=80&{more}");
            ask("POST", "/v1/ns/instance", &instance);
        }
    }
}

/// How each route is asked where nobody has to log in: a word, the query, and whether it goes as a
/// form.
fn ordinary_and_odd() -> Vec<(&'static str, String, bool)> {
    let known = names("a", "d", "s");
    vec![
        ("without parameters", String::new(), false),
        ("known names", known.clone(), false),
        ("known names in a form", known.clone(), true),
        ("the default namespace", names("", "d", "s"), false),
        ("names of nothing", names("b", "absent", "absent"), false),
        ("impossible names", names("a/b", "d%20d", "%E4%B8%AD%00"), false),
        ("impossible numbers", odd_numbers(&known), false),
        (
            "two values of one name",
            format!("{known}&dataId=e&serviceName=t&username=eve&namespaceId=b"),
            false,
        ),
        ("another case", known.to_uppercase().replace("%3D", "%3d"), false),
    ]
}

fn odd_numbers(known: &str) -> String {
    known
        .replace("port=80", "port=99999")
        .replace("ip=10.0.0.1&", "ip=10.0.0.256&")
        .replace("pageNo=1", "pageNo=-1")
        .replace("pageSize=10", "pageSize=many")
        .replace("nid=1&id=1", "nid=x&id=x")
        .replace("healthy=true", "healthy=perhaps")
        .replace("quota=5", "quota=-5")
        .replace("node=0000000000000002", "node=2")
}

struct Record(BTreeMap<String, String>);

impl Record {
    /// Where the answers of a path are kept.
    fn chapter(&mut self, path: &str) -> &mut String {
        let mut parts =
            path.trim_start_matches("/nacos").split('/').filter(|part| !part.is_empty());
        let name = match (parts.next(), parts.next(), parts.next()) {
            (Some(version @ "v3"), Some(who), Some(family)) => format!("{version}-{who}-{family}"),
            (Some(version @ ("v1" | "v2")), Some(family), _) => format!("{version}-{family}"),
            _ => "others".into(),
        };
        self.0.entry(name).or_default()
    }

    fn head(&mut self, path: &str, line: &str) {
        writeln!(self.chapter(path), "\n# {line}").expect("memory");
    }

    fn add(&mut self, path: &str, word: &str, seen: &Seen, last: &mut String) {
        let told = told(seen);
        let told = if told == *last { "the same".to_owned() } else { told };
        writeln!(self.chapter(path), "{word}: {told}").expect("memory");
        if told != "the same" {
            *last = told;
        }
    }
}

/// The headers that every answer but the console's has.
const GUARDS: [(&str, &str); 2] = [
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; sandbox"),
    ("x-content-type-options", "nosniff"),
];

fn told(seen: &Seen) -> String {
    let mut line = seen.status.to_string();
    let mut guards = 0;
    for (name, value) in &seen.headers {
        if GUARDS.contains(&(name.as_str(), value.as_str())) {
            guards += 1;
        } else {
            write!(line, " [{name}: {value}]").expect("memory");
        }
    }
    if guards != GUARDS.len() {
        line.push_str(" [unguarded]");
    }
    let text = String::from_utf8_lossy(&seen.body);
    let shown: String = text.chars().take(BODY_BYTES_MAX).collect();
    if !shown.is_empty() {
        write!(line, " {}", on_one_line(&shown)).expect("memory");
    }
    if shown.len() < text.len() {
        write!(line, " … {} bytes, md5 {}", seen.body.len(), Md5::of(&text)).expect("memory");
    }
    line
}

fn on_one_line(text: &str) -> String {
    let spelled = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    text.chars().map(spelled).collect()
}

/// In an order that does not depend on who registers first.
fn routes() -> Vec<RouteInfo> {
    let mut routes = World::new(false).routes();
    routes.sort_by(|a, b| (&a.path, a.method.as_str()).cmp(&(&b.path, b.method.as_str())));
    routes
}

fn record() -> Record {
    let mut record = Record(BTreeMap::new());
    let tokens = ["nobody", "writer", "nacos"].map(|user| (user, token(user)));
    for route in routes() {
        ask_as_anybody(&mut record, &route);
        ask_with_users(&mut record, &route, &tokens);
    }
    for Special(word, method, target, header, body) in SPECIAL {
        let mut world = World::new(false);
        fill(&mut world, &[]);
        let seen = world.call(method, &format!("/nacos{target}"), &[*header], body);
        record.head("special", &format!("{method} {target}"));
        record.add("special", word, &seen, &mut String::new());
    }
    record
}

/// Its path with something in place of its variable segments.
fn path_of(route: &RouteInfo) -> String {
    route.path.replace(":key", "a%23%23g@@s").replace(":namespace", "a").replace(":service", "s")
}

/// Where nobody has to log in.
fn ask_as_anybody(record: &mut Record, route: &RouteInfo) {
    let (method, path) = (route.method.as_str(), path_of(route));
    record.head(&path, &format!("{method} {}", route.path));
    let mut last = String::new();
    for (word, query, in_form) in ordinary_and_odd() {
        let mut world = World::new(false);
        fill(&mut world, &[]);
        let before = world.counts();
        let seen = if in_form {
            world.call(method, &path, &[FORM, ADMIN], &query)
        } else {
            world.call(method, &format!("{path}?{query}"), &[ADMIN], "")
        };
        record.add(&path, word, &seen, &mut last);
        if world.counts() != before {
            writeln!(record.chapter(&path), "    the registry changed").expect("memory");
        }
    }
}

/// Where users have to log in.
fn ask_with_users(record: &mut Record, route: &RouteInfo, tokens: &[(&str, String)]) {
    let (path, mut last) = (path_of(route), String::new());
    let administrator = tokens.last().map_or("", |(_, token)| token);
    let nobody = ("no one", String::new());
    for (user, token) in tokens.iter().chain([&nobody]) {
        let mut world = World::new(true);
        fill(&mut world, &[("accesstoken", administrator)]);
        let target = format!("{path}?{}", names("a", "d", "s"));
        let headers = [ADMIN, ("accesstoken", token.as_str())];
        let headers = if token.is_empty() { &headers[..1] } else { &headers[..] };
        let seen = world.call(route.method.as_str(), &target, headers, "");
        record.add(&path, &format!("as {user}"), &seen, &mut last);
    }
}

/// Good in every world: all have the same users, the same key and the same time.
fn token(user: &str) -> String {
    let form = format!("username={user}&password={PASSWORD}");
    let seen = World::new(true).call("POST", "/nacos/v1/auth/login", &[FORM], &form);
    let answer: serde_json::Value = serde_json::from_slice(&seen.body).expect("JSON");
    answer["accessToken"].as_str().expect("a token").to_owned()
}

#[test]
fn the_table_of_routes_is_the_one_on_paper() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("ROUTES.txt");
    let line = |route: RouteInfo| {
        let RouteInfo { method, path, permission, about, body_bytes_max } = route;
        format!("{method} {path} {permission:?} {about} {body_bytes_max}\n")
    };
    let head = "# method, path, permission, what it is asked about, bytes of a body at most\n";
    let table: String = routes().into_iter().map(line).collect();
    let table = format!("{head}{table}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, &table).expect("a file");
    }
    let paper = std::fs::read_to_string(&file).expect("the table on paper");
    for (found, expected) in table.lines().zip(paper.lines()) {
        assert_eq!(found, expected, "UPDATE=1 writes api/ROUTES.txt anew");
    }
    assert_eq!(table.lines().count(), paper.lines().count(), "UPDATE=1 writes api/ROUTES.txt anew");
}

#[test]
fn every_route_answers_as_recorded() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recorded/answers");
    let record = record();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(&folder).expect("a folder");
        for (name, text) in &record.0 {
            std::fs::write(folder.join(format!("{name}.txt")), text.trim_start()).expect("a file");
        }
    }
    let files = std::fs::read_dir(&folder).expect("the record");
    let files = files
        .filter_map(|file| file.expect("a file").path().file_stem()?.to_str().map(str::to_owned));
    let (files, chapters): (std::collections::BTreeSet<_>, _) =
        (files.collect(), record.0.keys().cloned().collect());
    assert_eq!(files, chapters, "the chapters of the record");
    for (name, text) in &record.0 {
        let file = folder.join(format!("{name}.txt"));
        let recorded = std::fs::read_to_string(&file).expect("text");
        for (index, (found, expected)) in
            text.trim_start().lines().zip(recorded.lines()).enumerate()
        {
            assert_eq!(found, expected, "{name}.txt, line {}", index + 1);
        }
        assert_eq!(text.trim_start().lines().count(), recorded.lines().count(), "{name}.txt");
    }
}
