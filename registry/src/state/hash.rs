//! Which member decides for which service: a rendezvous hash over the members that can, so that the
//! loss of one moves its share alone and its return brings back just that. Also the buckets by
//! which members compare what they hold. Both are the same on every member, so the hash is part of
//! the protocol.

use nacolet_model::{NodeId, Prng, ServiceKey};

use crate::state::instance::Instance;
use crate::words::names::ClientId;

/// Buckets of services that digests are made over: few enough to be sent every few seconds (2 KiB),
/// and with 20,000 instances some 80 names to compare where one differs.
pub(crate) const BUCKETS: u16 = 256;

/// The member that decides: the one with the highest score; `None` without members.
pub(crate) fn responsible(name_hash: u64, members: &[NodeId]) -> Option<NodeId> {
    members.iter().copied().max_by_key(|node| (mix(name_hash ^ mix(node.0)), *node))
}

/// The bucket of a service.
pub(crate) fn bucket(name_hash: u64) -> u16 {
    u16::try_from(name_hash % u64::from(BUCKETS)).unwrap_or(0)
}

/// Hash of the name of a service.
pub(crate) fn name_hash(key: &ServiceKey) -> u64 {
    let parts = [key.namespace.as_str(), key.group.as_str(), key.name.as_str()];
    mix(parts.into_iter().fold(START, |hash, part| fold(fold(hash, part.as_bytes()), &[0xff])))
}

/// Hash of one publication of an ephemeral instance at its version.
pub(crate) fn instance_hash(instance: &Instance) -> u64 {
    let mut hash = fold(START, instance.ip().as_bytes());
    hash = fold(hash, &instance.port().to_le_bytes());
    hash = fold(hash, instance.cluster().as_bytes());
    hash = mix(hash ^ instance.owner().map_or(0, ClientId::as_u64));
    for version in [instance.born(), instance.version()] {
        hash = mix(hash ^ version.counter);
        hash = mix(hash ^ u64::from(version.life.0));
    }
    hash
}

/// Where an FNV-1a hash begins.
pub(crate) const START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a.
pub(crate) fn fold(hash: u64, bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(hash, step)
}

/// Spreads the bits of a number over all of them.
pub(crate) fn mix(number: u64) -> u64 {
    Prng::new(number).next_u64()
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec::Vec;

    use super::*;
    use crate::testing::service_key;

    fn hashes() -> Vec<u64> {
        let hash = |number: u32| name_hash(&service_key(&format!("orders-{number}")));
        (0..6_000).map(hash).collect()
    }

    #[test]
    fn every_member_has_its_share() {
        let members = [NodeId(3), NodeId(8), NodeId(1 << 60)];
        for member in members {
            let is_its = |hash: &&u64| responsible(**hash, &members) == Some(member);
            let share = hashes().iter().filter(is_its).count();
            assert!((1_800..2_200).contains(&share), "{member}: {share} of 6000");
        }
    }

    #[test]
    fn the_loss_of_a_member_moves_its_share_alone() {
        let all = [NodeId(3), NodeId(8), NodeId(1 << 60)];
        let rest = [NodeId(3), NodeId(1 << 60)];
        for hash in hashes() {
            let before = responsible(hash, &all);
            if before != Some(NodeId(8)) {
                assert_eq!(responsible(hash, &rest), before);
            }
        }
    }

    #[test]
    fn the_order_of_members_does_not_matter() {
        for hash in hashes() {
            let (one, other) = ([NodeId(3), NodeId(8)], [NodeId(8), NodeId(3)]);
            assert_eq!(responsible(hash, &one), responsible(hash, &other));
        }
        assert_eq!(responsible(7, &[]), None);
    }

    #[test]
    fn services_spread_over_all_buckets() {
        let mut counts = [0_u32; BUCKETS as usize];
        hashes().into_iter().for_each(|hash| counts[usize::from(bucket(hash))] += 1);
        let (low, high) = (counts.iter().min(), counts.iter().max());
        assert!(low > Some(&5) && high < Some(&60), "{low:?} {high:?}");
    }

    #[test]
    fn the_hash_is_part_of_the_protocol() {
        assert_eq!(name_hash(&service_key("orders")), 10_138_647_702_117_488_697);
    }
}
