//! Writes that wait on their leader: whom for is told in its log, before their callers give up.
//! That a member is not reached is told elsewhere; one with a full disk answers as ever and keeps
//! nothing.

use std::time::Duration;

use nacolet_model::{Instant, NodeId, limits};
use nacolet_raft::{LogIndex, Metrics, Raft, RoleKind};

use crate::clock;
use crate::cluster::SharedCluster;
use crate::machine::Machine;

/// Longer than a write takes on the slowest disk that is not told of by itself.
const STALLS_AFTER: Duration = limits::SLOW_SYNC;

/// What the leader waits for.
#[derive(Debug, Default)]
pub(crate) struct Stall {
    commit: LogIndex,
    /// Since when nothing was agreed to, while something should have been.
    since: Option<Instant>,
    told: Option<Instant>,
}

/// What is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StallNews {
    Nothing,
    /// They wait, still or again.
    Waits,
    /// They waited, and are agreed to.
    Over,
}

/// A member that has not kept what waits.
struct Laggard<'a> {
    node: NodeId,
    address: &'a str,
    answers: bool,
}

impl Stall {
    /// Tells what is new.
    pub(crate) async fn look(&mut self, raft: &Raft<Machine>, cluster: Option<&SharedCluster>) {
        let metrics = raft.metrics();
        match self.news(clock::now(), &metrics) {
            StallNews::Nothing => {}
            StallNews::Over => tracing::info!("writes are agreed to again"),
            StallNews::Waits => {
                let Ok(status) = raft.status().await else { return };
                let lags = status.followers.iter().filter(|(node, follower)| {
                    metrics.membership.is_voter(**node)
                        && follower.match_index <= status.commit_index
                });
                let laggards: Vec<Laggard<'_>> = lags
                    .map(|(node, follower)| Laggard {
                        node: *node,
                        address: metrics.membership.addresses.get(node).map_or("", String::as_str),
                        answers: follower.active
                            && cluster.is_some_and(|cluster| cluster.transport.is_up(*node)),
                    })
                    .collect();
                tracing::warn!("{}", words(&laggards));
            }
        }
    }

    fn news(&mut self, now: Instant, metrics: &Metrics) -> StallNews {
        // The own disk, where that is full, is told of by itself.
        let waits = metrics.role == RoleKind::Leader
            && !metrics.storage_full
            && metrics.last_log.index > metrics.commit_index;
        if !waits || metrics.commit_index != self.commit {
            self.commit = metrics.commit_index;
            self.since = waits.then_some(now);
            let was_told = self.told.take().is_some();
            return if was_told { StallNews::Over } else { StallNews::Nothing };
        }
        let stalls = self.since.is_some_and(|since| now.saturating_since(since) >= STALLS_AFTER);
        let is_due =
            self.told.is_none_or(|told| now.saturating_since(told) >= limits::MENTION_EVERY);
        if !stalls || !is_due {
            return StallNews::Nothing;
        }
        self.told = Some(now);
        StallNews::Waits
    }
}

fn words(laggards: &[Laggard<'_>]) -> String {
    let each = laggards.iter().map(|Laggard { node, address, answers }| {
        let why = match answers {
            true => "answers and keeps nothing, its disk is full or very slow",
            false => "is not reached",
        };
        format!("the member {node} at {address} {why}")
    });
    let each: Vec<String> = each.collect();
    format!("writes wait for a majority: {}", each.join("; "))
}

#[cfg(test)]
mod tests {
    use nacolet_raft::{LogId, Term};

    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn leader(last: u64, commit: u64) -> Metrics {
        let mut metrics = Metrics::default();
        metrics.role = RoleKind::Leader;
        metrics.last_log = LogId { term: Term(1), index: LogIndex(last) };
        metrics.commit_index = LogIndex(commit);
        metrics
    }

    #[test]
    fn writes_that_wait_are_told_once_a_minute_until_they_are_agreed_to() {
        let mut stall = Stall::default();
        let mut news = |millis, metrics: &Metrics| stall.news(at(millis), metrics);
        assert_eq!(news(0, &leader(9, 9)), StallNews::Nothing);
        assert_eq!(news(500, &leader(12, 9)), StallNews::Nothing);
        assert_eq!(news(1_000, &leader(12, 11)), StallNews::Nothing);
        assert_eq!(news(1_900, &leader(12, 11)), StallNews::Nothing, "slow, and it goes on");
        assert_eq!(news(2_000, &leader(13, 11)), StallNews::Waits);
        assert_eq!(news(2_500, &leader(14, 11)), StallNews::Nothing);
        assert_eq!(news(62_000, &leader(14, 11)), StallNews::Waits);
        assert_eq!(news(62_500, &leader(14, 14)), StallNews::Over);
        assert_eq!(news(63_000, &leader(14, 14)), StallNews::Nothing);
        let mut full = leader(15, 14);
        full.storage_full = true;
        assert_eq!(news(64_000, &full), StallNews::Nothing);
        assert_eq!(news(66_000, &full), StallNews::Nothing);
    }

    #[test]
    fn it_says_whom_the_leader_waits_for() {
        let of = |node, answers| Laggard { node: NodeId(node), address: "a:1", answers };
        let said = words(&[of(2, true), of(3, false)]);
        let (full, dead) = ("000002 at a:1 answers and keeps", "000003 at a:1 is not reached");
        assert!(said.contains(full) && said.contains(dead), "{said}");
    }
}
