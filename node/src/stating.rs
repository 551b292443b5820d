//! Tells all members what room this one has for configs, and has the leader take back what a member
//! told that has left. It looks from time to time, so whatever fails is tried again.

use std::convert::Infallible;

use nacolet_config as config;
use nacolet_model::{NodeId, limits};
use nacolet_raft::{Membership, Raft, engine};
use smol::Timer;

use crate::command::Command;
use crate::machine::{Machine, Shared, read};
use crate::proposer::Proposer;
use crate::room::Room;
use crate::space::Space;

/// Keeps what the members have agreed on true.
pub(crate) struct Stating {
    pub(crate) room: Room,
    pub(crate) shared: Shared,
    pub(crate) raft: Raft<Machine>,
    pub(crate) proposer: Proposer,
    pub(crate) space: Space,
}

impl Stating {
    /// States what is not stated yet, for as long as the node runs.
    pub(crate) async fn run(&self) -> Infallible {
        loop {
            Timer::after(limits::LEADER_LOOK_EVERY * 2).await;
            self.once().await;
        }
    }

    /// States what is not stated yet; one who is not heard tries again later.
    pub(crate) async fn once(&self) {
        let metrics = self.raft.metrics();
        let leads = metrics.role == engine::RoleKind::Leader;
        if metrics.leader.is_none() || (leads && metrics.storage_full) {
            return;
        }
        let (configs, past) = read(&self.shared.configs).weight();
        let room = if self.space.is_low() { tight(configs, past) } else { None };
        let room = room.unwrap_or(self.room);
        let stated: Vec<_> = read(&self.shared.configs).rooms().collect();
        let due = due(metrics.id, room, leads, &metrics.membership, &stated);
        let Some((member, bytes)) = due else { return };
        let command = config::Command::Room { member, bytes };
        match self.proposer.propose(Command::Config(command)).await {
            Ok(_) => {
                let room = read(&self.shared.configs).room();
                tracing::info!(%member, ?bytes, ?room, "room for configs is stated");
            }
            Err(error) => tracing::debug!(%error, "room for configs is not stated"),
        }
    }
}

/// Where the disk is nearly full and the past of configs takes some of it, that is cut by saying
/// for a moment that there is no room for it.
fn tight(configs: usize, past: usize) -> Option<Room> {
    const SLACK: usize = 512 << 10;
    let left = config::past_max(Some(limits::ROOM_BYTES_MIN), configs);
    (past > left + SLACK).then_some(Room(limits::ROOM_BYTES_MIN))
}

/// The next thing to be said: of this member itself, and by the leader of one that is gone.
fn due(
    me: NodeId,
    room: Room,
    leads: bool,
    membership: &Membership,
    stated: &[(NodeId, u64)],
) -> Option<(NodeId, Option<u64>)> {
    let own = stated.iter().find(|(member, _)| *member == me).map(|(_, bytes)| *bytes);
    if membership.contains(me) && own != room.stated() {
        return Some((me, room.stated()));
    }
    let gone = stated.iter().find(|(member, _)| leads && !membership.contains(*member));
    gone.map(|(member, _)| (*member, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_past_is_cut_once_where_that_makes_room() {
        const MIB: usize = 1 << 20;
        let least = Some(Room(limits::ROOM_BYTES_MIN));
        assert_eq!(tight(MIB, 3 * MIB), None, "as much as stays");
        assert_eq!(tight(MIB, 4 * MIB), least);
        assert_eq!(tight(50 * MIB, MIB / 4), None);
        assert_eq!(tight(50 * MIB, MIB), least);
    }

    #[test]
    fn a_member_states_its_room_and_the_leader_takes_back_that_of_one_who_left() {
        let node = NodeId;
        let members = Membership {
            voters: [node(1), node(2)].into(),
            learners: [node(3)].into(),
            ..Membership::default()
        };
        let (little, much) = (Room(8 << 20), Room(limits::ROOM_BYTES_MAX));
        let own = Some(little.0);
        for (me, room, leads, stated, expected) in [
            (1, much, true, vec![], None),
            (1, little, false, vec![], Some((node(1), own))),
            (3, little, false, vec![(node(1), 8 << 20)], Some((node(3), own))),
            (1, little, true, vec![(node(1), 8 << 20)], None),
            (1, little, true, vec![(node(1), 9 << 20)], Some((node(1), own))),
            (1, much, true, vec![(node(1), 9 << 20)], Some((node(1), None))),
            (2, much, false, vec![(node(4), 9 << 20)], None),
            (2, much, true, vec![(node(3), 5 << 20), (node(4), 9 << 20)], Some((node(4), None))),
            // One that is no member yet.
            (5, little, false, vec![], None),
        ] {
            let due = due(node(me), room, leads, &members, &stated);
            assert_eq!(due, expected, "{me} {room:?} {leads} {stated:?}");
        }
    }
}
