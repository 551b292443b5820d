//! One line of a story: who does what, when, and what it is about.

use std::fmt;

use nacolet_model::{Instant, NodeId};

use crate::subject::{Subject, name};

/// Who does something, or has it done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The hand behind the faults.
    World,
    Node(NodeId),
    Client(u64),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::World => f.pad("world"),
            Self::Node(node) => f.pad(&name(*node)),
            Self::Client(number) => f.pad(&format!("c{number}")),
        }
    }
}

impl From<NodeId> for Who {
    fn from(node: NodeId) -> Self {
        Self::Node(node)
    }
}

/// How a line is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Event,
    /// Something goes wrong on purpose: what was quiet before is told before it.
    Fault,
    /// Only to be found by its subject; in the story it is counted under this name.
    Quiet(&'static str),
    /// What happened quietly for a while.
    Fold,
    /// The promise was broken here.
    Failure,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(super) at: Instant,
    pub(super) who: Who,
    pub(super) text: String,
    /// To whom it is sent; the same to several is one line.
    pub(super) to: Vec<NodeId>,
    pub(super) about: Vec<Subject>,
    pub(super) kind: Kind,
}

impl Line {
    pub(crate) fn of(who: impl Into<Who>, text: impl Into<String>) -> Self {
        let (at, kind) = (Instant::ZERO, Kind::Event);
        Self { at, who: who.into(), text: text.into(), to: Vec::new(), about: Vec::new(), kind }
    }

    /// A fault, or what an operator does.
    pub(crate) fn fault(who: impl Into<Who>, text: impl Into<String>) -> Self {
        Self { kind: Kind::Fault, ..Self::of(who, text) }
    }

    /// Can be found by `subject`.
    pub(crate) fn about(mut self, subject: Subject) -> Self {
        self.about.push(subject);
        self
    }

    pub(super) fn to(mut self, node: NodeId) -> Self {
        self.to.push(node);
        self
    }

    /// Is only counted, unless it is what a checker judged.
    pub(crate) fn quiet(mut self, counted_as: &'static str) -> Self {
        self.kind = Kind::Quiet(counted_as);
        self
    }
}

/// Minutes, seconds and milliseconds since the world began.
pub(super) fn time(at: Instant) -> String {
    let millis = at.as_millis();
    format!("{:02}:{:02}.{:03}", millis / 60_000, millis / 1_000 % 60, millis % 1_000)
}
