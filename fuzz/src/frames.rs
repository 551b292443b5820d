//! A stream of frames in any pieces, made by somebody with the key and bent by somebody without it:
//! the frames before the bend arrive as they were sent, and nothing else does.

use nacolet_model::limits;
use nacolet_transport::FrameError;
use nacolet_transport::frame::Opener;
use nacolet_transport::message::Kind;

use crate::cost::{ANNOUNCED, Bound};
use crate::handshake::{mac, meet};
use crate::source::Source;

const HEAD_BYTES: usize = 6;
const CHECK_BYTES: usize = 16;
/// A buffer grows by doubling, and each message is decoded once.
const READ: Bound = Bound { per_byte: 512, fixed: ANNOUNCED + (1 << 20) };

/// A frame as the transport describes it.
fn frame(key: &[u8; 32], number: u64, version: u8, kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = [length.as_slice(), &[version, kind], body].concat();
    let check = mac(key, &[&number.to_le_bytes(), &bytes]);
    bytes.extend_from_slice(&check[..CHECK_BYTES]);
    bytes
}

struct Sent<'d> {
    version: u8,
    kind: u8,
    body: &'d [u8],
    end: usize,
}

pub(crate) fn run(data: &[u8]) {
    let Some((mut session, inward, outward)) = meet() else { return };
    let mut source = Source::new(data);
    let (mut stream, mut sent) = (Vec::new(), Vec::new());
    for number in 0..u64::from(source.choice(6)) {
        let version = if source.choice(16) == 15 { source.byte() } else { 1 };
        let (kind, body) = (source.byte() % 8, source.bytes());
        stream.extend(frame(&inward, number, version, kind, body));
        sent.push(Sent { version, kind, body, end: stream.len() });
        if let Some(known) = Kind::of(kind) {
            let mut bytes = Vec::new();
            let sealed = session.sealer.seal_encoded(known, body, &mut bytes);
            assert_eq!(sealed, Ok(()));
            let number = number_of(&mut sent, kind);
            assert_eq!(bytes, frame(&outward, number, 1, kind, body), "the format is one");
        }
    }
    let good = stream.clone();
    bend(&mut source, &mut stream);
    let intact = good.iter().zip(&stream).take_while(|(good, bent)| good == bent).count();
    let step = 1 + usize::from(source.byte());
    READ.hold(stream.len(), || read(&mut session.opener, &stream, step, &sent, intact));
}

/// Sealed before this one are those of a known kind.
fn number_of(sent: &mut [Sent<'_>], _kind: u8) -> u64 {
    sent.iter().filter(|sent| Kind::of(sent.kind).is_some()).count() as u64 - 1
}

fn read(opener: &mut Opener, stream: &[u8], step: usize, sent: &[Sent<'_>], intact: usize) {
    let mut expected = sent.iter().take_while(|sent| sent.end <= intact);
    for piece in stream.chunks(step) {
        let space = opener.space();
        // The space that is offered is never less than a piece of this story.
        space[..piece.len()].copy_from_slice(piece);
        opener.filled(piece.len());
        loop {
            match opener.open() {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    let Some(sent) = expected.next() else { panic!("a frame that nobody sent") };
                    assert_eq!(
                        (frame.kind, frame.bytes(), sent.version),
                        (sent.kind, sent.body.len(), 1)
                    );
                    decode(sent, &frame);
                }
                Err(error) => {
                    if let Some(sent) = expected.next() {
                        assert_eq!(error, FrameError::Version { version: sent.version });
                        assert_ne!(sent.version, 1);
                    }
                    return;
                }
            }
        }
    }
    assert!(expected.next().is_none(), "a whole frame that does not arrive");
}

/// As whoever gets it does: the body is of the type that the kind says, and what follows is
/// ignored.
fn decode(sent: &Sent<'_>, frame: &nacolet_transport::frame::Frame<'_>) {
    let decoded = match Kind::of(sent.kind) {
        Some(Kind::Raft) => frame.decode::<nacolet_raft::Message>().map(drop),
        Some(Kind::Distro) => frame.decode::<nacolet_registry::Message>().map(drop),
        Some(Kind::Call) => frame.decode::<(u64, nacolet_transport::Call)>().map(drop),
        Some(Kind::Reply) => frame.decode::<(u64, nacolet_transport::Reply)>().map(drop),
        Some(Kind::Introduction) | None => frame.decode::<String>().map(drop),
    };
    assert!(matches!(decoded, Ok(()) | Err(FrameError::Undecodable)));
}

/// What somebody in between can do.
fn bend(source: &mut Source<'_>, stream: &mut Vec<u8>) {
    for _ in 0..source.choice(4) {
        let at = usize::try_from(source.number()).unwrap_or(0) % (stream.len() + 1);
        match source.choice(6) {
            0 => stream.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << source.choice(8)),
            1 => stream.truncate(at),
            2 => drop(stream.splice(at..at, source.bytes().iter().copied())),
            3 => {
                let end = stream.len().min(at + usize::from(source.byte()));
                stream.drain(at..end);
            }
            4 => {
                let length = u32::try_from(limits::PEER_FRAME_BYTES_MAX).unwrap_or(0) + 1;
                let head = [length.to_le_bytes().as_slice(), &[1, 1]].concat();
                stream.splice(at..at, head);
            }
            _ => {
                let end = stream.len().min(at + HEAD_BYTES + usize::from(source.byte()));
                let again = stream[at..end].to_vec();
                stream.extend(again);
            }
        }
    }
}
