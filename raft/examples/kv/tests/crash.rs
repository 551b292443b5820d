//! Processes of the store that are killed without warning, replaced by others and read back.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Ports of one node: one for each shard.
const PORTS: u16 = 4;
const KEYS: usize = 60;

/// A folder that is removed with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kv-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

struct Node {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Node {
    fn start(id: u64, folder: &Path, address: &str, first: &BTreeMap<u64, String>) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_nacolet-kv"))
            .args([&id.to_string(), &folder.join(id.to_string()).display().to_string(), address])
            .args(first.iter().map(|(id, address)| format!("{id}={address}")))
            .env("KV_KEY", "the secret of a test has 32 bytes")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary of this package starts");
        let requests = child.stdin.take().expect("it is piped");
        let answers = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, requests, answers }
    }

    /// Asks again, some times, while no leader is found: on a machine whose disk is busy an
    /// election can take long. Nothing was done then, so it may be repeated.
    fn ask(&mut self, request: &str) -> String {
        let mut answer = self.ask_once(request);
        for _ in 0..5 {
            if answer != "error: no leader could be reached, and nothing was done" {
                break;
            }
            answer = self.ask_once(request);
        }
        answer
    }

    fn ask_once(&mut self, request: &str) -> String {
        writeln!(self.requests, "{request}").expect("the node runs");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("the node answers");
        answer.trim_end().to_owned()
    }

    fn check(&mut self, request: &str, expected: &str) {
        let answer = self.ask(request);
        assert_eq!(answer, expected, "{request}");
    }

    fn kill(mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("it ended");
    }
}

/// An address with a free port for each shard of a node. Another process could take one meanwhile;
/// ports at random make that unlikely.
fn free_address() -> String {
    for _ in 0..1_000 {
        let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let base = probe.local_addr().expect("it is bound").port();
        let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if base < u16::MAX - PORTS && (base + 1..base + PORTS).all(is_free) {
            return format!("127.0.0.1:{base}");
        }
    }
    panic!("no {PORTS} free ports in a row");
}

/// Three processes, and where they listen.
fn three(folder: &Path) -> (BTreeMap<u64, String>, BTreeMap<u64, Node>) {
    let addresses: BTreeMap<u64, String> = (1..=3).map(|id| (id, free_address())).collect();
    let start = |id: &u64| (*id, Node::start(*id, folder, &addresses[id], &addresses));
    let nodes = addresses.keys().map(start).collect();
    (addresses, nodes)
}

fn set_all(node: &mut Node, what: &str) {
    for key in 0..KEYS {
        let request = format!("set key-{key} {what}-{key}");
        let mut answer = node.ask(&request);
        // The leader may have died with the request. To set a key twice is as good as once.
        while answer == "error: the outcome is unknown" {
            answer = node.ask(&request);
        }
        assert!(answer.starts_with("ok"), "{answer}");
    }
}

fn check_all(node: &mut Node, what: &str) {
    for key in 0..KEYS {
        node.check(&format!("get key-{key}"), &format!("ok {what}-{key}"));
    }
}

#[test]
fn acknowledged_writes_survive_the_death_of_every_process() {
    let folder = Folder::new("crash");
    let (addresses, mut nodes) = three(&folder.0);
    set_all(nodes.get_mut(&1).expect("runs"), "first");
    check_all(nodes.get_mut(&3).expect("runs"), "first");
    for dead in 1..=3 {
        nodes.remove(&dead).expect("runs").kill();
        let what = format!("without-{dead}");
        set_all(nodes.values_mut().next().expect("two run"), &what);
        nodes.insert(dead, Node::start(dead, &folder.0, &addresses[&dead], &addresses));
        check_all(nodes.get_mut(&dead).expect("runs"), &what);
    }
    for (_, node) in nodes {
        node.kill();
    }
    let mut nodes: Vec<Node> =
        (1..=3).map(|id| Node::start(id, &folder.0, &addresses[&id], &addresses)).collect();
    check_all(&mut nodes[0], "without-3");
}

#[test]
fn members_are_replaced_while_the_store_is_used() {
    let folder = Folder::new("members");
    let (_, mut nodes) = three(&folder.0);
    let mut first = nodes.remove(&1).expect("runs");
    set_all(&mut first, "before");
    let address = free_address();
    let mut fourth = Node::start(4, &folder.0, &address, &BTreeMap::new());
    first.check(&format!("add 4 {address}"), "ok");
    first.check("remove 2", "ok");
    nodes.remove(&2).expect("runs").kill();
    set_all(&mut first, "after");
    // Of the voters 1, 3 and 4 one may die.
    first.kill();
    check_all(&mut fourth, "after");
    fourth.check("remove 1", "ok");
}

#[test]
fn refusals_expiry_backup_and_restore() {
    let folder = Folder::new("words");
    let alone = |id: u64| {
        let address = free_address();
        Node::start(id, &folder.0, &address, &BTreeMap::from([(id, address.clone())]))
    };
    let mut node = alone(1);
    node.check("get a", "ok");
    node.check("set a 1", "ok");
    node.check("swap a 1 2", "ok 1");
    node.check("swap a 1 3", "error: the value is Some(\"2\") meanwhile");
    node.check("create a 3", "error: the value is Some(\"2\") meanwhile");
    node.check("delete b", "error: there is no such key");
    node.check("dance", "error: what is `dance`?");
    node.check("set short 1 1", "ok");
    node.check("set long 1 3600000", "ok");
    // Nobody writes: the leader notices by itself that the key is due.
    while node.ask("get short") != "ok" {}
    let file = folder.0.join("backup");
    node.check(&format!("backup {}", file.display()), "ok");
    node.kill();
    let mut other = alone(2);
    let longer = folder.0.join("longer");
    let bytes = fs::read(&file).expect("it was written");
    fs::write(&longer, [&bytes[..], &[0]].concat()).expect("there is room");
    other.check(&format!("restore {}", longer.display()), "error: this is no backup");
    other.check(&format!("restore {}", file.display()), "ok");
    other.check("get a", "ok 2");
    other.check("get short", "ok");
    other.check("get long", "ok 1");
    other.check("delete long", "ok 1");
}

#[test]
fn the_store_is_as_short_as_the_documentation_says() {
    let parts = [
        include_str!("../src/main.rs"),
        include_str!("../src/node.rs"),
        include_str!("../src/store.rs"),
    ];
    let lines: usize = parts.iter().map(|part| part.lines().count()).sum();
    assert!(lines < 400, "{lines} lines");
}
