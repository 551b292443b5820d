//! `cargo ci chaos`: real processes under faults, and the promises P1 to P5 and P8 of the test
//! programme checked on everything that clients saw.
//!
//! ```text
//! cycle = load on all members ── fault ── mended ── healed (P8) ── more load ── stop
//!         ── read every key everywhere (P1, P4) ── judge every history (P2)
//! meanwhile, for the whole run: a value that only grows, watched by a reader (P3) and a listener
//! (P5) on every member
//! ```
//!
//! Read `faults` first, then `clients`; `net` and `relay` are the network, `disk` the power plug.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool speaks on its standard streams"
)]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "an outcome that an answer cannot have is as good as unknown"
)]

mod clients;
mod cluster;
mod disk;
mod faults;
mod gap;
mod history;
mod http;
mod net;
mod own_disk;
mod relay;
mod run;

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use faults::{Fault, Root, has};
use run::Plan;

const USAGE: &str = "\
usage: cargo ci chaos [--cycles N] [--nodes N] [--faults F,F,...] [--seconds S] [--seed S]
                      [--binary PATH]
       cargo ci chaos --gaps N [--nodes N] [--binary PATH]

  --cycles   faults in all (16); kinds take turns
  --nodes    members (3)
  --faults   kill pause partition cable power full slow damage moved wiped own-disk (all but
             own-disk, which needs a node with failpoints)
  --seconds  begins no cycle after so many, once every kind had its turn
  --gaps     instead: so many times each, how long writes pause when the leader is killed, stopped
             by SIGTERM, and asked to hand over
  --seed     of the choices; timing stays that of the machine
  --binary   the node (target/debug/nacolet)
";
/// Set for the copy of this process that has namespaces of its own, to their names.
const INSIDE: &str = "NACOLET_CHAOS_INSIDE";

#[expect(clippy::disallowed_methods, reason = "real processes run in real time")]
fn now() -> Instant {
    Instant::now()
}

fn parse(words: &[String]) -> Option<Plan> {
    let mut plan = Plan {
        cycles: 16,
        nodes: 3,
        faults: Fault::quick(),
        seconds: Duration::MAX,
        seed: 1,
        binary: PathBuf::from("target/debug/nacolet"),
        root: Root::default(),
        gaps: 0,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next()?;
        match word.as_str() {
            "--cycles" => plan.cycles = value.parse().ok()?,
            "--nodes" => plan.nodes = value.parse().ok().filter(|nodes| (1..=7).contains(nodes))?,
            "--faults" => {
                plan.faults = value.split(',').map(Fault::parse).collect::<Option<_>>()?
            }
            "--seconds" => plan.seconds = Duration::from_secs(value.parse().ok()?),
            "--gaps" => plan.gaps = value.parse().ok()?,
            "--seed" => plan.seed = value.parse().ok()?,
            "--binary" => plan.binary = value.into(),
            _ => return None,
        }
    }
    Some(plan)
}

const MOUNT: [&str; 3] = ["--mount", "--propagation", "private"];

/// Whether this works in namespaces of its own. What is tried goes with them.
fn may(namespaces: &[&str], script: &str) -> bool {
    let mut command = Command::new("unshare");
    command.args(MOUNT).args(namespaces).args(["sh", "-c", script]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Whether this process may mount, and loop devices are there.
fn may_mount() -> bool {
    let tools = ["umount", "mkfs.ext4"].into_iter().all(has);
    may(&[], "mount -t tmpfs tmpfs /tmp") && tools && Path::new("/dev/loop-control").exists()
}

/// The same in a mount namespace, where nothing mounted outlives this process, and in a network
/// namespace where that is possible.
fn inside(words: &[String]) -> io::Result<bool> {
    let script = "mount -t tmpfs tmpfs /run && ip netns add m0 && \
                  ip link add cable0 type veth peer name eth0 netns m0";
    let has_net = has("nsenter") && may(&["--net"], script);
    let mut command = Command::new("unshare");
    command.args(MOUNT).args(has_net.then_some("--net")).arg(env::current_exe()?).args(words);
    command.env(INSIDE, if has_net { "mount net" } else { "mount" });
    command.status().map(|status| status.success())
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let Some(mut plan) = parse(&words) else {
        eprint!("{USAGE}");
        return ExitCode::FAILURE;
    };
    let inside_of = env::var(INSIDE).unwrap_or_default();
    plan.root.images = inside_of.contains("mount");
    plan.root.namespaces = inside_of.contains("net");
    let outcome = match () {
        () if plan.gaps > 0 => gap::run(&plan),
        () if !plan.root.images && may_mount() => inside(&words),
        () => run::run(&plan),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error}");
            ExitCode::FAILURE
        }
    }
}
