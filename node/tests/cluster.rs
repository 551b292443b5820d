//! Real processes that form a cluster on loopback: members come, die, come back, move and go, and
//! what was acknowledged stays readable on each of them.

#[expect(dead_code, reason = "each test binary uses its part")]
mod support;

use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::grpc::Grpc;
use support::site::{CONFIGS, Member, Site, eventually, members, roles};
use support::{Http, nacolet};

#[test]
fn three_members_agree_and_outlive_their_leader() {
    let site = Site::new("three");
    let [a, b, c] = site.three();
    let status = a.status();
    assert_eq!(status["leader"], status["node_id"]);
    for member in members(&status) {
        assert!(member["match_index"].as_u64() >= Some(1), "{status:#}");
        assert!(["leading", "replicate"].contains(&member["state"].as_str().expect("a state")));
    }
    assert_eq!(b.publish("k", "one"), 200);
    for member in [&a, &b, &c] {
        assert_eq!(member.read("k"), "one");
    }
    // Who wrote reads what it wrote, without asking for more.
    assert_eq!(c.publish("k", "two"), 200);
    assert_eq!(c.http().get(&format!("{CONFIGS}?dataId=k&group=g")).1, "two");
    let persistent = "serviceName=s&ip=1.1.1.1&port=1&ephemeral=false";
    assert_eq!(b.http().post("/nacos/v1/ns/instance", persistent).0, 200);
    let servers = b.http().get("/nacos/v1/ns/operator/servers").1;
    for member in [&a, &b, &c] {
        assert!(servers.contains(&member.http), "{servers}");
    }

    let peer = a.peer;
    a.kill();
    // One write waits for the election. The goal is 2 s, which a busy test machine may miss.
    let mut http = b.http();
    http.limit(Duration::from_secs(5));
    assert_eq!(http.post(CONFIGS, "dataId=k&group=g&content=three").0, 200);
    let a = site.start_at("a", peer, &[]);
    for member in [&a, &b, &c] {
        assert_eq!(member.read("k"), "three");
    }
    assert_eq!(members(&a.status()).len(), 3);
    let list = "/nacos/v1/ns/instance/list?serviceName=s";
    assert!(a.http().get(list).1.contains("1.1.1.1"));
}

/// As from the node's own host, by its address and not by a name.
fn post_json(address: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = std::net::TcpStream::connect(address).expect("the member accepts connections");
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("the member reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, answer)
}

#[test]
fn a_leader_that_stops_hands_over_and_one_that_is_asked_too() {
    let site = Site::new("transfer");
    let [a, b, c] = site.three();
    let id = b.id();
    assert!(c.ok(&["transfer", &id]).contains(&id));
    let status = c.until(|status| status["leader"] == *id);
    assert_eq!(roles(&status).len(), 3);
    // An operator of Nacos says it so, to any member and by the address of one.
    let raft = |member: &Member, family: &str, command: &str, value: &str| {
        let command = format!(r#"{{"groupId":"g","command":"{command}","value":"{value}"}}"#);
        post_json(&member.http, &format!("/nacos/{family}/core/ops/raft"), &command)
    };
    let (status, told) = raft(&c, "v3/admin", "transferLeader", &a.peer_address());
    assert_eq!(status, 200, "{told}");
    c.until(|status| status["leader"] == *a.id());
    let (status, told) = raft(&a, "v1", "transferLeader", &b.http);
    assert_eq!((status, told.contains("\"code\":200")), (200, true), "{told}");
    c.until(|status| status["leader"] == *id);
    let (status, told) = raft(&a, "v2", "doSnapshot", &a.peer_address());
    assert_eq!(status, 200, "{told}");
    assert_eq!(raft(&a, "v2", "doSnapshot", &b.peer_address()).0, 501);
    b.terminate();
    let mut http = c.http();
    http.limit(Duration::from_secs(2));
    assert_eq!(http.post(CONFIGS, "dataId=k&group=g&content=x").0, 200);
    assert_eq!(a.read("k"), "x");
    let saved = a.ok(&["snapshot"]);
    assert!(saved.starts_with("saved up to log index"), "{saved}");
}

/// Where a client of gRPC is told to go, if it is told anything soon.
#[expect(clippy::disallowed_methods, reason = "tests over sockets run in real time")]
fn told_to_go(client: &mut Grpc) -> Option<String> {
    let told = client.told_by(Instant::now() + Duration::from_millis(700))?;
    assert_eq!(told.kind, "ConnectResetRequest");
    let order: Value = serde_json::from_str(&told.json).expect("it is JSON");
    let text = |name: &str| order[name].as_str().expect("a text").to_owned();
    Some(format!("{}:{}", text("serverIp"), text("serverPort")))
}

#[test]
fn clients_of_grpc_go_to_other_members_and_whoever_stays_is_counted() {
    let site = Site::new("drain");
    let [a, b, c] = site.three();
    let mut client = Grpc::connect(&a.grpc);
    let stubborn = Grpc::connect(&a.grpc);
    let drained = std::thread::scope(|scope| {
        let drained = scope.spawn(|| a.ok(&["drain", "--wait", "3"]));
        let mut target = None;
        for _ in 0..10 {
            target = target.or_else(|| told_to_go(&mut client));
        }
        let target = target.expect("it is told to go");
        assert!([&b.http, &c.http].contains(&&target), "{target} is no other member");
        drop(client);
        drained.join().expect("it ends")
    });
    assert_eq!(drained.trim(), "1 clients went to other members, 1 are left");
    drop(stubborn);

    // Six on one of three: two stay when another member balances all.
    let mut crowd: Vec<Grpc> = (0..6).map(|_| Grpc::connect(&a.grpc)).collect();
    let (status, told) = b.http().post("/nacos/v3/admin/core/loader/smartReloadCluster", "");
    assert_eq!(status, 200, "{told}");
    assert_eq!(crowd.iter_mut().filter_map(told_to_go).count(), 4);
    let loads = c.http().get("/nacos/v3/admin/core/loader/cluster").1;
    let loads: Value = serde_json::from_str(&loads).expect("it is JSON");
    assert_eq!((&loads["data"]["total"], &loads["data"]["max"]), (&6.into(), &6.into()), "{loads}");
    let alone = site.start("alone", &[]);
    let _client = Grpc::connect(&alone.grpc);
    let refused = alone.cli(&["drain"]);
    let words = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && words.contains("no other member"), "{words}");
}

#[test]
fn a_listener_on_one_member_hears_what_another_published() {
    let site = Site::new("listen");
    let [a, b, c] = site.three();
    assert_eq!(a.publish("k", "one"), 200);
    assert_eq!(c.read("k"), "one");
    let md5 = "f97c5d29941bfb1b2fdab0874906ab82"; // of "one"
    let listening = format!("Listening-Configs=k%02g%02{md5}%01");
    let mut http = c.http();
    let poll = std::thread::spawn(move || http.post(&format!("{CONFIGS}/listener"), &listening));
    sleep(Duration::from_millis(200));
    assert!(!poll.is_finished(), "nothing has changed yet");
    assert_eq!(b.publish("k", "two"), 200);
    let (status, changed) = poll.join().expect("the poll is answered");
    assert_eq!((status, changed.starts_with("k%02g")), (200, true), "{changed}");
}

#[test]
fn a_member_that_lost_its_directory_or_moved_comes_back() {
    let site = Site::new("wiped");
    let [a, b, c] = site.three();
    assert_eq!(a.publish("k", "kept"), 200);
    let (old, peer) = (c.id(), c.peer);
    c.kill();
    std::fs::remove_dir_all(site.path("c")).expect("it is there");
    let c = site.start_at("c", peer, &["--join", &b.peer_address()]);
    assert_eq!(c.read("k"), "kept");
    let status = c.until(|status| roles(status) == ["follower", "follower", "leader"]);
    assert!(!status.to_string().contains(&old), "{status:#}");
    // Another port, and nobody to ask but those it knows.
    b.terminate();
    let b = site.start("b", &[]);
    let address = b.peer_address();
    b.until(|status| status.to_string().contains(&address));
    assert_eq!(b.publish("k", "moved"), 200);
    assert_eq!(c.read("k"), "moved");
}

#[test]
fn a_learner_stays_one_and_whoever_is_removed_ends() {
    let site = Site::new("learner");
    let a = site.start("a", &[]);
    assert_eq!(a.publish("k", "one"), 200);
    let learner = site.start("b", &["--learner", "--join", &a.peer_address()]);
    assert_eq!(learner.read("k"), "one");
    assert_eq!(roles(&a.status()), ["leader", "learner"]);
    assert_eq!(learner.publish("k", "two"), 200);
    let id = learner.id();
    assert!(a.ok(&["remove", &id]).contains("removed"));
    let why = learner.last_words();
    assert!(why.contains("removed from its cluster"), "{why}");
    let why = site.refused("b", &[]);
    assert!(why.contains("removed from its cluster"), "{why}");
    assert_eq!(members(&a.status()).len(), 1);
    // A voter, by the leader that is left with another one.
    let voter = site.join("c", &a);
    voter.until(|status| roles(status) == ["follower", "leader"]);
    a.ok(&["remove", &voter.id()]);
    assert!(voter.last_words().contains("removed from its cluster"));
    assert_eq!(a.publish("k", "three"), 200);
}

#[test]
fn whoever_does_not_belong_is_refused_with_a_sentence() {
    let site = Site::new("strangers");
    let a = site.start("a", &[]);
    let join = ["--join", &a.peer_address()];
    // Data of its own.
    let own = site.start("own", &[]);
    assert_eq!(own.publish("k", "mine"), 200);
    own.terminate();
    let why = site.refused("own", &join);
    assert!(why.contains("a cluster of its own"), "{why}");
    let own = site.start("own", &[]);
    assert_eq!(own.read("k"), "mine", "nothing of it is lost");
    // The address of a member that is there.
    let member = site.join("b", &a);
    member.until(|status| roles(status) == ["follower", "leader"]);
    let taken = Command::new(env!("CARGO_BIN_EXE_nacolet"))
        .args(["cluster", "add", &own.id(), "nonsense"])
        .env("NACOLET_SERVER", format!("http://{}", a.http))
        .output()
        .expect("the binary runs");
    assert!(String::from_utf8_lossy(&taken.stderr).contains("no HOST:PORT"));
    // A member without the key.
    let peer = member.peer.to_string();
    member.terminate();
    let mut keyless = nacolet();
    keyless.args(["serve", "--http-addr", "127.0.0.1:0", "--grpc-addr", "127.0.0.1:0"]);
    let keyless = keyless.arg("--data-dir").arg(site.path("b")).output().expect("it runs");
    let why = String::from_utf8_lossy(&keyless.stderr);
    assert!(why.contains("needs --cluster-key-file"), "{peer}: {why}");
    // Another key.
    std::fs::write(site.path("key"), [8; 32]).expect("the folder is writable");
    let why = site.refused("thief", &join);
    assert!(why.contains("does not hold the cluster key"), "{why}");
    // A key that is too short.
    std::fs::write(site.path("key"), "short\n").expect("the folder is writable");
    let why = site.refused("short", &join);
    assert!(why.contains("at least 32 bytes"), "{why}");
}

#[test]
fn strangers_at_the_peer_port_are_logged_once_and_cost_nothing() {
    let site = Site::new("knocking");
    let a = site.start("a", &[]);
    for knock in 0..30_u8 {
        let mut stream = std::net::TcpStream::connect(a.peer_address()).expect("it listens");
        // The member may have closed before all of it is sent.
        let _ = stream.write_all(&[knock; 200]);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut words = Vec::new();
        let _ = stream.read_to_end(&mut words);
        assert!(words.is_empty(), "strangers get no word");
    }
    assert_eq!(a.publish("k", "one"), 200);
    let log = a.terminate();
    let refusals = log.lines().filter(|line| line.contains("a peer connection")).count();
    assert_eq!(refusals, 1, "{log}");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the folder is writable");
    for entry in std::fs::read_dir(from).expect("it is there") {
        let entry = entry.expect("it is readable");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("the folder is writable");
        }
    }
}

#[test]
fn a_copied_or_outdated_data_directory_is_refused() {
    let site = Site::new("copied");
    let [a, b, c] = site.three();
    let peer = c.peer;
    c.terminate();
    copy(&site.path("c"), &site.path("old"));
    let c = site.start_at("c", peer, &[]);
    for number in 0..20 {
        assert_eq!(a.publish("k", &number.to_string()), 200);
    }
    assert_eq!(c.read("k"), "19");
    // The same node twice.
    let why = site.refused("old", &[]);
    assert!(why.contains("is in use"), "{why}");
    assert_eq!(c.read("k"), "19");
    // A directory from before what it acknowledged.
    let leader = a.status()["leader"].as_str().expect("an id").to_owned();
    a.until(|status| {
        let caught_up = |member: &Value| member["match_index"] == status["commit_index"];
        status["leader"] == *leader && members(status).iter().all(caught_up)
    });
    c.kill();
    let why = site.refused_at("old", peer, &[]);
    assert!(why.contains("older than what it acknowledged"), "{why}");
    assert_eq!(b.read("k"), "19");
}

#[test]
fn a_leader_that_hangs_is_replaced_and_follows_when_it_wakes() {
    let site = Site::new("hang");
    let [a, b, c] = site.three();
    a.signal("-STOP");
    // Nobody can know what a leader that hangs does with what it was sent.
    let mut http = b.http();
    http.limit(Duration::from_secs(7));
    assert_eq!(http.post(CONFIGS, "dataId=k&group=g&content=x").0, 503);
    assert_eq!(c.publish("k", "y"), 200);
    a.signal("-CONT");
    assert_eq!(a.read("k"), "y");
    assert_eq!(a.publish("k", "z"), 200);
    assert_eq!(b.read("k"), "z");
}

#[test]
fn without_a_majority_writes_are_refused_in_time_and_reads_go_on() {
    let site = Site::new("minority");
    let [a, b, c] = site.three();
    assert_eq!(a.publish("k", "one"), 200);
    assert_eq!(c.read("k"), "one");
    drop((a, b));
    let mut http = c.http();
    http.limit(Duration::from_secs(8));
    let (status, words) = http.post(CONFIGS, "dataId=k&group=g&content=two");
    assert_eq!(status, 503, "{words}");
    assert!(words.contains("nothing was written"), "{words}");
    assert_eq!(http.get(&format!("{CONFIGS}?dataId=k&group=g")), (200, "one".to_owned()));
    let linear = format!("{CONFIGS}?dataId=k&group=g&consistency=linear");
    assert_eq!(http.get(&linear).0, 503);
}

#[test]
fn a_member_that_starts_without_a_leader_serves_what_needs_none() {
    const READY: &str = "/nacos/v1/console/health/readiness";
    let site = Site::new("alone");
    let [a, b, c] = site.three();
    assert_eq!(a.publish("old", "one"), 200);
    assert_eq!(a.publish("k", "one"), 200);
    for number in 0..3 {
        assert_eq!(b.publish("last", &number.to_string()), 200);
    }
    assert_eq!(b.publish("k", "two"), 200);
    assert_eq!((c.read("k"), c.read("last")), ("two".to_owned(), "2".to_owned()));
    let (peers, _) = ([a.peer, c.peer], [a, b, c].map(Member::kill));

    let c = site.spawn("c", peers[1], &[]);
    let mut http = c.http();
    let get = |http: &mut Http, key: &str| http.get(&format!("{CONFIGS}?dataId={key}&group=g"));
    eventually("it serves", || get(&mut http, "old").0 != 503);
    assert_eq!(get(&mut http, "old"), (200, "one".to_owned()));
    // Acknowledged, and not known here to be agreed: the newest or nothing, but never "not there"
    // and never less than this member has shown before.
    for (key, newest) in [("k", "two"), ("last", "2")] {
        let (status, content) = get(&mut http, key);
        assert!(status == 503 || (status, &*content) == (200, newest), "{key}: {status} {content}");
    }
    let (status, words) = get(&mut http, "never");
    assert!(status == 503 && words.contains("may have missed writes"), "{status} {words}");
    let page = format!("{CONFIGS}?search=blur&dataId=&group=&pageNo=1&pageSize=9");
    let (status, found) = http.get(&page);
    assert!(status == 200 && found.contains("\"old\""), "{status} {found}");
    let list =
        nacolet().args(["config", "ls", "-a", "--server", &c.http]).output().expect("it runs");
    let (out, err) = (list.stdout, String::from_utf8(list.stderr).expect("it is text"));
    assert!(String::from_utf8_lossy(&out).contains("old") && err.contains("stale"), "{err}");
    let archive = site.path("all.zip").display().to_string();
    let export = nacolet().args(["config", "export", &archive, "-a", "--server", &c.http]).output();
    let err = String::from_utf8(export.expect("it runs").stderr).expect("it is text");
    assert!(err.contains("stale") && Path::new(&archive).exists(), "{err}");
    assert_eq!(http.get(READY).0, 503);
    let instance = "serviceName=s&ip=1.1.1.1&port=1";
    assert_eq!(http.post("/nacos/v1/ns/instance", instance).0, 200);
    assert!(http.get("/nacos/v1/ns/instance/list?serviceName=s").1.contains("1.1.1.1"));
    assert_eq!(http.post(CONFIGS, "dataId=k&group=g&content=three").0, 503);

    let a = site.start_at("a", peers[0], &[]);
    eventually("it is ready", || http.get(READY).0 == 200);
    assert_eq!(get(&mut http, "k"), (200, "two".to_owned()));
    assert_eq!(get(&mut http, "last"), (200, "2".to_owned()));
    assert_eq!(get(&mut http, "never").0, 404);
    assert_eq!(a.publish("k", "three"), 200);
    c.terminate();
}

/// Flips one bit in the middle of the newest file in a folder.
fn damage(folder: &Path, ending: &str) {
    let files = std::fs::read_dir(folder).expect("it is there").map(|entry| {
        let path = entry.expect("it is readable").path();
        path.to_str().expect("it is text").to_owned()
    });
    let newest = files.filter(|path| path.ends_with(ending)).max().expect("there is one");
    let mut bytes = std::fs::read(&newest).expect("it is readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&newest, bytes).expect("it is writable");
}

#[test]
fn a_member_whose_data_is_damaged_refills_from_the_others() {
    let site = Site::new("damaged");
    let [mut a, mut b, c] = site.three();
    let write = |member: &Member, from: u32| {
        for number in from..from + 20 {
            assert_eq!(member.publish(&format!("k{number}"), &number.to_string()), 200);
        }
    };
    write(&b, 0);
    // The founder's log, while it leads; then another one's snapshot.
    let (old, peer) = (a.id(), a.peer);
    a.kill();
    damage(&site.path("a/log"), ".raftlog");
    write(&b, 20);
    a = site.start_at("a", peer, &[]);
    assert!(site.path("a/damaged/log").is_dir(), "it is kept");
    assert_ne!(a.id(), old);
    let is_whole = |status: &Value| roles(status) == ["follower", "follower", "leader"];
    let status = a.until(is_whole);
    assert!(!status.to_string().contains(&old), "{status:#}");

    let (old, peer) = (b.id(), b.peer);
    b.ok(&["snapshot"]);
    b.kill();
    damage(&site.path("b/snapshots"), ".snapshot");
    write(&c, 40);
    b = site.start_at("b", peer, &[]);
    let status = b.until(is_whole);
    assert!(!status.to_string().contains(&old), "{status:#}");
    write(&b, 60);
    for number in 0..80 {
        for member in [&a, &b, &c] {
            assert_eq!(member.read(&format!("k{number}")), number.to_string());
        }
    }
    // A vote of the new ids counts.
    c.kill();
    assert_eq!(a.publish("k", "two of three"), 200);
}

#[test]
fn a_node_that_is_alone_refuses_damaged_data() {
    let site = Site::new("damaged-alone");
    let node = site.start("a", &[]);
    for number in 0..20 {
        assert_eq!(node.publish("k", &number.to_string()), 200);
    }
    node.kill();
    damage(&site.path("a/log"), ".raftlog");
    let why = site.refused("a", &[]);
    assert!(why.contains("is damaged") && why.contains("backup"), "{why}");
    assert!(!site.path("a/damaged").exists());
}
