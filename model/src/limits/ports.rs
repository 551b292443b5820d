//! Bounds of the ports: HTTP and gRPC, the threads that serve them, and probes.

use core::time::Duration;

use super::CONTENT_BYTES_MAX;

// ---- HTTP (reliability) ----

/// Request line and headers, bytes, counted while reading. Python 1.0 publishes 20 KiB of content
/// in the URL, so 64 KiB for those who get that far slowly costs less than a broken SDK. Beyond:
/// 431.
pub const HEAD_BYTES_MAX: usize = 64 << 10;
/// Headers of one request. Beyond: 431.
pub const HEADERS_MAX: usize = 64;
/// Bytes of a form or a content that are parsed or hashed where they came in: a millisecond.
/// Beyond: on a thread of their own, and others are served meanwhile.
pub const INLINE_BYTES_MAX: usize = 256 << 10;
/// Parameters of one request, in query and form together: four times what the longest call of Nacos
/// has. Beyond: 400, before any is read.
pub const PARAMETERS_MAX: usize = 256;
/// Time to complete a head. Beyond: close.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle keep-alive. Beyond: close.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Body of a general request, bytes. Beyond: 413 before reading.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Body of a publish, bytes: 10 MiB of content, percent-encoded at worst threefold. Beyond: 413.
pub const PUBLISH_BODY_BYTES_MAX: usize = 3 * CONTENT_BYTES_MAX + (1 << 20);
/// Bodies being read or worked on and answers that clients have not taken yet, bytes in all, HTTP
/// and gRPC together: with `BODIES_RESERVE_BYTES`, idle connections and those of gRPC that are not
/// set up it is what greedy clients may hold, some 64 MiB in all. The largest publish fits. Beyond:
/// who holds more than half while another address needs some, and then whoever is slower than
/// `SHORT_BYTES_PER_SECOND_MIN`, is cut; nobody like that: 503, in gRPC RESOURCE_EXHAUSTED.
pub const BODIES_BYTES_MAX: usize = 40 << 20;
/// Bytes beyond that for bodies and answers of at most `SMALL_BODY_BYTES_MAX`, so that large ones
/// never shut out ordinary calls. One address has an eighth of it. Beyond: the same.
pub const BODIES_RESERVE_BYTES: usize = 8 << 20;
/// A body or an answer up to this many bytes is small.
pub const SMALL_BODY_BYTES_MAX: usize = 64 << 10;
/// Answers from this many bytes on are counted: smaller ones fit the buffers of a socket, and 1,024
/// connections whose clients take nothing hold 16 MiB of them.
pub const COUNTED_ANSWER_BYTES_MIN: usize = 16 << 10;
/// A content up to this many bytes is rendered as a whole, a longer one while the answer is sent:
/// escapes make it six times as long.
pub const INLINE_ANSWER_BYTES_MAX: usize = 16 << 10;
/// While bytes are short, what moves slower than this is cut: a client on a thin line is served as
/// long as nobody is in need of the memory.
pub const SHORT_BYTES_PER_SECOND_MIN: u64 = 64 << 10;
/// That speed is looked at over this time.
pub const SHORT_GRACE: Duration = Duration::from_secs(1);
/// Where everybody has to log in: bytes that callers without a valid token hold, all connections of
/// an address together. Beyond: 403 for a body that is larger alone, 503 otherwise.
pub const STRANGER_BYTES_MAX: usize = 1 << 20;
/// Bytes of a head that are not counted as a body is: nearly every head is shorter.
pub const FREE_HEAD_BYTES: usize = 8 << 10;
/// What each byte beyond that counts for: the buffer that a head is gathered in doubles, and leaves
/// the smaller ones to the allocator.
pub const LONG_HEAD_COST: usize = 3;
/// Body of an import, bytes.
pub const IMPORT_BODY_BYTES_MAX: usize = 16 << 20;
/// A body slower than this many bytes a second, after `BODY_GRACE`, is given up. Answer: 408.
pub const BODY_BYTES_PER_SECOND_MIN: u64 = 1 << 10;
/// See `BODY_BYTES_PER_SECOND_MIN`.
pub const BODY_GRACE: Duration = Duration::from_secs(5);
/// A body takes no longer than this. Answer: 408.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Connections in all, those that wait in a long poll apart. Beyond: the newest is closed.
pub const CONNECTIONS_MAX: usize = 1_024;
/// Connections of one address (of a /64 of IPv6) that wait for their client: idle, in the middle of
/// a request or of an answer, and gRPC before its set-up; a setting (reliability). Long polls that
/// wait and gRPC connections that are set up are not among them: hundreds of clients behind one
/// address are ordinary, and both have bounds of their own. Loopback and trusted proxies are
/// exempt. Beyond: the one of this address that has been idle for longest is closed, where one has
/// been for `IDLE_SPARED`, and otherwise the newest.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 128;
/// The part of them, where everybody has to log in, that have not shown a valid token, set up or
/// not: one in so many. Same answer.
pub const STRANGERS_PER_ADDRESS_DIVISOR: usize = 2;
/// A connection that has waited for less than this is not closed for another of its own address.
pub const IDLE_SPARED: Duration = Duration::from_secs(2);
/// When all places are taken, the connection goes that has waited for longest, of the address that
/// has most of them; one that has waited for less than this is not closed for a client of another
/// address.
pub const WAITING_SPARED: Duration = Duration::from_millis(50);
/// Connections of one thread and protocol that wait a moment for a place, each by itself. Beyond:
/// the newest is closed.
pub const SEATS_WAITING_MAX: usize = 512;
/// Networks of trusted proxies. Beyond: the node does not start.
pub const TRUSTED_PROXIES_MAX: usize = 64;
/// Mistakes of strangers are told in the log once in this time, each kind.
pub const MENTION_EVERY: Duration = Duration::from_secs(60);
/// Lines that are told with how often it happened, such as who failed to log in from where. Beyond:
/// they are counted together.
pub const REPEATS_MAX: usize = 32;
/// Requests in progress, long polls apart. Beyond: 503 with a retry hint.
pub const REQUESTS_MAX: usize = 256;
/// A refused connection is still read from for this long, so that the refusal is not overtaken by a
/// reset.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// And for at most this many bytes.
pub const LINGER_BYTES_MAX: usize = 1 << 20;
/// Connection and write deadlines are looked at this often: they pass at most this late.
pub const DEADLINE_TICK: Duration = Duration::from_secs(1);
/// Archive entries of an import (reliability). Beyond: 400, nothing applied.
pub const IMPORT_ENTRIES_MAX: usize = 10_000;
/// Unpacked bytes of an import (reliability). Beyond: 400, nothing applied.
pub const IMPORT_BYTES_MAX: usize = 64 << 20;
/// Unpacked bytes of an import for each byte of its archive: the most that one byte can stand for
/// (deflate: 258 bytes in two bits). Beyond: 400, nothing applied.
pub const IMPORT_RATIO_MAX: usize = 1_032;
/// Bytes that the metadata of an archive may take in memory beyond so many times the archive, see
/// `PARSED_RATIO_MAX`. Beyond: 400, nothing applied.
pub const IMPORT_METADATA_BYTES: usize = 1 << 20;
/// Bytes that parsing takes at most for each byte of a request (P9).
pub const PARSED_RATIO_MAX: usize = 3;
/// What the metadata of one config takes in memory beside its texts, about.
pub const IMPORT_LABELS_BYTES: usize = 384;
/// Bytes of one item of the metadata of an archive: the longest labels, each character an escape of
/// ten, and more. Beyond: 400, nothing applied.
pub const IMPORT_ITEM_BYTES_MAX: usize = 64 << 10;
/// Depth of a JSON value (reliability). Beyond: 400.
pub const JSON_DEPTH_MAX: usize = 16;

// ---- gRPC (reliability, Nacos 2.5) ----

/// gRPC connections of all threads together. Beyond: the newest is closed.
pub const GRPC_CONNECTIONS_MAX: usize = 6_000;
/// Connections of the HTTP port that wait for a thread to speak gRPC with them. Beyond: close.
pub const GRPC_HANDED_OVER_MAX: usize = 64;
/// Calls in progress on one connection. Beyond: HTTP/2 refuses the stream.
pub const GRPC_STREAMS_MAX: u32 = 64;
/// One message of a client, bytes (Nacos `max-inbound-message-size`). Beyond: RESOURCE_EXHAUSTED.
pub const GRPC_MESSAGE_BYTES_MAX: usize = 10 << 20;
/// One message on the stream, which carries set-up and acknowledgements only. Beyond: the same.
pub const GRPC_STREAM_MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Additions of one publish, such as its type and its tags; clients send eleven. Beyond: 502.
pub const GRPC_ADDITIONS_MAX: usize = 64;
/// Labels of its application that are kept of a gRPC client, for rules of gray versions. What is
/// beyond is dropped and fits no rule.
pub const GRPC_APP_LABELS_MAX: usize = 16;
/// Longest name and longest value of such a label, bytes. Beyond: as with too many.
pub const GRPC_APP_LABEL_BYTES_MAX: usize = 128;
/// Entries of the metadata of all instances of one batch: each takes ten times the bytes of its
/// text. Beyond: 502.
pub const GRPC_METADATA_ENTRIES_MAX: usize = 40_000;
/// Headers of one message. Beyond: RESOURCE_EXHAUSTED, before any of them is kept.
pub const GRPC_HEADERS_MAX: usize = 256;
/// Connections that are not set up yet, of all addresses: an idle one has some 24 KiB. Beyond: the
/// one that has waited for longest goes, of the address that has most of them; the others queue in
/// the kernel meanwhile.
pub const GRPC_NEWCOMERS_MAX: usize = 512;
/// So many of one address are no crowd, and are not hurried with their set-up.
pub const GRPC_NEWCOMERS_SPARED: usize = 8;
/// Bytes of all messages that come in at once on a connection that is not set up. Beyond:
/// RESOURCE_EXHAUSTED.
pub const GRPC_NEWCOMER_BYTES_MAX: usize = 32 << 10;
/// Bytes a client may send ahead on one call.
pub const GRPC_WINDOW_BYTES: u32 = 256 << 10;
/// Bytes a client may send ahead on all its calls.
pub const GRPC_CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Bytes of one answer that wait for the client inside HTTP/2.
pub const GRPC_SEND_BUFFER_BYTES: usize = 64 << 10;
/// Headers of one call, bytes. Beyond: 431.
pub const GRPC_HEAD_BYTES_MAX: u32 = 16 << 10;
/// Frames of one connection within `GRPC_FLOOD_WINDOW`, of every kind, beyond those that its calls
/// pay for. What is long and no data counts once more for each `GRPC_FRAME_BYTES`. gRPC measures
/// bandwidth with a ping every 100 ms at most. Beyond: close.
pub const GRPC_FLOOD_FRAMES_MAX: u32 = 1_000;
/// Frames that a call pays for when it is answered, and a notice when it is sent: head, data, its
/// end, window updates, a ping, a reset.
pub const GRPC_CALL_FRAMES: u32 = 8;
/// Bytes of a message, or of an answer that was sent, that pay for another frame: data comes in
/// frames of 16 KiB, and each that goes out is answered with two window updates at most.
pub const GRPC_FRAME_BYTES: usize = 1 << 10;
/// See `GRPC_FLOOD_FRAMES_MAX`.
pub const GRPC_FLOOD_WINDOW: Duration = Duration::from_secs(10);
/// Silence after which a client is asked whether it lives (Nacos).
pub const GRPC_IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Time it has to answer (Nacos). Beyond: close.
pub const GRPC_DETECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// A client whose user is no more, or has another password, is told to come again, and has this
/// long to go: SDKs connect anew first. Beyond: close.
pub const GRPC_RESET_PATIENCE: Duration = Duration::from_secs(5);
/// Time from connecting to the set-up of the connection, and silence without one. Beyond: close.
pub const GRPC_SETUP_TIMEOUT: Duration = Duration::from_secs(60);
/// A client that takes nothing for this long is closed (Nacos: 300 s).
pub const GRPC_BLOCKED_TIMEOUT: Duration = Duration::from_secs(60);
/// Connections of one thread from which on those that send only health checks wait together
/// (measured: 100 checks a second wake the thread as often as `GRPC_QUIET_PAUSE` does).
pub const GRPC_QUIET_CONNECTIONS_MIN: usize = 500;
/// Time without anything else after which a connection does.
pub const GRPC_QUIET_AFTER: Duration = Duration::from_secs(2);
/// How often those are looked at: their first other request waits that long at most.
pub const GRPC_QUIET_PAUSE: Duration = Duration::from_millis(10);
/// Time to acknowledge a config notice (Nacos).
pub const GRPC_CONFIG_ACK_TIMEOUT: Duration = Duration::from_secs(3);
/// Time to acknowledge a list of instances (Nacos).
pub const GRPC_NAMING_ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before a notice is sent again, times the attempts so far (Nacos).
pub const GRPC_NOTICE_RETRY: Duration = Duration::from_secs(2);
/// And at most this.
pub const GRPC_NOTICE_RETRY_MAX: Duration = Duration::from_secs(60);
/// Attempts for one notice (Nacos). Beyond: close.
pub const GRPC_NOTICE_ATTEMPTS_MAX: u32 = 50;
/// Notices that one client has not acknowledged yet. Beyond: the others wait, one per subject.
pub const GRPC_NOTICES_UNDER_WAY_MAX: usize = 256;
/// Changes of services within this time become one push per subscriber. Nacos waits 500 ms, the
/// goal here is 100 ms from change to notice.
pub const GRPC_PUSH_DEBOUNCE: Duration = Duration::from_millis(30);
/// Time between the answer to a listen, or a notice of a change of a config, and the next notice on
/// the same connection. What changes meanwhile is told together. Go 2.3.5 loses a notice that comes
/// while it works through an answer (`docs/nacos/grpc.md`, "Config messages").
pub const GRPC_NOTICE_PACE: Duration = Duration::from_millis(50);
/// And the longest that a notice waits for a client that listens again and again.
pub const GRPC_NOTICE_HELD_MAX: Duration = Duration::from_millis(90);
/// A new subscriber is pushed the list this much after the answer that had it too (Nacos).
pub const GRPC_SUBSCRIBED_PUSH: Duration = Duration::from_millis(500);
/// Orders to move connections that wait for one thread. Beyond: 503.
pub const GRPC_MOVE_ORDERS_MAX: usize = 16;
/// Connections that are told at once to go to another member; the next ones a pause later, so that
/// 640 a second arrive there at most.
pub const GRPC_MOVES_AT_ONCE: usize = 64;
/// See [`GRPC_MOVES_AT_ONCE`].
pub const GRPC_MOVE_PAUSE: Duration = Duration::from_millis(100);
/// A connection that was told to go and is still there is told again after this at the earliest:
/// SDKs try for some seconds.
pub const GRPC_MOVE_PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for another member that is asked about its connections.
pub const GRPC_LOAD_PATIENCE: Duration = Duration::from_secs(1);
/// Questions about who is connected that wait for one thread. Beyond: 503.
pub const WHO_QUESTIONS_MAX: usize = 16;
/// Connections, subscriptions and listens together that one answer of a thread names. Beyond: the
/// others are left out.
pub const WHO_NAMED_MAX: usize = 20_000;
/// Bytes of what one member tells another of its clients. Beyond: the latter half of them is left
/// out, and half of the rest, until it fits.
pub const WHO_ANSWER_BYTES_MAX: usize = 1 << 20;
/// Configs that all connections listen to together. Beyond: 503.
pub const GRPC_LISTENS_MAX: usize = 200_000;
/// Services that all connections subscribe to together. Beyond: 503.
pub const GRPC_SUBSCRIPTIONS_MAX: usize = 100_000;
/// Services that one connection subscribes to, or publishes instances of (reliability: 1,000).
/// Beyond: 503.
pub const SERVICES_PER_CLIENT_MAX: usize = 1_000;
/// Patterns of each kind (configs, services) that are watched (Nacos). Beyond: error 50310.
pub const FUZZY_PATTERNS_MAX: usize = 20;
/// Names that one pattern means (Nacos). Beyond: error 50311, and the others are not told of.
pub const FUZZY_MATCHES_MAX: usize = 500;
/// Names that a client says it knows already. Beyond: error 50311.
pub const FUZZY_RECEIVED_MAX: usize = 2 * FUZZY_MATCHES_MAX;
/// Names in one message to a watching client.
pub const FUZZY_BATCH_NAMES: usize = 50;
/// Longest pattern, bytes: the longest identifiers. Beyond: 400.
pub const FUZZY_PATTERN_BYTES_MAX: usize = 1_024;
/// Clients that watch a pattern, counted once for each: some 40 MB when all patterns are full.
/// Beyond: 503.
pub const FUZZY_WATCHES_MAX: usize = 2_000;
/// Names of changed configs or services that wait for one api thread. Beyond: it looks at
/// everything.
pub const FEED_KEYS_MAX: usize = 4_096;

const _: () = assert!(PUBLISH_BODY_BYTES_MAX < BODIES_BYTES_MAX);

/// Exports that are packed at the same time: each may hold a core for a second. Beyond: 503.
pub const EXPORTS_MAX: usize = 2;

// ---- shell ----

/// Slots of the channel from api threads to the core thread. Beyond: 503 with `Retry-After`.
pub const CORE_QUEUE_MAX: usize = 1_024;
/// Requests the core thread takes in one turn under one write lock.
pub const CORE_TURN_MAX: usize = 256;
/// Bytes of messages from other members in one turn; the last one may be beyond.
pub const CORE_TURN_LETTER_BYTES_MAX: usize = 256 << 10;
/// A write that is not answered after this long gets 503; its outcome is unknown to the caller.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// A write or linearizable read waits this long for a leader: time for two elections. Beyond: 503.
pub const FORWARD_PATIENCE: Duration = Duration::from_secs(4);
/// A member that starts looks this long for a leader: time for two elections. Beyond: it serves
/// what needs none.
pub const LEADER_PATIENCE: Duration = Duration::from_secs(3);
/// A member that starts and does not catch up with its leader for so many times `LEADER_PATIENCE`
/// serves what needs none.
pub const CATCH_UP_LOOKS: u32 = 4;
/// A member looks so often whether it has a leader.
pub const LEADER_LOOK_EVERY: Duration = Duration::from_millis(500);
/// A write that the leader has acknowledged waits this long for this node to apply it too.
pub const CATCH_UP_PATIENCE: Duration = Duration::from_secs(1);
/// A leader that stops waits this long for another one.
pub const HAND_OVER_PATIENCE: Duration = Duration::from_millis(1_500);
/// What is in flight at SIGTERM is answered within this time.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(4);
/// HTTP threads at most.
pub const API_THREADS_MAX: usize = 4;

// ---- probes ----

/// Probes of persistent instances at once (docs/reliability.md, "Must not": N8). Beyond: they wait
/// for a place.
pub const PROBES_AT_ONCE_MAX: usize = 32;
/// A probe takes no longer than this, connecting included. Beyond: the instance was silent.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// A round of probes begins this long after the last one began, or once that has ended; between the
/// 1 and 5 s of Nacos. The probes of a round are spread over it.
pub const PROBE_EVERY: Duration = Duration::from_secs(3);
/// Answers in a row that change the health of an instance (`checkTimes` of Nacos).
pub const PROBE_TIMES: u8 = 3;
/// Probes held at once, waiting or under way. Beyond: the next batch of the round.
pub const PROBES_PER_BATCH_MAX: usize = 256;
/// Changes of health proposed after one batch. Beyond: in the next round.
pub const PROBE_VERDICTS_MAX: usize = 32;
