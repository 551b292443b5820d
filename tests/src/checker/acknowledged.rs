//! P1: what was acknowledged is never lost. Every command that any node applied stands in one
//! ledger, by its log index; whoever applies that index again must apply the same command with the
//! same result, and nobody may step over one. A small model of the config centre predicts each
//! result.

use std::collections::{BTreeMap, BTreeSet};

use nacolet_config as config;
use nacolet_machine::{Command, Refused, Response, Shared, read};
use nacolet_model::{ConfigKey, NodeId};

use super::check::{Broken, Check};
use super::hash::hash;
use crate::operation::{content_of, serial_of};
use crate::subject::Subject;

/// One applied command.
struct Committed {
    print: u64,
    result: Result<Response, Refused>,
}

/// The value of one key over time: log index, and the serial of the content from there on.
type Versions = Vec<(u64, Option<u64>)>;

/// Everything ever applied.
#[derive(Default)]
pub(crate) struct Ledger {
    committed: BTreeMap<u64, Committed>,
    keys: BTreeMap<ConfigKey, Versions>,
    serials: BTreeMap<u64, u64>,
    acknowledged: BTreeSet<u64>,
    /// The highest log index of those.
    newest: u64,
    refused: BTreeSet<u64>,
    /// How far each node has applied.
    cursors: BTreeMap<NodeId, u64>,
}

/// The state of one member at the end.
#[derive(Clone, Copy)]
pub struct Final<'a> {
    /// The member.
    pub node: NodeId,
    /// Its state.
    pub shared: &'a Shared,
    /// The log index of its state.
    pub applied: u64,
}

impl std::fmt::Debug for Final<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Final").field("node", &self.node).finish_non_exhaustive()
    }
}

fn fingerprint(command: &Command) -> u64 {
    // Commands are plain values that postcard can always encode.
    hash(0xcbf2_9ce4_8422_2325, &postcard::to_allocvec(command).unwrap_or_default())
}

impl Ledger {
    /// A node begins at what its snapshot holds.
    pub(crate) fn restarted(&mut self, node: NodeId, applied: u64) {
        self.cursors.insert(node, applied);
    }

    /// A node applied a command.
    pub(crate) fn applied(
        &mut self,
        node: NodeId,
        index: u64,
        command: &Command,
        result: &Result<Response, Refused>,
    ) -> Check {
        let cursor = self.cursors.entry(node).or_default();
        if let Some((skipped, _)) = self.committed.range(*cursor + 1..index.max(*cursor + 1)).next()
        {
            return Err(format!("{node} applies {index} and never applied {skipped}"));
        }
        *cursor = index;
        let print = fingerprint(command);
        if let Some(known) = self.committed.get(&index) {
            if known.print != print {
                return Err(format!("{node} applies another command at {index}"));
            }
            if known.result != *result {
                let expected = &known.result;
                return Err(format!("{node} at {index}: {result:?} where others had {expected:?}"));
            }
            return Ok(());
        }
        if self.committed.last_key_value().is_some_and(|(last, _)| *last > index) {
            return Err(format!("{node} applies {index}, which others stepped over"));
        }
        self.committed.insert(index, Committed { print, result: result.clone() });
        self.predict(index, command, result)
    }

    /// Plays a command on the model and compares the result.
    fn predict(
        &mut self,
        index: u64,
        command: &Command,
        result: &Result<Response, Refused>,
    ) -> Check {
        let (key, operator) = match command {
            Command::Config(config::Command::Publish(publish)) => (&publish.key, &publish.operator),
            Command::Config(config::Command::Remove(remove)) => (&remove.key, &remove.operator),
            Command::Config(_) | Command::Registry(_) | Command::Lock(_) | Command::Auth(_) => {
                return Ok(());
            }
        };
        let Some(serial) = operator.user.parse().ok() else { return Ok(()) };
        if let Some(before) = self.serials.insert(serial, index) {
            return Err(format!("write {serial} was applied at {before} and again at {index}"));
        }
        if self.refused.contains(&serial) {
            return Err(format!("write {serial} was refused and is applied at {index}"));
        }
        let before = self.value_at(key, index).flatten();
        let held = before.map(|serial| config::Md5::of(&content_of(serial)));
        let (after, expected) = match command {
            Command::Config(config::Command::Publish(publish)) => {
                if held.is_some() && publish.cas_md5.is_some_and(|wanted| held != Some(wanted)) {
                    (before, Err(Refused::Config(config::CommandError::CasMismatch)))
                } else {
                    let created = before.is_none();
                    let published = config::Response::Published { created, md5: publish.md5 };
                    (Some(serial), Ok(Response::Config(published)))
                }
            }
            Command::Config(_) | Command::Registry(_) | Command::Lock(_) | Command::Auth(_) => {
                let existed = before.is_some();
                (None, Ok(Response::Config(config::Response::Removed { existed })))
            }
        };
        if after != before {
            self.keys.entry(key.clone()).or_default().push((index, after));
        }
        if expected == *result {
            Ok(())
        } else {
            Err(format!("at {index}: {result:?} where the model says {expected:?}"))
        }
    }

    /// The serial of a key's content at a log index; `None` when nothing was ever written to it.
    pub(crate) fn value_at(&self, key: &ConfigKey, index: u64) -> Option<Option<u64>> {
        let versions = self.keys.get(key)?;
        versions.iter().rfind(|(at, _)| *at <= index).map(|(_, serial)| *serial)
    }

    /// The serial of a key's content now.
    pub(crate) fn latest(&self, key: &ConfigKey) -> Option<u64> {
        self.keys.get(key)?.last()?.1
    }

    /// Whether a write took effect.
    pub(crate) fn has(&self, serial: u64) -> bool {
        self.serials.contains_key(&serial)
    }

    /// The log index of a write, if it took effect.
    pub(crate) fn place(&self, serial: u64) -> Option<u64> {
        self.serials.get(&serial).copied()
    }

    /// A client was told that its write is done.
    pub(crate) fn acknowledged(&mut self, serial: u64) -> Check {
        self.acknowledged.insert(serial);
        let Some(index) = self.place(serial) else {
            return Err(format!("write {serial} was acknowledged before anybody applied it"));
        };
        self.newest = self.newest.max(index);
        Ok(())
    }

    /// What a linearizable read that is asked for now must see.
    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    /// A client was told that its write had no effect.
    pub(crate) fn refused(&mut self, serial: u64) -> Check {
        self.refused.insert(serial);
        match self.serials.get(&serial) {
            None => Ok(()),
            Some(index) => Err(format!("write {serial} was refused and stands at {index}")),
        }
    }

    /// The durability scan: each acknowledged write is there or was overwritten by a later one.
    pub(crate) fn scan(&self, states: &[Final<'_>]) -> Result<(), Broken> {
        let newest = self.newest;
        for Final { node, shared, applied } in states {
            if *applied < newest {
                let what = format!("{node} ends at {applied}, {newest} was acknowledged");
                return Err(Broken { what, about: Subject::Entry(newest) });
            }
            let store = read(&shared.configs);
            for key in self.keys.keys() {
                let (namespace, group) = (key.namespace.as_str(), key.group.as_str());
                let config = store.get(namespace, group, key.data_id.as_str());
                let found = config.map(|config| serial_of(&config.content).unwrap_or(0));
                let expected = self.latest(key);
                if found != expected {
                    let what = format!("{node} ends with {found:?} for {expected:?} at {key:?}");
                    return Err(Broken { what, about: Subject::Key(key.clone()) });
                }
            }
            store.invariants();
            read(&shared.registry).invariants();
        }
        let mut lists = states.iter().map(|state| (state.node, persistent(state.shared)));
        let Some((first, list)) = lists.next() else { return Ok(()) };
        match lists.find(|(_, other)| *other != list) {
            None => Ok(()),
            Some((node, other)) => {
                let what =
                    format!("{first} has the persistent instances {list:?}, {node} has {other:?}");
                Err(Broken { what, about: Subject::Cluster })
            }
        }
    }
}

/// Ports of the instances that stand in the log.
fn persistent(shared: &Shared) -> Vec<u16> {
    let registry = read(&shared.registry);
    let instances = registry.all_services().flat_map(|service| service.instances());
    instances.filter(|instance| !instance.ephemeral()).map(|instance| instance.port()).collect()
}
