//! Real processes for tests: a node on a free port with a data directory of its own, and a plain
//! HTTP/1.1 client on a standard socket, so that nothing of the product is trusted twice.

pub(crate) mod grpc;
pub(crate) mod site;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A directory that is gone when the test is.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("nacolet-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary folder is writable");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The product, as a command to be given arguments.
pub(crate) fn nacolet() -> Command {
    Command::new(env!("CARGO_BIN_EXE_nacolet"))
}

/// A running node. Killed with signal 9 when dropped.
pub(crate) struct Node {
    child: Child,
    pub(crate) address: String,
}

impl Node {
    /// Starts a node and waits for its line; `None` when it ends before it is ready.
    pub(crate) fn try_start(data: &Path, environment: &[(&str, &str)]) -> Option<Self> {
        Self::try_start_at("127.0.0.1:0", data, environment)
    }

    /// As [`Self::try_start`], at another address.
    pub(crate) fn try_start_at(
        address: &str,
        data: &Path,
        environment: &[(&str, &str)],
    ) -> Option<Self> {
        let mut child = nacolet()
            .args(["serve", "--http-addr", address, "--data-dir"])
            .arg(data)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let mut line = String::new();
        let Some(output) = child.stdout.take() else { panic!("standard output is piped") };
        BufReader::new(output).read_line(&mut line).expect("the line is text");
        let Some(rest) = line.split("http://").nth(1) else {
            child.wait().expect("the node ended");
            return None;
        };
        let address = rest.split('/').next().unwrap_or_default().to_owned();
        Some(Self { child, address })
    }

    pub(crate) fn start(data: &Path) -> Self {
        Self::try_start(data, &[]).expect("the node becomes ready")
    }

    /// Signal 9.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Signal 15, and what became of it.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
        self.child.wait().expect("the node ended")
    }

    /// A figure of `/proc/PID/status`, such as `VmRSS`, in KiB.
    pub(crate) fn kib(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("the node runs");
        let line = status.lines().find(|line| line.starts_with(name)).expect("it is told");
        let figure = line.split_whitespace().nth(1).expect("a figure");
        figure.parse().expect("a number")
    }

    /// Begins anew to look for the most memory that it has, and says how much that is now.
    pub(crate) fn forget_peak(&self) -> u64 {
        let path = format!("/proc/{}/clear_refs", self.child.id());
        std::fs::write(path, "5").expect("it is our own process");
        self.kib("VmRSS")
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("the node is a child").is_some()
    }

    pub(crate) fn http(&self) -> Http {
        Http::connect(&self.address).expect("the node accepts connections")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One keep-alive connection.
pub(crate) struct Http {
    stream: BufReader<TcpStream>,
}

impl Http {
    pub(crate) fn connect(address: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// An answer must not take longer than this.
    pub(crate) fn limit(&mut self, time: Duration) {
        self.stream.get_ref().set_read_timeout(Some(time)).expect("the socket is open");
    }

    /// Status and body; an error means that nobody knows what became of the request.
    pub(crate) fn call(
        &mut self,
        method: &str,
        target: &str,
        form: &str,
    ) -> std::io::Result<(u16, Vec<u8>)> {
        // The time counts for long polls only, the agent for pushes by UDP.
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: localhost\r\nlong-pulling-timeout: 10000\r\n\
             user-agent: Nacos-Java-Client:v1.4.8\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
            form.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let wrong = || std::io::Error::from(std::io::ErrorKind::InvalidData);
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(wrong)?;
        let mut length = 0;
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok().ok_or_else(wrong)?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((status, body))
    }

    pub(crate) fn get(&mut self, target: &str) -> (u16, String) {
        let (status, body) = self.call("GET", target, "").expect("an answer");
        (status, String::from_utf8(body).expect("the answer is text"))
    }

    pub(crate) fn post(&mut self, target: &str, form: &str) -> (u16, String) {
        let (status, body) = self.call("POST", target, form).expect("an answer");
        (status, String::from_utf8(body).expect("the answer is text"))
    }
}
