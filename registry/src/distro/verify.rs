//! Finds what was lost between members, and repairs it. Each member sends a hash per bucket every
//! few seconds. In a bucket that differs twice in a row something was lost: few changes are on
//! their way at any moment, and hardly ever in the same bucket twice. Then both say what they have
//! in it, send what is newer, and ask for the rest.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use nacolet_model::{NodeId, ServiceKey, limits};

use crate::state::hash::{BUCKETS, bucket};
use crate::state::instance::Instance;
use crate::state::registry::Registry;
use crate::state::service::Service;
use crate::words::io::Output;
use crate::words::message::{
    BucketVersions, InstanceChange, Message, ServiceVersions, WantedPublications,
};
use crate::words::names::{PublicationKey, WriteVersion};

/// Asks a member for what is lacking here, in messages of bounded size.
pub(crate) fn ask_for(member: NodeId, mut wanted: Vec<WantedPublications>, out: &mut Vec<Output>) {
    while !wanted.is_empty() {
        let rest = wanted.split_off(wanted.len().min(limits::DISTRO_HEARD_SERVICES_MAX));
        let message = Message::Want(core::mem::replace(&mut wanted, rest));
        out.push(Output::Send { to: [member].into(), message });
    }
}

/// Everything a member has in one bucket.
type Contents<'a> = BTreeMap<&'a ServiceKey, &'a Service>;

impl Registry {
    /// One hash per bucket.
    fn digest(&mut self) -> Vec<u64> {
        let mut hashes = vec![0_u64; usize::from(BUCKETS)];
        for slot in self.catalog.slots() {
            let Some(service) = self.catalog.get_mut(slot) else { continue };
            let digest = match service.digest {
                Some(digest) => digest,
                None => service.ephemeral_digest(),
            };
            service.digest = Some(digest);
            let sum = &mut hashes[usize::from(bucket(service.name_hash))];
            *sum = sum.wrapping_add(digest);
        }
        hashes
    }

    /// Sends digests to all live members when it is time, and to those that may lack something at
    /// once.
    pub(crate) fn send_digests(&mut self, to_all: bool, out: &mut Vec<Output>) {
        if !self.is_loaded() {
            return;
        }
        let (mut calm, mut urgent) = (Vec::new(), Vec::new());
        for (node, peer) in &mut self.distro.peers {
            if peer.live && core::mem::take(&mut peer.urgent) {
                urgent.push(*node);
            } else if peer.live && to_all {
                calm.push(*node);
            }
        }
        if calm.is_empty() && urgent.is_empty() {
            return;
        }
        let hashes = self.digest();
        for (to, urgent) in [(calm, false), (urgent, true)] {
            if !to.is_empty() {
                let message = Message::Digest { hashes: hashes.clone(), urgent };
                out.push(Output::Send { to, message });
            }
        }
    }

    /// Compares a digest with our own.
    pub(crate) fn compare(
        &mut self,
        from: NodeId,
        theirs: &[u64],
        urgent: bool,
        out: &mut Vec<Output>,
    ) {
        if !self.is_loaded() || theirs.len() != usize::from(BUCKETS) {
            return;
        }
        let mine = self.digest();
        assert_eq!(mine.len(), theirs.len(), "one hash per bucket on both sides");
        let Some(peer) = self.distro.peers.get_mut(&from) else { return };
        let mut differing = Vec::new();
        for (number, (mine, theirs)) in (0..BUCKETS).zip(mine.iter().zip(theirs)) {
            let lost = peer.comparison.differs(number, *mine, *theirs);
            if lost || (urgent && mine != theirs) {
                differing.push(number);
            }
        }
        if differing.is_empty() {
            return;
        }
        self.distro.counts.repaired += u64::try_from(differing.len()).unwrap_or(u64::MAX);
        self.send_versions(from, &differing, out);
    }

    /// Says what is in some buckets.
    fn send_versions(&self, to: NodeId, buckets: &[u16], out: &mut Vec<Output>) {
        let contents = self.contents(buckets);
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for (bucket, services) in contents {
            let services: Vec<ServiceVersions> =
                services.values().map(|one| versions(one)).collect();
            bytes += services.iter().map(|one| 64 + 48 * one.publications.len()).sum::<usize>();
            batch.push(BucketVersions { bucket, services });
            if bytes >= limits::DISTRO_MESSAGE_BYTES {
                let message = Message::Versions(core::mem::take(&mut batch));
                out.push(Output::Send { to: [to].into(), message });
                bytes = 0;
            }
        }
        if !batch.is_empty() {
            out.push(Output::Send { to: [to].into(), message: Message::Versions(batch) });
        }
    }

    /// The services with ephemeral instances in some buckets, by bucket; empty buckets too.
    fn contents(&self, buckets: &[u16]) -> BTreeMap<u16, Contents<'_>> {
        let mut contents: BTreeMap<u16, Contents<'_>> =
            buckets.iter().map(|bucket| (*bucket, Contents::new())).collect();
        for service in self.catalog.services().filter(|service| service.ephemeral_count() > 0) {
            if let Some(services) = contents.get_mut(&bucket(service.name_hash)) {
                services.insert(service.key(), service);
            }
        }
        contents
    }

    /// Another member says what it has in some buckets: sends what is newer here, and asks for what
    /// is newer there.
    pub(crate) fn repair(
        &mut self,
        from: NodeId,
        buckets: Vec<BucketVersions>,
        out: &mut Vec<Output>,
    ) {
        if !self.is_loaded() {
            return;
        }
        let numbers: Vec<u16> = buckets.iter().map(|theirs| theirs.bucket).collect();
        let contents = self.contents(&numbers);
        let (mut newer, mut wanted) = (Vec::new(), Vec::new());
        for BucketVersions { bucket, services } in buckets {
            let Some(mine) = contents.get(&bucket) else { continue };
            let mut only_here = mine.clone();
            for theirs in services {
                let here = only_here.remove(&theirs.service);
                self.repair_service(here, theirs, &mut newer, &mut wanted);
            }
            for (key, service) in only_here {
                let ephemeral = service.publications().iter().filter(|one| one.ephemeral());
                newer.extend(ephemeral.map(|one| (key.clone(), one.to_change())));
            }
        }
        self.send_changes(&[from], newer, out);
        ask_for(from, wanted, out);
    }

    fn repair_service(
        &self,
        here: Option<&Service>,
        theirs: ServiceVersions,
        newer: &mut Vec<(ServiceKey, InstanceChange)>,
        wanted: &mut Vec<WantedPublications>,
    ) {
        let ServiceVersions { service: key, publications } = theirs;
        let mine = here.map_or(&[][..], Service::publications).iter().filter(|one| one.ephemeral());
        let mut only_here: BTreeMap<PublicationKey, &Instance> =
            mine.map(|instance| (instance.publication(), instance)).collect();
        let mut lacking = Vec::new();
        for (publication, born, version) in publications {
            let theirs: (WriteVersion, WriteVersion) = (born, version);
            match only_here.remove(&publication) {
                Some(mine) if (mine.born(), mine.version()) > theirs => {
                    newer.push((key.clone(), mine.to_change()));
                }
                Some(mine) if (mine.born(), mine.version()) == theirs => {}
                Some(_) => lacking.push(publication),
                None => match self.copy_at(&key, &publication) {
                    Some(gone @ InstanceChange::Gone { .. }) if gone.covers(born) => {
                        newer.push((key.clone(), gone));
                    }
                    Some(_) | None => lacking.push(publication),
                },
            }
        }
        // What nobody named is unknown there.
        newer.extend(only_here.into_values().map(|mine| (key.clone(), mine.to_change())));
        if !lacking.is_empty() {
            wanted.push(WantedPublications { service: key, publications: lacking });
        }
    }

    /// Sends what another member lacks.
    pub(crate) fn wanted(
        &mut self,
        from: NodeId,
        wanted: Vec<WantedPublications>,
        out: &mut Vec<Output>,
    ) {
        let mut changes = Vec::new();
        for WantedPublications { service, publications } in wanted {
            let copies = publications.iter().filter_map(|key| self.copy_at(&service, key));
            changes.extend(copies.map(|copy| (service.clone(), copy)));
        }
        self.send_changes(&[from], changes, out);
    }
}

fn versions(service: &Service) -> ServiceVersions {
    let ephemeral = service.publications().iter().filter(|instance| instance.ephemeral());
    let publications =
        ephemeral.map(|one| (one.publication(), one.born(), one.version())).collect();
    ServiceVersions { service: service.key().clone(), publications }
}

impl InstanceChange {
    fn covers(&self, registration: WriteVersion) -> bool {
        matches!(self, Self::Gone { covered, .. } if *covered >= registration)
    }
}
