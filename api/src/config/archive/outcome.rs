//! How an import ends, in the words of Nacos.

use nacolet_model::{DataId, Group};
use serde::Serialize;

use crate::http::answer::{Envelope, HttpAnswer};
use crate::http::failure::Failure;

/// What to do with a config that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    Abort,
    Skip,
    Overwrite,
}

impl Policy {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        match text {
            "ABORT" | "" => Ok(Self::Abort),
            "SKIP" => Ok(Self::Skip),
            "OVERWRITE" => Ok(Self::Overwrite),
            _ => Err(Failure::invalid("policy must be ABORT, SKIP or OVERWRITE")),
        }
    }
}

/// How an import ended without anything to apply (Nacos `ResultCodeEnum`).
#[derive(Clone, Copy)]
pub(crate) struct Nothing(pub(crate) u32, pub(crate) &'static str);

pub(crate) const NAMESPACE_NOT_EXIST: Nothing =
    Nothing(100_001, "the target namespace does not exist");

pub(crate) const METADATA_ILLEGAL: Nothing =
    Nothing(100_002, "the metadata of the import is illegal");

pub(crate) const PARSING_DATA_FAILED: Nothing = Nothing(100_004, "the data cannot be parsed");

pub(crate) const DATA_EMPTY: Nothing = Nothing(100_005, "the imported file holds no data");

pub(crate) const NO_SELECTED_CONFIG: Nothing = Nothing(100_006, "no config is selected");

/// How an import or a clone is told.
pub(crate) struct OutcomeWords {
    /// In the envelope of v3.
    pub(crate) is_v3: bool,
    /// The words of v1 when all went well.
    pub(crate) words: &'static str,
}

impl OutcomeWords {
    /// Nothing was done, and this is why.
    pub(crate) fn nothing(&self, nothing: Nothing) -> HttpAnswer {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct None {
            succ_count: usize,
        }
        let Nothing(code, words) = nothing;
        HttpAnswer::json(&Envelope { code, message: Some(words), data: &None { succ_count: 0 } })
    }

    /// No file came.
    pub(crate) fn no_file(&self) -> HttpAnswer {
        let Nothing(code, words) = DATA_EMPTY;
        let nothing = serde_json::Map::new();
        HttpAnswer::json(&Envelope { code, message: Some(words), data: &nothing })
    }

    /// What was done.
    pub(crate) fn done(&self, outcome: &ImportOutcome) -> HttpAnswer {
        if self.is_v3 {
            HttpAnswer::result(outcome)
        } else {
            HttpAnswer::rest_result_with(self.words, outcome)
        }
    }
}

/// The result of an import, in the words of Nacos.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImportOutcome {
    pub(crate) succ_count: usize,
    pub(crate) skip_count: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) fail_data: Vec<ConfigName>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) skip_data: Vec<ConfigName>,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) unrecognized_count: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) unrecognized_data: Vec<Unrecognized>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
pub(crate) fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConfigName {
    pub(crate) data_id: Box<str>,
    pub(crate) group: Box<str>,
}

impl ConfigName {
    pub(crate) fn of(data_id: &DataId, group: &Group) -> Self {
        Self { data_id: data_id.as_str().into(), group: group.as_str().into() }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Unrecognized {
    pub(crate) item_name: String,
}
