//! `cargo ci oracle`: the scenarios of the Raft engine, told by raft-rs. A package of its own
//! outside the workspace, so that raft-rs and what it needs to generate code burden nobody else.

use crate::process::{cargo, step};
use crate::tree;

/// True if raft-rs does what our engine does wherever a story does not explain the difference.
pub(crate) fn run() -> bool {
    let mut command = cargo();
    command.current_dir(tree::root()).args(["test", "--quiet", "--locked", "--lib"]);
    command.args(["--manifest-path", "tests/oracle/Cargo.toml", "--target-dir", "target/oracle"]);
    step("oracle", &mut command)
}
