//! Queues with many senders and one receiver, the only channel the loops need. Several queues may
//! share one waker, so a task that listens to three of them sleeps once and decides itself whom it
//! serves first. A receiver that goes away closes its queue and drops what is in it: whoever waits
//! for an answer to a message in there is told so instead of waiting for ever.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::{Future, poll_fn};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll};

use atomic_waker::AtomicWaker;
use concurrent_queue::{ConcurrentQueue, PushError};

/// Items are boxed because slots are allocated long before they are needed, 31 at a time where
/// there is no bound: a pointer each is what a microcontroller can spare.
struct Channel<T> {
    items: ConcurrentQueue<Box<T>>,
    waker: Arc<AtomicWaker>,
    weight: Weight<T>,
    /// Bytes of what is inside.
    bytes: AtomicUsize,
}

/// What the items of a queue may weigh together.
pub(crate) struct Weight<T> {
    pub(crate) bytes_max: usize,
    /// Of one item, which never changes.
    pub(crate) of: fn(&T) -> usize,
}

impl<T> Weight<T> {
    /// Items that are small, or held elsewhere.
    pub(crate) const NONE: Self = Self { bytes_max: 0, of: |_| 0 };
}

impl<T> Channel<T> {
    /// Makes room for so many bytes. There always is for one item, however large.
    fn claim(&self, bytes: usize) -> bool {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = before == 0 || before.saturating_add(bytes) <= self.weight.bytes_max;
        if !fits && bytes > 0 {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits || bytes == 0
    }

    fn pop(&self) -> Option<T> {
        let item = *self.items.pop().ok()?;
        self.bytes.fetch_sub((self.weight.of)(&item), Ordering::Relaxed);
        Some(item)
    }
}

/// Why an item was not taken; the item comes back.
#[derive(Debug)]
pub(crate) enum SendError<T> {
    /// No slot is free, or there are too many bytes inside.
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
    weighed(slots, Weight::NONE, waker)
}

/// The same, bounded by bytes as well.
pub(crate) fn weighed<T>(
    slots: Option<usize>,
    weight: Weight<T>,
    waker: &Arc<AtomicWaker>,
) -> (Outbox<T>, Inbox<T>) {
    let items = slots
        .map_or_else(ConcurrentQueue::unbounded, |slots| ConcurrentQueue::bounded(slots.max(1)));
    let bytes = AtomicUsize::new(0);
    let shared = Arc::new(Channel { items, waker: Arc::clone(waker), weight, bytes });
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
        let bytes = (self.0.weight.of)(&item);
        if !self.0.claim(bytes) {
            return Err(SendError::Full(item));
        }
        let refused = match self.0.items.push(Box::new(item)) {
            Ok(()) => {
                self.0.waker.wake();
                return Ok(());
            }
            Err(PushError::Full(item)) => SendError::Full(*item),
            Err(PushError::Closed(item)) => SendError::Closed(*item),
        };
        self.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
        Err(refused)
    }

    /// Appends `item`; a full queue gives up its oldest items. Returns how many are lost, that one
    /// among them if the receiver is gone.
    pub(crate) fn force_send(&self, item: T) -> u64 {
        let mut lost = 0;
        let mut item = item;
        loop {
            item = match self.send(item) {
                Ok(()) => return lost,
                Err(SendError::Closed(_)) => return lost + 1,
                Err(SendError::Full(item)) => item,
            };
            lost += u64::from(self.0.pop().is_some());
        }
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
        self.0.pop()
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
        assert_eq!(outbox.force_send(3), 1);
        assert_eq!(inbox.take(), Some(3));
        drop(inbox);
        assert_eq!(outbox.force_send(4), 1);
    }

    #[test]
    fn a_queue_holds_no_more_bytes_than_it_may_and_any_one_item() {
        let weight = Weight { bytes_max: 10, of: |item: &usize| *item };
        let (outbox, inbox) = weighed(Some(8), weight, &Arc::default());
        assert!(outbox.send(20).is_ok(), "one goes alone");
        assert!(matches!(outbox.send(1), Err(SendError::Full(1))));
        assert!(outbox.send(0).is_ok(), "what weighs nothing always finds room");
        assert_eq!((inbox.take(), inbox.take()), (Some(20), Some(0)));
        for item in [4, 3, 3] {
            assert!(outbox.send(item).is_ok());
        }
        assert!(matches!(outbox.send(1), Err(SendError::Full(1))));
        assert_eq!(outbox.force_send(5), 2, "as many give way as it takes");
        assert_eq!((inbox.take(), inbox.take(), inbox.take()), (Some(3), Some(5), None));
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
