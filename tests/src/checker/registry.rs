//! P6 and P7: a node lists exactly the instances of the clients it hears. Nobody who beats is dropped,
//! whatever the wall clock, the disk, Raft or a pause of the node does; whoever is silent for long
//! enough is gone.

use std::collections::BTreeMap;

use nacolet_model::{Duration, Instant, NodeId, limits};

use super::Check;

/// A beat or a registration that a node answered.
#[derive(Clone, Copy, Debug)]
pub struct Beaten {
    /// The node.
    pub node: NodeId,
    /// Its life.
    pub life: u64,
    /// The instance, by its port.
    pub port: u16,
    /// No later than the node took it, by its own clock.
    pub since: Instant,
    /// When the answer was there, by the node's clock.
    pub until: Instant,
}

/// What a node lists at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look<'a> {
    pub(crate) node: NodeId,
    pub(crate) life: u64,
    /// By the node's clock.
    pub(crate) now: Instant,
    /// When the node last went on after a pause, by its clock.
    pub(crate) resumed: Instant,
    /// The reference time of the list.
    pub(crate) ref_time: u64,
    /// Ports of listed ephemeral instances, and whether each is healthy.
    pub(crate) listed: &'a BTreeMap<u16, bool>,
}

/// The last sign of life of every instance, by node, and the newest reference time of each node.
#[derive(Default)]
pub(crate) struct Registrations {
    beaten: BTreeMap<(NodeId, u16), Beaten>,
    ref_times: BTreeMap<NodeId, u64>,
}

/// Silent for this long after everything else, an instance must be gone: a beat on its way, the looks
/// and the clock's grid.
const SLACK: Duration = Duration::from_secs(15);

impl Registrations {
    pub(crate) fn beaten(&mut self, beaten: &Beaten) {
        self.beaten.insert((beaten.node, beaten.port), *beaten);
    }

    pub(crate) fn leaves(&mut self, node: NodeId, port: u16) {
        self.beaten.remove(&(node, port));
    }

    pub(crate) fn look(&mut self, look: &Look<'_>) -> Check {
        let Look { node, now, listed, .. } = *look;
        let newest = self.ref_times.entry(node).or_default();
        if look.ref_time < *newest && !listed.is_empty() {
            return Err(format!("the reference time of {node} goes back from {newest}"));
        }
        *newest = look.ref_time.max(*newest);
        for ((at, port), beaten) in &self.beaten {
            if *at != node || beaten.life != look.life {
                continue;
            }
            let silent = now.saturating_since(beaten.since);
            let healthy = listed.get(port);
            if silent < limits::IP_DELETE_TIMEOUT && healthy.is_none() {
                return Err(format!("{node} dropped {port}, silent for {silent:?}"));
            }
            if silent < limits::BEAT_TIMEOUT && healthy == Some(&false) {
                return Err(format!("{node} calls {port} unhealthy, silent for {silent:?}"));
            }
            let heard = beaten.until.max(look.resumed);
            let long = limits::IP_DELETE_TIMEOUT + SLACK;
            if now.saturating_since(heard) > long && healthy.is_some() {
                return Err(format!("{node} still lists {port}, silent for {silent:?}"));
            }
        }
        Ok(())
    }
}
