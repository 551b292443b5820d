//! `cargo ci sim`: many seeds, or the score of the planted bugs, with the seeds per second.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool speaks on its standard streams"
)]

use std::env;
use std::process::ExitCode;

use nacolet_tests::planted::Planted;
use nacolet_tests::run::{self, Report, hunt, replay, run};

const USAGE: &str = "\
usage: cargo ci sim [--seeds N] [--from S] [--nodes V] [--twice] [--clients-only]
       cargo ci sim --planted [--seeds N] [--from S] [--only NAME] [--clients-only]

  --seeds    how many seeds (300; with --planted at most so many per bug, 1000)
  --from     the first seed (1)
  --nodes    voters at the beginning of every run; drawn by the seed when absent
  --twice    runs each seed twice and compares everything that happened
  --planted  plants each known bug and prints how many are found
  --clients-only
             looks away from the inside of Raft: what could clients and operators have seen?
";

#[derive(Default)]
struct Options {
    seeds: Option<u64>,
    from: Option<u64>,
    nodes: Option<u64>,
    planted: bool,
    twice: bool,
    clients_only: bool,
    only: Option<Planted>,
}

impl Options {
    fn of(&self, planted: Option<Planted>) -> run::Options {
        run::Options { voters: self.nodes, planted, clients_only: self.clients_only }
    }
}

fn parse(words: &[String]) -> Option<Options> {
    let mut options = Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut number = || words.next()?.parse().ok();
        match word.as_str() {
            "--seeds" => options.seeds = Some(number()?),
            "--from" => options.from = Some(number()?),
            "--nodes" => options.nodes = Some(number()?),
            "--clients-only" => options.clients_only = true,
            "--twice" => options.twice = true,
            "--planted" => options.planted = true,
            "--only" => options.only = Some(Planted::parse(words.next()?)?),
            _ => return None,
        }
    }
    Some(options)
}

#[expect(clippy::disallowed_methods, reason = "measures how fast the simulator is, nothing else")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let Some(options) = parse(&words) else {
        eprint!("{USAGE}");
        return ExitCode::FAILURE;
    };
    // A panic is a finding like any other, and is reported with its seed.
    if env::var_os("RUST_BACKTRACE").is_none() {
        std::panic::set_hook(Box::new(|_| ()));
    }
    let passed = if options.planted { score(&options) } else { seeds(&options) };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn seeds(options: &Options) -> bool {
    let (count, first) = (options.seeds.unwrap_or(300), options.from.unwrap_or(1));
    let begun = now();
    let mut sum = [0_u64; 12];
    let mut failures = 0;
    for seed in first..first + count {
        let report = run(seed, options.of(None));
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
        if options.twice && run(seed, options.of(None)) != report {
            failures += 1;
            println!("seed {seed} tells two stories");
        }
        if let Some(violation) = &report.violation {
            failures += 1;
            println!("seed {seed}: {} broken: {}", violation.promise, violation.what);
            println!("  replay: {}", replay(seed, options.nodes));
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

fn score(options: &Options) -> bool {
    let (count, first) = (options.seeds.unwrap_or(1_000), options.from.unwrap_or(1));
    let chosen = |bug: &Planted| options.only.is_none_or(|only| only == *bug);
    let bugs: Vec<Planted> = Planted::ALL.into_iter().filter(chosen).collect();
    let mut found = 0;
    for bug in &bugs {
        match hunt(options.of(Some(*bug)), first, count) {
            Some(Report { seed, violation: Some(violation), .. }) => {
                found += 1;
                let Violated { promise, what } = Violated::of(&violation.what, violation.promise);
                println!("{:<28} seed {seed}: {promise}: {what}", bug.name());
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
