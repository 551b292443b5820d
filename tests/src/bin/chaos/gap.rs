//! How long writes pause when the leader goes: killed, stopped in order, or asked to hand over. Two
//! clients per surviving member write all the time; the pause is the longest time in which nobody
//! got an answer.

use std::env;
use std::fs;
use std::io::{Error, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nacolet_tests::operation::{Action, End};

use crate::clients::{Link, Load};
use nacolet_model::Prng;

use crate::cluster::{Cluster, Door};
use crate::disk::Disk;
use crate::http::Http;
use crate::net::Net;
use crate::now;
use crate::run::Plan;

/// Writing goes on for so long before and after, so that the pause lies within.
const AROUND: Duration = Duration::from_millis(400);
const TRANSFER: &str = "/nacos/v3/admin/nacolet/cluster/transfer";

#[derive(Clone, Copy)]
enum Going {
    Killed,
    Stopped,
    Asked,
}

/// Measures and tells; true when every trial could be measured.
pub(crate) fn run(plan: &Plan) -> Result<bool> {
    let folder = env::temp_dir().join(format!("nacolet-gap-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let disk = |member: usize| Disk::plain(&folder.join(member.to_string()));
    let disks = (0..plan.nodes).map(disk).collect::<Result<Vec<_>>>()?;
    let net = Net::new(false, plan.nodes)?;
    let mut prng = Prng::new(plan.seed);
    let mut cluster = Cluster::start(&plan.binary, &folder, disks, net, &mut prng)?;
    for (name, going) in [
        ("leader killed (signal 9)", Going::Killed),
        ("leader stopped (SIGTERM)", Going::Stopped),
        ("leadership transferred", Going::Asked),
    ] {
        let mut gaps = Vec::new();
        for _ in 0..plan.gaps {
            gaps.push(measure(&mut cluster, going)?);
        }
        gaps.sort_unstable();
        let ms = |at: usize| gaps.get(at).map_or(0.0, |gap| gap.as_secs_f64() * 1_000.0);
        println!(
            "{name}: {} trials, pause of writes median {:.1} ms, max {:.1} ms",
            gaps.len(),
            ms(gaps.len() / 2),
            ms(gaps.len().saturating_sub(1))
        );
    }
    drop(cluster);
    fs::remove_dir_all(&folder)?;
    Ok(true)
}

fn measure(cluster: &mut Cluster, going: Going) -> Result<Duration> {
    cluster.until_healed()?;
    let leader = cluster.leader().ok_or_else(|| Error::other("nobody leads"))?;
    let others: Vec<usize> = (0..cluster.members.len()).filter(|other| *other != leader).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let answers = Arc::new(Mutex::new(Vec::new()));
    let clients: Vec<_> = others
        .iter()
        .flat_map(|other| [(*other, 0), (*other, 1)])
        .map(|(other, client)| {
            let (address, key) =
                (cluster.members[other].http.clone(), format!("gap-{other}-{client}"));
            let (stop, answers) = (Arc::clone(&stop), Arc::clone(&answers));
            thread::spawn(move || write(&address, &key, &stop, &answers))
        })
        .collect();
    thread::sleep(AROUND);
    go(cluster, leader, going)?;
    // Long enough for an election at the second try.
    thread::sleep(if matches!(going, Going::Killed) { AROUND * 6 } else { AROUND });
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        // A panic of a client is one of this program and was printed.
        let _ = client.join();
    }
    if matches!(going, Going::Stopped) {
        cluster.ended(leader)?;
    }
    if !matches!(going, Going::Asked) {
        cluster.run(leader)?;
    }
    let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
    answers.sort_unstable();
    let gaps = answers.windows(2).map(|pair| pair[1].duration_since(pair[0]));
    gaps.max().ok_or_else(|| Error::other("nothing was written"))
}

fn go(cluster: &mut Cluster, leader: usize, going: Going) -> Result<()> {
    match going {
        Going::Killed => cluster.kill(leader),
        Going::Stopped => cluster.signal(leader, "-TERM"),
        Going::Asked => {
            let mut http =
                Http::connect(cluster.members[leader].http.address(), Duration::from_secs(6))?;
            match http.call("POST", TRANSFER, "nacolet-admin: true\r\n", "")? {
                (200, _) => Ok(()),
                (status, text) => Err(Error::other(format!("transfer: {status} {text}"))),
            }
        }
    }
}

/// Writes without a pause and notes when each write was acknowledged.
fn write(door: &Door, key: &str, stop: &AtomicBool, answers: &Mutex<Vec<Instant>>) {
    let load = Load::new(String::new(), vec![door.clone()]);
    let mut http = None;
    let mut serial = 0;
    while !stop.load(Ordering::Relaxed) {
        serial += 1;
        let mut link = Link { address: door.address(), http: &mut http };
        if load.call(&mut link, key, Action::Write(serial)) == End::Done {
            answers.lock().unwrap_or_else(PoisonError::into_inner).push(now());
        }
    }
}
