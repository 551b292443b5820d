//! A number of things that are held now. What is given back was taken before: a count that went
//! below nothing would let in as many as there are numbers.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many there are.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicUsize);

impl Count {
    /// Adds and returns what was there before.
    pub(crate) fn grow(&self, count: usize) -> usize {
        self.0.fetch_add(count, Ordering::Relaxed)
    }

    /// Adds one if that makes no more than `max`; true if it did.
    pub(crate) fn take(&self, max: usize) -> bool {
        let is_free = self.grow(1) < max;
        if !is_free {
            self.give_back(1);
        }
        is_free
    }

    /// Takes back what was added.
    pub(crate) fn give_back(&self, count: usize) {
        let before = self.0.fetch_sub(count, Ordering::Relaxed);
        assert!(before >= count, "{count} of {before} are given back");
    }

    /// How many there are now.
    pub(crate) fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_taken_as_there_are_and_no_more() {
        let count = Count::default();
        assert_eq!((0..5).filter(|_| count.take(3)).count(), 3);
        count.give_back(1);
        assert!(count.take(3));
        assert!(!count.take(3));
        assert_eq!(count.now(), 3);
    }

    #[test]
    #[should_panic(expected = "2 of 1 are given back")]
    fn nobody_gives_back_more_than_was_taken() {
        let count = Count::default();
        assert!(count.take(1));
        count.give_back(2);
    }
}
