//! Messages, commands, requests and what became of them, in words.

use nacolet_config as config;
use nacolet_machine::{Command, Refused, Response};
use nacolet_model::ConfigKey;
use nacolet_raft::engine::{AppendResult, MessageBody};
use nacolet_raft::{Entry, HardState, LogId, LogIndex, Membership, MembershipChange, Message};
use nacolet_registry as registry;
use nacolet_registry::message::{InstanceChange, Message as RegistryMessage, ServiceChanges};

use super::line::Line;
use crate::inbox::{ListAnswer, ReadAnswer};
use crate::operation::{Action, End, serial_of};
use crate::subject::{Subject, name, names};

/// What happens all the time on a healthy line, by the name that it is counted under.
pub(crate) fn routine(message: &Message) -> Option<&'static str> {
    let is_routine =
        matches!(message.body, MessageBody::Heartbeat { .. } | MessageBody::HeartbeatReply { .. });
    is_routine.then_some("heartbeats")
}

/// The same of messages between registries.
pub(crate) fn routine_of_registries(message: &RegistryMessage) -> Option<&'static str> {
    match message {
        RegistryMessage::Ping(_) => Some("pings"),
        RegistryMessage::Heard(_) => Some("reports of beats"),
        RegistryMessage::Digest { urgent: false, .. } => Some("digests"),
        RegistryMessage::Digest { .. }
        | RegistryMessage::Sync(_)
        | RegistryMessage::Versions(_)
        | RegistryMessage::Want(_)
        | RegistryMessage::Load { .. }
        | RegistryMessage::Page { .. } => None,
    }
}

fn end_of(log: LogId) -> String {
    if log.index == LogIndex::ZERO {
        "its log is empty".to_owned()
    } else {
        format!("its log ends at {} of term {}", log.index.0, log.term.0)
    }
}

fn verdict(granted: bool) -> &'static str {
    if granted { "granted" } else { "refused" }
}

/// Indexes of consecutive entries.
pub(crate) fn range(entries: &[Entry]) -> String {
    match (entries.first(), entries.last()) {
        (Some(first), Some(last)) if first.id.index == last.id.index => {
            format!("entry {} of term {}", first.id.index.0, last.id.term.0)
        }
        (Some(first), Some(last)) => {
            let (from, to, term) = (first.id.index.0, last.id.index.0, last.id.term.0);
            format!("entries {from} to {to} of term {term}")
        }
        _ => "no entries".to_owned(),
    }
}

/// A message of Raft.
pub(crate) fn message(message: &Message) -> String {
    let term = message.term.0;
    match &message.body {
        MessageBody::RequestPreVote { last } => {
            format!("RequestPreVote term {term} ({})", end_of(*last))
        }
        MessageBody::PreVoteReply { granted } => {
            format!("PreVoteReply term {term}: {}", verdict(*granted))
        }
        MessageBody::RequestVote { last, transfer } => {
            let why = if *transfer { ", by order of the leader" } else { "" };
            format!("RequestVote term {term} ({}{why})", end_of(*last))
        }
        MessageBody::VoteReply { granted } => {
            format!("VoteReply term {term}: {}", verdict(*granted))
        }
        MessageBody::AppendEntries { previous, entries, commit_index } => {
            let (after, commit) = (previous.index.0, commit_index.0);
            let entries = range(entries);
            format!("AppendEntries term {term}: {entries} after {after}, committed up to {commit}")
        }
        MessageBody::AppendEntriesReply { result: AppendResult::Matched(index) } => {
            format!("AppendEntriesReply term {term}: has all up to {}", index.0)
        }
        MessageBody::AppendEntriesReply { result: AppendResult::Conflict { rejected, hint } } => {
            let (rejected, hint) = (rejected.0, hint.index.0);
            format!("AppendEntriesReply term {term}: {rejected} does not fit, perhaps {hint} does")
        }
        MessageBody::Heartbeat { commit_index, .. } => {
            format!("Heartbeat term {term}: committed up to {}", commit_index.0)
        }
        MessageBody::HeartbeatReply { .. } => format!("HeartbeatReply term {term}"),
        MessageBody::TimeoutNow => format!("TimeoutNow term {term}: campaign at once"),
        MessageBody::SnapshotReply { last } => {
            format!("SnapshotReply term {term}: holds the snapshot up to {}", last.index.0)
        }
        MessageBody::Committed { last } => {
            format!("Committed term {term}: {} is committed", last.index.0)
        }
    }
}

/// Term and vote.
pub(crate) fn hard_state(state: &HardState) -> String {
    let vote =
        state.voted_for.map_or_else(|| "no vote".to_owned(), |node| format!("vote {}", name(node)));
    format!("term {}, {vote}", state.term.0)
}

/// Who belongs to the cluster.
pub(crate) fn membership(membership: &Membership) -> String {
    if membership.voters.is_empty() {
        return "nobody is known, it waits to be added".to_owned();
    }
    let mut text = format!("voters {}", names(&membership.voters));
    if !membership.outgoing.is_empty() {
        text += &format!(", on the way from {}", names(&membership.outgoing));
    }
    if !membership.learners.is_empty() {
        text += &format!(", learners {}", names(&membership.learners));
    }
    text
}

/// A change of the membership.
pub(crate) fn membership_change(change: &MembershipChange) -> String {
    match change {
        MembershipChange::AddLearner { node, address } => {
            format!("add {} at {address} as a learner", name(*node))
        }
        MembershipChange::Promote(nodes) => format!("make {} voters", names(nodes)),
        MembershipChange::Remove(nodes) => format!("remove {}", names(nodes)),
        MembershipChange::SetVoters(nodes) => format!("make {} the only voters", names(nodes)),
    }
}

/// A message between registries.
pub(crate) fn registry_message(message: &RegistryMessage) -> String {
    match message {
        RegistryMessage::Ping(ping) if ping.loaded => "Ping".to_owned(),
        RegistryMessage::Ping(_) => "Ping (it does not hold everything yet)".to_owned(),
        RegistryMessage::Sync(all) => format!("Sync: {}", all_changes(all)),
        RegistryMessage::Heard(heard) => format!("Heard: beats in {} services", heard.len()),
        RegistryMessage::Digest { urgent: true, .. } => "Digest, urgent".to_owned(),
        RegistryMessage::Digest { urgent: false, .. } => "Digest".to_owned(),
        RegistryMessage::Versions(buckets) => {
            format!("Versions of all it has in {} buckets", buckets.len())
        }
        RegistryMessage::Want(wanted) => {
            let ports = wanted.iter().flat_map(|wanted| &wanted.publications);
            format!("Want: it lacks {}", join(ports.map(|key| key.instance.port.to_string())))
        }
        RegistryMessage::Load { after: None } => "Load: it asks for everything".to_owned(),
        RegistryMessage::Load { after: Some(service) } => {
            format!("Load: it asks for what comes after {}", service.name)
        }
        RegistryMessage::Page { services, next, .. } => {
            let more = if next.is_some() { "; there is more" } else { "" };
            format!("Page: {}{more}", all_changes(services))
        }
    }
}

fn join(words: impl Iterator<Item = String>) -> String {
    let words: Vec<String> = words.collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

fn all_changes(all: &[ServiceChanges]) -> String {
    let changes = all.iter().flat_map(|changes| &changes.changes);
    join(changes.map(|change| match change {
        InstanceChange::Up { spec, .. } => format!("{} is there", spec.port),
        InstanceChange::Gone { key, cause, .. } => {
            format!("{} is gone ({cause:?})", key.instance.port)
        }
    }))
}

/// The instances that a message between registries is about.
pub(crate) fn ports_of(message: &RegistryMessage) -> Vec<u16> {
    let (RegistryMessage::Sync(all) | RegistryMessage::Page { services: all, .. }) = message else {
        return Vec::new();
    };
    let changes = all.iter().flat_map(|changes| &changes.changes);
    let port = |change: &InstanceChange| match change {
        InstanceChange::Up { spec, .. } => spec.port,
        InstanceChange::Gone { key, .. } => key.instance.port,
    };
    changes.map(port).collect()
}

/// What a client asks of a key.
pub(crate) fn action(action: Action, key: &ConfigKey) -> String {
    let id = &key.data_id;
    match action {
        Action::Write(serial) => format!("write {serial} to {id}"),
        Action::Cas { expected, new } => {
            let expected = content(expected);
            format!("write {new} to {id} if {expected} is there")
        }
        Action::Remove(serial) => format!("remove {id} (write {serial})"),
        Action::Read => format!("read {id} as of now"),
    }
}

/// A line about an operation on a key.
pub(crate) fn of_operation(line: Line, action: Action, key: &ConfigKey) -> Line {
    let line = line.about(Subject::Key(key.clone()));
    match action {
        Action::Write(serial) | Action::Cas { new: serial, .. } | Action::Remove(serial) => {
            line.about(Subject::Write(serial))
        }
        Action::Read => line,
    }
}

/// A content, by the serial in it.
pub(crate) fn content(serial: Option<u64>) -> String {
    serial.map_or_else(|| "nothing".to_owned(), |serial| serial.to_string())
}

/// How an operation ended.
pub(crate) fn end(end: End) -> String {
    match end {
        End::Written { created: true } => "done, where nothing was".to_owned(),
        End::Written { created: false } => "done, in place of something".to_owned(),
        End::Mismatch => "something else is there".to_owned(),
        End::Done => "done".to_owned(),
        End::Removed { existed: true } => "done".to_owned(),
        End::Removed { existed: false } => "done, there was nothing".to_owned(),
        End::Read(serial) => format!("there is {}", content(serial)),
        End::Void => "no effect".to_owned(),
        End::Unknown => "nobody knows".to_owned(),
    }
}

/// What a node shows of a key.
pub(crate) fn shown(key: &ConfigKey, answer: &ReadAnswer) -> String {
    let serial = answer.content.as_deref().and_then(serial_of);
    format!("{} of {} at log index {}", content(serial), key.data_id, answer.applied)
}

/// A list of instances.
pub(crate) fn list(answer: &ListAnswer) -> String {
    let hosts = answer.hosts.iter().map(|(port, healthy)| {
        if *healthy { port.to_string() } else { format!("{port} (unhealthy)") }
    });
    format!("the list {} (reference time {})", join(hosts), answer.ref_time)
}

/// A command, and what lines about it can be found by.
pub(crate) fn command(command: &Command) -> (String, Vec<Subject>) {
    let config = |what: &str, key: &ConfigKey, operator: &config::Operator| {
        let serial = operator.user.parse().ok();
        let subjects = [Some(Subject::Key(key.clone())), serial.map(Subject::Write)];
        let text = format!("{what} {} (write {})", key.data_id, operator.user);
        (text, subjects.into_iter().flatten().collect())
    };
    match command {
        Command::Config(config::Command::Publish(publish)) => {
            config("publish", &publish.key, &publish.operator)
        }
        Command::Config(config::Command::Remove(remove)) => {
            config("remove", &remove.key, &remove.operator)
        }
        Command::Config(other) => (format!("{other:?}"), Vec::new()),
        Command::Registry(registry::Command::Register(register)) => {
            (format!("register {}", register.instance.port), Vec::new())
        }
        Command::Registry(registry::Command::Deregister { instance, .. }) => {
            (format!("deregister {}", instance.port), Vec::new())
        }
        Command::Registry(other) => (format!("{other:?}"), Vec::new()),
        Command::Lock(other) => (format!("{other:?}"), Vec::new()),
        Command::Auth(other) => (format!("{other:?}"), Vec::new()),
    }
}

/// What applying a command answered.
pub(crate) fn result(result: &Result<Response, Refused>) -> String {
    match result {
        Ok(Response::Config(config::Response::Published { created: true, .. })) => {
            "done, where nothing was".to_owned()
        }
        Ok(Response::Config(config::Response::Published { created: false, .. })) => {
            "done, in place of something".to_owned()
        }
        Ok(Response::Config(config::Response::Removed { existed: false })) => {
            "done, there was nothing".to_owned()
        }
        Ok(_) => "done".to_owned(),
        Err(Refused::Config(error)) => format!("refused: {error}"),
        Err(Refused::Registry(error)) => format!("refused: {error}"),
        Err(other) => format!("refused: {other:?}"),
    }
}

/// A request to a registry.
pub(crate) fn request(request: &registry::Request) -> String {
    if let registry::Request::Register { instance, .. } = request {
        return format!("register {}", instance.port);
    }
    if let registry::Request::Publish { client, instances, .. } = request {
        let all = join(instances.iter().map(|instance| instance.port.to_string()));
        return format!("publish {all} over connection {:x}", client.0);
    }
    if let registry::Request::Deregister { port, .. } = request {
        return format!("deregister {port}");
    }
    if let registry::Request::Beat { port, full, .. } = request {
        let kind = if full.is_some() { "beat" } else { "light beat" };
        return format!("{kind} of {port}");
    }
    // Nobody in this world asks for anything else.
    format!("{request:?}")
}
