//! P6 and P7: who lives is listed, who is gone is not, and our own trouble is no reason.
//!
//! During faults (P7), at every look:
//! - *Hearing*: a node lists whoever beat there within 13 s (of 15 until it is unhealthy), and
//!   whoever has a connection open there, unless somebody deregistered it.
//! - *Elsewhere*: a client is steady while it beats somewhere at least every 12 s, or is back on
//!   another connection within 15 s. A steady client is on the list of every ready node that was in
//!   contact with all whom it is in contact with, directly or not, without a lost message, for 40 s
//!   or since 10 s before the client came. Deaths, restarts and pauses of nodes are no excuse. At
//!   least one of those nodes must have lived all the time: instances are nowhere but in memory.
//! - *Alone*: a node that hears nobody removes nobody of itself.
//! - *Gone*: who deregistered 8 s ago is listed by no node that was in contact in that sense, if
//!   one of those nodes lived and was awake all the time since: there is no other memory of it.
//!
//! After healing (P6): see [`Registrations::difference`]. Reference times never go back on one
//! node, over all its lives, and another list of one life has a higher one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use nacolet_model::{Duration, Instant, NodeId};

use super::check::{Broken, Check};
use crate::inbox::ListAnswer;
use crate::journal::Journal;
use crate::subject::Subject;

const HEARING: Duration = Duration::from_secs(13);
const STEADY_BEATS: Duration = Duration::from_secs(12);
const STEADY_CONNECTION: Duration = Duration::from_secs(15);
/// A sign of life counts when its node outlived it by this much: the others know of it then.
const SOLID_AFTER: Duration = Duration::from_secs(4);
const CONTACT: Duration = Duration::from_secs(40);
const BEFORE: Duration = Duration::from_secs(10);
/// A new client is known everywhere after this long.
const KNOWN_AFTER: Duration = Duration::from_secs(6);
/// Whoever was away for longer than the others' patience has been told what it missed: it pings
/// within one second, its digest is answered within another one, and so is what it asks for.
const TOLD_AFTER: Duration = Duration::from_secs(3);
const GONE_AFTER: Duration = Duration::from_secs(8);
/// Whoever started has put right by digests what the full copy lacked: it may come from a node that
/// went on after a pause in the same moment.
const SETTLED_AFTER: Duration = Duration::from_secs(2);
const ALONE_AFTER: Duration = Duration::from_secs(6);

/// One life of one node.
pub(crate) type Home = (NodeId, u64);

/// An instance that a node lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) healthy: bool,
    pub(crate) owner: u64,
}

/// One node at one moment; times are true ones.
#[derive(Clone, Debug)]
pub(crate) struct NodeLook {
    pub(crate) node: NodeId,
    pub(crate) life: u64,
    pub(crate) paused: bool,
    /// Since when it serves; none when it does not.
    pub(crate) ready: Option<Instant>,
    /// When it last went on after a pause.
    pub(crate) resumed: Instant,
    /// Listed ephemeral instances by port.
    pub(crate) listed: BTreeMap<u16, Listed>,
    /// Reference times of lists that are not empty.
    pub(crate) ref_times: BTreeMap<String, u64>,
}

/// All nodes that are up at one moment.
pub(crate) struct Census<'a> {
    pub(crate) now: Instant,
    pub(crate) nodes: &'a [NodeLook],
    /// The members that each node knows or, where it is down, knew, and since when.
    pub(crate) views: BTreeMap<NodeId, &'a (Instant, BTreeSet<NodeId>)>,
    pub(crate) journal: &'a Journal,
}

#[derive(Debug, Default)]
struct Client {
    /// Signs of life that do not count yet.
    fresh: VecDeque<(Instant, Home)>,
    /// The last one that counts, at each node.
    signs: BTreeMap<NodeId, (Instant, u64)>,
    open: Option<Home>,
    /// It lives by connections, not by beats.
    connects: bool,
    /// Connections that broke, and when, while there is no other.
    closed: Vec<(Instant, Home)>,
    /// A registration of it is on its way, or nobody knows what became of it.
    unknown: bool,
    steady: Option<Instant>,
    last: Instant,
    /// It, or an operator, deregistered it once: an echo of that may still come.
    left: bool,
    disturbed: bool,
    /// When it was taken out, and where.
    gone: Option<(Instant, NodeId)>,
    /// What it wants to be at the end.
    settled: Option<bool>,
}

/// What a subscriber was told.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) home: Home,
    pub(crate) answer: ListAnswer,
}

/// All clients of registries, and what nodes showed of them.
#[derive(Default)]
pub(crate) struct Registrations {
    clients: BTreeMap<u16, Client>,
    before: BTreeMap<Home, BTreeSet<u16>>,
    /// Somebody asked a node to take an instance out.
    asked: BTreeMap<(NodeId, u16), Instant>,
    ref_times: BTreeMap<(NodeId, String), u64>,
    told: BTreeMap<u64, Told>,
}

impl Registrations {
    fn client(&mut self, port: u16) -> &mut Client {
        self.clients.entry(port).or_default()
    }

    /// It begins to register or to beat.
    pub(crate) fn comes(&mut self, port: u16) {
        let client = self.client(port);
        (client.gone, client.unknown) = (None, true);
    }

    /// A beat or a registration was answered.
    pub(crate) fn beaten(&mut self, now: Instant, port: u16, home: Home) {
        let client = self.client(port);
        client.fresh.push_back((now, home));
        client.unknown = false;
    }

    /// A connection published it.
    pub(crate) fn connected(&mut self, now: Instant, port: u16, home: Home) {
        let client = self.client(port);
        client.fresh.push_back((now, home));
        (client.open, client.connects, client.unknown) = (Some(home), true, false);
        client.closed.clear();
    }

    /// Its connection broke, or its publishing over one was not answered: the node takes the
    /// instance out when it hears of that.
    pub(crate) fn broken(&mut self, now: Instant, port: u16, home: Home) {
        self.asked.insert((home.0, port), now);
        let client = self.client(port);
        client.open = None;
        client.closed.push((now, home));
    }

    /// It asks a node to take it out.
    pub(crate) fn leaves(&mut self, now: Instant, port: u16, node: NodeId) {
        self.asked.insert((node, port), now);
        let client = self.client(port);
        let Client { settled, disturbed, unknown, connects, .. } = *client;
        *client = Client { left: true, settled, disturbed, unknown, connects, ..Client::default() };
    }

    /// It is out.
    pub(crate) fn left(&mut self, now: Instant, port: u16, node: NodeId) {
        let client = self.client(port);
        client.gone = (!client.unknown).then_some((now, node));
    }

    /// An operator asks a node to take it out.
    pub(crate) fn disturbed(&mut self, now: Instant, port: u16, node: NodeId) {
        self.asked.insert((node, port), now);
        let client = self.client(port);
        (client.left, client.disturbed, client.steady) = (true, true, None);
        client.fresh.clear();
    }

    /// What it is at the end.
    pub(crate) fn settles(&mut self, port: u16, lives: bool) {
        self.client(port).settled = Some(lives);
    }

    /// Looks at all nodes.
    pub(crate) fn look(&mut self, census: &Census<'_>) -> Result<(), Broken> {
        self.age(census);
        for look in census.nodes {
            if look.paused || look.ready.is_none() {
                continue;
            }
            let of_node = |what| Broken { what, about: Subject::Node(look.node) };
            self.check_ref_times(look).map_err(of_node)?;
            self.check_alone(census, look).map_err(of_node)?;
            for (port, client) in &self.clients {
                let finding = match look.listed.get(port) {
                    None => client.check_missing(census, look, *port),
                    Some(_) => client.check_listed(census, look, *port),
                };
                finding.map_err(|what| Broken { what, about: Subject::Port(*port) })?;
            }
        }
        self.before.clear();
        let listed = |look: &NodeLook| look.listed.keys().copied().collect();
        self.before.extend(census.nodes.iter().map(|look| ((look.node, look.life), listed(look))));
        Ok(())
    }

    fn age(&mut self, census: &Census<'_>) {
        let up = |home: &Home| {
            let is_it = |look: &&NodeLook| (look.node, look.life) == *home && !look.paused;
            census.nodes.iter().any(|look| is_it(&look))
        };
        for client in self.clients.values_mut() {
            while let Some((at, home)) = client.fresh.front().copied()
                && at + SOLID_AFTER <= census.now
            {
                client.fresh.pop_front();
                if up(&home) {
                    client.sign(at, home, STEADY_BEATS);
                }
            }
            let has_heard = |(at, home): &(Instant, Home)| {
                let is_it = |look: &&NodeLook| (look.node, look.life) == *home;
                let knows = |look: &NodeLook| !look.paused || look.resumed >= *at;
                census.nodes.iter().find(is_it).is_some_and(knows)
            };
            if client.closed.iter().any(has_heard) {
                client.steady = None;
            }
            if let Some(home) = client.open.filter(up)
                && client.steady.is_some()
            {
                client.sign(census.now, home, STEADY_CONNECTION);
            }
        }
    }

    fn check_ref_times(&mut self, look: &NodeLook) -> Check {
        for (service, ref_time) in &look.ref_times {
            let newest = self.ref_times.entry((look.node, service.clone())).or_default();
            if ref_time < newest {
                let (node, newest) = (look.node, *newest);
                return Err(format!(
                    "the reference time of {service} on {node} goes back from {newest} to {ref_time}"
                ));
            }
            *newest = *ref_time;
        }
        Ok(())
    }

    fn check_alone(&self, census: &Census<'_>, look: &NodeLook) -> Check {
        let NodeLook { node, life, .. } = *look;
        let Some((members_since, members)) = census.views.get(&node) else { return Ok(()) };
        let heard =
            census.nodes.iter().filter_map(|from| census.journal.delivered((from.node, node)));
        let others = members.iter().filter_map(|from| census.journal.delivered((*from, node)));
        let since = heard.chain(others).chain([look.resumed, *members_since]).chain(look.ready);
        let since = since.max().unwrap_or_default();
        if members.len() < 2 || since + ALONE_AFTER > census.now {
            return Ok(());
        }
        let before = self.before.get(&(node, life));
        for port in before.into_iter().flatten().filter(|port| !look.listed.contains_key(port)) {
            if self.asked.get(&(node, *port)).is_none_or(|at| *at + ALONE_AFTER < census.now) {
                return Err(format!("{node} hears nobody and dropped {port}"));
            }
        }
        Ok(())
    }

    /// What differs between what every member should list and what it does, if anything; without
    /// `all`, only who lives and is missing counts.
    pub(crate) fn difference(&self, looks: &[NodeLook], all: bool) -> Option<Broken> {
        for (port, client) in &self.clients {
            let broken = |what| Some(Broken { what, about: Subject::Port(*port) });
            let Some(lives) = client.settled else {
                return broken(format!("{port} finds no node that serves it"));
            };
            for look in looks {
                let node = look.node;
                match look.listed.get(port) {
                    None if lives => return broken(format!("{node} does not list {port}")),
                    Some(listed) if lives && all && !listed.healthy => {
                        return broken(format!("{node} calls {port} unhealthy"));
                    }
                    Some(_) if !lives && all => {
                        return broken(format!("{node} still lists {port}"));
                    }
                    None | Some(_) => {}
                }
            }
        }
        let first = looks.first()?;
        let other = looks.iter().find(|look| all && look.listed != first.listed)?;
        let what = format!("{} and {} know different owners", first.node, other.node);
        Some(Broken { what, about: Subject::Node(other.node) })
    }

    /// A subscriber was told.
    pub(crate) fn told(&mut self, subscriber: u64, told: Told) -> Check {
        let Some(before) = self.told.insert(subscriber, told.clone()) else { return Ok(()) };
        let (old, new) = (&before.answer, &told.answer);
        let differs = old.hosts != new.hosts;
        if before.home == told.home
            && (new.ref_time < old.ref_time || (differs && new.ref_time == old.ref_time))
        {
            let (old, new) = (old.ref_time, new.ref_time);
            return Err(format!("{:?} shows another list of {new} after one of {old}", told.home));
        }
        Ok(())
    }
}

impl Client {
    fn sign(&mut self, at: Instant, (node, life): Home, gap: Duration) {
        if self.steady.is_none() || self.last + gap < at {
            self.steady = Some(at);
        }
        self.last = self.last.max(at);
        self.signs.insert(node, (at, life));
    }

    fn check_missing(&self, census: &Census<'_>, look: &NodeLook, port: u16) -> Check {
        let (node, now) = (look.node, census.now);
        let home = (node, look.life);
        if self.open == Some(home) && !self.disturbed {
            return Err(format!("{node} dropped {port}, whose connection it holds"));
        }
        let sign = self.signs.get(&node).filter(|(_, life)| *life == look.life);
        if let Some((at, _)) = sign
            && !self.left
            && !self.connects
            && now < *at + HEARING
        {
            return Err(format!("{node} dropped {port}, which beats there"));
        }
        let Some(steady) = self.steady else { return Ok(()) };
        let patience = if self.connects { STEADY_CONNECTION } else { STEADY_BEATS };
        let known = if self.left { CONTACT } else { KNOWN_AFTER };
        let young = now < steady + known;
        let silent = now > self.last + patience + SOLID_AFTER;
        if young || silent || !look.is_settled(now) || look.resumed + TOLD_AFTER > now {
            return Ok(());
        }
        let window =
            if now < steady + CONTACT { before(steady, BEFORE) } else { before(now, CONTACT) };
        let Some(company) = census.company(node, window) else { return Ok(()) };
        let recent = self.signs.iter().filter(|(_, (at, _))| *at >= window);
        let all_near = recent.clone().all(|(node, _)| company.contains(node));
        if !all_near || !census.remembers(&company, window) {
            return Ok(());
        }
        Err(format!("{node} dropped {port}, which lives and beats elsewhere"))
    }

    fn check_listed(&self, census: &Census<'_>, look: &NodeLook, port: u16) -> Check {
        let (node, now) = (look.node, census.now);
        let Some((gone, by)) = self.gone.filter(|(gone, _)| *gone + GONE_AFTER <= now) else {
            return Ok(());
        };
        let window = before(gone.min(before(now, CONTACT / 2)), BEFORE);
        let Some(company) = census.company(node, window) else { return Ok(()) };
        if !company.contains(&by) || !census.remembers(&company, gone) {
            return Ok(());
        }
        if !look.is_settled(now) || look.resumed + GONE_AFTER > now {
            return Ok(());
        }
        Err(format!("{node} lists {port}, deregistered {:?} ago", now.saturating_since(gone)))
    }
}

impl NodeLook {
    fn is_settled(&self, now: Instant) -> bool {
        self.ready.is_some_and(|at| at + SETTLED_AFTER <= now)
    }
}

impl Census<'_> {
    /// Whether one of the company was there and awake since `from`.
    fn remembers(&self, company: &BTreeSet<NodeId>, from: Instant) -> bool {
        let is_old = |look: &NodeLook| look.ready.is_some_and(|ready| ready <= from);
        let is_awake = |look: &NodeLook| !look.paused && look.resumed <= from;
        let mut near = self.nodes.iter().filter(|other| company.contains(&other.node));
        near.any(|other| is_old(other) && is_awake(other))
    }

    /// All with whom `node` was in contact since `from`, directly or not, if nothing between them
    /// was lost and all agree who the members are.
    fn company(&self, node: NodeId, from: Instant) -> Option<BTreeSet<NodeId>> {
        let views = self.nodes.iter().filter_map(|look| self.views.get(&look.node));
        let everybody: BTreeSet<NodeId> =
            views.flat_map(|(_, members)| members.iter().copied()).collect();
        let mut company = BTreeSet::from([node]);
        let mut open = vec![node];
        while let Some(one) = open.pop() {
            for other in &everybody {
                let talked = [(one, *other), (*other, one)]
                    .iter()
                    .any(|pair| self.journal.delivered(*pair).is_some_and(|at| at >= from));
                if talked && company.insert(*other) {
                    open.push(*other);
                }
            }
        }
        for one in &company {
            for other in &company {
                if self.journal.lost((*one, *other)).is_some_and(|at| at >= from) {
                    return None;
                }
            }
        }
        let mut agreed = None;
        for (since, members) in company.iter().filter_map(|node| self.views.get(node).copied()) {
            if *since >= from || agreed.replace(members).is_some_and(|other| other != members) {
                return None;
            }
        }
        Some(company)
    }
}

fn before(at: Instant, by: Duration) -> Instant {
    let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
    Instant::from_micros(at.as_micros().saturating_sub(micros))
}
