//! Puts a member together: the peer port is claimed and the links are made before Raft starts,
//! because Raft needs its network; the rest follows once Raft is there.

use std::cell::{OnceCell, RefCell};
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;

use nacolet_api::Stage;
use nacolet_model::NodeId;
use nacolet_raft::{LogIndex, Membership, NoNetwork, Raft, StorageError};
use nacolet_storage::DataDir;
use nacolet_transport::{ClusterId, LinkSettings, Patience, Runner, Transport};

use super::address::{compose, peer_of};
use super::digest;
use super::founding::Founding;
use super::inbound::Inbound;
use super::keeper::{Keeper, KeeperError, Memberships};
use super::key::{KeyError, read_key};
use super::mailbox::Mailbox;
use super::network::Network;
use super::record::Record;
use super::view::{Cluster, SharedCluster};
use crate::machine::{Aftermath, Machine, Shared};
use crate::settings::ClusterSettings;
use crate::space::Space;

/// Why a node does not become a member.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MemberError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("cannot listen for peers on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error(
        "the data directory belongs to a member of a cluster, which needs --cluster-key-file; \
         move the directory away to start a cluster of its own"
    )]
    NoKey,
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(
        "a majority of the members agrees on another state at log index {}; what this one had is \
         set aside, and it gets theirs when it is started again",
        .index.0
    )]
    Odd { index: LogIndex },
}

/// What a node knows of its cluster before Raft starts.
pub(crate) struct Before {
    record: Option<Record>,
    node: NodeId,
    links: Option<Links>,
}

/// The links of a member.
struct Links {
    transport: Transport,
    runner: Runner,
    listener: TcpListener,
    address: String,
    bound: SocketAddr,
    settings: ClusterSettings,
}

impl Before {
    /// Reads the record of the membership; with cluster settings, claims the peer port.
    ///
    /// # Errors
    /// See [`MemberError`]; a damaged record is an error of the storage.
    pub(crate) fn open(
        settings: Option<&ClusterSettings>,
        dir: &DataDir,
        record: Option<Record>,
        http_port: u16,
        seed: u64,
    ) -> Result<Self, MemberError> {
        if record.as_ref().is_some_and(|record| record.removed) {
            return Err(KeeperError::Removed.into());
        }
        let node = dir.node_id();
        let links = match settings {
            Some(settings) => {
                let cluster = record.as_ref().map_or(Some(ClusterId(node.0)), |r| r.cluster);
                let founds = record.is_some() || settings.join.is_empty();
                let cluster = cluster.filter(|_| founds);
                Some(Links::open(settings, node, cluster, http_port, seed)?)
            }
            None if record.is_some() => return Err(MemberError::NoKey),
            None => None,
        };
        Ok(Self { record, node, links })
    }

    /// The network of Raft.
    pub(crate) fn network(&self) -> Network {
        match &self.links {
            None => Network::Alone(NoNetwork),
            Some(links) => Network::Peers(links.transport.networks(peer_of)),
        }
    }

    /// What an empty data directory begins with; one that joins begins with nothing.
    pub(crate) fn first_membership(&self) -> Option<Membership> {
        let joins = self.links.as_ref().is_some_and(|links| !links.settings.join.is_empty());
        if self.record.is_some() || joins {
            return None;
        }
        let mut alone = Membership { voters: [self.node].into(), ..Membership::default() };
        if let Some(links) = &self.links {
            alone.addresses.insert(self.node, links.address.clone());
        }
        Some(alone)
    }

    /// The member, or none for a node that is alone. One that joins notes it first: an empty log
    /// alone would found a cluster.
    ///
    /// # Errors
    /// The note cannot be stored.
    pub(crate) fn complete(
        self,
        raft: &Raft<Machine>,
        dir: &DataDir,
        space: &Space,
        aftermath: &Aftermath,
        shared: &Shared,
        stage: &Arc<Stage>,
    ) -> Result<Option<Member>, MemberError> {
        let Some(links) = self.links else { return Ok(None) };
        let metrics = raft.metrics();
        let is_empty = metrics.last_log.index.0 == 0 && metrics.snapshot.index.0 == 0;
        let mut record = self.record;
        if record.is_none() && !links.settings.join.is_empty() {
            if is_empty {
                let contacts = links.settings.join.clone();
                let joining = Record { cluster: None, contacts, removed: false };
                joining.store(dir).map_err(KeeperError::from)?;
                record = Some(joining);
            } else {
                // A founder that names its peers; whether it has any, the membership will tell.
                links.transport.set_cluster(ClusterId(self.node.0));
            }
        }
        let cluster = Rc::new(Cluster {
            transport: links.transport,
            raft: raft.clone(),
            applied: aftermath.applied.clone(),
            digests: aftermath.digests.clone(),
            registry: Arc::clone(&shared.registry),
            mailbox: Mailbox::default(),
            address: links.address,
            dir: dir.clone(),
            space: space.clone(),
            record: record.into(),
            learner: links.settings.learner,
            moves: Arc::default(),
            stage: Arc::clone(stage),
            founding: Founding::load(dir)?.into(),
            repeats: RefCell::default(),
            server: OnceCell::new(),
        });
        Ok(Some(Member {
            cluster,
            bound: links.bound,
            runner: links.runner,
            listener: links.listener,
            join: links.settings.join,
            expect: links.settings.expect,
            memberships: Memberships {
                in_force: Rc::clone(&aftermath.in_force),
                changed: aftermath.membership.clone(),
            },
        }))
    }
}

impl Links {
    fn open(
        settings: &ClusterSettings,
        node: NodeId,
        cluster: Option<ClusterId>,
        http_port: u16,
        seed: u64,
    ) -> Result<Self, MemberError> {
        let key = read_key(&settings.key_file)?;
        let wanted = settings.peer_addr;
        let taken = |source| MemberError::Listen { address: wanted, source };
        let listener = TcpListener::bind(wanted).map_err(taken)?;
        let bound = listener.local_addr().map_err(taken)?;
        let address = compose(&settings.host, bound.port(), http_port);
        let (transport, runner) = Transport::new(LinkSettings {
            node,
            key,
            cluster,
            address: peer_of(&address).to_owned(),
            seed,
            patience: Patience::default(),
        });
        Ok(Self { transport, runner, listener, address, bound, settings: settings.clone() })
    }
}

/// A member, ready to run.
pub(crate) struct Member {
    pub(crate) cluster: SharedCluster,
    /// Where it listens for peers.
    pub(crate) bound: SocketAddr,
    runner: Runner,
    listener: TcpListener,
    join: Vec<String>,
    expect: Option<usize>,
    memberships: Memberships,
}

impl Member {
    /// Drives the links and keeps the node a member.
    ///
    /// # Errors
    /// The node is no member any more, or may not become one.
    pub(crate) async fn run(self) -> Result<Infallible, MemberError> {
        let address = self.bound;
        let listener = smol::Async::new(self.listener);
        let listener = listener.map_err(|source| MemberError::Listen { address, source })?;
        let handler = Rc::new(Inbound(SharedCluster::clone(&self.cluster)));
        let links = async {
            self.runner.run(listener.into(), handler).await;
            smol::future::pending().await
        };
        let odd = digest::watch(SharedCluster::clone(&self.cluster));
        let odd = async { Err(MemberError::Odd { index: odd.await }) };
        let keeper = Keeper::new(self.cluster, self.join, self.expect, self.memberships);
        let kept = async { keeper.run().await.map_err(MemberError::from) };
        smol::future::or(links, smol::future::or(kept, odd)).await
    }
}
