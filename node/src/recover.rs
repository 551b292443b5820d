//! `nacolet recover --alone`: the way back when a majority of the members is lost for good, or when
//! a copy of one member's directory is all that is left. The directory becomes a cluster of its
//! own, with another cluster id: members of the old one that turn up again are refused by it.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use nacolet_model::{NodeId, limits};
use nacolet_raft::{AloneError, LogIndex, Remains};
use nacolet_registry::{Life, RegistrySettings};
use nacolet_storage::{
    DataDir, LogSettings, LogStore, SmallRecordError, SnapshotStore, abort_process,
};
use nacolet_transport::handshake::{self, Identity};
use nacolet_transport::{ClusterId, ClusterKey, HandshakeError, KeyTooShort, Refusal};
use smol::future;
use smol::net::TcpStream;

use crate::cluster::address::peer_of;
use crate::cluster::record::Record;
use crate::machine::{Aftermath, Machine, Shared};

/// What `recover` is told.
#[derive(Args, Clone, Debug)]
pub(crate) struct RecoverArgs {
    /// Make a cluster of one of this node
    #[arg(long, required = true)]
    alone: bool,
    /// The data directory of a node that does not run
    #[arg(long, env = "NACOLET_DATA_DIR", value_name = "DIR", default_value = "nacolet-data")]
    data_dir: PathBuf,
    /// Do it; without this it only says what would happen
    #[arg(long)]
    yes: bool,
}

/// Why a node is not made a cluster of its own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoverError {
    #[error("{} holds no data of a node", .0.display())]
    Empty(PathBuf),
    #[error("this node is the only member of its cluster: it needs nobody else to go on")]
    Alone,
    #[error(
        "a node answers at {address}: as long as a majority of the cluster runs it needs no \
         recovery, and lost members are removed with `nacolet cluster remove`; otherwise stop all \
         nodes first, also new ones that wait there"
    )]
    Answers { address: String },
    #[error("{said}\nNothing was changed yet; add --yes to do it.")]
    Unsaid { said: String },
    #[error("no random numbers from the system: {0}")]
    Random(getrandom::Error),
    #[error(transparent)]
    Storage(#[from] nacolet_raft::StorageError),
    #[error(transparent)]
    Start(#[from] nacolet_raft::StartError),
    #[error(transparent)]
    Log(#[from] AloneError),
    #[error("the record of the membership cannot be stored: {0}")]
    Record(#[from] SmallRecordError),
    #[error(transparent)]
    Key(#[from] KeyTooShort),
}

/// Runs the verb.
///
/// # Errors
/// See [`RecoverError`]; nothing was changed then, but for [`RecoverError::Log`], after which it
/// has to be done again.
pub(crate) fn run(args: &RecoverArgs) -> Result<String, RecoverError> {
    if !args.data_dir.join("log").exists() {
        return Err(RecoverError::Empty(args.data_dir.clone()));
    }
    let dir = DataDir::open(&args.data_dir, NodeId(random()?))?;
    let record = Record::load(&dir)?;
    let (mut log, mut machine) = parts(&dir)?;
    let remains = Remains::read(&mut log, &mut machine)?;
    drop(machine);
    let me = dir.node_id();
    let old = record.as_ref().and_then(|record| record.cluster).unwrap_or(ClusterId(me.0));
    let members = &remains.membership;
    if members.members().is_empty() {
        return Err(RecoverError::Empty(args.data_dir.clone()));
    }
    if members.members().len() == 1 && members.is_voter(me) {
        return Err(RecoverError::Alone);
    }
    let known = record.iter().flat_map(|record| &record.contacts);
    let others = members.addresses.iter().filter(|(node, _)| **node != me);
    let addresses = others.map(|(_, address)| address).chain(known).map(|address| peer_of(address));
    let mut addresses: Vec<&str> = addresses.collect();
    addresses.sort_unstable();
    addresses.dedup();
    smol::block_on(nobody_answers(me, old, &addresses))?;
    let said = said(&remains, me);
    if !args.yes {
        return Err(RecoverError::Unsaid { said });
    }
    let new = ClusterId(another(old)?);
    let address = members.addresses.get(&me).cloned().unwrap_or_default();
    // First the id: whoever stops in between has a member that nobody lets in, and no second one
    // of the old cluster.
    Record { cluster: Some(new), contacts: Vec::new(), removed: false }.store(&dir)?;
    smol::block_on(remains.go_on_alone(&mut log, me, address))?;
    Ok(said)
}

fn random() -> Result<u64, RecoverError> {
    getrandom::u64().map_err(RecoverError::Random)
}

fn another(old: ClusterId) -> Result<u64, RecoverError> {
    loop {
        match random()? {
            0 => {}
            id if id == old.0 => {}
            id => return Ok(id),
        }
    }
}

fn parts(dir: &DataDir) -> Result<(LogStore, Machine), RecoverError> {
    let log = LogStore::open(dir, LogSettings::default(), abort_process)?;
    let snapshots = SnapshotStore::open(dir, abort_process)?;
    let shared = Shared::new(RegistrySettings {
        seed: 0,
        ref_time_floor: 0,
        node: dir.node_id(),
        life: Life(1),
        clustered: true,
    });
    Ok((log, Machine::new(shared, snapshots, Aftermath::default())))
}

/// What is done, and what may be missing.
fn said(remains: &Remains, me: NodeId) -> String {
    let Remains { membership, last, commit_index, .. } = remains;
    let mut words = format!(
        "the node {me} becomes the only member of a new cluster; its data ends at log index {}",
        last.index.0
    );
    let unsure = last.index.0 - commit_index.0;
    // Writing to a String cannot fail.
    let _ = match unsure {
        0 => write!(words, "."),
        _ => write!(
            words,
            ", and whether the others agreed to the last {unsure} entries is not known: they count."
        ),
    };
    let lost = membership.members().into_iter().filter(|node| *node != me);
    let lost: Vec<String> = lost.map(|node| node.to_string()).collect();
    let _ = write!(
        words,
        " Whatever was acknowledged behind that is lost. The members {} are none any more: to join \
         this node they need an empty data directory.",
        lost.join(", ")
    );
    if *commit_index == LogIndex::ZERO {
        words.push_str(" This node had not caught up with anything.");
    }
    words
}

/// Asks at every address whether a member of the old cluster is there. The answer to a hello comes
/// before any proof, so the key is not needed for that, and none is shown.
async fn nobody_answers(
    me: NodeId,
    cluster: ClusterId,
    addresses: &[&str],
) -> Result<(), RecoverError> {
    let key = ClusterKey::new(&[0; ClusterKey::BYTES_MIN])?;
    let identity = Identity { node: me, cluster: Some(cluster), key };
    for address in addresses {
        let asked = async {
            let mut stream = TcpStream::connect(*address).await?;
            handshake::ask(&mut stream, &identity).await
        };
        let late = async {
            smol::Timer::after(limits::PEER_HANDSHAKE_TIMEOUT).await;
            Err(HandshakeError::Timeout)
        };
        let answers = match future::or(asked, late).await {
            Ok(_) => true,
            Err(HandshakeError::RefusedBy(refusal) | HandshakeError::Refused(refusal)) => {
                refusal != Refusal::Cluster
            }
            Err(_) => false,
        };
        if answers {
            return Err(RecoverError::Answers { address: (*address).to_owned() });
        }
    }
    Ok(())
}
