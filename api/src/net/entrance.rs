//! The way in, the same for both protocols: who is accepted, how connections are watched while they
//! are there, and how they end when the server stops.

use std::cell::Cell;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use nacolet_model::{Instant, limits};
use smol::{LocalExecutor, Timer};

use crate::net::Bell;
use crate::state::permit::NoSeat;
use crate::state::{Handed, State};

/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often, and how long each time, a connection waits for a place before it is closed.
const SEAT_TRIES: u32 = 20;
/// See `SEAT_TRIES`.
const SEAT_PAUSE: Duration = Duration::from_millis(50);

/// Who comes and goes on one thread.
pub(crate) struct Traffic {
    /// Connections that wait for a place.
    waiting: Cell<usize>,
    /// Tells the sweeper that a connection came.
    pub(crate) opened: Bell,
    /// Tells the drain that a connection went.
    pub(crate) closed: Bell,
}

impl Traffic {
    pub(crate) fn new() -> Self {
        Self { waiting: Cell::new(0), opened: Bell::new(), closed: Bell::new() }
    }
}

/// One thread's share of a port.
pub(crate) trait Entrance: 'static {
    /// What a connection has as long as it is there.
    type Seat: 'static;

    /// What all threads share.
    fn state(&self) -> &State;

    /// Who comes and goes.
    fn traffic(&self) -> &Traffic;

    /// A place for a connection from this address, if need be that of another one.
    fn seat(&self, ip: IpAddr) -> Result<Self::Seat, NoSeat>;

    /// Serves one connection from its first byte to its last.
    fn serve(self: Rc<Self>, handed: Handed, seat: Self::Seat) -> impl Future<Output = ()>;

    /// Whether there is no connection.
    fn is_empty(&self) -> bool;

    /// Looks at the deadlines of every connection.
    fn check(&self, now: Instant);

    /// Tells every connection to end after what it does.
    fn begin_to_end(&self);
}

/// Accepts for ever what `next` brings. An error of one connection is its own; want of descriptors
/// is waited out.
pub(crate) async fn accept<E: Entrance>(
    zone: &Rc<E>,
    executor: &LocalExecutor<'_>,
    next: impl AsyncFn() -> io::Result<Handed>,
) {
    let state = zone.state();
    loop {
        match next().await {
            Ok(handed) => {
                let ip = handed.1.ip();
                let waiting = &zone.traffic().waiting;
                match zone.seat(ip) {
                    Ok(seat) => executor.spawn(Rc::clone(zone).serve(handed, seat)).detach(),
                    Err(NoSeat::Full) if waiting.get() < limits::SEATS_WAITING_MAX => {
                        waiting.set(waiting.get() + 1);
                        executor.spawn(wait(Rc::clone(zone), handed)).detach();
                    }
                    Err(refused) => state.mention_refused(refused, ip),
                }
            }
            Err(error) if is_by_the_client(&error) => {}
            Err(error) => {
                // A crowd of strangers can cause it.
                state.mention("cannot accept a connection", error);
                Timer::after(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// When all places are taken the newest connection waits a moment by itself: a crowd of listeners
/// that connect at once turns into long polls, which are counted apart, and a crowd of gRPC clients
/// that come back at once sets up one after the other. Then there are places again.
async fn wait<E: Entrance>(zone: Rc<E>, handed: Handed) {
    let ip = handed.1.ip();
    let mut found = Err(NoSeat::Full);
    for _ in 0..SEAT_TRIES {
        Timer::after(SEAT_PAUSE).await;
        found = zone.seat(ip);
        if !matches!(found, Err(NoSeat::Full)) {
            break;
        }
    }
    let waiting = &zone.traffic().waiting;
    waiting.set(waiting.get() - 1);
    match found {
        Ok(seat) => zone.serve(handed, seat).await,
        // It is closed when no place can be given up: those inside are being served.
        Err(refused) => zone.state().mention_refused(refused, ip),
    }
}

/// The client went away before it was accepted.
fn is_by_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::WouldBlock
    )
}

/// Looks at every deadline once per tick, and sleeps while there are no connections.
pub(crate) async fn sweep<E: Entrance>(zone: Rc<E>) {
    let state = zone.state();
    loop {
        while zone.is_empty() {
            zone.traffic().opened.heard().await;
        }
        Timer::after(state.settings.tick).await;
        let now = state.now().0;
        state.ticker.tick(now);
        state.pool.tick(now);
        state.tell(now);
        // A check wakes tasks and runs none of them, so nobody comes or goes meanwhile.
        zone.check(now);
    }
}

/// Lets every connection finish what it does, for a bounded time.
pub(crate) async fn drain<E: Entrance>(zone: &E) {
    zone.begin_to_end();
    let gone = async {
        while !zone.is_empty() {
            zone.traffic().closed.heard().await;
        }
    };
    let timeout = async {
        Timer::after(zone.state().settings.drain_timeout).await;
    };
    smol::future::or(gone, timeout).await;
}
