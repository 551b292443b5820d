//! Words and bounds that every Nacolet crate shares: identifiers checked once at the door, time as
//! a value, every limit of the product, a small seeded generator, and what replicated states have
//! in common on their way out and in. No clock, no allocation policy: what a word *does* belongs to
//! the core that owns it.
//!
//! ```
//! use nacolet_model::{Instant, Namespace};
//! assert_eq!(Namespace::parse("")?, Namespace::parse("public")?);
//! assert_eq!(Instant::from_millis(1_500).as_micros(), 1_500_000);
//! # Ok::<(), nacolet_model::IdError>(())
//! ```
#![no_std]

extern crate alloc;

pub mod id;
pub mod limits;
pub mod prng;
pub mod repeats;
pub mod replicated;
pub mod time;

pub use id::{
    ClusterName, ConfigKey, DataId, Group, IdError, Namespace, NodeId, RequestId, ServiceKey,
    ServiceName,
};
pub use prng::Prng;
pub use repeats::Repeats;
pub use replicated::ApplyError;
pub use time::{Duration, Instant, WallTime};
