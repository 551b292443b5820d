//! Why a node does not start with the settings that it was given.

use std::net::SocketAddr;
use std::path::PathBuf;

use nacolet_api::NetworkError;

/// Why the node does not start with these settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("cannot read the settings file {path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("the settings file {path} is not right: {source}")]
    File { path: PathBuf, source: Box<toml::de::Error> },
    #[error("{key} = {value:?} is not an address; write HOST:PORT, for example 127.0.0.1:8848")]
    Address { key: &'static str, value: String },
    #[error("trusted-proxy = {value:?} is {source}")]
    Network { value: String, source: NetworkError },
    #[error("{key} = {value} is out of range: {range}")]
    Range { key: &'static str, value: u64, range: &'static str },
    #[error(
        "{key} is given without cluster-key-file: more than one member needs a secret that all \
         share; make one with `head -c 32 /dev/urandom > cluster.key` and give every member a copy"
    )]
    NoKey { key: &'static str },
    #[error(
        "peer-addr = {address} is every address of this host; say with --advertise-host under \
         which one the other members reach it"
    )]
    Nowhere { address: SocketAddr },
    #[error("advertise-host = {value:?} is no host name and no address")]
    Host { value: String },
    #[error("there is no peer port 1000 below http-addr = {address}; give --peer-addr")]
    NoPeerPort { address: SocketAddr },
    #[error(
        "expect = {expect}, but join names {named} addresses: all nodes that begin the cluster \
         must be named"
    )]
    Unnamed { expect: usize, named: usize },
    #[error("a learner does not vote, so it begins no cluster: give either learner or expect")]
    NoFounder,
    #[error("allow-anonymous and auth are opposites: with auth no call is anonymous")]
    Opposites,
    #[error("admin-password-file is given without auth, so nobody would ever log in")]
    NoAuth,
    #[error(
        "{key} = {address} is not a loopback address and nobody has to log in; add --auth, or \
         --allow-anonymous if every host that reaches it may read and change everything"
    )]
    Exposed { key: &'static str, address: SocketAddr },
}
