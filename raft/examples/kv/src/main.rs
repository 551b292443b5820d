//! A key-value store on nacolet-raft: sharded over several Raft groups, with typed commands and
//! errors, expiry, backup and restore. Requests are lines on standard input, answers lines on
//! standard output. Read `store` (what is replicated) first, then `node` (how).
//!
//! ```text
//! kv ID DIR HOST:PORT [ID=HOST:PORT ...]    the first members; none for a node that is added later
//! ```
//!
//! The secret that members share is in the environment, as `KV_KEY` (32 bytes or more).
#![allow(clippy::print_stdout, reason = "it answers on standard output")]

mod node;
#[cfg(test)]
mod power_tests;
mod store;

use std::collections::BTreeMap;
use std::env;
use std::io::Write;
use std::path::Path;

use nacolet_model::NodeId;
use nacolet_transport::ClusterKey;
use smol::io::{AsyncBufReadExt, BufReader};
use smol::stream::StreamExt;

use crate::node::{Answer, Error, Failure, Node, Start};
use crate::store::Change;

const USAGE: &str = "usage: kv ID DIR HOST:PORT [ID=HOST:PORT ...]";

fn main() -> Result<(), Error> {
    let start = start(&env::args().skip(1).collect::<Vec<_>>())?;
    let executor = smol::LocalExecutor::new();
    smol::block_on(executor.run(async {
        let node = Node::open(start, &executor).await?;
        let mut lines = BufReader::new(smol::Unblock::new(std::io::stdin())).lines();
        while let Some(line) = lines.next().await {
            match answer(&node, &line?).await {
                Ok(None) => println!("ok"),
                Ok(Some(value)) => println!("ok {value}"),
                Err(failure) => println!("error: {failure}"),
            }
            std::io::stdout().flush()?;
        }
        Ok(())
    }))
}

fn start(words: &[String]) -> Result<Start, Error> {
    let [id, dir, address, first @ ..] = words else { return Err(USAGE.into()) };
    let member = |word: &String| -> Result<_, Error> {
        let (id, address) = word.split_once('=').ok_or(USAGE)?;
        Ok((NodeId(id.parse()?), address.to_owned()))
    };
    let first: Result<BTreeMap<_, _>, _> = first.iter().map(member).collect();
    Ok(Start {
        id: NodeId(id.parse()?),
        dir: dir.into(),
        address: address.clone(),
        key: ClusterKey::new(env::var("KV_KEY")?.as_bytes())?,
        first: first?,
    })
}

async fn answer(node: &Node, line: &str) -> Answer {
    let unclear = || Failure::Impossible(format!("what is `{line}`?"));
    let number = |word: &str| word.parse::<u64>().ok().ok_or_else(unclear);
    let text = |word: &str| word.to_owned();
    match *line.split_whitespace().collect::<Vec<_>>() {
        ["get", k] => node.value(k).await,
        ["set", k, v] => node.change(k, Change::Set { value: text(v), ttl_ms: None }).await,
        ["set", k, v, ttl] => {
            let ttl_ms = Some(number(ttl)?);
            node.change(k, Change::Set { value: text(v), ttl_ms }).await
        }
        ["create", k, v] => node.change(k, Change::Swap { old: None, new: text(v) }).await,
        ["swap", k, old, new] => {
            node.change(k, Change::Swap { old: Some(text(old)), new: text(new) }).await
        }
        ["delete", k] => node.change(k, Change::Delete).await,
        ["backup", file] => node.backup(Path::new(file)).await.map(|()| None),
        ["restore", file] => node.restore(Path::new(file)).await.map(|()| None),
        ["add", id, address] => node.add(NodeId(number(id)?), address).await.map(|()| None),
        ["remove", id] => node.remove(NodeId(number(id)?)).await.map(|()| None),
        _ => Err(unclear()),
    }
}
