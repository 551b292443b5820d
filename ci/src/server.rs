//! Release nodes in folders of their own, for the clients of `interop`: one alone, or a cluster.
//!
//! A node can be killed while a client is using it. One that is alone starts again on the same
//! data; of a cluster one is missing from then on, another one after each kill.

use crate::process::{cargo, now, step};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
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

/// The user that a node makes when it has none.
pub(crate) const ADMINISTRATOR: &str = "nacos";

/// The first administrator's password, and the file in which the nodes find it.
#[derive(Debug)]
pub(crate) struct Password {
    file: PathBuf,
    text: String,
}

impl Password {
    /// Writes a new one below `folder`, to be read by this user alone.
    ///
    /// # Errors
    ///
    /// There is no randomness, or the file cannot be written.
    pub(crate) fn write(folder: &Path) -> io::Result<Self> {
        let mut random = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut random)?;
        let text = format!("{:032x}", u128::from_ne_bytes(random));
        let file = folder.join("password");
        if file.exists() {
            fs::remove_file(&file)?;
        }
        let mut options = File::options();
        options.write(true).create_new(true).mode(0o600).open(&file)?.write_all(text.as_bytes())?;
        Ok(Self { file, text })
    }

    /// What a client logs in with.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What makes a node ask for users.
    fn options(&self) -> [String; 3] {
        ["--auth".into(), "--admin-password-file".into(), self.file.display().to_string()]
    }
}

/// Nodes that run until they are dropped.
#[derive(Debug)]
pub(crate) struct Server {
    nodes: Vec<Node>,
    /// The node that was killed last, where it is missing.
    missing: Option<usize>,
}

impl Server {
    /// Starts `count` nodes with empty data folders below `folder`, which are one cluster. They ask
    /// for users where there is a `password`.
    ///
    /// # Errors
    ///
    /// A folder cannot be made, no ports are free, or a node does not become ready.
    pub(crate) fn start(
        binary: &Path,
        folder: &Path,
        count: usize,
        password: Option<&Password>,
    ) -> io::Result<Self> {
        let mut server = Self { nodes: Vec::new(), missing: None };
        for number in 0..count {
            let folder = if count == 1 { folder.into() } else { folder.join(number.to_string()) };
            let mut options = Vec::from_iter(password.iter().flat_map(|found| found.options()));
            if count > 1 {
                options.extend(["--cluster-key-file".into(), key(&folder)?]);
            }
            if let Some(first) = server.nodes.first() {
                let peer = SocketAddr::new(first.address.ip(), first.address.port() - 1000);
                options.extend(["--join".into(), peer.to_string()]);
            }
            server.nodes.push(Node::start(None, binary, folder, options)?);
        }
        Ok(server)
    }

    /// Starts one node whose binary is run by `emulator`, where one is needed.
    ///
    /// # Errors
    ///
    /// As [`Self::start`], or there is no such emulator.
    pub(crate) fn start_under(
        emulator: Option<&'static str>,
        binary: &Path,
        folder: &Path,
    ) -> io::Result<Self> {
        let node = Node::start(emulator, binary, folder.into(), Vec::new())?;
        Ok(Self { nodes: vec![node], missing: None })
    }

    /// Kills a node without warning. One that is alone is started again on the same data and
    /// address; in a cluster the one that was killed before is started again first.
    ///
    /// # Errors
    ///
    /// A node cannot be killed or does not become ready again.
    pub(crate) fn restart(&mut self) -> io::Result<()> {
        if let [only] = self.nodes.as_mut_slice() {
            only.kill()?;
            return only.revive();
        }
        let victim = self.missing.map_or(0, |missing| (missing + 1) % self.nodes.len());
        if let Some(missing) = self.missing.take() {
            self.nodes[missing].revive()?;
        }
        self.nodes[victim].kill()?;
        self.missing = Some(victim);
        Ok(())
    }

    /// What clients are told to connect to: one URL per node, with commas between.
    pub(crate) fn base(&self) -> String {
        let urls: Vec<_> =
            self.nodes.iter().map(|node| format!("http://{}", node.address)).collect();
        urls.join(",")
    }

    /// One request to the first node on a connection of its own; the whole answer, head and body.
    ///
    /// # Errors
    ///
    /// The node cannot be reached or does not end its answer.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> io::Result<String> {
        let Some(Node { address, .. }) = self.nodes.first() else {
            return Err(io::Error::other("there is no node"));
        };
        let mut stream = TcpStream::connect_timeout(address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

/// One process.
#[derive(Debug)]
struct Node {
    emulator: Option<&'static str>,
    binary: PathBuf,
    folder: PathBuf,
    address: SocketAddr,
    options: Vec<String>,
    child: Child,
}

impl Node {
    /// Its log goes to `folder/server.log`.
    fn start(
        emulator: Option<&'static str>,
        binary: &Path,
        folder: PathBuf,
        options: Vec<String>,
    ) -> io::Result<Self> {
        let data = folder.join("data");
        if data.exists() {
            fs::remove_dir_all(&data)?;
        }
        fs::create_dir_all(&data)?;
        File::create(folder.join("server.log"))?;
        let address = free_address()?;
        let child = spawn(emulator, binary, &folder, address, &options)?;
        let binary = binary.to_path_buf();
        let mut node = Self { emulator, binary, folder, address, options, child };
        node.wait_until_ready()?;
        Ok(node)
    }

    fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(|_| ())
    }

    fn revive(&mut self) -> io::Result<()> {
        self.child = spawn(self.emulator, &self.binary, &self.folder, self.address, &self.options)?;
        self.wait_until_ready()
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

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself, which `restart` and the clients report.
        self.kill().ok();
    }
}

/// A file with the secret of the cluster; it guards loopback ports for the time of a test.
fn key(folder: &Path) -> io::Result<String> {
    fs::create_dir_all(folder)?;
    let file = folder.join("key");
    fs::write(&file, "interop-interop-interop-interop-interop")?;
    Ok(file.display().to_string())
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
    options: &[String],
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
        .args(options)
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
