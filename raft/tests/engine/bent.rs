//! Whatever bytes arrive from a disk or a peer: they are a value, the same when it is written and
//! read again, or an error.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use nacolet_model::NodeId;
use nacolet_raft::engine::{AppendResult, MessageBody};
use nacolet_raft::testing::withstand;
use nacolet_raft::{
    Entry, EntryPayload, HardState, LogId, LogIndex, Membership, MembershipChange, Message,
    SnapshotChunk, SnapshotMeta, Term,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::rig::log_id;

const ROUNDS: usize = 20_000;

/// Some bent bytes are refused and some are another value.
fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(values: &[T]) {
    let refused = withstand(values, ROUNDS);
    assert!((ROUNDS / 20..ROUNDS * 19 / 20).contains(&refused), "{refused} refused");
}

fn nodes(ids: &[u64]) -> BTreeSet<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn last() -> LogId {
    log_id(300, 70_000)
}

fn a_membership() -> Membership {
    Membership {
        voters: nodes(&[1, 2, 300]),
        outgoing: nodes(&[1, 2, u64::MAX]),
        learners: nodes(&[4]),
        learners_next: nodes(&[u64::MAX]),
        addresses: BTreeMap::from([(NodeId(1), "10.0.0.7:7848".into()), (NodeId(4), "ä".into())]),
    }
}

fn entries() -> Vec<Entry> {
    let payloads = [
        EntryPayload::Blank,
        EntryPayload::Command(Arc::from([])),
        EntryPayload::Command(Arc::from([0x80; 200])),
        EntryPayload::Membership(Box::default()),
        EntryPayload::Membership(Box::new(a_membership())),
    ];
    payloads.into_iter().map(|payload| Entry { id: last(), payload }).collect()
}

fn messages() -> Vec<Message> {
    let commit_index = LogIndex(128);
    let conflict = AppendResult::Conflict { rejected: LogIndex(129), hint: last() };
    let bodies = [
        MessageBody::RequestPreVote { last: last() },
        MessageBody::PreVoteReply { granted: true },
        MessageBody::RequestVote { last: last(), transfer: true },
        MessageBody::VoteReply { granted: false },
        MessageBody::AppendEntries { previous: last(), entries: entries(), commit_index },
        MessageBody::AppendEntries { previous: last(), entries: Vec::new(), commit_index },
        MessageBody::AppendEntriesReply { result: AppendResult::Matched(LogIndex(u64::MAX)) },
        MessageBody::AppendEntriesReply { result: conflict },
        MessageBody::Heartbeat { commit_index, read: 7 },
        MessageBody::HeartbeatReply { read: u64::MAX },
        MessageBody::TimeoutNow,
        MessageBody::SnapshotReply { last: last() },
        MessageBody::Committed { last: last() },
    ];
    bodies.into_iter().map(|body| Message { term: Term(1 << 40), body }).collect()
}

#[test]
fn bent_messages_and_entries_are_another_one_or_an_error() {
    check(&messages());
    check(&entries());
}

#[test]
fn bent_states_and_memberships_are_another_one_or_an_error() {
    let (term, commit_index) = (Term(300), LogIndex(70_000));
    let state = |voted_for| HardState { term, voted_for, commit_index };
    check(&[HardState::default(), state(None), state(Some(NodeId(9)))]);
    check(&[Membership::default(), a_membership()]);
    check(&[
        MembershipChange::AddLearner { node: NodeId(300), address: "10.0.0.7:7848".into() },
        MembershipChange::Promote(nodes(&[1])),
        MembershipChange::SetVoters(nodes(&[1, 2, 300])),
        MembershipChange::Remove(BTreeSet::new()),
    ]);
}

#[test]
fn bent_snapshots_are_another_one_or_an_error() {
    let meta = SnapshotMeta { last: last(), membership: a_membership(), id: u64::MAX };
    check(&[SnapshotMeta::default(), meta]);
    let bytes = (0..200).collect();
    check(&[SnapshotChunk { bytes: Vec::new(), last: true }, SnapshotChunk { bytes, last: false }]);
}
