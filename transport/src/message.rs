//! What members say. A wire format in postcard: variants and fields are appended, never reordered;
//! golden bytes are in the tests. The kind of a frame says which of these types is its body.

use nacolet_model::NodeId;
use nacolet_raft::{LogIndex, MembershipChange, SnapshotChunk, SnapshotMeta, Term};
use serde::{Deserialize, Serialize};

/// Distinguishes clusters, so that a member never obeys another one's leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClusterId(pub u64);

/// What the body of a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// [`Introduction`]: the first frame of a link.
    Introduction = 0,
    /// [`nacolet_raft::Message`].
    Raft = 1,
    /// A number and a [`Call`].
    Call = 2,
    /// The number of a call and its [`Reply`].
    Reply = 3,
    /// [`nacolet_registry::Message`].
    Distro = 4,
}

impl Kind {
    /// The kind with this number; none when a newer version invented it.
    #[must_use]
    pub const fn of(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Introduction),
            1 => Some(Self::Raft),
            2 => Some(Self::Call),
            3 => Some(Self::Reply),
            4 => Some(Self::Distro),
            _ => None,
        }
    }
}

/// Where the caller itself can be called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introduction {
    /// Its address, as it stands in the membership.
    pub address: String,
}

/// A piece of a Raft snapshot, see `RaftNetwork::send_chunk`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The leader's term.
    pub term: Term,
    /// Which snapshot.
    pub meta: SnapshotMeta,
    /// Where in it.
    pub offset: u64,
    /// The bytes.
    pub chunk: SnapshotChunk,
}

/// What is asked of a peer and answered on the same link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// Store this piece of a snapshot: [`Reply::Held`].
    Chunk(Box<Chunk>),
    /// Propose this command, which is opaque here: [`Reply::Written`]. Never forwarded again.
    Write(#[serde(with = "byte_string")] Vec<u8>),
    /// Confirm the leadership for a linearizable read: [`Reply::Index`].
    ReadIndex,
    /// Make the caller a learner at this address: [`Reply::Joined`]. The one call of a guest.
    Join {
        /// Where the caller listens.
        address: String,
        /// It stays a learner.
        learner: bool,
    },
    /// The caller is a member and listens at this address now: [`Reply::Done`].
    Announce {
        /// Where the caller listens.
        address: String,
        /// End of its log: less than it once acknowledged means an older data directory.
        last: LogIndex,
    },
    /// The caller is a learner that wants to vote: [`Reply::Done`].
    Promote,
    /// An operator changes the membership: [`Reply::Done`].
    Change(MembershipChange),
    /// An operator hands leadership over: [`Reply::Leader`].
    Transfer(Option<NodeId>),
    /// What the leader knows of the others: [`Reply::Progress`].
    Progress,
    /// The digest of the state after this entry: [`Reply::StateDigest`].
    StateDigest(LogIndex),
    /// How many gRPC connections there are: [`Reply::Connections`].
    Connections,
    /// Keep so many gRPC connections and send the rest to this member: [`Reply::Done`].
    Shift {
        /// How many stay.
        keep: u64,
        /// Where the rest goes.
        target: NodeId,
    },
    /// Let the caller found a cluster of these nodes, which all are new: [`Reply::Done`]. A guest
    /// asks guests.
    Found {
        /// All of them.
        nodes: Vec<NodeId>,
    },
    /// Who is connected, subscribes or listens, opaque here: [`Reply::Found`].
    Who(#[serde(with = "byte_string")] Vec<u8>),
}

/// Answer to a [`Call`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// As asked.
    Done,
    /// So many bytes of the snapshot are here.
    Held(u64),
    /// What the state machine answered, opaque here, and an index at which it is applied.
    Written {
        /// The answer.
        #[serde(with = "byte_string")]
        answer: Vec<u8>,
        /// Whoever has applied this sees the write.
        applied: LogIndex,
    },
    /// Whoever has applied this sees every acknowledged write.
    Index(LogIndex),
    /// The caller is a learner of this cluster.
    Joined(ClusterId),
    /// This node leads now.
    Leader(NodeId),
    /// One line for each follower.
    Progress(Vec<Progress>),
    /// Nothing happened: this node does not lead.
    NotLeader {
        /// Who does, and where it listens, as far as it is known.
        leader: Option<(NodeId, String)>,
    },
    /// Nothing happened, and nothing will: for people to read.
    Refused(String),
    /// Nothing happened; later it may.
    Busy,
    /// It may have happened or may still happen.
    Unknown,
    /// None: not that far yet, or no longer known.
    StateDigest(Option<StateDigest>),
    /// So many gRPC connections.
    Connections(u64),
    /// Who was found, opaque here and bounded.
    Found(#[serde(with = "byte_string")] Vec<u8>),
}

/// What a member has applied, in short: members with different ones have gone apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StateDigest {
    /// Hash chained over every command of the configuration centre.
    pub configs: u64,
    /// The same of what the registry replicates by Raft.
    pub services: u64,
    /// CRC-32 of the locks that are held.
    pub locks: u32,
    /// CRC-32 of users, roles, permissions and the key of the tokens.
    pub users: u32,
}

/// What a leader knows of one follower.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Which one.
    pub node: NodeId,
    /// Known to match the leader's log and to be durable there.
    pub match_index: LogIndex,
    /// How it is being fed.
    pub state: FollowerState,
}

/// How a follower is being fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FollowerState {
    /// It did not answer lately.
    Unreachable,
    /// The leader looks for the last matching entry.
    Probe,
    /// Entries are streaming.
    Replicate,
    /// A snapshot is on its way.
    Snapshot,
}

/// Bytes as one byte string: serde would walk them element by element.
mod byte_string {
    use std::fmt;

    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    #[expect(clippy::ptr_arg, reason = "serde hands over the field as it is")]
    pub(super) fn serialize<S: Serializer>(bytes: &Vec<u8>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        from.deserialize_byte_buf(ByteString)
    }

    struct ByteString;

    impl Visitor<'_> for ByteString {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a byte string")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use nacolet_model::Prng;
    use nacolet_raft::testing::withstand;
    use serde::de::DeserializeOwned;

    use super::*;

    /// These bytes are what other versions of the program send.
    fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, expected: &[u8]) {
        let bytes = postcard::to_allocvec(value).unwrap();
        assert_eq!(bytes, expected, "{value:?}");
        assert_eq!(postcard::from_bytes::<T>(&bytes).unwrap(), *value);
    }

    #[test]
    fn calls_have_golden_bytes() {
        let chunk = Chunk {
            term: Term(3),
            meta: SnapshotMeta { id: 9, ..SnapshotMeta::default() },
            offset: 300,
            chunk: SnapshotChunk { bytes: vec![7, 255], last: true },
        };
        let golden = [0, 3, 0, 0, 0, 0, 0, 0, 0, 9, 172, 2, 2, 7, 255, 1];
        check(&Call::Chunk(Box::new(chunk)), &golden);
        check(&Call::Write(vec![1, 2, 200]), &[1, 3, 1, 2, 200]);
        check(&Call::ReadIndex, &[2]);
        check(&Call::Join { address: "a".into(), learner: true }, &[3, 1, b'a', 1]);
        check(&Call::Announce { address: "a".into(), last: LogIndex(5) }, &[4, 1, b'a', 5]);
        check(&Call::Promote, &[5]);
        check(&Call::Change(MembershipChange::Remove([NodeId(4)].into())), &[6, 3, 1, 4]);
        check(&Call::Transfer(Some(NodeId(4))), &[7, 1, 4]);
        check(&Call::Progress, &[8]);
        check(&Call::StateDigest(LogIndex(300)), &[9, 172, 2]);
        check(&Call::Connections, &[10]);
        check(&Call::Shift { keep: 300, target: NodeId(4) }, &[11, 172, 2, 4]);
        check(&Call::Found { nodes: vec![NodeId(4), NodeId(300)] }, &[12, 2, 4, 172, 2]);
        check(&Call::Who(vec![1, 200]), &[13, 2, 1, 200]);
    }

    #[test]
    fn replies_have_golden_bytes() {
        check(&Reply::Done, &[0]);
        check(&Reply::Held(300), &[1, 172, 2]);
        let written = Reply::Written { answer: vec![9, 200], applied: LogIndex(4) };
        check(&written, &[2, 2, 9, 200, 4]);
        check(&Reply::Index(LogIndex(4)), &[3, 4]);
        check(&Reply::Joined(ClusterId(6)), &[4, 6]);
        check(&Reply::Leader(NodeId(2)), &[5, 2]);
        let state = FollowerState::Replicate;
        let progress = Progress { node: NodeId(2), match_index: LogIndex(9), state };
        check(&Reply::Progress(vec![progress]), &[6, 1, 2, 9, 2]);
        check(&Reply::NotLeader { leader: Some((NodeId(1), "b".into())) }, &[7, 1, 1, 1, b'b']);
        check(&Reply::Refused("no".into()), &[8, 2, b'n', b'o']);
        check(&Reply::Busy, &[9]);
        check(&Reply::Unknown, &[10]);
        check(&Reply::StateDigest(None), &[11, 0]);
        let digest = StateDigest { configs: 300, services: 1, locks: 2, users: 3 };
        check(&Reply::StateDigest(Some(digest)), &[11, 1, 172, 2, 1, 2, 3]);
        check(&Reply::Connections(300), &[12, 172, 2]);
        check(&Reply::Found(vec![1, 200]), &[13, 2, 1, 200]);
        check(&Introduction { address: "c".into() }, &[1, b'c']);
    }

    #[test]
    fn random_bytes_are_a_message_or_an_error() {
        fn survive<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
            if let Ok(value) = postcard::from_bytes::<T>(bytes) {
                let again = postcard::to_allocvec(&value).unwrap();
                assert_eq!(postcard::from_bytes::<T>(&again).unwrap(), value);
            }
        }
        let mut prng = Prng::new(11);
        for _ in 0..20_000 {
            let length = prng.index(48);
            let bytes: Vec<u8> =
                (0..length).map(|_| u8::try_from(prng.below(256)).unwrap()).collect();
            survive::<(u64, Call)>(&bytes);
            survive::<(u64, Reply)>(&bytes);
            survive::<Introduction>(&bytes);
        }
    }

    #[test]
    fn bent_messages_are_another_one_or_an_error() {
        const ROUNDS: usize = 20_000;
        fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(values: &[T]) {
            let refused = withstand(values, ROUNDS);
            assert!((ROUNDS / 20..ROUNDS * 19 / 20).contains(&refused), "{refused} refused");
        }
        let (term, offset, meta) = (Term(3), 300, SnapshotMeta::default());
        let chunk = SnapshotChunk { bytes: vec![0x80; 200], last: true };
        let chunk = Box::new(Chunk { term, meta, offset, chunk });
        let change = MembershipChange::SetVoters([NodeId(4), NodeId(u64::MAX)].into());
        let address = || "10.0.0.7:7848".to_owned();
        let call = |call: Call| (u64::MAX, call);
        check(&[
            call(Call::Chunk(chunk)),
            call(Call::Write(vec![1, 2, 200])),
            call(Call::ReadIndex),
            call(Call::Join { address: address(), learner: true }),
            call(Call::Announce { address: address(), last: LogIndex(300) }),
            call(Call::Change(change)),
            call(Call::Transfer(Some(NodeId(4)))),
        ]);
        let (node, match_index, state) = (NodeId(2), LogIndex(300), FollowerState::Replicate);
        let reply = |reply: Reply| (300_u64, reply);
        check(&[
            reply(Reply::Held(300)),
            reply(Reply::Written { answer: vec![9, 200], applied: LogIndex(4) }),
            reply(Reply::Joined(ClusterId(u64::MAX))),
            reply(Reply::Progress(vec![Progress { node, match_index, state }; 3])),
            reply(Reply::NotLeader { leader: Some((NodeId(1), address())) }),
            reply(Reply::Refused("no".into())),
            reply(Reply::Unknown),
        ]);
        check(&[Introduction { address: address() }, Introduction { address: String::new() }]);
    }

    #[test]
    fn a_length_that_is_not_there_costs_nothing() {
        let huge = [1, 255, 255, 255, 255, 15];
        assert!(postcard::from_bytes::<Call>(&huge).is_err());
    }

    #[test]
    fn kinds_keep_their_numbers() {
        for kind in [Kind::Introduction, Kind::Raft, Kind::Call, Kind::Reply, Kind::Distro] {
            assert_eq!(Kind::of(kind as u8), Some(kind));
        }
        assert_eq!(Kind::Distro as u8, 4);
        assert_eq!(Kind::of(5), None);
    }
}
