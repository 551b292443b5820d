//! One request and one answer, whatever carries them: parameters, pages of JSON, and how errors
//! become the words, codes and statuses of Nacos.
//!
//! Reading order: `call`, then `params` and `failure`.

pub(crate) mod answer;
pub(crate) mod browser;
pub(crate) mod call;
pub(crate) mod failure;
pub(crate) mod json;
pub(crate) mod listed;
pub(crate) mod paging;
pub(crate) mod params;
pub(crate) mod pieces;
pub(crate) mod room;
pub(crate) mod time;
