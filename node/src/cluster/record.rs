//! What a member remembers beside the Raft log: to which cluster it belongs and whom to ask for it,
//! should the log be of no use. A founder that is alone has no record; the cluster has its id.

use nacolet_raft::{StorageError, decode};
use nacolet_storage::{DataDir, SmallRecordError};
use nacolet_transport::ClusterId;
use serde::{Deserialize, Serialize};

const NAME: &str = "member";

/// A small durable record; append fields, never reorder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// None while the node has asked to join and has no answer yet.
    pub(crate) cluster: Option<ClusterId>,
    /// Peer addresses of the other members, or of those to ask while they are not known.
    pub(crate) contacts: Vec<String>,
    /// The node learned that it was removed.
    pub(crate) removed: bool,
}

impl Record {
    /// The record in `dir`, if there is one.
    ///
    /// # Errors
    /// It is damaged or unreadable.
    pub(crate) fn load(dir: &DataDir) -> Result<Option<Self>, StorageError> {
        let Some(bytes) = dir.load_small(NAME)? else { return Ok(None) };
        decode(&bytes).map(Some).ok_or_else(|| StorageError {
            what: "the record of the membership cannot be read".to_owned(),
            advice: "start the version that wrote it, or join again with an empty data directory"
                .to_owned(),
            damaged: false,
        })
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// See [`SmallRecordError`].
    pub(crate) fn store(&self, dir: &DataDir) -> Result<(), SmallRecordError> {
        let bytes = postcard::to_allocvec(self).ok().ok_or(SmallRecordError::TooLong)?;
        dir.store_small(NAME, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use nacolet_model::NodeId;

    use super::*;

    #[test]
    fn a_record_has_golden_bytes() {
        let record = Record {
            cluster: Some(ClusterId(300)),
            contacts: vec!["a:1".to_owned()],
            removed: false,
        };
        let bytes = postcard::to_allocvec(&record).expect("it is small");
        assert_eq!(bytes, [1, 172, 2, 1, 3, b'a', b':', b'1', 0]);
        let path = std::env::temp_dir().join(format!("nacolet-record-{}", std::process::id()));
        let dir = DataDir::open(&path, NodeId(1)).expect("a folder");
        dir.store_small(NAME, &bytes).expect("there is room");
        assert_eq!(Record::load(&dir), Ok(Some(record)));
        dir.store_small(NAME, &[&bytes[..], &[0]].concat()).expect("there is room");
        assert!(Record::load(&dir).is_err(), "what a later version appended is not dropped");
        std::fs::remove_dir_all(path).expect("it is there");
    }
}
