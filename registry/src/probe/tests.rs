//! Rounds of probes as stories.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use nacolet_model::{ClusterName, NodeId};

use super::*;
use crate::testing::service_key;
use crate::words::command::{PutCluster, Register};
use crate::words::io::{Input, Output, RegistrySettings};
use crate::words::message::Message;
use crate::words::meta::ClusterMeta;
use crate::words::names::Life;
use crate::{InstanceSpec, Switch};

fn own() -> BTreeSet<u16> {
    [8848].into()
}

struct Story {
    registry: Registry,
    rounds: Rounds,
    now: Instant,
    index: u64,
}

impl Story {
    fn new(node: u64, clustered: bool) -> Self {
        let life = Life(node.try_into().expect("it is small"));
        let settings =
            RegistrySettings { node: NodeId(node), life, clustered, ..Default::default() };
        let registry = Registry::new(settings);
        Self { registry, rounds: Rounds::default(), now: Instant::from_millis(1), index: 0 }
    }

    fn with(ips: &[&str]) -> Self {
        let mut story = Self::new(1, false);
        ips.iter().for_each(|ip| story.register("s", ip));
        story
    }

    fn register(&mut self, name: &str, ip: &str) {
        let instance = InstanceSpec { ephemeral: false, ..InstanceSpec::new(ip, 80) };
        self.apply(Command::Register(Box::new(Register { service: service_key(name), instance })));
    }

    fn apply(&mut self, command: Command) {
        self.index += 1;
        let applied = self.registry.apply(self.now, self.index, command, &mut Vec::new());
        applied.expect("it is accepted");
    }

    fn put_cluster(&mut self, health_checker: HealthChecker) {
        let cluster = ClusterName::new(ClusterName::DEFAULT).expect("cluster");
        let (check_port, use_instance_port) = (81, false);
        let meta =
            ClusterMeta { health_checker, check_port, use_instance_port, ..Default::default() };
        let put = PutCluster { service: service_key("s"), cluster, meta };
        self.apply(Command::PutCluster(Box::new(put)));
    }

    fn begin(&mut self) -> Vec<Probe> {
        self.now = self.rounds.next_deadline(self.now);
        self.rounds.begin(self.now, &self.registry, &own())
    }

    /// One batch in which all have answered at the end; what is proposed.
    fn judge(&mut self, probes: Vec<Probe>, found: impl Fn(&Probe) -> ProbeResult) -> Vec<Command> {
        let found: Vec<_> =
            probes.into_iter().map(|probe| (probe.clone(), found(&probe))).collect();
        self.now = found.last().map_or(self.now, |(probe, _)| self.now.max(probe.at));
        self.rounds.judge(self.now, &self.registry, &own(), &found)
    }

    fn round(&mut self, found: impl Fn(&Probe) -> ProbeResult) -> Vec<Command> {
        let probes = self.begin();
        self.judge(probes, found)
    }

    fn addresses(&mut self) -> Vec<String> {
        self.begin().iter().map(|probe| probe.address.to_string()).collect()
    }
}

#[test]
fn health_changes_after_three_answers_in_a_row_both_ways() {
    let mut story = Story::with(&["10.0.0.1"]);
    for (found, other, healthy) in [
        (ProbeResult::Silent, ProbeResult::Well, false),
        (ProbeResult::Well, ProbeResult::Wrong, true),
    ] {
        assert_eq!(story.round(|_| found), []);
        assert_eq!(story.round(|_| found), []);
        assert_eq!(story.round(|_| other), [], "the row is broken");
        assert_eq!(story.round(|_| found), []);
        assert_eq!(story.round(|_| ProbeResult::Unasked), [], "that says nothing");
        assert_eq!(story.round(|_| found), []);
        let verdicts = story.round(|_| found);
        let ProbeTarget { service, instance } = story.begin()[0].target.clone();
        assert_eq!(verdicts, [Command::SetHealth { service, instance, healthy }]);
        assert_eq!(story.round(|_| found), verdicts, "it was not applied, so it is proposed again");
        story.apply(verdicts[0].clone());
        for _ in 0..4 {
            assert_eq!(story.round(|_| found), [], "it is as it is found");
        }
    }
    let ProbeCounts { proposed, void, .. } = story.rounds.counts();
    assert_eq!((proposed, void), (4, 2));
}

#[test]
fn what_was_found_before_a_change_does_not_count_for_the_next_one() {
    let mut story = Story::with(&["10.0.0.1"]);
    for (found, healthy) in
        [(ProbeResult::Wrong, false), (ProbeResult::Well, true), (ProbeResult::Silent, false)]
    {
        let proposed: Vec<_> = (0..3).map(|_| story.round(|_| found)).collect();
        assert_eq!(proposed[..2], [[], []], "{healthy}");
        story.apply(proposed[2][0].clone());
    }
}

#[test]
fn a_network_of_our_own_that_is_gone_is_nobodys_illness() {
    let mut story = Story::with(&["10.0.0.1", "10.0.0.2"]);
    for _ in 0..9 {
        assert_eq!(story.round(|_| ProbeResult::Silent), []);
    }
    assert_eq!(story.rounds.counts().void, 18);
    let one = |probe: &Probe| match probe.address.to_string().as_str() {
        "10.0.0.1:80" => ProbeResult::Silent,
        _ => ProbeResult::Wrong,
    };
    let proposed: Vec<usize> = (0..3).map(|_| story.round(one).len()).collect();
    assert_eq!(proposed, [0, 0, 2], "somebody gives a sign of life: the others are silent");
}

#[test]
fn a_pause_of_our_own_begins_the_count_anew() {
    let mut story = Story::with(&["10.0.0.1"]);
    let two_rounds = |story: &mut Story| {
        assert_eq!(story.round(|_| ProbeResult::Silent), []);
        assert_eq!(story.round(|_| ProbeResult::Silent), []);
    };
    two_rounds(&mut story);
    story.now = story.rounds.next_deadline(story.now) + limits::OWN_PAUSE * 2;
    let probes = story.rounds.begin(story.now, &story.registry, &own());
    assert_eq!(story.judge(probes, |_| ProbeResult::Silent), [], "it began late");
    assert_eq!(story.round(|_| ProbeResult::Silent), []);
    let probes = story.begin();
    story.now = story.now + limits::PROBE_EVERY + limits::PROBE_TIMEOUT + limits::OWN_PAUSE * 2;
    assert_eq!(story.judge(probes, |_| ProbeResult::Silent), [], "it ended late");
    two_rounds(&mut story);
    assert_eq!(story.round(|_| ProbeResult::Silent).len(), 1);
}

#[test]
fn a_slow_proposal_is_no_pause() {
    let mut story = Story::with(&["10.0.0.1"]);
    for _ in 0..3 {
        story.round(|_| ProbeResult::Silent);
        story.now += limits::FORWARD_PATIENCE * 2;
    }
    assert!(story.rounds.contrary.values().map(|contrary| contrary.times).eq([3]));
}

#[test]
fn probes_are_spread_over_the_interval() {
    let ips: Vec<_> = (1..=3).map(|last| format!("10.0.0.{last}")).collect();
    let mut story = Story::with(&ips.iter().map(|ip| &**ip).collect::<Vec<_>>());
    let start = story.now;
    let at: Vec<_> = story.begin().iter().map(|probe| probe.at - start).collect();
    assert_eq!(at, [0, 1, 2].map(|part| limits::PROBE_EVERY / 3 * part));
    assert_eq!(story.rounds.next_deadline(start), start + limits::PROBE_EVERY);
}

#[test]
fn a_round_of_many_goes_in_batches_and_asks_everybody_once() {
    let mut story = Story::new(1, false);
    for number in 0..600 {
        let name = format!("s{}", number % 2 * (number % 7));
        story.register(&name, &format!("10.0.{}.{}", number / 250, number % 250));
    }
    let (mut sizes, mut targets) = (vec![], BTreeSet::new());
    let start = story.now;
    loop {
        let probes = story.begin();
        sizes.push(probes.len());
        targets.extend(probes.iter().map(|probe| probe.target.clone()));
        assert!(probes.iter().all(|probe| probe.at < start + limits::PROBE_EVERY));
        assert_eq!(story.judge(probes, |_| ProbeResult::Well), []);
        if story.rounds.next_deadline(story.now) > story.now {
            break;
        }
    }
    let full = limits::PROBES_PER_BATCH_MAX;
    assert_eq!((sizes, targets.len()), (vec![full, full, 600 - 2 * full], 600));
    assert_eq!(story.rounds.counts().asked, 600);
}

#[test]
fn the_next_batch_goes_on_where_an_instance_went() {
    let mut story = Story::new(1, false);
    (0..300).for_each(|number| story.register("s", &format!("fd00::{}", number + 1_000)));
    let last = story.begin().pop().expect("a batch").target;
    let ProbeTarget { service, instance } = last.clone();
    story.apply(Command::Deregister { service, instance });
    let rest = story.begin();
    assert_eq!(rest.len(), 300 - limits::PROBES_PER_BATCH_MAX);
    assert!(rest.iter().all(|probe| probe.target > last));
}

#[test]
fn verdicts_come_by_the_batch() {
    let ips: Vec<_> = (1..=40).map(|last| format!("10.0.0.{last}")).collect();
    let mut story = Story::with(&ips.iter().map(|ip| &**ip).collect::<Vec<_>>());
    let mut proposed = vec![];
    for _ in 0..4 {
        let verdicts = story.round(|_| ProbeResult::Wrong);
        proposed.push(verdicts.len());
        verdicts.into_iter().for_each(|verdict| story.apply(verdict));
    }
    assert_eq!(proposed, [0, 0, limits::PROBE_VERDICTS_MAX, 40 - limits::PROBE_VERDICTS_MAX]);
}

#[test]
fn the_checker_of_the_cluster_says_how() {
    let mut story = Story::with(&["10.0.0.1"]);
    assert_eq!(story.begin()[0].ask, ProbeRequest::Connect);
    assert_eq!(story.addresses(), ["10.0.0.1:80"]);
    story.put_cluster(HealthChecker::Tcp);
    assert_eq!(story.addresses(), ["10.0.0.1:81"]);
    let (path, headers) = ("/up".into(), "a:b".into());
    story.put_cluster(HealthChecker::Http { path, headers, expected_code: 204 });
    let ProbeRequest::Http { request, expected } = &story.begin()[0].ask else { panic!("it asks") };
    assert!(request.starts_with("GET /up ") && request.contains("\r\na: b\r\n"), "{request}");
    assert_eq!(*expected, 204);
    story.put_cluster(HealthChecker::None);
    assert_eq!(story.begin(), []);
    assert_eq!(story.rounds.counts().barred, 0);
}

#[test]
fn whoever_may_not_be_connected_to_is_passed_over_and_counted() {
    let mut story = Story::with(&["10.0.0.1", "127.0.0.1", "a.example"]);
    assert_eq!(story.addresses(), ["10.0.0.1:80"]);
    assert_eq!(story.rounds.counts().barred, 2);
}

#[test]
fn ephemeral_instances_and_closed_registries_are_left_alone() {
    let mut story = Story::with(&["10.0.0.1"]);
    let spec = InstanceSpec::new("10.0.0.2", 80);
    let slot = story.registry.slot_for(&service_key("s"));
    story.registry.catalog.put_instance(slot, spec, None, story.now);
    assert_eq!(story.addresses(), ["10.0.0.1:80"]);
    story.apply(Command::SetSwitch(Switch::HealthCheckEnabled(false)));
    assert_eq!(story.begin(), []);
}

#[test]
fn an_answer_to_a_question_that_is_no_longer_asked_counts_for_nothing() {
    let mut story = Story::with(&["10.0.0.1"]);
    story.round(|_| ProbeResult::Wrong);
    story.round(|_| ProbeResult::Wrong);
    let probes = story.begin();
    story.put_cluster(HealthChecker::None);
    assert_eq!(story.judge(probes, |_| ProbeResult::Wrong), []);
    story.put_cluster(HealthChecker::Tcp);
    for expected in [0, 0, 1] {
        assert_eq!(story.round(|_| ProbeResult::Wrong).len(), expected, "it is counted anew");
    }
}

/// Members that have heard each other, each with the same instances.
fn members(nodes: &[u64]) -> Vec<Story> {
    let mut stories: Vec<_> = nodes.iter().map(|node| Story::new(*node, true)).collect();
    let all: Vec<_> = nodes.iter().copied().map(NodeId).collect();
    let mut letters: Vec<(usize, Input)> =
        (0..nodes.len()).map(|at| (at, Input::Members(all.clone()))).collect();
    for second in 0..8 {
        while let Some((at, input)) = letters.pop() {
            let mut out = Vec::new();
            stories[at].now = Instant::from_millis(1 + second * 1_000);
            let now = stories[at].now;
            stories[at].registry.step(now, input, &mut out);
            for output in out {
                let Output::Send { to, message } = output else { continue };
                let letter = |to: NodeId, message: Message| {
                    let to = all.iter().position(|node| *node == to).expect("a member");
                    (to, Input::Peer { from: all[at], message })
                };
                letters.extend(to.into_iter().map(|to| letter(to, message.clone())));
            }
        }
        letters.extend((0..nodes.len()).map(|at| (at, Input::Wake)));
    }
    for story in &mut stories {
        assert!(story.registry.is_loaded());
        (0..30).for_each(|number| story.register(&format!("s{number}"), "10.0.0.1"));
    }
    stories
}

fn asked(story: &mut Story) -> BTreeSet<ServiceKey> {
    story.begin().into_iter().map(|probe| probe.target.service).collect()
}

#[test]
fn every_instance_is_probed_by_one_member_and_by_another_when_that_one_is_gone() {
    let mut all = members(&[1, 2, 3]);
    let shares: Vec<_> = all.iter_mut().map(asked).collect();
    assert_eq!(shares.iter().map(BTreeSet::len).sum::<usize>(), 30, "nobody twice");
    assert!(shares.iter().all(|share| !share.is_empty()), "everybody has a share");
    assert_eq!(shares.iter().flatten().collect::<BTreeSet<_>>().len(), 30, "nobody is left out");
    let mut rest = members(&[1, 2]);
    let (first, second) = (asked(&mut rest[0]), asked(&mut rest[1]));
    assert!(first.is_superset(&shares[0]) && second.is_superset(&shares[1]), "they keep theirs");
    assert_eq!(first.union(&second).count(), 30, "its work is taken over");
}

#[test]
fn a_member_that_hears_another_believes_in_the_silence_of_all() {
    let mut all = members(&[1, 2]);
    let story = &mut all[0];
    let one = asked(story).pop_first().expect("a share");
    story.register(one.name.as_str(), "10.0.0.2");
    let proposed: Vec<bool> =
        (0..3).map(|_| story.round(|_| ProbeResult::Silent).is_empty()).collect();
    assert_eq!(proposed, [true, true, false]);
}

#[test]
fn a_status_is_three_digits_after_the_version() {
    assert_eq!(status(b"HTTP/1.1 200"), Some(200));
    assert_eq!(status(b"HTTP/1.0 302"), Some(302));
    assert_eq!(status(b"HTTP/2.0 200"), None);
    assert_eq!(status(b"SSH-2.0-Open"), None);
    assert_eq!(status(b"HTTP/1.1 +20"), None);
}
