//! Whatever a call looks like: what it touches is inside the permission of its caller. Random calls
//! name things twice, in other words, in query and body, encoded in odd ways, and every route is
//! asked. What the core is asked to write and what an answer tells are compared with what the
//! caller may touch.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nacolet_api::{Call, HttpAnswer};
use nacolet_api::{Permission, RouteInfo};
use nacolet_auth::Actions;
use nacolet_config::{Operator, Publish};
use nacolet_model::{ConfigKey, DataId, Group, Instant, Namespace, Prng, RequestId, WallTime};
use nacolet_model::{ServiceKey, ServiceName};
use nacolet_registry::{Input, InstanceSpec, Metadata};

use crate::world::{PASSWORD, World, text};

const NAMESPACES: [&str; 3] = ["public", "a", "b"];
const GROUPS: [&str; 3] = ["g", "h", "DEFAULT_GROUP"];

/// The name of the config and of the service that are there in each group: no other has it.
fn name(namespace: &str, group: &str) -> String {
    format!("n-{namespace}-{group}")
}

/// In the content of a config and the metadata of an instance.
fn secret(namespace: &str, group: &str) -> String {
    format!("secret-{namespace}-{group}")
}

/// Puts a config and a service with an instance into every group.
fn fill(world: &World) {
    let mut configs = world.port.configs.write().expect("no panic before");
    let mut registry = world.port.registry.write().expect("no panic before");
    let mut index = 0;
    for namespace in NAMESPACES {
        if namespace != "public" {
            index += 1;
            let id = Namespace::parse(namespace).expect("one");
            let (name, desc, at) = (namespace.into(), "".into(), WallTime(1));
            let create = nacolet_config::Command::CreateNamespace { id, name, desc, at };
            configs.apply(index, create, &mut Vec::new()).expect("it fits");
        }
        for group in GROUPS {
            let (name, secret) = (name(namespace, group), secret(namespace, group));
            let (namespace, group) =
                (Namespace::parse(namespace).expect("one"), Group::new(group).expect("one"));
            for content in [secret.clone(), format!("{secret} again")] {
                index += 1;
                let data_id = DataId::new(&name).expect("one");
                let key = ConfigKey { namespace: namespace.clone(), group: group.clone(), data_id };
                let operator = Operator { user: "x".into(), ip: "10.0.0.1".into() };
                let publish = Publish::new(key, content.into(), operator, WallTime(1));
                let command = publish.expect("a config").into();
                configs.apply(index, command, &mut Vec::new()).expect("it fits");
            }
            let mut instance = InstanceSpec::new("10.0.0.1", 80);
            instance.metadata = Metadata::new([("m", secret.as_str())]).expect("short");
            let name = ServiceName::new(&name).expect("one");
            let service = ServiceKey { namespace, group, name };
            let body = nacolet_registry::Request::Register { service, instance };
            let input = Input::Request { request: RequestId(1), at: WallTime(1), body };
            registry.step(Instant::from_millis(1), input, &mut Vec::new());
        }
    }
}

/// Chance, and the place that a call is about but for some of its values.
struct Dice(Prng, (&'static str, &'static str));

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        let count = u64::try_from(count).expect("small");
        usize::try_from(self.0.below(count)).expect("small")
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn chance(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    fn namespace(&mut self) -> &'static str {
        let odd = self.one(&["a", "b", "public", "", " a ", "null"]);
        if self.chance(6) { odd } else { self.1.0 }
    }

    fn group(&mut self) -> &'static str {
        let odd = self.one(&["g", "h", "DEFAULT_GROUP", " g", ""]);
        if self.chance(6) { odd } else { self.1.1 }
    }

    fn name(&mut self) -> String {
        let odd = (self.one(&NAMESPACES), self.one(&GROUPS));
        let (namespace, group) = if self.chance(6) { odd } else { self.1 };
        name(namespace, group)
    }

    fn value(&mut self, id: &str) -> String {
        match id {
            "tenant" | "namespaceId" | "namespace" | "targetNamespaceId" => {
                self.namespace().to_owned()
            }
            "group" | "groupName" => self.group().to_owned(),
            "serviceName" if self.chance(3) => format!("{}@@{}", self.group(), self.name()),
            "dataId" | "serviceName" => self.name(),
            "key" => format!("{}##{}@@{}", self.namespace(), self.group(), self.name()),
            "Listening-Configs" => {
                let count = 1 + self.below(2);
                let entry = |dice: &mut Self| {
                    let (name, group) = (dice.name(), dice.group());
                    format!("{name}\u{2}{group}\u{2}\u{2}{}\u{1}", dice.namespace())
                };
                (0..count).map(|_| entry(self)).collect()
            }
            "username" => self.one(&["v", "nacos"]).to_owned(),
            _ => (1 + self.below(20)).to_string(),
        }
    }

    /// Percent-encoded where it must be, and here and there where it need not be.
    fn encoded(&mut self, text: &str) -> String {
        let mut encoded = String::new();
        for byte in text.bytes() {
            if byte == b' ' && self.chance(2) {
                encoded.push('+');
            } else if byte.is_ascii_alphanumeric() && !self.chance(12) || b"-_.@".contains(&byte) {
                encoded.push(char::from(byte));
            } else if self.chance(2) {
                encoded.push_str(&format!("%{byte:02x}"));
            } else {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        }
        encoded
    }

    /// Identifiers, some twice and some not at all, among what else the routes of a family want.
    fn pairs(&mut self, path: &str) -> Vec<(String, String)> {
        let (ids, fields): (&[&str], &[(&str, &str)]) = if path.contains("/cs/") {
            (
                &["tenant", "namespaceId", "targetNamespaceId", "group", "groupName", "dataId"],
                &[("content", "x"), ("pageNo", "1"), ("pageSize", "50"), ("config_detail", "")],
            )
        } else if path.contains("/ns/") {
            (
                &["tenant", "namespaceId", "group", "groupName", "serviceName"],
                &[
                    ("ip", "10.0.0.1"),
                    ("port", "80"),
                    ("clusterName", "DEFAULT"),
                    ("pageNo", "1"),
                    ("pageSize", "50"),
                    ("healthy", "true"),
                    ("metadata", "k=v"),
                    ("checkPort", "80"),
                    ("useInstancePort4Check", "true"),
                    ("healthChecker", "{\"type\":\"TCP\"}"),
                    ("protectThreshold", "0"),
                ],
            )
        } else {
            (&["namespaceId", "namespace", "username"], &[("newPassword", "battery staple")])
        };
        let mut pairs = Vec::new();
        let special = match path {
            path if path.ends_with("/statuses") => Some("key"),
            path if path.ends_with("/listener") => Some("Listening-Configs"),
            path if path.ends_with("/configs") && self.chance(6) => Some("ids"),
            path if path.contains("/batch") || path.contains("/export") && !self.chance(8) => {
                Some("ids")
            }
            _ => None,
        };
        for id in ids.iter().copied().chain(special) {
            for _ in 0..self.one(&[0, 1, 1, 1, 1, 1, 1, 2]) {
                pairs.push((id.to_owned(), self.value(id)));
            }
        }
        pairs.extend(fields.iter().map(|(field, value)| ((*field).into(), (*value).into())));
        if path.contains("/history") {
            let nid = (1 + self.below(18)).to_string();
            pairs.push(("nid".to_owned(), nid.clone()));
            pairs.push(("id".to_owned(), nid));
        }
        for (field, value) in [
            ("search", "accurate"),
            ("search", "blur"),
            ("show", "all"),
            ("beta", "true"),
            ("export", "true"),
            ("exportV2", "true"),
            ("delType", "ids"),
            ("all", "true"),
            ("withInstances", "true"),
            ("heartBeat", "true"),
        ] {
            // Archives take several things at once.
            if self.chance(if path.ends_with("/configs") { 6 } else { 24 }) {
                pairs.push((field.to_owned(), value.to_owned()));
            }
        }
        for index in (1..pairs.len()).rev() {
            pairs.swap(index, self.below(index + 1));
        }
        pairs
    }

    fn joined(&mut self, pairs: &[(String, String)]) -> String {
        let pair = |dice: &mut Self, (key, value): &(String, String)| {
            format!("{}={}", dice.encoded(key), dice.encoded(value))
        };
        pairs.iter().map(|one| pair(self, one)).collect::<Vec<_>>().join("&")
    }

    /// The same fields as parts.
    fn parts(pairs: &[(String, String)]) -> String {
        let part = |(name, value): &(String, String)| {
            format!("--X\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        pairs.iter().map(part).collect::<String>() + "--X--\r\n"
    }

    /// Another spelling of a path: escaped letters, a slash at its end.
    fn spelled(&mut self, path: &str) -> String {
        let mut spelled = String::new();
        let mut escape = 0;
        for c in path.chars() {
            // What is escaped already stays so.
            escape = if c == '%' { 2 } else { escape - i32::from(escape > 0) };
            let is_plain = escape == 0 && c.is_ascii_alphanumeric() && !spelled.ends_with('%');
            if is_plain && self.chance(6) {
                spelled.push_str(&format!("%{:02x}", u32::from(c)));
            } else {
                spelled.push(c);
            }
        }
        if self.chance(2) { spelled + "/" } else { spelled }
    }

    fn multipart(&mut self, name: &str) -> String {
        let mut body = String::new();
        for _ in 0..1 + self.below(2) {
            let namespace = self.namespace();
            body += &format!("--X\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
            body += namespace;
            body += "\r\n";
        }
        body + "--X\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nno archive\r\n--X--\r\n"
    }

    /// Says who calls, in one way or another; beside that, half of what would make it somebody
    /// else, whose password is the same.
    fn sign(&mut self, call: &mut Call, user: &'static str, token: &str) {
        let mut headers = vec![("accesstoken", token.to_owned())];
        let basic = |user: &str| format!("Basic {}", STANDARD.encode(format!("{user}:{PASSWORD}")));
        match self.below(8) {
            0 => {
                headers = vec![("username", user.to_owned()), ("password", PASSWORD.to_owned())];
                if self.chance(2) {
                    headers.push(("authorization", basic("nacos")));
                }
                if self.chance(4) {
                    headers.push(("username", "nacos".to_owned()));
                }
            }
            1 => headers = vec![("authorization", basic(user)), ("username", "nacos".to_owned())],
            2 => headers.push(("authorization", basic("nacos"))),
            3 => headers.push(("username", "nacos".to_owned())),
            _ => {}
        }
        for (name, value) in headers {
            call.headers.append(name, value.parse().expect("a header"));
        }
    }

    fn call(&mut self, route: &RouteInfo, user: &'static str, token: &str) -> Call {
        self.1 = (self.one(&["a", "a", "a", "b", "public"]), self.one(&["g", "g", "h"]));
        let mut path = route.path.clone();
        for (variable, value) in [
            (":key", self.value("key")),
            (":namespace", self.namespace().to_owned()),
            (":service", self.name()),
        ] {
            path = path.replace(variable, &self.encoded(&value).replace('+', "%20"));
        }
        let pairs = self.pairs(&route.path);
        let at = if route.method == "GET" { pairs.len() } else { self.below(pairs.len() + 1) };
        let (mut query, body) = (self.joined(&pairs[..at]), self.joined(&pairs[at..]));
        let mut call = Call { method: route.method.clone(), ..Call::default() };
        if self.chance(4) {
            path = self.spelled(&path);
        }
        let copies = format!("[{{\"cfgId\":{},\"dataId\":\"copy\"}}]", 1 + self.below(20));
        let (kind, body) = match self.below(12) {
            0 if route.path.ends_with("/cs/configs") => {
                query = format!("import=true&{query}");
                ("multipart/form-data; boundary=X", self.multipart("namespace"))
            }
            1 if route.path.ends_with("/cs/configs") => {
                query = format!("clone=true&{query}");
                ("application/json", copies)
            }
            0..6 if route.path.ends_with("/config/clone") => ("application/json", copies),
            0..6 if route.path.ends_with("/config/import") => {
                ("multipart/form-data; boundary=X", self.multipart("namespaceId"))
            }
            6 | 7 => ("multipart/form-data; boundary=X", Self::parts(&pairs[at..])),
            _ => ("application/x-www-form-urlencoded", body),
        };
        call.uri = format!("{path}?{query}").parse().expect("a target");
        call.headers.insert("content-type", kind.parse().expect("a header"));
        self.sign(&mut call, user, token);
        call.body = body.into();
        call
    }
}

/// Namespace and group of everything in a text that is in front of one or the other.
fn mentioned<'t>(text: &'t str, before: &str) -> impl Iterator<Item = (&'t str, &'t str)> {
    text.split(before).skip(1).filter_map(|rest| {
        let (namespace, rest) = rest.split_once('-')?;
        let group = GROUPS.into_iter().find(|group| rest.starts_with(group))?;
        NAMESPACES.contains(&namespace).then_some((namespace, group))
    })
}

/// Namespace and group of every key in what the core is asked.
fn keys(asked: &str) -> Vec<(String, String)> {
    let word = |text: &str, before: &str| {
        let (_, rest) = text.split_once(before)?;
        rest.split_once('"').map(|(word, _)| word.to_owned())
    };
    let parts = asked.split("namespace: ").skip(1);
    parts
        .map(|part| {
            let namespace = word(part, "Namespace(\"").unwrap_or_default();
            // A question about a whole namespace has no group.
            (namespace, word(part, "group: Group(\"").unwrap_or("*".to_owned()))
        })
        .collect()
}

#[derive(Default)]
struct Seen {
    told: usize,
    written: usize,
    packed: usize,
    cloned: usize,
}

/// Names and contents in an archive; nothing of what is none.
fn packed(body: &[u8]) -> Vec<(String, String)> {
    let Ok(mut archive) = zip::ZipArchive::new(std::io::Cursor::new(body)) else {
        return Vec::new();
    };
    let mut entries = Vec::new();
    for at in 0..archive.len() {
        let mut file = archive.by_index(at).expect("an entry");
        let mut content = String::new();
        file.read_to_string(&mut content).expect("text");
        entries.push((file.name().expect("text").into_owned(), content));
    }
    entries
}

fn check(
    call: &Call,
    answer: &HttpAnswer,
    asked: &[String],
    may: impl Fn(&str, &str) -> bool,
    seen: &mut Seen,
) {
    let sent = format!("{} {}", call.uri, String::from_utf8_lossy(&call.body));
    let sent = percent_encoding::percent_decode_str(&sent).decode_utf8_lossy();
    let told = String::from_utf8_lossy(&answer.body);
    let context = || format!("{} {sent}: {} {told} {asked:?}", call.method, answer.status);
    for (namespace, group) in mentioned(&told, "secret-") {
        assert!(may(namespace, group), "{}", context());
        seen.told += 1;
    }
    for (namespace, group) in mentioned(&told, "n-") {
        let was_sent = sent.contains(&name(namespace, group));
        assert!(was_sent || may(namespace, group), "{}", context());
    }
    for (name, content) in packed(&answer.body) {
        let of_config = mentioned(&name, "n-").chain(mentioned(&content, "secret-"));
        for (namespace, group) in of_config {
            assert!(may(namespace, group), "{name} {content} {}", context());
            seen.packed += 1;
        }
    }
    for asked in asked {
        assert!(!asked.contains("\"nacos\""), "{}", context());
        for (namespace, group) in keys(asked) {
            assert!(may(&namespace, &group), "{}", context());
            seen.written += 1;
        }
        for (namespace, group) in mentioned(asked, "secret-") {
            assert!(may(namespace, group), "{}", context());
            seen.cloned += 1;
        }
    }
}

#[test]
fn what_is_touched_is_inside_the_permission_whatever_the_call_looks_like() {
    let mut world = World::new();
    world.user("u", &[("a:g:*", Actions::Both)]);
    world.user("w", &[("a:*:*", Actions::Both)]);
    fill(&world);
    let (u, w) = (world.token("u"), world.token("w"));
    world.asked = Some(Vec::new());
    let routes: Vec<RouteInfo> = world.server.routes();
    let routes: Vec<_> =
        routes.into_iter().filter(|route| !route.path.ends_with("/login")).collect();
    // What writes configs is asked more often: a mistake there took many things at once to show.
    let often = routes.iter().filter(|route| route.permission == Permission::ConfigWrite).cloned();
    let often: Vec<_> = often.collect();
    let routes: Vec<_> = std::iter::repeat_n(often, 8).flatten().chain(routes).collect();
    let mut dice = Dice(Prng::new(15), ("a", "g"));
    let (mut group, mut whole) = (Seen::default(), Seen::default());
    for round in 0..300 {
        for route in &routes {
            let is_whole = round % 3 == 0;
            let (user, token) = if is_whole { ("w", &w) } else { ("u", &u) };
            let call = dice.call(route, user, token);
            let answer = world.serve(call.clone());
            let asked = world.asked.replace(Vec::new()).expect("there is a list");
            if is_whole {
                check(&call, &answer, &asked, |namespace, _| namespace == "a", &mut whole);
            } else {
                let may = |namespace: &str, group: &str| namespace == "a" && group == "g";
                check(&call, &answer, &asked, may, &mut group);
            }
        }
    }
    for seen in [&group, &whole] {
        assert!(seen.told > 100 && seen.written > 100, "{} and {}", seen.told, seen.written);
        assert!(seen.packed > 5, "{}", seen.packed);
    }
    assert!(whole.cloned > 5, "{}", whole.cloned);
}

/// The ways in that an audit found, one by one.
#[test]
fn what_is_said_twice_or_in_other_words_opens_nothing() {
    let mut world = World::new();
    world.user("dev", &[("a:g:config/n-a-g", Actions::Both), ("a:g:naming/*", Actions::Read)]);
    fill(&world);
    let token = world.token("dev");
    world.asked = Some(Vec::new());
    let mut ask = |method: &str, target: &str, form: &str| {
        let answer = world.form(method, target, form, &[("accesstoken", &token)]);
        let asked = world.asked.replace(Vec::new()).expect("there is a list");
        (answer.status.as_u16(), text(&answer).to_owned(), asked)
    };
    let configs = "/nacos/v1/cs/configs";
    for (target, form) in [
        (configs, "content=x&tenant=a&group=g&dataId=n-a-g&dataId=secret"),
        (configs, "content=x&tenant=a&group=g&dataId=n-a-g&tenant=b"),
        (configs, "content=x&tenant=a&group=g&dataId=n-a-g&group=h"),
        ("/nacos/v1/cs/configs?dataId=n-a-g", "content=x&tenant=a&group=g&dataId=secret"),
        ("/nacos/v2/cs/config", "content=x&namespaceId=a&group=g&dataId=n-a-g&namespaceId=b"),
    ] {
        let (status, told, asked) = ask("POST", target, form);
        assert_eq!((status, asked.len()), (400, 0), "{form}: {told}");
        assert!(told.contains("has two values"), "{told}");
    }
    for path in ["/nacos/v1/ns/instance/list", "/nacos/v2/ns/instance/list"] {
        let target = format!("{path}?serviceName=n-a-DEFAULT_GROUP&namespaceId=a&group=g");
        assert_eq!(ask("GET", &target, "").0, 403, "{path}");
    }
    let (status, told, asked) = ask(
        "PUT",
        "/nacos/v1/auth/users?username=nacos",
        "username=dev&newPassword=battery+staple",
    );
    assert_eq!((status, asked.len()), (400, 0), "{told}");
}
