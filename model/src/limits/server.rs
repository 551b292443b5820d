//! Bounds of what clients see: names, configs, the registry, locks, users, HTTP and gRPC; and of
//! the threads that serve them.

use core::time::Duration;

// ---- identifiers (Nacos ParamChecker); beyond: 400 ----

/// Longest namespace id, characters. Nacos ParamChecker says 64, its API 128: the laxer one.
pub const NAMESPACE_CHARS_MAX: usize = 128;
/// Longest namespace show name, characters (Nacos).
pub const NAMESPACE_NAME_CHARS_MAX: usize = 256;
/// Longest group, characters (Nacos).
pub const GROUP_CHARS_MAX: usize = 128;
/// Longest dataId, characters (Nacos).
pub const DATA_ID_CHARS_MAX: usize = 256;
/// Longest service name, characters (Nacos).
pub const SERVICE_NAME_CHARS_MAX: usize = 512;
/// Longest cluster name, characters (Nacos).
pub const CLUSTER_NAME_CHARS_MAX: usize = 64;
/// Longest instance address, characters (Nacos).
pub const IP_CHARS_MAX: usize = 128;

// ---- configuration ----

/// Longest content of one config, bytes (Nacos, 10 MiB). Beyond: 400 in the words of Nacos.
pub const CONTENT_BYTES_MAX: usize = 10 << 20;
/// Longest `tag`, characters (Nacos).
pub const TAG_CHARS_MAX: usize = 16;
/// Most `config_tags` of one config (Nacos).
pub const CONFIG_TAGS_MAX: usize = 5;
/// Longest single config tag, characters (Nacos).
pub const CONFIG_TAG_CHARS_MAX: usize = 64;
/// Longest description, characters (Nacos).
pub const DESC_CHARS_MAX: usize = 128;
/// Longest `use`, `effect` and `type`, characters (Nacos).
pub const USE_CHARS_MAX: usize = 32;
/// Longest `schema`, characters (Nacos).
pub const SCHEMA_CHARS_MAX: usize = 32_768;
/// Longest `appName`, `src_user`, encrypted data key, characters.
pub const LABEL_CHARS_MAX: usize = 1_024;
/// Most addresses in one beta list.
pub const BETA_IPS_MAX: usize = 256;
/// Longest name of a gray version with a rule by labels, characters (Nacos). Beyond: refused.
pub const GRAY_NAME_CHARS_MAX: usize = 128;
/// Longest rule by labels, characters: it is read again for every caller. Beyond: refused.
pub const GRAY_RULE_CHARS_MAX: usize = 1_024;
/// Most gray versions of one config (Nacos 10). Beyond: refused.
pub const GRAY_VERSIONS_MAX: usize = 10;
/// Most configs of a node. The 20,000 of reliability are gone after three seconds of an ordinary
/// load test, and Nacos's own quota is 100,000; what bounds memory is `CONTENTS_BYTES_MAX`, which
/// 250,000 contents of 1 KiB fill. Beyond: publish is refused, nothing is dropped.
pub const CONFIGS_MAX: usize = 250_000;
/// Bytes of all contents together, gray versions included, so that large configs stay bounded too.
/// Beyond: a publish that needs more is refused, nothing is dropped.
pub const CONTENTS_BYTES_MAX: usize = 256 << 20;
/// Most namespaces (reliability). Beyond: create is refused.
pub const NAMESPACES_MAX: usize = 256;
/// History items kept per config (reliability). Beyond: the oldest is dropped.
pub const HISTORY_PER_CONFIG_MAX: usize = 20;
/// History bytes of content kept in all, so that endless updates of many keys stay bounded. Beyond:
/// the oldest item of the node is dropped.
pub const HISTORY_BYTES_MAX: usize = 32 << 20;
/// History items kept in all; a removed config keeps its history until it is pushed out here.
pub const HISTORY_ITEMS_MAX: usize = 50_000;
/// Largest page of a history query (Nacos).
pub const HISTORY_PAGE_MAX: usize = 500;
/// Largest page of a config search; Python 1.0 asks for 1000.
pub const SEARCH_PAGE_MAX: usize = 1_000;

/// Work of one step of a walk over all configs, in bytes that are looked at: some two milliseconds.
/// Beyond: others have their turn, and the walk goes on.
pub const WALK_STEP_BYTES: usize = 4 << 20;
/// What a config is worth in such a step, beside the bytes of it that are looked at.
pub const WALK_CONFIG_BYTES: usize = 512;
/// Services and instances of one step of a walk over all of them; one service is looked at whole.
/// Beyond: others have their turn.
pub const WALK_INSTANCES: usize = 1_000;
/// Names that are compared with a pattern in one step of such a walk: less than a millisecond. Same
/// answer.
pub const WALK_STEP_NAMES: usize = 2_048;
/// Contents in one page of a search, bytes in all. Beyond: 400, the caller asks for a smaller page.
pub const SEARCH_BYTES_MAX: usize = 64 << 20;

// ---- listeners ----

/// Long polls held at once (reliability). Beyond: 429.
pub const LONG_POLLS_MAX: usize = 4_000;
/// Keys in one listener body (Nacos 10 000; reliability asks for 3 000, but the official limit is
/// what SDKs are built against).
pub const LISTEN_KEYS_MAX: usize = 10_000;
/// Listener body, bytes: 10,000 keys of some 200 bytes. Beyond: 413.
pub const LISTEN_BODY_BYTES_MAX: usize = 4 << 20;
/// Keys held by all long polls together, so that greedy listeners stay bounded. Beyond: 429.
pub const LISTEN_KEYS_TOTAL_MAX: usize = 200_000;
/// Shortest and longest hold of a long poll (reliability).
pub const LONG_POLL_MIN: Duration = Duration::from_secs(10);
/// Longest hold of a long poll (reliability).
pub const LONG_POLL_MAX: Duration = Duration::from_secs(60);
/// Answered this much before the client's own time-out (Nacos: 30 s becomes 29.5 s).
pub const LONG_POLL_EARLY: Duration = Duration::from_millis(500);

// ---- registry ----

/// Most instances of one service (reliability). Beyond: 400.
pub const INSTANCES_PER_SERVICE_MAX: usize = 5_000;
/// Most instances of a node: fifty of the largest services. Some 80 MB with short texts; longer
/// ones are bounded by `REGISTRY_TEXT_BYTES_MAX`. Beyond: 503.
pub const INSTANCES_MAX: usize = 250_000;
/// Most services of a node. Beyond: 503.
pub const SERVICES_MAX: usize = 20_000;
/// Metadata of one instance or service, bytes in all (reliability).
pub const METADATA_BYTES_MAX: usize = 8 << 10;
/// Entries of one metadata map (reliability).
pub const METADATA_ENTRIES_MAX: usize = 256;
/// Texts of all instances, services and overrides of a node, bytes; texts that instances share
/// count for each. 250,000 instances with 260 bytes each. Beyond: 503.
pub const REGISTRY_TEXT_BYTES_MAX: usize = 64 << 20;
/// Largest instance weight (Nacos).
pub const WEIGHT_MAX: f64 = 10_000.0;
/// Beat period told to clients (Nacos).
pub const BEAT_INTERVAL: Duration = Duration::from_secs(5);
/// Without a beat for this long an instance is unhealthy (Nacos).
pub const BEAT_TIMEOUT: Duration = Duration::from_secs(15);
/// Without a beat for this long an instance is removed (Nacos).
pub const IP_DELETE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest of the three above that instance metadata may ask for.
pub const BEAT_OVERRIDE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Beat deadlines are rounded up to a multiple of this, so that an idle node wakes rarely.
pub const HEALTH_CHECK_SLACK: Duration = Duration::from_millis(500);
/// A wake-up that comes later than asked by this much means that the process was stopped: nobody is
/// called silent for one beat period.
pub const OWN_PAUSE: Duration = Duration::from_secs(1);
/// What operators set on an instance is kept this long after the instance went (Nacos).
pub const OVERRIDE_EXPIRY: Duration = Duration::from_secs(60);
/// Clusters with metadata inside one service. Beyond: 400.
pub const CLUSTERS_PER_SERVICE_MAX: usize = 64;
/// A service without instances that nobody created by hand goes after this long (Nacos).
pub const EMPTY_SERVICE_EXPIRY: Duration = Duration::from_secs(60);
/// UDP subscribers per service; beyond: the newest is not pushed to and polls instead.
pub const UDP_SUBSCRIBERS_PER_SERVICE_MAX: usize = 1_000;
/// UDP subscribers of a node; same answer.
pub const UDP_SUBSCRIBERS_MAX: usize = 10_000;
/// A UDP subscriber is forgotten this long after its next list call was due. Clients make one every
/// `defaultPushCacheMillis` or a moment later: without this each is forgotten for that moment, and
/// with it the resend that it is owed.
pub const UDP_SUBSCRIBER_SLACK: Duration = Duration::from_secs(5);
/// One resend of an unacknowledged UDP push after this long (Nacos).
pub const UDP_RESEND_AFTER: Duration = Duration::from_secs(10);
/// Changes of one service within this time become one push (Nacos debounces 500 ms).
pub const PUSH_DEBOUNCE: Duration = Duration::from_millis(500);
/// UDP payload from which it is gzipped, bytes (Nacos).
pub const UDP_GZIP_FROM_BYTES: usize = 1_024;
/// Acknowledgement of a push, bytes; what is longer is cut and then not understood.
pub const UDP_ACK_BYTES_MAX: usize = 1_024;
/// Largest UDP payload, bytes; beyond: not pushed, the client polls.
pub const UDP_BYTES_MAX: usize = 60_000;

/// Rendered instance lists kept to answer polls, bytes: room for two of the largest services.
/// Beyond: all are dropped and made anew; one list of more than half of it is rendered for every
/// poll.
pub const LIST_SHELF_BYTES_MAX: usize = 8 << 20;
/// Rendered instance lists kept, their number; same answer.
pub const LIST_SHELF_LISTS_MAX: usize = 4_096;

// ---- Distro ----

/// Between signs of life to the other members.
pub const DISTRO_TICK: Duration = Duration::from_secs(1);
/// A member that was not heard for this long counts as dead: its services are watched by others.
pub const DISTRO_SILENCE: Duration = Duration::from_secs(3);
/// After the death of a member was noticed, clients that had a connection to it may come back on
/// another one for this long: Python looks every 30 s whether it has to register again. Beyond:
/// their instances are removed.
pub const DISTRO_ORPHAN_EXPIRY: Duration = Duration::from_secs(35);
/// A node that has lost most members removes nobody for this long (Nacos keeps copies of
/// connections as long); two members of which one is gone for good go on after that.
pub const DISTRO_ALONE_PATIENCE: Duration = Duration::from_secs(180);
/// Instances that are gone are remembered for this long, so that late copies do not bring them
/// back.
pub const DISTRO_TOMB_EXPIRY: Duration = Duration::from_secs(600);
/// And so many of them, some 15 MB. Beyond: the oldest is forgotten.
pub const DISTRO_TOMBS_MAX: usize = 50_000;
/// A node that was stopped for longer than this has its copies confirmed by another one: less than
/// `DISTRO_TOMB_EXPIRY`, so that what was deregistered meanwhile is still known there or here.
pub const DISTRO_STALE_AFTER: Duration = Duration::from_secs(300);
/// Bytes of one message, roughly; one service goes alone in a larger one.
pub const DISTRO_MESSAGE_BYTES: usize = 256 << 10;
/// Services named in one message about beats or about what is lacking.
pub const DISTRO_HEARD_SERVICES_MAX: usize = 2_000;
/// A page of the full copy that does not come within this time is asked of another member.
pub const DISTRO_PAGE_PATIENCE: Duration = Duration::from_secs(2);
/// A starting node that finds nobody to copy from begins empty after this time.
pub const DISTRO_LOAD_PATIENCE: Duration = Duration::from_secs(5);

const _: () = assert!(DISTRO_STALE_AFTER.as_secs() < DISTRO_TOMB_EXPIRY.as_secs());

// ---- locks (Nacos 3.1) ----

/// Locks held at once: at most 12 MB with the longest names. Beyond: 503.
pub const LOCKS_MAX: usize = 10_000;
/// Locks that one user, where there are users, and otherwise one address holds or waits for: a
/// quarter of all. Beyond: 503.
pub const LOCKS_PER_ACCOUNT_MAX: usize = 2_500;
/// The same over one connection: the client of a process. Those of Nacos 3.0 to 3.2 belong to none.
/// Beyond: 503.
pub const LOCKS_PER_CONNECTION_MAX: usize = 1_000;
/// Longest name of a lock, bytes. Beyond: 400.
pub const LOCK_KEY_BYTES_MAX: usize = 512;
/// A lock is held this long where the client says nothing (Nacos `nacos.lock.default_expire_time`).
pub const LOCK_TIME_DEFAULT: Duration = Duration::from_secs(30);
/// A lock is held at most this long (Nacos `nacos.lock.max_expire_time`). Beyond: cut.
pub const LOCK_TIME_MAX: Duration = Duration::from_secs(1_800);

/// Longest name that an owner of a lock gives itself, bytes. Beyond: 400.
pub const LOCK_OWNER_BYTES_MAX: usize = 256;
/// The same with its user and its connection, as it is kept.
pub const LOCK_OWNER_TEXT_BYTES_MAX: usize =
    LOCK_OWNER_BYTES_MAX + 4 * USER_NAME_CHARS_MAX + 2 + 16;
/// Who waits for one lock. Beyond: 503.
pub const LOCK_WAITERS_MAX: usize = 1_000;
/// Who waits for all locks together: at most 7 MB with the longest names. Beyond: 503.
pub const LOCKS_WAITERS_MAX: usize = 10_000;
/// How often a thread looks whether anything should be over that keeps a lock from a client: who
/// holds it, or who has its turn.
pub const LOCK_LOOK_PAUSE: Duration = Duration::from_secs(1);
/// And the least time between two looks at one lock, each of which is a write.
pub const LOCK_LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Whoever is first in the queue of a free lock has this long to take it: SDKs ask at once when
/// they are told. Beyond: it waits no more, and the next has its turn.
pub const LOCK_TURN: Duration = Duration::from_secs(10);
/// Connections that are over and of which the locks do not know yet, because there is no leader.
/// Beyond: their time frees what they held.
pub const LOCK_DEPARTURES_MAX: usize = 6_000;
/// A client waits in the queue of a lock at most this long (the SDK: 5 min). Beyond: cut.
pub const LOCK_WAIT_MAX: Duration = Duration::from_secs(1_800);

// ---- users (docs/reliability.md, "Must have": M4 and M5) ----

/// Longest name of a user or a role, characters. Beyond: 400.
pub const USER_NAME_CHARS_MAX: usize = 64;
/// Users. Beyond: 409.
pub const USERS_MAX: usize = 1_000;
/// Roles, counted once for each user that has them. Beyond: 409.
pub const USER_ROLES_MAX: usize = 4_000;
/// Permissions of all roles together. Beyond: 409.
pub const PERMISSIONS_MAX: usize = 4_000;
/// Longest resource of a permission, bytes: room for the longest names. Beyond: 400.
pub const PERMISSION_RESOURCE_BYTES_MAX: usize = 600;
/// Shortest password, bytes. Below: 400.
pub const PASSWORD_BYTES_MIN: usize = 8;
/// Longest password, bytes: bcrypt reads no more. Beyond: 400.
pub const PASSWORD_BYTES_MAX: usize = 72;
/// Longest hash of a password, bytes; bcrypt writes 60.
pub const PASSWORD_HASH_BYTES_MAX: usize = 128;
/// bcrypt's cost, as in Nacos: some 50 ms on a server, a few hundred on a small board.
pub const PASSWORD_COST: u32 = 10;
/// Different passwords that wait to be looked at; one is looked at, at a time. All who wait with
/// the same name and password are served by one look: a fleet that starts together logs in. Beyond:
/// 429.
pub const PASSWORDS_WAITING_MAX: usize = 8;
/// Wrong passwords for one user from one address within the window. Beyond: 429 for that pair.
/// Other addresses are not concerned: a device with an old password must not lock out all others.
pub const LOGIN_FAILURES_MAX: u32 = 5;
/// From this many on each further try of the pair waits, one `LOGIN_DELAY` longer each time.
pub const LOGIN_FAILURES_FREE: u32 = 3;
/// Wrong passwords from one address within the window, whoever's they are. Beyond: tries from there
/// wait, and are looked at all the same, because many people may be behind one address. IPv6 by
/// /64.
pub const LOGIN_FAILURES_PER_ADDRESS_MAX: u32 = 20;
/// Wrong passwords for one user within the window, wherever they come from. Beyond: tries wait, and
/// are looked at all the same: nobody can lock an account.
pub const LOGIN_FAILURES_PER_USER_MAX: u32 = 50;
/// What a try waits for, once or up to `LOGIN_DELAYS_MAX` times. Who has waited so often and is
/// wrong again is told 429; the right password is taken.
pub const LOGIN_DELAY: Duration = Duration::from_secs(1);
/// See `LOGIN_DELAY`.
pub const LOGIN_DELAYS_MAX: u32 = 5;
/// Tries that wait at once. Beyond: 429.
pub const LOGINS_WAITING_MAX: usize = 32;
/// Of these, from one address: half, so that others find a place. Beyond: 429.
pub const LOGINS_WAITING_PER_ADDRESS_MAX: usize = 16;
/// How long wrong passwords count.
pub const LOGIN_WINDOW: Duration = Duration::from_secs(15 * 60);
/// Addresses and pairs whose failures are counted. Beyond: the oldest is forgotten.
pub const LOGINS_TRACKED_MAX: usize = 4_096;
/// Life of a token (Nacos `nacos.core.auth.plugin.nacos.token.expire.seconds`).
pub const TOKEN_LIFE: Duration = Duration::from_secs(18_000);
/// A login is fresh for this long: whoever shows it may change the own password without the old
/// one.
pub const LOGIN_FRESH: Duration = Duration::from_secs(5 * 60);
/// Longest token that is looked at, bytes. Beyond: 403.
pub const TOKEN_BYTES_MAX: usize = 1_024;
/// Longest name and password of `Authorization: Basic` that are looked at, in base64, bytes; the
/// longest user with the longest password takes 440. Beyond: 403.
pub const BASIC_BYTES_MAX: usize = 1_024;

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
