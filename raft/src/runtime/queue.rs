//! Queues with many senders and one receiver, the only channel the loops need. Several queues may
//! share one waker, so a task that listens to three of them sleeps once and decides itself whom it
//! serves first. A receiver that goes away closes its queue and drops what is in it: whoever waits
//! for an answer to a message in there is told so instead of waiting for ever.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::{Future, poll_fn};
use core::task::{Context, Poll};

use atomic_waker::AtomicWaker;
use concurrent_queue::{ConcurrentQueue, PushError};

/// Items are boxed because slots are allocated long before they are needed, 31 at a time where
/// there is no bound: a pointer each is what a microcontroller can spare.
struct Channel<T> {
    items: ConcurrentQueue<Box<T>>,
    waker: Arc<AtomicWaker>,
}

/// Why an item was not taken; the item comes back.
#[derive(Debug)]
pub(crate) enum SendError<T> {
    /// No slot is free.
    Full(T),
    /// The receiver is gone.
    Closed(T),
}

/// The sending side; cheap to clone.
pub(crate) struct Outbox<T>(Arc<Channel<T>>);

/// The receiving side.
pub(crate) struct Inbox<T>(Arc<Channel<T>>);

/// A queue of `slots` items, or one that is bounded by its use when `slots` is `None`.
pub(crate) fn queue<T>(slots: Option<usize>, waker: &Arc<AtomicWaker>) -> (Outbox<T>, Inbox<T>) {
    let items = slots
        .map_or_else(ConcurrentQueue::unbounded, |slots| ConcurrentQueue::bounded(slots.max(1)));
    let shared = Arc::new(Channel { items, waker: Arc::clone(waker) });
    (Outbox(Arc::clone(&shared)), Inbox(shared))
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Outbox<T> {
    /// Appends `item` and wakes the receiver; never waits.
    pub(crate) fn send(&self, item: T) -> Result<(), SendError<T>> {
        match self.0.items.push(Box::new(item)) {
            Ok(()) => {
                self.0.waker.wake();
                Ok(())
            }
            Err(PushError::Full(item)) => Err(SendError::Full(*item)),
            Err(PushError::Closed(item)) => Err(SendError::Closed(*item)),
        }
    }

    /// Appends `item`; a full queue gives up its oldest item, which is returned.
    pub(crate) fn force_send(&self, item: T) -> Option<T> {
        let displaced = match self.0.items.force_push(Box::new(item)) {
            Ok(displaced) => displaced,
            Err(refused) => Some(refused.0),
        };
        self.0.waker.wake();
        displaced.map(|item| *item)
    }

    /// Takes no more items; the receiver still gets those inside.
    pub(crate) fn close(&self) {
        self.0.items.close();
        self.0.waker.wake();
    }
}

impl<T> Inbox<T> {
    /// The oldest item, if there is one.
    pub(crate) fn take(&self) -> Option<T> {
        self.0.items.pop().ok().map(|item| *item)
    }

    /// Whether nothing is inside.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.items.is_empty()
    }

    /// Whether nothing will be sent any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.items.is_closed()
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        self.0.items.close();
        while self.0.items.pop().is_ok() {}
    }
}

/// Sleeps until `ready` says so. `waker` is registered before each look, so that no send is missed.
pub(crate) fn until<'a>(
    waker: &'a AtomicWaker,
    mut ready: impl FnMut(&mut Context<'_>) -> bool + 'a,
) -> impl Future<Output = ()> + 'a {
    poll_fn(move |context| {
        waker.register(context.waker());
        if ready(context) { Poll::Ready(()) } else { Poll::Pending }
    })
}

#[cfg(test)]
mod tests {
    use futures_channel::oneshot;
    use futures_lite::future::block_on;

    use super::*;

    #[test]
    fn a_full_queue_refuses_and_gives_the_item_back() {
        let (outbox, inbox) = queue(Some(1), &Arc::default());
        assert!(outbox.send(1).is_ok());
        assert!(matches!(outbox.send(2), Err(SendError::Full(2))));
        assert_eq!(outbox.force_send(3), Some(1));
        assert_eq!(inbox.take(), Some(3));
    }

    #[test]
    fn a_receiver_that_goes_away_drops_what_it_never_read() {
        let (outbox, inbox) = queue(None, &Arc::default());
        let (sender, receiver) = oneshot::channel::<()>();
        assert!(outbox.send(sender).is_ok());
        drop(inbox);
        assert!(block_on(receiver).is_err());
        assert!(matches!(outbox.send(oneshot::channel().0), Err(SendError::Closed(_))));
    }

    #[test]
    fn a_closed_queue_still_hands_out_its_items() {
        let (outbox, inbox) = queue(Some(2), &Arc::default());
        assert!(outbox.send(1).is_ok());
        outbox.close();
        assert!(outbox.send(2).is_err());
        assert_eq!(inbox.take(), Some(1));
        assert!(inbox.is_closed() && inbox.is_empty());
    }
}
