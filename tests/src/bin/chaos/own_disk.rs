//! A disk that is full of the node's own data. It ends where a file `quota` in the data directory
//! says, which a node knows that was built with failpoints (`storage/src/space.rs`); nobody else's
//! data is in the way, so deleting has to be enough.

use std::fs;
use std::io::{Error, Result};
use std::thread::sleep;
use std::time::Duration;

use crate::cluster::{Cluster, HEALED_WITHIN};
use crate::http::Http;
use crate::now;

const CONFIGS: &str = "/nacos/v1/cs/configs";
/// Room for some megabytes of configs: the reserve, what stays free, a Raft snapshot and its
/// successor.
const DISK_BYTES: u64 = 20 << 20;
const CONTENT_BYTES: usize = 200_000;
/// Configs that fill a disk several times.
const FILLING_MAX: u32 = 200;
const FULL: &str = "the disk is full: writes are refused";
const AGAIN: &str = "the disk has room again";

/// How often a member has said that its disk is full.
fn said(cluster: &Cluster, member: usize) -> usize {
    cluster.log(member).map_or(0, |log| log.matches(FULL).count())
}

/// Whether a member has said last, since it was started, that its disk is full.
fn is_full(cluster: &Cluster, member: usize) -> bool {
    let Ok(log) = cluster.log(member) else { return true };
    let life = log.rsplit_once("starting version").map_or(log.as_str(), |(_, life)| life);
    life.rfind(FULL) > life.rfind(AGAIN)
}

/// Publishes until the disks of these members are full, kills and restarts them if it `restarts`,
/// deletes it all, and waits until they have room again.
pub(crate) fn fill_and_empty(
    cluster: &mut Cluster,
    victims: &[usize],
    restarts: bool,
) -> Result<()> {
    let mut before = Vec::new();
    for victim in victims {
        before.push((*victim, said(cluster, *victim)));
        fs::write(quota(cluster, *victim), DISK_BYTES.to_string())?;
    }
    // Where all are victims, one that never leads need not notice.
    let one_is = |cluster: &Cluster| before.iter().any(|(one, past)| said(cluster, *one) > *past);
    let mut filled = 0;
    while !one_is(cluster) && filled < FILLING_MAX {
        // One that is refused, or nobody knows of, is deleted like the others.
        let _ = call(cluster, filled, "POST");
        filled += 1;
    }
    cluster.until("the disk is full of our own data", one_is)?;
    if restarts {
        victims.iter().try_for_each(|victim| cluster.kill(*victim))?;
        victims.iter().try_for_each(|victim| cluster.run(*victim))?;
    }
    for number in 0..filled {
        until_deleted(cluster, number)?;
    }
    cluster.until("deleting makes room", |cluster| {
        victims.iter().all(|victim| cluster.is_ready(*victim) && !is_full(cluster, *victim))
    })?;
    until_written(cluster, filled)?;
    until_deleted(cluster, filled)?;
    victims.iter().try_for_each(|victim| fs::remove_file(quota(cluster, *victim)))
}

fn quota(cluster: &Cluster, member: usize) -> std::path::PathBuf {
    cluster.members[member].disk.data().join("quota")
}

fn until_deleted(cluster: &Cluster, number: u32) -> Result<()> {
    until(cluster, number, "DELETE")
}

fn until_written(cluster: &Cluster, number: u32) -> Result<()> {
    until(cluster, number, "POST")
}

fn until(cluster: &Cluster, number: u32, method: &str) -> Result<()> {
    let begun = now();
    loop {
        match call(cluster, number, method) {
            Ok((200, _)) => return Ok(()),
            outcome if begun.elapsed() > HEALED_WITHIN => {
                return Err(Error::other(format!("{method} on a full disk: {outcome:?}")));
            }
            _ => sleep(Duration::from_millis(50)),
        }
    }
}

/// Publishes or deletes one of the configs that fill disks, on members in turn.
fn call(cluster: &Cluster, number: u32, method: &str) -> Result<(u16, String)> {
    let member = usize::try_from(number).unwrap_or(0) % cluster.members.len();
    let address = cluster.members[member].http.address();
    let (name, mut form) = (format!("dataId=filler-{number}&group=g"), String::new());
    if method == "POST" {
        form = format!("{name}&content={}", "x".repeat(CONTENT_BYTES));
    }
    let mut http = Http::connect(address, Duration::from_secs(12))?;
    http.call(method, &format!("{CONFIGS}?{name}"), "", &form)
}
