//! Where messages of Distro wait for the core task: bounded by number and bytes. What does not fit
//! is dropped and counted; the digests of the registry find what is missing.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_channel::{Receiver, Sender};
use nacolet_model::{NodeId, limits};
use nacolet_registry::Message;
use smol::future;

/// What another member said.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) from: NodeId,
    pub(crate) message: Message,
    /// Its size on the wire.
    pub(crate) bytes: usize,
}

/// Letters on their way from the links to the core task.
pub(crate) struct Mailbox {
    sender: Sender<Letter>,
    receiver: Receiver<Letter>,
    bytes: Cell<usize>,
    dropped: Arc<AtomicU64>,
}

impl Default for Mailbox {
    fn default() -> Self {
        let (sender, receiver) = async_channel::bounded(limits::DISTRO_INBOX_MAX);
        Self { sender, receiver, bytes: Cell::new(0), dropped: Arc::default() }
    }
}

impl Mailbox {
    pub(crate) fn put(&self, letter: Letter) {
        let bytes = self.bytes.get() + letter.bytes;
        let is_full = bytes > limits::DISTRO_INBOX_BYTES_MAX && bytes > letter.bytes;
        if is_full || self.sender.try_send(letter).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            self.bytes.set(bytes);
        }
    }

    /// The next letter, if one waits.
    pub(crate) fn try_next(&self) -> Option<Letter> {
        self.receiver.try_recv().ok().map(|letter| self.taken(letter))
    }

    /// The next letter.
    pub(crate) async fn next(&self) -> Letter {
        match self.receiver.recv().await {
            Ok(letter) => self.taken(letter),
            // Its other end is here.
            Err(_) => future::pending().await,
        }
    }

    /// How many were dropped, for any thread to read.
    pub(crate) fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }

    fn taken(&self, letter: Letter) -> Letter {
        self.bytes.set(self.bytes.get() - letter.bytes);
        letter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(bytes: usize) -> Letter {
        Letter { from: NodeId(1), message: Message::Sync(Vec::new()), bytes }
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let (mailbox, max) = (Mailbox::default(), limits::DISTRO_INBOX_BYTES_MAX);
        mailbox.put(letter(max + 1));
        mailbox.put(letter(1));
        assert_eq!(mailbox.dropped().load(Ordering::Relaxed), 1, "a large one goes alone");
        assert_eq!(mailbox.try_next().map(|letter| letter.bytes), Some(max + 1));
        for _ in 0..=limits::DISTRO_INBOX_MAX {
            mailbox.put(letter(1));
        }
        assert_eq!(mailbox.dropped().load(Ordering::Relaxed), 2);
        while mailbox.try_next().is_some() {}
        mailbox.put(letter(max));
        assert_eq!(mailbox.dropped().load(Ordering::Relaxed), 2, "there is room again");
    }
}
