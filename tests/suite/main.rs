//! The simulator on every `cargo test`: a few hundred seeds, and each planted bug once.

mod planted;
mod simulation;
mod story;
