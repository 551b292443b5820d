//! What clients ask of a config, how it ends, and what they write: each write has a serial of its
//! own, and its content begins with it.

/// What a client asks of a key. Values are serials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write this.
    Write(u64),
    /// Write `new` where `expected` is.
    Cas {
        /// What must be there.
        expected: Option<u64>,
        /// What is to be there.
        new: u64,
    },
    /// Remove it; the number is the operation's own.
    Remove(u64),
    /// Read it.
    Read,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Written; whether nothing was there before.
    Written {
        /// Nothing was there before.
        created: bool,
    },
    /// Compare-and-set found something else.
    Mismatch,
    /// It took effect; that is all that was said.
    Done,
    /// Removed; whether something was there.
    Removed {
        /// Something was there.
        existed: bool,
    },
    /// What was read.
    Read(Option<u64>),
    /// It certainly had no effect and says nothing.
    Void,
    /// Nobody knows: it may take effect at any time from its call on, or never.
    Unknown,
}

/// The content that a client writes under a serial.
pub(crate) fn content_of(serial: u64) -> String {
    let filler = usize::try_from(serial % 7).unwrap_or(0);
    format!("{serial} {}", "x".repeat(filler * filler * 4 + 1))
}

/// The serial that a client wrote into a content.
pub(crate) fn serial_of(content: &str) -> Option<u64> {
    content.split_ascii_whitespace().next()?.parse().ok()
}
