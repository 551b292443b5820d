//! What is not told by anybody but seen from outside: roles, terms and how far each node is, and
//! whom its registry lists.

use std::collections::{BTreeMap, BTreeSet};

use nacolet_model::NodeId;
use nacolet_raft::{Metrics, RoleKind};

use super::line::Line;
use crate::subject::{Subject, name};

/// What was seen last.
#[derive(Default)]
pub(crate) struct Watched {
    nodes: BTreeMap<NodeId, (u64, Metrics)>,
    lists: BTreeMap<NodeId, (u64, BTreeSet<u16>)>,
}

impl Watched {
    /// What changed in a node's Raft.
    pub(crate) fn raft(&mut self, life: u64, now: &Metrics) -> Vec<Line> {
        let before = self.nodes.get(&now.id).filter(|(known, _)| *known == life);
        let before = before.map(|(_, before)| before.clone()).unwrap_or_default();
        if before.version == now.version {
            return Vec::new();
        }
        let mut lines = Vec::new();
        let mut tell = |text: String| lines.push(Line::of(now.id, text));
        let term = now.term.0;
        if (before.role, before.term) != (now.role, now.term) {
            match now.role {
                RoleKind::Leader => tell(format!("leads in term {term}")),
                RoleKind::Follower if before.role == RoleKind::Leader => {
                    tell(format!("leads no more: a follower in term {term}"));
                }
                RoleKind::Follower => tell(format!("is a follower in term {term}")),
                RoleKind::Learner => tell(format!("is a learner in term {term}")),
                RoleKind::PreCandidate => {
                    tell(format!("asks who would vote for it in term {term}"))
                }
                RoleKind::Candidate => tell(format!("is a candidate in term {term}")),
            }
        }
        if before.leader != now.leader
            && let Some(leader) = now.leader.filter(|leader| *leader != now.id)
        {
            tell(format!("knows that {} leads in term {term}", name(leader)));
        }
        if before.commit_index != now.commit_index {
            tell(format!("knows that all up to {} is committed", now.commit_index.0));
        }
        if before.snapshot != now.snapshot {
            tell(format!("has a snapshot up to {}", now.snapshot.index.0));
        }
        if before.storage_full != now.storage_full {
            let full = if now.storage_full { "has no space left" } else { "has space again" };
            tell(full.to_owned());
        }
        self.nodes.insert(now.id, (life, now.clone()));
        lines
    }

    /// What changed in a node's lists of ephemeral instances.
    pub(crate) fn lists(&mut self, node: NodeId, life: u64, now: BTreeSet<u16>) -> Vec<Line> {
        let before = self.lists.get(&node).filter(|(known, _)| *known == life);
        let before = before.map(|(_, before)| before.clone()).unwrap_or_default();
        let come: Vec<u16> = now.difference(&before).copied().collect();
        let gone: Vec<u16> = before.difference(&now).copied().collect();
        let line = |verb: &str, ports: Vec<u16>| {
            let all: Vec<String> = ports.iter().map(u16::to_string).collect();
            let text = format!("{verb} {} (seen from outside)", all.join(", "));
            ports.into_iter().map(Subject::Port).fold(Line::of(node, text), Line::about)
        };
        let seen = [("lists", come), ("lists no more", gone)];
        let seen = seen.into_iter().filter(|(_, ports)| !ports.is_empty());
        let lines = seen.map(|(verb, ports)| line(verb, ports)).collect();
        self.lists.insert(node, (life, now));
        lines
    }
}
