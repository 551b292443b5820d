//! What clients may hold: connections by address, bytes of bodies and answers, and how much of each
//! there is.
//!
//! Reading order: `places`, then `pool`.

pub(crate) mod count;
pub(crate) mod origin;
pub(crate) mod places;
pub(crate) mod pool;
pub(crate) mod reached;
