//! Clusters that begin, and members that come back, whatever happened to addresses and disks.

#[expect(dead_code, reason = "each test binary uses its part")]
mod support;

use std::time::{Duration, Instant};

use support::Http;
use support::site::{CONFIGS, Member, Site, eventually, free_port, members, roles};

const LIVE: &str = "/nacos/v1/console/health/liveness";
const READY: &str = "/nacos/v3/console/health/readiness";

fn list(peers: &[u16]) -> String {
    let addresses = peers.iter().map(|peer| format!("127.0.0.1:{peer}"));
    addresses.collect::<Vec<_>>().join(",")
}

fn ready(member: &Member) -> (u16, String) {
    member.http().get(READY)
}

/// All of them follow one leader, and say so.
fn is_one_cluster(three: &[Member; 3]) {
    for member in three {
        eventually("it is ready", || ready(member).0 == 200);
        member.until(|status| roles(status) == ["follower", "follower", "leader"]);
    }
}

#[test]
fn new_nodes_with_one_command_line_become_one_cluster_and_one_that_lost_its_disk_joins_again() {
    let site = Site::new("expect");
    let peers = [(); 3].map(|()| free_port());
    let line = ["--join", &list(&peers), "--expect", "3"];
    let start = |name: &str, peer| site.spawn(name, peer, &line);
    let a = start("a", peers[0]);
    assert_eq!(a.http().get(LIVE).0, 200);
    eventually("it says whom it waits for", || ready(&a).1.contains("1 of 3"));
    let (status, words) = ready(&a);
    assert_eq!(status, 503);
    assert!(words.contains(&list(&peers[1..2])) && words.contains(&list(&peers[2..])), "{words}");
    let b = start("b", peers[1]);
    eventually("it meets the other one", || ready(&a).1.contains("2 of 3"));
    assert_eq!(b.publish("k", "early"), 503);
    let three = [a, b, start("c", peers[2])];
    is_one_cluster(&three);
    assert_eq!(three[1].publish("k", "kept"), 200);

    let [a, b, c] = three;
    let old = a.id();
    a.kill();
    std::fs::remove_dir_all(site.path("a")).expect("it is there");
    let three = [start("a", peers[0]), b, c];
    is_one_cluster(&three);
    assert_eq!(three[0].read("k"), "kept");
    assert!(!three[0].status().to_string().contains(&old));

    // The same line when all were stopped.
    let [a, b, c] = three;
    let ids = [a.id(), b.id(), c.id()];
    for member in [a, b, c] {
        member.kill();
    }
    let three = [start("a", peers[0]), start("b", peers[1]), start("c", peers[2])];
    is_one_cluster(&three);
    assert_eq!(three.each_ref().map(Member::id), ids);
    assert_eq!(three[2].read("k"), "kept");
}

#[test]
fn two_of_three_that_start_alone_elect_a_leader_although_nothing_followed_the_last_change() {
    let site = Site::new("quiet");
    let peers = [(); 3].map(|()| free_port());
    let line = ["--join", &list(&peers), "--expect", "3"];
    let start = |number: usize| site.spawn(["a", "b", "c"][number], peers[number], &line);
    let mut three = [0, 1, 2].map(start);
    is_one_cluster(&three);
    for missing in 0..3 {
        // One loses its disk and joins again: the last entries of the log say who votes.
        let again = (missing + 1) % 3;
        let mut wiped = Vec::from(three);
        drop(wiped.remove(again));
        std::fs::remove_dir_all(site.path(["a", "b", "c"][again])).expect("it is there");
        wiped.insert(again, start(again));
        three = wiped.try_into().ok().expect("three");
        is_one_cluster(&three);
        drop(three);
        let two = [0, 1, 2].into_iter().filter(|number| *number != missing);
        let two: Vec<Member> = two.map(start).collect();
        for member in &two {
            eventually("it has a leader", || ready(member).0 == 200);
        }
        drop(two);
        three = [0, 1, 2].map(start);
        is_one_cluster(&three);
    }
}

#[test]
fn a_new_node_never_begins_a_cluster_beside_one_that_it_cannot_reach() {
    let site = Site::new("beside");
    let peers = [(); 3].map(|()| free_port());
    let line = ["--join", &list(&peers), "--expect", "3"];
    let start = |name: &str, peer| site.spawn(name, peer, &line);
    let three = [start("a", peers[0]), start("b", peers[1]), start("c", peers[2])];
    is_one_cluster(&three);
    assert_eq!(three[0].publish("k", "kept"), 200);
    drop(three);
    // Two have lost their disks, the third one is away: nothing begins.
    for name in ["a", "b"] {
        std::fs::remove_dir_all(site.path(name)).expect("it is there");
    }
    let (a, b) = (start("a", peers[0]), start("b", peers[1]));
    eventually("they meet", || ready(&a).1.contains("2 of 3") && ready(&b).1.contains("2 of 3"));
    // With the third one there is a cluster again, in which two have no vote yet: it cannot decide.
    let c = start("c", peers[2]);
    eventually("they find it", || ready(&a).1.contains("to take this node in"));
    assert_eq!((ready(&a).0, ready(&b).0, ready(&c).0), (503, 503, 503));
}

#[test]
fn members_of_a_cluster_of_which_nothing_is_left_are_told_the_way_back() {
    let site = Site::new("adopted");
    let peers = [(); 3].map(|()| free_port());
    let line = ["--join", &list(&peers), "--expect", "3"];
    let names = ["a", "b", "c"];
    let start = || [0, 1, 2].map(|number| site.spawn(names[number], peers[number], &line));
    let three = start();
    is_one_cluster(&three);
    let ids = three.each_ref().map(Member::id);
    drop(three);
    // As if the one that began had lost its disk before anything had reached the others.
    let founder = (0..3).min_by_key(|number| &ids[*number]).expect("three");
    for (number, name) in names.iter().enumerate() {
        let path = site.path(name);
        if number == founder {
            std::fs::remove_dir_all(path).expect("it is there");
        } else {
            std::fs::remove_dir_all(path.join("log")).expect("it is there");
            std::fs::remove_file(path.join("durable")).expect("it is there");
        }
    }
    let three = start();
    let adopter = names[(founder + 1) % 3];
    let is_told = || site.log_of(adopter).contains("give each an empty data directory");
    eventually("it tells the way back", is_told);
    drop(three);
    for name in names {
        std::fs::remove_dir_all(site.path(name)).expect("it is there");
    }
    is_one_cluster(&start());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long it takes is what is looked at")]
fn members_at_new_addresses_find_each_other_by_the_command_line() {
    for moved in [2, 3] {
        let site = Site::new("addresses");
        let three = site.three();
        assert_eq!(three[0].publish("k", "kept"), 200);
        let mut peers = three.each_ref().map(|member| member.peer);
        drop(three);
        for peer in &mut peers[..moved] {
            *peer = free_port();
        }
        let line = ["--join", &list(&peers)];
        let began = Instant::now();
        let three = ["a", "b", "c"].map(|name| {
            let at = usize::from(name.as_bytes()[0] - b'a');
            site.spawn(name, peers[at], &line)
        });
        is_one_cluster(&three);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(8), "{moved} moved: {took:?}");
        assert_eq!(three[1].read("k"), "kept");
        for member in &three {
            let listed = |status: &serde_json::Value| {
                peers.iter().all(|peer| status.to_string().contains(&format!("127.0.0.1:{peer}")))
            };
            member.until(listed);
            assert_eq!(members(&member.status()).len(), 3);
        }
    }
}

#[test]
fn ports_of_another_kind_are_named_and_so_is_who_does_not_answer() {
    let site = Site::new("ports");
    let other = support::Node::start(&site.path("other"));
    let nobody = format!("127.0.0.1:{}", free_port());
    let member = site.spawn("a", free_port(), &["--join", &format!("{},{nobody}", other.address)]);
    eventually("it tells", || ready(&member).1.contains("that is an HTTP port"));
    let log = site.log_of("a");
    assert!(log.contains("waiting for a member of the cluster to join"), "{log}");
    assert!(log.contains(&format!("{nobody} (Connection refused")), "{log}");
    let (status, words) = member.http().get(CONFIGS);
    assert!(status == 503 && words.contains("it waits for"), "{status} {words}");
    let status = member.ok(&["status"]);
    assert!(status.contains("waits for a member of the cluster to join: "), "{status}");
    assert!(status.contains(&nobody), "{status}");
}

#[test]
fn a_member_that_has_lost_its_leader_is_not_ready_and_does_not_guess() {
    let site = Site::new("lost");
    let [a, b, c] = site.three();
    assert_eq!(a.publish("k", "one"), 200);
    assert_eq!(c.read("k"), "one");
    let get = |http: &mut Http, key: &str| http.get(&format!("{CONFIGS}?dataId={key}&group=g"));
    assert_eq!(get(&mut c.http(), "never").0, 404);
    a.signal("-STOP");
    b.signal("-STOP");
    eventually("it is not ready", || ready(&c).0 == 503);
    assert_eq!(get(&mut c.http(), "k"), (200, "one".to_owned()));
    let (status, words) = get(&mut c.http(), "never");
    assert!(status == 503 && words.contains("may have missed writes"), "{status} {words}");
    a.signal("-CONT");
    b.signal("-CONT");
    for member in [&a, &b, &c] {
        eventually("it is ready again", || ready(member).0 == 200);
    }
    assert_eq!(get(&mut c.http(), "never").0, 404);
    // Whoever was stopped itself, and has missed a write, does not say that it is not there.
    c.signal("-STOP");
    // It may have led.
    eventually("the others go on", || a.publish("missed", "two") == 200);
    std::thread::sleep(Duration::from_secs(4));
    let (asked, mut http) = (format!("{CONFIGS}?dataId=missed&group=g"), c.http());
    c.signal("-CONT");
    let (status, _) = http.get(&asked);
    assert!(status == 503 || status == 200, "{status}");
    eventually("it has caught up", || c.http().get(&asked).0 == 200);
}

/// The last words of a verb that works on a data directory.
fn recover(site: &Site, name: &str, arguments: &[&str]) -> (bool, String) {
    let mut command = support::nacolet();
    command.args(["recover", "--alone", "--data-dir"]).arg(site.path(name)).args(arguments);
    let output = command.output().expect("the binary runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).expect("it is text"))
}

#[test]
fn one_member_that_is_left_becomes_a_cluster_of_its_own_and_the_others_are_none_of_it() {
    let site = Site::new("recover");
    let [a, b, c] = site.three();
    assert_eq!(a.publish("k", "kept"), 200);
    assert_eq!(c.read("k"), "kept");
    let peers = [a.peer, b.peer, c.peer];
    c.kill();
    let (done, words) = recover(&site, "c", &["--yes"]);
    assert!(!done && words.contains("answers"), "{words}");
    let (done, words) = recover(&site, "a", &["--yes"]);
    assert!(!done && words.contains("another process uses"), "{words}");
    let lost = [a.id(), b.id()];
    for member in [a, b] {
        let log = member.terminate();
        assert!(!log.contains("was refused"), "nobody did anything wrong: {log}");
    }
    let (done, words) = recover(&site, "c", &[]);
    assert!(!done && words.contains("add --yes") && words.contains(&lost[0]), "{words}");
    let (done, words) = recover(&site, "c", &["--yes"]);
    assert!(done && words.contains("becomes the only member"), "{words}");
    let (done, words) = recover(&site, "c", &["--yes"]);
    assert!(!done && words.contains("only member of its cluster"), "{words}");
    let (done, words) = recover(&site, "nothing", &["--yes"]);
    assert!(!done && words.contains("holds no data"), "{words}");

    let c = site.start_at("c", peers[2], &[]);
    assert_eq!(c.read("k"), "kept");
    assert_eq!(c.publish("k", "alone"), 200);
    // A majority of the old cluster comes back, and is another one.
    let line = ["--join", &list(&peers)];
    let (a, b) = (site.spawn("a", peers[0], &line), site.spawn("b", peers[1], &line));
    eventually("they are a cluster", || ready(&a).0 == 200 && ready(&b).0 == 200);
    assert_eq!(a.read("k"), "kept");
    assert_eq!(c.read("k"), "alone");
    assert_eq!(members(&c.status()).len(), 1);
    a.kill();
    eventually("it says who refuses it", || {
        site.log_of("b").contains("a node joins that one with an empty data directory")
    });
    b.kill();
    std::fs::remove_dir_all(site.path("b")).expect("it is there");
    let b = site.start_at("b", peers[1], &["--join", &c.peer_address()]);
    assert_eq!(b.read("k"), "alone");
}
