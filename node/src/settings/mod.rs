//! Flags, environment and one TOML file become a checked `Settings`. Every setting has one line in
//! `ServeArgs`: its flag, its variable `NACOLET_<NAME>` and its key in the file. A flag wins over
//! the environment, the environment over the file, the file over the default. Unknown keys are
//! errors.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};
use nacolet_api::Network;
use nacolet_model::limits;
use serde::Deserialize;

use crate::log::LogFormat;
use crate::room::Room;

mod address;
mod error;
mod memory;

use self::address::{address, is_loopback, neighbour, peer_addr_beside, url_host};
pub(crate) use self::error::SettingsError;

/// The setting that is told of in the log also where it is the default.
pub(crate) const MEMORY_MAX: &str = "memory-max";

/// Everything `serve` can be told.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct ServeArgs {
    /// Where the Raft log, its snapshots and the node's identity live [default: ./nacolet-data]
    #[arg(long, env = "NACOLET_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// HTTP API and health checks [default: 127.0.0.1:8848]
    #[arg(long, env = "NACOLET_HTTP_ADDR", value_name = "HOST:PORT")]
    pub(crate) http_addr: Option<String>,

    /// Where other members reach this node [default: host of http-addr, its port - 1000]; opened
    /// only with a cluster key
    #[arg(long, env = "NACOLET_PEER_ADDR", value_name = "HOST:PORT")]
    pub(crate) peer_addr: Option<String>,

    /// Host or address under which members and clients reach this node [default: host of peer-addr]
    #[arg(long, env = "NACOLET_ADVERTISE_HOST", value_name = "HOST")]
    pub(crate) advertise_host: Option<String>,

    /// Members, named by their peer addresses, this node may be one of them: join their cluster, or
    /// find it again where addresses have changed
    #[arg(long, env = "NACOLET_JOIN", value_name = "HOST:PORT,...", value_delimiter = ',')]
    pub(crate) join: Option<Vec<String>>,

    /// So many new nodes that see each other, by --join, begin a cluster together; a node that sees
    /// a member of a cluster joins that
    #[arg(long, env = "NACOLET_EXPECT", value_name = "N")]
    pub(crate) expect: Option<usize>,

    /// Stay a read-only copy that does not vote
    #[arg(long, env = "NACOLET_LEARNER")]
    pub(crate) learner: bool,

    /// File with the secret that all members share, at least 32 random bytes
    #[arg(long, env = "NACOLET_CLUSTER_KEY_FILE", value_name = "FILE")]
    pub(crate) cluster_key_file: Option<PathBuf>,

    /// gRPC API [default: the host of http-addr, its port + 1000]
    #[arg(long, env = "NACOLET_GRPC_ADDR", value_name = "HOST:PORT")]
    pub(crate) grpc_addr: Option<String>,

    /// Threads that serve connections, at most 4; with 0 the core thread does
    /// [default: one per core, and 0 on up to 2 cores]
    #[arg(long, env = "NACOLET_THREADS", value_name = "N")]
    pub(crate) threads: Option<usize>,

    /// Serve an address other than loopback although nobody has to log in
    #[arg(long, env = "NACOLET_ALLOW_ANONYMOUS")]
    pub(crate) allow_anonymous: bool,

    /// Every call needs a user: give it to every member. The first administrator is `nacos`
    #[arg(long, env = "NACOLET_AUTH")]
    pub(crate) auth: bool,

    /// File with the password of the first administrator, read while there is no user [default: a
    /// random password, written to admin-password in data-dir]
    #[arg(long, env = "NACOLET_ADMIN_PASSWORD_FILE", value_name = "FILE")]
    pub(crate) admin_password_file: Option<PathBuf>,

    /// Connections of one address that wait for their client, HTTP and gRPC together; half of them
    /// before login where there is one; loopback is exempt [default: 128]
    #[arg(long, env = "NACOLET_CONNECTIONS_PER_ADDRESS", value_name = "N")]
    pub(crate) connections_per_address: Option<usize>,

    /// Networks of proxies, whose addresses stand for many clients and have no limit of their own
    #[arg(long, env = "NACOLET_TRUSTED_PROXY", value_name = "CIDR,...", value_delimiter = ',')]
    pub(crate) trusted_proxy: Option<Vec<String>>,

    /// Probe persistent instances: connect to addresses that clients register, loopback and
    /// link-local ones never
    #[arg(long, env = "NACOLET_PROBE")]
    pub(crate) probe: bool,

    /// Size of one log file on disk, in bytes [default: 1048576]
    #[arg(long, env = "NACOLET_LOG_FILE_BYTES", value_name = "BYTES")]
    pub(crate) log_file_bytes: Option<u64>,

    /// Size of the log on disk from which old files are removed, in bytes [default: 4194304]
    #[arg(long, env = "NACOLET_LOG_PURGE_BYTES", value_name = "BYTES")]
    pub(crate) log_purge_bytes: Option<u64>,

    /// Writes after which the state is saved as a snapshot and the log shortened [default: 10000]
    #[arg(long, env = "NACOLET_SNAPSHOT_ENTRIES", value_name = "N")]
    pub(crate) snapshot_entries: Option<u64>,

    /// Memory for configs and their history, in bytes; the member with the least of it bounds all
    /// [default: half of what the cgroup or the machine has]
    #[arg(long, env = "NACOLET_MEMORY_MAX", value_name = "BYTES")]
    pub(crate) memory_max: Option<u64>,

    /// Lines of the log for people (text) or for programs (json) [default: text]
    #[arg(long, env = "NACOLET_LOG_FORMAT", value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,

    /// TOML file with any of these settings, e.g. `http-addr = "127.0.0.1:8848"`
    #[arg(long, env = "NACOLET_SETTINGS", value_name = "FILE")]
    #[serde(skip)]
    pub(crate) settings: Option<PathBuf>,
}

/// What the node runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    pub(crate) http_addr: SocketAddr,
    pub(crate) grpc_addr: SocketAddr,
    /// Host under which others reach this node, where it was given.
    pub(crate) advertise_host: Option<String>,
    /// What a node needs that has peers, or may get some; a node that stays alone has none.
    pub(crate) cluster: Option<ClusterSettings>,
    pub(crate) threads: usize,
    /// What a node needs where everybody has to log in.
    pub(crate) auth: Option<AuthSettings>,
    pub(crate) connections_per_address: usize,
    pub(crate) trusted_proxies: Vec<Network>,
    /// Whether persistent instances are probed.
    pub(crate) probe: bool,
    pub(crate) log_file_bytes: u64,
    pub(crate) log_purge_bytes: u64,
    pub(crate) snapshot_entries: u64,
    pub(crate) room: Room,
    /// Bytes of memory, where there is little.
    pub(crate) memory: Option<u64>,
    pub(crate) log_format: LogFormat,
}

/// What a member of a cluster runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClusterSettings {
    pub(crate) peer_addr: SocketAddr,
    /// Host under which members reach this node, as it stands in a URL.
    pub(crate) host: String,
    pub(crate) join: Vec<String>,
    /// So many new nodes begin a cluster.
    pub(crate) expect: Option<usize>,
    pub(crate) learner: bool,
    pub(crate) key_file: PathBuf,
}

/// What a node runs with where everybody has to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuthSettings {
    /// Password of the first administrator; a random one where there is no file.
    pub(crate) password_file: Option<PathBuf>,
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Flag,
    Environment,
    File,
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        })
    }
}

/// One line of `nacolet settings`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) key: &'static str,
    pub(crate) value: String,
    pub(crate) origin: Origin,
}

impl ServeArgs {
    /// Reads the file, merges, checks.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub(crate) fn resolve(
        &self,
        matches: &ArgMatches,
    ) -> Result<(Settings, Vec<Line>), SettingsError> {
        let file = match &self.settings {
            Some(path) => read_file(path)?,
            None => Self::default(),
        };
        let mut merge = Merge { matches, lines: Vec::new() };
        let data_dir = merge.pick(
            "data-dir",
            &self.data_dir,
            file.data_dir.clone(),
            || PathBuf::from("nacolet-data"),
            |p| p.display().to_string(),
        );
        let http_addr = merge.pick(
            "http-addr",
            &self.http_addr,
            file.http_addr.clone(),
            || "127.0.0.1:8848".to_owned(),
            Clone::clone,
        );
        let threads = merge.pick(
            "threads",
            &self.threads,
            file.threads,
            default_threads,
            ToString::to_string,
        );
        let flag = self.allow_anonymous.then_some(true);
        let in_file = file.allow_anonymous.then_some(true);
        let anonymous =
            merge.pick("allow-anonymous", &flag, in_file, || false, ToString::to_string);
        let auth = self.resolve_auth(&mut merge, &file, anonymous)?;
        let (connections_per_address, trusted_proxies) = self.resolve_doors(&mut merge, &file)?;
        let (flag, in_file) = (self.probe.then_some(true), file.probe.then_some(true));
        let probe = merge.pick("probe", &flag, in_file, || false, ToString::to_string);
        let (log_file_bytes, log_purge_bytes, snapshot_entries) =
            self.resolve_log(&mut merge, &file);
        let (room, memory) = self.resolve_memory(&mut merge, &file);
        let log_format = self.resolve_log_format(&mut merge, &file);
        let http_addr = address("http-addr", &http_addr)?;
        let grpc_addr = merge.pick(
            "grpc-addr",
            &self.grpc_addr,
            file.grpc_addr.clone(),
            || neighbour(http_addr).to_string(),
            Clone::clone,
        );
        let (advertise_host, cluster) = self.resolve_cluster(&mut merge, &file, http_addr)?;
        let settings = Settings {
            data_dir,
            http_addr,
            grpc_addr: address("grpc-addr", &grpc_addr)?,
            advertise_host,
            cluster,
            threads,
            auth,
            connections_per_address,
            trusted_proxies,
            probe,
            log_file_bytes,
            log_purge_bytes,
            snapshot_entries,
            room,
            memory,
            log_format,
        };
        settings.check(anonymous)?;
        Ok((settings, merge.lines))
    }

    /// How much memory is for configs, and how much there is where that is little.
    fn resolve_memory(&self, merge: &mut Merge<'_>, file: &Self) -> (Room, Option<u64>) {
        let memory = memory::little();
        let room = merge.pick(
            MEMORY_MAX,
            &self.memory_max,
            file.memory_max,
            || memory::default_room(memory),
            ToString::to_string,
        );
        (Room(room), memory)
    }

    fn resolve_log_format(&self, merge: &mut Merge<'_>, file: &Self) -> LogFormat {
        merge.pick(
            "log-format",
            &self.log_format,
            file.log_format,
            LogFormat::default,
            ToString::to_string,
        )
    }

    /// Whether everybody has to log in.
    fn resolve_auth(
        &self,
        merge: &mut Merge<'_>,
        file: &Self,
        anonymous: bool,
    ) -> Result<Option<AuthSettings>, SettingsError> {
        let (flag, in_file) = (self.auth.then_some(true), file.auth.then_some(true));
        let auth = merge.pick("auth", &flag, in_file, || false, ToString::to_string);
        let password_file = merge.pick_path(
            "admin-password-file",
            self.admin_password_file.as_ref(),
            file.admin_password_file.as_ref(),
        );
        match (auth, password_file) {
            (true, _) if anonymous => Err(SettingsError::Opposites),
            (true, password_file) => Ok(Some(AuthSettings { password_file })),
            (false, Some(_)) => Err(SettingsError::NoAuth),
            (false, None) => Ok(None),
        }
    }

    /// How many connections one address may have, and which addresses are no clients.
    fn resolve_doors(
        &self,
        merge: &mut Merge<'_>,
        file: &Self,
    ) -> Result<(usize, Vec<Network>), SettingsError> {
        let connections = merge.pick(
            "connections-per-address",
            &self.connections_per_address,
            file.connections_per_address,
            || limits::CONNECTIONS_PER_ADDRESS_MAX,
            ToString::to_string,
        );
        let proxies = merge.pick(
            "trusted-proxy",
            &self.trusted_proxy,
            file.trusted_proxy.clone(),
            Vec::new,
            |list| list.join(","),
        );
        let network = |value: &String| {
            let wrong = |source| SettingsError::Network { value: value.clone(), source };
            value.parse().map_err(wrong)
        };
        Ok((connections, proxies.iter().map(network).collect::<Result<_, _>>()?))
    }

    /// Sizes of the log: of a file, of all files, and of what a snapshot covers.
    fn resolve_log(&self, merge: &mut Merge<'_>, file: &Self) -> (u64, u64, u64) {
        let log_file_bytes = merge.pick(
            "log-file-bytes",
            &self.log_file_bytes,
            file.log_file_bytes,
            || limits::LOG_FILE_BYTES,
            ToString::to_string,
        );
        let log_purge_bytes = merge.pick(
            "log-purge-bytes",
            &self.log_purge_bytes,
            file.log_purge_bytes,
            || limits::LOG_PURGE_BYTES,
            ToString::to_string,
        );
        let snapshot_entries = merge.pick(
            "snapshot-entries",
            &self.snapshot_entries,
            file.snapshot_entries,
            || limits::RAFT_SNAPSHOT_EVERY_ENTRIES,
            ToString::to_string,
        );
        (log_file_bytes, log_purge_bytes, snapshot_entries)
    }

    /// The settings of a member, or none for a node that stays alone.
    fn resolve_cluster(
        &self,
        merge: &mut Merge<'_>,
        file: &Self,
        http: SocketAddr,
    ) -> Result<(Option<String>, Option<ClusterSettings>), SettingsError> {
        let shown = |text: &Option<String>| text.clone().unwrap_or_default();
        let some = |given: &Option<String>| given.clone().map(Some);
        let none = || None;
        let (flag, in_file) = (some(&self.peer_addr), some(&file.peer_addr));
        let peer_addr = merge.pick("peer-addr", &flag, in_file, none, shown);
        let (flag, in_file) = (some(&self.advertise_host), some(&file.advertise_host));
        let host = merge.pick("advertise-host", &flag, in_file, none, shown);
        let join =
            merge.pick("join", &self.join, file.join.clone(), Vec::new, |list| list.join(","));
        let (flag, in_file) = (self.expect.map(Some), file.expect.map(Some));
        let shown = |count: &Option<usize>| count.map(|n| n.to_string()).unwrap_or_default();
        let expect = merge.pick("expect", &flag, in_file, || None, shown);
        let flag = self.learner.then_some(true);
        let in_file = file.learner.then_some(true);
        let learner = merge.pick("learner", &flag, in_file, || false, ToString::to_string);
        let key_file = merge.pick_path(
            "cluster-key-file",
            self.cluster_key_file.as_ref(),
            file.cluster_key_file.as_ref(),
        );
        let host = host.map(|value| url_host(&value)).transpose()?;
        let Some(key_file) = key_file else {
            let given = [
                ("join", !join.is_empty()),
                ("expect", expect.is_some()),
                ("learner", learner),
                ("peer-addr", peer_addr.is_some()),
            ];
            return match given.into_iter().find(|(_, given)| *given) {
                Some((key, _)) => Err(SettingsError::NoKey { key }),
                None => Ok((host, None)),
            };
        };
        let peer_addr = match peer_addr {
            Some(value) => address("peer-addr", &value)?,
            None => peer_addr_beside(http)?,
        };
        let reached = match &host {
            Some(host) => host.clone(),
            None if peer_addr.ip().is_unspecified() => {
                return Err(SettingsError::Nowhere { address: peer_addr });
            }
            None => url_host(&peer_addr.ip().to_string())?,
        };
        let cluster = ClusterSettings { peer_addr, host: reached, join, expect, learner, key_file };
        cluster.check()?;
        Ok((host, Some(cluster)))
    }
}

impl ClusterSettings {
    fn check(&self) -> Result<(), SettingsError> {
        let Some(expect) = self.expect else { return Ok(()) };
        let value = u64::try_from(expect).unwrap_or(u64::MAX);
        if !(2..=limits::MEMBERS_MAX).contains(&expect) {
            return Err(SettingsError::Range { key: "expect", value, range: "2 to 16" });
        }
        if self.learner {
            return Err(SettingsError::NoFounder);
        }
        if self.join.len() + 1 < expect {
            let named = self.join.len();
            return Err(SettingsError::Unnamed { expect, named });
        }
        Ok(())
    }
}

impl Settings {
    fn check(&self, anonymous: bool) -> Result<(), SettingsError> {
        let range = |key, value, ok: bool, range| {
            if ok { Ok(()) } else { Err(SettingsError::Range { key, value, range }) }
        };
        let threads = u64::try_from(self.threads).unwrap_or(u64::MAX);
        range("threads", threads, self.threads <= limits::API_THREADS_MAX, "0 to 4")?;
        let count = u64::try_from(self.connections_per_address).unwrap_or(u64::MAX);
        range("connections-per-address", count, (2..=100_000).contains(&count), "2 to 100000")?;
        let count = u64::try_from(self.trusted_proxies.len()).unwrap_or(u64::MAX);
        let fits = self.trusted_proxies.len() <= limits::TRUSTED_PROXIES_MAX;
        range("trusted-proxy", count, fits, "at most 64 networks")?;
        let file = self.log_file_bytes;
        range("log-file-bytes", file, (64 << 10..=1 << 30).contains(&file), "64 KiB to 1 GiB")?;
        let purge = self.log_purge_bytes;
        range(
            "log-purge-bytes",
            purge,
            purge >= file && purge <= 1 << 40,
            "log-file-bytes to 1 TiB",
        )?;
        let entries = self.snapshot_entries;
        range("snapshot-entries", entries, (10..=10_000_000).contains(&entries), "10 to 10000000")?;
        let Room(room) = self.room;
        range(MEMORY_MAX, room, room >= limits::ROOM_BYTES_MIN, "4 MiB and more")?;
        for (key, address) in [("http-addr", self.http_addr), ("grpc-addr", self.grpc_addr)] {
            if !is_loopback(address.ip()) && !anonymous && self.auth.is_none() {
                return Err(SettingsError::Exposed { key, address });
            }
        }
        Ok(())
    }
}

/// smol has one reactor for all threads, which wake each other for it: on two cores that costs more
/// than the second thread brings.
fn default_threads() -> usize {
    match std::thread::available_parallelism().map_or(1, usize::from) {
        0..=2 => 0,
        cores => cores.min(limits::API_THREADS_MAX),
    }
}

fn read_file(path: &Path) -> Result<ServeArgs, SettingsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| SettingsError::Unreadable { path: path.to_owned(), source })?;
    toml::from_str(&text)
        .map_err(|source| SettingsError::File { path: path.to_owned(), source: Box::new(source) })
}

/// Collects each value beside its origin.
struct Merge<'a> {
    matches: &'a ArgMatches,
    lines: Vec<Line>,
}

impl Merge<'_> {
    fn pick<T: Clone>(
        &mut self,
        key: &'static str,
        given: &Option<T>,
        file: Option<T>,
        default: impl FnOnce() -> T,
        show: impl FnOnce(&T) -> String,
    ) -> T {
        let (value, origin) = match (given, file) {
            (Some(value), _) => (value.clone(), self.source(key)),
            (None, Some(value)) => (value, Origin::File),
            (None, None) => (default(), Origin::Default),
        };
        self.lines.push(Line { key, value: show(&value), origin });
        value
    }

    /// A file that need not be given.
    fn pick_path(
        &mut self,
        key: &'static str,
        given: Option<&PathBuf>,
        file: Option<&PathBuf>,
    ) -> Option<PathBuf> {
        let shown = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let (given, file) = (given.cloned().map(Some), file.cloned().map(Some));
        self.pick(key, &given, file, || None, |path| shown(path).unwrap_or_default())
    }

    fn source(&self, key: &str) -> Origin {
        match self.matches.value_source(&key.replace('-', "_")) {
            Some(ValueSource::EnvVariable) => Origin::Environment,
            _ => Origin::Flag,
        }
    }
}

#[cfg(test)]
mod tests;
