//! Callers that wait for a place in the log to be applied. A proposal is answered only by the entry
//! with its own term and index: another entry at that index means that it was superseded. A pure
//! table; what a waiter is and how it is answered is the caller's business.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use nacolet_model::RequestId;

use crate::types::{LogId, LogIndex, Term};

/// Waiters before and after they have a place in the log.
#[derive(Debug)]
pub(crate) struct Waiters<W> {
    /// Handed to the engine, not answered by it yet.
    asked: BTreeMap<RequestId, W>,
    /// In order of their index; one index may stand for several terms.
    placed: VecDeque<(LogId, W)>,
}

/// What the entry applied at one index means for those who waited at it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settled<W> {
    /// The one who proposed this very entry.
    pub(crate) proposer: Option<W>,
    /// Those whose entry can never be applied now.
    pub(crate) superseded: Vec<W>,
}

impl<W> Waiters<W> {
    pub(crate) const fn new() -> Self {
        Self { asked: BTreeMap::new(), placed: VecDeque::new() }
    }

    /// `waiter` was handed to the engine as `request`.
    pub(crate) fn ask(&mut self, request: RequestId, waiter: W) {
        self.asked.insert(request, waiter);
    }

    /// The engine refused `request`, or answered it for good.
    pub(crate) fn answered(&mut self, request: RequestId) -> Option<W> {
        self.asked.remove(&request)
    }

    /// The engine gave `request` a place in the log.
    pub(crate) fn place(&mut self, request: RequestId, id: LogId) {
        let Some(waiter) = self.asked.remove(&request) else { return };
        // Almost always the end: only a leader that was deposed and elected again goes back.
        let at = match self.placed.back() {
            Some((last, _)) if (last.index, last.term) > (id.index, id.term) => self
                .placed
                .partition_point(|(other, _)| (other.index, other.term) < (id.index, id.term)),
            _ => self.placed.len(),
        };
        self.placed.insert(at, (id, waiter));
    }

    /// The entry `id` is committed and about to be applied; entries come in order.
    pub(crate) fn settle(&mut self, id: LogId) -> Settled<W> {
        let mut settled = Settled { proposer: None, superseded: Vec::new() };
        while let Some((place, _)) = self.placed.front()
            && place.index <= id.index
        {
            let Some((place, waiter)) = self.placed.pop_front() else { break };
            if place == id {
                settled.proposer = Some(waiter);
            } else {
                settled.superseded.push(waiter);
            }
        }
        settled
    }

    /// A snapshot covers everything up to `index`: what became of these cannot be told.
    pub(crate) fn covered(&mut self, index: LogIndex) -> Vec<W> {
        let end = self.placed.partition_point(|(place, _)| place.index <= index);
        self.placed.drain(..end).map(|(_, waiter)| waiter).collect()
    }

    /// Everybody who took a place before `term` and has no answer yet.
    pub(crate) fn take_before(&mut self, term: Term) -> Vec<W> {
        let (old, young) = self.placed.drain(..).partition(|(place, _)| place.term < term);
        self.placed = young;
        let old: VecDeque<(LogId, W)> = old;
        old.into_iter().map(|(_, waiter)| waiter).collect()
    }

    /// How many wait.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.asked.len() + self.placed.len()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn id(term: u64, index: u64) -> LogId {
        LogId { term: Term(term), index: LogIndex(index) }
    }

    fn placed(places: &[(u64, u64)]) -> Waiters<(u64, u64)> {
        let mut waiters = Waiters::new();
        for (number, &(term, index)) in (0..).zip(places) {
            waiters.ask(RequestId(number), (term, index));
            waiters.place(RequestId(number), id(term, index));
        }
        waiters
    }

    #[test]
    fn a_proposal_is_answered_by_its_own_entry() {
        let mut waiters = placed(&[(1, 5), (1, 6)]);
        let settled = waiters.settle(id(1, 5));
        assert_eq!(settled, Settled { proposer: Some((1, 5)), superseded: vec![] });
        assert_eq!(waiters.len(), 1);
    }

    #[test]
    fn an_entry_of_another_leader_supersedes_the_proposal() {
        let mut waiters = placed(&[(1, 5), (1, 6)]);
        let settled = waiters.settle(id(2, 5));
        assert_eq!(settled, Settled { proposer: None, superseded: vec![(1, 5)] });
    }

    #[test]
    fn a_leader_elected_again_may_propose_at_an_earlier_index() {
        let mut waiters = placed(&[(1, 5), (1, 6), (1, 7), (3, 6)]);
        assert_eq!(waiters.settle(id(2, 5)).superseded, vec![(1, 5)]);
        let settled = waiters.settle(id(3, 6));
        assert_eq!(settled, Settled { proposer: Some((3, 6)), superseded: vec![(1, 6)] });
        assert_eq!(waiters.take_before(Term(3)), vec![(1, 7)]);
    }

    #[test]
    fn those_of_the_current_term_go_on_waiting() {
        let mut waiters = placed(&[(1, 5), (3, 6), (2, 7)]);
        assert_eq!(waiters.take_before(Term(3)), vec![(1, 5), (2, 7)]);
        assert_eq!(waiters.settle(id(3, 6)).proposer, Some((3, 6)));
    }

    #[test]
    fn a_snapshot_leaves_those_it_covers_without_an_answer() {
        let mut waiters = placed(&[(1, 5), (1, 6), (1, 7)]);
        assert_eq!(waiters.covered(LogIndex(6)), vec![(1, 5), (1, 6)]);
        assert_eq!(waiters.len(), 1);
    }

    #[test]
    fn a_refused_request_has_no_place() {
        let mut waiters = Waiters::new();
        waiters.ask(RequestId(1), 'a');
        assert_eq!(waiters.answered(RequestId(1)), Some('a'));
        waiters.place(RequestId(1), id(1, 1));
        assert_eq!(waiters.len(), 0);
    }
}
