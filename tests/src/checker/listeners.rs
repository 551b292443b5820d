//! P5: every listener hears the last change, at most once per version on one connection, and never
//! an older one after a newer one. Versions in between may be left out. A connection is one life of
//! one node; whoever moves to another node may find it behind.

use std::collections::BTreeMap;

use nacolet_model::{ConfigKey, NodeId};

use super::acknowledged::Ledger;
use super::check::{Broken, Check};
use crate::inbox::ReadAnswer;
use crate::operation::serial_of;
use crate::subject::Subject;

/// What a listener learnt of one key.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// Who.
    pub listener: u64,
    /// From whom.
    pub node: NodeId,
    /// Of what.
    pub key: &'a ConfigKey,
    /// The read that followed.
    pub answer: &'a ReadAnswer,
}

struct Held {
    connection: (NodeId, u64),
    applied: u64,
    serial: Option<u64>,
}

/// What every listener holds of every key.
#[derive(Default)]
pub(crate) struct Listeners(BTreeMap<(u64, ConfigKey), Held>);

impl Listeners {
    /// A listener was told of a change and read it.
    pub(crate) fn heard(&mut self, heard: &Heard<'_>) -> Check {
        let new = held(heard);
        let old = self.0.insert((heard.listener, heard.key.clone()), held(heard));
        let Some(old) = old.filter(|old| old.connection == new.connection) else { return Ok(()) };
        let Heard { listener, node, key, .. } = heard;
        if new.applied < old.applied {
            return Err(format!(
                "listener {listener} heard an older version of {key:?} from {node}"
            ));
        }
        if new.serial.is_some() && new.serial == old.serial {
            return Err(format!("listener {listener} heard twice of one version of {key:?}"));
        }
        Ok(())
    }

    /// A listener read a key without having been told.
    pub(crate) fn holds(&mut self, heard: &Heard<'_>) {
        self.0.insert((heard.listener, heard.key.clone()), held(heard));
    }

    /// Everybody holds the last version.
    pub(crate) fn finish(&self, ledger: &Ledger) -> Result<(), Broken> {
        for ((listener, key), held) in &self.0 {
            let latest = ledger.latest(key);
            if held.serial != latest {
                let serial = held.serial;
                let what = format!(
                    "listener {listener} holds {serial:?} of {key:?} and never heard of {latest:?}"
                );
                return Err(Broken { what, about: Subject::Key(key.clone()) });
            }
        }
        Ok(())
    }
}

fn held(heard: &Heard<'_>) -> Held {
    let answer = heard.answer;
    let serial = answer.content.as_deref().map(|content| serial_of(content).unwrap_or(0));
    Held { connection: (heard.node, answer.life), applied: answer.applied, serial }
}
