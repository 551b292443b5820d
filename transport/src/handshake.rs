//! Who speaks, proved with the cluster key before anything is decoded. Both sides draw a fresh
//! nonce and prove the key over both hellos, so that a recorded handshake is worth nothing; the
//! keys of the frames are made from the same transcript. The one who calls proves first: a stranger
//! learns no more than the ids in the answer.
//!
//! ```text
//!  caller                                 called
//!    │ ── hello: cluster, ids, nonce (64 B) ──► │   other version, cluster or target: refused here
//!    │ ◄── answer: verdict, ids, nonce (64 B) ─ │
//!    │ ── proof (32 B) ───────────────────────► │   wrong key: closed without a word
//!    │ ◄─────────────────────── proof (32 B) ── │
//!    │ ═══ frames, one key per direction ═════  │
//! ```

use std::fmt;
use std::io;

use hmac::Mac;
use nacolet_model::{NodeId, limits};
use smol::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::frame::{HmacSha256, Opener, Sealer};
use crate::message::ClusterId;

/// Version of what is said behind the handshake: messages, calls and how they are meant.
pub const PROTOCOL_VERSION: u8 = 1;
const MAGIC: [u8; 4] = *b"NCLT";
/// Bytes of a hello and of an answer.
pub const HELLO_BYTES: usize = limits::PEER_HELLO_BYTES_MAX;
const PROOF_BYTES: usize = 32;
const NONCE_BYTES: usize = 32;

/// The secret that all members of a cluster share.
#[derive(Clone)]
pub struct ClusterKey(HmacSha256);

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey")
    }
}

/// The key is shorter than [`ClusterKey::BYTES_MIN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cluster key has at least {} bytes, this one has {bytes}", ClusterKey::BYTES_MIN)]
pub struct KeyTooShort {
    /// What it has.
    pub bytes: usize,
}

impl ClusterKey {
    /// Shortest key, bytes (docs/reliability.md, "Must have": M3).
    pub const BYTES_MIN: usize = 32;

    /// A key of these bytes, which should come from a source of random numbers.
    ///
    /// # Errors
    /// They are too few.
    pub fn new(bytes: &[u8]) -> Result<Self, KeyTooShort> {
        let short = KeyTooShort { bytes: bytes.len() };
        if bytes.len() < Self::BYTES_MIN {
            return Err(short);
        }
        // HMAC takes keys of any length.
        HmacSha256::new_from_slice(bytes).map(Self).ok().ok_or(short)
    }

    /// Another key made of this one, for those who administer and are no members.
    #[must_use]
    pub fn of_operators(&self) -> [u8; 32] {
        self.over("nacolet operators", &[], &[]).finalize().into_bytes().into()
    }

    fn over(&self, label: &str, hello: &[u8], answer: &[u8]) -> HmacSha256 {
        let mut mac = self.0.clone();
        mac.update(label.as_bytes());
        mac.update(hello);
        mac.update(answer);
        mac
    }
}

/// One side of a handshake.
#[derive(Clone, Debug)]
pub struct Identity {
    /// This node.
    pub node: NodeId,
    /// Its cluster; a node that has none yet calls as a guest, and is called by any.
    pub cluster: Option<ClusterId>,
    /// What it proves.
    pub key: ClusterKey,
}

/// Why the one who was called refuses before any proof. A wire format: append, never reorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// It speaks another version of the protocol.
    #[error("it speaks another version of the protocol")]
    Version,
    /// It belongs to another cluster.
    #[error(
        "it belongs to another cluster; a node joins that one with an empty data directory only"
    )]
    Cluster,
    /// Another node than the one that was meant listens there.
    #[error("another node is meant than the one that listens there")]
    Target,
    /// The caller has the id of the one who was called.
    #[error("it has the same node id")]
    SameId,
}

impl Refusal {
    const fn of(verdict: u8) -> Option<Self> {
        match verdict {
            1 => Some(Self::Version),
            2 => Some(Self::Cluster),
            3 => Some(Self::Target),
            4 => Some(Self::SameId),
            _ => None,
        }
    }
}

/// Why a link does not come about.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// This side refused the other one.
    #[error("the peer was refused: {0}")]
    Refused(Refusal),
    /// The other side refused this one.
    #[error("the peer refuses: {0}")]
    RefusedBy(Refusal),
    /// Whoever is there does not speak this protocol.
    #[error("that is not a member of any cluster")]
    Stranger,
    /// An HTTP server is there.
    #[error(
        "that is an HTTP port; members are named by their peer ports, 1000 below HTTP if nothing \
         else was said"
    )]
    Http,
    /// A gRPC server is there.
    #[error(
        "that is a gRPC port; members are named by their peer ports, 2000 below gRPC if nothing \
         else was said"
    )]
    Grpc,
    /// The other side does not hold the same cluster key.
    #[error("the peer does not hold the cluster key")]
    Key,
    /// It took too long.
    #[error("the peer did not answer in time")]
    Timeout,
    /// The system has no random numbers, without which nothing is proved.
    #[error("no random numbers from the system")]
    Random,
    /// The connection broke, or was never made.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// An authenticated link.
#[derive(Debug)]
pub struct Session {
    /// Who is on the other side.
    pub node: NodeId,
    /// The other side's cluster; a guest has none.
    pub cluster: Option<ClusterId>,
    /// The caller came for one call only.
    pub visit: bool,
    /// For what goes out.
    pub sealer: Sealer,
    /// For what comes in.
    pub opener: Opener,
}

/// The fixed message that each side sends first. A wire format.
///
/// ```text
///  0     4  5  6  7  8        16      24      32       64
///  │NCLT │s │v │r │f │cluster │ from  │ to    │ nonce  │
/// ```
/// `s` 1 for a hello and 2 for an answer, `v` version, `r` verdict of an answer, `f` 1 for a visit.
/// Numbers are little endian; cluster 0 is none, node 0 is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hello {
    answer: bool,
    version: u8,
    verdict: u8,
    visit: bool,
    cluster: u64,
    from: u64,
    to: u64,
    nonce: [u8; NONCE_BYTES],
}

impl Hello {
    fn to_bytes(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        let side = if self.answer { 2 } else { 1 };
        bytes[4..8].copy_from_slice(&[side, self.version, self.verdict, u8::from(self.visit)]);
        bytes[8..16].copy_from_slice(&self.cluster.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.from.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.to.to_le_bytes());
        bytes[32..].copy_from_slice(&self.nonce);
        bytes
    }

    /// Reads a hello (`answer` false) or an answer.
    fn of(bytes: &[u8; HELLO_BYTES], answer: bool) -> Option<Self> {
        let side = if answer { 2 } else { 1 };
        if bytes[..4] != MAGIC || bytes[4] != side {
            return None;
        }
        let number = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        Some(Self {
            answer,
            version: bytes[5],
            verdict: bytes[6],
            visit: bytes[7] == 1,
            cluster: number(8)?,
            from: number(16)?,
            to: number(24)?,
            nonce: bytes[32..].try_into().ok()?,
        })
    }
}

fn cluster_of(number: u64) -> Option<ClusterId> {
    (number != 0).then_some(ClusterId(number))
}

fn nonce() -> Result<[u8; NONCE_BYTES], HandshakeError> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).ok().ok_or(HandshakeError::Random)?;
    Ok(nonce)
}

const CALLER_PROOF: &str = "nacolet caller proof";
const CALLED_PROOF: &str = "nacolet called proof";
const CALLER_FRAMES: &str = "nacolet caller frames";
const CALLED_FRAMES: &str = "nacolet called frames";

fn frame_key(mac: HmacSha256) -> Result<HmacSha256, HandshakeError> {
    HmacSha256::new_from_slice(&mac.finalize().into_bytes()).ok().ok_or(HandshakeError::Key)
}

/// Calls: proves who `me` is to whoever listens, who must be `target` where that is known.
///
/// # Errors
/// See [`HandshakeError`].
pub async fn call<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    me: &Identity,
    target: Option<NodeId>,
    visit: bool,
) -> Result<Session, HandshakeError> {
    let (hello, bytes, answer) = greet(stream, me, target, visit).await?;
    let key = &me.key;
    let proof = key.over(CALLER_PROOF, &hello, &bytes).finalize().into_bytes();
    stream.write_all(&proof).await?;
    let mut proof = [0; PROOF_BYTES];
    // Whoever does not like our proof closes without a word.
    stream.read_exact(&mut proof).await.ok().ok_or(HandshakeError::Key)?;
    let expected = key.over(CALLED_PROOF, &hello, &bytes);
    expected.verify_slice(&proof).ok().ok_or(HandshakeError::Key)?;
    Ok(Session {
        node: NodeId(answer.from),
        cluster: cluster_of(answer.cluster),
        visit,
        sealer: Sealer::new(frame_key(key.over(CALLER_FRAMES, &hello, &bytes))?),
        opener: Opener::new(frame_key(key.over(CALLED_FRAMES, &hello, &bytes))?),
    })
}

/// Hears who listens, and proves nothing: for one that has no key, and goes then.
///
/// # Errors
/// See [`HandshakeError`].
pub async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    me: &Identity,
) -> Result<NodeId, HandshakeError> {
    greet(stream, me, None, true).await.map(|(_, _, answer)| NodeId(answer.from))
}

/// What both sides said first, and what the other one's means.
type Greeting = ([u8; HELLO_BYTES], [u8; HELLO_BYTES], Hello);

async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    me: &Identity,
    target: Option<NodeId>,
    visit: bool,
) -> Result<Greeting, HandshakeError> {
    let hello = Hello {
        answer: false,
        version: PROTOCOL_VERSION,
        verdict: 0,
        visit,
        cluster: me.cluster.map_or(0, |cluster| cluster.0),
        from: me.node.0,
        to: target.map_or(0, |node| node.0),
        nonce: nonce()?,
    }
    .to_bytes();
    stream.write_all(&hello).await?;
    let bytes = hear_answer(stream).await?;
    let answer = Hello::of(&bytes, true).ok_or(HandshakeError::Stranger)?;
    if let Some(refusal) = Refusal::of(answer.verdict) {
        return Err(HandshakeError::RefusedBy(refusal));
    }
    check_answer(&answer, me, target).map_err(HandshakeError::Refused)?;
    Ok((hello, bytes, answer))
}

/// Reads the answer to a hello. Servers of other protocols say less than that: who they are shows
/// in their first bytes.
async fn hear_answer<S: AsyncRead + Unpin>(
    stream: &mut S,
) -> Result<[u8; HELLO_BYTES], HandshakeError> {
    const HTTP2_SETTINGS: u8 = 4;
    const HTTP2_GOAWAY: u8 = 7;
    let mut bytes = [0; HELLO_BYTES];
    let mut filled = 0;
    while filled < HELLO_BYTES {
        match stream.read(&mut bytes[filled..]).await? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            more => filled += more,
        }
        if bytes.starts_with(b"HTTP/1") {
            return Err(HandshakeError::Http);
        }
        // The head of an HTTP/2 frame: length, type, flags, and stream 0.
        let is_frame = filled >= 9 && bytes[0] == 0 && bytes[5..9] == [0; 4];
        if is_frame && matches!(bytes[3], HTTP2_SETTINGS | HTTP2_GOAWAY) {
            return Err(HandshakeError::Grpc);
        }
    }
    Ok(bytes)
}

fn check_answer(answer: &Hello, me: &Identity, target: Option<NodeId>) -> Result<(), Refusal> {
    if answer.version != PROTOCOL_VERSION || answer.verdict != 0 {
        return Err(Refusal::Version);
    }
    let theirs = cluster_of(answer.cluster);
    if let (Some(ours), Some(theirs)) = (me.cluster, theirs)
        && ours != theirs
    {
        return Err(Refusal::Cluster);
    }
    if answer.from == me.node.0 {
        return Err(Refusal::SameId);
    }
    if target.is_some_and(|target| target.0 != answer.from) {
        return Err(Refusal::Target);
    }
    Ok(())
}

/// Is called: finds out who is there.
///
/// # Errors
/// See [`HandshakeError`]; the connection must be closed.
pub async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    me: &Identity,
) -> Result<Session, HandshakeError> {
    let heard = hear(stream).await?;
    answer_to(stream, me, heard).await
}

/// What a caller said first.
#[derive(Debug)]
pub struct Heard {
    hello: Hello,
    bytes: [u8; HELLO_BYTES],
}

/// The first half of [`answer`]: waits for the hello of whoever called.
///
/// # Errors
/// See [`HandshakeError`]; the connection must be closed.
pub async fn hear<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Heard, HandshakeError> {
    let mut bytes = [0; HELLO_BYTES];
    stream.read_exact(&mut bytes).await?;
    let hello = Hello::of(&bytes, false).ok_or(HandshakeError::Stranger)?;
    Ok(Heard { hello, bytes })
}

/// The second half of [`answer`]: who it is that said this.
///
/// # Errors
/// See [`HandshakeError`]; the connection must be closed.
pub async fn answer_to<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    me: &Identity,
    Heard { hello, bytes }: Heard,
) -> Result<Session, HandshakeError> {
    let verdict = check_hello(&hello, me);
    let answer = Hello {
        answer: true,
        version: PROTOCOL_VERSION,
        verdict: verdict.err().map_or(0, |refusal| refusal as u8 + 1),
        visit: false,
        cluster: me.cluster.map_or(0, |cluster| cluster.0),
        from: me.node.0,
        to: hello.from,
        nonce: nonce()?,
    }
    .to_bytes();
    stream.write_all(&answer).await?;
    verdict.map_err(HandshakeError::Refused)?;
    let key = &me.key;
    let mut proof = [0; PROOF_BYTES];
    stream.read_exact(&mut proof).await?;
    let expected = key.over(CALLER_PROOF, &bytes, &answer);
    expected.verify_slice(&proof).ok().ok_or(HandshakeError::Key)?;
    let proof = key.over(CALLED_PROOF, &bytes, &answer).finalize().into_bytes();
    stream.write_all(&proof).await?;
    Ok(Session {
        node: NodeId(hello.from),
        cluster: cluster_of(hello.cluster),
        visit: hello.visit,
        sealer: Sealer::new(frame_key(key.over(CALLED_FRAMES, &bytes, &answer))?),
        opener: Opener::new(frame_key(key.over(CALLER_FRAMES, &bytes, &answer))?),
    })
}

fn check_hello(hello: &Hello, me: &Identity) -> Result<(), Refusal> {
    if hello.version != PROTOCOL_VERSION {
        return Err(Refusal::Version);
    }
    if let (Some(ours), Some(theirs)) = (me.cluster, cluster_of(hello.cluster))
        && ours != theirs
    {
        return Err(Refusal::Cluster);
    }
    if hello.from == me.node.0 {
        return Err(Refusal::SameId);
    }
    if hello.to != 0 && hello.to != me.node.0 {
        return Err(Refusal::Target);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use nacolet_model::Prng;
    use smol::future::{block_on, zip};
    use smol::io::Cursor;

    use super::*;
    use crate::message::Kind;

    fn identity(node: u64, cluster: Option<u64>, key: u8) -> Identity {
        let key = ClusterKey::new(&[key; 32]).unwrap();
        Identity { node: NodeId(node), cluster: cluster.map(ClusterId), key }
    }

    type Ends = (Result<Session, HandshakeError>, Result<Session, HandshakeError>);

    /// Two ends of a real connection.
    fn meet(caller: &Identity, called: &Identity, target: Option<u64>) -> Ends {
        let (mut a, mut b) = smol::net::unix::UnixStream::pair().unwrap();
        let calls = async { call(&mut a, caller, target.map(NodeId), false).await };
        let answers = async {
            let session = answer(&mut b, called).await;
            drop(b);
            session
        };
        block_on(zip(calls, answers))
    }

    #[test]
    fn a_hello_has_golden_bytes() {
        let hello = Hello {
            answer: false,
            version: 1,
            verdict: 0,
            visit: true,
            cluster: 2,
            from: 3,
            to: 0x0400,
            nonce: [9; NONCE_BYTES],
        };
        let mut golden = vec![b'N', b'C', b'L', b'T', 1, 1, 0, 1];
        golden.extend([2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0]);
        golden.extend([9; NONCE_BYTES]);
        assert_eq!(hello.to_bytes().as_slice(), golden);
        assert_eq!(Hello::of(&hello.to_bytes(), false), Some(hello.clone()));
        assert_eq!(Hello::of(&hello.to_bytes(), true), None);
    }

    #[test]
    fn a_short_key_is_none() {
        assert_eq!(ClusterKey::new(&[1; 31]).unwrap_err(), KeyTooShort { bytes: 31 });
        assert!(ClusterKey::new(&[1; 64]).is_ok());
    }

    #[test]
    fn both_sides_know_each_other_and_read_each_other() {
        let (caller, called) = (identity(1, Some(7), 5), identity(2, Some(7), 5));
        let (ours, theirs) = meet(&caller, &called, Some(2));
        let (mut ours, mut theirs) = (ours.unwrap(), theirs.unwrap());
        assert_eq!((ours.node, theirs.node), (NodeId(2), NodeId(1)));
        assert_eq!(theirs.cluster, Some(ClusterId(7)));
        let (from, to) = (&mut ours, &mut theirs);
        let mut bytes = Vec::new();
        from.sealer.seal(Kind::Raft, &"there", &mut bytes).unwrap();
        to.opener.space()[..bytes.len()].copy_from_slice(&bytes);
        to.opener.filled(bytes.len());
        assert_eq!(to.opener.open().unwrap().unwrap().decode::<String>().unwrap(), "there");
        // A frame of one direction is none of the other.
        from.opener.space()[..bytes.len()].copy_from_slice(&bytes);
        from.opener.filled(bytes.len());
        assert!(from.opener.open().is_err());
    }

    #[test]
    fn a_guest_calls_a_cluster_and_a_cluster_calls_a_guest() {
        let (guest, member) = (identity(1, None, 5), identity(2, Some(7), 5));
        let (ours, theirs) = meet(&guest, &member, None);
        assert_eq!(ours.unwrap().cluster, Some(ClusterId(7)));
        assert_eq!(theirs.unwrap().cluster, None);
        let (ours, theirs) = meet(&member, &guest, Some(1));
        assert!(ours.is_ok() && theirs.is_ok());
    }

    #[test]
    fn whoever_does_not_belong_here_is_refused() {
        let called = identity(2, Some(7), 5);
        let refused = |caller: &Identity, target| {
            let (ours, theirs) = meet(caller, &called, target);
            let (ours, theirs) = (ours.unwrap_err(), theirs.unwrap_err());
            (ours.to_string(), theirs.to_string())
        };
        let (ours, theirs) = refused(&identity(1, Some(7), 6), Some(2));
        assert!(ours.contains("cluster key") && theirs.contains("cluster key"), "{ours}, {theirs}");
        let cases = [
            (identity(1, Some(8), 5), Some(2), "another cluster"),
            (identity(1, Some(7), 5), Some(3), "another node is meant"),
            (identity(2, Some(7), 5), None, "same node id"),
        ];
        for (caller, target, part) in cases {
            let (ours, theirs) = refused(&caller, target);
            assert!(ours.contains("the peer refuses") && ours.contains(part), "{ours}");
            assert!(theirs.contains("was refused") && theirs.contains(part), "{theirs}");
        }
    }

    #[test]
    fn another_version_is_refused_before_any_proof() {
        let me = identity(2, Some(7), 5);
        let mut hello = Hello {
            answer: false,
            version: PROTOCOL_VERSION + 1,
            verdict: 0,
            visit: false,
            cluster: 7,
            from: 1,
            to: 2,
            nonce: [1; NONCE_BYTES],
        };
        assert_eq!(check_hello(&hello, &me), Err(Refusal::Version));
        hello.version = PROTOCOL_VERSION;
        assert_eq!(check_hello(&hello, &me), Ok(()));
        hello.answer = true;
        hello.to = 1;
        hello.version = PROTOCOL_VERSION + 1;
        assert_eq!(check_answer(&hello, &me, None), Err(Refusal::Version));
    }

    #[test]
    fn random_bytes_are_strangers() {
        let me = identity(2, Some(7), 5);
        let mut prng = Prng::new(8);
        for _ in 0..2_000 {
            let mut bytes: Vec<u8> =
                (0..HELLO_BYTES + PROOF_BYTES).map(|_| prng.next_u64().to_le_bytes()[0]).collect();
            if prng.chance(1, 2) {
                bytes[..6].copy_from_slice(b"NCLT\x01\x01");
                bytes[8..32].fill(0);
                bytes[16] = 9;
            }
            let mut stream = Cursor::new(bytes);
            assert!(block_on(answer(&mut stream, &me)).is_err());
        }
    }
}
