//! One run: cycles of load, fault, healing and judgement, and what they add up to.

use std::env;
use std::fs;
use std::io::Result;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nacolet_model::Prng;
use nacolet_tests::operation::{Action, End};

use crate::clients::{Growing, Link, Load};
use crate::cluster::{Cluster, Door};
use crate::disk::Disk;
use crate::faults::{Fault, Root, strike};
use crate::history::Tally;
use crate::net::Net;
use crate::now;

const WRITERS: u64 = 4;
/// A listener, and a member that was behind, have the last value within this time after healing.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);

/// What is asked for.
pub(crate) struct Plan {
    pub(crate) cycles: u64,
    pub(crate) nodes: usize,
    pub(crate) faults: Vec<Fault>,
    pub(crate) seconds: Duration,
    pub(crate) seed: u64,
    pub(crate) binary: PathBuf,
    /// Pauses to measure, instead of cycles.
    pub(crate) gaps: u64,
    pub(crate) root: Root,
}

#[derive(Default)]
struct Outcome {
    tally: Tally,
    done: Vec<(Fault, u64)>,
    wrong: Vec<String>,
    slowest_healing: Duration,
    slowest_write: Duration,
    checked_again: u64,
}

/// Values that every key had at the end of its cycle.
type Kept = Vec<(String, Option<u64>)>;

/// Runs a plan and tells what came of it; true when every promise was kept and every fault
/// happened.
pub(crate) fn run(plan: &Plan) -> Result<bool> {
    let folder = env::temp_dir().join(format!("nacolet-chaos-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let missing = |fault: &Fault| fault.missing(plan.nodes, plan.root);
    let faults: Vec<Fault> = plan.faults.iter().copied().filter(|f| missing(f).is_none()).collect();
    let needs_images = |fault: &Fault| matches!(fault, Fault::Power | Fault::Full);
    let images = faults.iter().any(needs_images);
    let disk = |member: usize| {
        let folder = folder.join(member.to_string());
        if images { Disk::image(&folder) } else { Disk::plain(&folder) }
    };
    let disks = (0..plan.nodes).map(disk).collect::<Result<Vec<_>>>()?;
    let begun = now();
    let mut outcome =
        Outcome { done: faults.iter().map(|f| (*f, 0)).collect(), ..Outcome::default() };
    let net = Net::new(plan.root.namespaces, plan.nodes)?;
    let mut prng = Prng::new(plan.seed);
    let mut cluster = Cluster::start(&plan.binary, &folder, disks, net, &mut prng)?;
    let growing = Arc::new(Growing::default());
    let watched = watch(&cluster, &growing);
    let mut kept = Kept::new();
    for number in 0..plan.cycles {
        let number_of_all = usize::try_from(number).unwrap_or(usize::MAX);
        let is_late = begun.elapsed() > plan.seconds && number_of_all >= faults.len();
        if is_late || faults.is_empty() {
            break;
        }
        let at = number_of_all % faults.len();
        cycle(number, faults[at], &mut cluster, &mut prng, &mut outcome, &mut kept)?;
        outcome.done[at].1 += 1;
        outcome.wrong.extend(growing.wrong());
        if !outcome.wrong.is_empty() {
            break;
        }
    }
    watched.finish(&growing, &mut outcome);
    read_again(&cluster, &kept, &mut outcome);
    compare_states(&cluster, &mut outcome);
    tell(plan, &growing, &outcome, begun, cluster.relays.relayed());
    let is_valid = !outcome.done.is_empty() && outcome.done.iter().all(|(_, times)| *times > 0);
    if !is_valid {
        println!("NOT VALID: planned faults did not happen");
    }
    let passed = outcome.wrong.is_empty() && is_valid && outcome.tally.undecided == 0;
    drop(cluster);
    if passed {
        // With mounts inside it goes with the namespace, as far as it can.
        let _ = fs::remove_dir_all(&folder);
    } else {
        println!("logs and data: {}", folder.display());
    }
    Ok(passed)
}

fn doors(cluster: &Cluster) -> Vec<Door> {
    cluster.members.iter().map(|member| member.http.clone()).collect()
}

fn cycle(
    number: u64,
    fault: Fault,
    cluster: &mut Cluster,
    prng: &mut Prng,
    outcome: &mut Outcome,
    kept: &mut Kept,
) -> Result<()> {
    let load = Arc::new(Load::new(format!("c{number}"), doors(cluster)));
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (load, seed) = (Arc::clone(&load), prng.next_u64());
            thread::spawn(move || load.work(seed))
        })
        .collect();
    thread::sleep(Duration::from_millis(100 + prng.below(300)));
    let healed = strike(fault, cluster, prng).and_then(|()| cluster.until_healed());
    if let Ok(healed) = &healed {
        outcome.slowest_healing = outcome.slowest_healing.max(*healed);
        probe(&load, outcome);
        thread::sleep(Duration::from_millis(100));
    }
    load.stop.store(true, Ordering::Relaxed);
    for writer in writers {
        // A panic of a client is one of this program and was printed.
        let _ = writer.join();
    }
    if let Err(error) = healed {
        outcome.wrong.push(format!("P8: cycle {number}, {}: {error}", fault.name()));
        return Ok(());
    }
    settle(&load, kept, outcome);
    let wrong = load.history.judge(&mut outcome.tally);
    let named = |what| format!("cycle {number}, {}: {what}", fault.name());
    outcome.wrong.extend(wrong.into_iter().map(named));
    Ok(())
}

/// P8: writes succeed soon after the last fault.
fn probe(load: &Load, outcome: &mut Outcome) {
    let begun = now();
    let mut http = None;
    let mut link = Link { address: load.members[0].address(), http: &mut http };
    while begun.elapsed() < Duration::from_secs(10) {
        let serial = load.serial.fetch_add(1, Ordering::Relaxed);
        if load.call(&mut link, &format!("{}-probe", load.name), Action::Write(serial)) == End::Done
        {
            outcome.slowest_write = outcome.slowest_write.max(begun.elapsed());
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    outcome.wrong.push("P8: no write succeeds within 10 s after healing".to_owned());
}

/// Reads every key through every member, and then what each member itself shows of it (P4).
fn settle(load: &Load, kept: &mut Kept, outcome: &mut Outcome) {
    for key in load.history.names() {
        let mut last = None;
        for address in load.members.iter().map(Door::address) {
            let mut http = None;
            let mut link = Link { address, http: &mut http };
            match load.call(&mut link, &key, Action::Read) {
                End::Read(value) => last = value,
                end => outcome.wrong.push(format!("P8: {address} does not read {key}: {end:?}")),
            }
        }
        for address in load.members.iter().map(Door::address) {
            let shown = shows(address, &key, last);
            if shown != Some(last) {
                outcome.wrong.push(format!("P4: {address} shows {shown:?} of {key}, not {last:?}"));
            }
        }
        kept.push((key, last));
    }
}

/// What a member shows of a key, when it has had time to become `wanted`.
fn shows(address: SocketAddr, key: &str, wanted: Option<u64>) -> Option<Option<u64>> {
    let begun = now();
    let mut http = None;
    loop {
        let shown = Link { address, http: &mut http }.look(key);
        if shown == Some(wanted) || begun.elapsed() > SETTLED_WITHIN {
            return shown;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// P1 over the whole run: what every key had at the end of its cycle is still there, on each
/// member.
fn read_again(cluster: &Cluster, kept: &Kept, outcome: &mut Outcome) {
    for address in doors(cluster).iter().map(Door::address) {
        for (key, value) in kept {
            outcome.checked_again += 1;
            let shown = shows(address, key, *value);
            if shown != Some(*value) {
                outcome
                    .wrong
                    .push(format!("P1: {address} ends with {shown:?} of {key}, not {value:?}"));
            }
        }
    }
}

/// P4: with nobody writing any more, all members come to the same log index and state.
fn compare_states(cluster: &Cluster, outcome: &mut Outcome) {
    let begun = now();
    loop {
        let members = 0..cluster.members.len();
        let states: Vec<_> = members.map(|member| cluster.state(member).ok()).collect();
        if states.iter().all(|state| state.is_some() && *state == states[0]) {
            return;
        }
        if begun.elapsed() > SETTLED_WITHIN {
            outcome.wrong.push(format!("P4: the members end with the states {states:?}"));
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// What a listener on one member holds: which of the growing keys, and its value.
type Holds = Arc<Mutex<(u64, Option<u64>)>>;

/// Everybody who watches the growing value.
struct Watched {
    writer: thread::JoinHandle<()>,
    others: Vec<thread::JoinHandle<()>>,
    holds: Vec<Holds>,
}

fn watch(cluster: &Cluster, growing: &Arc<Growing>) -> Watched {
    let all = doors(cluster);
    let (mut others, mut holds) = (Vec::new(), Vec::new());
    for (member, door) in all.iter().cloned().enumerate() {
        let (shared, watched) = (Arc::clone(growing), door.clone());
        others.push(thread::spawn(move || shared.watch(member, &watched)));
        let (shared, held) = (Arc::clone(growing), Holds::default());
        holds.push(Arc::clone(&held));
        others.push(thread::spawn(move || shared.listen(member, &door, &held)));
    }
    let shared = Arc::clone(growing);
    let writer = thread::spawn(move || shared.write(&all));
    Watched { writer, others, holds }
}

impl Watched {
    /// Ends the writing, lets every listener hear of the last value, and ends them too.
    fn finish(self, growing: &Growing, outcome: &mut Outcome) {
        growing.stop_writing();
        // A panic of a client is one of this program and was printed.
        let _ = self.writer.join();
        let newest = growing.newest();
        let wanted = (newest.acknowledged > 0).then_some((newest.key, Some(newest.acknowledged)));
        let begun = now();
        for (member, holds) in self.holds.iter().enumerate() {
            let Some(wanted) = wanted else { break };
            let holds = || *holds.lock().unwrap_or_else(PoisonError::into_inner);
            while holds() != wanted && begun.elapsed() < SETTLED_WITHIN {
                thread::sleep(Duration::from_millis(10));
            }
            if holds() != wanted {
                let held = holds();
                outcome
                    .wrong
                    .push(format!("P5: member {member} told of {held:?}, not of {wanted:?}"));
            }
        }
        growing.stop.store(true, Ordering::Relaxed);
        for other in self.others {
            let _ = other.join();
        }
        outcome.wrong.extend(growing.wrong());
    }
}

fn tell(plan: &Plan, growing: &Growing, outcome: &Outcome, begun: Instant, relayed: u64) {
    let Outcome { tally, done, wrong, .. } = outcome;
    let cycles: u64 = done.iter().map(|(_, times)| times).sum();
    println!(
        "chaos: {} members{}, {cycles} of {} cycles in {:.0} s, seed {}",
        plan.nodes,
        if plan.root.namespaces { " in network namespaces" } else { "" },
        plan.cycles,
        begun.elapsed().as_secs_f64(),
        plan.seed
    );
    for fault in &plan.faults {
        match (fault.missing(plan.nodes, plan.root), done.iter().find(|(of, _)| of == fault)) {
            (Some(why), _) => println!("  {}: not run, {why}", fault.name()),
            (None, times) => {
                println!("  {}: {}", fault.name(), times.map_or(0, |(_, times)| *times))
            }
        }
    }
    let lost = wrong.iter().filter(|what| what.contains("P1")).count();
    println!(
        "  writes: {} acknowledged, {} refused, {} unknown; keys with lost or false writes: {lost} of {} \
         ({} read again at the end)",
        tally.acknowledged, tally.refused, tally.unknown, tally.keys, outcome.checked_again
    );
    println!(
        "  linearizable reads: {}; histories undecided: {} of {}; local reads: {}; changes heard: {}",
        tally.reads,
        tally.undecided,
        tally.keys,
        growing.looks.load(Ordering::Relaxed),
        growing.heard.load(Ordering::Relaxed)
    );
    println!(
        "  slowest healing {:.2} s, slowest write after it {:.2} s; {} KiB between members",
        outcome.slowest_healing.as_secs_f64(),
        outcome.slowest_write.as_secs_f64(),
        relayed >> 10
    );
    for what in wrong {
        println!("BROKEN: {what}");
    }
}
