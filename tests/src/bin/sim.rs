//! `cargo ci sim`: many seeds, or the score of the planted bugs, with the seeds per second.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool speaks on its standard streams"
)]

use std::env;
use std::process::ExitCode;

use nacolet_tests::options::{Options, USAGE};
use nacolet_tests::planted::Planted;
use nacolet_tests::run::{Report, hunt, run, tell};
use nacolet_tests::story::with_names;

#[expect(clippy::disallowed_methods, reason = "measures how fast the simulator is, nothing else")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let Some(options) = Options::parse(words.iter().map(String::as_str)) else {
        eprint!("{USAGE}");
        return ExitCode::FAILURE;
    };
    let passed = if options.planted { score(&options) } else { seeds(&options) };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn seeds(options: &Options) -> bool {
    let usual = if options.story { 1 } else { 300 };
    let (count, first) = (options.seeds.unwrap_or(usual), options.from.unwrap_or(1));
    let begun = now();
    let mut sum = [0_u64; 12];
    let mut failures = 0;
    for seed in first..first + count {
        let report = run(seed, options.of_run(None));
        let Report { tally, crashes, .. } = &report;
        let facts = [
            tally.acknowledged,
            tally.unknown,
            tally.local_reads + tally.linear_reads,
            tally.heard,
            tally.undecided,
            *crashes,
            tally.leaders,
            tally.memberships,
            tally.installs,
            tally.beats,
            tally.published,
            tally.lists,
        ];
        sum.iter_mut().zip(facts).for_each(|(sum, fact)| *sum += fact);
        if options.twice && run(seed, options.of_run(None)) != report {
            failures += 1;
            println!("seed {seed} tells two stories");
            print_replay(options, seed, None);
        }
        if let Some(violation) = &report.violation {
            failures += 1;
            let what = with_names(&violation.what);
            println!("seed {seed}: {} broken: {what}", violation.promise);
            print_replay(options, seed, None);
        }
        if options.story && (report.violation.is_some() || count == 1) {
            print_story(options, seed, None);
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let rate = f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / seconds;
    let [
        acknowledged,
        unknown,
        reads,
        heard,
        undecided,
        crashes,
        leaders,
        memberships,
        installs,
        beats,
        published,
        lists,
    ] = sum;
    println!(
        "{count} seeds from {first}: {failures} failed, {acknowledged} writes acknowledged, \
         {unknown} unknown, {reads} reads, {heard} changes heard, {crashes} crashes, \
         {leaders} leaders, {memberships} memberships, {installs} snapshots installed, \
         {beats} beats, {published} instances published, {lists} lists read, \
         {undecided} histories undecided; {rate:.1} seeds/s"
    );
    failures == 0
}

/// Says how to see a seed again, and what happened in it.
fn print_replay(options: &Options, seed: u64, bug: Option<Planted>) {
    println!("  replay: {}", options.replay(seed, bug));
    if !options.story {
        let story = Options { story: true, ..*options };
        println!("  story:  {}", story.replay(seed, bug));
    }
}

/// Recording changes nothing of what happens, and only what is told costs its time.
fn print_story(options: &Options, seed: u64, bug: Option<Planted>) {
    let (_, text) = tell(seed, options.of_run(bug), options.extent());
    println!("\n{text}");
}

fn score(options: &Options) -> bool {
    let (count, first) = (options.seeds.unwrap_or(1_000), options.from.unwrap_or(1));
    let chosen = |bug: &Planted| options.only.is_none_or(|only| only == *bug);
    let bugs: Vec<Planted> = Planted::ALL.into_iter().filter(chosen).collect();
    let mut found = 0;
    for bug in &bugs {
        match hunt(options.of_run(Some(*bug)), first, count) {
            Some(Report { seed, violation: Some(violation), .. }) => {
                found += 1;
                let what = with_names(&violation.what);
                let Violated { promise, what } = Violated::of(&what, violation.promise);
                println!("{:<28} seed {seed}: {promise}: {what}", bug.name());
                print_replay(options, seed, Some(*bug));
                if options.story {
                    print_story(options, seed, Some(*bug));
                }
            }
            _ => println!("{:<28} NOT FOUND in {count} seeds", bug.name()),
        }
    }
    println!("planted bugs found: {found} of {}", bugs.len());
    found == bugs.len()
}

/// A violation on one line.
struct Violated<'a> {
    promise: &'a str,
    what: &'a str,
}

impl<'a> Violated<'a> {
    fn of(what: &'a str, promise: &'a str) -> Self {
        let first = what.lines().next().unwrap_or_default();
        let cut = first.char_indices().nth(140).map_or(first.len(), |(at, _)| at);
        Self { promise, what: &first[..cut] }
    }
}
