//! Members as real processes, each behind a relay, and what can be asked of them.

use std::fs::{self, File};
use std::io::{Error, Result};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nacolet_model::Prng;

use crate::disk::Disk;
use crate::net::Net;
use crate::now;
use crate::relay::Relays;

const STATUS: &str = "/nacos/v3/admin/nacolet/cluster";
const STATE: &str = "/nacos/v3/admin/nacolet/cluster/state-hash";
const READY: &str = "/nacos/v1/console/health/readiness";
/// A member is ready, or led, within this time after the last fault (P8: it heals alone).
pub(crate) const HEALED_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often, and up to how long after its beginning, a first start is interrupted.
const BIRTHS: u32 = 4;
const BIRTH_MS: u64 = 80;

/// One member.
pub(crate) struct Member {
    pub(crate) http: Door,
    pub(crate) disk: Disk,
    peer: SocketAddr,
    child: Option<Child>,
    /// It was ready once: it needs nobody to join any more.
    joined: bool,
    /// Its command line names all members, as that of a new cluster does.
    names_all: bool,
}

/// Where clients find a member. Clones know it too when it has moved.
#[derive(Clone)]
pub(crate) struct Door {
    ip: Ipv4Addr,
    port: Arc<AtomicU16>,
}

impl Door {
    fn new(ip: Ipv4Addr, port: u16) -> Self {
        Self { ip, port: Arc::new(AtomicU16::new(port)) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (self.ip, self.port.load(Ordering::Relaxed)).into()
    }
}

/// All of them.
pub(crate) struct Cluster {
    pub(crate) members: Vec<Member>,
    pub(crate) relays: Relays,
    pub(crate) net: Net,
    binary: PathBuf,
    folder: PathBuf,
    /// The last port that somebody was given.
    port: u16,
}

impl Cluster {
    /// Starts members on these disks and waits until all of them vote. Where plugs can be pulled,
    /// that happens to each of them in its first moments.
    pub(crate) fn start(
        binary: &Path,
        folder: &Path,
        disks: Vec<Disk>,
        net: Net,
        prng: &mut Prng,
    ) -> Result<Self> {
        fs::write(folder.join("key"), [7; 32])?;
        let mut port = 10_000 + u16::try_from(std::process::id() % 20_000).unwrap_or(0);
        let relays = Relays::default();
        let mut members = Vec::new();
        for (number, disk) in disks.into_iter().enumerate() {
            let http = Door::new(net.listens(number), net.free_port(&mut port));
            let peer = SocketAddr::from((net.listens(number), net.free_port(&mut port)));
            relays.serve(number, SocketAddr::from((net.known_as(number), peer.port())), peer)?;
            members.push(Member { http, disk, peer, child: None, joined: false, names_all: false });
        }
        let (binary, folder) = (binary.to_owned(), folder.to_owned());
        let mut cluster = Self { members, relays, net, binary, folder, port };
        for member in 0..cluster.members.len() {
            for _ in 0..BIRTHS {
                cluster.interrupt_birth(member, prng)?;
            }
            cluster.run(member)?;
            cluster.until_ready(member)?;
            cluster.members[member].joined = true;
        }
        cluster.until("every member votes", |cluster| {
            let votes = |text: &String| text.matches("\"role\":\"follower\"").count() + 1;
            let wanted = cluster.members.len();
            (0..wanted)
                .all(|member| cluster.status(member).is_ok_and(|text| votes(&text) == wanted))
        })?;
        Ok(cluster)
    }

    fn interrupt_birth(&mut self, member: usize, prng: &mut Prng) -> Result<()> {
        if !self.members[member].disk.has_plug() {
            return Ok(());
        }
        self.run(member)?;
        sleep(Duration::from_millis(prng.below(BIRTH_MS)));
        self.kill(member)?;
        self.members[member].disk.cut()
    }

    /// Starts one member.
    pub(crate) fn run(&mut self, number: usize) -> Result<()> {
        let known =
            |number| format!("{}:{}", self.net.known_as(number), self.members[number].peer.port());
        let (first, all) = (known(0), (0..self.members.len()).map(known).collect::<Vec<_>>());
        let member = &mut self.members[number];
        let log = self.folder.join(format!("{number}.log"));
        let log = File::options().create(true).append(true).open(log)?;
        let mut command = self.net.command(&self.binary, number);
        let http = SocketAddr::from((Ipv4Addr::UNSPECIFIED, member.http.address().port()));
        command
            .args(["serve", "--threads", "1", "--grpc-addr", "127.0.0.1:0", "--allow-anonymous"])
            .args(["--http-addr", &http.to_string()])
            .args(["--peer-addr", &member.peer.to_string()])
            .args(["--advertise-host", &self.net.known_as(number).to_string()])
            .arg("--cluster-key-file")
            .arg(self.folder.join("key"))
            .arg("--data-dir")
            .arg(member.disk.data())
            // Rotation, purges and snapshots happen all the time.
            .env("NACOLET_SNAPSHOT_ENTRIES", "400")
            .env("NACOLET_LOG_FILE_BYTES", "131072")
            .env("NACOLET_LOG_PURGE_BYTES", "262144")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        if member.names_all {
            command.args(["--join", &all.join(","), "--expect", &all.len().to_string()]);
        } else if number > 0 && !member.joined {
            command.args(["--join", &first]);
        }
        member.child = Some(command.spawn()?);
        Ok(())
    }

    /// Gives members that do not run addresses that nobody knows but those of them who are started
    /// again with a list.
    pub(crate) fn move_away(&mut self, movers: &[usize]) -> Result<()> {
        for number in movers {
            let (known_as, listens) = (self.net.known_as(*number), self.net.listens(*number));
            let (http, peer) =
                (self.net.free_port(&mut self.port), self.net.free_port(&mut self.port));
            let (known_as, peer) = ((known_as, peer).into(), (listens, peer).into());
            self.relays.serve(*number, known_as, peer)?;
            let member = &mut self.members[*number];
            member.http.port.store(http, Ordering::Relaxed);
            (member.peer, member.names_all) = (peer, true);
        }
        Ok(())
    }

    /// Waits until every member knows where these are.
    pub(crate) fn until_found(&mut self, movers: &[usize]) -> Result<()> {
        let at = |number: &usize| {
            format!("{}:{}", self.net.known_as(*number), self.members[*number].peer.port())
        };
        let wanted: Vec<String> = movers.iter().map(at).collect();
        self.until("everybody knows who has moved", |cluster| {
            let knows = |text: String| wanted.iter().all(|address| text.contains(address));
            (0..cluster.members.len()).all(|member| cluster.status(member).is_ok_and(knows))
        })
    }

    /// Takes everything that a member that does not run has on its disk. The others are ready: they
    /// are a majority, and have all there is.
    pub(crate) fn wipe(&mut self, number: usize) -> Result<()> {
        self.members[number].names_all = true;
        fs::remove_dir_all(self.members[number].disk.data())
    }

    /// Waits until nobody knows a former member any more, and everybody votes.
    pub(crate) fn until_replaced(&mut self, former: &str) -> Result<()> {
        self.until("the wiped member is another one", |cluster| {
            let wanted = cluster.members.len();
            let is_new = |text: String| {
                !text.contains(former)
                    && text.matches("\"role\":\"follower\"").count() + 1 == wanted
            };
            (0..wanted).all(|member| cluster.status(member).is_ok_and(is_new))
        })
    }

    /// Whether a member is ready.
    pub(crate) fn is_ready(&self, member: usize) -> bool {
        self.ask(member, READY).is_ok_and(|(status, _)| status == 200)
    }

    /// The node id of a member.
    pub(crate) fn id(&self, member: usize) -> Result<String> {
        own_id(&self.status(member)?).ok_or_else(|| Error::other("it does not say who it is"))
    }

    /// What a member has logged.
    pub(crate) fn log(&self, member: usize) -> Result<String> {
        fs::read_to_string(self.folder.join(format!("{member}.log")))
    }

    pub(crate) fn pid(&self, member: usize) -> Option<u32> {
        self.members[member].child.as_ref().map(Child::id)
    }

    /// Sends a signal to a member's process.
    pub(crate) fn signal(&self, member: usize, signal: &str) -> Result<()> {
        let pid = self.pid(member).ok_or_else(|| Error::other("it does not run"))?;
        let sent = Command::new("kill").args([signal, &pid.to_string()]).status()?.success();
        if sent { Ok(()) } else { Err(Error::other("no such process")) }
    }

    /// Signal 9, and waits until it is gone.
    pub(crate) fn kill(&mut self, member: usize) -> Result<()> {
        let Some(mut child) = self.members[member].child.take() else { return Ok(()) };
        if let Some(status) = child.try_wait()? {
            return Err(Error::other(format!("member {member} had ended by itself: {status}")));
        }
        child.kill()?;
        child.wait().map(|_| ())
    }

    /// Waits until a member that was asked to stop has done so well.
    pub(crate) fn ended(&mut self, member: usize) -> Result<()> {
        let Some(mut child) = self.members[member].child.take() else { return Ok(()) };
        let status = child.wait()?;
        if status.success() { Ok(()) } else { Err(Error::other(format!("it ended: {status}"))) }
    }

    /// One request on a connection of its own, from the member's host.
    pub(crate) fn ask(&self, member: usize, target: &str) -> Result<(u16, String)> {
        let port = self.members[member].http.address().port();
        let mut http = self.net.connect_inside(member, port, Duration::from_secs(6))?;
        http.call("GET", target, "", "")
    }

    pub(crate) fn status(&self, member: usize) -> Result<String> {
        self.ask(member, STATUS).map(|(_, text)| text)
    }

    /// Log index and hash of a member's configs.
    pub(crate) fn state(&self, member: usize) -> Result<String> {
        let (status, text) = self.ask(member, STATE)?;
        if status == 200 && text.contains("state_hash") {
            Ok(text)
        } else {
            Err(Error::other(text))
        }
    }

    /// The member that leads, as any of them knows; tells the relays who is who by the way.
    pub(crate) fn leader(&self) -> Option<usize> {
        let mut ids = Vec::new();
        let mut leaders = Vec::new();
        for member in 0..self.members.len() {
            let Ok(text) = self.status(member) else { continue };
            let Some(id) = own_id(&text) else { continue };
            if let Ok(node) = u64::from_str_radix(&id, 16) {
                self.relays.name(node, member);
            }
            ids.push((id, member));
            leaders.extend(field(&text, "leader"));
        }
        leaders.iter().find_map(|leader| Some(ids.iter().find(|(id, _)| id == leader)?.1))
    }

    /// Waits until a member says that it is ready.
    pub(crate) fn until_ready(&mut self, member: usize) -> Result<()> {
        self.until(&format!("member {member} is ready"), |cluster| cluster.is_ready(member))
    }

    /// Waits until all members are ready and one leads.
    pub(crate) fn until_healed(&mut self) -> Result<Duration> {
        let begun = now();
        for member in 0..self.members.len() {
            self.until_ready(member)?;
        }
        self.until("somebody leads", |cluster| cluster.leader().is_some())?;
        Ok(begun.elapsed())
    }

    pub(crate) fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Result<()> {
        let begun: Instant = now();
        while !is_so(self) {
            for (number, member) in self.members.iter_mut().enumerate() {
                if let Some(status) =
                    member.child.as_mut().and_then(|c| c.try_wait().ok().flatten())
                {
                    return Err(Error::other(format!("member {number} ended: {status}")));
                }
            }
            if begun.elapsed() > HEALED_WITHIN {
                return Err(Error::other(format!("not within {HEALED_WITHIN:?}: {what}")));
            }
            sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.members.iter_mut().filter_map(|member| member.child.as_mut()) {
            // It may be gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The text of a field of a flat piece of JSON.
fn field(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("\"{name}\":\""))?;
    rest.split('"').next().map(str::to_owned)
}

/// The node id of whoever answers: the last of that name, behind the list of members.
fn own_id(text: &str) -> Option<String> {
    let (_, rest) = text.rsplit_once("\"node_id\":\"")?;
    rest.split('"').next().map(str::to_owned)
}
