//! `cargo ci check`: every step a change must pass, cheapest first.
//!
//! All steps run even when one fails, so that one run tells everything that is wrong. Tests are not
//! repeated here: `cargo test --workspace` is the other half of a complete check.

use crate::process::{cargo, step};
use crate::{floors, layers, tidy, tree};
use std::process::{Command, Stdio};

/// The bare-metal target that keeps the cores `no_std`: a Cortex-M4 with a floating-point unit.
const BARE_METAL_TARGET: &str = "thumbv7em-none-eabihf";

/// Runs the steps; true if every one passed. What prose says of `cargo ci` is held against `usage`.
pub(crate) fn run(usage: &str) -> bool {
    let root = tree::root();
    let mut failed = Vec::new();
    let mut note = |title: &'static str, passed: bool| {
        if !passed {
            failed.push(title);
        }
    };
    let cargo = |arguments: &[&str]| {
        let mut command = cargo();
        command.current_dir(&root).args(arguments);
        command
    };

    note("fmt", step("fmt", &mut cargo(&["fmt", "--all", "--check"])));
    note("layers", tree::report("layers", &layers::problems(&root)));
    note("floors", tree::report("floors", &floors::problems(&root)));
    note("tidy", tree::report("tidy", &tidy::problems(&root, usage)));
    note("licences", licences(|| cargo(&["deny"])));
    let clippy = ["clippy", "--workspace", "--all-targets", "--keep-going", "--locked"];
    note("clippy", step("clippy", cargo(&clippy).args(["--", "-D", "warnings"])));
    let mut bare_metal = cargo(&["build", "--locked", "--target", BARE_METAL_TARGET]);
    for core in layers::CORES {
        bare_metal.args(["--package", &format!("nacolet-{core}")]);
    }
    note("bare metal", step("bare metal", &mut bare_metal));
    let mut docs = cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    note("docs", step("docs", &mut docs));

    if failed.is_empty() {
        println!("check: ok");
        true
    } else {
        println!("check: FAILED: {}", failed.join(", "));
        false
    }
}

/// Licences, bans and sources of every dependency. Advisories need a network and are left out.
fn licences(deny: impl Fn() -> Command) -> bool {
    let installed = deny()
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !installed {
        println!("licences: cargo-deny is missing: cargo install cargo-deny --locked");
        return false;
    }
    step("licences", deny().args(["--locked", "check", "licenses", "bans", "sources"]))
}
