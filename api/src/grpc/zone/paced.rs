//! Which clients are owed a notice that may be sent in a moment: one timer for all of them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use nacolet_model::Instant;
use nacolet_registry::ClientId;

use crate::net::Bell;

/// See the head of this file.
pub(crate) struct Paced {
    waiting: RefCell<PacedClients>,
    /// Something is due sooner than what was.
    pub(crate) sooner: Bell,
}

/// Each client once, with when it is looked at.
#[derive(Default)]
struct PacedClients {
    clients: BTreeMap<ClientId, Instant>,
    by_time: BTreeSet<(Instant, ClientId)>,
}

impl Paced {
    pub(crate) fn new() -> Self {
        Self { waiting: RefCell::default(), sooner: Bell::new() }
    }

    /// Looks at a client again no later than `at`.
    pub(crate) fn wait(&self, at: Instant, client: ClientId) {
        let mut waiting = self.waiting.borrow_mut();
        match waiting.clients.get(&client).copied() {
            Some(known) if known <= at => return,
            Some(known) => {
                waiting.by_time.remove(&(known, client));
            }
            None => {}
        }
        waiting.clients.insert(client, at);
        waiting.by_time.insert((at, client));
        if waiting.by_time.first() == Some(&(at, client)) {
            self.sooner.ring();
        }
    }

    /// When somebody is to be looked at next.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.waiting.borrow().by_time.first().map(|(at, _)| *at)
    }

    /// Those that are to be looked at now.
    pub(crate) fn take_due(&self, now: Instant) -> Vec<ClientId> {
        let mut waiting = self.waiting.borrow_mut();
        let mut due = Vec::new();
        while let Some((_, client)) = waiting.by_time.first().copied().filter(|(at, _)| *at <= now)
        {
            waiting.by_time.pop_first();
            waiting.clients.remove(&client);
            due.push(client);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use nacolet_registry::Life;

    use super::*;

    #[test]
    fn each_client_waits_once_for_the_soonest() {
        let (one, two) = (ClientId::new(Life(1), 1), ClientId::new(Life(1), 2));
        let at = Instant::from_millis;
        let paced = Paced::new();
        assert_eq!(paced.next(), None);
        paced.wait(at(9), one);
        paced.wait(at(5), two);
        paced.wait(at(7), one);
        paced.wait(at(8), one);
        assert_eq!(paced.next(), Some(at(5)));
        assert_eq!(paced.take_due(at(4)), []);
        assert_eq!(paced.take_due(at(7)), [two, one]);
        assert_eq!(paced.next(), None, "nothing is left of either");
    }
}
