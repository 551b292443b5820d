//! Nodes whose disk is full, of their own data or of somebody else's. The disk ends where a file
//! `quota` in the data directory says (`storage/src/space.rs`), so no test needs a mount.
#![cfg(feature = "failpoints")]

#[expect(dead_code, reason = "each test binary uses its part")]
mod support;

use std::fs;
use std::path::Path;

use support::site::{CONFIGS, Member, Site, eventually, free_port, roles};
use support::{Http, nacolet};

const LIVE: &str = "/nacos/v1/console/health/liveness";
const READY: &str = "/nacos/v3/console/health/readiness";
const INSTANCE: &str = "/nacos/v1/ns/instance";
const RESERVE: u64 = 1 << 20;
/// A disk for some megabytes of configs: the reserve, what stays free, a Raft snapshot and its
/// successor.
const SMALL: u64 = 16 << 20;

/// Somebody else takes all that is free.
fn fill_up(data: &Path) {
    let files = |dir: &str| fs::read_dir(data.join(dir)).expect("a folder");
    let sizes = ["", "log", "snapshots"].into_iter().flat_map(files).map(|entry| {
        let found = entry.and_then(|entry| entry.metadata()).expect("a file");
        if found.is_file() { found.len() } else { 0 }
    });
    quota(data, sizes.sum());
}

/// The disk of a data directory ends after so many bytes; with 1 it was full before.
fn quota(data: &Path, bytes: u64) {
    fs::create_dir_all(data).expect("the folder is writable");
    // Not written in place: a node may look at it meanwhile.
    let aside = data.with_extension("quota");
    fs::write(&aside, bytes.to_string()).expect("the folder is writable");
    fs::rename(aside, data.join("quota")).expect("the folder is writable");
}

fn has_reserve(data: &Path) -> bool {
    fs::metadata(data.join("reserve")).is_ok_and(|found| found.len() == RESERVE)
}

/// A node that is alone, at a port of its own.
fn alone(site: &Site, name: &str) -> Member {
    let http = format!("127.0.0.1:{}", free_port());
    let log = fs::File::options().create(true).append(true).open(site.path("a.log"));
    let mut command = nacolet();
    command.args(["serve", "--threads", "1", "--grpc-addr", "127.0.0.1:0", "--http-addr", &http]);
    command.arg("--data-dir").arg(site.path(name)).envs(FILES);
    command.stderr(log.expect("the folder is writable"));
    let child = command.stdout(std::process::Stdio::null()).spawn().expect("the binary runs");
    let member = Member { child, http, grpc: String::new(), peer: 0 };
    eventually("it opens its doors", || Http::connect(&member.http).is_ok());
    member
}

/// Small files, so that little space is what there is little of.
const FILES: [(&str, &str); 2] =
    [("NACOLET_LOG_FILE_BYTES", "65536"), ("NACOLET_LOG_PURGE_BYTES", "131072")];

fn ready(member: &Member) -> (u16, String) {
    member.http().get(READY)
}

/// One that is about to start has no open door for a moment.
fn is_ready(member: &Member) -> bool {
    Http::connect(&member.http)
        .is_ok_and(|mut http| http.call("GET", READY, "").is_ok_and(|(status, _)| status == 200))
}

fn delete(member: &Member, data_id: &str) -> u16 {
    let target = format!("{CONFIGS}?dataId={data_id}&group=g");
    member.http().call("DELETE", &target, "").expect("an answer").0
}

/// Publishes configs of 100 KB until the disk is full; how many were acknowledged.
fn fill(member: &Member) -> usize {
    let content = "x".repeat(100_000);
    let published = |number: &usize| member.publish(&format!("k{number}"), &content) == 200;
    (0..1_000).take_while(published).count()
}

/// The configs that were acknowledged are there.
fn holds(member: &Member, numbers: std::ops::Range<usize>) {
    for number in numbers {
        assert_eq!(member.read(&format!("k{number}")).len(), 100_000, "k{number}");
    }
}

#[test]
fn a_single_node_restarted_on_a_full_disk_serves_reads_and_naming_and_recovers() {
    let site = Site::new("full");
    let data = site.path("a");
    let node = alone(&site, "a");
    eventually("it is ready", || ready(&node).0 == 200);
    assert_eq!(node.publish("k", "kept"), 200);
    // The log knows of a write that it is agreed once another one follows.
    assert_eq!((node.publish("a", "v"), node.publish("b", "v")), (200, 200));
    node.kill();
    fill_up(&data);
    let node = alone(&site, "a");
    // Elected with the help of the reserve, it also takes what frees space.
    eventually("it is ready", || ready(&node).0 == 200);
    let (status, words) = node.http().post(CONFIGS, "dataId=k&group=g&content=new");
    assert!(status == 503 && words.contains("the disk of the server is full"), "{status} {words}");
    assert_eq!(node.read("k"), "kept");
    let instance = "serviceName=s&ip=1.2.3.4&port=5";
    assert_eq!(node.http().post(INSTANCE, instance).0, 200);
    let listed = |node: &Member| node.http().get(&format!("{INSTANCE}/list?serviceName=s")).1;
    eventually("it lists the instance", || listed(&node).contains("1.2.3.4"));
    node.kill();
    fill_up(&data);
    // Without the reserve nobody is elected, and what needs nobody is served.
    assert!(!has_reserve(&data));
    let node = alone(&site, "a");
    let get = || node.http().get(&format!("{CONFIGS}?dataId=k&group=g")).0;
    eventually("it opens", || get() == 200);
    assert_eq!(node.publish("k", "new"), 503);
    assert_eq!(node.http().post(INSTANCE, instance).0, 200);
    assert_eq!(ready(&node).0, 503);
    quota(&data, SMALL);
    eventually("it takes writes", || node.publish("k", "new") == 200);
    eventually("the reserve is back", || has_reserve(&data));
    assert_eq!(ready(&node).0, 200);
}

#[test]
fn a_new_node_on_a_full_disk_says_so_at_an_open_door_and_starts_when_there_is_space() {
    let site = Site::new("new");
    for start in
        [alone as fn(&Site, &str) -> Member, |site, name| site.spawn(name, free_port(), &[])]
    {
        let data = site.path("a");
        quota(&data, 1);
        let node = start(&site, "a");
        assert_eq!(node.http().get(LIVE).0, 200);
        let (status, words) = ready(&node);
        assert!(status == 503 && words.contains("3 MiB of free disk space"), "{status} {words}");
        assert_eq!(node.publish("k", "v"), 503);
        let log = site.log_of("a");
        assert!(log.contains("waiting for 3 MiB of free disk space"), "{log}");
        quota(&data, SMALL);
        eventually("it starts", || is_ready(&node));
        assert_eq!(node.publish("k", "v"), 200);
        drop(node);
        fs::remove_dir_all(&data).expect("it is there");
    }
}

#[test]
fn a_single_node_whose_own_data_fills_its_disk_gets_out_by_deleting() {
    let site = Site::new("own");
    let data = site.path("a");
    quota(&data, SMALL);
    let node = alone(&site, "a");
    eventually("it is ready", || ready(&node).0 == 200);
    let count = fill(&node);
    assert!((40..80).contains(&count), "{count}");
    // And after a restart in this state, however it ended.
    node.kill();
    let node = alone(&site, "a");
    eventually("it is ready", || ready(&node).0 == 200);
    eventually("it is still full", || node.publish("more", &"x".repeat(100_000)) == 503);
    holds(&node, 0..count);
    for number in 0..count / 2 {
        assert_eq!(delete(&node, &format!("k{number}")), 200);
    }
    eventually("it takes writes", || node.publish("k0", &"x".repeat(100_000)) == 200);
    holds(&node, count / 2..count);
    let tells = |words: &str| site.log_of("a").contains(words);
    eventually("it tells", || tells("the disk is full") && tells("the disk has room again"));
    eventually("the reserve is back", || has_reserve(&data));
    // As often as it takes.
    for round in 1..4 {
        fill(&node);
        for number in 0..count {
            assert_eq!(delete(&node, &format!("k{number}")), 200, "round {round}");
        }
        eventually("it takes writes", || node.publish("k0", "x") == 200);
    }
}

#[test]
fn members_whose_own_data_fills_their_disks_get_out_by_deleting() {
    for full in [1, 3] {
        let site = Site::new("members");
        for name in &["a", "b", "c"][..full] {
            quota(&site.path(name), SMALL);
        }
        let three = small_three(&site);
        let count = fill(&three[2]);
        for number in 0..count {
            assert_eq!(delete(&three[1], &format!("k{number}")), 200, "{full} full, {number}");
        }
        for member in &three {
            eventually("it takes writes", || member.publish("k", "x") == 200);
            eventually("it is ready", || ready(member).0 == 200);
            assert_eq!(member.read("k"), "x");
        }
        let states = || three.each_ref().map(state);
        eventually("they agree", || states().iter().all(|state| *state == states()[0]));
    }
}

fn small_three(site: &Site) -> [Member; 3] {
    let start = |name: &str, arguments: &[&str]| {
        let peer = free_port();
        Site::launch(name, peer, site.command(name, peer, arguments).envs(FILES))
    };
    let a = start("a", &[]);
    let join = ["--join", &a.peer_address()];
    let (b, c) = (start("b", &join), start("c", &join));
    for member in [&a, &b, &c] {
        member.until(|status| roles(status) == ["follower", "follower", "leader"]);
    }
    [a, b, c]
}

fn state(member: &Member) -> String {
    member.http().get("/nacos/v3/admin/nacolet/cluster/state-hash").1
}
