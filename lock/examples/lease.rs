//! A lock that runs out: whoever holds it and is lost keeps nobody waiting for ever. Time is in the
//! commands, so every member that applies them comes to the same end.
//!
//! `cargo run -p nacolet-lock --example lease`
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use nacolet_lock::{Acquire, Command, Loader, Locks, Release, Stamp};
use nacolet_model::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let at = |seconds: u64| Stamp { clock: 1, millis: seconds * 1_000 };
    let acquire = |seconds| Acquire::new("nightly-report", Duration::from_secs(30), at(seconds));
    let mut locks = Locks::new();
    println!(" 0 s, acquired: {}", locks.apply(&Command::Acquire(acquire(0)?))?);
    println!("10 s, by another one: {}", locks.apply(&Command::Acquire(acquire(10)?))?);
    println!("30 s, it has run out: {}", locks.apply(&Command::Acquire(acquire(30)?))?);

    // A Raft snapshot of it, and the same table again on another member.
    let (mut capture, mut loader) = (locks.capture(), Loader::new());
    while let Some(chunk) = capture.next_chunk() {
        loader.push(&chunk)?;
    }
    let mut copy = loader.finish()?;
    assert_eq!(copy, locks);
    let release = Command::Release(Release::new("nightly-report", at(31))?);
    println!("31 s, released by anybody: {}", copy.apply(&release)?);
    assert!(copy.is_empty());
    Ok(())
}
