//! What a node tells of itself: what does not change, and where it stands.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, RwLock, atomic};

use nacolet_api::{Facts, MemberStatus, NodeStatus};
use nacolet_model::NodeId;
use nacolet_raft::Raft;
use nacolet_registry::Life;
use nacolet_registry::probe::ProbeCounts;
use nacolet_storage::DataDir;
use nacolet_transport::Unreachable;

use crate::clock;
use crate::cluster::SharedCluster;
use crate::cluster::address::{http_of, peer_of};
use crate::cluster::member::Member;
use crate::machine::{Machine, read};
use crate::settings::Settings;

/// What the api says of this node, which does not change.
pub(crate) fn facts(
    settings: &Settings,
    dir: &DataDir,
    life: Life,
    address: SocketAddr,
    grpc: SocketAddr,
    member: Option<&Member>,
) -> Facts {
    Facts {
        version: env!("CARGO_PKG_VERSION"),
        node: dir.node_id(),
        life,
        host: own_host(settings, address).into(),
        http: address,
        grpc: Some(grpc),
        peer: member.map(|member| member.bound),
        started: clock::wall(),
    }
}

/// The host under which others reach this node: the one that was given, or an address that a client
/// on this host can use.
fn own_host(settings: &Settings, address: SocketAddr) -> String {
    let given = settings.cluster.as_ref().map(|cluster| &cluster.host);
    match given.or(settings.advertise_host.as_ref()) {
        Some(host) => host.clone(),
        None => advertised(address.ip()).to_string(),
    }
}

/// Host and port of this node's HTTP listener, for others.
pub(crate) fn own_http(settings: &Settings, address: SocketAddr) -> String {
    let host = own_host(settings, address);
    let is_bare_v6 = host.contains(':') && !host.starts_with('[');
    let port = address.port();
    if is_bare_v6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// An address that a client on this host can use where the node listens on all of them.
fn advertised(ip: IpAddr) -> IpAddr {
    if ip.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { ip }
}

/// What the api says of the cluster: its members, and how far this node's log has got.
pub(crate) fn status(
    raft: &Raft<Machine>,
    own: String,
    cluster: Option<&SharedCluster>,
    probed: &Arc<RwLock<ProbeCounts>>,
) -> Arc<dyn Fn() -> NodeStatus + Send + Sync> {
    let (raft, probed) = (raft.clone(), Arc::clone(probed));
    let unreachable = cluster.map(|cluster| cluster.transport.unreachable());
    let dropped = cluster.map(|cluster| cluster.mailbox.dropped()).unwrap_or_default();
    let differing = cluster.map(|cluster| cluster.digests.differing()).unwrap_or_default();
    Arc::new(move || {
        let metrics = raft.metrics();
        let addresses = &metrics.membership.addresses;
        let member = |(node, voter): (&NodeId, bool)| {
            let address = addresses.get(node).map_or("", |address| &**address);
            let known = http_of(address);
            let is_self = *node == metrics.id;
            let lost = |list: &Unreachable| list.contains(*node);
            MemberStatus {
                node: *node,
                http: if is_self { own.clone() } else { known.unwrap_or_default() }.into(),
                peer: peer_of(address).into(),
                voter,
                up: metrics.running && (is_self || !unreachable.as_ref().is_some_and(lost)),
            }
        };
        let voters = metrics.membership.voters.iter().map(|node| (node, true));
        let learners = metrics.membership.learners.iter().map(|node| (node, false));
        NodeStatus {
            leader: metrics.leader,
            term: metrics.term.0,
            commit_index: metrics.commit_index.0,
            last_applied: metrics.applied_index.0,
            members: voters.chain(learners).map(member).collect(),
            distro_dropped: dropped.load(atomic::Ordering::Relaxed),
            states_differing: differing.load(atomic::Ordering::Relaxed),
            probes: *read(&probed),
        }
    })
}
