//! The snapshot that a leader is sending here, chunk by chunk. Decides which chunk is next and
//! which is refused; the bytes go to the state machine. One transfer at a time: chunks of two
//! snapshots never mix, because each names its snapshot and only the one begun at offset 0 is
//! continued.

use nacolet_model::NodeId;

use crate::types::{SnapshotMeta, Term};

/// ```text
///          offset 0                last chunk stored              installed
/// Idle ────────────────► Receiving ─────────────────► Complete ─────────────► Settled
///                         ▲     │                                               │
///                         └─────┘ next chunk        offset 0 of another one ────┘ Receiving
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IncomingPhase {
    Receiving,
    /// Whole, waiting to be installed or discarded: nothing may overwrite it.
    Complete,
    Settled,
}

#[derive(Debug)]
struct IncomingTransfer {
    from: NodeId,
    term: Term,
    meta: SnapshotMeta,
    held: u64,
    phase: IncomingPhase,
}

/// The transfer under way, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    transfer: Option<IncomingTransfer>,
    /// A chunk is being stored; the next one has to wait for it.
    storing: bool,
}

/// What to do with a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Store it; then call [`Incoming::stored`].
    Store,
    /// Answer that this many bytes are here already; the sender goes on from there.
    Held(u64),
    /// Refuse it for now.
    Busy,
}

impl Incoming {
    /// A chunk of `meta` at `offset` arrived from the leader of `term`.
    pub(crate) fn offer(
        &mut self,
        from: NodeId,
        term: Term,
        meta: &SnapshotMeta,
        offset: u64,
    ) -> Verdict {
        if self.storing {
            return Verdict::Busy;
        }
        match &mut self.transfer {
            Some(transfer) if transfer.meta == *meta => {
                // Another leader may hold the very same snapshot and continue with it.
                transfer.from = from;
                transfer.term = term;
                if transfer.phase != IncomingPhase::Receiving || transfer.held != offset {
                    return Verdict::Held(transfer.held);
                }
            }
            Some(IncomingTransfer { phase: IncomingPhase::Complete, .. }) => return Verdict::Busy,
            Some(_) | None => {
                if offset != 0 {
                    return Verdict::Held(0);
                }
                self.transfer = Some(IncomingTransfer {
                    from,
                    term,
                    meta: meta.clone(),
                    held: 0,
                    phase: IncomingPhase::Receiving,
                });
            }
        }
        self.storing = true;
        Verdict::Store
    }

    /// The chunk of `bytes` bytes is stored. Returns what is held now and, when this was the last
    /// chunk, who sent the whole.
    pub(crate) fn stored(
        &mut self,
        bytes: u64,
        last: bool,
    ) -> (u64, Option<(NodeId, Term, SnapshotMeta)>) {
        self.storing = false;
        let Some(transfer) = &mut self.transfer else { return (0, None) };
        transfer.held = transfer.held.saturating_add(bytes);
        if !last {
            return (transfer.held, None);
        }
        transfer.phase = IncomingPhase::Complete;
        (transfer.held, Some((transfer.from, transfer.term, transfer.meta.clone())))
    }

    /// The chunk could not be stored: the transfer begins anew.
    pub(crate) fn failed(&mut self) {
        self.storing = false;
        self.transfer = None;
    }

    /// `meta` is installed: a late repetition of its chunks is answered and not stored.
    pub(crate) fn installed(&mut self, meta: &SnapshotMeta) {
        if let Some(transfer) = self.of(meta) {
            transfer.phase = IncomingPhase::Settled;
        }
    }

    /// `meta` is of no use, or could not be installed: when it is sent again it is taken again.
    pub(crate) fn discarded(&mut self, meta: &SnapshotMeta) {
        if self.of(meta).is_some() {
            self.transfer = None;
        }
    }

    fn of(&mut self, meta: &SnapshotMeta) -> Option<&mut IncomingTransfer> {
        self.transfer.as_mut().filter(|transfer| transfer.meta == *meta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{LogId, LogIndex, Membership};

    fn meta(id: u64) -> SnapshotMeta {
        let last = LogId { term: Term(1), index: LogIndex(10) };
        SnapshotMeta { last, membership: Membership::default(), id }
    }

    fn offer(incoming: &mut Incoming, id: u64, offset: u64) -> Verdict {
        incoming.offer(NodeId(1), Term(1), &meta(id), offset)
    }

    #[test]
    fn chunks_are_taken_in_order() {
        let mut incoming = Incoming::default();
        assert_eq!(offer(&mut incoming, 1, 0), Verdict::Store);
        assert_eq!(offer(&mut incoming, 1, 0), Verdict::Busy);
        assert_eq!(incoming.stored(4, false), (4, None));
        assert_eq!(offer(&mut incoming, 1, 0), Verdict::Held(4));
        assert_eq!(offer(&mut incoming, 1, 8), Verdict::Held(4));
        assert_eq!(offer(&mut incoming, 1, 4), Verdict::Store);
        assert_eq!(incoming.stored(3, true), (7, Some((NodeId(1), Term(1), meta(1)))));
        assert_eq!(offer(&mut incoming, 1, 4), Verdict::Held(7));
    }

    #[test]
    fn chunks_of_two_snapshots_never_mix() {
        // docs/raft-traps.md, trap 49.
        let mut incoming = Incoming::default();
        assert_eq!(offer(&mut incoming, 1, 0), Verdict::Store);
        incoming.stored(4, false);
        assert_eq!(offer(&mut incoming, 2, 4), Verdict::Held(0));
        assert_eq!(offer(&mut incoming, 2, 0), Verdict::Store);
        incoming.stored(4, false);
        assert_eq!(offer(&mut incoming, 1, 4), Verdict::Held(0));
    }

    #[test]
    fn a_whole_snapshot_is_not_overwritten_before_the_engine_has_spoken() {
        let mut incoming = Incoming::default();
        assert_eq!(offer(&mut incoming, 1, 0), Verdict::Store);
        incoming.stored(4, true);
        assert_eq!(offer(&mut incoming, 2, 0), Verdict::Busy);
        incoming.installed(&meta(1));
        assert_eq!(offer(&mut incoming, 1, 0), Verdict::Held(4));
        assert_eq!(offer(&mut incoming, 2, 0), Verdict::Store);
    }

    #[test]
    fn a_discarded_snapshot_is_taken_again() {
        let mut incoming = Incoming::default();
        assert_eq!(offer(&mut incoming, 1, 0), Verdict::Store);
        incoming.stored(4, true);
        incoming.discarded(&meta(1));
        assert_eq!(offer(&mut incoming, 1, 0), Verdict::Store);
    }

    #[test]
    fn a_chunk_that_cannot_be_stored_starts_the_transfer_anew() {
        let mut incoming = Incoming::default();
        assert_eq!(offer(&mut incoming, 1, 0), Verdict::Store);
        incoming.stored(4, false);
        assert_eq!(offer(&mut incoming, 1, 4), Verdict::Store);
        incoming.failed();
        assert_eq!(offer(&mut incoming, 1, 4), Verdict::Held(0));
    }
}
