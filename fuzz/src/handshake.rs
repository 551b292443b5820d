//! Who is there: whatever somebody says who holds the key or does not, a session begins exactly
//! when the rules say so. The other side is written anew here from the description in
//! `handshake.rs` of the transport, so both are held to the wire format.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_lite::future::block_on;
use futures_lite::io::{AsyncRead, AsyncWrite};
use hmac::{Hmac, Mac};
use nacolet_model::NodeId;
use nacolet_transport::handshake::{self, HELLO_BYTES, Identity, PROTOCOL_VERSION, Session};
use nacolet_transport::{ClusterId, ClusterKey};
use sha2::Sha256;

use crate::source::Source;

pub(crate) type Hmac256 = Hmac<Sha256>;

pub(crate) const KEY: [u8; 32] = [7; 32];
const ME: u64 = 2;
const CLUSTER: u64 = 9;

/// The HMAC of these parts.
pub(crate) fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let Ok(mut mac) = Hmac256::new_from_slice(key) else { return [0; 32] };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// What stands in a hello or an answer.
#[derive(Clone, Copy, Debug)]
struct Hello {
    magic: [u8; 4],
    side: u8,
    version: u8,
    verdict: u8,
    visit: u8,
    cluster: u64,
    from: u64,
    to: u64,
    nonce: u8,
}

impl Hello {
    const fn good(side: u8) -> Self {
        let (magic, version, nonce) = (*b"NCLT", PROTOCOL_VERSION, 5);
        Self {
            magic,
            side,
            version,
            verdict: 0,
            visit: 0,
            cluster: CLUSTER,
            from: 1,
            to: ME,
            nonce,
        }
    }

    /// A good one, or one with a few fields of the story.
    fn told(side: u8, source: &mut Source<'_>) -> Self {
        let mut hello = Self::good(side);
        let changed = source.byte();
        for bit in (0..8).filter(|bit| changed >> bit & 1 == 1) {
            match bit {
                0 => hello.magic[usize::from(source.choice(4))] ^= source.byte(),
                1 => hello.side = source.byte(),
                2 => hello.version = source.byte(),
                3 => hello.verdict = source.byte(),
                4 => hello.visit = source.byte(),
                5 => hello.cluster = source.number(),
                6 => hello.from = source.number(),
                _ => hello.to = source.number(),
            }
        }
        hello.nonce = source.byte();
        hello
    }

    fn to_bytes(self) -> [u8; HELLO_BYTES] {
        let mut bytes = [self.nonce; HELLO_BYTES];
        bytes[..4].copy_from_slice(&self.magic);
        bytes[4..8].copy_from_slice(&[self.side, self.version, self.verdict, self.visit]);
        bytes[8..16].copy_from_slice(&self.cluster.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.from.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.to.to_le_bytes());
        bytes
    }

    /// Whether a member with this identity goes on.
    fn is_taken(&self, side: u8, mine: Option<u64>, is_meant: bool) -> bool {
        let is_mine = mine.is_none_or(|mine| self.cluster == 0 || self.cluster == mine);
        self.magic == *b"NCLT"
            && self.side == side
            && self.version == PROTOCOL_VERSION
            && is_mine
            && self.from != ME
            && is_meant
    }
}

/// One end of a connection: the other end says the next piece when all it said before is read.
struct Wire<F> {
    said: Vec<u8>,
    read: usize,
    heard: Vec<u8>,
    /// Given what it heard so far.
    say: F,
    /// At most so many bytes are taken at once.
    step: usize,
}

impl<F: FnMut(&[u8]) -> Vec<u8> + Unpin> AsyncRead for Wire<F> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        space: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let wire = &mut *self;
        if wire.read == wire.said.len() {
            wire.said = (wire.say)(&wire.heard);
            wire.read = 0;
        }
        let taken = space.len().min(wire.said.len() - wire.read).min(wire.step);
        space[..taken].copy_from_slice(&wire.said[wire.read..wire.read + taken]);
        wire.read += taken;
        Poll::Ready(Ok(taken))
    }
}

impl<F: Unpin> AsyncWrite for Wire<F> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.heard.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn identity(cluster: Option<u64>) -> Option<Identity> {
    let key = ClusterKey::new(&KEY).ok()?;
    Some(Identity { node: NodeId(ME), cluster: cluster.map(ClusterId), key })
}

/// How the other side proves that it holds the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    Right,
    /// With one bit flipped.
    Bent(u8),
    /// Of another key.
    Other,
    /// What this side would send.
    Mirrored,
    /// It closes.
    None,
}

impl Proof {
    fn told(source: &mut Source<'_>) -> Self {
        match source.choice(6) {
            0 | 1 => Self::Right,
            2 => Self::Bent(source.byte()),
            3 => Self::Other,
            4 => Self::Mirrored,
            _ => Self::None,
        }
    }

    fn bytes(self, mine: &[u8], theirs: &[u8], hellos: [&[u8]; 2]) -> Vec<u8> {
        let [hello, answer] = hellos;
        let right = mac(&KEY, &[mine, hello, answer]);
        match self {
            Self::Right => right.to_vec(),
            Self::Bent(bit) => {
                let mut bent = right.to_vec();
                bent[usize::from(bit / 8)] ^= 1 << (bit % 8);
                bent
            }
            Self::Other => mac(&[8; 32], &[mine, hello, answer]).to_vec(),
            Self::Mirrored => mac(&KEY, &[theirs, hello, answer]).to_vec(),
            Self::None => Vec::new(),
        }
    }
}

const CALLER: &[u8] = b"nacolet caller proof";
const CALLED: &[u8] = b"nacolet called proof";

pub(crate) fn run(data: &[u8]) {
    let mut source = Source::new(data);
    let mine = source.flag().then_some(CLUSTER);
    let Some(me) = identity(mine) else { return };
    if source.flag() {
        is_called(&me, mine, &mut source);
    } else {
        calls(&me, mine, &mut source);
    }
}

/// Somebody calls.
fn is_called(me: &Identity, mine: Option<u64>, source: &mut Source<'_>) {
    let hello = Hello::told(1, source);
    let proof = Proof::told(source);
    let step = 1 + usize::from(source.byte());
    let bytes = hello.to_bytes();
    let said = if source.choice(8) == 7 { source.all() } else { bytes.as_slice() };
    let said = said.to_vec();
    let is_whole = said == bytes;
    let say = |heard: &[u8]| match heard.get(..HELLO_BYTES) {
        Some(answer) => proof.bytes(CALLER, CALLED, [&bytes, answer]),
        None => Vec::new(),
    };
    let mut wire = Wire { said, read: 0, heard: Vec::new(), say, step };
    let session = block_on(handshake::answer(&mut wire, me));
    let is_meant = hello.to == 0 || hello.to == ME;
    if !is_whole {
        // Bytes that are no hello of this story's making; they may be one by chance, without the
        // key.
        assert!(session.is_err() || wire.heard.len() > HELLO_BYTES);
        return;
    }
    let is_expected = hello.is_taken(1, mine, is_meant) && proof == Proof::Right;
    assert_eq!(session.is_ok(), is_expected, "{hello:?} {proof:?}");
    if let Ok(session) = session {
        assert_session(&session, &hello);
        assert_eq!(session.visit, hello.visit == 1);
        let (answer, theirs) = wire.heard.split_at(HELLO_BYTES);
        assert_eq!(theirs, mac(&KEY, &[CALLED, &bytes, answer]), "and proves the key in turn");
    } else {
        assert!(wire.heard.len() <= HELLO_BYTES, "a stranger gets no proof");
    }
}

/// Calls somebody.
fn calls(me: &Identity, mine: Option<u64>, source: &mut Source<'_>) {
    let answer = Hello::told(2, source);
    let proof = Proof::told(source);
    let target = source.flag().then_some(NodeId(1));
    let (step, visit) = (1 + usize::from(source.byte()), source.flag());
    let bytes = answer.to_bytes();
    let mut is_first = true;
    let say = move |heard: &[u8]| {
        if std::mem::take(&mut is_first) {
            return bytes.to_vec();
        }
        match heard.get(..HELLO_BYTES) {
            Some(hello) => proof.bytes(CALLED, CALLER, [hello, &bytes]),
            None => Vec::new(),
        }
    };
    let mut wire = Wire { said: Vec::new(), read: 0, heard: Vec::new(), say, step };
    let session = block_on(handshake::call(&mut wire, me, target, visit));
    let is_meant = target.is_none_or(|target| target.0 == answer.from);
    let is_taken = answer.is_taken(2, mine, is_meant) && answer.verdict == 0;
    assert_eq!(session.is_ok(), is_taken && proof == Proof::Right, "{answer:?} {proof:?}");
    assert_eq!(wire.heard.len() > HELLO_BYTES, is_taken, "only who may be it hears a proof");
    if let Ok(session) = session {
        assert_session(&session, &answer);
    }
}

fn assert_session(session: &Session, hello: &Hello) {
    assert_eq!(session.node, NodeId(hello.from));
    let cluster = (hello.cluster != 0).then_some(ClusterId(hello.cluster));
    assert_eq!(session.cluster, cluster);
}

/// A session of somebody who was called, and the keys of the frames: what the caller sends, and
/// what the called one sends.
pub(crate) fn meet() -> Option<(Session, [u8; 32], [u8; 32])> {
    let me = identity(Some(CLUSTER))?;
    let hello = Hello::good(1).to_bytes();
    let say = |heard: &[u8]| match heard.get(..HELLO_BYTES) {
        Some(answer) => Proof::Right.bytes(CALLER, CALLED, [&hello, answer]),
        None => Vec::new(),
    };
    let mut wire = Wire { said: hello.to_vec(), read: 0, heard: Vec::new(), say, step: 1_024 };
    let session = block_on(handshake::answer(&mut wire, &me)).ok()?;
    let key = |label: &[u8]| mac(&KEY, &[label, &hello, &wire.heard[..HELLO_BYTES]]);
    Some((session, key(b"nacolet caller frames"), key(b"nacolet called frames")))
}
