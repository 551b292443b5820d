//! What an operator asks of the cluster, on whichever member: changes go to the leader, and what
//! only the leader knows comes from there.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use nacolet_api::operate::{AskError, ClusterMember, ClusterStatus, Question, Told};
use nacolet_api::who::{Found, Sought};
use nacolet_model::{NodeId, limits};
use nacolet_raft::{MembershipChange, Raft, TriggerSnapshotError, decode};
use nacolet_transport::{Call, CallError, FollowerState, Progress, Reply};

use super::address::{is_address, peer_of};
use super::view::{Cluster, SharedCluster};
use crate::machine::Machine;

type OperatorAnswer = Result<Told, AskError>;

/// Answers an operator.
pub(crate) async fn answer(
    raft: Raft<Machine>,
    cluster: Option<SharedCluster>,
    ask: Question,
) -> OperatorAnswer {
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
        Question::Connections => {
            return Ok(Told::Connections(connections(cluster.as_deref()).await));
        }
        Question::Shift { node, keep, target } => {
            return shift(cluster.as_deref(), node, keep, target).await;
        }
        Question::Who(sought) => return Ok(Told::Found(who(cluster.as_deref(), &sought).await)),
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

/// What the others say, but for those that do not answer soon.
async fn connections(cluster: Option<&Cluster>) -> Vec<(NodeId, usize)> {
    let Some(cluster) = cluster else { return Vec::new() };
    let mut told = Vec::new();
    let members = cluster.raft.metrics().membership.members();
    for node in members.into_iter().filter(|node| *node != cluster.me()) {
        if let Ok(Reply::Connections(count)) = soon(cluster.ask(node, Call::Connections)).await
            && let Ok(count) = usize::try_from(count)
        {
            told.push((node, count));
        }
    }
    told
}

/// Who is connected to the others, subscribes or listens there. All are asked at once, and whoever
/// does not answer soon is left out.
async fn who(cluster: Option<&Cluster>, sought: &Sought) -> Found {
    let mut found = Found::default();
    let (Some(cluster), Ok(question)) = (cluster, postcard::to_allocvec(sought)) else {
        return found;
    };
    let members = cluster.raft.metrics().membership.members();
    let others = members.into_iter().filter(|node| *node != cluster.me());
    let asked = others.map(|node| soon(cluster.ask(node, Call::Who(question.clone()))));
    for answer in join_all(asked).await {
        if let Ok(Reply::Found(bytes)) = answer
            && let Some(theirs) = decode::<Found>(&bytes)
        {
            found.add(theirs);
        }
    }
    found
}

async fn shift(
    cluster: Option<&Cluster>,
    node: NodeId,
    keep: usize,
    target: NodeId,
) -> OperatorAnswer {
    let Some(cluster) = cluster else { return Err(AskError::Refused("there is nobody".into())) };
    let keep = u64::try_from(keep).unwrap_or(u64::MAX);
    match soon(cluster.ask(node, Call::Shift { keep, target })).await {
        Ok(Reply::Done) => Ok(Told::Done),
        Ok(Reply::Refused(why)) => Err(AskError::Refused(why.into())),
        Ok(Reply::Busy) | Err(CallError::Busy) => Err(AskError::Busy),
        Ok(_) | Err(_) => Err(AskError::Unknown),
    }
}

/// The answer of another member, if it comes soon.
async fn soon(answer: impl Future<Output = Result<Reply, CallError>>) -> Result<Reply, CallError> {
    let late = async {
        smol::Timer::after(limits::GRPC_LOAD_PATIENCE).await;
        Err(CallError::Lost)
    };
    smol::future::or(answer, late).await
}

async fn snapshot(raft: &Raft<Machine>) -> OperatorAnswer {
    match raft.trigger_snapshot().await {
        Ok(meta) => Ok(Told::Snapshot(meta.last.index.0)),
        Err(error @ (TriggerSnapshotError::Empty | TriggerSnapshotError::Failed(_))) => {
            Err(AskError::Refused(error.to_string().into()))
        }
        Err(TriggerSnapshotError::Overloaded) => Err(AskError::Busy),
        Err(TriggerSnapshotError::Stopped) => Err(AskError::Unknown),
    }
}

/// The cluster as this node sees it. Without a leader that answers, what only that one knows is
/// left out: a partial status is worth more than none.
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
