//! What the connections of one thread share, and what all threads do.
//!
//! Reading order: this file, then `counts` and `index`; `quiet` is how those wait that only live,
//! and `paced` those that are told of something in a moment; `departures` are those that are over.

pub(crate) mod counts;
pub(crate) mod departures;
pub(crate) mod index;
pub(crate) mod paced;
pub(crate) mod quiet;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nacolet_model::Instant;
use nacolet_registry::ClientId;

use crate::access::Login;
use crate::bounds::places::Place;
use crate::grpc::client::Client;
use crate::grpc::zone::counts::GrpcCounts;
use crate::grpc::zone::departures::Departures;
use crate::grpc::zone::index::{Index, Patterns};
use crate::grpc::zone::paced::Paced;
use crate::grpc::zone::quiet::Quiet;
use crate::http::call::address_text;
use crate::http::room::Room;
use crate::net::Bell;
use crate::net::entrance::Traffic;
use crate::port::feed::Feed;
use crate::state::State;

/// What one read of a socket may bring.
pub(crate) const SCRATCH_BYTES: usize = 16 << 10;

/// What the connections of one thread share.
pub(crate) struct GrpcZone {
    pub(crate) state: Arc<State>,
    pub(crate) counts: Arc<GrpcCounts>,
    pub(crate) clients: RefCell<BTreeMap<ClientId, Rc<Client>>>,
    pub(crate) index: Index,
    pub(crate) patterns: Patterns,
    pub(crate) feed: Arc<Feed>,
    pub(crate) clock: Rc<Cell<Instant>>,
    pub(crate) quiet: Quiet,
    pub(crate) paced: Paced,
    /// A client has begun to wait for a lock.
    pub(crate) lock_waited: Bell,
    pub(crate) departures: Departures,
    /// What one read brought.
    pub(crate) scratch: RefCell<Box<[u8]>>,
    pub(crate) traffic: Traffic,
}

impl GrpcZone {
    pub(crate) fn new(state: Arc<State>, counts: Arc<GrpcCounts>) -> io::Result<Self> {
        let clock = Rc::new(Cell::new(state.now().0));
        Ok(Self {
            state,
            counts,
            clients: RefCell::default(),
            index: Index::default(),
            patterns: Patterns::default(),
            feed: Arc::default(),
            clock,
            quiet: Quiet::new()?,
            paced: Paced::new(),
            lock_waited: Bell::new(),
            departures: Departures::new(),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into()),
            traffic: Traffic::new(),
        })
    }

    /// Whether this client waits among the quiet ones: it is one of many and only lives.
    pub(crate) fn is_quiet(&self, client: &Client) -> bool {
        let settings = &self.state.settings;
        self.clients.borrow().len() >= settings.grpc_quiet_connections_min
            && client.is_quiet(settings.grpc_quiet_after)
    }

    /// Sets the clock of all clients: some deadlines are of milliseconds.
    pub(crate) fn look_at_the_clock(&self) {
        self.clock.set(self.state.now().0);
    }

    /// Where what is made for a client is counted.
    pub(crate) fn room(&self, client: &Client) -> Room {
        Room::new(&self.state.pool, &client.place)
    }

    pub(crate) fn client(&self, id: ClientId) -> Option<Rc<Client>> {
        self.clients.borrow().get(&id).map(Rc::clone)
    }

    pub(crate) fn open(&self, address: SocketAddr, place: &Arc<Place>) -> Rc<Client> {
        let (now, wall) = self.state.now();
        self.clock.set(now);
        let number = self.counts.last_client.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let id = ClientId::new(self.state.port.facts.life, number);
        let ip = address_text(address.ip());
        let name = format!("{}_{ip}_{}", wall.as_millis(), address.port());
        let clock = Rc::clone(&self.clock);
        let client = Rc::new(Client::new(id, name.into(), ip, Arc::clone(place), clock));
        self.clients.borrow_mut().insert(client.id, Rc::clone(&client));
        self.traffic.opened.ring();
        client
    }
}

/// Who makes a request.
pub(crate) struct Asker<'c> {
    pub(crate) zone: &'c Rc<GrpcZone>,
    pub(crate) client: &'c Rc<Client>,
    /// The tag in the headers of its payload.
    pub(crate) tag: Option<&'c str>,
    /// Who makes it; with authentication off nobody is known.
    pub(crate) user: Option<Arc<Login>>,
}

impl Asker<'_> {
    /// The name of the user.
    pub(crate) fn user_name(&self) -> Option<&str> {
        self.user.as_deref().map(Login::name)
    }
}
