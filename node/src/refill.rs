//! A member whose log or snapshot is damaged gets everything from the others, under another node
//! id.
//!
//! Why another one: what the old id voted and acknowledged is what cannot be read any more. Under
//! the same id it could vote a second time in one term, or be counted as a copy of an entry that it
//! has lost. So the old id falls silent for ever before anything else happens
//! (`storage/src/aside.rs`); the new one is a learner that has never promised anything, and votes
//! once it has caught up. The leader takes the old id out by a membership change of its own, which
//! needs a majority of the voters without it: where damage has taken that majority, nobody can
//! lead, and nothing acknowledged is passed over.

use nacolet_model::NodeId;
use nacolet_storage::DataDir;

use crate::cluster::keeper::KeeperError;
use crate::cluster::member::MemberError;
use crate::cluster::record::Record;
use crate::error::RunError;
use crate::settings::Settings;

/// Makes a data directory that cannot be used any more ready to join again; false where nobody
/// could refill it, or is meant to.
///
/// # Errors
/// The directory cannot be written.
pub(crate) fn prepare(
    settings: &Settings,
    damage: &RunError,
    fresh: NodeId,
) -> Result<bool, RunError> {
    if settings.cluster.is_none() {
        return Ok(false);
    }
    let dir = DataDir::open(&settings.data_dir, fresh)?;
    let Some(record) = Record::load(&dir)? else { return Ok(false) };
    if record.contacts.is_empty() || record.removed {
        return Ok(false);
    }
    tracing::error!(
        %damage,
        kept = %dir.path().join("damaged").display(),
        "this member moves its data aside and joins its cluster again, under another node id"
    );
    let joining = Record { cluster: None, ..record };
    joining.store(&dir).map_err(KeeperError::from).map_err(MemberError::from)?;
    dir.set_aside(fresh)?;
    Ok(true)
}
