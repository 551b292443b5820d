//! Records a story: what is quiet is folded into one line, the same to several is one line, and of
//! a long story the beginning is lost.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::rc::Rc;

use nacolet_model::{Duration, Instant, NodeId};

use super::line::{Kind, Line, Who, time};
use super::watch::Watched;

/// Lines that are kept; of a longer story the beginning is lost.
const LINES_MAX: usize = 400_000;
/// What happens quietly is told in one line after this long, or later.
const QUIET: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Tape {
    lines: VecDeque<Line>,
    /// Lines that were lost at the beginning.
    lost: u64,
    quiet: BTreeMap<&'static str, u64>,
    quiet_since: Option<Instant>,
    watched: Watched,
}

impl Tape {
    fn push(&mut self, line: Line) {
        if self.lines.len() >= LINES_MAX {
            self.lines.pop_front();
            self.lost += 1;
        }
        self.lines.push_back(line);
    }

    fn count(&mut self, now: Instant, counted_as: &'static str) {
        self.quiet_since.get_or_insert(now);
        *self.quiet.entry(counted_as).or_default() += 1;
    }

    /// Tells what happened quietly so far.
    fn fold(&mut self, now: Instant) {
        let Some(since) = self.quiet_since.take() else { return };
        let counts = std::mem::take(&mut self.quiet);
        let counts: Vec<String> =
            counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
        let text = format!("since {} quietly: {}", time(since), counts.join(", "));
        self.push(Line { at: now, kind: Kind::Fold, ..Line::of(Who::World, text) });
    }

    fn tell(&mut self, now: Instant, mut line: Line) {
        line.at = now;
        if let Kind::Quiet(counted_as) = line.kind {
            self.count(now, counted_as);
            return self.push(line);
        }
        let is_long = self.quiet_since.is_some_and(|since| since + QUIET <= now);
        if is_long || matches!(line.kind, Kind::Fault | Kind::Failure) {
            self.fold(now);
        }
        let is_same = |last: &&mut Line| {
            !last.to.is_empty() && (last.at, last.who, &last.text) == (now, line.who, &line.text)
        };
        match self.lines.back_mut().filter(is_same) {
            Some(last) => last.to.append(&mut line.to),
            None => self.push(line),
        }
    }
}

#[derive(Default)]
struct Inner {
    records: Cell<bool>,
    now: Cell<Instant>,
    tape: RefCell<Tape>,
}

/// The story of one world. Clones are one story.
#[derive(Clone, Default)]
pub struct Story(Rc<Inner>);

impl fmt::Debug for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Story").field("records", &self.0.records.get()).finish_non_exhaustive()
    }
}

impl Story {
    /// Records from now on.
    pub fn record(&self) {
        self.0.records.set(true);
    }

    /// Whether anybody records.
    pub(crate) fn records(&self) -> bool {
        self.0.records.get()
    }

    /// Time has passed.
    pub(crate) fn set_now(&self, now: Instant) {
        self.0.now.set(now);
    }

    /// Tells an event. Nothing is put into words where nobody records.
    pub(crate) fn tell(&self, line: impl FnOnce() -> Line) {
        if self.records() {
            let line = line();
            self.0.tape.borrow_mut().tell(self.0.now.get(), line);
        }
    }

    /// Something in words, for later; only where somebody records.
    pub(crate) fn words<T>(&self, words: impl FnOnce() -> T) -> Option<T> {
        self.records().then(words)
    }

    /// Tells that something is sent.
    pub(crate) fn send(&self, from: NodeId, to: NodeId, what: impl FnOnce() -> String) {
        self.tell(|| Line::of(from, format!("sends {}", what())).to(to));
    }

    /// Counts what happens all the time.
    pub(crate) fn count(&self, counted_as: &'static str) {
        if self.records() {
            self.0.tape.borrow_mut().count(self.0.now.get(), counted_as);
        }
    }

    /// A promise is broken, or something panicked: nothing counts after that.
    pub(crate) fn fails(&self, who: Who, text: impl FnOnce() -> String) {
        self.tell(|| Line { kind: Kind::Failure, ..Line::of(who, text()) });
    }

    /// Compares what is seen of a node now with what was seen of it last, and tells the difference.
    pub(crate) fn watch(&self, look: impl FnOnce(&mut Watched) -> Vec<Line>) {
        if self.records() {
            let lines = look(&mut self.0.tape.borrow_mut().watched);
            lines.into_iter().for_each(|line| self.tell(|| line));
        }
    }

    /// Everything so far, for a page.
    pub(super) fn lines(&self) -> (u64, Vec<Line>) {
        let mut tape = self.0.tape.borrow_mut();
        tape.fold(self.0.now.get());
        (tape.lost, tape.lines.iter().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn texts(story: &Story) -> Vec<String> {
        story.lines().1.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn nothing_is_put_into_words_where_nobody_records() {
        let story = Story::default();
        story.tell(|| panic!("nobody asked for a line"));
        story.send(NodeId(1), NodeId(2), || panic!("nor for a message"));
        story.watch(|_| panic!("nor for a difference"));
        assert!(texts(&story).is_empty());
    }

    #[test]
    fn what_is_quiet_is_one_line_that_comes_late_or_before_a_fault() {
        let story = Story::default();
        story.record();
        for millis in [0, 100, 200] {
            story.set_now(at(millis));
            story.count("heartbeats");
            story.tell(|| Line::of(NodeId(1), format!("event {millis}")));
        }
        story.set_now(at(300));
        story.tell(|| Line::fault(Who::World, "fault"));
        story.set_now(at(400));
        story.count("heartbeats");
        story.count("pings");
        story.set_now(at(2_400));
        story.tell(|| Line::of(NodeId(1), "late"));
        let expected = [
            "event 0",
            "event 100",
            "event 200",
            "since 00:00.000 quietly: 3 heartbeats",
            "fault",
            "since 00:00.400 quietly: 1 heartbeats, 1 pings",
            "late",
        ];
        assert_eq!(texts(&story), expected);
    }

    #[test]
    fn one_message_to_several_at_once_is_one_line() {
        let story = Story::default();
        story.record();
        for node in [2, 3] {
            story.send(NodeId(1), NodeId(node), || "RequestVote".to_owned());
        }
        story.send(NodeId(4), NodeId(3), || "RequestVote".to_owned());
        let lines = story.lines().1;
        let to: Vec<&[NodeId]> = lines.iter().map(|line| line.to.as_slice()).collect();
        assert_eq!(to, [&[NodeId(2), NodeId(3)][..], &[NodeId(3)]]);
    }
}
