//! What the registries of members say to each other. A wire format in postcard: variants and fields
//! are appended, never reordered; golden bytes are in the tests. Every message may be lost,
//! repeated or arrive late: each carries enough to be ignored.

use alloc::vec::Vec;

use nacolet_model::ServiceKey;
use serde::{Deserialize, Serialize};

pub use crate::words::names::{Life, PublicationKey, WriteVersion};
use crate::words::spec::{InstanceKey, InstanceSpec};

/// A message between the registries of two members.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// A sign of life, once a second.
    Ping(Ping),
    /// Copies of what changed, or of what the receiver lacks.
    Sync(Vec<ServiceChanges>),
    /// Beats that came to the sender for instances that the receiver watches.
    Heard(Vec<HeardBeats>),
    /// Hashes over all ephemeral instances of the sender.
    Digest {
        /// One per bucket of services.
        hashes: Vec<u64>,
        /// The sender lost messages to the receiver, or has not seen it for a while: what differs
        /// is not on its way.
        urgent: bool,
    },
    /// All that the sender has in some buckets: the receiver sends what is newer and asks for the
    /// rest.
    Versions(Vec<BucketVersions>),
    /// The sender lacks these.
    Want(Vec<WantedPublications>),
    /// Asks for everything, from the service after this one on.
    Load {
        /// The last service of the page before; none for the first page.
        after: Option<ServiceKey>,
    },
    /// Answer to [`Message::Load`].
    Page {
        /// An echo of what was asked.
        after: Option<ServiceKey>,
        /// Some services, in order.
        services: Vec<ServiceChanges>,
        /// Where the next page begins; none after the last one.
        next: Option<ServiceKey>,
    },
}

/// A sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// The sender's life.
    pub life: Life,
    /// The highest counter that the sender has seen.
    pub counter: u64,
    /// Whether the sender holds everything: only then it can be responsible for a service.
    pub loaded: bool,
}

/// Changes of one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceChanges {
    /// Which service.
    pub service: ServiceKey,
    /// What happened in it.
    pub changes: Vec<InstanceChange>,
    /// Reference time of the sender's list without these changes; 0 where that is not told. A
    /// receiver whose list is newer holds something that the sender did not know of.
    pub before: u64,
    /// Reference time of the sender's list with them.
    pub after: u64,
}

/// What is known of one publication of an ephemeral instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum InstanceChange {
    /// It is there.
    Up {
        /// What its owner registered.
        spec: InstanceSpec,
        /// The connection that keeps it alive, 0 where beats do.
        owner: u64,
        /// When it was registered.
        born: WriteVersion,
        /// When it last changed.
        version: WriteVersion,
    },
    /// It is gone, and everything that was registered up to `covered` with it.
    Gone {
        /// Which one.
        key: PublicationKey,
        /// Registrations up to this one are over.
        covered: WriteVersion,
        /// Why.
        cause: GoneCause,
    },
}

/// Why an instance is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GoneCause {
    /// Somebody deregistered it, or its connection closed.
    Deregistered,
    /// Nobody heard of it for too long. Whoever did hear of it registers it anew.
    Expired,
}

/// Beats for instances of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeardBeats {
    /// Which service.
    pub service: ServiceKey,
    /// Which instances, and how many milliseconds ago.
    pub instances: Vec<(InstanceKey, u32)>,
}

/// Everything in one bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketVersions {
    /// Which bucket.
    pub bucket: u16,
    /// Its services.
    pub services: Vec<ServiceVersions>,
}

/// The ephemeral instances of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceVersions {
    /// Which service.
    pub service: ServiceKey,
    /// Its publications in order, when they were registered and when they last changed.
    pub publications: Vec<(PublicationKey, WriteVersion, WriteVersion)>,
}

/// Instances of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedPublications {
    /// Which service.
    pub service: ServiceKey,
    /// Which ones.
    pub publications: Vec<PublicationKey>,
}

#[cfg(test)]
mod tests {
    use core::fmt::Debug;

    use alloc::vec;
    use nacolet_model::{ClusterName, Prng};
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::testing::service_key;

    fn key() -> InstanceKey {
        let cluster = ClusterName::new("c").expect("cluster");
        InstanceKey { ip: "a".into(), port: 300, cluster }
    }

    fn owned() -> PublicationKey {
        PublicationKey { instance: key(), owner: 5 }
    }

    const SERVICE: [u8; 11] = *b"\x06public\x01g\x01s";
    const KEY: [u8; 6] = [1, b'a', 172, 2, 1, b'c'];
    const OWNED: [u8; 7] = [1, b'a', 172, 2, 1, b'c', 5];

    /// These bytes are what other versions of the program send.
    fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, expected: &[&[u8]]) {
        let bytes = postcard::to_allocvec(value).expect("it encodes");
        assert_eq!(bytes, expected.concat(), "{value:?}");
        assert_eq!(&postcard::from_bytes::<T>(&bytes).expect("it decodes"), value);
    }

    #[test]
    fn messages_have_golden_bytes() {
        let version = |counter| WriteVersion { counter, life: Life(9) };
        let ping = Ping { life: Life(9), counter: 300, loaded: true };
        check(&Message::Ping(ping), &[&[0, 9, 172, 2, 1]]);
        let mut spec = InstanceSpec::new("a", 300);
        spec.cluster = key().cluster;
        let up = InstanceChange::Up { spec, owner: 5, born: version(1), version: version(2) };
        let fields = [0, 0, 0, 0, 0, 0, 240, 63, 1, 1, 1, 0, 0];
        check(&up, &[&[0], &KEY, &fields, &[5, 1, 9, 2, 9]]);
        let gone =
            InstanceChange::Gone { key: owned(), covered: version(4), cause: GoneCause::Expired };
        check(&gone, &[&[1], &OWNED, &[4, 9, 1]]);
        let changes = ServiceChanges {
            service: service_key("g@@s"),
            changes: vec![gone.clone()],
            before: 3,
            after: 300,
        };
        check(
            &Message::Sync(vec![changes.clone()]),
            &[&[1, 1], &SERVICE, &[1, 1], &OWNED, &[4, 9, 1, 3, 172, 2]],
        );
        let heard = HeardBeats { service: service_key("g@@s"), instances: vec![(key(), 7)] };
        check(&Message::Heard(vec![heard]), &[&[2, 1], &SERVICE, &[1], &KEY, &[7]]);
        check(&Message::Digest { hashes: vec![1, 300], urgent: true }, &[&[3, 2, 1, 172, 2, 1]]);
        let publications = vec![(owned(), version(1), version(2))];
        let services = vec![ServiceVersions { service: service_key("g@@s"), publications }];
        check(
            &Message::Versions(vec![BucketVersions { bucket: 8, services }]),
            &[&[4, 1, 8, 1], &SERVICE, &[1], &OWNED, &[1, 9, 2, 9]],
        );
        let service = service_key("g@@s");
        let wanted = WantedPublications { service, publications: vec![owned()] };
        check(&Message::Want(vec![wanted]), &[&[5, 1], &SERVICE, &[1], &OWNED]);
        check(&Message::Load { after: Some(service_key("g@@s")) }, &[&[6, 1], &SERVICE]);
        let page = Message::Page { after: None, services: vec![changes], next: None };
        check(&page, &[&[7, 0, 1], &SERVICE, &[1, 1], &OWNED, &[4, 9, 1, 3, 172, 2, 0]]);
        check(&GoneCause::Deregistered, &[&[0]]);
    }

    #[test]
    fn random_bytes_are_a_message_or_an_error() {
        let mut prng = Prng::new(5);
        for _ in 0..20_000 {
            let length = prng.below(64);
            let bytes: Vec<u8> =
                (0..length).map(|_| u8::try_from(prng.below(256)).unwrap_or(0)).collect();
            if let Ok(message) = postcard::from_bytes::<Message>(&bytes) {
                let again = postcard::to_allocvec(&message).expect("it encodes");
                let same = postcard::from_bytes::<Message>(&again).expect("it decodes");
                // Weights may be NaN, which is not equal to itself.
                assert_eq!(postcard::to_allocvec(&same).expect("it encodes"), again);
            }
        }
    }
}
