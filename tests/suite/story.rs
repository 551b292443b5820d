//! A failing seed tells its story: the fault, what led to the failure, the broken promise, and the
//! operations it was judged by; and nothing happens otherwise because somebody listens.

use nacolet_model::Duration;
use nacolet_tests::planted::Planted;
use nacolet_tests::run::{Options, hunt, run, tell};
use nacolet_tests::story::{Extent, LAST_LINES};

/// All that is told of the first seed that finds a bug, and the lines of it that hold all of
/// `words`.
struct Found(String);

impl Found {
    fn of(bug: Planted) -> Self {
        let options = Options { planted: Some(bug), ..Options::default() };
        let found = hunt(options, 1, 300).expect("it is found");
        let everything = Extent::Around(Duration::from_secs(3_600));
        let (told, text) = tell(found.seed, options, everything);
        assert_eq!(told, found, "telling changes nothing");
        Self(text)
    }

    fn holds(&self, words: &[&str]) {
        let is_it = |line: &str| words.iter().all(|word| line.contains(word));
        assert!(self.0.lines().any(is_it), "no line with {words:?} in:\n{}", self.0);
    }

    /// What stands below this heading.
    fn below(&self, heading: &str) -> Self {
        let (_, below) = self.0.split_once(heading).expect("the heading is there");
        Self(below.to_owned())
    }
}

#[test]
fn a_forgotten_vote_is_told_by_the_candidate_whose_disk_has_none() {
    let story = Found::of(Planted::ForgetVote);
    story.holds(&["n1    starts, life 1"]);
    story.holds(&["sends RequestPreVote term ", "(its log ends at "]);
    story.holds(&["hears PreVoteReply term ", ": granted from n"]);
    story.holds(&["is a candidate in term "]);
    story.holds(&["has on its disk for good: term ", ", no vote, log up to "]);
    story.holds(&["!! ", "sees that raft is broken: ", "before its disk has its own vote"]);
    let broken = story.below("broken: raft (the properties of the Raft paper, figure 3)");
    let judged = broken.below("judged by what concerns n");
    judged.holds(&["is a candidate in term "]);
}

#[test]
fn a_lost_wake_is_told_by_the_key_and_its_listener() {
    let story = Found::of(Planted::DropListenerWake);
    story.holds(&["asks n", ": write ", " to app-"]);
    story.holds(&["is answered on \"write ", "done"]);
    story.holds(&["wakes listener "]);
    story.holds(&["!! ", "sees that P5 is broken: listener "]);
    let judged = story.below("\njudged by what concerns the config app-");
    judged.holds(&["applies ", "publish app-"]);
    judged.holds(&["wakes listener "]);
}

#[test]
fn an_answer_before_the_sync_is_told_by_the_power_cut() {
    let story = Found::of(Planted::AnswerBeforeSync);
    story.holds(&["writes ", "not yet safe from a power cut"]);
    story.holds(&["loses power for "]);
    story.holds(&["of its unsynced log records ", "torn"]);
    story.holds(&["finds on its disk: term "]);
    story.holds(&["!! ", " is broken: "]);
}

#[test]
fn a_lease_by_the_wall_clock_is_told_by_the_clock() {
    let story = Found::of(Planted::LeaseByWallClock);
    story.holds(&["has a wall clock that ", " from now on"]);
    story.holds(&["!! ", " is broken: "]);
}

#[test]
fn a_read_that_nobody_confirmed_is_told_by_all_that_clients_did_to_the_key() {
    let story = Found::of(Planted::ReadWithoutConfirming);
    story.holds(&["!! ", "sees that P2 is broken: "]);
    let judged = story.below("\njudged by what concerns the config app-");
    judged.holds(&["is answered on \"read app-", "there is "]);
    judged.holds(&["is answered on \"write ", "done"]);
}

#[test]
fn a_registry_without_tombs_is_told_by_the_instance() {
    let story = Found::of(Planted::NoTombs);
    story.holds(&["hears Sync: ", "is there"]);
    story.holds(&["since ", "quietly: ", " beats", " heartbeats", " pings"]);
    story.holds(&["!! ", "sees that P"]);
    let judged = story.below("\njudged by what concerns instance ");
    judged.holds(&["is asked ", "out"]);
    judged.holds(&["lists ", "(seen from outside)"]);
}

/// Two minutes of a cluster are some thousand lines.
#[test]
fn a_long_story_is_told_from_its_end() {
    let options = Options { voters: Some(3), ..Options::default() };
    let (report, text) = tell(3, options, Extent::Last);
    assert_eq!(report, run(3, options));
    assert!(text.starts_with("   ... "), "{text}");
    assert!(text.ends_with("\nevery promise is kept\n"), "{text}");
    assert_eq!(text.lines().count(), LAST_LINES + 2);
    let (_, all) = tell(3, options, Extent::Around(Duration::from_secs(3_600)));
    let (_, some) = tell(3, options, Extent::Around(Duration::from_secs(2)));
    assert!(some.lines().count() < all.lines().count() && all.len() > text.len());
    let (_, rest) = some.split_once('\n').expect("it begins with what is left out");
    assert!(all.ends_with(rest), "the end of one story is the end of the other");
    assert_eq!(tell(3, options, Extent::Last).1, text, "a story is the same twice");
}
