//! A cluster of real processes on loopback: members that start, join, die and come back to their
//! ports.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use super::{Http, TempDir, nacolet};

pub(crate) const CONFIGS: &str = "/nacos/v1/cs/configs";

/// Directories, ports and the key of one cluster; gone with the test.
pub(crate) struct Site {
    dir: TempDir,
}

/// One running member. Killed with signal 9 when dropped.
pub(crate) struct Member {
    pub(crate) child: Child,
    pub(crate) http: String,
    pub(crate) grpc: String,
    pub(crate) peer: u16,
}

/// A port that nobody uses, and that the system gives to nobody who asks for any: a member comes
/// back to its port.
pub(crate) fn free_port() -> u16 {
    static LAST: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 16_000).expect("it is small") + 10_000;
    loop {
        let port = first + LAST.fetch_add(1, Ordering::Relaxed);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Site {
    pub(crate) fn new(name: &str) -> Self {
        let site = Self { dir: TempDir::new(name) };
        std::fs::write(site.path("key"), [7; 32]).expect("the folder is writable");
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn command(&self, name: &str, peer: u16, arguments: &[&str]) -> Command {
        let mut command = nacolet();
        command
            .args(["serve", "--threads", "0"])
            .args(["--grpc-addr", "127.0.0.1:0", "--peer-addr", &format!("127.0.0.1:{peer}")])
            .arg("--data-dir")
            .arg(self.path(name))
            .arg("--cluster-key-file")
            .arg(self.path("key"))
            .args(arguments)
            .env("NACOLET_HTTP_ADDR", "127.0.0.1:0")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn start_at(&self, name: &str, peer: u16, arguments: &[&str]) -> Member {
        Self::launch(name, peer, &mut self.command(name, peer, arguments))
    }

    /// Starts what [`Self::command`] made.
    pub(crate) fn launch(name: &str, peer: u16, command: &mut Command) -> Member {
        let mut child = command.spawn().expect("the binary runs");
        let mut line = String::new();
        let output = child.stdout.take().expect("standard output is piped");
        BufReader::new(output).read_line(&mut line).expect("the line is text");
        let Some(rest) = line.split("http://").nth(1) else {
            let mut why = String::new();
            let mut errors = child.stderr.take().expect("standard error is piped");
            errors.read_to_string(&mut why).expect("it is text");
            panic!("{name} did not start: {why}");
        };
        let http = rest.split('/').next().expect("an address").to_owned();
        let grpc = line.split("gRPC on ").nth(1).and_then(|rest| rest.split(',').next());
        let grpc = grpc.expect("an address").to_owned();
        Member { child, http, grpc, peer }
    }

    /// Starts a member and waits for its HTTP port only; it logs to [`Self::log_of`].
    pub(crate) fn spawn(&self, name: &str, peer: u16, arguments: &[&str]) -> Member {
        let http = format!("127.0.0.1:{}", free_port());
        let log = std::fs::File::options().create(true).append(true).open(self.log_path(name));
        let mut command = self.command(name, peer, arguments);
        command.env("NACOLET_HTTP_ADDR", &http).stdout(Stdio::null());
        command.stderr(log.expect("the folder is writable"));
        let child = command.spawn().expect("the binary runs");
        let member = Member { child, http, grpc: String::new(), peer };
        eventually("it opens its doors", || Http::connect(&member.http).is_ok());
        member
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.log"))
    }

    pub(crate) fn log_of(&self, name: &str) -> String {
        std::fs::read_to_string(self.log_path(name)).expect("it is text")
    }

    pub(crate) fn start(&self, name: &str, arguments: &[&str]) -> Member {
        self.start_at(name, free_port(), arguments)
    }

    pub(crate) fn join(&self, name: &str, to: &Member) -> Member {
        self.start(name, &["--join", &to.peer_address()])
    }

    /// Three voters; the first one leads.
    pub(crate) fn three(&self) -> [Member; 3] {
        let a = self.start("a", &[]);
        let (b, c) = (self.join("b", &a), self.join("c", &a));
        for member in [&a, &b, &c] {
            member.until(|status| roles(status) == ["follower", "follower", "leader"]);
        }
        [a, b, c]
    }

    /// Starts a node that is expected to end by itself, with its last words.
    pub(crate) fn refused(&self, name: &str, arguments: &[&str]) -> String {
        self.refused_at(name, free_port(), arguments)
    }

    pub(crate) fn refused_at(&self, name: &str, peer: u16, arguments: &[&str]) -> String {
        let command = &mut self.command(name, peer, arguments);
        let Output { status, stderr, .. } = command.output().expect("the binary runs");
        assert!(!status.success());
        String::from_utf8(stderr).expect("it is text")
    }
}

impl Member {
    pub(crate) fn peer_address(&self) -> String {
        format!("127.0.0.1:{}", self.peer)
    }

    pub(crate) fn http(&self) -> Http {
        Http::connect(&self.http).expect("the member accepts connections")
    }

    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        let mut command = nacolet();
        command.arg("cluster").args(arguments);
        command.env("NACOLET_SERVER", format!("http://{}", self.http));
        command.output().expect("the binary runs")
    }

    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).expect("it is text")
    }

    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.ok(&["status", "--json"])).expect("it is JSON")
    }

    /// Waits for a state of affairs, for a bounded time.
    pub(crate) fn until(&self, condition: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        for _ in 0..200 {
            last = self.status();
            if condition(&last) {
                return last;
            }
            sleep(Duration::from_millis(25));
        }
        panic!("it does not come about: {last:#}");
    }

    pub(crate) fn id(&self) -> String {
        self.status()["node_id"].as_str().expect("an id").to_owned()
    }

    pub(crate) fn publish(&self, data_id: &str, content: &str) -> u16 {
        let form = format!("dataId={data_id}&group=g&content={content}");
        self.http().post(CONFIGS, &form).0
    }

    /// A read that sees every acknowledged write.
    pub(crate) fn read(&self, data_id: &str) -> String {
        let target = format!("{CONFIGS}?dataId={data_id}&group=g&consistency=linear");
        let (status, content) = self.http().get(&target);
        assert_eq!(status, 200, "{content}");
        content
    }

    /// Signal 9.
    pub(crate) fn kill(self) {
        drop(self);
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill runs").success());
    }

    /// Signal 15, and what it has logged.
    pub(crate) fn terminate(mut self) -> String {
        self.signal("-TERM");
        assert!(self.child.wait().expect("it ended").success());
        self.log()
    }

    /// Waits for its own end and returns its last words.
    pub(crate) fn last_words(mut self) -> String {
        assert!(!self.child.wait().expect("it ended").success());
        self.log()
    }

    fn log(&mut self) -> String {
        let mut log = String::new();
        if let Some(mut errors) = self.child.stderr.take() {
            errors.read_to_string(&mut log).expect("it is text");
        }
        log
    }
}

/// Waits for what other processes do, for twenty seconds.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..800 {
        if is_so() {
            return;
        }
        sleep(Duration::from_millis(25));
    }
    panic!("it does not come about: {what}");
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn members(status: &Value) -> &[Value] {
    status["members"].as_array().expect("a list")
}

pub(crate) fn roles(status: &Value) -> Vec<&str> {
    let mut roles: Vec<&str> =
        members(status).iter().map(|member| member["role"].as_str().expect("a role")).collect();
    roles.sort_unstable();
    roles
}
