//! Several nodes on one switchboard: election, replication, change of leaders, a follower so far
//! behind that it needs a snapshot, and changes of the membership.

use nacolet_model::{Duration, NodeId, limits};
use nacolet_raft::testing::{Ledger, MemoryLog, WriteMode};
use nacolet_raft::{
    Cause, ClientWriteError, Entry, EntryPayload, LogId, LogIndex, Membership, MembershipChange,
    Message, MessageBody, Outcome, Raft, RaftStateMachine, ReceiveChunkError, SnapshotChunk,
    SnapshotMeta, Term,
};

use crate::rig::{Cluster, PATIENCE};

#[test]
fn three_nodes_elect_one_leader_and_replicate() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.leader();
    for amount in 1..=10 {
        cluster.must_write(amount);
    }
    assert_eq!(cluster.leaders(), [leader]);
    cluster.assert_alike();
    for node in cluster.nodes.values() {
        assert_eq!(node.ledger.state().sum, 55);
        assert_eq!(node.raft.current_leader(), Some(leader));
        assert_eq!(node.log.durable().entries, cluster.nodes[&leader].log.durable().entries);
    }
}

#[test]
fn a_follower_names_the_leader() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.leader();
    cluster.pass(PATIENCE);
    let follower = cluster.nodes.keys().copied().find(|id| *id != leader).unwrap();
    let written = cluster.write(follower, 1);
    cluster.crew.run();
    let error = written.take().unwrap().unwrap_err();
    assert_eq!(error.leader(), Some(leader));
    assert_eq!(error.outcome(), Outcome::Refused);
    let raft = cluster.raft(follower);
    let read = cluster.crew.spawn(async move { raft.read_index().await });
    cluster.crew.run();
    assert_eq!(read.take().unwrap().unwrap_err().leader(), Some(leader));
}

#[test]
fn a_read_index_is_confirmed_by_a_majority() {
    let mut cluster = Cluster::new(3);
    cluster.must_write(1);
    let leader = cluster.leader();
    let raft = cluster.raft(leader);
    let read = cluster.crew.spawn(async move { raft.read_index().await });
    cluster.pass(Duration::from_millis(300));
    assert!(read.take().unwrap().is_ok());
    cluster.board.isolate(leader);
    let raft = cluster.raft(leader);
    let read = cluster.crew.spawn(async move { raft.read_index().await });
    cluster.pass(PATIENCE);
    assert!(read.take().unwrap().is_err(), "a leader alone must not confirm a read");
}

#[test]
fn a_write_of_a_deposed_leader_is_superseded_and_never_acknowledged() {
    // docs/raft-traps.md, trap 32.
    let mut cluster = Cluster::new(3);
    cluster.must_write(1);
    let old = cluster.leader();
    cluster.board.isolate(old);
    let lost = cluster.write(old, 100);
    cluster.pass(Duration::from_secs(3));
    assert_eq!(lost.take(), None, "nobody knows yet what becomes of it");
    let new = cluster.leader();
    assert_ne!(new, old);
    let written = cluster.write(new, 2);
    cluster.pass(Duration::from_millis(10));
    assert_eq!(written.take(), Some(Ok(3)));
    cluster.board.heal();
    cluster.assert_alike();
    let error = lost.take().unwrap().unwrap_err();
    assert!(matches!(error, ClientWriteError::Superseded { leader } if leader == Some(new)));
    assert_eq!(cluster.nodes[&old].ledger.state().sum, 3);
}

#[test]
fn a_deposed_leader_that_hears_nothing_does_not_keep_its_clients_for_ever() {
    let mut cluster = Cluster::new(3);
    cluster.must_write(1);
    let old = cluster.leader();
    cluster.board.isolate(old);
    let lost = cluster.write(old, 100);
    cluster.pass(Duration::from_secs(6));
    assert_eq!(lost.take(), Some(Err(ClientWriteError::Unknown(Cause::LeadershipLost))));
}

#[test]
fn a_leader_elected_again_does_not_wait_for_what_left_its_log() {
    let mut cluster = Cluster::new(3);
    cluster.must_write(1);
    let old = cluster.leader();
    cluster.board.isolate(old);
    let lost: Vec<_> = (0..10).map(|_| cluster.write(old, 100)).collect();
    cluster.pass(Duration::from_millis(2_500));
    let new = cluster.leader();
    assert_ne!(new, old);
    cluster.board.heal();
    cluster.pass(Duration::from_millis(500));
    let raft = cluster.raft(new);
    let moved = cluster.crew.spawn(async move { raft.transfer_leader(Some(old)).await });
    cluster.pass(PATIENCE);
    assert_eq!(moved.take(), Some(Ok(old)));
    let outcomes: Vec<_> = lost.iter().map(|write| write.take().unwrap().unwrap_err()).collect();
    let superseded = |error: &&_| matches!(error, ClientWriteError::Superseded { .. });
    assert_eq!(outcomes.iter().filter(superseded).count(), 2, "the blank entries of two leaders");
    assert_eq!(outcomes[9], ClientWriteError::Unknown(Cause::LeadershipLost));
    assert_eq!(cluster.must_write(1), 2);
}

#[test]
fn a_write_whose_place_a_snapshot_jumped_over_ends_as_unknown() {
    // Trap 33 (openraft#1761).
    let mut cluster = Cluster::with_small_logs(3);
    cluster.must_write(1);
    let old = cluster.leader();
    cluster.board.isolate(old);
    let lost = cluster.write(old, 100);
    cluster.pass(Duration::from_secs(3));
    let new = cluster.leader();
    assert_ne!(new, old);
    for _ in 0..40 {
        let written = cluster.write(new, 1);
        cluster.pass(Duration::from_millis(5));
        assert!(matches!(written.take(), Some(Ok(_))));
    }
    let (_, chunks) = cluster.board.delivered();
    cluster.board.heal();
    cluster.assert_alike();
    assert!(cluster.board.delivered().1 > chunks + 1, "a snapshot in several chunks");
    assert_eq!(lost.take(), Some(Err(ClientWriteError::Unknown(Cause::Snapshot))));
    assert_eq!(cluster.nodes[&old].ledger.state().sum, 41);
}

#[test]
fn a_leader_that_crashes_is_replaced_and_comes_back() {
    // Raft paper §5.2.
    let mut cluster = Cluster::new(3);
    let mut sum = 0;
    for round in 1..=5 {
        let leader = cluster.leader();
        let (log, ledger) = cluster.crash(leader);
        sum += round;
        cluster.pass(PATIENCE);
        assert_eq!(cluster.must_write(round), sum);
        cluster.start(leader, log, ledger);
        cluster.assert_alike();
    }
}

#[test]
fn a_follower_that_was_away_for_long_gets_a_snapshot_and_then_the_log() {
    let mut cluster = Cluster::with_small_logs(3);
    let leader = cluster.leader();
    let follower = cluster.nodes.keys().copied().find(|id| *id != leader).unwrap();
    cluster.board.isolate(follower);
    for _ in 0..45 {
        cluster.must_write(1);
    }
    cluster.board.heal();
    cluster.assert_alike();
    let node = &cluster.nodes[&follower];
    assert!(node.ledger.snapshot().is_some(), "the log alone could not bring it back");
    cluster.must_write(1);
    cluster.assert_alike();
    cluster.restart(follower);
    cluster.assert_alike();
    assert_eq!(cluster.nodes[&follower].ledger.state().sum, 46);
}

#[test]
fn an_install_waits_for_a_build_of_the_older_state() {
    let mut cluster = Cluster::with_small_logs(3);
    let leader = cluster.leader();
    cluster.must_write(1);
    let follower = cluster.nodes.keys().copied().find(|id| *id != leader).unwrap();
    cluster.nodes[&follower].ledger.hold_builds(true);
    let raft = cluster.raft(follower);
    let built = cluster.crew.spawn(async move { raft.trigger_snapshot().await });
    cluster.pass(Duration::from_millis(10));
    cluster.board.isolate(follower);
    for _ in 0..45 {
        cluster.must_write(1);
    }
    cluster.board.heal();
    cluster.pass(PATIENCE);
    assert_eq!(cluster.nodes[&follower].ledger.state().sum, 1);
    cluster.nodes[&follower].ledger.hold_builds(false);
    cluster.assert_alike();
    let older = built.take().unwrap().unwrap();
    let newest = cluster.nodes[&follower].ledger.snapshot().unwrap();
    assert!(newest.last.index > older.last.index);
    assert_eq!(cluster.nodes[&follower].raft.metrics().snapshot, newest.last);
}

#[test]
fn entries_that_become_durable_during_an_install_are_not_applied_behind_it() {
    let mut cluster = Cluster::with_small_logs(3);
    let leader = cluster.leader();
    cluster.pass(PATIENCE);
    let follower = cluster.nodes.keys().copied().find(|id| *id != leader).unwrap();
    cluster.nodes[&follower].log.set_mode(WriteMode::Manual);
    for _ in 0..5 {
        let written = cluster.write(leader, 1);
        cluster.pass(Duration::from_millis(10));
        assert!(matches!(written.take(), Some(Ok(_))));
    }
    cluster.board.isolate(follower);
    for _ in 0..45 {
        cluster.must_write(1);
    }
    cluster.board.heal();
    cluster.pass(Duration::from_millis(400));
    let node = &cluster.nodes[&follower];
    assert_eq!(node.ledger.state().sum, 50, "installed, and its log not reset yet");
    let unsynced = node.log.unsynced();
    assert!(unsynced > 1);
    node.log.sync_first(unsynced - 1, |_| 0);
    cluster.pass(Duration::from_millis(10));
    cluster.nodes[&follower].log.set_mode(WriteMode::Immediate);
    cluster.nodes[&follower].log.sync(|_| 0);
    cluster.must_write(1);
    cluster.assert_alike();
}

#[test]
fn a_snapshot_transfer_goes_on_where_it_was_interrupted() {
    let mut cluster = Cluster::with_small_logs(3);
    let leader = cluster.leader();
    let follower = cluster.nodes.keys().copied().find(|id| *id != leader).unwrap();
    cluster.board.isolate(follower);
    for _ in 0..45 {
        cluster.must_write(1);
    }
    let whole = {
        let meta = cluster.nodes[&leader].ledger.snapshot().unwrap();
        let mut ledger = cluster.nodes[&leader].ledger.clone();
        let read = ledger.read_snapshot(&meta, 0, usize::MAX);
        futures_lite::future::block_on(read).unwrap().bytes.len()
    };
    let (_, before) = cluster.board.delivered();
    cluster.board.fail_chunks_every(3);
    cluster.board.heal();
    cluster.assert_alike();
    let (_, after) = cluster.board.delivered();
    let needed = whole.div_ceil(16) as u64;
    assert!(after - before >= needed);
    assert!(after - before <= needed + 2, "{} chunks instead of {needed}", after - before);
}

#[test]
fn leadership_is_handed_over() {
    let mut cluster = Cluster::new(3);
    cluster.must_write(1);
    let old = cluster.leader();
    let target = cluster.nodes.keys().copied().find(|id| *id != old).unwrap();
    let raft = cluster.raft(old);
    let moved = cluster.crew.spawn(async move { raft.transfer_leader(Some(target)).await });
    cluster.pass(Duration::from_millis(500));
    assert_eq!(moved.take(), Some(Ok(target)));
    assert_eq!(cluster.leaders(), [target]);
    cluster.must_write(1);
    cluster.assert_alike();
}

#[test]
fn a_node_joins_as_a_learner_is_promoted_and_leaves() {
    let mut cluster = Cluster::with_small_logs(1);
    for _ in 0..30 {
        cluster.must_write(1);
    }
    for id in [2, 3] {
        let node = NodeId(id);
        cluster.start(node, MemoryLog::default(), Ledger::default());
        let address = format!("node-{id}");
        cluster.change(MembershipChange::AddLearner { node, address }).unwrap();
        cluster.pass(PATIENCE);
        cluster.change(MembershipChange::Promote([node].into())).unwrap();
    }
    cluster.must_write(1);
    cluster.assert_alike();
    let membership = cluster.nodes[&NodeId(3)].raft.metrics().membership;
    assert_eq!(membership.voters, [1, 2, 3].map(NodeId).into());
    assert!(!membership.is_joint());
    assert_eq!(cluster.nodes[&NodeId(2)].ledger.membership_told(), *membership);

    // The leader leaves; the others go on without it.
    let leader = cluster.leader();
    cluster.change(MembershipChange::Remove([leader].into())).unwrap();
    cluster.crash(leader);
    cluster.pass(PATIENCE);
    assert_ne!(cluster.leader(), leader);
    assert_eq!(cluster.must_write(1), 32);
    cluster.assert_alike();
}

#[test]
fn a_full_disk_of_a_follower_stops_nobody_else() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.leader();
    let follower = cluster.nodes.keys().copied().find(|id| *id != leader).unwrap();
    cluster.nodes[&follower].log.set_full(true);
    let written = cluster.write(leader, 0);
    cluster.pass(limits::RAFT_FULL_RETRY_MIN * 4);
    assert!(matches!(written.take(), Some(Ok(_))));
    let (_, refused) = cluster.nodes[&follower].log.writes();
    assert_eq!(refused, 3, "retries do not wait for an election timeout");
    let held = cluster.nodes[&follower].raft.metrics().last_log;
    for _ in 0..20 {
        cluster.must_write(1);
    }
    assert!(cluster.nodes[&follower].raft.metrics().storage_full);
    assert_eq!(cluster.nodes[&follower].ledger.state().sum, 0);
    assert_eq!(cluster.nodes[&follower].raft.metrics().last_log, held, "nothing is hoarded");
    cluster.nodes[&follower].log.set_full(false);
    cluster.pass(Duration::from_secs(10));
    cluster.assert_alike();
    assert_eq!(cluster.nodes[&follower].ledger.state().sum, 20);
}

#[test]
fn a_leader_with_a_full_disk_hands_over() {
    // Trap 70.
    let mut cluster = Cluster::new(3);
    cluster.must_write(1);
    let old = cluster.leader();
    cluster.nodes[&old].log.set_full(true);
    let caught = cluster.write(old, 2);
    cluster.pass(PATIENCE);
    assert_eq!(caught.take(), Some(Err(ClientWriteError::Unknown(Cause::StorageFull))));
    let new = cluster.leader();
    assert_ne!(new, old);
    assert_eq!(
        cluster.must_write(4),
        7,
        "what was caught in the log of the old leader took effect"
    );
    cluster.nodes[&old].log.set_full(false);
    cluster.pass(Duration::from_secs(10));
    cluster.assert_alike();
}

#[test]
fn a_peer_that_hangs_holds_up_nobody() {
    // Trap 44 (openraft#1810).
    let mut cluster = Cluster::new(3);
    let leader = cluster.leader();
    let hung = cluster.nodes.keys().copied().find(|id| *id != leader).unwrap();
    cluster.board.hang(&format!("node-{}", hung.0));
    for _ in 0..300 {
        let written = cluster.write(leader, 1);
        cluster.pass(Duration::from_millis(100));
        assert!(matches!(written.take(), Some(Ok(_))));
    }
    let dropped = cluster.nodes[&leader].raft.metrics().dropped_messages;
    assert!(dropped > 0, "the queue of the hung peer is bounded");
    cluster.change(MembershipChange::Remove([hung].into())).unwrap();
    cluster.must_write(1);
    let raft = cluster.raft(leader);
    cluster.crew.spawn(async move { raft.shutdown().await });
    cluster.crew.run();
    let node = &cluster.nodes[&leader];
    assert_eq!(node.core.take(), Some(Ok(())));
    assert_eq!((node.worker.take(), node.replication.take()), (Some(()), Some(())));
}

#[test]
fn a_member_whose_address_changes_is_reached_at_the_new_one() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.leader();
    let moved = cluster.nodes.keys().copied().find(|id| *id != leader).unwrap();
    cluster.board.hang(&format!("node-{}", moved.0));
    cluster.must_write(1);
    let address = "elsewhere".to_owned();
    cluster.change(MembershipChange::AddLearner { node: moved, address }).unwrap();
    cluster.must_write(1);
    cluster.assert_alike();
    let membership = cluster.nodes[&moved].raft.metrics().membership;
    assert_eq!(membership.addresses[&moved], "elsewhere");
    assert!(membership.is_voter(moved));
}

#[test]
fn a_node_that_elects_with_a_full_disk_piles_up_no_records() {
    let mut cluster = Cluster::new(3);
    cluster.must_write(1);
    for node in cluster.nodes.values() {
        node.log.set_full(true);
    }
    // Everybody restarts with a full disk, and nobody can write down a vote.
    for id in [1, 2, 3] {
        cluster.restart(NodeId(id));
    }
    cluster.pass(Duration::from_secs(60));
    for node in cluster.nodes.values() {
        node.log.set_full(false);
    }
    cluster.pass(Duration::from_secs(10));
    let records: u64 = cluster.nodes.values().map(|node| node.log.writes().0).sum();
    assert!(records < 60, "{records} records");
    assert_eq!(cluster.must_write(1), 2);
    cluster.assert_alike();
}

#[test]
fn unsynced_writes_that_a_crash_loses_were_never_acknowledged() {
    // Traps 1 and 19, with a real RaftCore.
    let mut cluster = Cluster::new(3);
    cluster.must_write(1);
    let leader = cluster.leader();
    for node in cluster.nodes.values() {
        node.log.set_mode(WriteMode::Manual);
    }
    let written = cluster.write(leader, 10);
    cluster.pass(Duration::from_millis(100));
    assert_eq!(written.take(), None);
    for id in [1, 2, 3] {
        cluster.restart(NodeId(id));
    }
    for node in cluster.nodes.values() {
        node.log.set_mode(WriteMode::Immediate);
    }
    cluster.pass(PATIENCE);
    assert_eq!(cluster.must_write(1), 2);
    cluster.assert_alike();
}

#[test]
fn a_snapshot_of_a_leader_that_is_over_is_refused() {
    // Trap 49: no transfer of a stale leader goes on.
    let mut cluster = Cluster::new(3);
    cluster.must_write(1);
    let raft = cluster.raft(NodeId(2));
    let term = raft.metrics().term;
    let meta = SnapshotMeta { last: LogId::default(), ..SnapshotMeta::default() };
    let chunk = SnapshotChunk { bytes: vec![1], last: false };
    let refused = cluster.crew.spawn(async move {
        raft.receive_chunk(NodeId(3), Term(term.0 - 1), meta, 0, chunk).await
    });
    cluster.crew.run();
    assert_eq!(refused.take(), Some(Err(ReceiveChunkError::Stale { term })));
}

#[test]
fn a_piece_of_a_snapshot_that_no_leader_sends_is_not_stored() {
    let mut cluster = Cluster::new(3);
    cluster.must_write(1);
    let leader = cluster.leader();
    let to = NodeId(if leader == NodeId(2) { 1 } else { 2 });
    let raft = cluster.raft(to);
    let before = raft.metrics();
    let id = |term, index| LogId { term: Term(term), index: LogIndex(index) };
    let membership = Membership::clone(&before.membership);
    let meta = |last, membership| SnapshotMeta { last, membership, id: 9 };
    let term = before.term.0;
    let good = || meta(id(term, 9), membership.clone());
    let two_parts = Membership { learners: membership.voters.clone(), ..membership.clone() };
    let cases = [
        (u64::MAX, good(), 1),
        (1 << 62, good(), 1),
        (term + (1 << 40), good(), 1),
        (term, meta(id(term, u64::MAX), membership.clone()), 1),
        (term, meta(id(u64::MAX, 9), membership.clone()), 1),
        (term, meta(id(term + 1, 9), membership.clone()), 1),
        (term, meta(LogId::default(), membership.clone()), 1),
        (term, meta(id(term, 9), Membership::default()), 1),
        (term, meta(id(term, 9), two_parts), 1),
        (term, good(), limits::SNAPSHOT_CHUNK_BYTES_MAX + 1),
    ];
    for (term, meta, bytes) in cases {
        let words = format!("{term} {meta:?} {bytes}");
        let raft = cluster.raft(to);
        let chunk = SnapshotChunk { bytes: vec![1; bytes], last: true };
        let refused = cluster
            .crew
            .spawn(async move { raft.receive_chunk(leader, Term(term), meta, 0, chunk).await });
        cluster.crew.run();
        assert_eq!(refused.take(), Some(Err(ReceiveChunkError::Impossible)), "{words}");
    }
    let after = cluster.raft(to).metrics();
    assert_eq!((after.term, after.last_log), (before.term, before.last_log));
    cluster.must_write(2);
    cluster.restart(to);
    cluster.must_write(3);
    cluster.assert_alike();
}

#[test]
fn what_peers_send_is_bounded_by_bytes_too() {
    let mut cluster = Cluster::default();
    let (id, leader) = (NodeId(9), NodeId(1));
    let wires = cluster.board.wires(id);
    let (log, ledger) = (MemoryLog::default(), Ledger::default());
    let (raft, tasks) =
        Raft::new(cluster.settings(id), log, ledger, wires, cluster.timer.clone()).unwrap();
    let place = |index| LogId { term: Term(1), index: LogIndex(index) };
    // Entries, before RaftCore takes them.
    let bytes = limits::RAFT_RECEIVE_QUEUE_BYTES_MAX / 4;
    let append = |index| {
        let payload = EntryPayload::Command(vec![0; bytes].into());
        let entries = vec![Entry { id: place(index + 1), payload }];
        let (previous, commit_index) = (place(index), LogIndex::ZERO);
        let body = MessageBody::AppendEntries { previous, entries, commit_index };
        raft.receive(leader, Message { term: Term(1), body })
    };
    let taken = (1..=9).take_while(|index| append(*index).is_ok()).count();
    assert_eq!(taken, 3, "a little more than a quarter each");
    let body = MessageBody::Heartbeat { commit_index: LogIndex::ZERO, read: 0 };
    assert!(raft.receive(leader, Message { term: Term(1), body }).is_ok(), "it weighs nothing");
    // Pieces of a snapshot, while the worker is busy with something else.
    let core = cluster.crew.spawn(tasks.core);
    let membership = Membership::of_voters([(leader, "node-1".into())]);
    let meta = SnapshotMeta { last: place(9), membership, id: 9 };
    let waiting: Vec<_> = (0..9)
        .map(|_| {
            let (raft, meta) = (raft.clone(), meta.clone());
            let bytes = vec![1; limits::SNAPSHOT_CHUNK_BYTES_MAX];
            let chunk = SnapshotChunk { bytes, last: false };
            cluster
                .crew
                .spawn(async move { raft.receive_chunk(leader, Term(1), meta, 0, chunk).await })
        })
        .collect();
    cluster.crew.run();
    let busy = waiting.iter().filter(|chunk| chunk.take() == Some(Err(ReceiveChunkError::Busy)));
    let most = limits::RAFT_CHUNKS_BYTES_MAX / limits::SNAPSHOT_CHUNK_BYTES_MAX;
    assert_eq!(busy.count(), 9 - most);
    cluster.crew.kill(&core);
}

#[test]
fn strangers_get_no_more_connections_than_there_may_be_members() {
    let mut cluster = Cluster::new(3);
    cluster.must_write(1);
    let raft = cluster.raft(NodeId(1));
    for stranger in 100..200 {
        let body = MessageBody::Heartbeat { commit_index: LogIndex::ZERO, read: 0 };
        raft.receive(NodeId(stranger), Message { term: Term(0), body }).unwrap();
        cluster.crew.run();
    }
    // Two peers, and no more strangers than members of the largest cluster.
    assert_eq!(cluster.board.connections(NodeId(1)), 2 + limits::MEMBERS_MAX);
    cluster.must_write(1);
    cluster.assert_alike();
}

#[test]
fn a_crash_between_the_install_of_a_snapshot_and_the_reset_of_the_log_is_survived() {
    // Trap 46.
    let mut cluster = Cluster::with_small_logs(3);
    let leader = cluster.leader();
    cluster.must_write(1);
    let follower = cluster.nodes.keys().copied().find(|id| *id != leader).unwrap();
    cluster.board.isolate(follower);
    for _ in 0..45 {
        cluster.must_write(1);
    }
    cluster.nodes[&follower].log.set_mode(WriteMode::Manual);
    cluster.board.heal();
    cluster.pass(Duration::from_millis(400));
    assert_eq!(cluster.nodes[&follower].ledger.state().sum, 46, "installed");
    assert!(cluster.nodes[&follower].log.unsynced() > 0, "and the log not reset");
    cluster.restart(follower);
    assert_eq!(cluster.nodes[&follower].ledger.state().sum, 46);
    cluster.nodes[&follower].log.set_mode(WriteMode::Immediate);
    cluster.must_write(1);
    cluster.assert_alike();
}
