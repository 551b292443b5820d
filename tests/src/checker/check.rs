//! What one check of a promise finds.

use crate::subject::Subject;

/// A check's outcome: what is wrong, if something is.
pub(crate) type Check = Result<(), String>;

/// What is wrong, and with what, where the check alone knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) what: String,
    pub(crate) about: Subject,
}

/// What a check found, told to the book with what it was about.
pub(super) trait Finding {
    fn broken(self, about: impl FnOnce() -> Subject) -> Option<Broken>;
}

impl Finding for Check {
    fn broken(self, about: impl FnOnce() -> Subject) -> Option<Broken> {
        self.err().map(|what| Broken { what, about: about() })
    }
}

impl Finding for Result<(), Broken> {
    fn broken(self, _about: impl FnOnce() -> Subject) -> Option<Broken> {
        self.err()
    }
}
