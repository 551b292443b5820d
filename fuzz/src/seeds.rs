//! Inputs to begin with, where bytes at random would take long: messages, states and bodies as they
//! really are. What a fuzzer makes of them is in `corpus`.

use std::io::{Cursor, Write as _};

use nacolet_auth::Users;
use nacolet_config::Store;
use nacolet_lock::Locks;
use nacolet_model::{NodeId, Prng};
use nacolet_raft::engine::AppendResult;
use nacolet_raft::{
    Entry, EntryPayload, LogId, LogIndex, Membership, MembershipChange, Message, MessageBody,
    SnapshotChunk, SnapshotMeta, Term,
};
use nacolet_registry::Registry;
use nacolet_transport::{Call, Chunk, Reply, StateDigest};
use serde::Serialize;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::replica::{Replica, encode, joined};
use crate::source::Source;

/// Inputs for the target of this name.
#[must_use]
pub fn of(name: &str) -> Vec<Vec<u8>> {
    match name {
        "messages" => messages(),
        "config_load" => states::<Store>(),
        "registry_load" => states::<Registry>(),
        "lock_load" => states::<Locks>(),
        "auth_load" => states::<Users>(),
        "snapshot" => snapshots(),
        "multipart" => vec![multipart()],
        "archive" => bomb().into_iter().collect(),
        "archive_metadata" => metadata(),
        "metadata" => vec![
            br#"{"zone":"a","n":7,"on":true,"none":null,"x":1.5e3}"#.to_vec(),
            b"zone=a,preserved.heart.beat.interval=1000".to_vec(),
        ],
        "heads" => heads(),
        "parameters" => {
            vec![b"\x20dataId=a&group=g&tenant=%E4%B8%ADcontent=x+y%20z&dataId=b&%zz=".to_vec()]
        }
        "identifiers" => vec![
            b"dataId=d&group=g&groupName=g&tenant=a&namespaceId=b&serviceName=g%40%40s".to_vec(),
            b"dataId=d&dataId=e&group=g&group=g&serviceName=s&namespaceId=".to_vec(),
        ],
        "listening" => {
            vec![b"d\x02g\x025eb63bbbe01eeed093cb22bb8f5acdc3\x02t\x01e%02g%02%01".to_vec()]
        }
        "grpc_messages" => vec![b"\x04\0\0\0\0\x0c\x12\x03\x1a\x01A\x1a\x05\x12\x03{ }".to_vec()],
        "grpc_json" => grpc_json(),
        _ => stories(),
    }
}

/// Requests of all kinds of bodies, one behind the other, and some that are refused.
fn heads() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 5] = [
        b"\x00GET /nacos/v1/cs/configs?dataId=d&group=g HTTP/1.1\r\nHost: x\r\n\r\n\
            HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"\x00POST /nacos/v1/cs/configs?dataId=d HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\
            Content-Type: application/x-www-form-urlencoded\r\n\r\ngroup=gGET / HTTP/1.1\n\n",
        b"\x03\x20PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
            3;x=y\r\nabc\r\n0\r\nTrailer: t\r\n\r\n",
        b"\x00POST http://h/ HTTP/1.1\nhost:x\nhost:y\nExpect: 100-continue\ncontent-length:1\n\nz",
        b"\x01POST / HTTP/1.1\nhost:x\ncontent-length:9999999\n\nz",
    ];
    texts.map(<[u8]>::to_vec).to_vec()
}

/// A request of each type, and an array in place of one.
fn grpc_json() -> Vec<Vec<u8>> {
    const CONFIG: &str = r#"{"requestId":"1","dataId":"d","group":"g","tenant":"a","content":"x",
        "casMd5":"","tag":null,"additionMap":{"type":"text","betaIps":""},"listen":true,
        "configListenContexts":[{"dataId":"d","group":"g","tenant":"a","md5":""}]}"#;
    const SERVICE: &str = r#"{"requestId":"1","namespace":"a","serviceName":"s","groupName":"g",
        "type":"registerInstance","instance":{"ip":"1.1.1.1","port":80,"metadata":{"k":1}},
        "instances":[{"ip":"1.1.1.1","port":80}],"subscribe":true,"clusters":"","pageNo":1,
        "pageSize":10,"healthyOnly":false,"cluster":""}"#;
    const LOCK: &str = r#"{"lockInstance":{"key":"k","expiredTime":1,"lockType":"NACOS_LOCK"},
        "lockOperationEnum":"ACQUIRE"}"#;
    const WATCH: &str = r#"{"groupKeyPattern":"a>>*>>*","receivedGroupKeys":["d+g+a"],
        "watchType":"WATCH","initializing":true}"#;
    let texts = (0..14_u8).map(|kind| match kind {
        0..=4 => (kind, CONFIG),
        5..=10 => (kind, SERVICE),
        11 => (kind, LOCK),
        _ => (kind, WATCH),
    });
    let array = [(1, r#"[null,"d","g","a"]"#)];
    texts.chain(array).map(|(kind, text)| [&[kind], text.as_bytes()].concat()).collect()
}

/// Bytes at random are stories already.
fn stories() -> Vec<Vec<u8>> {
    let mut prng = Prng::new(1);
    let story = |length: usize| {
        let bytes = (0..length).map(|_| prng.next_u64().to_le_bytes()[0]);
        bytes.collect()
    };
    [40, 200, 800].into_iter().map(story).collect()
}

fn last() -> LogId {
    LogId { term: Term(3), index: LogIndex(200) }
}

fn membership() -> Membership {
    let voters = [1, 2, 3].map(|node| (NodeId(node), format!("10.0.0.{node}:7848")));
    Membership::of_voters(voters)
}

fn messages() -> Vec<Vec<u8>> {
    fn kind(kind: u8, value: &impl Serialize) -> Vec<u8> {
        [&[kind], encode(value).as_slice()].concat()
    }
    let entries = vec![
        Entry { id: last(), payload: EntryPayload::Blank },
        Entry { id: last(), payload: EntryPayload::Command([7; 40].as_slice().into()) },
        Entry { id: last(), payload: EntryPayload::Membership(Box::new(membership())) },
    ];
    let commit_index = LogIndex(7);
    let append =
        MessageBody::AppendEntries { previous: last(), entries: entries.clone(), commit_index };
    let conflict = AppendResult::Conflict { rejected: LogIndex(9), hint: last() };
    let bodies = [
        append,
        MessageBody::RequestVote { last: last(), transfer: true },
        MessageBody::AppendEntriesReply { result: conflict },
        MessageBody::Heartbeat { commit_index, read: 300 },
    ];
    let raft = bodies.into_iter().map(|body| kind(0, &Message { term: Term(5), body }));
    let meta = SnapshotMeta { last: last(), membership: membership(), id: 300 };
    let chunk = SnapshotChunk { bytes: vec![1; 60], last: true };
    let chunk = Chunk { term: Term(3), meta: meta.clone(), offset: 300, chunk };
    let change = MembershipChange::AddLearner { node: NodeId(4), address: "10.0.0.4:7848".into() };
    let calls = [
        Call::Chunk(Box::new(chunk)),
        Call::Write(vec![1, 2, 200]),
        Call::Join { address: "10.0.0.4:7848".into(), learner: true },
        Call::Change(change),
    ];
    let calls = calls.into_iter().map(|call| kind(1, &(300_u64, call)));
    let digest = StateDigest { configs: 300, services: 1, locks: 2, users: 3 };
    let replies = [
        Reply::Written { answer: vec![9, 200], applied: LogIndex(4) },
        Reply::NotLeader { leader: Some((NodeId(1), "10.0.0.1:7848".into())) },
        Reply::StateDigest(Some(digest)),
    ];
    let replies = replies.into_iter().map(|reply| kind(2, &(300_u64, reply)));
    let others = [kind(5, &meta), kind(7, &entries), kind(4, &"10.0.0.1:7848")];
    raft.chain(calls).chain(replies).chain(others).collect()
}

/// What some commands of the doors make.
fn states<R: Replica>() -> Vec<Vec<u8>> {
    let chunks = (0..4).map(|seed| state::<R>(seed, 60).capture());
    chunks.map(|chunks| joined(&chunks)).filter(|chunks| !chunks.is_empty()).collect()
}

fn state<R: Replica>(seed: u64, commands: u64) -> R {
    let (mut state, mut prng) = (R::empty(), Prng::new(seed));
    for index in 1..=commands {
        let bytes: Vec<u8> = (0..80).map(|_| prng.next_u64().to_le_bytes()[0]).collect();
        if let Some(command) = state.made(&mut Source::new(&bytes)) {
            state.apply(index, command);
        }
    }
    state
}

fn snapshots() -> Vec<Vec<u8>> {
    let section = |tag: u8, chunks: Vec<Vec<u8>>| -> Vec<u8> {
        // No meta, no bent byte, and one block that is all the rest.
        [[1, 0, 0, tag].as_slice(), &chunks.concat()].concat()
    };
    vec![
        section(0, Replica::capture(&state::<Store>(1, 30))),
        section(1, Replica::capture(&state::<Registry>(1, 30))),
        section(2, Replica::capture(&state::<Locks>(1, 30))),
        section(3, Replica::capture(&state::<Users>(1, 30))),
    ]
}

/// A small archive that would unpack to a thousand times its size.
fn bomb() -> Option<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    archive.start_file("g/d", SimpleFileOptions::default()).ok()?;
    archive.write_all(&vec![b'a'; 32 << 20]).ok()?;
    Some([&[0], archive.finish().ok()?.into_inner().as_slice()].concat())
}

fn multipart() -> Vec<u8> {
    let body =
        b"\x02--xx\r\nContent-Disposition: form-data; name=\"policy\"\r\n\r\nSKIP\r\n--xx\r\n\
        content-disposition: form-data; name=\"file\"; filename=\"a.zip\"\r\n\
        Content-Type: application/zip\r\n\r\nP\r\nK--x\r\n--xx--\r\n";
    body.to_vec()
}

fn metadata() -> Vec<Vec<u8>> {
    let folded = "metadata:\n- appName: ''\n  dataId: app.yml\n  desc: it's long and\n    folded here\n  \
        group: DEFAULT_GROUP\n  type: yaml\n- dataId: 'two'\n  group: g\n  type: text\n  configTags: a,b\n  \
        desc: \"tab\\tand \\u4E2D\\\n    \\ more\"\n";
    vec![folded.into(), b"g.app~yml.app=shop\r\n".to_vec()]
}
