//! The feeds of the api threads: who is told what changed. A thread that has ended is forgotten
//! with the next news.

use std::sync::{Arc, RwLock, Weak};

use nacolet_api::feed::Feed;
use nacolet_model::ServiceKey;
use nacolet_registry::Registry;

use crate::machine::{Pending, write};

/// Every feed that somebody still holds.
#[derive(Debug, Default)]
pub(crate) struct Feeds(Vec<Weak<Feed>>);

impl Feeds {
    pub(crate) fn add(&mut self, feed: &Arc<Feed>) {
        self.0.push(Arc::downgrade(feed));
    }

    /// Tells what applying changed.
    pub(crate) fn tell(&mut self, pending: &Pending, registry: &RwLock<Registry>) {
        let has_services = pending.effects.services || pending.reloaded;
        let services = if has_services { write(registry).take_changed() } else { Vec::new() };
        for feed in self.held() {
            if pending.reloaded {
                feed.locks.tell_everything();
            } else {
                feed.locks.tell(pending.effects.locks.iter().cloned());
            }
            if pending.reloaded || pending.caught_up {
                feed.configs.tell_everything();
            } else {
                feed.configs.tell(pending.effects.changes.iter().map(|change| change.key.clone()));
            }
        }
        self.tell_services(&services);
    }

    /// Tells that the lists of these services changed.
    pub(crate) fn tell_services(&mut self, services: &[ServiceKey]) {
        if services.is_empty() {
            return;
        }
        for feed in self.held() {
            feed.services.tell(services.iter().cloned());
        }
    }

    fn held(&mut self) -> Vec<Arc<Feed>> {
        let mut held = Vec::with_capacity(self.0.len());
        self.0.retain(|feed| match feed.upgrade() {
            Some(feed) => {
                held.push(feed);
                true
            }
            None => false,
        });
        held
    }
}
