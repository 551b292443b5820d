//! What goes wrong in a world, and what its operators do: power cuts, kills, pauses, full disks,
//! clocks that jump, cut lines, changes of membership, handed-over leadership.

use std::collections::BTreeSet;

use nacolet_model::{Duration, NodeId};
use nacolet_raft::MembershipChange;

use crate::kernel::OUTSIDE;
use crate::story::{Line, Who, words};
use crate::subject::{name, names};
use crate::world::World;

impl World {
    fn some_node(&mut self) -> NodeId {
        let count = self.machines.len() as u64;
        NodeId(1 + self.prng.below(count))
    }

    /// A node, the leader half of the time.
    fn victim(&mut self) -> NodeId {
        match self.leader() {
            Some(leader) if self.prng.chance(1, 2) => leader.id,
            _ => self.some_node(),
        }
    }

    /// One fault, if the plan has that kind.
    pub(crate) fn disturb(&mut self) {
        if self.is_over() {
            return;
        }
        let faults = self.plan.faults;
        if faults.membership && self.prng.chance(1, 3) {
            self.change_membership();
        }
        let victim = self.victim();
        match self.prng.below(12) {
            0 | 1 if faults.crash => {
                let long = if self.prng.chance(1, 3) { 6_000 } else { 500 };
                let down = self.micros(Duration::from_millis(long));
                if self.prng.chance(1, 4) {
                    self.kill(victim, down);
                } else {
                    self.crash(victim, down);
                }
            }
            2 if faults.crash && self.prng.chance(1, 3) => {
                let ids: Vec<NodeId> = self.machines.keys().copied().collect();
                for id in ids {
                    let down = self.micros(Duration::from_millis(800));
                    self.crash(id, down);
                }
            }
            3 if faults.pause => {
                let long = if self.prng.chance(1, 3) { 30_000 } else { 2_000 };
                let time = self.micros(Duration::from_millis(long));
                self.pause(victim, time);
            }
            4 if faults.full => {
                let percent = [0, 40, 100][usize::try_from(self.prng.below(3)).unwrap_or(0)];
                let text = format!("has a disk that refuses {percent} of 100 writes");
                self.tell(|| Line::fault(victim, text));
                self.machines[&victim].hardware.disk.set_full(percent);
            }
            5 if faults.full => {
                self.tell(|| Line::fault(Who::World, "makes room on all disks"));
                self.disks.iter().for_each(|(_, disk)| disk.set_full(0));
            }
            6 if faults.clock => self.turn_clock(victim),
            7 | 8 if faults.partition => self.partition(victim),
            9 => {
                self.tell(|| Line::fault(Who::World, "mends all lines"));
                self.network.mend();
            }
            10 | 11 if faults.operator => self.operate(victim),
            _ => {}
        }
        self.kernel.settle();
        self.observe();
    }

    fn turn_clock(&mut self, id: NodeId) {
        let clock = self.machines[&id].hardware.clock.clone();
        let hour = 3_600_000;
        let (offset, text) = match self.prng.below(6) {
            0 => (Some(hour), "an hour ahead"),
            1 => (Some(-hour), "an hour behind"),
            2 => (Some(24 * hour), "a day ahead"),
            3 => (Some(-24 * hour), "a day behind"),
            4 => (None, "in 1970"),
            _ => (Some(0), "right"),
        };
        match offset {
            Some(offset) => clock.set_wall(offset),
            None => clock.set_wall_to_1970(),
        }
        self.tell(|| Line::fault(id, format!("has a wall clock that is {text} from now on")));
    }

    fn partition(&mut self, victim: NodeId) {
        let ids: Vec<NodeId> = self.machines.keys().copied().collect();
        let others = ids.iter().copied().filter(|id| *id != victim);
        match self.prng.below(5) {
            // Alone.
            0 | 1 => {
                self.tell(|| Line::fault(victim, "is cut off from all others"));
                others.for_each(|other| {
                    self.network.cut(victim, other);
                    self.network.cut(other, victim);
                });
            }
            // It hears nothing, or is not heard.
            2 => {
                let deaf = self.prng.chance(1, 2);
                let text =
                    if deaf { "hears nobody any more" } else { "is heard by nobody any more" };
                self.tell(|| Line::fault(victim, text));
                others.for_each(|other| {
                    let (from, to) = if deaf { (other, victim) } else { (victim, other) };
                    self.network.cut(from, to);
                });
            }
            // Two halves.
            3 => {
                let side: BTreeSet<NodeId> =
                    ids.iter().copied().filter(|_| self.prng.chance(1, 2)).collect();
                self.tell(|| {
                    let others = names(ids.iter().filter(|id| !side.contains(id)));
                    let text = format!("cuts the lines between {} and {others}", names(&side));
                    Line::fault(Who::World, text)
                });
                for a in &ids {
                    for b in ids.iter().filter(|b| side.contains(a) != side.contains(b)) {
                        self.network.cut(*a, *b);
                    }
                }
            }
            // A ring: everybody hears only its neighbours.
            _ => {
                let text = "cuts all lines but those of a ring: each hears its two neighbours";
                self.tell(|| Line::fault(Who::World, text));
                for (at, a) in ids.iter().enumerate() {
                    let near = |b: usize| (at + 1) % ids.len() == b || (b + 1) % ids.len() == at;
                    for (_, b) in ids.iter().enumerate().filter(|(b, _)| *b != at && !near(*b)) {
                        self.network.cut(*a, *b);
                    }
                }
            }
        }
    }

    fn change_membership(&mut self) {
        let Some(leader) = self.leader() else { return };
        let node = self.some_node();
        let membership = &leader.membership;
        let set: BTreeSet<NodeId> = (0..1 + self.prng.below(4)).map(|_| self.some_node()).collect();
        let change = match self.prng.below(8) {
            0 => MembershipChange::SetVoters(set),
            1 if membership.contains(node) => MembershipChange::Remove(BTreeSet::from([node])),
            2 => MembershipChange::Remove(set),
            _ if membership.is_voter(node) && membership.voters.len() > 2 => {
                MembershipChange::Remove(BTreeSet::from([node]))
            }
            _ if membership.learners.contains(&node) => {
                MembershipChange::Promote(BTreeSet::from([node]))
            }
            // A new member, or a new address of an old one.
            _ => {
                let address = format!("host-{node}:{}", 7_000 + self.prng.below(3));
                MembershipChange::AddLearner { node, address }
            }
        };
        let Some(life) = &self.machines[&leader.id].life else { return };
        let (raft, story, id) = (life.raft.clone(), self.story().clone(), leader.id);
        self.tell(|| {
            let change = words::membership_change(&change);
            Line::fault(id, format!("is asked by an operator: {change}"))
        });
        self.kernel.spawn(OUTSIDE, async move {
            let answer = raft.change_membership(change).await;
            story.tell(|| Line::of(id, format!("answers the change of members: {answer:?}")));
        });
    }

    fn operate(&mut self, id: NodeId) {
        let target = self.some_node();
        let by_hand = self.prng.chance(1, 2);
        let named = self.prng.chance(1, 2).then_some(target);
        let Some(life) = &self.machines[&id].life else { return };
        let raft = life.raft.clone();
        self.tell(|| {
            let wish = match named {
                _ if by_hand => "write a snapshot".to_owned(),
                None => "hand the leadership over".to_owned(),
                Some(node) => format!("hand the leadership over to {}", name(node)),
            };
            Line::fault(id, format!("is asked by an operator: {wish}"))
        });
        self.kernel.spawn(OUTSIDE, async move {
            if by_hand {
                raft.trigger_snapshot().await.ok();
            } else {
                raft.transfer_leader(named).await.ok();
            }
        });
    }
}
