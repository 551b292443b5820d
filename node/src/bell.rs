//! A bell between tasks: whoever listens hears that something happened since it listened last, and
//! not how often. Clones are the same bell.

use async_channel::{Receiver, Sender};
use smol::future;

#[derive(Clone, Debug)]
pub(crate) struct Bell(Sender<()>, Receiver<()>);

impl Default for Bell {
    fn default() -> Self {
        let (sender, receiver) = async_channel::bounded(1);
        Self(sender, receiver)
    }
}

impl Bell {
    pub(crate) fn ring(&self) {
        // A full channel says it already.
        let _ = self.0.try_send(());
    }

    /// Resolves once it was rung; one ring is heard once.
    pub(crate) async fn rung(&self) {
        if self.1.recv().await.is_err() {
            // Its other end is here, so this cannot be.
            future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use smol::future::{block_on, poll_once};

    use super::*;

    #[test]
    fn what_rang_before_is_heard_once() {
        let bell = Bell::default();
        let heard = || block_on(poll_once(bell.rung())).is_some();
        assert!(!heard());
        bell.clone().ring();
        bell.ring();
        assert!(heard() && !heard());
    }
}
