//! The network between nodes: it delays, loses, doubles and reorders messages, and cuts lines in
//! one direction or both. Every message that leaves a node passes the checkers first.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use futures_lite::future::or;
use nacolet_model::{Duration, Instant, NodeId, Prng};
use nacolet_raft::engine::AppendResult;
use nacolet_raft::{
    LocalBoxFuture, LogIndex, Message, MessageBody, Raft, RaftNetwork, RaftNetworkFactory,
    SnapshotChunk, SnapshotMeta, Term, Unreachable,
};

use crate::checker::Checkers;
use crate::disk::Disk;
use crate::inbox::Inbox;
use crate::journal::Journal;
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::planted::Planted;
use crate::post::Post;
use crate::story::{Line, Story, words};
use crate::subject::name;

/// A sender gives up on a snapshot chunk after this long.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(2);

/// How bad the lines are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// A message takes up to this long.
    pub delay_max: Duration,
    /// Out of a hundred messages, how many are lost.
    pub loss_percent: u64,
    /// Out of a hundred messages, how many arrive twice.
    pub double_percent: u64,
    /// Out of a hundred messages, how many overtake others.
    pub reorder_percent: u64,
}

impl Weather {
    /// No faults.
    #[must_use]
    pub fn fair() -> Self {
        Self { delay_max: Duration::from_micros(800), ..Self::default() }
    }
}

struct State {
    prng: Prng,
    weather: Weather,
    /// Directed lines that lose everything.
    cut: BTreeSet<(NodeId, NodeId)>,
    plugged: BTreeMap<NodeId, Raft<Machine>>,
    post: Post,
    /// When the last message of each line arrives.
    arrivals: BTreeMap<(NodeId, NodeId), Instant>,
    planted: Option<Planted>,
    /// Planted: what each leader believes that its followers hold.
    matched: BTreeMap<(Term, NodeId), BTreeMap<NodeId, LogIndex>>,
}

/// All lines. Clones are the same lines.
#[derive(Clone)]
pub struct Network {
    kernel: Kernel,
    checkers: Checkers,
    state: Rc<RefCell<State>>,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").field("cut", &self.state.borrow().cut).finish_non_exhaustive()
    }
}

impl Network {
    /// Lines without nodes; so many messages wait between two registries at most.
    #[must_use]
    pub fn new(
        kernel: Kernel,
        checkers: Checkers,
        prng: Prng,
        registry_queue: usize,
        planted: Option<Planted>,
    ) -> Self {
        let state = State {
            prng,
            weather: Weather::fair(),
            cut: BTreeSet::new(),
            plugged: BTreeMap::new(),
            post: Post::new(registry_queue),
            arrivals: BTreeMap::new(),
            planted,
            matched: BTreeMap::new(),
        };
        Self { kernel, checkers, state: Rc::new(RefCell::new(state)) }
    }

    /// Changes how bad the lines are.
    pub fn set_weather(&self, weather: Weather) {
        self.state.borrow_mut().weather = weather;
    }

    /// Connects a node, or another life of it.
    pub fn plug(&self, raft: &Raft<Machine>, inbox: &Inbox) {
        let mut state = self.state.borrow_mut();
        state.plugged.insert(raft.id(), raft.clone());
        state.post.plug(raft.id(), inbox.clone());
    }

    /// Takes a node off.
    pub fn unplug(&self, node: NodeId) {
        let raft = self.state.borrow_mut().plugged.remove(&node);
        let inbox = self.with_post(|post| post.unplug(node));
        drop((raft, inbox));
    }

    /// Cuts the line from one node to another.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.state.borrow_mut().cut.insert((from, to));
    }

    /// Mends every line.
    pub fn mend(&self) {
        self.state.borrow_mut().cut.clear();
    }

    /// What `node` makes its connections with.
    #[must_use]
    pub fn plug_of(&self, node: NodeId, disk: Disk) -> Plug {
        Plug { network: self.clone(), from: node, disk }
    }

    /// What happened between registries.
    #[must_use]
    pub fn journal(&self) -> Rc<RefCell<Journal>> {
        self.with_post(|post| post.journal())
    }

    pub(crate) fn with_post<T>(&self, look: impl FnOnce(&mut Post) -> T) -> T {
        look(&mut self.state.borrow_mut().post)
    }

    pub(crate) fn now(&self) -> Instant {
        self.kernel.now()
    }

    pub(crate) fn at(&self, at: Instant, call: impl FnOnce() + 'static) {
        self.kernel.at(at, call);
    }

    pub(crate) fn is_noticed(&self) -> bool {
        self.state.borrow_mut().prng.chance(1, 2)
    }

    fn delay(&self) -> Duration {
        let mut state = self.state.borrow_mut();
        let max = u64::try_from(state.weather.delay_max.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(50 + state.prng.below(max))
    }

    pub(crate) fn chance(&self, percent: impl Fn(&Weather) -> u64) -> bool {
        let mut state = self.state.borrow_mut();
        let percent = percent(&state.weather);
        state.prng.chance(percent, 100)
    }

    pub(crate) fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.state.borrow().cut.contains(&(from, to))
    }

    fn raft(&self, node: NodeId) -> Option<Raft<Machine>> {
        self.state.borrow().plugged.get(&node).cloned()
    }

    /// When a message sent now arrives.
    pub(crate) fn arrival(&self, from: NodeId, to: NodeId) -> Instant {
        let at = self.kernel.now() + self.delay();
        if self.chance(|weather| weather.reorder_percent) {
            return at;
        }
        let mut state = self.state.borrow_mut();
        let last = state.arrivals.entry((from, to)).or_default();
        *last = at.max(*last);
        *last
    }

    fn deliver(&self, from: NodeId, to: NodeId, message: Message) {
        let at = self.arrival(from, to);
        let network = self.clone();
        self.kernel.at(at, move || {
            if network.is_cut(from, to) {
                return network.tell_lost(from, to, &message, "the line is cut");
            }
            if let Some(raft) = network.raft(to) {
                network.note_matched(from, to, &message);
                network.tell_heard(from, to, &message);
                // A full queue loses the message, as a full network would.
                raft.receive(from, message).ok();
            }
        });
    }
}

/// What the story tells of messages.
impl Network {
    /// What happened so far, in words.
    pub(crate) fn story(&self) -> &Story {
        self.kernel.story()
    }

    fn tell_sent(&self, from: NodeId, to: NodeId, message: &Message) {
        if words::routine(message).is_none() {
            self.story().send(from, to, || words::message(message));
        }
    }

    fn tell_heard(&self, from: NodeId, to: NodeId, message: &Message) {
        match words::routine(message) {
            Some(routine) => self.story().count(routine),
            None => self.story().tell(|| {
                let (message, from) = (words::message(message), name(from));
                let stands_still = self.kernel.is_paused_node(to);
                let verb = if stands_still { "stands still and will hear" } else { "hears" };
                Line::of(to, format!("{verb} {message} from {from}"))
            }),
        }
    }

    fn tell_lost(&self, from: NodeId, to: NodeId, message: &Message, why: &str) {
        if words::routine(message).is_some() {
            return self.story().count("lost heartbeats");
        }
        self.story().tell(|| {
            let (message, from) = (words::message(message), name(from));
            Line::of(to, format!("does not hear {message} from {from}: {why}"))
        });
    }
}

/// The planted way to commit: by counting, whatever the term of the entry.
impl Network {
    fn note_matched(&self, from: NodeId, to: NodeId, message: &Message) {
        let mut state = self.state.borrow_mut();
        let MessageBody::AppendEntriesReply { result: AppendResult::Matched(index) } = message.body
        else {
            return;
        };
        if state.planted == Some(Planted::CommitOldTerm) {
            let matched = state.matched.entry((message.term, to)).or_default();
            let known = matched.entry(from).or_default();
            *known = index.max(*known);
        }
    }

    fn commit_by_counting(&self, from: NodeId, message: &mut Message) {
        let state = self.state.borrow();
        let MessageBody::AppendEntries { commit_index, .. } = &mut message.body else { return };
        let Some(matched) = state.matched.get(&(message.term, from)) else { return };
        let Some(raft) = state.plugged.get(&from) else { return };
        let membership = raft.metrics().membership;
        let held = |voter: &NodeId| matched.get(voter).copied().unwrap_or(LogIndex::ZERO);
        let others = membership.voters.iter().filter(|voter| **voter != from);
        let mut held: Vec<LogIndex> = others.map(held).collect();
        held.sort_unstable();
        // With the leader itself, half of the others make a majority.
        let majority = held.len().div_ceil(2);
        let Some(counted) = held.len().checked_sub(majority).and_then(|at| held.get(at)) else {
            return;
        };
        *commit_index = (*commit_index).max(*counted);
    }
}

/// Makes the connections of one node.
#[derive(Clone, Debug)]
pub struct Plug {
    network: Network,
    from: NodeId,
    disk: Disk,
}

/// The connection of one node to another.
#[derive(Clone, Debug)]
pub struct Link {
    plug: Plug,
    to: NodeId,
}

impl RaftNetworkFactory for Plug {
    type Network = Link;

    fn connect(&mut self, target: NodeId, _address: &str) -> Link {
        Link { plug: self.clone(), to: target }
    }
}

impl RaftNetwork for Link {
    fn send(&mut self, mut message: Message) -> LocalBoxFuture<'_, Result<(), Unreachable>> {
        let Plug { network, from, disk } = &self.plug;
        network.commit_by_counting(*from, &mut message);
        disk.durable().with(|log| network.checkers.sent(*from, self.to, &message, log));
        let dead = network.is_cut(*from, self.to) || network.raft(self.to).is_none();
        // A dead line is noticed now and then; the message is lost either way.
        let noticed = dead && network.state.borrow_mut().prng.chance(1, 2);
        network.tell_sent(*from, self.to, &message);
        if network.chance(|weather| weather.loss_percent) {
            network.tell_lost(*from, self.to, &message, "it is lost");
        } else {
            if network.chance(|weather| weather.double_percent) {
                network.deliver(*from, self.to, message.clone());
            }
            network.deliver(*from, self.to, message);
        }
        Box::pin(async move { if noticed { Err(Unreachable) } else { Ok(()) } })
    }

    fn send_chunk(
        &mut self,
        term: Term,
        meta: &SnapshotMeta,
        offset: u64,
        chunk: SnapshotChunk,
    ) -> LocalBoxFuture<'_, Result<u64, Unreachable>> {
        let meta = meta.clone();
        let Self { plug: Plug { network, from, .. }, to } = self.clone();
        Box::pin(async move {
            network.kernel.sleep(network.delay()).await;
            if network.is_cut(from, to) || network.chance(|weather| weather.loss_percent) {
                network.kernel.sleep(network.delay()).await;
                return Err(Unreachable);
            }
            let raft = network.raft(to).ok_or(Unreachable)?;
            network.story().tell(|| {
                let (last, bytes) = (meta.last.index.0, chunk.bytes.len());
                let what = format!("{bytes} bytes at {offset} of a snapshot up to {last}");
                Line::of(to, format!("hears {what} from {}", name(from)))
            });
            let held = async { raft.receive_chunk(from, term, meta, offset, chunk).await.ok() };
            let timeout = async {
                network.kernel.sleep(CHUNK_TIMEOUT).await;
                None
            };
            let held = or(held, timeout).await.ok_or(Unreachable)?;
            network.kernel.sleep(network.delay()).await;
            if network.is_cut(to, from) { Err(Unreachable) } else { Ok(held) }
        })
    }
}
