//! What members say to each other (Raft paper, figures 2 and 13). A wire format in postcard: append
//! variants and fields, never reorder; golden bytes are in the tests.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::log::entry_bytes;
use crate::types::{Entry, LogId, LogIndex, Term};

/// A message and the term of its sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The sender's term; for a pre-vote the term it would campaign in.
    pub term: Term,
    /// What it says.
    pub body: MessageBody,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MessageBody {
    /// Would you vote for me? Changes no term and no vote (Raft dissertation §9.6).
    RequestPreVote {
        /// End of the sender's log.
        last: LogId,
    },
    /// Answer to `RequestPreVote`. Granted: `term` is the one asked for; refused: the voter's own.
    PreVoteReply {
        /// Whether a vote would be given.
        granted: bool,
    },
    /// Vote for me.
    RequestVote {
        /// End of the sender's log.
        last: LogId,
        /// Sent by order of the leader: the lease does not protect it (leadership transfer).
        transfer: bool,
    },
    /// Answer to `RequestVote`.
    VoteReply {
        /// Whether the vote was given.
        granted: bool,
    },
    /// Replicates entries. Without entries it probes or moves the commit index.
    AppendEntries {
        /// The entry right before `entries`.
        previous: LogId,
        /// Consecutive entries.
        entries: Vec<Entry>,
        /// The leader's commit index.
        commit_index: LogIndex,
    },
    /// Answer to `AppendEntries`.
    AppendEntriesReply {
        /// What became of it.
        result: AppendResult,
    },
    /// Keeps followers from campaigning and moves their commit index, capped at what is known to
    /// match. Never carries entries and never waits for a disk.
    Heartbeat {
        /// No more than the follower's match index.
        commit_index: LogIndex,
        /// Position of the newest linearizable read to be confirmed; 0 when there is none.
        read: u64,
    },
    /// Answer to `Heartbeat`.
    HeartbeatReply {
        /// The `read` it confirms.
        read: u64,
    },
    /// Campaign now, without pre-vote (leadership transfer).
    TimeoutNow,
    /// A whole snapshot that ends at `last` is installed, so replication can go on behind it.
    SnapshotReply {
        /// End of what the follower now holds durably.
        last: LogId,
    },
    /// To a refused candidate: this entry is committed, and so is everything before it. True in
    /// every term. It frees a candidate that waits for the vote of a member that was removed and
    /// knows it, while the candidate does not.
    Committed {
        /// The last entry that the sender knows to be committed.
        last: LogId,
    },
}

impl Message {
    /// What the entries in it cost in memory, bytes.
    pub(crate) fn entries_bytes(&self) -> usize {
        let MessageBody::AppendEntries { entries, .. } = &self.body else { return 0 };
        entries.iter().map(entry_bytes).sum()
    }

    /// Whether an honest peer can have sent it, as far as it alone tells: every term and index is
    /// one, and every entry can be written and applied.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        let body = match &self.body {
            MessageBody::RequestPreVote { last }
            | MessageBody::RequestVote { last, .. }
            | MessageBody::SnapshotReply { last }
            | MessageBody::Committed { last } => last.is_valid(),
            MessageBody::AppendEntries { previous, entries, commit_index } => {
                previous.is_valid()
                    && commit_index.is_valid()
                    && entries.iter().all(Entry::is_possible)
            }
            MessageBody::AppendEntriesReply { result: AppendResult::Matched(index) }
            | MessageBody::Heartbeat { commit_index: index, .. } => index.is_valid(),
            MessageBody::AppendEntriesReply {
                result: AppendResult::Conflict { rejected, hint },
            } => rejected.is_valid() && hint.is_valid(),
            MessageBody::PreVoteReply { .. }
            | MessageBody::VoteReply { .. }
            | MessageBody::HeartbeatReply { .. }
            | MessageBody::TimeoutNow => true,
        };
        body && self.term.is_valid()
    }
}

/// What became of an `AppendEntries`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppendResult {
    /// Everything up to here matches the leader's log and is durable.
    Matched(LogIndex),
    /// The previous entry did not match.
    Conflict {
        /// `previous.index` of the refused message.
        rejected: LogIndex,
        /// Highest position that may match, found by the follower (fast back-off).
        hint: LogId,
    },
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use nacolet_model::Prng;

    use super::*;
    use crate::types::EntryPayload;

    const LAST: LogId = LogId { term: Term(3), index: LogIndex(200) };

    /// These bytes are what other versions of the program send.
    fn check(body: MessageBody, expected: &[u8]) {
        let message = Message { term: Term(5), body };
        let bytes = postcard::to_allocvec(&message).unwrap();
        assert_eq!(bytes, expected, "{message:?}");
        assert_eq!(postcard::from_bytes::<Message>(&bytes).unwrap(), message);
    }

    #[test]
    fn messages_have_golden_bytes() {
        check(MessageBody::RequestPreVote { last: LAST }, &[5, 0, 3, 200, 1]);
        check(MessageBody::PreVoteReply { granted: true }, &[5, 1, 1]);
        check(MessageBody::RequestVote { last: LAST, transfer: true }, &[5, 2, 3, 200, 1, 1]);
        check(MessageBody::VoteReply { granted: false }, &[5, 3, 0]);
        let entry = Entry { id: LAST, payload: EntryPayload::Blank };
        let commit_index = LogIndex(7);
        let append =
            MessageBody::AppendEntries { previous: LAST, entries: vec![entry], commit_index };
        check(append, &[5, 4, 3, 200, 1, 1, 3, 200, 1, 0, 7]);
        let matched = AppendResult::Matched(LogIndex(9));
        check(MessageBody::AppendEntriesReply { result: matched }, &[5, 5, 0, 9]);
        let conflict = AppendResult::Conflict { rejected: LogIndex(9), hint: LAST };
        check(MessageBody::AppendEntriesReply { result: conflict }, &[5, 5, 1, 9, 3, 200, 1]);
        check(MessageBody::Heartbeat { commit_index, read: 1 }, &[5, 6, 7, 1]);
        check(MessageBody::HeartbeatReply { read: 1 }, &[5, 7, 1]);
        check(MessageBody::TimeoutNow, &[5, 8]);
        check(MessageBody::SnapshotReply { last: LAST }, &[5, 9, 3, 200, 1]);
        check(MessageBody::Committed { last: LAST }, &[5, 10, 3, 200, 1]);
    }

    #[test]
    fn random_bytes_are_a_message_or_an_error() {
        let mut prng = Prng::new(74);
        for _ in 0..50_000 {
            let length = prng.index(40);
            let bytes: Vec<u8> =
                (0..length).map(|_| u8::try_from(prng.below(256)).unwrap()).collect();
            if let Ok(message) = postcard::from_bytes::<Message>(&bytes) {
                let again = postcard::to_allocvec(&message).unwrap();
                assert_eq!(postcard::from_bytes::<Message>(&again).unwrap(), message);
            }
        }
    }
}
