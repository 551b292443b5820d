//! Links between real sockets on loopback: what gets through, what is refused, and what comes back
//! after it broke.

mod crowd;
mod moved;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use nacolet_model::{NodeId, limits};
use nacolet_raft::{
    LogId, LogIndex, Message, MessageBody, RaftNetwork, RaftNetworkFactory, SnapshotChunk,
    SnapshotMeta, Term,
};
use nacolet_registry as registry;
use nacolet_transport::handshake::{self, Identity};
use nacolet_transport::message::Kind;
use nacolet_transport::{
    Call, CallError, ClusterId, ClusterKey, Counters, Handler, LinkSettings, LocalFuture, Patience,
    Reply, Transport,
};
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};
use smol::{LocalExecutor, future};

const KEY: u8 = 5;
const CLUSTER: ClusterId = ClusterId(7);

/// What arrived at a node.
#[derive(Default)]
struct Inbox {
    raft: RefCell<Vec<(NodeId, Message)>>,
    distro: RefCell<Vec<(NodeId, registry::Message, usize)>>,
    calls: RefCell<Vec<(NodeId, bool, Call)>>,
}

struct Recorder(Rc<Inbox>);

impl Handler for Recorder {
    fn raft(&self, from: NodeId, message: Message) {
        self.0.raft.borrow_mut().push((from, message));
    }

    fn distro(&self, from: NodeId, message: registry::Message, bytes: usize) {
        self.0.distro.borrow_mut().push((from, message, bytes));
    }

    fn call(&self, from: NodeId, guest: bool, call: Call) -> LocalFuture<Reply> {
        self.0.calls.borrow_mut().push((from, guest, call.clone()));
        Box::pin(async move {
            match call {
                Call::Chunk(chunk) => Reply::Held(chunk.offset + chunk.chunk.bytes.len() as u64),
                Call::ReadIndex => future::pending().await,
                Call::Write(bytes) => Reply::Written { answer: bytes, applied: LogIndex(1) },
                Call::Join { .. } => Reply::Joined(CLUSTER),
                Call::Announce { .. }
                | Call::Promote
                | Call::Change(_)
                | Call::Transfer(_)
                | Call::Progress
                | Call::StateDigest(_)
                | Call::Connections
                | Call::Found { .. }
                | Call::Shift { .. }
                | Call::Who(_) => Reply::Done,
            }
        })
    }
}

struct Node {
    transport: Transport,
    inbox: Rc<Inbox>,
    address: String,
    task: RefCell<Option<smol::Task<()>>>,
}

impl Node {
    async fn stop(&self) {
        let task = self.task.take();
        if let Some(task) = task {
            task.cancel().await;
        }
    }
}

fn key(byte: u8) -> ClusterKey {
    ClusterKey::new(&[byte; 32]).expect("it is long enough")
}

fn settings(node: u64, address: &str) -> LinkSettings {
    let patience = Patience {
        handshake: Duration::from_millis(500),
        stall: Duration::from_millis(300),
        retry_min: Duration::from_millis(5),
        retry_max: Duration::from_millis(40),
    };
    let node = NodeId(node);
    let address = address.to_owned();
    LinkSettings { node, key: key(KEY), cluster: Some(CLUSTER), address, seed: node.0, patience }
}

async fn start_at(executor: &LocalExecutor<'_>, address: &str, settings: LinkSettings) -> Rc<Node> {
    let listener = TcpListener::bind(address).await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let (transport, runner) = Transport::new(LinkSettings { address: address.clone(), ..settings });
    let inbox = Rc::<Inbox>::default();
    let task = executor.spawn(runner.run(listener, Rc::new(Recorder(Rc::clone(&inbox)))));
    Rc::new(Node { transport, inbox, address, task: RefCell::new(Some(task)) })
}

async fn start(executor: &LocalExecutor<'_>, node: u64) -> Rc<Node> {
    start_at(executor, "127.0.0.1:0", settings(node, "")).await
}

/// Runs a test with two nodes, 1 and 2.
fn with_two<F: Future<Output = ()>>(
    test: impl FnOnce(Rc<LocalExecutor<'static>>, Rc<Node>, Rc<Node>) -> F,
) {
    let executor = Rc::new(LocalExecutor::new());
    let run = async {
        let (a, b) = (start(&executor, 1).await, start(&executor, 2).await);
        test(Rc::clone(&executor), Rc::clone(&a), Rc::clone(&b)).await;
    };
    let late = async {
        smol::Timer::after(Duration::from_secs(20)).await;
        panic!("the test hangs");
    };
    smol::block_on(executor.run(future::or(run, late)));
}

fn message(term: u64) -> Message {
    Message { term: Term(term), body: MessageBody::TimeoutNow }
}

/// Waits for a condition that other tasks bring about.
async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        smol::Timer::after(Duration::from_millis(1)).await;
    }
}

fn counted(node: &Node, count: fn(&Counters) -> u64) -> impl Fn() -> bool {
    let transport = node.transport.clone();
    move || count(&transport.counters()) > 0
}

fn whole(address: &str) -> &str {
    address
}

/// A hand-made caller that holds the key.
async fn raw(node: &Node, identity: &Identity) -> (TcpStream, handshake::Session) {
    let mut stream = TcpStream::connect(&node.address).await.expect("it listens");
    let met = handshake::call(&mut stream, identity, None, false).await;
    let session = met.expect("it knows the key");
    (stream, session)
}

fn member(node: u64) -> Identity {
    Identity { node: NodeId(node), cluster: Some(CLUSTER), key: key(KEY) }
}

/// Whether the other side closes without sending anything more.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    matches!(stream.read(&mut byte).await, Ok(0) | Err(_))
}

#[test]
fn messages_arrive_in_order_and_calls_are_answered() {
    with_two(|_, a, b| async move {
        let mut network = a.transport.networks(whole).connect(NodeId(2), &b.address);
        for term in 0..100 {
            network.send(message(term)).await.unwrap();
        }
        until(|| b.inbox.raft.borrow().len() == 100).await;
        let expected: Vec<_> = (0..100).map(|term| (NodeId(1), message(term))).collect();
        assert_eq!(*b.inbox.raft.borrow(), expected);
        let reply = a.transport.call(NodeId(2), "", Call::Write(vec![1; 1 << 20])).await.unwrap();
        assert_eq!(reply, Reply::Written { answer: vec![1; 1 << 20], applied: LogIndex(1) });
        assert!(a.transport.is_up(NodeId(2)) && !b.transport.is_up(NodeId(1)));
    });
}

#[test]
fn what_is_told_to_members_arrives_in_order_at_each_of_them() {
    with_two(|executor, a, b| async move {
        let c = start(&executor, 3).await;
        a.transport.set_members([(NodeId(2), &*b.address), (NodeId(3), &*c.address)]);
        let message = |hash| registry::Message::Digest { hashes: vec![hash], urgent: false };
        for hash in 0..100 {
            a.transport.tell(&[NodeId(2), NodeId(3)], &message(hash));
        }
        let expected: Vec<_> = (0..100).map(|hash| (NodeId(1), message(hash), 4)).collect();
        for node in [&b, &c] {
            until(|| node.inbox.distro.borrow().len() == 100).await;
            assert_eq!(*node.inbox.distro.borrow(), expected);
        }
        assert!(future::poll_once(a.transport.untold()).await.is_none());
        assert_eq!(c.transport.counters().distro_frames, 100);
    });
}

#[test]
fn whoever_misses_what_is_told_is_named() {
    with_two(|executor, a, b| async move {
        let message = registry::Message::Digest { hashes: vec![7; 64 << 10], urgent: false };
        let [second, ninth] = [NodeId(2), NodeId(9)];
        // Not a member.
        a.transport.tell(&[ninth], &message);
        assert_eq!(a.transport.untold().await, ninth);
        // Nobody listens there.
        a.transport.set_members([(second, "127.0.0.1:1")]);
        a.transport.tell(&[second], &message);
        assert_eq!(a.transport.untold().await, second);
        a.transport.tell(&[second], &message);
        assert_eq!(a.transport.untold().await, second);
        // More at once than may wait: the first ones arrive, and the rest is known to be missing.
        let (address, inbox) = (b.address.clone(), Rc::clone(&b.inbox));
        a.transport.set_members([(second, &*address)]);
        while b.inbox.distro.borrow().is_empty() {
            a.transport
                .tell(&[second], &registry::Message::Digest { hashes: vec![1], urgent: false });
            smol::Timer::after(Duration::from_millis(5)).await;
        }
        while future::poll_once(a.transport.untold()).await.is_some() {}
        let large = || inbox.distro.borrow().iter().filter(|(_, _, bytes)| *bytes > 9).count();
        let fit = limits::DISTRO_QUEUE_BYTES_MAX / (64 << 10) - 1;
        for _ in 0..=fit {
            a.transport.tell(&[second], &message);
        }
        assert_eq!(a.transport.untold().await, second);
        until(|| large() == fit).await;
        // The room is free again.
        a.transport.tell(&[second], &message);
        until(|| large() == fit + 1).await;
        assert!(future::poll_once(a.transport.untold()).await.is_none());
        // A connection that breaks takes with it what nobody knows.
        b.stop().await;
        assert_eq!(a.transport.untold().await, second);
        let b = start_at(&executor, &address, settings(2, "")).await;
        while b.inbox.distro.borrow().is_empty() {
            a.transport.tell(&[second], &message);
            smol::Timer::after(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn an_answer_finds_a_caller_whose_address_only_the_link_knows() {
    with_two(|_, a, b| async move {
        let mut there = a.transport.networks(whole).connect(NodeId(2), &b.address);
        there.send(message(1)).await.unwrap();
        until(|| b.inbox.raft.borrow().len() == 1).await;
        let mut back = b.transport.networks(whole).connect(NodeId(1), "");
        back.send(message(2)).await.unwrap();
        until(|| a.inbox.raft.borrow().len() == 1).await;
        assert_eq!(b.transport.introduced(NodeId(1)), a.address);
    });
}

#[test]
fn a_chunk_is_acknowledged_and_heartbeats_pass_a_call_that_hangs() {
    with_two(|executor, a, b| async move {
        let hanging = a.transport.clone();
        let address = b.address.clone();
        let hangs =
            executor.spawn(async move { hanging.call(NodeId(2), &address, Call::ReadIndex).await });
        let mut network = a.transport.networks(whole).connect(NodeId(2), &b.address);
        let bytes = vec![3; limits::SNAPSHOT_CHUNK_BYTES_MAX];
        let meta = SnapshotMeta { last: LogId::default(), ..SnapshotMeta::default() };
        let chunk = SnapshotChunk { bytes: bytes.clone(), last: true };
        let held = network.send_chunk(Term(1), &meta, 10, chunk).await;
        assert_eq!(held, Ok(10 + bytes.len() as u64));
        network.send(message(1)).await.unwrap();
        until(|| b.inbox.raft.borrow().len() == 1).await;
        assert!(!hangs.is_finished());
    });
}

#[test]
fn a_caller_without_the_key_or_of_another_cluster_is_refused_and_counted() {
    with_two(|executor, a, b| async move {
        let other = LinkSettings { key: key(6), ..settings(3, "") };
        let thief = start_at(&executor, "127.0.0.1:0", other).await;
        let error = thief.transport.visit(&b.address, Call::Promote).await.unwrap_err();
        assert!(error.to_string().contains("cluster key"), "{error}");
        until(counted(&b, |counters| counters.refused_key)).await;
        let other = LinkSettings { cluster: Some(ClusterId(8)), ..settings(4, "") };
        let foreign = start_at(&executor, "127.0.0.1:0", other).await;
        let called = foreign.transport.call(NodeId(2), &b.address, Call::Promote).await;
        assert_eq!(called, Err(CallError::Unreachable));
        until(counted(&b, |counters| counters.refused_cluster)).await;
        // One that holds another id than the one that was meant.
        let called = a.transport.call(NodeId(9), &b.address, Call::Promote).await;
        assert_eq!(called, Err(CallError::Unreachable));
        assert!(b.inbox.calls.borrow().is_empty(), "nothing was decoded");
    });
}

#[test]
fn another_version_is_refused() {
    with_two(|_, _a, b| async move {
        let mut stream = TcpStream::connect(&b.address).await.unwrap();
        let mut hello = [0; handshake::HELLO_BYTES];
        hello[..6].copy_from_slice(b"NCLT\x01\x02");
        hello[16] = 1;
        stream.write_all(&hello).await.unwrap();
        let mut answer = [0; handshake::HELLO_BYTES];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!((&answer[..4], answer[6]), (b"NCLT".as_slice(), 1), "it says why");
        assert!(is_closed(&mut stream).await);
        until(counted(&b, |counters| counters.refused_version)).await;
    });
}

#[test]
fn a_recorded_handshake_is_worth_nothing() {
    with_two(|_, _a, b| async move {
        // A relay that records what a member sends.
        let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = relay.local_addr().unwrap();
        let member = member(3);
        let caller = async {
            let mut stream = TcpStream::connect(there).await.unwrap();
            handshake::call(&mut stream, &member, None, false).await.unwrap();
        };
        let recorder = async {
            let (mut near, _) = relay.accept().await.unwrap();
            let mut far = TcpStream::connect(&b.address).await.unwrap();
            let (mut hello, mut answer, mut proof) = ([0; 64], [0; 64], [0; 32]);
            near.read_exact(&mut hello).await.unwrap();
            far.write_all(&hello).await.unwrap();
            far.read_exact(&mut answer).await.unwrap();
            near.write_all(&answer).await.unwrap();
            near.read_exact(&mut proof).await.unwrap();
            far.write_all(&proof).await.unwrap();
            let mut theirs = [0; 32];
            far.read_exact(&mut theirs).await.unwrap();
            near.write_all(&theirs).await.unwrap();
            (hello, proof)
        };
        let ((), (hello, proof)) = future::zip(caller, recorder).await;
        let mut stream = TcpStream::connect(&b.address).await.unwrap();
        stream.write_all(&hello).await.unwrap();
        stream.read_exact(&mut [0; 64]).await.unwrap();
        stream.write_all(&proof).await.unwrap();
        assert!(is_closed(&mut stream).await);
        until(counted(&b, |counters| counters.refused_key)).await;
    });
}

#[test]
fn a_repeated_or_huge_frame_ends_the_link_and_nothing_of_it_is_decoded() {
    with_two(|_, _a, b| async move {
        let (mut stream, mut session) = raw(&b, &member(3)).await;
        let mut frame = Vec::new();
        session.sealer.seal(Kind::Raft, &message(1), &mut frame).unwrap();
        stream.write_all(&[frame.as_slice(), &frame].concat()).await.unwrap();
        assert!(is_closed(&mut stream).await);
        assert_eq!(b.inbox.raft.borrow().len(), 1, "the second one is not read");
        let (mut stream, _session) = raw(&b, &member(3)).await;
        stream.write_all(&[0, 0, 0, 64, 1, 1]).await.unwrap();
        assert!(is_closed(&mut stream).await);
        assert_eq!(b.transport.counters().broken_frames, 2);
    });
}

#[test]
fn a_frame_of_a_later_version_is_skipped() {
    with_two(|_, _a, b| async move {
        let (mut stream, mut session) = raw(&b, &member(3)).await;
        let mut frames = Vec::new();
        session.sealer.seal(Kind::Reply, &(1_u64, Reply::Done), &mut frames).unwrap();
        session.sealer.seal(Kind::Raft, &message(1), &mut frames).unwrap();
        stream.write_all(&frames).await.unwrap();
        until(|| b.inbox.raft.borrow().len() == 1).await;
        assert_eq!(b.transport.counters().ignored_frames, 1);
    });
}

#[test]
fn a_guest_may_join_and_nothing_else() {
    with_two(|executor, _a, b| async move {
        let guest = LinkSettings { cluster: None, ..settings(3, "") };
        let guest = start_at(&executor, "127.0.0.1:0", guest).await;
        let join = Call::Join { address: guest.address.clone(), learner: false };
        let answer = guest.transport.visit(&b.address, join.clone()).await.unwrap();
        assert_eq!(answer, (NodeId(2), Reply::Joined(CLUSTER)));
        assert_eq!(*b.inbox.calls.borrow(), [(NodeId(3), true, join)]);
        let (_, refused) = guest.transport.visit(&b.address, Call::Promote).await.unwrap();
        assert!(matches!(refused, Reply::Refused(_)));
        let mut network = guest.transport.networks(whole).connect(NodeId(2), &b.address);
        network.send(message(1)).await.unwrap();
        until(counted(&b, |counters| counters.ignored_frames)).await;
        guest.transport.set_members([(NodeId(2), &*b.address)]);
        guest
            .transport
            .tell(&[NodeId(2)], &registry::Message::Digest { hashes: vec![1], urgent: false });
        until(|| b.transport.counters().ignored_frames == 2).await;
        assert!(b.inbox.raft.borrow().is_empty());
        assert!(b.inbox.distro.borrow().is_empty());
        assert_eq!(b.inbox.calls.borrow().len(), 1);
    });
}

#[test]
fn a_peer_that_comes_back_is_found_again() {
    with_two(|executor, a, b| async move {
        let address = b.address.clone();
        let mut network = a.transport.networks(whole).connect(NodeId(2), &address);
        network.send(message(1)).await.unwrap();
        until(|| a.transport.is_up(NodeId(2))).await;
        b.stop().await;
        until(|| !a.transport.is_up(NodeId(2))).await;
        let mut unreachable = false;
        for term in 0..200 {
            unreachable |= network.send(message(term)).await.is_err();
            smol::Timer::after(Duration::from_millis(1)).await;
        }
        assert!(unreachable, "the sender is told");
        let called = a.transport.call(NodeId(2), "", Call::Promote).await;
        assert_eq!(called, Err(CallError::Unreachable));
        let b = start_at(&executor, &address, settings(2, "")).await;
        while b.inbox.raft.borrow().is_empty() {
            let _ = network.send(message(7)).await;
            smol::Timer::after(Duration::from_millis(1)).await;
        }
        // And under another address, told by the membership.
        b.stop().await;
        let moved = start_at(&executor, "127.0.0.1:0", settings(2, "")).await;
        let mut network = a.transport.networks(whole).connect(NodeId(2), &moved.address);
        while moved.inbox.raft.borrow().is_empty() {
            let _ = network.send(message(8)).await;
            smol::Timer::after(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn a_peer_that_takes_nothing_is_given_up_and_costs_a_bounded_queue() {
    with_two(|_, a, _b| async move {
        // It proves who it is and then never reads again.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let lazy = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            handshake::answer(&mut stream, &member(3)).await.unwrap();
            future::pending::<()>().await;
        };
        let sender = async {
            let mut sent = 0;
            let mut network = a.transport.networks(whole).connect(NodeId(3), &address);
            until_down(&a, &address, &mut network, &mut sent).await;
            assert!(sent < 2_000, "{sent} messages of 1 MiB were taken in");
        };
        future::or(sender, lazy).await;
    });
}

async fn until_down(
    a: &Node,
    address: &str,
    network: &mut nacolet_transport::PeerNetwork,
    sent: &mut usize,
) {
    let call = || a.transport.call(NodeId(3), address, Call::Write(vec![0; 1 << 20]));
    let _ = network.send(message(1)).await;
    until(|| a.transport.is_up(NodeId(3))).await;
    let mut calls = futures_util::stream::FuturesUnordered::new();
    while a.transport.is_up(NodeId(3)) {
        if calls.len() < 64 {
            *sent += 1;
            calls.push(call());
        }
        let poll = futures_util::FutureExt::now_or_never(futures_util::StreamExt::next(&mut calls));
        drop(poll);
        smol::Timer::after(Duration::from_millis(1)).await;
    }
    while let Some(result) = futures_util::StreamExt::next(&mut calls).await {
        assert!(result.is_err());
    }
}

#[test]
fn connections_are_capped_and_a_newer_one_replaces_the_older_of_its_node() {
    with_two(|_, _a, b| async move {
        let mut silent = Vec::new();
        for _ in 0..limits::PEER_HANDSHAKES_MAX {
            silent.push(TcpStream::connect(&b.address).await.unwrap());
        }
        smol::Timer::after(Duration::from_millis(20)).await;
        silent.push(TcpStream::connect(&b.address).await.unwrap());
        assert!(is_closed(&mut silent.remove(0)).await, "the oldest one goes");
        assert_eq!(b.transport.counters().refused_full, 1);
        let others = async { is_closed(&mut silent[0]).await };
        assert!(future::poll_once(others).await.is_none(), "and nobody else");
        // The silent ones are closed in time, and make room.
        for mut stream in silent {
            assert!(is_closed(&mut stream).await);
        }
        let (mut older, _session) = raw(&b, &member(3)).await;
        let (newer, _newer_session) = raw(&b, &member(3)).await;
        assert!(is_closed(&mut older).await);
        let mut open = vec![newer];
        for node in 0..limits::PEER_CONNECTIONS_MAX as u64 - 1 {
            open.push(raw(&b, &member(10 + node)).await.0);
        }
        let (mut beyond, _beyond_session) = raw(&b, &member(99)).await;
        assert!(is_closed(&mut beyond).await);
        assert_eq!(b.transport.counters().refused_full, 2);
    });
}

#[test]
fn random_bytes_from_a_stranger_are_refused() {
    with_two(|_, _a, b| async move {
        let mut prng = nacolet_model::Prng::new(4);
        for round in 0..50 {
            let mut stream = TcpStream::connect(&b.address).await.unwrap();
            let bytes: Vec<u8> = (0..128).map(|_| prng.next_u64().to_le_bytes()[0]).collect();
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            assert!(rest.is_empty(), "round {round}: strangers get no word");
        }
        assert_eq!(b.transport.counters().refused_other, 50);
    });
}
