//! The messages of gRPC, said again to a node: `docs/nacos/golden/grpc.jsonl`. One connection asks,
//! as when it was recorded; a line `PUSHES` says what a connection was told since the last one.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::compare::json;
use super::prefix::{self, Known};
use super::request::CUT;
use super::support::grpc::{Grpc, Message, now};
use super::support::{Node, TempDir};
use super::{Outcome, conclude};

const RECORD: &str = include_str!("../../../docs/nacos/golden/grpc.jsonl");
const SCENARIO: &str = "grpc";

#[derive(Deserialize)]
struct Line {
    n: u32,
    /// The type, the JSON, and a note.
    request: String,
    #[serde(rename = "nacos_2.5.1")]
    two: Recorded,
    #[serde(rename = "nacos_3.1")]
    three: Recorded,
}

#[derive(Deserialize)]
struct Recorded {
    /// The type of the answer; `pushes`, or `gRPC:` and a status, where there is none.
    status: String,
    /// The type again, and the JSON.
    body: String,
}

impl Recorded {
    fn json(&self) -> Known {
        let (_, json) = self.body.split_once(' ').expect("a type and JSON");
        prefix::read(json).expect("JSON")
    }
}

/// What a request was about: the record cuts long ones.
enum Said {
    Request(String, String),
    /// Tell what was told, after the words of the note.
    Pushes,
    Unknown,
}

/// What follows where a line is cut, as far as another line or the answer tells.
fn rest(line: &Line) -> Option<String> {
    let instance = r#"{"ip": "10.8.0.1", "port": 80, "weight": 1.0, "healthy": true, "enabled": true, "ephemeral": true, "clusterName": "DEFAULT", "metadata": {}"#;
    let (head, _) = line.request.split_once(CUT)?;
    match line.n {
        31 => return Some(format!(r#"{}", "group": "DEFAULT_GROUP"}}"#, "x".repeat(300))),
        58 => return Some(format!(r#"{}"}}}}"#, "d".repeat(300))),
        64 => return Some(format!(r#"{}"}}"#, "x".repeat(3_000_000))),
        66 => return Some(format!(r#"{}"}}"#, "x".repeat(10 << 20))),
        // What the answers show of the second instance.
        126 => {
            let second =
                instance.replace("0.1", "0.4").replace("1.0", "2.5").replace("DEFAULT", "CX");
            let second = second.replace("{}", r#"{"a": "b"}"#);
            return Some(format!(
                r#" "clusterName": "DEFAULT", "metadata": {{}}}}, {second}}}]}}"#
            ));
        }
        133 => return Some(r#" "clusterName": "DEFAULT", "metadata": {}}]}"#.into()),
        // What is wrong stands in the part that is not there.
        156..=159 => return None,
        _ => {}
    }
    // The same in every other instance: from the last name on that is there, whole or not.
    let at = head.rfind(", \"")?;
    let known = &head[at..];
    let from = instance.find(known)?;
    Some(format!("{}}}}}", &instance[from + known.len()..]))
}

fn said(line: &Line) -> Said {
    let text = line.request.trim_end();
    let (kind, after) = text.split_once(' ').unwrap_or((text, ""));
    if kind == "PUSHES" {
        return Said::Pushes;
    }
    let kind = if text.starts_with('{') { "" } else { kind };
    if let Some((head, _)) = after.split_once(CUT) {
        return match rest(line) {
            Some(rest) => Said::Request(kind.into(), format!("{head}{rest}")),
            None => Said::Unknown,
        };
    }
    let body = match line.n {
        1 => "{}".to_owned(),
        // Told by the note.
        13 => "no JSON".into(),
        14 => String::new(),
        _ => {
            let mut values = serde_json::Deserializer::from_str(after).into_iter::<Value>();
            let Some(Ok(_)) = values.next() else { panic!("line {} has no JSON", line.n) };
            after[..values.byte_offset()].into()
        }
    };
    Said::Request(kind.into(), body)
}

/// Members that are not compared: words, numbers of messages, and the two spellings of one.
const OURS: [&str; 4] = ["allIPs", "allIps", "message", "requestId"];

fn without(value: &mut Value, names: &[&str]) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !names.contains(&name.as_str()));
            members.values_mut().for_each(|value| without(value, names));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| without(value, names)),
        _ => {}
    }
}

fn without_ours(mut known: Known) -> Known {
    match &mut known {
        Known::Whole(value) => without(value, &OURS),
        Known::Object(members, last) => {
            members.retain(|name, _| !OURS.contains(&name.as_str()));
            members.values_mut().for_each(|value| without(value, &OURS));
            if let Some((name, inner)) = last.take() {
                *last = Some((name, Box::new(without_ours(*inner))));
            }
        }
        Known::Array(items) => {
            *items = std::mem::take(items).into_iter().map(without_ours).collect();
        }
        Known::Text(_) | Known::Nothing => {}
    }
    known
}

/// Takes empty texts out that Nacos leaves out as null: strict clients want a text there.
fn without_empty(value: &mut Value, known: &Known) {
    let inner = |name: &str| match known {
        Known::Whole(known) => known.get(name).cloned().map(Known::Whole),
        Known::Object(members, _) => members.get(name).cloned().map(Known::Whole),
        _ => None,
    };
    if let (Value::Object(members), Known::Whole(_) | Known::Object(_, None)) = (value, known) {
        members.retain(|name, value| value.as_str() != Some("") || inner(name).is_some());
        for (name, value) in members.iter_mut() {
            if let Some(known) = inner(name) {
                without_empty(value, &known);
            }
        }
    }
}

/// Lists that come in the order of a hash map there.
const UNORDERED: [&str; 3] = ["serviceNames", "contexts", "hosts"];

fn sort(value: &mut Value) {
    if let Value::Object(members) = value {
        for (name, value) in members {
            match value {
                Value::Array(items) if UNORDERED.contains(&name.as_str()) => {
                    items.sort_by_key(Value::to_string);
                }
                _ => sort(value),
            }
        }
    }
}

/// As [`json`], after what is no difference is taken away.
fn same(known: Known, mut ours: Value) -> Option<String> {
    let mut known = without_ours(known);
    without(&mut ours, &OURS);
    without_empty(&mut ours, &known);
    if let Known::Whole(known) = &mut known {
        sort(known);
        sort(&mut ours);
    }
    json("", &known, &ours).err()
}

fn member<'k>(known: &'k Known, name: &str) -> Option<&'k Value> {
    match known {
        Known::Whole(value) => value.get(name),
        Known::Object(members, _) => members.get(name),
        _ => None,
    }
}

/// How our answer differs from a recorded one.
fn difference(ours: &Message, nacos: &Recorded) -> Option<String> {
    if nacos.status.starts_with("gRPC:") {
        return (!ours.kind.is_empty()).then(|| format!("{} instead of none", ours.kind));
    }
    if ours.kind != nacos.status {
        return Some(format!("{} instead of {}", ours.kind, nacos.status));
    }
    let value: Value = serde_json::from_str(&ours.json).expect("JSON");
    let known = nacos.json();
    if member(&known, "success") == Some(&Value::Bool(false)) {
        // Which members a failure has beside its own is ours: strict clients want all of them.
        let names = ["resultCode", "errorCode", "success", "lastModified", "beta", "tag"];
        let kept = |name: &&str| member(&known, name).cloned().map(|value| ((*name).into(), value));
        let kept = names.iter().filter_map(kept).collect::<Map<_, _>>();
        return json("", &Known::Object(kept, None), &value).err();
    }
    same(known, value)
}

/// A request of the server by what it is about: of several about the same the last one counts.
fn about(kind: &str, body: &Value) -> String {
    let said = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let names = ["dataId", "group", "tenant", "groupKey", "serviceKey", "groupKeyPattern"];
    let service = body.get("serviceInfo").and_then(|info| info.get("name"));
    let service = service.and_then(Value::as_str).unwrap_or_default();
    let mut words: Vec<&str> = names.iter().map(|name| said(name)).collect();
    words.extend([said("syncType"), said("changeType"), said("changedType"), service]);
    format!("{kind} {}", words.join(" ").trim())
}

/// What the record says that a connection was told; the last one may be cut.
fn recorded_pushes(nacos: &Recorded) -> (BTreeMap<String, Known>, bool) {
    let (members, last) = match nacos.json() {
        Known::Whole(Value::Object(members)) => (members, None),
        Known::Object(members, last) => (members, last),
        _ => panic!("pushes are an object"),
    };
    let kind = |name: &str| name.split('[').next().unwrap_or_default().to_owned();
    let whole =
        members.iter().map(|(name, body)| (about(&kind(name), body), Known::Whole(body.clone())));
    let whole = whole.collect();
    (whole, last.is_some() || nacos.body.ends_with(CUT))
}

fn pushes_differ(told: &[Message], nacos: &Recorded) -> Option<String> {
    let (known, is_cut) = recorded_pushes(nacos);
    let mut ours = BTreeMap::new();
    for Message { kind, json } in told {
        let body: Value = serde_json::from_str(json).expect("JSON");
        ours.insert(about(kind, &body), body);
    }
    if !is_cut && let Some(more) = ours.keys().find(|about| !known.contains_key(*about)) {
        return Some(format!("is told {more:?}"));
    }
    known.into_iter().find_map(|(about, known)| match ours.remove(&about) {
        Some(ours) => same(known, ours).map(|how| format!("{about:?}: {how}")),
        None => Some(format!("is not told {about:?}")),
    })
}

/// Everything a connection is told, and acknowledges, within `time`, and no longer than until
/// somebody says that it is all.
fn told(grpc: &mut Grpc, time: Duration, is_all: impl Fn(&[Message]) -> bool) -> Vec<Message> {
    let (mut told, mut deadline) = (Vec::new(), now() + time);
    while let Some(message) = grpc.told_by(deadline) {
        let body: Value = serde_json::from_str(&message.json).expect("JSON");
        let id = body["requestId"].as_str().expect("a number");
        let kind = message.kind.replace("Request", "Response");
        let yes =
            format!(r#"{{"resultCode":200,"errorCode":0,"success":true,"requestId":"{id}"}}"#);
        if message.kind != "SetupAckRequest" {
            grpc.say(&kind, &yes);
        }
        told.push(message);
        if is_all(&told) {
            // What would be too much comes at once.
            deadline = deadline.min(now() + Duration::from_millis(100));
        }
    }
    told
}

/// 2.5.1 has no handler for what 3 has brought.
fn decides(line: &Line) -> [Option<&Recorded>; 2] {
    let older = (!line.two.body.contains("\"errorCode\": 302") && line.two.status != "pushes")
        || line.two.body == line.three.body;
    [Some(&line.three), older.then_some(&line.two)]
}

fn judge(line: &Line, how: impl Fn(&Recorded) -> Option<String>) -> Outcome {
    let mut words = Vec::new();
    for nacos in decides(line).into_iter().flatten() {
        match how(nacos) {
            None => return Outcome::Same,
            Some(how) => words.push(how),
        }
    }
    Outcome::Differs(words.join("; 2.5.1: "))
}

const ABILITIES: &str = r#"{"clientVersion":"Nacos-Java-Client:v3.1.0","labels":{"source":"sdk"},
    "abilityTable":{"supportPersistentInstanceByGrpc":true,"fuzzyWatch":true,"lock":true}}"#;
const NO_ABILITIES: &str =
    r#"{"clientVersion":"Nacos-Java-Client:v2.0.0","labels":{"source":"sdk"}}"#;

/// Connections beside the first one.
struct Others {
    address: String,
    second: Option<Grpc>,
}

impl Others {
    fn second(&mut self) -> &mut Grpc {
        let address = &self.address;
        self.second.get_or_insert_with(|| Grpc::connect(address))
    }
}

/// What was said before a line and is not recorded, as far as answers show it.
fn unrecorded(n: u32) -> Vec<(&'static str, String)> {
    match n {
        50 => {
            let publish = r#"{"dataId": "gt", "group": "DEFAULT_GROUP", "content": "main"}"#;
            vec![("ConfigPublishRequest", publish.into())]
        }
        67 => {
            let publish = r#"{"dataId": "g1", "group": "DEFAULT_GROUP", "content": "c2"}"#;
            vec![("ConfigPublishRequest", publish.into())]
        }
        170 => {
            let register = |ip: &str| {
                let instance = format!(r#"{{"ip": "{ip}", "port": 80, "ephemeral": false}}"#);
                let service = r#""namespace": "public", "serviceName": "gp""#;
                let json =
                    format!(r#"{{{service}, "type": "registerInstance", "instance": {instance}}}"#);
                ("PersistentInstanceRequest", json)
            };
            vec![register("10.8.1.1"), register("10.8.1.2")]
        }
        _ => Vec::new(),
    }
}

/// What a line waits for before it is said.
fn pause_before(line: &Line) -> Duration {
    match line.n {
        214 => Duration::from_millis(3_500),
        _ => Duration::ZERO,
    }
}

fn wait(line: &Line, grpc: &mut Grpc) -> Vec<Message> {
    let (known, is_cut) = recorded_pushes(&line.three);
    let (time, least) = if known.is_empty() && !is_cut {
        (Duration::from_millis(1_200), usize::MAX)
    } else {
        (Duration::from_secs(4), known.len())
    };
    let is_all = |told: &[Message]| {
        let about = |Message { kind, json }: &Message| {
            about(kind, &serde_json::from_str(json).expect("JSON"))
        };
        told.len() >= least
            && known.keys().all(|known| told.iter().any(|told| about(told) == *known))
    };
    told(grpc, time, is_all)
}

/// A connection that is silent until it is asked whether it lives, from line 233 on.
fn be_silent(address: &str, lines: &[Line]) -> Vec<Outcome> {
    let mut grpc = Grpc::open_wide(address);
    grpc.set_up(ABILITIES);
    lines
        .iter()
        .map(|line| match said(line) {
            Said::Pushes => {
                let time = Duration::from_secs(if line.n == 234 { 27 } else { 1 });
                let told = told(&mut grpc, time, |_| false);
                judge(line, |nacos| pushes_differ(&told, nacos))
            }
            Said::Request(kind, body) => {
                let answer = grpc.ask(&kind, &body);
                judge(line, |nacos| difference(&answer, nacos))
            }
            Said::Unknown => Outcome::Unknown,
        })
        .collect()
}

fn play(address: &str, lines: &[Line]) -> Vec<Outcome> {
    let shown = std::env::var("GOLDEN").is_ok_and(|wanted| SCENARIO.starts_with(&wanted));
    let mut first = Grpc::open_wide(address);
    let mut others = Others { address: address.into(), second: None };
    let mut outcomes = Vec::new();
    for line in lines {
        thread::sleep(pause_before(line));
        for (kind, json) in unrecorded(line.n) {
            let done = first.ask(kind, &json);
            assert!(done.json.contains("\"success\":true"), "{done:?}");
        }
        let (outcome, ours) = match (line.n, said(line)) {
            (6, Said::Pushes) => {
                first.set_up(ABILITIES);
                let told = wait(line, &mut first);
                (judge(line, |nacos| pushes_differ(&told, nacos)), format!("{told:?}"))
            }
            (7, Said::Pushes) => {
                let mut grpc = Grpc::open_wide(address);
                grpc.set_up(NO_ABILITIES);
                let told = wait(line, &mut grpc);
                (judge(line, |nacos| pushes_differ(&told, nacos)), format!("{told:?}"))
            }
            (_, Said::Pushes) => {
                let told = wait(line, &mut first);
                (judge(line, |nacos| pushes_differ(&told, nacos)), format!("{told:?}"))
            }
            (n, Said::Request(kind, body)) => {
                if n == 232 {
                    others.second = None;
                    thread::sleep(Duration::from_millis(500));
                }
                let asks = if matches!(n, 209 | 210 | 230) { others.second() } else { &mut first };
                let answer = asks.ask(&kind, &body);
                let ours = format!("{} {}", answer.kind, answer.json);
                (judge(line, |nacos| difference(&answer, nacos)), ours)
            }
            (_, Said::Unknown) => (Outcome::Unknown, String::new()),
        };
        if let (Outcome::Differs(how), true) = (&outcome, shown) {
            let Line { n, request, two, three } = line;
            let ours: String = ours.chars().take(2_000).collect();
            println!("{SCENARIO} {n}: {how}\n  {request}\n  ours  {ours}");
            println!("  2.5.1 {}\n  3.1   {}", two.body, three.body);
        }
        outcomes.push(outcome);
    }
    outcomes
}

#[test]
fn messages_are_those_of_nacos() {
    let lines: Vec<Line> =
        RECORD.lines().map(|line| serde_json::from_str(line).expect("a line")).collect();
    let silent = lines.iter().position(|line| line.n == 233).expect("it is recorded");
    let data = TempDir::new("golden-grpc");
    let node = Node::try_start(data.path(), &[]).expect("the node becomes ready");
    let outcomes = thread::scope(|scope| {
        let silent = scope.spawn(|| be_silent(&node.address, &lines[silent..]));
        let mut outcomes = play(&node.address, &lines[..lines.len() - 3]);
        outcomes.extend(silent.join().expect("it ends"));
        outcomes
    });
    assert_eq!(outcomes.len(), lines.len());
    conclude(lines.iter().map(|line| (SCENARIO.to_owned(), line.n)).zip(&outcomes));
}
