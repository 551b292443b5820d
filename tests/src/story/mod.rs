//! The story of one seed: what happened, one line per event, in words that a stranger can read.
//! Nobody records one unless it is asked for, and recording changes nothing of what happens.
//!
//! `line` is one line, and `tape` records them; `words` says in words what nodes send, write and
//! apply, and what clients ask; `watch` tells what is only seen from outside; `page` prints the end
//! of a story, the broken promise and the operations it judged. The lines come from where things
//! happen: each part of the world has the [`Story`] at hand.

mod line;
mod page;
mod tape;
mod watch;
pub(crate) mod words;

pub(crate) use line::{Line, Who};
pub use page::{Extent, LAST_LINES, page, with_names};
pub use tape::Story;
