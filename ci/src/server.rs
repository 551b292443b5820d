//! One release node in a folder of its own, for the clients of `interop`.
//!
//! It can be killed and started again on the same data while a client is using it.

use crate::process::{cargo, now, step};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// A node is ready in milliseconds; a busy build machine may take longer to schedule it.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Pause between two looks at a starting node.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A node answers in milliseconds, an emulated one in some more.
const PATIENCE: Duration = Duration::from_secs(10);

/// A node that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    emulator: Option<&'static str>,
    binary: PathBuf,
    folder: PathBuf,
    address: SocketAddr,
    child: Child,
}

impl Server {
    /// Starts a node with an empty data folder below `folder`; its log goes to `folder/server.log`.
    ///
    /// # Errors
    ///
    /// The folder cannot be made, no ports are free, or the node does not become ready.
    pub(crate) fn start(binary: &Path, folder: &Path) -> io::Result<Self> {
        Self::start_under(None, binary, folder)
    }

    /// As [`Self::start`], with the binary run by `emulator`.
    ///
    /// # Errors
    ///
    /// As [`Self::start`], or there is no such emulator.
    pub(crate) fn start_under(
        emulator: Option<&'static str>,
        binary: &Path,
        folder: &Path,
    ) -> io::Result<Self> {
        let data = folder.join("data");
        if data.exists() {
            fs::remove_dir_all(&data)?;
        }
        fs::create_dir_all(&data)?;
        File::create(folder.join("server.log"))?;
        let address = free_address()?;
        let child = spawn(emulator, binary, folder, address)?;
        let (binary, folder) = (binary.to_path_buf(), folder.to_path_buf());
        let mut server = Self { emulator, binary, folder, address, child };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// Kills the node without warning and starts it again on the same data and address.
    ///
    /// # Errors
    ///
    /// It cannot be killed or does not become ready again.
    pub(crate) fn restart(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.child = spawn(self.emulator, &self.binary, &self.folder, self.address)?;
        self.wait_until_ready()
    }

    /// What clients are told to connect to.
    pub(crate) fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// One request on a connection of its own; the whole answer, head and body.
    ///
    /// # Errors
    ///
    /// The server cannot be reached or does not end its answer.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn wait_until_ready(&mut self) -> io::Result<()> {
        let start = now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("the server ended by itself: {status}")));
            }
            if is_ready(self.address) {
                return Ok(());
            }
            if start.elapsed() > READY_WITHIN {
                return Err(io::Error::other(format!("not ready after {READY_WITHIN:?}")));
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which `restart` and the clients report.
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}

/// The release binary, built if it is not there.
pub(crate) fn release_binary(root: &Path) -> Option<PathBuf> {
    let binary = root.join("target/release/nacolet");
    if !binary.is_file() {
        let mut build = cargo();
        build.current_dir(root);
        build.args(["build", "--release", "--locked", "--package", "nacolet"]);
        if !step("release build", &mut build) {
            return None;
        }
    }
    Some(binary)
}

fn spawn(
    emulator: Option<&str>,
    binary: &Path,
    folder: &Path,
    address: SocketAddr,
) -> io::Result<Child> {
    let log = File::options().append(true).open(folder.join("server.log"))?;
    let mut command = match emulator {
        Some(emulator) => {
            let mut command = Command::new(emulator);
            command.arg(binary);
            command
        }
        None => Command::new(binary),
    };
    command
        .arg("serve")
        .arg("--data-dir")
        .arg(folder.join("data"))
        .arg("--http-addr")
        .arg(address.to_string())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
}

/// A loopback port whose neighbours for gRPC (+1000) and peers (-1000) are free too.
fn free_address() -> io::Result<SocketAddr> {
    for _ in 0..100 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let neighbours = [address.port().checked_add(1000), address.port().checked_sub(1000)];
        let free = |port: Option<u16>| {
            port.is_some_and(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        };
        if neighbours.into_iter().all(free) {
            return Ok(address);
        }
    }
    Err(io::Error::other("no three free ports on the loopback interface"))
}

/// True once the readiness probe answers 200.
fn is_ready(address: SocketAddr) -> bool {
    let probe = || -> io::Result<bool> {
        let patience = Duration::from_secs(1);
        let mut stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_read_timeout(Some(patience))?;
        let path = "/nacos/v1/console/health/readiness";
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(&head == b"HTTP/1.1 200")
    };
    // Until it is ready, refusing and resetting connections is what a starting node does.
    probe().unwrap_or(false)
}
