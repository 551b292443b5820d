//! Prometheus: services as scrape targets (`http_sd`), and the node's own numbers. The numbers are
//! read at the moment of the scrape, so writing them takes a few lines and no library of counters.

use std::fmt::{Display, Write as _};
use std::sync::Arc;

use hyper::Method;
use nacolet_auth::{Action, Kind, Resource};
use nacolet_model::{Namespace, ServiceKey};
use nacolet_registry::probe::ProbeCounts;
use nacolet_registry::{DistroView, Instance, Metadata, Service};
use serde_json::{Map, Value, json};

use crate::access::about;
use crate::access::about::{About, Everything, Permits, Whole};
use crate::access::rule::Permission;
use crate::http::answer::HttpAnswer;
use crate::http::failure::Failure;
use crate::http::listed::Making;
use crate::http::params::Parts;
use crate::node::members;
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::state::State;

pub(crate) fn routes(routes: &mut Routes) {
    let read = Permission::NamingRead;
    routes.at("/prometheus").with_basic().later(
        Method::GET,
        read,
        |_| Ok(Everything(Kind::Naming)),
        |state, ask| targets(state, ask, |_, _| true),
    );
    routes.at("/prometheus/namespaceId/:namespace").with_basic().later(
        Method::GET,
        read,
        whole,
        |state, ask| targets(state, ask, |of, key| key.namespace == of.namespace),
    );
    routes.at("/prometheus/namespaceId/:namespace/service/:service").with_basic().later(
        Method::GET,
        read,
        of_service,
        |state, ask| {
            targets(state, ask, |ServicesNamed(of, service), key| {
                key.namespace == of.namespace && key.name.as_str() == &**service
            })
        },
    );
    for path in ["/metrics", "/actuator/prometheus"] {
        let at = routes.at(path).with_basic();
        at.now(Method::GET, Permission::Console, about::nothing, |state, _| {
            Ok(HttpAnswer::new("text/plain; version=0.0.4; charset=utf-8", metrics(state)))
        });
    }
}

/// Position of `:namespace` and `:service` in `/nacos/prometheus/namespaceId/…/service/…`.
const NAMESPACE_SEGMENT: usize = 3;
const SERVICE_SEGMENT: usize = 5;

fn whole(parts: &Parts<'_>) -> Result<Whole, Failure> {
    let namespace = Namespace::parse(&parts.segment(NAMESPACE_SEGMENT))?;
    Ok(Whole { kind: Kind::Naming, namespace })
}

/// The services of this name in all groups of a namespace.
struct ServicesNamed(Whole, Box<str>);

impl About for ServicesNamed {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        let all = about::whole(self.0.namespace.as_str(), Kind::Naming);
        permits(action, &Resource { name: &self.1, ..all })
    }
}

fn of_service(parts: &Parts<'_>) -> Result<ServicesNamed, Failure> {
    Ok(ServicesNamed(whole(parts)?, parts.segment(SERVICE_SEGMENT).into()))
}

/// Every instance of the services that `keep` keeps, whatever its health.
async fn targets<T: Send + Sync>(
    state: Arc<State>,
    ask: Ask<T>,
    keep: fn(&T, &ServiceKey) -> bool,
) -> Result<HttpAnswer, Failure> {
    let mut making = Making::new(&ask.room);
    let mut add = |service: &Service| match keep(&ask.about, service.key()) {
        true => service.instances().try_for_each(|instance| making.item(&target(instance))),
        false => Ok(()),
    };
    state.walk_services(&mut add).await?;
    Ok(making.list("")?.answer())
}

fn target(instance: &Instance) -> Value {
    let labels = labels(instance.cluster(), instance.metadata());
    let host = instance.ip();
    let address = if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{}", instance.port())
    } else {
        format!("{host}:{}", instance.port())
    };
    json!({ "targets": [address], "labels": labels })
}

/// Labels out of metadata. Prometheus drops a whole list of targets over one label whose name is
/// not made of letters, digits and `_`: other characters become `_`, and a name that is taken gets
/// a number. Names that are right as they are come first and stay.
fn labels(cluster: &str, metadata: &Metadata) -> Map<String, Value> {
    let mut labels = Map::new();
    labels.insert("__meta_clusterName".into(), cluster.into());
    let (right, others): (Vec<_>, Vec<_>) =
        metadata.iter().partition(|(key, _)| label_name(key) == *key);
    for (key, value) in right.into_iter().chain(others) {
        let name = label_name(key);
        let numbered = (2..).map(|number: u32| format!("{name}_{number}"));
        let mut free = std::iter::once(name.clone()).chain(numbered);
        if let Some(name) = free.find(|name| !labels.contains_key(name)) {
            labels.insert(name, value.into());
        }
    }
    labels
}

fn label_name(key: &str) -> String {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut name: String = key.chars().map(|c| if is_fine(c) { c } else { '_' }).collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        name.insert(0, '_');
    }
    name
}

/// Numbers in the text format of Prometheus.
#[derive(Default)]
struct MetricsText {
    text: String,
}

impl MetricsText {
    fn add(&mut self, kind: &str, name: &str, help: &str, value: impl Display) {
        // Writing to a String cannot fail.
        let _ = write!(
            self.text,
            "# HELP nacolet_{name} {help}\n# TYPE nacolet_{name} {kind}\nnacolet_{name} {value}\n"
        );
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.add("gauge", name, help, value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.add("counter", name, help, value);
    }
}

fn metrics(state: &State) -> String {
    let mut page = MetricsText::default();
    let (status, members) = members::members(state);
    let facts = &state.port.facts;
    let _ = write!(
        page.text,
        "# HELP nacolet_build_info Version of the binary.\n# TYPE nacolet_build_info gauge\n\
         nacolet_build_info{{version=\"{}\",node=\"{}\"}} 1\n",
        facts.version, facts.node
    );
    let started_s = facts.started.as_millis() / 1_000;
    page.gauge("start_time_seconds", "When the process started, Unix time.", started_s);
    let ready = u8::from(state.port.stage.is_ready());
    page.gauge("ready", "Whether the node serves.", ready);

    let counts = state.registry().counts();
    page.gauge("naming_services", "Services.", counts.services);
    page.gauge("naming_instances", "Instances of both kinds.", counts.instances);
    page.gauge("naming_ephemeral_instances", "Ephemeral instances.", counts.ephemeral);
    page.gauge("naming_persistent_instances", "Persistent instances.", counts.persistent);
    page.gauge("naming_udp_subscribers", "Subscribers that are pushed to.", counts.subscribers);
    page.counter("naming_udp_pushes_total", "Pushes, resends not counted.", counts.pushes);
    let unanswered = counts.pushes_unanswered;
    page.counter("naming_udp_pushes_unanswered_total", "Pushes nobody acknowledged.", unanswered);
    page.gauge("naming_deadlines", "Deadlines that are armed.", counts.deadlines);
    page.gauge("configs", "Configs.", state.configs().len());
    page.gauge("held_bytes", "Bytes of requests and answers in work.", state.pool.total());

    let is_leader = u8::from(status.leader == Some(facts.node));
    page.gauge("raft_is_leader", "Whether this node leads.", is_leader);
    page.gauge("raft_has_leader", "Whether a leader is known.", u8::from(status.leader.is_some()));
    page.counter("raft_term", "Raft term.", status.term);
    page.counter("raft_commit_index", "Highest committed log index.", status.commit_index);
    page.counter("raft_last_applied", "Highest applied log index.", status.last_applied);
    let differing = status.states_differing;
    page.counter("raft_states_differing_total", "Comparisons with another outcome.", differing);
    page.gauge("members", "Members of the cluster.", members.len());
    let up = members.iter().filter(|member| member.up).count();
    page.gauge("members_up", "Members that answer.", up);
    distro(&mut page, &state.registry().distro(), status.distro_dropped);
    probes(&mut page, status.probes);
    page.text
}

/// How members share instances.
fn distro(page: &mut MetricsText, view: &DistroView, dropped: u64) {
    let DistroView { peers, loaded, watchful, tombs, counts } = view;
    let live = peers.iter().filter(|peer| peer.live).count();
    page.gauge("distro_peers", "Other members.", peers.len());
    page.gauge("distro_peers_live", "Other members that are heard.", live);
    page.gauge("distro_loaded", "Whether this node holds all instances.", u8::from(*loaded));
    page.gauge("distro_watchful", "Whether silent instances are removed.", u8::from(*watchful));
    page.gauge("distro_tombs", "Instances that are gone and remembered.", tombs);
    page.counter("distro_sent_total", "Changes sent, once for each receiver.", counts.sent);
    page.counter("distro_received_total", "Changes received.", counts.received);
    page.counter("distro_stale_total", "Changes received that were known.", counts.stale);
    page.counter("distro_refused_total", "Changes received that were not taken.", counts.refused);
    page.counter("distro_repaired_total", "Buckets that differed.", counts.repaired);
    page.counter("distro_reasserted_total", "Instances that beats saved.", counts.reasserted);
    page.counter("distro_dropped_total", "Messages dropped: too many waited.", dropped);
}

/// What this node found out about persistent instances.
fn probes(page: &mut MetricsText, counts: ProbeCounts) {
    let ProbeCounts { asked, failed, void, barred, proposed } = counts;
    page.counter("probes_total", "Probes of persistent instances.", asked);
    page.counter("probes_failed_total", "Probes without the hoped-for answer.", failed);
    page.counter("probes_void_total", "Probes that say more of this node.", void);
    page.counter("probes_barred_total", "Probes not made: not an address to call.", barred);
    page.counter("probes_proposed_total", "Changes of health proposed.", proposed);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: &[&str], expected: &[(&str, &str)]) {
        let metadata = keys.iter().map(|key| (*key, *key));
        let metadata = Metadata::new(metadata).expect("few entries");
        let labels = labels("c", &metadata);
        let cluster = ("__meta_clusterName", "c");
        let expected: Map<_, _> = std::iter::once(&cluster)
            .chain(expected)
            .map(|(name, value)| ((*name).to_owned(), Value::from(*value)))
            .collect();
        assert_eq!(labels, expected, "{keys:?}");
    }

    #[test]
    fn names_of_labels_are_those_that_prometheus_takes() {
        check(&["zone", "_x", "A9"], &[("zone", "zone"), ("_x", "_x"), ("A9", "A9")]);
        check(&["a/b"], &[("a_b", "a/b")]);
        check(&["9z"], &[("_9z", "9z")]);
        check(&["a.b-c d"], &[("a_b_c_d", "a.b-c d")]);
        check(&["\u{fc}", "\u{5730}\u{57df}"], &[("_", "\u{fc}"), ("__", "\u{5730}\u{57df}")]);
        check(&[""], &[("_", "")]);
    }

    #[test]
    fn of_names_that_clash_the_right_one_stays_and_others_are_numbered() {
        check(&["a_b", "a/b"], &[("a_b", "a_b"), ("a_b_2", "a/b")]);
        check(
            &["a.b", "a/b", "a_b", "a_b_2"],
            &[("a_b", "a_b"), ("a_b_2", "a_b_2"), ("a_b_3", "a.b"), ("a_b_4", "a/b")],
        );
        check(&["9z", "_9z"], &[("_9z", "_9z"), ("_9z_2", "9z")]);
        let taken = ("__meta_clusterName_2", "__meta_clusterName");
        check(&["__meta_clusterName"], &[taken]);
        check(&["//meta.clusterName"], &[("__meta_clusterName_2", "//meta.clusterName")]);
    }
}
