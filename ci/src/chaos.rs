//! `cargo ci chaos`: builds the rig, and a node unless one is named, and hands the rig its
//! arguments.

use crate::process::{cargo, step};
use crate::tree;

/// Runs cycles of faults on real processes; true if every promise was kept and every fault
/// happened.
pub(crate) fn run(arguments: &[&str]) -> bool {
    let root = tree::root();
    let mut node = cargo();
    node.current_dir(&root).args(["build", "--quiet", "--package", "nacolet"]);
    if arguments.iter().any(|argument| argument.contains("own-disk")) {
        // The end of a disk is one of them.
        node.args(["--features", "failpoints"]);
    }
    let has_node = arguments.contains(&"--binary") || step("node", &mut node);
    let mut rig = cargo();
    rig.current_dir(&root).args(["run", "--quiet", "--package", "nacolet-tests", "--bin", "chaos"]);
    rig.arg("--").args(arguments);
    has_node && step("chaos", &mut rig)
}
