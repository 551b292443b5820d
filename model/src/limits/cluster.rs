//! Bounds of what members are to each other: Raft, the log and snapshots on disk, the links between
//! them.

use core::time::Duration;

use super::server::CONTENT_BYTES_MAX;

// ---- Raft ----

/// Messages that RaftCore takes in one turn; one fsync serves them all.
pub const RAFT_TURN_MESSAGES_MAX: usize = 256;
/// Slots of the RaftMsg channel. Beyond: the handle answers `Overloaded`.
pub const RAFT_QUEUE_MAX: usize = 1_024;
/// Bytes of commands in that channel; one goes alone. Same answer.
pub const RAFT_QUEUE_BYTES_MAX: usize = RAFT_UNCOMMITTED_BYTES_MAX;
/// Uncommitted bytes a leader holds. Beyond: proposals are refused.
pub const RAFT_UNCOMMITTED_BYTES_MAX: usize = 16 << 20;
/// Entries of one AppendEntries message.
pub const RAFT_APPEND_ENTRIES_MAX: usize = 256;
/// Bytes of one AppendEntries message; one entry may be larger alone.
pub const RAFT_APPEND_BYTES_MAX: usize = 1 << 20;
/// AppendEntries messages in flight to one follower.
pub const RAFT_INFLIGHT_MAX: usize = 64;
/// Bytes of them; the message that reaches it is the last for now.
pub const RAFT_INFLIGHT_BYTES_MAX: usize = 8 << 20;
/// Callers of each kind that wait at a node: reads for an index to be applied, watchers of its
/// metrics, and those who asked for a Raft snapshot. More are refused.
pub const RAFT_WAITERS_MAX: usize = 1_024;
/// Entries that a state machine is given to apply at once: some milliseconds, in which heartbeats
/// wait. A restart has hundreds of thousands.
pub const RAFT_APPLY_ENTRIES_MAX: usize = 1_024;
/// The same, bytes; one entry may be larger.
pub const RAFT_APPLY_BYTES_MAX: usize = 4 << 20;
/// Entries of the log tail kept in memory behind the applied index.
pub const RAFT_TAIL_ENTRIES_MAX: usize = 1_024;
/// Bytes of the log tail kept in memory behind the applied index.
pub const RAFT_TAIL_BYTES_MAX: usize = 1 << 20;
/// Entries of the tail kept while a follower is fed a Raft snapshot, so that it can go on behind
/// it. Beyond: the follower gets another snapshot.
pub const RAFT_HELD_TAIL_ENTRIES_MAX: usize = 16 * RAFT_TAIL_ENTRIES_MAX;
/// Bytes of that tail.
pub const RAFT_HELD_TAIL_BYTES_MAX: usize = 8 * RAFT_TAIL_BYTES_MAX;
/// Entries a learner may be behind when it becomes a voter: one message. Beyond: refused.
pub const RAFT_PROMOTE_LAG_MAX: u64 = 256;
/// Applied entries after which a Raft snapshot is taken.
pub const RAFT_SNAPSHOT_EVERY_ENTRIES: u64 = 10_000;
/// Applied bytes after which a Raft snapshot is taken, so that the log on disk stays small too.
pub const RAFT_SNAPSHOT_EVERY_BYTES: u64 = 8 << 20;
/// One chunk of a Raft snapshot, bytes (reliability).
pub const SNAPSHOT_CHUNK_BYTES_MAX: usize = 256 << 10;
/// Slots of the queue of messages from peers, allocated at start: 26 KB. Beyond: the message is
/// dropped, as messages may be.
pub const RAFT_RECEIVE_QUEUE_MAX: usize = 256;
/// Bytes of entries and chunks in that queue: a window of one leader. One goes alone. Same answer.
pub const RAFT_RECEIVE_QUEUE_BYTES_MAX: usize = 2 * RAFT_INFLIGHT_BYTES_MAX;
/// Bytes of entries in the queue to one peer. Beyond: the oldest gives way.
pub const RAFT_SEND_QUEUE_BYTES_MAX: usize = 2 * RAFT_INFLIGHT_BYTES_MAX;
/// Bytes of snapshot chunks that wait for the state machine while it installs one: as many as fit.
/// Beyond: the sender is told to come again.
pub const RAFT_CHUNKS_BYTES_MAX: usize = 4 * SNAPSHOT_CHUNK_BYTES_MAX;
/// First pause before a record that a full disk refused is written again; doubles up to the next.
pub const RAFT_FULL_RETRY_MIN: Duration = Duration::from_millis(100);
/// Longest pause before a record that a full disk refused is written again.
pub const RAFT_FULL_RETRY_MAX: Duration = Duration::from_secs(5);
/// Attempts for one snapshot chunk before the transfer is given up; the engine orders another one.
pub const RAFT_CHUNK_ATTEMPTS_MAX: u32 = 5;
/// Pause between two attempts for one snapshot chunk.
pub const RAFT_CHUNK_RETRY: Duration = Duration::from_millis(200);
/// Linearizable reads waiting for a confirmation.
pub const RAFT_READS_MAX: usize = 1_024;
/// Times by which an election timeout grows while candidacies bring no leader: 9.6 s at most.
pub const RAFT_ELECTION_GROWTH_MAX: u32 = 8;
/// Highest term, and so far below the end of the type that one more is always a number: an election
/// in every nanosecond reaches it in 146 years. Beyond: a message is dropped, a data directory
/// refused, and nobody campaigns.
pub const RAFT_TERM_MAX: u64 = (1 << 62) - 1;
/// Highest log index, for the same reason. Beyond: the same, and proposals are refused.
pub const RAFT_INDEX_MAX: u64 = (1 << 62) - 1;
/// How many terms a message may be ahead and still be believed. A term grows by one with an
/// election, which takes 600 ms at least: so many are eleven hours of nothing else. Beyond:
/// dropped; and a member that has no leader goes this far towards it, so that one that slept
/// through more elections (a new one, an old backup) gets there with some heartbeats, from any term
/// to any other. Whoever has the key and lies needs 2^46 messages to get a term to its end: 22
/// years with 100,000 a second.
pub const RAFT_TERM_AHEAD_MAX: u64 = 1 << 16;
/// Heartbeat rounds that a leader remembers for its lease. More than fit into an election timeout.
pub const RAFT_ROUNDS_MAX: usize = 64;
/// Members of a cluster, learners included.
pub const MEMBERS_MAX: usize = 16;
/// Raft messages handed to the link of a peer and not yet written. Few: behind them, each
/// ReplicationCore has a queue of its own that forgets the oldest.
pub const LINK_RAFT_MESSAGES_MAX: usize = 16;
/// Snapshot chunks on their way to a link: each waits for its answer before the next is read.
pub const LINK_CHUNKS_MAX: usize = 2;
/// Refusals in a row after which a node that wants to join gives up. One may have a cause that
/// passes: the old connection of a member that just moved.
pub const JOIN_REFUSALS_MAX: u32 = 8;
/// Members asked in one attempt to find the leader.
pub const JOIN_ASKED_MAX: usize = 32;
/// A new node that let another one found the cluster lets nobody else do so for that long: time
/// enough for the founder to begin and to be met as a member.
pub const CONSENT_TIME: Duration = Duration::from_secs(30);
/// Lives of one member that its peers remember as over.
pub const FORMER_LIVES_MAX: usize = 4;
/// Largest command, bytes: the largest content and its fields.
pub const COMMAND_BYTES_MAX: usize = CONTENT_BYTES_MAX + (1 << 20);

// ---- storage ----

/// Tries to lock the data directory, 25 ms apart. Beyond: another process is said to use it.
pub const LOCK_TRIES: usize = 40;
/// raft-engine file size, bytes: small, so that an SD card is not filled by preallocation.
pub const LOG_FILE_BYTES: u64 = 1 << 20;
/// raft-engine size from which old files are purged, bytes.
pub const LOG_PURGE_BYTES: u64 = 4 << 20;
/// A write to disk that takes longer than this is told in the log.
pub const SLOW_SYNC: Duration = Duration::from_secs(1);
/// Slow writes to disk are told once in this time.
pub const SLOW_SYNC_TOLD_EVERY: Duration = Duration::from_secs(60);
/// A disk with less room than this is nearly full: log files, a snapshot and its successor.
pub const DISK_LOW_BYTES: u64 = 16 << 20;
/// Batches waiting for the log thread. RaftCore stops taking messages while it is full.
pub const LOG_QUEUE_MAX: usize = 64;
/// Bytes from which the log thread starts another engine batch. A single entry may be larger; both
/// together stay under 16 MiB, where the engine's batch header ends on 32-bit machines.
pub const LOG_BATCH_BYTES_MAX: usize = 2 << 20;
/// Free space that must remain after a command beside that of the next Raft snapshot, bytes, so
/// that what frees space still finds room. Beyond: the command is refused before it is proposed.
pub const DISK_FREE_BYTES_MIN: u64 = 2 << 20;
/// Free space that must remain after an append, bytes, once the reserve is used: what frees space
/// takes what is above it, and so does what is agreed. Beyond: a command is refused, and an append
/// is refused with nothing kept and tried again later.
pub const DISK_LAST_BYTES: u64 = 512 << 10;
/// An append that was refused so often for the sake of the next Raft snapshot may take half of its
/// room: a member that cannot follow is sent a snapshot once it is much behind, and so much it
/// takes to get there.
pub const DISK_REFUSALS_MAX: u32 = 3;
/// Free space that a Raft snapshot leaves, bytes, once the reserve is used, so that votes and
/// purging still find room. Beyond: it is given up, and the old one stays.
pub const DISK_SNAPSHOT_LEAVES_BYTES: u64 = 128 << 10;
/// Size of the file that may be deleted when there is no space left, bytes; it is put back when
/// there is (docs/reliability.md, "The disk").
pub const RESERVE_BYTES: usize = 1 << 20;
/// A node whose disk is full, or nearly, looks so often for something to compact.
pub const DISK_COMPACT_EVERY: Duration = Duration::from_secs(5);
/// Longest pause after it found no room for a Raft snapshot; it doubles up to that.
pub const DISK_COMPACT_EVERY_MAX: Duration = Duration::from_secs(60);
/// It compacts when something was removed, or its log has grown by so much since the last Raft
/// snapshot, bytes.
pub const DISK_COMPACT_BYTES: u64 = 1 << 20;
/// Largest small durable record (identity, clock ceiling), bytes. Beyond: refused.
pub const SMALL_RECORD_BYTES_MAX: usize = 64 << 10;
/// Largest block of a Raft snapshot file, bytes: the largest command and its neighbours. Beyond:
/// the writer refuses and a reader calls the file damaged.
pub const SNAPSHOT_BLOCK_BYTES_MAX: usize = 16 << 20;

const _: () = assert!(LOG_BATCH_BYTES_MAX + COMMAND_BYTES_MAX + (1 << 20) < 16 << 20);
const _: () = assert!(COMMAND_BYTES_MAX < SNAPSHOT_BLOCK_BYTES_MAX);
const _: () = assert!(LOG_FILE_BYTES <= LOG_PURGE_BYTES);
const _: () = assert!(DISK_SNAPSHOT_LEAVES_BYTES < DISK_LAST_BYTES);
const _: () = assert!(DISK_LAST_BYTES < DISK_FREE_BYTES_MIN);

// ---- peers (reliability) ----

/// Peer frame before authentication, bytes.
pub const PEER_HELLO_BYTES_MAX: usize = 64;
/// Peer frame after authentication, bytes. An entry above it travels alone in a larger frame.
pub const PEER_FRAME_BYTES_MAX: usize = COMMAND_BYTES_MAX + (1 << 20);
/// Frames waiting per peer and kind of traffic. Beyond: the oldest of a kind that repeats is
/// dropped.
pub const PEER_QUEUE_MAX: usize = 256;
/// Distro messages that wait for one peer. Beyond: not sent, the registry is told and repairs.
pub const DISTRO_QUEUE_MAX: usize = 256;
/// Their bytes; a larger message goes alone. Same answer.
pub const DISTRO_QUEUE_BYTES_MAX: usize = 4 << 20;
/// Log entries between two digests of the state that members compare (docs/reliability.md,
/// "Checkers").
pub const STATE_DIGEST_EVERY: u64 = 1_000;
/// Digests that a member remembers for others that are behind or ahead: those of some seconds of
/// the heaviest load.
pub const STATE_DIGESTS_KEPT: usize = 64;
/// Times that others are asked for one.
pub const STATE_DIGEST_ATTEMPTS: usize = 5;
/// Before each time.
pub const STATE_DIGEST_PAUSE: Duration = Duration::from_secs(1);
/// Distro messages from all peers that wait for the core thread. Beyond: dropped and counted; the
/// digests find what is missing.
pub const DISTRO_INBOX_MAX: usize = 1_024;
/// Their bytes as they came; same answer.
pub const DISTRO_INBOX_BYTES_MAX: usize = 8 << 20;
/// Incoming peer connections. Beyond: the newest is closed.
pub const PEER_CONNECTIONS_MAX: usize = 16;
/// Incoming peer connections from addresses of no known peer that have not proved yet that they
/// hold the cluster key. Beyond: the oldest that has said nothing is closed, or else the oldest, so
/// that strangers cannot keep the place of one that joins.
pub const PEER_HANDSHAKES_MAX: usize = 8;
/// The same from each address of a known peer, which shares no place with others: as many members
/// as may call from one host at a time. Same answer.
pub const PEER_HANDSHAKES_KNOWN_MAX: usize = 4;
/// A stranger that says nothing for this long is no member: those speak first, and at once. Beyond:
/// close.
pub const PEER_SILENCE_TIMEOUT: Duration = Duration::from_secs(1);
/// Time for a handshake, both to call and to be called. Beyond: close.
pub const PEER_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// The address of a peer in the membership is tried for so long before the one at which it was met
/// last is tried beside it.
pub const PEER_HEAD_START: Duration = Duration::from_millis(200);
/// A peer that takes none of what is sent to it for this long is not there any more: longer than an
/// election timeout, shorter than a client's patience. Beyond: close, and connect anew.
pub const PEER_STALL_TIMEOUT: Duration = Duration::from_secs(3);
/// First pause before a peer is called again; doubles up to the next, with jitter.
pub const PEER_RETRY_MIN: Duration = Duration::from_millis(50);
/// Longest pause before a peer is called again.
pub const PEER_RETRY_MAX: Duration = Duration::from_secs(1);
/// Calls in progress per link and direction. Beyond: answered busy.
pub const PEER_CALLS_MAX: usize = 256;
/// An answer of a peer takes no longer than this. Beyond: its outcome is unknown.
pub const PEER_CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes gathered for one write to a peer; a larger frame goes alone.
pub const PEER_WRITE_BYTES: usize = 64 << 10;
/// Longest address that a peer says it listens at, bytes.
pub const PEER_ADDRESS_BYTES_MAX: usize = 300;
