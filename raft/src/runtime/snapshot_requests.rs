//! Who waits for a Raft snapshot, and which one is the newest. A request that comes while one is
//! being built is answered by the next one, because only that one is sure to hold what was applied
//! before the request.

use alloc::vec::Vec;

use futures_channel::oneshot::Sender;
use nacolet_model::limits;

use super::error::TriggerSnapshotError;
use super::traits::SnapshotError;
use crate::types::{LogIndex, SnapshotMeta};

type SnapshotAnswer = Sender<Result<SnapshotMeta, TriggerSnapshotError>>;

/// Requests for snapshots, and what came of the last ones.
#[derive(Debug, Default)]
pub(crate) struct SnapshotRequests {
    newest: Option<SnapshotMeta>,
    /// Asked for since the last build began.
    waiting: Vec<SnapshotAnswer>,
    /// Answered by the build under way.
    served: Vec<SnapshotAnswer>,
    building: bool,
    installing: bool,
    last_failure: Option<SnapshotError>,
}

impl SnapshotRequests {
    pub(crate) fn new(newest: Option<SnapshotMeta>) -> Self {
        Self { newest, ..Self::default() }
    }

    /// The newest durable snapshot.
    pub(crate) const fn newest(&self) -> Option<&SnapshotMeta> {
        self.newest.as_ref()
    }

    /// Somebody wants one.
    pub(crate) fn trigger(&mut self, answer: SnapshotAnswer) {
        if self.waiting.len() + self.served.len() >= limits::RAFT_WAITERS_MAX {
            let _ = answer.send(Err(TriggerSnapshotError::Overloaded));
            return;
        }
        self.waiting.push(answer);
    }

    /// The engine ordered a build.
    pub(crate) fn building(&mut self) {
        self.building = true;
        self.served.append(&mut self.waiting);
    }

    /// The build is done.
    pub(crate) fn built(&mut self, meta: SnapshotMeta) {
        self.building = false;
        self.last_failure = None;
        for answer in self.served.drain(..) {
            let _ = answer.send(Ok(meta.clone()));
        }
        if self.end() <= meta.last.index {
            self.newest = Some(meta);
        }
    }

    /// The build was given up.
    pub(crate) fn build_failed(&mut self, error: SnapshotError) {
        self.building = false;
        for answer in self.served.drain(..) {
            let _ = answer.send(Err(TriggerSnapshotError::Failed(error.clone())));
        }
        self.last_failure = Some(error);
    }

    /// A received one is replacing the state.
    pub(crate) const fn installing(&mut self) {
        self.installing = true;
    }

    /// A received one is the state now.
    pub(crate) fn installed(&mut self, meta: SnapshotMeta) {
        self.installing = false;
        self.newest = Some(meta);
    }

    /// A received one could not be installed.
    pub(crate) fn install_failed(&mut self, error: SnapshotError) {
        self.installing = false;
        self.last_failure = Some(error);
    }

    /// The engine has spoken for this turn and ordered no build for those who still wait: either
    /// the newest snapshot already holds everything applied, up to `applied`, or it does not try
    /// again so soon after a failure.
    pub(crate) fn turn_ended(&mut self, applied: LogIndex) {
        if self.building || self.installing || self.waiting.is_empty() {
            return;
        }
        let outcome = match (&self.newest, &self.last_failure) {
            (Some(newest), _) if newest.last.index >= applied => Ok(newest.clone()),
            (_, Some(error)) => Err(TriggerSnapshotError::Failed(error.clone())),
            (Some(newest), None) => Ok(newest.clone()),
            (None, None) => Err(TriggerSnapshotError::Empty),
        };
        for answer in self.waiting.drain(..) {
            let _ = answer.send(outcome.clone());
        }
    }

    fn end(&self) -> LogIndex {
        self.newest.as_ref().map_or(LogIndex(0), |newest| newest.last.index)
    }
}

#[cfg(test)]
mod tests {
    use futures_channel::oneshot;

    use super::*;

    #[test]
    fn those_who_wait_for_a_snapshot_are_bounded() {
        let mut requests = SnapshotRequests::default();
        let mut ask = || {
            let (sender, answer) = oneshot::channel();
            requests.trigger(sender);
            requests.building();
            answer
        };
        let waiting: Vec<_> = (0..limits::RAFT_WAITERS_MAX).map(|_| ask()).collect();
        assert_eq!(ask().try_recv(), Ok(Some(Err(TriggerSnapshotError::Overloaded))));
        requests.built(SnapshotMeta::default());
        let answered =
            waiting.into_iter().filter_map(|mut answer| answer.try_recv().ok().flatten());
        assert_eq!(answered.filter(Result::is_ok).count(), limits::RAFT_WAITERS_MAX);
    }
}
