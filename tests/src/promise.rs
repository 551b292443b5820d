//! The promises that a run is judged by, in words, and one that is broken.

use crate::subject::Subject;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one: P1 to P8 of docs/reliability.md, "Promises", or `raft`.
    pub promise: &'static str,
    /// What happened.
    pub what: String,
    /// Where to look.
    pub about: Subject,
}

/// What a promise says.
#[must_use]
pub fn in_words(promise: &str) -> &'static str {
    match promise {
        "P1" => "what was acknowledged is never lost",
        "P2" => "reads and writes of a key could have happened one after another",
        "P3" => "a node shows what was committed, and never goes back",
        "P4" => "all members have the same state at the same log index",
        "P5" => "every listener hears the last change, and none twice or backwards",
        "P6" => "all registries come to list the same, and reference times never go back",
        "P7" => "who lives is listed, and who is gone is not",
        "P8" => "nodes start, stay up, and serve again after every fault",
        "raft" => "the properties of the Raft paper, figure 3",
        _ => "nothing panics",
    }
}
