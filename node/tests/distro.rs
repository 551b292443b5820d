//! Real processes that share a registry on loopback: what is registered with one member is known to
//! all, and what is alive stays listed while members are killed and come back.

#[expect(dead_code, reason = "each test binary uses its part")]
mod support;

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use serde_json::Value;
use support::Http;
use support::grpc::Grpc;
use support::site::{Member, Site};

const INSTANCE: &str = "/nacos/v1/ns/instance";
const READY: &str = "/nacos/v1/console/health/readiness";
/// Unhealthy after three seconds without a beat, gone after four and a half.
const TIMERS: &str = "%7B%22preserved.heart.beat.interval%22%3A%22500%22%2C\
                      %22preserved.heart.beat.timeout%22%3A%223000%22%2C\
                      %22preserved.ip.delete.timeout%22%3A%224500%22%7D";
/// Longer than that, and than a member may be silent.
const LONG: Duration = Duration::from_secs(8);

fn list(http: &mut Http, service: &str) -> String {
    let (status, list) = http.get(&format!("{INSTANCE}/list?serviceName={service}"));
    assert_eq!(status, 200, "{list}");
    list
}

fn register(http: &mut Http, service: &str, ip: &str) {
    let form = format!("serviceName={service}&ip={ip}&port=80&metadata={TIMERS}");
    assert_eq!(http.post(INSTANCE, &form), (200, "ok".to_owned()));
}

/// Waits until a list is as it should be, for less than half a minute.
fn until(member: &Member, service: &str, condition: impl Fn(&str) -> bool) {
    let mut http = member.http();
    let mut last = String::new();
    for _ in 0..2_000 {
        last = list(&mut http, service);
        if condition(&last) {
            return;
        }
        sleep(Duration::from_millis(10));
    }
    panic!("{}: it does not come about: {last}", member.http);
}

/// Clients that beat to any of the members, and readers that miss nobody.
struct Clients {
    members: Arc<Mutex<Vec<String>>>,
    stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Instance `10.0.0.<n>` of service `live<n>`, registered with one of the members.
    const COUNT: usize = 6;

    fn start(members: &[&Member]) -> Self {
        let members: Vec<String> = members.iter().map(|member| member.http.clone()).collect();
        for number in 0..Self::COUNT {
            let address = &members[number % members.len()];
            let mut http = Http::connect(address).expect("it accepts connections");
            register(&mut http, &format!("live{number}"), &format!("10.0.0.{number}"));
        }
        let members = Arc::new(Mutex::new(members));
        let stopped = Arc::new(AtomicBool::new(false));
        let (mut threads, work) = (Vec::new(), [Self::beat, Self::look]);
        for work in work {
            let (members, stopped) = (Arc::clone(&members), Arc::clone(&stopped));
            threads.push(std::thread::spawn(move || {
                for round in 0.. {
                    if stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    let members = members.lock().expect("nobody panicked");
                    work(round, &members);
                    drop(members);
                    sleep(Duration::from_millis(250));
                }
            }));
        }
        Self { members, stopped, threads }
    }

    fn beat(round: usize, members: &[String]) {
        for number in 0..Self::COUNT {
            let address = &members[(round / 2 + number) % members.len()];
            let mut http = Http::connect(address).expect("it accepts connections");
            let form = format!("serviceName=live{number}&ip=10.0.0.{number}&port=80");
            let (status, body) =
                http.call("PUT", &format!("{INSTANCE}/beat"), &form).expect("answer");
            let body = String::from_utf8_lossy(&body);
            assert!(status == 200 && body.contains("10200"), "it is known: {status} {body}");
        }
    }

    fn look(_round: usize, members: &[String]) {
        for address in members {
            let mut http = Http::connect(address).expect("it accepts connections");
            for number in 0..Self::COUNT {
                let list = list(&mut http, &format!("live{number}"));
                let healthy = list.contains("\"healthy\":true");
                assert!(
                    healthy && list.contains(&format!("10.0.0.{number}\"")),
                    "{address}: {list}"
                );
            }
        }
    }

    /// Talks to these from now on.
    fn talk_to(&self, members: &[&Member]) {
        let members = members.iter().map(|member| member.http.clone()).collect();
        *self.members.lock().expect("nobody panicked") = members;
    }

    /// Nobody was ever missing.
    fn finish(self) {
        self.stopped.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("nobody was missing");
        }
    }
}

#[test]
fn what_one_member_is_told_all_members_list() {
    let site = Site::new("distro-all");
    let [a, b, c] = site.three();
    register(&mut a.http(), "s", "10.0.0.1");
    assert!(list(&mut a.http(), "s").contains("10.0.0.1"), "read what you write");
    for member in [&b, &c] {
        until(member, "s", |list| list.contains("10.0.0.1"));
    }
    // Another member changes it, and a third takes it out.
    let form = "serviceName=s&ip=10.0.0.1&port=80&weight=7";
    assert_eq!(b.http().post(INSTANCE, form).0, 200);
    until(&a, "s", |list| list.contains("\"weight\":7"));
    let gone =
        c.http().call("DELETE", &format!("{INSTANCE}?serviceName=s&ip=10.0.0.1&port=80"), "");
    assert_eq!(gone.expect("an answer").0, 200);
    for member in [&a, &b] {
        until(member, "s", |list| !list.contains("10.0.0.1"));
    }
    // All members name the same one as responsible, once they have heard that each is ready.
    let responsible = |member: &Member| {
        let target = "/nacos/v3/admin/nacolet/service?serviceName=s";
        let (status, answer) = member.http().get(target);
        assert_eq!(status, 200, "{answer}");
        let answer: Value = serde_json::from_str(&answer).expect("it is JSON");
        answer["data"]["responsible"].clone()
    };
    let agreed = (0..400).find_map(|_| {
        let named = [&a, &b, &c].map(responsible);
        sleep(Duration::from_millis(25));
        (named[0] == named[1] && named[1] == named[2]).then(|| named[0]["address"].clone())
    });
    let agreed = agreed.expect("they agree");
    assert!([&a, &b, &c].iter().any(|one| agreed == *one.http), "{agreed}");
    // Subscribers of one member hear what another one was told.
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("the socket is open");
    let port = socket.local_addr().expect("it is bound").port();
    list(&mut c.http(), &format!("u&udpPort={port}&clientIP=127.0.0.1"));
    let mut connection = Grpc::connect(&b.grpc);
    connection.subscribe("u");
    assert_eq!(a.http().post(INSTANCE, "serviceName=u&ip=10.0.0.3&port=80").0, 200);
    connection.until_told("10.0.0.3");
    let mut datagram = [0; 2_048];
    let length = socket.recv(&mut datagram).expect("it is pushed");
    assert!(String::from_utf8_lossy(&datagram[..length]).contains("10.0.0.3"));
    // Whoever moves to another member sees the list go on, not back.
    let shown = |member: &Member| -> u64 {
        let list: Value = serde_json::from_str(&list(&mut member.http(), "u")).expect("JSON");
        list["lastRefTime"].as_u64().expect("a number")
    };
    assert_eq!(a.http().post(INSTANCE, "serviceName=u&ip=10.0.0.4&port=80").0, 200);
    until(&b, "u", |list| list.contains("10.0.0.4"));
    assert!(shown(&b) >= shown(&a));
    // Persistent ones are agreed, through any member.
    let form = "serviceName=p&ip=10.0.0.2&port=80&ephemeral=false";
    assert_eq!(c.http().post(INSTANCE, form).0, 200);
    for member in [&a, &b, &c] {
        until(member, "p", |list| list.contains("10.0.0.2"));
    }
}

#[test]
fn whoever_is_asked_gathers_the_clients_of_all_members() {
    let site = Site::new("distro-who");
    let [a, b, c] = site.three();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let port = socket.local_addr().expect("it is bound").port();
    list(&mut c.http(), &format!("u&udpPort={port}&clientIP=127.0.0.1"));
    let mut connection = Grpc::connect(&b.grpc);
    connection.subscribe("u");
    connection.register("s", "10.0.0.1");
    let context = r#"[{"dataId":"d","group":"g","tenant":"","md5":""}]"#;
    let listen = format!(r#"{{"listen":true,"configListenContexts":{context}}}"#);
    connection.ask("ConfigBatchListenRequest", &listen);
    until(&a, "s", |list| list.contains("10.0.0.1"));
    let get = |member: &Member, target: &str| -> Value {
        let (status, answer) = member.http().get(target);
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str(&answer).expect("JSON")
    };
    let subscribers = "/nacos/v1/ns/service/subscribers?serviceName=u";
    for member in [&a, &b, &c] {
        let all = get(member, subscribers);
        assert_eq!(all["count"], 2, "{all}");
        let listeners = get(member, "/nacos/v1/cs/configs/listener?dataId=d&group=g");
        assert_eq!(listeners["lisentersGroupkeyStatus"]["127.0.0.1"], "", "{listeners}");
        let clients = get(member, "/nacos/v2/ns/client/list");
        let publishers = "/nacos/v2/ns/client/service/publisher/list?serviceName=s";
        let publishers = get(member, publishers);
        let id = publishers["data"][0]["clientId"].as_str().expect("an id");
        assert!(id.contains("_127.0.0.1_"), "its connection: {publishers}");
        let expected = [format!("127.0.0.1:{port}#true"), id.to_owned()];
        assert_eq!(clients["data"], serde_json::json!(expected));
    }
    let own = |member: &Member| get(member, &format!("{subscribers}&aggregation=false"));
    assert_eq!([&a, &b, &c].map(|member| own(member)["count"].clone()), [0, 1, 1]);
    // Whoever does not answer is left out.
    c.kill();
    let left = get(&a, subscribers);
    assert_eq!(left["count"], 1, "{left}");
}

#[test]
fn who_beats_stays_listed_while_members_are_killed_and_come_back() {
    let site = Site::new("distro-beats");
    let [a, b, c] = site.three();
    let clients = Clients::start(&[&a, &b, &c]);
    for number in 0..4 {
        register(&mut a.http(), &format!("dead{number}"), "10.0.1.1");
    }
    sleep(Duration::from_secs(2));
    clients.talk_to(&[&b, &c]);
    let peer = a.peer;
    a.kill();
    for number in 0..4 {
        until(&b, &format!("dead{number}"), |list| !list.contains("10.0.1.1"));
        until(&c, &format!("dead{number}"), |list| !list.contains("10.0.1.1"));
    }
    sleep(LONG);
    register(&mut b.http(), "meanwhile", "10.0.2.1");
    let a = site.start_at("a", peer, &[]);
    // Ready means that nothing is missing.
    for number in 0..Clients::COUNT {
        let list = list(&mut a.http(), &format!("live{number}"));
        assert!(list.contains(&format!("10.0.0.{number}\"")), "{list}");
    }
    assert!(list(&mut a.http(), "meanwhile").contains("10.0.2.1"));
    clients.talk_to(&[&a, &b, &c]);
    sleep(LONG);
    clients.finish();
}

#[test]
fn an_instance_lives_as_long_as_its_connection_to_any_member() {
    let site = Site::new("distro-grpc");
    let [a, b, c] = site.three();
    let (mut first, mut second) = (Grpc::connect(&a.grpc), Grpc::connect(&b.grpc));
    first.register("s", "10.0.0.1");
    second.register("s", "10.0.0.2");
    for member in [&a, &b, &c] {
        until(member, "s", |list| list.contains("10.0.0.1") && list.contains("10.0.0.2"));
    }
    let owners = "/nacos/v3/admin/nacolet/service?serviceName=s";
    let answer = c.http().get(owners).1;
    assert!(answer.contains(&a.http) && answer.contains(&b.http), "{answer}");
    // One that comes back meanwhile has them as well, and leaves them alone.
    let peer = c.peer;
    c.kill();
    let c = site.start_at("c", peer, &[]);
    assert!(list(&mut c.http(), "s").contains("10.0.0.1"));
    drop(first);
    for member in [&a, &b, &c] {
        until(member, "s", |list| !list.contains("10.0.0.1"));
    }
    // Of a member that dies the connections are gone, and their clients have some time to come
    // back.
    b.kill();
    let mut back = Grpc::connect(&c.grpc);
    back.register("s", "10.0.0.2");
    for _ in 0..LONG.as_millis() / 250 {
        for member in [&a, &c] {
            let list = list(&mut member.http(), "s");
            assert!(list.contains("10.0.0.2"), "{list}");
        }
        sleep(Duration::from_millis(250));
    }
    drop(back);
    until(&a, "s", |list| !list.contains("10.0.0.2"));
}

#[test]
fn instances_need_no_majority() {
    let site = Site::new("distro-minority");
    let [a, b, c] = site.three();
    register(&mut b.http(), "s", "10.0.0.1");
    until(&a, "s", |list| list.contains("10.0.0.1"));
    b.kill();
    c.kill();
    let mut http = a.http();
    register(&mut http, "s", "10.0.0.2");
    for _ in 0..LONG.as_millis() / 500 {
        let beat = "serviceName=s&ip=10.0.0.2&port=80";
        assert_eq!(http.call("PUT", &format!("{INSTANCE}/beat"), beat).expect("an answer").0, 200);
        let list = list(&mut http, "s");
        assert!(list.contains("10.0.0.2"), "{list}");
        // Its client may be on the other side of a cut.
        assert!(list.contains("10.0.0.1"), "{list}");
        sleep(Duration::from_millis(500));
    }
    // A load balancer that goes by it sends clients where nothing is missing.
    assert_eq!(http.get(READY).0, 503);
    assert_eq!(http.post(INSTANCE, "serviceName=p&ip=1.1.1.1&port=1&ephemeral=false").0, 503);
}
