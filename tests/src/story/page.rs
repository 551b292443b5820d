//! The end of a story on paper: the lines before the failure, the promise that was broken, and the
//! operations that it was judged by.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use nacolet_model::{Duration, Instant, NodeId};

use super::line::{Kind, Line, Who, time};
use super::tape::Story;
use crate::promise::{Violation, in_words};
use crate::subject::{Subject, name};

/// Lines of a story that are printed when nothing else is asked for: the last ones.
pub const LAST_LINES: usize = 200;
/// Lines right before the failure that are marked.
const MARKED_LINES: usize = 10;
/// Lines that a promise was judged by: the last ones.
const JUDGED_LINES: usize = 200;
/// Characters of each line of a checker's text: a whole history stands better in what was judged.
const WHAT_CHARS: usize = 400;
/// Nodes of a simulated cluster have small numbers.
const NODES_MAX: u64 = 20;

/// How much of a story is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// The last [`LAST_LINES`] lines.
    #[default]
    Last,
    /// Everything so long before the end.
    Around(Duration),
}

/// A text of a checker, with the names that nodes have in a story.
#[must_use]
pub fn with_names(text: &str) -> String {
    (1..=NODES_MAX).map(NodeId).fold(text.to_owned(), |text, node| {
        let debug = format!("NodeId({})", node.0);
        text.replace(&node.to_string(), &name(node)).replace(&debug, &name(node))
    })
}

fn print(line: &Line, mark: &str) -> String {
    let to: Vec<String> = line.to.iter().map(|node| name(*node)).collect();
    let to = if to.is_empty() { String::new() } else { format!(" to {}", to.join(", ")) };
    format!("{mark:<2} {} {:<5} {}{to}\n", time(line.at), line.who, with_names(&line.text))
}

/// The end of a story, and what was broken, if anything was.
#[must_use]
pub fn page(story: &Story, violation: Option<&Violation>, extent: Extent) -> String {
    let (lost, lines) = story.lines();
    let shown: Vec<&Line> =
        lines.iter().filter(|line| !matches!(line.kind, Kind::Quiet(_))).collect();
    let failure = shown.iter().position(|line| line.kind == Kind::Failure);
    // What follows a failure is how the world is taken down.
    let end = failure.map_or(shown.len(), |at| at + 1);
    let last_at = shown[..end].last().map_or(Instant::ZERO, |line| line.at);
    let first = match extent {
        Extent::Last => end.saturating_sub(LAST_LINES),
        Extent::Around(time) => shown[..end].partition_point(|line| line.at + time < last_at),
    };
    let mut text = String::new();
    let before = lost + first as u64;
    if before > 0 {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "   ... {before} lines before ...");
    }
    for (at, line) in shown.iter().enumerate().take(end).skip(first) {
        let mark = match failure {
            Some(failure) if at == failure => "!!",
            Some(failure) if at + MARKED_LINES >= failure => ">",
            _ => "",
        };
        text += &print(line, mark);
    }
    match violation {
        Some(violation) => text + &verdict(&lines, violation),
        None => text + "every promise is kept\n",
    }
}

fn verdict(lines: &[Line], violation: &Violation) -> String {
    let Violation { promise, what, about } = violation;
    let mut text = format!("\nbroken: {promise} ({})\n", in_words(promise));
    for line in with_names(what).lines() {
        let cut = line.char_indices().nth(WHAT_CHARS).map_or(line.len(), |(at, _)| at);
        let more = if cut < line.len() { " ..." } else { "" };
        let _ = writeln!(text, "  {}{more}", &line[..cut]);
    }
    let is_judged = |line: &&Line| {
        line.about.contains(about)
            || matches!((about, line.who), (Subject::Node(node), Who::Node(who)) if *node == who)
    };
    let mut judged: Vec<&Line> = lines.iter().filter(is_judged).collect();
    // What a node shows again and again is told once.
    let mut shown: BTreeMap<String, &str> = BTreeMap::new();
    judged.retain(|line| {
        let is_quiet = matches!(line.kind, Kind::Quiet(_));
        !is_quiet || shown.insert(line.who.to_string(), &line.text) != Some(line.text.as_str())
    });
    let first = judged.len().saturating_sub(JUDGED_LINES);
    let left_out = if first > 0 { format!(", the last {JUDGED_LINES}") } else { String::new() };
    if !judged.is_empty() {
        let _ = writeln!(text, "\njudged by what concerns {about}{left_out}:");
        judged[first..].iter().for_each(|line| text += &print(line, ""));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story(lines: u64) -> Story {
        let story = Story::default();
        story.record();
        for number in 0..lines {
            story.set_now(Instant::from_millis(100 * number));
            story.tell(|| Line::of(NodeId(1), format!("event {number}")));
        }
        story
    }

    fn violation() -> Violation {
        let what = "0000000000000002 applies 7".to_owned();
        Violation { promise: "P1", what, about: Subject::Entry(7) }
    }

    #[test]
    fn a_long_story_is_printed_from_its_end() {
        let story = story(1_000);
        let last = page(&story, None, Extent::Last);
        assert!(last.starts_with("   ... 800 lines before ...\n   01:20.000 n1    event 800\n"));
        assert!(last.ends_with("event 999\nevery promise is kept\n"), "{last}");
        let around = page(&story, None, Extent::Around(Duration::from_secs(2)));
        assert!(around.starts_with("   ... 979 lines before ...\n"), "{around}");
        assert_eq!(around.lines().count(), 1 + 21 + 1);
    }

    #[test]
    fn the_failure_is_marked_and_what_was_judged_stands_below_it() {
        let story = story(30);
        let judged = |text: &'static str| Line::of(NodeId(2), text).about(Subject::Entry(7));
        for _ in 0..5 {
            story.tell(|| judged("applies 7").quiet("reads"));
        }
        story.fails(Who::World, || "0000000000000002 applies 7".to_owned());
        story.tell(|| Line::of(NodeId(1), "after the end"));
        let text = page(&story, Some(&violation()), Extent::Last);
        assert!(!text.contains("after the end"), "{text}");
        assert_eq!(text.matches("\n>  ").count(), MARKED_LINES, "{text}");
        let end = "!! 00:02.900 world n2 applies 7\n\n\
            broken: P1 (what was acknowledged is never lost)\n  n2 applies 7\n\n\
            judged by what concerns log index 7:\n   00:02.900 n2    applies 7\n";
        assert!(text.ends_with(end), "{text}");
    }
}
