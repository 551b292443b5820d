//! Where a handler counts what it makes of a call, before it takes the memory.

use std::sync::Arc;

use crate::bounds::places::Place;
use crate::bounds::pool::{Held, Hold, Pool};
use crate::http::failure::Failure;

/// Where a handler counts what it unpacks of a body, or makes for an answer; nowhere for a call
/// that came over no connection.
#[derive(Clone, Debug, Default)]
pub struct Room(Option<(Arc<Pool>, Arc<Place>)>);

impl Room {
    /// For a call that came over a connection.
    pub(crate) fn new(pool: &Arc<Pool>, place: &Arc<Place>) -> Self {
        Self(Some((Arc::clone(pool), Arc::clone(place))))
    }

    /// Counts from nothing what is unpacked.
    pub(crate) fn hold(&self) -> Unpacking {
        self.hold_as(Hold::Body)
    }

    /// Counts from nothing what an answer is made of.
    pub(crate) fn hold_answer(&self) -> Unpacking {
        self.hold_as(Hold::Reply)
    }

    fn hold_as(&self, hold: Hold) -> Unpacking {
        Unpacking(self.0.as_ref().map(|(pool, place)| pool.hold(place, hold)))
    }
}

/// Bytes that a handler works on, counted as long as this lives.
pub(crate) struct Unpacking(Option<Held>);

impl Unpacking {
    /// Counts more of them, before they are taken.
    ///
    /// # Errors
    /// There is no room for them.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Failure> {
        let Some(held) = &mut self.0 else { return Ok(()) };
        let grown = held.grow(bytes);
        // It is work, and waits for nobody.
        held.set_waiting(false);
        grown.map_err(|_short| Failure::unavailable("too many bytes are being worked on"))
    }
}
