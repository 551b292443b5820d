//! A durable log without Raft around it: lines are appended, the log is closed, opened again and
//! read.
//!
//! `cargo run -p nacolet-storage --example journal -- DIRECTORY a line or two`
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::path::Path;
use std::sync::mpsc;

use nacolet_model::NodeId;
use nacolet_raft::engine::PersistId;
use nacolet_raft::{
    AppendError, Entry, EntryPayload, HardState, LogId, LogIndex, RaftLogStorage, Term,
};
use nacolet_storage::{DataDir, LogSettings, LogStore, abort_process};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut given = std::env::args().skip(1);
    let own = std::env::temp_dir().join(format!("nacolet-journal-{}", std::process::id()));
    let path = given.next().map_or(own, Into::into);
    let lines: Vec<String> = given.collect();
    let before = append(&path, &lines)?;
    let after = append(&path, &[])?;
    assert_eq!(after.len(), before.len() + lines.len());
    println!("{}", after.join("\n"));
    Ok(())
}

/// Opens the journal, reads it, and adds these lines; returns what was there before.
fn append(path: &Path, lines: &[String]) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let dir = DataDir::open(path, NodeId(1))?;
    let mut log = LogStore::open(&dir, LogSettings::default(), abort_process)?;
    let found = log.recover(None)?;
    let text = |entry: &Entry| match &entry.payload {
        EntryPayload::Command(line) => Some(String::from_utf8_lossy(line).into_owned()),
        EntryPayload::Blank | EntryPayload::Membership(_) => None,
    };
    let before: Vec<String> = found.entries.iter().filter_map(text).collect();
    let last = found.entries.last().map_or(LogIndex::ZERO, |entry| entry.id.index);
    let entries = (last.0 + 1..).zip(lines).map(|(index, line)| Entry {
        id: LogId { term: Term(1), index: LogIndex(index) },
        payload: EntryPayload::Command(line.as_bytes().into()),
    });
    let hard_state = HardState { term: Term(1), voted_for: None, commit_index: last };
    let (done, durable) = mpsc::channel::<Result<PersistId, AppendError>>();
    let tell = Box::new(move |result| {
        // This function waits for it, or has ended with an error.
        let _ = done.send(result);
    });
    log.append(PersistId(1), Some(hard_state), entries.collect(), tell);
    durable.recv()??;
    log.close();
    Ok(before)
}
