//! What the connections of one thread share.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use nacolet_model::Instant;

use crate::bounds::places::Place;
use crate::connection::watch::ConnectionWatch;
use crate::net;
use crate::net::entrance::Traffic;
use crate::route::router::Router;
use crate::state::State;

/// Bytes of one read.
pub(crate) const SCRATCH_BYTES: usize = 64 << 10;

/// What the connections of one thread share.
pub(crate) struct HttpZone {
    pub(crate) state: Arc<State>,
    pub(crate) router: Arc<Router>,
    connections: RefCell<Connections>,
    pub(crate) scratch: RefCell<Scratch>,
    /// The time of the last sweep: good enough for deadlines of seconds, and free.
    time: Cell<Instant>,
    pub(crate) traffic: Traffic,
}

#[derive(Default)]
struct Connections {
    last: u64,
    watches: BTreeMap<u64, Rc<ConnectionWatch>>,
}

impl HttpZone {
    pub(crate) fn new(state: Arc<State>, router: Arc<Router>) -> Self {
        Self {
            state,
            router,
            connections: RefCell::default(),
            scratch: RefCell::default(),
            time: Cell::new(Instant::ZERO),
            traffic: Traffic::new(),
        }
    }

    /// The time, at most one tick late while there are connections.
    pub(crate) fn now(&self) -> Instant {
        self.time.get()
    }

    pub(crate) fn set_now(&self, now: Instant) {
        self.time.set(now);
    }

    pub(crate) fn open(&self, place: &Arc<Place>) -> Rc<ConnectionWatch> {
        self.set_now(self.state.now().0);
        let deadline = self.now() + self.state.settings.head_timeout;
        let mut connections = self.connections.borrow_mut();
        connections.last += 1;
        let id = connections.last;
        let watch = Rc::new(ConnectionWatch::new(id, deadline, Arc::clone(place)));
        connections.watches.insert(id, Rc::clone(&watch));
        self.traffic.opened.ring();
        watch
    }

    pub(crate) fn close(&self, watch: &ConnectionWatch) {
        self.connections.borrow_mut().watches.remove(&watch.id);
        self.traffic.closed.ring();
    }

    /// How many connections there are.
    pub(crate) fn count(&self) -> usize {
        self.connections.borrow().watches.len()
    }

    /// All connections, of which some may go meanwhile.
    pub(crate) fn watches(&self) -> Vec<Rc<ConnectionWatch>> {
        self.connections.borrow().watches.values().cloned().collect()
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self { bytes: vec![0; SCRATCH_BYTES].into(), length: 0, owner: 0 }
    }
}

/// The read buffer of a thread, with the name of the connection whose bytes it holds.
pub(crate) struct Scratch {
    bytes: Box<[u8]>,
    length: usize,
    owner: u64,
}

impl Scratch {
    /// Reads at most `bytes_max` bytes without waiting.
    pub(crate) fn read(
        &mut self,
        stream: impl io::Read,
        owner: u64,
        bytes_max: usize,
    ) -> io::Result<usize> {
        let room = bytes_max.min(self.bytes.len());
        (self.owner, self.length) = (owner, 0);
        self.length = net::read(stream, &mut self.bytes[..room])?;
        Ok(self.length)
    }

    /// What the last read brought, if it was for this connection.
    pub(crate) fn last_read(&self, owner: u64) -> Option<&[u8]> {
        (self.owner == owner).then(|| &self.bytes[..self.length])
    }
}
