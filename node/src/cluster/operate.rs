//! What an operator asks of the cluster, on whichever member: changes go to the leader, and what only the
//! leader knows comes from there.

use std::collections::BTreeMap;

use nacolet_api::membership::{AskError, ClusterMember, ClusterStatus, Question, Told};
use nacolet_model::NodeId;
use nacolet_raft::{MembershipChange, Raft, TriggerSnapshotError};
use nacolet_transport::{Call, CallError, FollowerState, Progress, Reply};

use super::Cluster;
use super::SharedCluster;
use super::address::{is_address, peer_of};
use crate::machine::Machine;

type Answer = Result<Told, AskError>;

/// Answers an operator.
pub(crate) async fn answer(
    raft: Raft<Machine>,
    cluster: Option<SharedCluster>,
    ask: Question,
) -> Answer {
    let change = match ask {
        Question::Snapshot => return snapshot(&raft).await,
        Question::Status => return Ok(Told::Status(status(&raft, cluster.as_deref()).await)),
        Question::Add { node, address } if is_address(&address) => {
            Call::Change(MembershipChange::AddLearner { node, address: address.into() })
        }
        Question::Add { address, .. } => {
            return Err(AskError::Refused(format!("{address} is no HOST:PORT").into()));
        }
        Question::Remove { node } => Call::Change(MembershipChange::Remove([node].into())),
        Question::Transfer { node } => Call::Transfer(node),
    };
    let Some(cluster) = cluster else {
        let lonely = "this node is alone; start it with --cluster-key-file to let others join";
        return Err(AskError::Refused(lonely.into()));
    };
    match ask_leader(&cluster, change).await {
        Ok(Reply::Done) => Ok(Told::Done),
        Ok(Reply::Leader(node)) => Ok(Told::Leader(node)),
        Ok(Reply::NotLeader { .. }) | Err(CallError::Unreachable) => Err(AskError::NoLeader),
        Ok(Reply::Refused(why)) => Err(AskError::Refused(why.into())),
        Ok(Reply::Busy) | Err(CallError::Busy) => Err(AskError::Busy),
        Ok(_) | Err(CallError::Lost) => Err(AskError::Unknown),
    }
}

async fn ask_leader(cluster: &Cluster, call: Call) -> Result<Reply, CallError> {
    match cluster.raft.current_leader() {
        Some(leader) if leader == cluster.me() => Ok(cluster.answer(leader, call).await),
        Some(leader) => cluster.ask(leader, call).await,
        None => Ok(Reply::NotLeader { leader: None }),
    }
}

async fn snapshot(raft: &Raft<Machine>) -> Answer {
    match raft.trigger_snapshot().await {
        Ok(meta) => Ok(Told::Snapshot(meta.last.index.0)),
        Err(error @ (TriggerSnapshotError::Empty | TriggerSnapshotError::Failed(_))) => {
            Err(AskError::Refused(error.to_string().into()))
        }
        Err(TriggerSnapshotError::Overloaded) => Err(AskError::Busy),
        Err(TriggerSnapshotError::Stopped) => Err(AskError::Unknown),
    }
}

/// The cluster as this node sees it. Without a leader that answers, what only that one knows is left
/// out: a partial status is worth more than none.
async fn status(raft: &Raft<Machine>, cluster: Option<&Cluster>) -> ClusterStatus {
    let followers: BTreeMap<NodeId, Progress> = match cluster {
        Some(cluster) => match ask_leader(cluster, Call::Progress).await {
            Ok(Reply::Progress(lines)) => lines.into_iter().map(|line| (line.node, line)).collect(),
            Ok(_) | Err(_) => BTreeMap::new(),
        },
        None => BTreeMap::new(),
    };
    let metrics = raft.metrics();
    let membership = &metrics.membership;
    let member = |node: NodeId| {
        let address = membership.addresses.get(&node).map_or("", |address| peer_of(address));
        let leads = metrics.leader == Some(node);
        let follower = followers.get(&node);
        let own = (leads && node == metrics.id).then_some(metrics.last_log.index);
        ClusterMember {
            node,
            address: address.into(),
            role: match () {
                () if leads => "leader",
                () if membership.is_voter(node) => "follower",
                () => "learner",
            },
            match_index: follower.map(|line| line.match_index).or(own).map(|index| index.0),
            state: if leads { "leading" } else { follower.map_or("unknown", |f| word_of(f.state)) },
        }
    };
    ClusterStatus {
        node: metrics.id,
        leader: metrics.leader,
        term: metrics.term.0,
        commit_index: metrics.commit_index.0,
        applied_index: metrics.applied_index.0,
        members: membership.members().into_iter().map(member).collect(),
    }
}

const fn word_of(state: FollowerState) -> &'static str {
    match state {
        FollowerState::Unreachable => "unreachable",
        FollowerState::Probe => "probe",
        FollowerState::Replicate => "replicate",
        FollowerState::Snapshot => "snapshot",
    }
}
