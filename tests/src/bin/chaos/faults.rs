//! What is done to the members. Leaders are aimed at half of the time.

use std::fs;
use std::io::{Error, Result};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nacolet_model::Prng;

use crate::cluster::Cluster;
use crate::own_disk;
use crate::relay::Line;

/// What only root may do, and this machine can.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Root {
    /// Disks may be mounted.
    pub(crate) images: bool,
    /// Members have network namespaces.
    pub(crate) namespaces: bool,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Signal 9, to one or to all.
    Kill,
    /// SIGSTOP, and SIGCONT a while later.
    Pause,
    /// Lines are cut one way or both ways, hold what they carry, or delay it.
    Partition,
    /// The network cable of one member is pulled.
    Cable,
    /// The plug of one, two or all members is pulled.
    Power,
    /// A disk is full for a while.
    Full,
    /// Every fsync of one member takes 50 ms longer.
    Slow,
    /// One bit of one member's log flips while it is down.
    Damage,
    /// One, two or all members are started again at other addresses, with the list of all.
    Moved,
    /// One member has lost its disk and is started with the same command line.
    Wiped,
    /// The disk of one member, or of all, is filled by configs, which are deleted then.
    OwnDisk,
}

impl Fault {
    /// All kinds; those that take long, which nobody gets who does not name them, come last.
    pub(crate) const ALL: [Self; 11] = [
        Self::Kill,
        Self::Pause,
        Self::Partition,
        Self::Cable,
        Self::Power,
        Self::Full,
        Self::Slow,
        Self::Damage,
        Self::Moved,
        Self::Wiped,
        Self::OwnDisk,
    ];

    pub(crate) fn quick() -> Vec<Self> {
        Self::ALL.into_iter().filter(|fault| *fault != Self::OwnDisk).collect()
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Partition => "partition",
            Self::Cable => "cable",
            Self::Power => "power",
            Self::Full => "full",
            Self::Slow => "slow",
            Self::Damage => "damage",
            Self::Moved => "moved",
            Self::Wiped => "wiped",
            Self::OwnDisk => "own-disk",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }

    /// Why it cannot be done here.
    pub(crate) fn missing(self, members: usize, root: Root) -> Option<&'static str> {
        match self {
            Self::Power | Self::Full if !root.images => Some("needs root, mount and mkfs.ext4"),
            Self::Cable if !root.namespaces => Some("needs root, ip and nsenter"),
            Self::Partition | Self::Cable | Self::Damage | Self::Wiped if members < 3 => {
                Some("needs three members")
            }
            Self::Moved if members < 2 => Some("needs two members"),
            Self::Slow if !has("strace") => Some("needs strace"),
            _ => None,
        }
    }
}

/// Whether a program is there.
pub(crate) fn has(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("-V").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok()
}

fn millis(prng: &mut Prng, from: u64, to: u64) -> Duration {
    Duration::from_millis(from + prng.below(to - from))
}

/// Does one fault to the end: what was broken is started or mended again, not yet healed.
pub(crate) fn strike(fault: Fault, cluster: &mut Cluster, prng: &mut Prng) -> Result<()> {
    let count = cluster.members.len();
    let any = usize::try_from(prng.below(count as u64)).unwrap_or(0);
    let victim = cluster.leader().filter(|_| prng.chance(1, 2)).unwrap_or(any);
    match fault {
        Fault::Kill => {
            let victims = if prng.chance(1, 4) { (0..count).collect() } else { vec![victim] };
            down(cluster, &victims)?;
            sleep(millis(prng, 1, 400));
            up(cluster, &victims)
        }
        Fault::Pause => {
            cluster.signal(victim, "-STOP")?;
            sleep(millis(prng, 500, 2_500));
            cluster.signal(victim, "-CONT")
        }
        Fault::Partition => {
            partition(cluster, victim, prng);
            sleep(millis(prng, 500, 3_000));
            cluster.relays.heal();
            Ok(())
        }
        Fault::Cable => {
            cluster.net.plug(victim, false)?;
            sleep(millis(prng, 500, 3_000));
            cluster.net.plug(victim, true)
        }
        Fault::Power => {
            let hit = 1 + usize::try_from(prng.below(count as u64)).unwrap_or(0);
            let victims: Vec<usize> = (0..hit).map(|next| (victim + next) % count).collect();
            down(cluster, &victims)?;
            for victim in &victims {
                cluster.members[*victim].disk.cut()?;
            }
            up(cluster, &victims)
        }
        Fault::Full => {
            cluster.members[victim].disk.fill()?;
            sleep(millis(prng, 300, 1_500));
            cluster.members[victim].disk.free()
        }
        Fault::Slow => {
            let pid = cluster.pid(victim).ok_or_else(|| Error::other("it does not run"))?;
            let tracer = slow_down(pid)?;
            sleep(millis(prng, 1_000, 2_500));
            release(tracer)
        }
        Fault::Damage => {
            down(cluster, &[victim])?;
            flip(&cluster.members[victim].disk.data().join("log"), prng)?;
            up(cluster, &[victim])
        }
        Fault::Moved => moved(cluster, victim, prng),
        Fault::Wiped => wiped(cluster, victim, prng),
        Fault::OwnDisk => {
            let victims = if prng.chance(1, 3) { (0..count).collect() } else { vec![victim] };
            own_disk::fill_and_empty(cluster, &victims, prng.chance(1, 2))
        }
    }
}

fn moved(cluster: &mut Cluster, victim: usize, prng: &mut Prng) -> Result<()> {
    let count = cluster.members.len();
    let hit = [1, 1, 2, count][usize::try_from(prng.below(4)).unwrap_or(0)];
    let movers: Vec<usize> = (0..hit).map(|next| (victim + next) % count).collect();
    down(cluster, &movers)?;
    cluster.move_away(&movers)?;
    up(cluster, &movers)?;
    cluster.until_found(&movers)
}

fn wiped(cluster: &mut Cluster, victim: usize, prng: &mut Prng) -> Result<()> {
    let (count, former) = (cluster.members.len(), cluster.id(victim)?);
    cluster.until("all are ready", |cluster| (0..count).all(|one| cluster.is_ready(one)))?;
    down(cluster, &[victim])?;
    cluster.wipe(victim)?;
    sleep(millis(prng, 1, 400));
    up(cluster, &[victim])?;
    cluster.until_replaced(&former)
}

fn down(cluster: &mut Cluster, victims: &[usize]) -> Result<()> {
    victims.iter().try_for_each(|victim| cluster.kill(*victim))
}

fn up(cluster: &mut Cluster, victims: &[usize]) -> Result<()> {
    victims.iter().try_for_each(|victim| cluster.run(*victim))
}

fn partition(cluster: &Cluster, victim: usize, prng: &mut Prng) {
    let line = match prng.below(4) {
        0 | 1 => Line::Cut,
        2 => Line::Hold,
        _ => Line::Delay(millis(prng, 50, 400)),
    };
    // Both ways, only what it says, only what it hears.
    let (says, hears) =
        [(true, true), (true, false), (false, true)][usize::try_from(prng.below(3)).unwrap_or(0)];
    for other in (0..cluster.members.len()).filter(|other| *other != victim) {
        if says {
            cluster.relays.set((victim, other), line);
        }
        if hears {
            cluster.relays.set((other, victim), line);
        }
    }
}

fn slow_down(pid: u32) -> Result<Child> {
    let inject = "inject=fdatasync,fsync:delay_enter=50000";
    Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=fdatasync,fsync", "-e", inject, "-o", "/dev/null"])
        .args(["-p", &pid.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// Ends a tracer so that it lets go of its process.
fn release(mut tracer: Child) -> Result<()> {
    if let Some(status) = tracer.try_wait()? {
        return Err(Error::other(format!("strace ended by itself: {status}")));
    }
    Command::new("kill").args(["-TERM", &tracer.id().to_string()]).status()?;
    tracer.wait().map(|_| ())
}

/// Flips one bit of the newest log file, in its older half: not in a tail that might be torn.
fn flip(folder: &PathBuf, prng: &mut Prng) -> Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "raftlog") {
            files.push(path);
        }
    }
    let newest = files.iter().max().ok_or_else(|| Error::other("there is no log"))?;
    let mut bytes = fs::read(newest)?;
    let at = usize::try_from(prng.below(1 + bytes.len() as u64 / 2)).unwrap_or(0);
    let byte = bytes.get_mut(at).ok_or_else(|| Error::other("the log is empty"))?;
    *byte ^= 1 << prng.below(8);
    fs::write(newest, bytes)
}
