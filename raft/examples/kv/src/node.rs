//! One process of the store: a Raft group for each shard, with a directory and a port of its own.
//! The [`Relay`] of a shard takes every request to the leader, wherever that is. One thread runs it
//! all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nacolet_model::{NodeId, WallTime};
use nacolet_raft::{Config, Membership, MembershipChange, Raft, Replica, State, decode, engine};
use nacolet_storage::{DataDir, LogSettings, LogStore, SnapshotStore, abort_process};
use nacolet_transport::{
    ClusterId, ClusterKey, LinkSettings, Patience, Relay, RelayError, SmolTimer, Transport,
};
use smol::LocalExecutor;

use crate::store::{Change, Command, Refused, Store};

/// Why a node does not start; only a person reads it.
pub(crate) type Error = Box<dyn std::error::Error>;

const SHARDS: u16 = 4;
/// How long a request waits for a leader, and a new member for its data.
const PATIENCE: Duration = Duration::from_secs(10);
const EXPIRE_EVERY: Duration = Duration::from_millis(200);

pub(crate) type Failure = RelayError<Refused>;
/// The value of a key, before the change if there is one.
pub(crate) type Answer = Result<Option<String>, Failure>;

/// What a node is told at its start.
pub(crate) struct Start {
    pub(crate) id: NodeId,
    pub(crate) dir: PathBuf,
    pub(crate) address: String,
    pub(crate) key: ClusterKey,
    /// Members of a new group; nobody when the node is going to be added to one.
    pub(crate) first: BTreeMap<NodeId, String>,
}

pub(crate) struct Node {
    shards: Vec<Shard>,
}

#[derive(Clone)]
struct Shard {
    relay: Relay<Replica<Store, SnapshotStore>>,
    state: State<Store>,
}

impl Node {
    pub(crate) async fn open(start: Start, on: &LocalExecutor<'_>) -> Result<Self, Error> {
        let mut shards = Vec::new();
        for number in 0..SHARDS {
            shards.push(Shard::open(&start, number, on).await?);
        }
        Ok(Self { shards })
    }

    fn shard(&self, key: &str) -> &Shard {
        let fnv = |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        let hash = key.bytes().fold(0x811c_9dc5_u32, fnv);
        &self.shards[hash as usize % self.shards.len()]
    }

    pub(crate) async fn change(&self, key: &str, change: Change) -> Answer {
        self.shard(key).change(key.to_owned(), change).await
    }

    pub(crate) async fn value(&self, key: &str) -> Answer {
        let shard = self.shard(key);
        shard.relay.catch_up().await?;
        Ok(shard.state.read(|store| store.value(key)))
    }

    /// Writes everything to a file: every acknowledged write of each shard is in it.
    pub(crate) async fn backup(&self, file: &Path) -> Result<(), Failure> {
        let mut stores = Vec::new();
        for shard in &self.shards {
            shard.relay.catch_up().await?;
            stores.push(shard.state.read(Store::clone));
        }
        let bytes = postcard::to_allocvec(&stores).map_err(impossible)?;
        std::fs::write(file, bytes).map_err(impossible)
    }

    /// Sets every key of a backup, wherever it belongs now, with what was left of its life.
    pub(crate) async fn restore(&self, file: &Path) -> Result<(), Failure> {
        let bytes = std::fs::read(file).map_err(impossible)?;
        for store in decode::<Vec<Store>>(&bytes).ok_or_else(|| impossible("this is no backup"))? {
            for (key, item) in store.items {
                let ttl_ms = item.expires.map(|expires| expires.0.saturating_sub(store.now.0));
                self.change(&key, Change::Set { value: item.value, ttl_ms }).await?;
            }
        }
        Ok(())
    }

    /// Makes a running, empty node a voter of every shard.
    pub(crate) async fn add(&self, node: NodeId, base: &str) -> Result<(), Failure> {
        for (number, shard) in (0..).zip(&self.shards) {
            let address = shard_address(base, number).map_err(impossible)?;
            shard.relay.change_membership(MembershipChange::AddLearner { node, address }).await?;
            shard.relay.change_membership(MembershipChange::Promote([node].into())).await?;
        }
        Ok(())
    }

    pub(crate) async fn remove(&self, node: NodeId) -> Result<(), Failure> {
        for shard in &self.shards {
            shard.relay.change_membership(MembershipChange::Remove([node].into())).await?;
        }
        Ok(())
    }
}

impl Shard {
    async fn open(start: &Start, number: u16, on: &LocalExecutor<'_>) -> Result<Self, Error> {
        let seed = getrandom::u64().map_err(|error| error.to_string())?;
        let mut config = Config::new(engine::EngineConfig::new(start.id, seed));
        if !start.first.is_empty() {
            let member = |(id, base): (&NodeId, &String)| Ok((*id, shard_address(base, number)?));
            let members: Result<Vec<_>, Error> = start.first.iter().map(member).collect();
            config = config.bootstrap(Membership::of_voters(members?));
        }
        let dir = DataDir::open(&start.dir.join(format!("shard-{number}")), start.id)?;
        let log = LogStore::open(&dir, LogSettings::default(), abort_process)?;
        let replica = Replica::new(Store::default(), SnapshotStore::open(&dir, abort_process)?);
        let state = replica.state();
        let address = shard_address(&start.address, number)?;
        let listener = smol::net::TcpListener::bind(&address).await?;
        let (transport, links) = Transport::new(LinkSettings {
            node: start.id,
            key: start.key.clone(),
            cluster: Some(ClusterId(u64::from(number) + 1)),
            address,
            seed,
            patience: Patience::default(),
        });
        let network = transport.networks(|address| address);
        let (raft, tasks) = Raft::new(config, log, replica, network, SmolTimer)?;
        let shard = Self { relay: Relay::new(raft, transport, PATIENCE), state };
        on.spawn(links.run(listener, std::rc::Rc::new(shard.relay.clone()))).detach();
        on.spawn(shard.clone().expire()).detach();
        on.spawn(async {
            if let Err(fatal) = tasks.run().await {
                abort_process(&fatal.to_string());
            }
        })
        .detach();
        Ok(shard)
    }

    async fn change(&self, key: String, change: Change) -> Answer {
        self.relay.write(&Command { at: wall(), key, change }).await
    }

    /// Lets time pass where nobody writes: the leader says so when a key is due.
    async fn expire(self) {
        loop {
            smol::Timer::after(EXPIRE_EVERY).await;
            if self.relay.raft().is_leader() && self.state.read(|store| store.is_due(wall())) {
                // What fails is tried again at the next look.
                drop(self.change(String::new(), Change::Expire).await);
            }
        }
    }
}

/// The port of a shard is that many above the node's.
fn shard_address(base: &str, shard: u16) -> Result<String, Error> {
    let (host, port) = base.rsplit_once(':').ok_or("an address is HOST:PORT")?;
    let port = port.parse::<u16>()?.checked_add(shard).ok_or("every shard needs a port")?;
    Ok(format!("{host}:{port}"))
}

fn impossible(why: impl ToString) -> Failure {
    RelayError::Impossible(why.to_string())
}

#[expect(clippy::disallowed_methods, reason = "a stamp for the log, which decides what time it is")]
fn wall() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
