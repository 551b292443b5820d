//! Coarse deadlines for handlers. A precise timer per request would wake the reactor thread for
//! each; these sit in one ordered map that the connection engine looks at once per tick, and only
//! while something waits. A deadline passes up to one tick late, which is nothing against ten
//! seconds.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use nacolet_model::Instant;

/// Deadlines of all handlers that wait.
#[derive(Debug, Default)]
pub(crate) struct Ticker {
    waiting: Mutex<Wakers>,
}

#[derive(Debug, Default)]
struct Wakers {
    last: u64,
    /// By deadline and a number that tells equal deadlines apart.
    wakers: BTreeMap<(Instant, u64), Waker>,
}

impl Ticker {
    /// A future that is ready once a tick at or after `deadline` has come.
    pub(crate) fn until(self: &Arc<Self>, deadline: Instant) -> Until {
        Until { ticker: Arc::clone(self), deadline, key: None }
    }

    /// What comes of `work`, or nothing when it is not done by `deadline`.
    pub(crate) async fn within<T>(
        self: &Arc<Self>,
        deadline: Instant,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let too_late = async {
            self.until(deadline).await;
            None
        };
        smol::future::or(async { Some(work.await) }, too_late).await
    }

    /// Wakes everybody whose deadline has passed. Returns how many still wait.
    pub(crate) fn tick(&self, now: Instant) -> usize {
        let mut waiting = self.lock();
        let later = waiting.wakers.split_off(&(now, u64::MAX));
        let due = std::mem::replace(&mut waiting.wakers, later);
        let left = waiting.wakers.len();
        drop(waiting);
        for waker in due.into_values() {
            waker.wake();
        }
        left
    }

    fn lock(&self) -> MutexGuard<'_, Wakers> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Ticker::until`].
#[derive(Debug)]
pub(crate) struct Until {
    ticker: Arc<Ticker>,
    deadline: Instant,
    key: Option<(Instant, u64)>,
}

impl Future for Until {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let mut waiting = this.ticker.lock();
        match this.key {
            None => {
                waiting.last += 1;
                let key = (this.deadline, waiting.last);
                waiting.wakers.insert(key, cx.waker().clone());
                this.key = Some(key);
                Poll::Pending
            }
            // A key that is gone was taken by a tick.
            Some(key) => match waiting.wakers.get_mut(&key) {
                Some(waker) => {
                    waker.clone_from(cx.waker());
                    Poll::Pending
                }
                None => Poll::Ready(()),
            },
        }
    }
}

impl Drop for Until {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.ticker.lock().wakers.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use smol::future::block_on;

    use super::*;

    #[test]
    fn a_deadline_passes_at_the_first_tick_at_or_after_it() {
        let ticker = Arc::new(Ticker::default());
        let mut until = Box::pin(ticker.until(Instant::from_millis(5)));
        block_on(poll_fn(|cx| {
            assert!(until.as_mut().poll(cx).is_pending());
            assert_eq!(ticker.tick(Instant::from_millis(4)), 1);
            assert!(until.as_mut().poll(cx).is_pending());
            assert_eq!(ticker.tick(Instant::from_millis(5)), 0);
            until.as_mut().poll(cx)
        }));
    }

    #[test]
    fn a_dropped_deadline_is_forgotten() {
        let ticker = Arc::new(Ticker::default());
        let mut until = Box::pin(ticker.until(Instant::from_millis(5)));
        block_on(poll_fn(|cx| {
            assert!(until.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        }));
        drop(until);
        assert_eq!(ticker.tick(Instant::ZERO), 0);
    }
}
