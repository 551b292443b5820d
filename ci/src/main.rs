//! `cargo ci`: every check of the project behind one small set of verbs.
//!
//! The rules about the tree (`layers`, `tidy`) are plain functions that are also the tests of this
//! crate, so `cargo test --workspace` holds them too. The other verbs only start other programs.
//! Nothing here depends on the product. Read `check` first, it names everything a change must pass.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool speaks on its standard streams"
)]

mod chaos;
mod check;
mod citations;
mod claims;
mod edge;
mod embassy;
mod floors;
mod fuzz;
mod interop;
mod layers;
mod mutants;
mod names;
mod nightly;
mod oracle;
mod pages;
mod process;
mod prose;
mod readme;
mod server;
mod sim;
mod tidy;
mod tree;

use std::env;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo ci <verb>

  check      everything a change must pass: fmt, layers, floors, tidy, clippy, bare metal, docs, licences
  layers     only the allowed edges between crates, and between the rooms inside each
  tidy       only the rules about files, the width of comments, and what prose cites and claims
  edge [--quick] [target...]
             static builds for small Linux boxes: their size, and the README's commands on each
             targets: x86-64 aarch64 armv7 (all when none is named)
  embassy    the Raft library on a microcontroller under QEMU, its flash and its memory
  interop [--auth] [--nodes N] [--base URL | --binary PATH] [client...]
             real Nacos clients against the release binary, a running server or another binary;
             with --nodes 3 against a cluster of which one after the other is killed, with --auth
             against nodes that ask for users
             clients: plain python python3 go node rust rustgrpc java java22 java2 java3 (all when none
             is named), and spring
  chaos [--cycles N] [--nodes N] [--faults F,...] [--seconds S] [--seed S] [--gaps N] [--binary PATH]
             real processes under faults: kill pause partition cable power full slow damage; with
             --gaps N how long writes pause when the leader goes
  fuzz [--seconds N] [--bare] [--keep] [target...]
             libFuzzer on the targets of fuzz/, each for N seconds (60); --bare without
             AddressSanitizer, for long runs; --keep puts the inputs that lead furthest into the tree
  sim [--seeds N] [--from S] [--nodes V] [--twice] [--clients-only]
      [--story [--around SECONDS]] [--planted [--only NAME]]
             simulated clusters from seeds, or the score of the planted bugs
  mutants [--only NAME]
             mistakes planted into the Raft crate one by one, and whether its tests notice
  nightly    what takes hours: slow clients of interop, mutants, 100,000 new seeds and the planted bugs of sim, a long fuzz --bare
  oracle     raft-rs plays the scenarios of the Raft crate, and every difference is explained
";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let passed = match words.as_slice() {
        ["check"] => check::run(USAGE),
        ["layers"] => {
            let edges = tree::report("layers", &layers::problems(&tree::root()));
            tree::report("floors", &floors::problems(&tree::root())) && edges
        }
        ["tidy"] => tree::report("tidy", &tidy::problems(&tree::root(), USAGE)),
        ["nightly"] => nightly::run(),
        ["oracle"] => oracle::run(),
        ["edge", rest @ ..] => edge::run(rest),
        ["embassy"] => embassy::run(),
        ["interop", rest @ ..] => interop::run(rest),
        ["chaos", rest @ ..] => chaos::run(rest),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        ["sim", rest @ ..] => sim::run(rest),
        ["mutants", rest @ ..] => mutants::run(rest),
        [] | ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            true
        }
        [verb @ ("check" | "layers" | "tidy" | "embassy" | "nightly" | "oracle"), ..] => {
            eprintln!("`{verb}` takes no arguments\n\n{USAGE}");
            false
        }
        [verb, ..] => {
            eprintln!("unknown verb: {verb}\n\n{USAGE}");
            false
        }
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
