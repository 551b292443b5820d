//! Who waits until this node has applied an entry: callers whose write or read was agreed
//! elsewhere. One counter and an empty map for a node that is alone.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use async_channel::{Receiver, Sender};
use nacolet_raft::LogIndex;

/// Both ends of a channel; dropping the sender wakes all that wait for one index.
type Waiters = (Sender<()>, Receiver<()>);

#[derive(Default)]
struct AppliedState {
    index: Cell<LogIndex>,
    waiters: RefCell<BTreeMap<LogIndex, Waiters>>,
}

/// The highest applied index, and who waits for more.
#[derive(Clone, Default)]
pub(crate) struct Applied(Rc<AppliedState>);

impl Applied {
    /// Everything up to here is part of the state.
    pub(crate) fn index(&self) -> LogIndex {
        self.0.index.get()
    }

    /// Everything up to `index` is part of the state.
    pub(crate) fn reached(&self, index: LogIndex) {
        self.0.index.set(self.0.index.get().max(index));
        let mut waiters = self.0.waiters.borrow_mut();
        while waiters.first_key_value().is_some_and(|(wanted, _)| *wanted <= index) {
            waiters.pop_first();
        }
    }

    /// Resolves once everything up to `index` is part of the state.
    pub(crate) async fn wait(&self, index: LogIndex) {
        if self.0.index.get() >= index {
            return;
        }
        let woken = {
            let mut waiters = self.0.waiters.borrow_mut();
            waiters.entry(index).or_insert_with(|| async_channel::bounded(1)).1.clone()
        };
        // Nothing is ever sent: the channel closes when its entry goes.
        let _ = woken.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use smol::future::{block_on, or, poll_once};

    use super::*;

    #[test]
    fn whoever_waits_is_woken_at_its_index_and_not_before() {
        let applied = Applied::default();
        applied.reached(LogIndex(3));
        block_on(applied.wait(LogIndex(3)));
        let mut early = Box::pin(applied.wait(LogIndex(5)));
        let mut late = Box::pin(applied.wait(LogIndex(6)));
        assert!(block_on(poll_once(early.as_mut())).is_none());
        assert!(block_on(poll_once(late.as_mut())).is_none());
        applied.reached(LogIndex(5));
        block_on(early);
        assert!(block_on(poll_once(late.as_mut())).is_none());
        applied.reached(LogIndex(9));
        block_on(or(late, async { panic!("it was not woken") }));
        assert!(applied.0.waiters.borrow().is_empty());
    }
}
