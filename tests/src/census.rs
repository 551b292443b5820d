//! Looks at the registries of all nodes at once, as somebody who stands outside of the world can.

use std::collections::{BTreeMap, BTreeSet};

use nacolet_machine::read;
use nacolet_model::{Duration, NodeId};
use nacolet_registry::Registry;

use crate::checker::{Broken, Census, Listed, NodeLook};
use crate::world::{Machine, World};

/// Whoever lives is on every list this long after everything else has healed.
const LIVING_LISTED: Duration = Duration::from_secs(20);
/// Whoever is gone, without a word at worst, is on no list after that.
const ALL_ALIKE: Duration = Duration::from_secs(60);

impl World {
    /// Shows the checkers what every node lists.
    pub(crate) fn look(&mut self) {
        let looks = self.looks();
        let (journal, now) = (self.network.journal(), self.kernel.now());
        let views = self.machines.iter().map(|(id, machine)| (*id, &machine.members)).collect();
        let census = Census { now, nodes: &looks, views, journal: &journal.borrow() };
        self.checkers.lists(&census);
    }

    fn looks(&mut self) -> Vec<NodeLook> {
        let now = self.kernel.now();
        let mut looks = Vec::new();
        for (id, machine) in &mut self.machines {
            let Some(life) = &machine.life else { continue };
            let registry = read(&life.shared.registry);
            let peers = registry.distro().peers.into_iter().map(|peer| peer.node);
            let members: BTreeSet<NodeId> = peers.chain([*id]).collect();
            if machine.members.1 != members {
                machine.members = (now, members);
            }
            let ready = registry.is_loaded() && life.has_ceiling.get();
            machine.ready = ready.then(|| machine.ready.unwrap_or(now));
            let (listed, ref_times) = lists_of(&registry);
            let ports = || listed.keys().copied().collect();
            self.kernel.story().watch(|watched| watched.lists(*id, life.number, ports()));
            looks.push(NodeLook {
                node: *id,
                life: life.number,
                paused: self.kernel.is_paused(life.group),
                ready: machine.ready,
                resumed: machine.resumed,
                listed,
                ref_times,
            });
        }
        looks
    }

    fn member_looks(&mut self) -> Vec<NodeLook> {
        let members = self.leader().map(|leader| leader.membership.members()).unwrap_or_default();
        let mut looks = self.looks();
        looks.retain(|look| members.contains(&look.node));
        looks
    }

    /// After everything has healed: all registries come to list the same, and that is who lives.
    pub(crate) fn settle_registries(&mut self) {
        for (time, all) in [(LIVING_LISTED, false), (ALL_ALIKE, true)] {
            let end = self.kernel.now() + time;
            loop {
                let looks = self.member_looks();
                let difference = self.checkers.difference(&looks, all);
                let Some(Broken { what, about }) = difference else { break };
                if self.is_over() {
                    return;
                }
                if self.kernel.now() >= end {
                    let what = format!("after {time:?} {what}; {}", self.views());
                    return self.checkers.fail_about("P6", about, what);
                }
                self.run_until(self.kernel.now() + Duration::from_millis(250));
            }
        }
    }

    fn views(&self) -> String {
        let view = |(id, machine): (&NodeId, &Machine)| {
            let registry = &machine.life.as_ref()?.shared.registry;
            Some(format!("{id}: {:?}\n", read(registry).distro()))
        };
        self.machines.iter().filter_map(view).collect()
    }
}

/// Ephemeral instances by port, and the reference times of lists that are not empty.
fn lists_of(registry: &Registry) -> (BTreeMap<u16, Listed>, BTreeMap<String, u64>) {
    let (mut listed, mut ref_times) = (BTreeMap::new(), BTreeMap::new());
    for service in registry.all_services().filter(|service| !service.publications().is_empty()) {
        ref_times.insert(service.key().name.as_str().to_owned(), service.last_ref_time());
        for instance in service.instances().filter(|instance| instance.ephemeral()) {
            let owner = instance.owner().map_or(0, |owner| owner.0);
            listed.insert(instance.port(), Listed { healthy: instance.healthy(), owner });
        }
    }
    (listed, ref_times)
}
