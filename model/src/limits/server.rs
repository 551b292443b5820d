//! Bounds of what clients name and store: names, configs, the registry, locks, users.

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
/// Least room for configs and their past that a member may state, bytes (`config/src/room.rs`).
/// Below: the node does not start.
pub const ROOM_BYTES_MIN: u64 = 4 << 20;
/// Room from which on the limits of this page are all there is: what they amount to together.
pub const ROOM_BYTES_MAX: u64 = 384 << 20;
/// Instances have one of so many parts of such a room, beside the configs: a list of all of them
/// is an answer that can be given. Beyond: 503.
pub const ROOM_INSTANCE_PARTS: u64 = 8;
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
/// What one instance takes beside its texts, bytes; counted where a member has little memory.
pub const INSTANCE_BYTES: usize = 320;
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
/// How long a nonce for a proof of the cluster key is good.
pub const PROOF_LIFE: Duration = Duration::from_secs(30);
/// Proofs that are taken within that time, and remembered. Beyond: 403.
pub const PROOFS_MAX: usize = 64;
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
