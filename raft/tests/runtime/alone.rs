//! How a cluster begins on a node that runs already, and how one node that is left goes on alone.

use nacolet_model::{Duration, NodeId};
use nacolet_raft::engine::PersistId;
use nacolet_raft::testing::{Ledger, LedgerCommand, MemoryLog};
use nacolet_raft::{
    BootstrapError, Entry, EntryPayload, LogId, Membership, RaftLogStorage, Remains,
};

use crate::single::{Node, settings};

#[test]
fn a_node_that_was_given_no_membership_begins_a_cluster_once_it_is_told_to() {
    let membership = Membership::of_voters([(NodeId(1), "here".into())]);
    let mut idle = settings();
    idle.bootstrap = None;
    let mut node = Node::new(idle.clone(), MemoryLog::default(), Ledger::default());
    node.crew.pass(&node.timer, Duration::from_secs(60));
    assert!(!node.raft.is_leader(), "it belongs to no cluster");
    let initialize = |node: &mut Node, membership: Membership| {
        let raft = node.raft.clone();
        let asked = node.crew.spawn(async move { raft.initialize(membership).await });
        node.outcome(&asked)
    };
    let none = initialize(&mut node, Membership::default());
    assert_eq!(none, Err(BootstrapError::InvalidMembership.into()));
    assert_eq!(initialize(&mut node, membership.clone()), Ok(()));
    assert_eq!(initialize(&mut node, membership.clone()), Err(BootstrapError::NotPristine.into()));
    node.elect();
    let written = node.add(1);
    node.outcome(&written).unwrap();
    let mut node = Node::new(idle, node.log.clone(), node.ledger.restarted());
    assert_eq!(initialize(&mut node, membership), Err(BootstrapError::NotPristine.into()));
    node.elect();
    assert_eq!(node.ledger.state().sum, 1);
}

/// Stores one more entry behind the node's back.
fn append(log: &mut MemoryLog, after: LogId, payload: EntryPayload) {
    let id = LogId { term: after.term, index: after.index.next() };
    log.append(PersistId(1_000), None, vec![Entry { id, payload }], Box::new(drop));
}

#[test]
fn one_of_three_goes_on_alone_with_all_that_it_has() {
    let three = [1, 2, 3].map(|id| (NodeId(id), id.to_string()));
    for with_snapshot in [false, true] {
        let mut node = Node::leader();
        let written = node.add(2);
        node.outcome(&written).unwrap();
        if with_snapshot {
            let raft = node.raft.clone();
            let built = node.crew.spawn(async move { raft.trigger_snapshot().await });
            node.outcome(&built).unwrap();
        }
        // It agrees, alone, to be one of three, and is the only one left of them.
        let (last, three) = (node.raft.metrics().last_log, Membership::of_voters(three.clone()));
        append(&mut node.log, last, EntryPayload::Membership(Box::new(three.clone())));
        let mut node = node.restart();
        node.crew.pass(&node.timer, Duration::from_secs(60));
        assert!(!node.raft.is_leader() && *node.raft.metrics().membership == three);
        let last = node.raft.metrics().last_log;
        let command = postcard::to_allocvec(&LedgerCommand::Add(40)).unwrap();
        append(&mut node.log, last, EntryPayload::Command(command.into()));

        let Node { mut log, ledger, mut crew, .. } = node;
        let remains = Remains::read(&mut log, &mut ledger.restarted()).unwrap();
        assert_eq!((&remains.membership, remains.last.index), (&three, last.index.next()));
        assert!(remains.commit_index < remains.last.index);
        let mut taken = log.clone();
        let end = crew
            .spawn(async move { remains.go_on_alone(&mut taken, NodeId(1), "here".into()).await });
        crew.run();
        let end = end.take().unwrap().unwrap();
        let mut node = Node::new(settings(), log, ledger.restarted());
        node.elect();
        assert!(node.raft.metrics().last_log.index > end.index);
        let alone = Membership::of_voters([(NodeId(1), "here".into())]);
        assert_eq!(*node.raft.metrics().membership, alone);
        let written = node.add(1);
        node.outcome(&written).unwrap();
        assert_eq!(node.ledger.state().sum, 43, "what was not agreed counts as agreed");
    }
}
