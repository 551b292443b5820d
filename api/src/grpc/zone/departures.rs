//! Connections that are over and that took locks, until the locks know of it: that needs a leader.

use std::cell::RefCell;

use futures_channel::oneshot;
use nacolet_lock as lock;
use nacolet_model::{Instant, limits};

use crate::net::Bell;
use crate::port::request::WriteError;

/// A connection that is over.
pub(crate) struct Departure {
    pub(crate) connection: u64,
    /// What it held has run out then.
    pub(crate) until: Instant,
    /// What became of the last attempt to tell it.
    pub(crate) told: oneshot::Receiver<Result<lock::Answer, WriteError<lock::CommandError>>>,
}

/// Those of one thread.
pub(crate) struct Departures {
    all: RefCell<Vec<Departure>>,
    bell: Bell,
}

impl Departures {
    pub(crate) fn new() -> Self {
        Self { all: RefCell::default(), bell: Bell::new() }
    }

    pub(crate) fn push(&self, departure: Departure) {
        let mut all = self.all.borrow_mut();
        if all.len() < limits::LOCK_DEPARTURES_MAX {
            all.push(departure);
            self.bell.ring();
        }
    }

    /// All there are, as soon as there are some.
    pub(crate) async fn next(&self) -> Vec<Departure> {
        self.bell.heard().await;
        self.all.take()
    }
}
