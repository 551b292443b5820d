//! Probes of persistent instances: whom this member asks, when, what the answers mean, what is
//! proposed. The connections are the shell's. Read this file first, then `aim`: where to connect to
//! and what to say there.
//!
//! ```text
//!  begin ─► a batch of probes, each with its moment ─► the shell asks ─► judge ─► SetHealth
//!    ▲                                                                     │
//!    └────── the next batch at once, or the next round when it is due ─────┘
//! ```
//!
//! A round asks every instance once, spread over the interval. It goes in batches so that memory
//! stays bounded, and so that what many say together can be weighed: when nobody at all answers, it
//! is rather our own network that is gone. A proposal that fails is made again in the next round.

mod aim;

pub use aim::ProbeRequest;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use nacolet_model::{Duration, Instant, ServiceKey, limits};

use crate::state::instance::Instance;
use crate::state::registry::Registry;
use crate::state::service::Service;
use crate::words::command::Command;
use crate::words::meta::HealthChecker;
use crate::words::spec::InstanceKey;

/// Whom a probe is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbeTarget {
    /// The service.
    pub service: ServiceKey,
    /// The instance.
    pub instance: InstanceKey,
}

/// One connection to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Whom it is about.
    pub target: ProbeTarget,
    /// When to begin.
    pub at: Instant,
    /// Where to connect to; nothing else is connected to, whatever is answered.
    pub address: SocketAddr,
    /// What to say there.
    pub ask: ProbeRequest,
}

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// What was hoped for.
    Well,
    /// A sign of life, and not that one.
    Wrong,
    /// No sign of life in time.
    Silent,
    /// This node could not ask, which says nothing about the instance.
    Unasked,
}

/// What came of the probes since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeCounts {
    /// Instances that were asked.
    pub asked: u64,
    /// Of those, the ones that did not answer well.
    pub failed: u64,
    /// Probes that say nothing: they could not be made, or the trouble was rather our own.
    pub void: u64,
    /// Probes that were not made: the address is one that no client may make us connect to.
    pub barred: u64,
    /// Changes of health that were proposed.
    pub proposed: u64,
}

/// An instance was found to be other than it is said to be.
#[derive(Debug)]
struct Contrary {
    /// What it was found to be.
    healthy: bool,
    /// How often in a row.
    times: u8,
}

/// What the rounds so far have found.
#[derive(Debug, Default)]
pub struct Rounds {
    contrary: BTreeMap<ProbeTarget, Contrary>,
    /// The last one asked in the round that is under way.
    last: Option<ProbeTarget>,
    /// When the next probe is due.
    due: Instant,
    /// Between two probes of a round.
    pace: Duration,
    /// When the next round is due.
    next: Instant,
    /// When the next batch was expected to begin.
    awaited: Instant,
    /// A batch that ends later than this was stopped on the way.
    until: Instant,
    counts: ProbeCounts,
}

impl Rounds {
    /// When the next batch is due.
    pub fn next_deadline(&mut self, now: Instant) -> Instant {
        self.awaited = if self.last.is_some() { now } else { self.next.max(now) };
        self.awaited
    }

    /// What came of them so far.
    #[must_use]
    pub fn counts(&self) -> ProbeCounts {
        self.counts
    }

    /// Whom to probe next: persistent instances of services that this member is responsible for.
    /// `own_ports` are those of the members; nothing is probed there, on whichever host.
    pub fn begin(
        &mut self,
        now: Instant,
        registry: &Registry,
        own_ports: &BTreeSet<u16>,
    ) -> Vec<Probe> {
        // After a pause of ours, what was found before it says nothing about now.
        if self.awaited + limits::OWN_PAUSE < now {
            self.contrary.clear();
        }
        if self.last.is_none() {
            let counts = registry.probed_services(None).map(Service::persistent_count);
            let count = u32::try_from(counts.sum::<usize>()).unwrap_or(u32::MAX);
            self.pace = limits::PROBE_EVERY / count.max(1);
            self.due = now;
            self.next = now + limits::PROBE_EVERY;
        }
        let mut probes = Vec::new();
        // The round goes on after the last one asked; when none is left, the round is over.
        let last = self.last.take();
        for (service, instance) in registry.probed_after(last.as_ref()) {
            let (checker, port) = checker(service, instance);
            let Some((address, ask)) = aim::aim(instance.ip(), port, checker, own_ports) else {
                self.counts.barred += 1;
                continue;
            };
            let target = ProbeTarget { service: service.key().clone(), instance: instance.key() };
            probes.push(Probe { target, at: self.due, address, ask });
            self.due += self.pace;
            if probes.len() == limits::PROBES_PER_BATCH_MAX {
                self.last = probes.last().map(|probe| probe.target.clone());
                break;
            }
        }
        debug_assert!(probes.len() <= limits::PROBES_PER_BATCH_MAX, "a batch is bounded");
        debug_assert!(
            probes.is_sorted_by_key(|probe| probe.at),
            "probes have their moments in order"
        );
        let turns = u32::try_from(probes.len().div_ceil(limits::PROBES_AT_ONCE_MAX));
        let longest = limits::PROBE_TIMEOUT * turns.unwrap_or(u32::MAX);
        self.until = self.due.max(now) + longest + limits::OWN_PAUSE;
        probes
    }

    /// What to propose after a batch. The health of an instance changes after some answers in a row
    /// that say the same.
    pub fn judge(
        &mut self,
        now: Instant,
        registry: &Registry,
        own_ports: &BTreeSet<u16>,
        found: &[(Probe, ProbeResult)],
    ) -> Vec<Command> {
        self.tally(found);
        if self.until < now {
            self.contrary.clear();
            self.counts.void += count(found.len());
            return Vec::new();
        }
        if registry.distro.is_alone() && is_silence(found) {
            self.counts.void += count(found.len());
            return Vec::new();
        }
        let mut verdicts = Vec::new();
        for (probe, found) in found {
            if *found == ProbeResult::Unasked {
                continue;
            }
            let healthy = *found == ProbeResult::Well;
            // It may have gone or changed meanwhile, or be another member's business.
            let is_news = registry.probed(&probe.target, own_ports).is_some_and(
                |(instance, address, ask)| {
                    instance.healthy() != healthy && address == probe.address && ask == probe.ask
                },
            );
            if !is_news {
                self.contrary.remove(&probe.target);
                continue;
            }
            let fresh = Contrary { healthy, times: 0 };
            let contrary = self.contrary.entry(probe.target.clone()).or_insert(fresh);
            if contrary.healthy != healthy {
                *contrary = Contrary { healthy, times: 0 };
            }
            contrary.times = contrary.times.saturating_add(1);
            if contrary.times >= limits::PROBE_TIMES && verdicts.len() < limits::PROBE_VERDICTS_MAX
            {
                let ProbeTarget { service, instance } = probe.target.clone();
                verdicts.push(Command::SetHealth { service, instance, healthy });
            }
        }
        if self.last.is_none() {
            self.contrary.retain(|target, _| registry.probed(target, own_ports).is_some());
        }
        debug_assert!(verdicts.len() <= limits::PROBE_VERDICTS_MAX, "proposals are bounded");
        self.counts.proposed += count(verdicts.len());
        verdicts
    }

    fn tally(&mut self, found: &[(Probe, ProbeResult)]) {
        for (_, found) in found {
            match found {
                ProbeResult::Well => self.counts.asked += 1,
                ProbeResult::Wrong | ProbeResult::Silent => {
                    self.counts.asked += 1;
                    self.counts.failed += 1;
                }
                ProbeResult::Unasked => self.counts.void += 1,
            }
        }
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Whether several hosts were asked and none gave a sign of life.
fn is_silence(found: &[(Probe, ProbeResult)]) -> bool {
    let asked = found.iter().filter(|(_, found)| *found != ProbeResult::Unasked);
    let hosts: BTreeSet<IpAddr> = asked.clone().map(|(probe, _)| probe.address.ip()).collect();
    hosts.len() > 1 && asked.into_iter().all(|(_, found)| *found == ProbeResult::Silent)
}

/// How an instance is to be probed, and at which port: as its cluster says, or else by a
/// connection.
fn checker<'a>(service: &'a Service, instance: &Instance) -> (&'a HealthChecker, u16) {
    static USUAL: HealthChecker = HealthChecker::Tcp;
    let Some(meta) = service.cluster_meta(instance.cluster()) else {
        return (&USUAL, instance.port());
    };
    let port = if meta.use_instance_port { instance.port() } else { meta.check_port };
    (&meta.health_checker, port)
}

impl Registry {
    /// The services from `first` on whose persistent instances this member probes now.
    fn probed_services<'a>(
        &'a self,
        first: Option<&'a ServiceKey>,
    ) -> impl Iterator<Item = &'a Service> {
        // Whoever may not write may not be told either.
        let is_on = self.switches.watches_beats() && self.distro.is_loaded();
        let one = first.and_then(|key| self.catalog.of(key));
        let services = one.into_iter().chain(self.catalog.services_after(first));
        services.filter(move |service| is_on && self.probes(service))
    }

    fn probes(&self, service: &Service) -> bool {
        service.persistent_count() > 0 && self.distro.watches(service.name_hash)
    }

    /// The instances that are to be probed, in order, after `last`.
    fn probed_after<'a>(
        &'a self,
        last: Option<&'a ProbeTarget>,
    ) -> impl Iterator<Item = (&'a Service, &'a Instance)> {
        let services = self.probed_services(last.map(|last| &last.service));
        services.flat_map(move |service| {
            let last = last.filter(|last| last.service == *service.key());
            let from = last.map_or(0, |last| service.after(&last.instance));
            let rest = service.publications().get(from..).unwrap_or_default();
            let is_probed = move |instance: &&Instance| {
                !instance.ephemeral() && checker(service, instance).0.probes()
            };
            rest.iter().filter(is_probed).map(move |instance| (service, instance))
        })
    }

    /// An instance that this member probes, and how.
    fn probed(
        &self,
        target: &ProbeTarget,
        own_ports: &BTreeSet<u16>,
    ) -> Option<(&Instance, SocketAddr, ProbeRequest)> {
        let service = self.catalog.of(&target.service).filter(|service| self.probes(service))?;
        let instance = service.publications().get(service.persistent_at(&target.instance)?)?;
        let (checker, port) = checker(service, instance);
        let (address, ask) = aim::aim(instance.ip(), port, checker, own_ports)?;
        Some((instance, address, ask))
    }
}

/// Bytes of an answer that hold its status: `HTTP/1.1 200`.
pub const STATUS_BYTES: usize = 12;

/// The status in the first bytes of an answer.
#[must_use]
pub fn status(bytes: &[u8; STATUS_BYTES]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"HTTP/1.1 ").or(bytes.strip_prefix(b"HTTP/1.0 "))?;
    let digits = digits.iter().all(u8::is_ascii_digit).then_some(digits)?;
    core::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
