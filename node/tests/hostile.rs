//! A member that has the key of the cluster and lies to a real process: what it asks for is looked
//! at like what a client asks for, and what it says of Raft is not believed.

#[expect(dead_code, reason = "each test binary uses its part")]
mod support;

use nacolet_model::{Group, Namespace, NodeId, ServiceKey, ServiceName};
use nacolet_raft::{
    LogId, LogIndex, Membership, MembershipChange, Message, MessageBody, SnapshotChunk,
    SnapshotMeta, Term,
};
use nacolet_registry::{Command, InstanceSpec, Register};
use nacolet_transport::handshake::{self, Identity};
use nacolet_transport::message::Kind;
use nacolet_transport::{
    Call, Chunk, ClusterId, ClusterKey, LinkSettings, Patience, Reply, Transport,
};
use smol::io::AsyncWriteExt;
use smol::net::TcpStream;
use support::site::{Member, Site};

const LIAR: NodeId = NodeId(99);

/// One that has the key and was taken in.
struct Liar {
    to: String,
    cluster: ClusterId,
}

fn key() -> ClusterKey {
    ClusterKey::new(&[7; 32]).expect("long enough")
}

fn visit(to: &str, cluster: Option<ClusterId>, call: Call) -> Reply {
    let address = "127.0.0.1:1".to_owned();
    let patience = Patience::default();
    let settings = LinkSettings { node: LIAR, key: key(), cluster, address, seed: 1, patience };
    let (transport, _links) = Transport::new(settings);
    let answered = smol::block_on(transport.visit(to, call));
    answered.expect("it is taken for a member").1
}

impl Liar {
    fn join(member: &Member) -> Self {
        let to = format!("127.0.0.1:{}", member.peer);
        let join = Call::Join { address: "127.0.0.1:1/2".to_owned(), learner: true };
        let Reply::Joined(cluster) = visit(&to, None, join) else { panic!("it is not taken in") };
        Self { to, cluster }
    }

    fn ask(&self, call: Call) -> Reply {
        visit(&self.to, Some(self.cluster), call)
    }

    /// Says this of Raft.
    fn say(&self, messages: &[Message]) {
        smol::block_on(async {
            let mut stream = TcpStream::connect(&self.to).await.expect("it listens");
            let me = Identity { node: LIAR, cluster: Some(self.cluster), key: key() };
            let met = handshake::call(&mut stream, &me, None, false).await;
            let mut session = met.expect("it knows the key");
            let mut out = Vec::new();
            for message in messages {
                session.sealer.seal(Kind::Raft, message, &mut out).expect("it fits");
            }
            stream.write_all(&out).await.expect("it listens");
            // What was sent is read before the connection ends.
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut rest = Vec::new();
            let _ = smol::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await;
        });
    }
}

/// A command of the registry, as a member forwards it.
fn forwarded(command: &Command) -> Call {
    let registry = vec![1];
    Call::Write(postcard::to_extend(command, registry).expect("it encodes"))
}

fn register(ip: &str) -> Command {
    let service = ServiceKey {
        namespace: Namespace::public(),
        group: Group::new(Group::DEFAULT).expect("valid"),
        name: ServiceName::new("s").expect("valid"),
    };
    let instance = InstanceSpec { ephemeral: false, ..InstanceSpec::new(ip, 80) };
    Command::Register(Box::new(Register { service, instance }))
}

#[test]
fn a_forwarded_write_that_no_client_may_ask_for_is_refused_before_the_log() {
    let site = Site::new("forwarded");
    let a = site.start("a", &[]);
    assert_eq!(a.publish("k", "one"), 200);
    let liar = Liar::join(&a);
    let answer = |call| {
        let reply = liar.ask(call);
        let Reply::Written { answer, .. } = reply else { panic!("{reply:?}") };
        answer
    };
    let index = || a.status()["applied_index"].as_u64().expect("a number");
    let before = index();
    // Rejected, by the registry.
    assert_eq!(answer(forwarded(&register("10. .0.1")))[..2], [1, 1]);
    assert_eq!(index(), before, "nothing came into the log");
    assert_eq!(answer(forwarded(&register("10.0.0.1")))[0], 0);
    assert!(index() > before);
    let blank = MembershipChange::AddLearner { node: NodeId(5), address: "1 2:3".to_owned() };
    assert!(matches!(liar.ask(Call::Change(blank)), Reply::Refused(_)));
    // The next start loads what was saved.
    assert!(a.ok(&["snapshot"]).starts_with("saved"));
    let peer = a.peer;
    a.kill();
    let a = site.start_at("a", peer, &[]);
    assert_eq!(a.read("k"), "one");
    let list = "/nacos/v1/ns/instance/list?serviceName=s";
    assert!(a.http().get(list).1.contains("10.0.0.1"));
}

#[test]
fn what_a_liar_says_of_terms_and_snapshots_moves_nobody() {
    let site = Site::new("liar");
    let a = site.start("a", &[]);
    let liar = Liar::join(&a);
    assert_eq!(a.publish("k", "one"), 200);
    let term = || a.status()["term"].as_u64().expect("a number");
    let before = term();
    let last = LogId { term: Term(1), index: LogIndex(u64::MAX) };
    let bodies = [
        MessageBody::HeartbeatReply { read: 0 },
        MessageBody::Heartbeat { commit_index: LogIndex(u64::MAX), read: 0 },
        MessageBody::RequestVote { last, transfer: true },
        MessageBody::AppendEntries {
            previous: last,
            entries: Vec::new(),
            commit_index: LogIndex(0),
        },
    ];
    for term in [u64::MAX, (1 << 63) - 1, (1 << 62) - 1, 1 << 40] {
        let of = |body: &MessageBody| Message { term: Term(term), body: body.clone() };
        liar.say(&bodies.iter().map(of).collect::<Vec<_>>());
        let membership = Membership { voters: [LIAR].into(), ..Membership::default() };
        let meta = SnapshotMeta { last, membership, id: 1 };
        let chunk = SnapshotChunk { bytes: vec![1], last: true };
        let chunk = Chunk { term: Term(term), meta, offset: 0, chunk };
        assert_eq!(liar.ask(Call::Chunk(Box::new(chunk))), Reply::Busy);
    }
    assert_eq!(a.publish("k", "two"), 200);
    assert_eq!(term(), before);
    let peer = a.peer;
    a.kill();
    let a = site.start_at("a", peer, &[]);
    assert_eq!(a.read("k"), "two");
    assert_eq!(a.publish("k", "three"), 200);
}
