//! A cluster on one thread: nodes on a switchboard, disks that survive them, and a clock that moves
//! when told.

use std::collections::BTreeMap;

use nacolet_model::{Duration, NodeId};
use nacolet_raft::engine;
use nacolet_raft::testing::{
    Crew, Ledger, LedgerCommand, LedgerRefusal, ManualTimer, MemoryLog, Pending, Switchboard,
};
use nacolet_raft::{
    ClientWriteError, Config, Fatal, Membership, MembershipChange, Raft, RequestError,
};

/// Longer than an election takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// One node and its disks.
pub(crate) struct Node {
    pub(crate) raft: Raft<Ledger>,
    pub(crate) log: MemoryLog,
    pub(crate) ledger: Ledger,
    pub(crate) core: Pending<Result<(), Fatal>>,
    pub(crate) worker: Pending<()>,
    pub(crate) replication: Pending<()>,
}

/// Nodes on one thread.
#[derive(Default)]
pub(crate) struct Cluster {
    pub(crate) crew: Crew,
    pub(crate) timer: ManualTimer,
    pub(crate) board: Switchboard<Ledger>,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) voters: u64,
    /// Entries after which a node takes a snapshot and forgets its log.
    pub(crate) snapshot_every: u64,
}

impl Cluster {
    pub(crate) fn new(voters: u64) -> Self {
        let mut cluster = Self { voters, snapshot_every: 10_000, ..Self::default() };
        for id in 1..=voters {
            cluster.start(NodeId(id), MemoryLog::default(), Ledger::default());
        }
        cluster
    }

    pub(crate) fn with_small_logs(voters: u64) -> Self {
        let mut cluster = Self { voters, snapshot_every: 10, ..Self::default() };
        for id in 1..=voters {
            cluster.start(NodeId(id), MemoryLog::default(), Ledger::default());
        }
        cluster
    }

    pub(crate) fn settings(&self, id: NodeId) -> Config {
        let mut engine = engine::EngineConfig::new(id, id.0);
        engine.snapshot_every_entries = self.snapshot_every;
        if self.snapshot_every < 100 {
            engine.tail_entries_max = 4;
        }
        let mut config = Config::new(engine);
        config.chunk_bytes = 16;
        if id.0 <= self.voters {
            let voters = (1..=self.voters).map(|id| (NodeId(id), format!("node-{id}")));
            config = config.bootstrap(Membership::of_voters(voters));
        }
        config
    }

    pub(crate) fn start(&mut self, id: NodeId, log: MemoryLog, ledger: Ledger) {
        let wires = self.board.wires(id);
        let (raft, tasks) =
            Raft::new(self.settings(id), log.clone(), ledger.clone(), wires, self.timer.clone())
                .expect("what is stored fits together");
        self.board.plug(&raft);
        let core = self.crew.spawn(tasks.core);
        let worker = self.crew.spawn(tasks.worker);
        let replication = self.crew.spawn(tasks.replication);
        self.nodes.insert(id, Node { raft, log, ledger, core, worker, replication });
    }

    pub(crate) fn crash(&mut self, id: NodeId) -> (MemoryLog, Ledger) {
        let node = self.nodes.remove(&id).expect("the node runs");
        self.board.unplug(id);
        self.crew.kill(&node.core);
        self.crew.kill(&node.worker);
        self.crew.kill(&node.replication);
        node.log.crash();
        (node.log, node.ledger.restarted())
    }

    pub(crate) fn restart(&mut self, id: NodeId) {
        let (log, ledger) = self.crash(id);
        self.start(id, log, ledger);
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.crew.pass(&self.timer, time);
    }

    pub(crate) fn raft(&self, id: NodeId) -> Raft<Ledger> {
        self.nodes[&id].raft.clone()
    }

    pub(crate) fn leaders(&self) -> Vec<NodeId> {
        self.nodes.iter().filter(|(_, node)| node.raft.is_leader()).map(|(id, _)| *id).collect()
    }

    /// The leader of the highest term.
    pub(crate) fn leader(&mut self) -> NodeId {
        for _ in 0..50 {
            let leader =
                self.leaders().into_iter().max_by_key(|id| self.nodes[id].raft.metrics().term);
            if let Some(leader) = leader {
                return leader;
            }
            self.pass(Duration::from_millis(200));
        }
        panic!("nobody leads");
    }

    pub(crate) fn write(
        &mut self,
        to: NodeId,
        amount: u64,
    ) -> Pending<Result<u64, ClientWriteError<LedgerRefusal>>> {
        let raft = self.raft(to);
        self.crew.spawn(async move { raft.client_write(&LedgerCommand::Add(amount)).await })
    }

    /// Writes through whoever leads until it is acknowledged.
    pub(crate) fn must_write(&mut self, amount: u64) -> u64 {
        let leader = self.leader();
        let written = self.write(leader, amount);
        self.pass(PATIENCE);
        written.take().expect("answered in time").expect("acknowledged")
    }

    pub(crate) fn change(&mut self, change: MembershipChange) -> Result<(), RequestError> {
        let leader = self.leader();
        let raft = self.raft(leader);
        let changed = self.crew.spawn(async move {
            let outcome = raft.change_membership(change).await;
            (outcome, raft.metrics().membership.is_joint())
        });
        self.pass(PATIENCE);
        let (outcome, is_joint) = changed.take().expect("answered in time");
        assert!(!is_joint, "answered when the change is over");
        outcome
    }

    pub(crate) fn assert_alike(&mut self) {
        self.pass(PATIENCE);
        let mut ledgers = self.nodes.values().map(|node| node.ledger.state());
        let first = ledgers.next().expect("somebody runs");
        for ledger in ledgers {
            assert_eq!(ledger, first);
        }
    }
}
