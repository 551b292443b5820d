//! gRPC connections that are to go to another member. The threads that hold them take orders; who
//! gives one, an operator over HTTP or another member, is told how many connections it is about.

use std::sync::{Mutex, MutexGuard, PoisonError};

use nacolet_model::limits;

/// Where a client is to go: what SDKs put their own offset to, so the port of HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host, without brackets.
    pub host: Box<str>,
    /// Port of HTTP.
    pub port: Box<str>,
}

impl Target {
    /// The target in `HOST:PORT`.
    #[must_use]
    pub fn parse(address: &str) -> Option<Self> {
        let (host, port) = address.rsplit_once(':')?;
        let host = host.trim_matches(['[', ']']);
        Some(Self { host: host.into(), port: port.into() })
    }
}

/// What one thread is asked for.
#[derive(Clone, Debug)]
pub(crate) enum MoveOrder {
    /// How many connections are set up there.
    Count,
    /// The connection with this id goes, if it is there.
    One(Box<str>, Target),
    /// So many go, in turn to each of the targets.
    Some(usize, Vec<Target>),
}

/// An order, and where it is told how many connections it is about.
#[derive(Debug)]
pub(crate) struct MoveAsked {
    pub(crate) order: MoveOrder,
    pub(crate) answer: async_channel::Sender<usize>,
}

/// The ways to the threads.
#[derive(Debug, Default)]
pub struct Moves(Mutex<Vec<async_channel::Sender<MoveAsked>>>);

/// Too many orders wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many orders about connections wait")]
pub struct Busy;

impl Moves {
    /// One more thread takes orders.
    pub(crate) fn join(&self) -> async_channel::Receiver<MoveAsked> {
        let (sender, orders) = async_channel::bounded(limits::GRPC_MOVE_ORDERS_MAX);
        self.threads().push(sender);
        orders
    }

    fn threads(&self) -> MutexGuard<'_, Vec<async_channel::Sender<MoveAsked>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections that are set up.
    ///
    /// # Errors
    /// See [`Busy`].
    pub async fn count(&self) -> Result<usize, Busy> {
        let mut sum = 0;
        for thread in self.alive() {
            sum += ask(&thread, MoveOrder::Count).await?;
        }
        Ok(sum)
    }

    /// Moves the connection with this id; whether it is there.
    ///
    /// # Errors
    /// See [`Busy`].
    pub async fn one(&self, connection: &str, target: &Target) -> Result<bool, Busy> {
        for thread in self.alive() {
            if ask(&thread, MoveOrder::One(connection.into(), target.clone())).await? > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Moves all but `keep` connections, in turn to each of the targets; how many begin to go. None
    /// goes where there is no target.
    ///
    /// # Errors
    /// See [`Busy`].
    pub async fn all_but(&self, keep: usize, targets: &[Target]) -> Result<usize, Busy> {
        let mut left = self.count().await?.saturating_sub(keep);
        let mut moved = 0;
        for thread in self.alive() {
            if left == 0 || targets.is_empty() {
                break;
            }
            let there = ask(&thread, MoveOrder::Count).await?.min(left);
            left -= there;
            moved += ask(&thread, MoveOrder::Some(there, targets.to_vec())).await?;
        }
        Ok(moved)
    }

    fn alive(&self) -> Vec<async_channel::Sender<MoveAsked>> {
        let mut threads = self.threads();
        threads.retain(|thread| !thread.is_closed());
        threads.clone()
    }
}

async fn ask(thread: &async_channel::Sender<MoveAsked>, order: MoveOrder) -> Result<usize, Busy> {
    let (answer, told) = async_channel::bounded(1);
    match thread.try_send(MoveAsked { order, answer }) {
        Ok(()) => {}
        Err(async_channel::TrySendError::Full(_)) => return Err(Busy),
        Err(async_channel::TrySendError::Closed(_)) => return Ok(0),
    }
    // A thread that stops has none.
    Ok(told.recv().await.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use smol::future::{block_on, or};

    use super::*;

    fn target() -> Target {
        Target::parse("10.0.0.8:8848").expect("an address")
    }

    /// A thread with so many connections, which says what it is asked.
    async fn thread(
        orders: async_channel::Receiver<MoveAsked>,
        has: usize,
        log: &Mutex<Vec<usize>>,
    ) {
        while let Ok(MoveAsked { order, answer }) = orders.recv().await {
            let told = match order {
                MoveOrder::Count => has,
                MoveOrder::One(id, _) => usize::from(&*id == "here" && has > 3),
                MoveOrder::Some(count, _) => {
                    log.lock().expect("no panic").push(count);
                    count
                }
            };
            answer.try_send(told).expect("somebody waits");
        }
    }

    #[test]
    fn all_but_some_go_whatever_thread_they_are_on() {
        let moves = Moves::default();
        let (first, second) = (moves.join(), moves.join());
        let log = Mutex::default();
        let asked = async {
            assert_eq!(moves.count().await, Ok(8));
            assert_eq!(moves.all_but(1, &[target()]).await, Ok(7));
            assert_eq!(moves.all_but(8, &[target()]).await, Ok(0));
            assert_eq!(moves.all_but(0, &[]).await, Ok(0), "there is nowhere to go");
            assert_eq!(moves.one("here", &target()).await, Ok(true));
            assert_eq!(moves.one("gone", &target()).await, Ok(false));
        };
        let threads = or(thread(first, 3, &log), thread(second, 5, &log));
        block_on(or(asked, threads));
        assert_eq!(*log.lock().expect("no panic"), [3, 4]);
    }

    #[test]
    fn an_address_is_host_and_port() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let found = Target::parse(text);
            let found = found.as_ref().map(|target| (&*target.host, &*target.port));
            assert_eq!(found, expected, "{text}");
        };
        check("10.0.0.8:8848", Some(("10.0.0.8", "8848")));
        check("[::1]:8848", Some(("::1", "8848")));
        check("host", None);
    }
}
