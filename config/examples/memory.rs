//! What a full store costs: resident memory of this process before and after 10,000 configs of 1
//! KiB with one history item each, beside the bytes of the contents themselves. Linux only.
//!
//! `cargo run --release -p nacolet-config --example memory`
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use nacolet_config::{CommandError, Operator, Publish, Store};
use nacolet_model::{ConfigKey, DataId, Group, Namespace, WallTime};

const CONFIGS: u64 = 10_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let group = Group::new("DEFAULT_GROUP")?;
    let operator = Operator { user: "nacos".into(), ip: "10.0.0.1".into() };
    let before = resident_kib()?;
    let mut store = Store::new();
    for number in 0..CONFIGS {
        let data_id = DataId::new(&format!("application-{number}.yml"))?;
        let key = ConfigKey { namespace: Namespace::public(), group: group.clone(), data_id };
        let content = format!("{number:01024}");
        let publish = Publish::new(key, content.into(), operator.clone(), WallTime(number))?;
        store.apply(number + 1, publish.into(), &mut Vec::new())?;
    }
    let after = resident_kib()?;
    let mut chunks = store.capture();
    let mut bytes = 0;
    while let Some(chunk) = chunks.next_chunk() {
        bytes += chunk.len();
    }
    drop(chunks);
    println!("{} configs, {} history items", store.len(), store.history_len());
    println!("contents  {:>7} KiB", CONFIGS);
    println!("resident  {:>7} KiB more than before", after - before);
    println!("captured  {:>7} KiB more while a Raft snapshot is written", resident_kib()? - after);
    println!("written   {:>7} KiB", bytes / 1024);
    updates(&mut store)?;
    println!("resident  {:>7} KiB after 200,000 updates of ten keys", resident_kib()? - before);
    Ok(())
}

/// Updates of few keys, without end as far as memory goes.
fn updates(store: &mut Store) -> Result<(), CommandError> {
    for number in 0..200_000_u64 {
        let found = store.keys("public").nth(usize::try_from(number % 10).unwrap_or(0));
        let Some(key) = found.and_then(|(key, _)| key.to_key()) else { continue };
        let content = format!("{:01024}", number + CONFIGS);
        let made = Publish::new(key, content.into(), Operator::default(), WallTime(number));
        if let Ok(publish) = made {
            store.apply(CONFIGS + number + 1, publish.into(), &mut Vec::new())?;
        }
    }
    Ok(())
}

fn resident_kib() -> Result<u64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
