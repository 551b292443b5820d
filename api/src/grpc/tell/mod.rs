//! Who listens, and what becomes of news.
//!
//! Reading order: `interest`, then `news` for configs and services and `patterns` for fuzzy
//! watches; `stream` sends what clients are owed.

pub(crate) mod goes;
pub(crate) mod interest;
pub(crate) mod locks;
pub(crate) mod news;
pub(crate) mod patterns;
pub(crate) mod stream;
pub(crate) mod who;
