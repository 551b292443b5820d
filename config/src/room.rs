//! How much memory configs and their past may take where members have little of it. Each member
//! states its room by a command; the least of them binds all, so that every member keeps the same.
//! Where nobody says anything, nothing but the other limits binds.
//!
//! What is counted is what a member holds, beside contents the keys, labels and blocks around them.
//! It is counted in constants, not in the sizes of this machine: members of different kinds agree.

use alloc::collections::BTreeMap;

use nacolet_model::{NodeId, limits};

use crate::command::{CommandError, Labels, Operator};

/// Of the whole room, one part is for the past alone.
const PAST_PARTS: usize = 16;
/// What one config takes beside its texts: its place in the map, its key's block and its own.
pub(crate) const SLOT_BYTES: usize = 256;
/// A gray version beside its texts.
pub(crate) const GRAY_BYTES: usize = 256;
/// A history item beside its texts.
pub(crate) const ITEM_BYTES: usize = 192;
/// A block of labels beside its texts.
const LABELS_BYTES: usize = 192;

/// What each member has stated.
#[derive(Clone, Default)]
pub(crate) struct Rooms(BTreeMap<NodeId, u64>);

impl Rooms {
    /// Notes what `member` states, or forgets it; answers whether that was news.
    pub(crate) fn state(
        &mut self,
        member: NodeId,
        bytes: Option<u64>,
    ) -> Result<bool, CommandError> {
        let Some(bytes) = bytes else { return Ok(self.0.remove(&member).is_some()) };
        if self.0.len() >= limits::MEMBERS_MAX && !self.0.contains_key(&member) {
            return Err(CommandError::TooManyRooms);
        }
        Ok(self.0.insert(member, bytes) != Some(bytes))
    }

    pub(crate) fn stated(&self) -> &BTreeMap<NodeId, u64> {
        &self.0
    }

    /// The least one.
    pub(crate) fn least(&self) -> Option<u64> {
        self.0.values().copied().min()
    }
}

/// Bytes that everything which can be read may take.
pub(crate) fn contents_max(room: Option<u64>) -> usize {
    room.map_or(usize::MAX, |room| whole(room) - whole(room) / PAST_PARTS)
}

/// Bytes that the past may take in a room beside `contents` bytes of what can be read: what those
/// leave, and a part of the room at least. Without a room there is no such bound.
#[must_use]
pub fn past_max(room: Option<u64>, contents: usize) -> usize {
    let left = |room: usize| room.saturating_sub(contents).max(room / PAST_PARTS);
    room.map_or(usize::MAX, |room| left(whole(room)))
}

fn whole(room: u64) -> usize {
    usize::try_from(room).unwrap_or(usize::MAX)
}

/// What the texts around a content take.
pub(crate) fn texts(labels: Option<&Labels>, operator: &Operator) -> usize {
    let labels = labels.map_or(0, |labels| {
        let Labels { config_type: _, app_name, desc, tags, use_, effect, schema, .. } = labels;
        let texts = [app_name, desc, use_, effect, schema, &labels.encrypted_data_key];
        texts.into_iter().chain(tags).fold(LABELS_BYTES, |bytes, text| bytes + text.len())
    });
    labels + operator.user.len() + operator.ip.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_shared_by_what_is_and_what_was() {
        const MIB: usize = 1 << 20;
        for (room, contents, may_be, may_have_been) in [
            (None, 0, usize::MAX, usize::MAX),
            (None, MIB, usize::MAX, usize::MAX),
            (Some(4), 0, 4 * MIB - MIB / 4, 4 * MIB),
            (Some(16), 0, 15 * MIB, 16 * MIB),
            (Some(16), 10 * MIB, 15 * MIB, 6 * MIB),
            (Some(16), 15 * MIB, 15 * MIB, MIB),
            (Some(16), 99 * MIB, 15 * MIB, MIB),
            (Some(256), 16 * MIB, 240 * MIB, 240 * MIB),
        ] {
            let room = room.map(|room: u64| room << 20);
            assert_eq!(contents_max(room), may_be, "{room:?}");
            assert_eq!(past_max(room, contents), may_have_been, "{room:?} {contents}");
        }
    }

    #[test]
    fn the_least_room_counts_and_no_more_members_state_one_than_there_are() {
        let mut rooms = Rooms::default();
        assert_eq!(rooms.least(), None);
        for member in 0..limits::MEMBERS_MAX as u64 {
            assert_eq!(rooms.state(NodeId(member), Some(100 - member)), Ok(true));
            assert_eq!(rooms.least(), Some(100 - member));
        }
        assert_eq!(rooms.state(NodeId(99), Some(1)), Err(CommandError::TooManyRooms));
        assert_eq!(rooms.state(NodeId(3), Some(1)), Ok(true));
        assert_eq!(rooms.state(NodeId(3), Some(1)), Ok(false));
        assert_eq!(rooms.least(), Some(1));
        assert_eq!(rooms.state(NodeId(3), None), Ok(true));
        assert_eq!(rooms.state(NodeId(3), None), Ok(false));
        assert_eq!(rooms.state(NodeId(99), Some(1)), Ok(true));
    }
}
