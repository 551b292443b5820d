//! Places among a bounded number of requests and of connections, held as long as they are used.

use std::sync::Arc;

use crate::bounds::count::Count;
use crate::bounds::places::{self, Crowded, Place};

/// A place among a bounded number.
#[derive(Debug)]
pub(crate) struct Permit<'a>(&'a Count);

impl<'a> Permit<'a> {
    pub(crate) fn take(count: &'a Count, max: usize) -> Option<Self> {
        count.take(max).then(|| Self(count))
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.give_back(1);
    }
}

/// A place among a bounded number, for as long as it is kept.
#[derive(Debug)]
pub(crate) struct Kept(Arc<Count>);

impl Kept {
    pub(crate) fn take(count: &Arc<Count>, max: usize) -> Option<Self> {
        count.take(max).then(|| Self(Arc::clone(count)))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.give_back(1);
    }
}

/// The place of one HTTP connection.
pub(crate) struct HttpSeat {
    /// How many there are.
    connections: Arc<Count>,
    seat: places::Seat,
}

impl HttpSeat {
    pub(crate) fn new(seat: places::Seat, connections: &Arc<Count>) -> Self {
        connections.grow(1);
        Self { connections: Arc::clone(connections), seat }
    }

    pub(crate) fn place(&self) -> &Arc<Place> {
        &self.seat.place
    }
}

impl Drop for HttpSeat {
    fn drop(&mut self) {
        self.connections.give_back(1);
    }
}

/// Why a connection gets no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoSeat {
    /// All are taken.
    Full,
    /// Its address has enough.
    Crowded,
}

impl From<Crowded> for NoSeat {
    fn from(Crowded::Address: Crowded) -> Self {
        Self::Crowded
    }
}
