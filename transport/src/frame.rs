//! Bytes on the wire, after the handshake. A check covers the whole frame and its number in the
//! stream, so that a frame that was changed, left out, repeated or moved ends the link.
//!
//! ```text
//!  0     4  5  6            6 + n            22 + n
//!  │ n   │v │k │ body        │ check          │
//!    u32  version, kind        first 16 bytes of HMAC-SHA-256(key of this direction,
//!    little endian             number of the frame (u64) ‖ everything before)
//! ```

use hmac::{Hmac, Mac};
use nacolet_model::limits;
use serde::{Serialize, de::DeserializeOwned};
use sha2::Sha256;

use crate::message::Kind;

/// The keyed check, of frames and of proofs.
pub(crate) type HmacSha256 = Hmac<Sha256>;

/// Version of the frame format.
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 6;
const CHECK_BYTES: usize = 16;
/// Room kept for reading, bytes: one read takes many small frames.
const READ_BYTES: usize = 16 << 10;
/// A buffer that grew beyond this is given back once it is empty.
const BUFFER_BYTES_KEPT: usize = 64 << 10;

/// Why a link ends. Nothing of the frame is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It is, or claims to be, larger than `limits::PEER_FRAME_BYTES_MAX`.
    #[error("a frame of {bytes} bytes")]
    TooLarge {
        /// What its head says.
        bytes: usize,
    },
    /// Its format has another version.
    #[error("a frame of version {version}")]
    Version {
        /// What its head says.
        version: u8,
    },
    /// It was changed on the way, is not the next one, or comes from somebody without the key.
    #[error("a frame whose check is wrong")]
    Check,
    /// The body is not what its kind says.
    #[error("a frame that cannot be decoded")]
    Undecodable,
    /// A message of ours that postcard cannot write.
    #[error("a message that cannot be encoded")]
    Unencodable,
}

/// Writes the frames of one direction.
#[derive(Debug)]
pub struct Sealer {
    key: HmacSha256,
    number: u64,
}

impl Sealer {
    pub(crate) const fn new(key: HmacSha256) -> Self {
        Self { key, number: 0 }
    }

    /// Appends one frame to `out`.
    ///
    /// # Errors
    /// The message is too large or cannot be encoded; `out` is as before.
    pub fn seal<T: Serialize>(
        &mut self,
        kind: Kind,
        body: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        let start = out.len();
        out.extend_from_slice(&[0, 0, 0, 0, VERSION, kind as u8]);
        let sealed = self.seal_body(start, body, out);
        if sealed.is_err() {
            out.truncate(start);
        }
        sealed
    }

    /// Appends one frame whose body is encoded already.
    ///
    /// # Errors
    /// The body is too large; `out` is as before.
    pub fn seal_encoded(
        &mut self,
        kind: Kind,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        let start = out.len();
        out.extend_from_slice(&[0, 0, 0, 0, VERSION, kind as u8]);
        out.extend_from_slice(body);
        let sealed = self.close(start, out);
        if sealed.is_err() {
            out.truncate(start);
        }
        sealed
    }

    fn seal_body<T: Serialize>(
        &mut self,
        start: usize,
        body: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        postcard::serialize_with_flavor(body, Appender(out)).ok().ok_or(FrameError::Unencodable)?;
        self.close(start, out)
    }

    /// Puts length and check around the body that begins behind the head at `start`.
    fn close(&mut self, start: usize, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let bytes = out.len() - start - HEAD_BYTES;
        if bytes > limits::PEER_FRAME_BYTES_MAX {
            return Err(FrameError::TooLarge { bytes });
        }
        let length = u32::try_from(bytes).ok().ok_or(FrameError::TooLarge { bytes })?;
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
        let mut mac = self.key.clone();
        mac.update(&self.number.to_le_bytes());
        mac.update(&out[start..]);
        out.extend_from_slice(&mac.finalize().into_bytes()[..CHECK_BYTES]);
        self.number += 1;
        Ok(())
    }
}

/// postcard's output at the end of a vector.
struct Appender<'v>(&'v mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Appender<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// One frame whose check is right.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'b> {
    /// Number of its kind, perhaps one that this version does not know.
    pub kind: u8,
    body: &'b [u8],
}

impl Frame<'_> {
    /// Size of its body.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.body.len()
    }

    /// The message in it. What a newer version appended is ignored.
    ///
    /// # Errors
    /// The body is not of this type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, FrameError> {
        let decoded = postcard::take_from_bytes(self.body);
        decoded.map(|(value, _)| value).ok().ok_or(FrameError::Undecodable)
    }
}

/// Reads the frames of one direction from bytes that come in any pieces. Memory grows with what has
/// arrived, never with what a head announces.
#[derive(Debug)]
pub struct Opener {
    key: HmacSha256,
    number: u64,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are consumed, and where its content ends.
    start: usize,
    end: usize,
}

impl Opener {
    pub(crate) const fn new(key: HmacSha256) -> Self {
        Self { key, number: 0, buffer: Vec::new(), start: 0, end: 0 }
    }

    /// Where the next bytes go.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > BUFFER_BYTES_KEPT {
                self.buffer = Vec::new();
            }
        } else if self.start >= READ_BYTES {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.buffer.len() - self.end < READ_BYTES / 2 {
            // Doubling keeps the cost of a large frame linear in its size.
            let room = (self.end - self.start).clamp(READ_BYTES, 1 << 20);
            self.buffer.resize(self.end + room, 0);
        }
        &mut self.buffer[self.end..]
    }

    /// So many bytes were put into [`Self::space`].
    pub fn filled(&mut self, bytes: usize) {
        self.end = (self.end + bytes).min(self.buffer.len());
    }

    /// The next whole frame, if it has arrived.
    ///
    /// # Errors
    /// The link must end; see [`FrameError`].
    pub fn open(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let (start, arrived) = (self.start, self.end - self.start);
        if arrived < HEAD_BYTES {
            return Ok(None);
        }
        let head = &self.buffer[start..start + HEAD_BYTES];
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let (version, kind) = (head[4], head[5]);
        if version != VERSION {
            return Err(FrameError::Version { version });
        }
        let bytes = usize::try_from(length).unwrap_or(usize::MAX);
        if bytes > limits::PEER_FRAME_BYTES_MAX {
            return Err(FrameError::TooLarge { bytes });
        }
        let checked = HEAD_BYTES + bytes;
        if arrived < checked + CHECK_BYTES {
            return Ok(None);
        }
        let (frame, check) = self.buffer[start..start + checked + CHECK_BYTES].split_at(checked);
        let mut mac = self.key.clone();
        mac.update(&self.number.to_le_bytes());
        mac.update(frame);
        mac.verify_truncated_left(check).ok().ok_or(FrameError::Check)?;
        self.number += 1;
        self.start = start + checked + CHECK_BYTES;
        Ok(Some(Frame { kind, body: &self.buffer[start + HEAD_BYTES..start + checked] }))
    }
}

#[cfg(test)]
mod tests {
    use nacolet_model::Prng;
    use nacolet_raft::testing::bend;

    use super::*;

    fn key(byte: u8) -> HmacSha256 {
        HmacSha256::new_from_slice(&[byte; 32]).unwrap()
    }

    fn feed(opener: &mut Opener, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = opener.space();
            let taken = bytes.len().min(space.len());
            space[..taken].copy_from_slice(&bytes[..taken]);
            opener.filled(taken);
            bytes = &bytes[taken..];
        }
    }

    fn sealed(bodies: &[&str]) -> Vec<Vec<u8>> {
        let mut sealer = Sealer::new(key(1));
        let seal = |body: &&str| {
            let mut out = Vec::new();
            sealer.seal(Kind::Raft, body, &mut out).unwrap();
            out
        };
        bodies.iter().map(seal).collect()
    }

    #[test]
    fn frames_have_golden_bytes() {
        let frames = sealed(&["ab"]);
        // Check: python3 -c "import hmac;print(list(hmac.digest(b'\1'*32,
        // bytes(8)+bytes([3,0,0,0,1,1,2,97,98]),'sha256')[:16]))"
        let golden = [
            3, 0, 0, 0, 1, 1, 2, 97, 98, 32, 179, 75, 37, 134, 63, 171, 187, 83, 121, 145, 208,
            104, 61, 68, 42,
        ];
        assert_eq!(frames[0], golden);
    }

    #[test]
    fn a_body_that_is_encoded_already_makes_the_same_frame() {
        let mut out = vec![9];
        let body = postcard::to_allocvec("ab").unwrap();
        Sealer::new(key(1)).seal_encoded(Kind::Raft, &body, &mut out).unwrap();
        assert_eq!(out[1..], sealed(&["ab"])[0]);
        let large = vec![0; limits::PEER_FRAME_BYTES_MAX + 1];
        let refused = Sealer::new(key(1)).seal_encoded(Kind::Raft, &large, &mut out);
        assert_eq!(refused, Err(FrameError::TooLarge { bytes: large.len() }));
        assert_eq!(out[1..], sealed(&["ab"])[0], "nothing of it is left");
    }

    #[test]
    fn what_a_newer_version_appended_to_a_message_is_ignored() {
        let mut out = Vec::new();
        Sealer::new(key(1)).seal(Kind::Raft, &("ab", 7_u8), &mut out).unwrap();
        let mut opener = Opener::new(key(1));
        feed(&mut opener, &out);
        assert_eq!(opener.open().unwrap().unwrap().decode::<String>().unwrap(), "ab");
    }

    #[test]
    fn frames_arrive_in_any_pieces() {
        let large = "x".repeat(100_000);
        let bodies = ["", "ab", &large, "c"];
        let stream: Vec<u8> = sealed(&bodies).concat();
        for piece in [1, 7, 4_096, stream.len()] {
            let mut opener = Opener::new(key(1));
            let mut found = Vec::new();
            for bytes in stream.chunks(piece) {
                feed(&mut opener, bytes);
                while let Some(frame) = opener.open().unwrap() {
                    found.push(frame.decode::<String>().unwrap());
                }
            }
            assert_eq!(found, bodies);
            assert!(opener.space().len() <= BUFFER_BYTES_KEPT, "a large buffer is given back");
        }
    }

    #[test]
    fn a_changed_repeated_or_moved_frame_is_refused() {
        let frames = sealed(&["one", "two"]);
        let refused = |stream: &[&[u8]], good: usize| {
            let mut opener = Opener::new(key(1));
            stream.iter().for_each(|bytes| feed(&mut opener, bytes));
            for _ in 0..good {
                assert!(opener.open().unwrap().is_some());
            }
            opener.open().map(|_| ()).unwrap_err()
        };
        assert_eq!(refused(&[&frames[0], &frames[0]], 1), FrameError::Check);
        assert_eq!(refused(&[&frames[1]], 0), FrameError::Check);
        for position in [5, 6, frames[0].len() - 1] {
            let mut changed = frames[0].clone();
            changed[position] ^= 1;
            assert_eq!(refused(&[&changed], 0), FrameError::Check);
        }
        let mut version = frames[0].clone();
        version[4] = 2;
        assert_eq!(refused(&[&version], 0), FrameError::Version { version: 2 });
        let mut opener = Opener::new(key(2));
        feed(&mut opener, &frames[0]);
        assert_eq!(opener.open(), Err(FrameError::Check));
    }

    #[test]
    fn a_huge_length_is_refused_and_a_large_one_costs_what_has_arrived() {
        let mut opener = Opener::new(key(1));
        feed(&mut opener, &[0, 0, 0, 64, 1, 1]);
        assert_eq!(opener.open(), Err(FrameError::TooLarge { bytes: 1 << 30 }));
        let mut opener = Opener::new(key(1));
        feed(&mut opener, &[0, 0, 160, 0, 1, 1]);
        assert_eq!(opener.open(), Ok(None));
        assert!(opener.buffer.len() <= 2 * READ_BYTES);
    }

    #[test]
    fn of_a_bent_stream_the_whole_frames_before_the_bend_arrive_and_nothing_else() {
        let bodies = ["", "ab", "a longer one", "ab", "c"];
        let frames = sealed(&bodies);
        let stream = frames.concat();
        let mut other = Vec::new();
        Sealer::new(key(2)).seal(Kind::Raft, &"of another link", &mut other).unwrap();
        other.extend(frames.iter().rev().flatten());
        let mut prng = Prng::new(8);
        for round in 0..4_000 {
            let mut bent = stream.clone();
            bend(&mut prng, &mut bent, &other);
            let intact = stream.iter().zip(&bent).take_while(|(good, bent)| good == bent).count();
            let mut ends = frames.iter().scan(0, |end, frame| {
                *end += frame.len();
                Some(*end)
            });
            let expected = bodies.iter().take_while(|_| ends.next().is_some_and(|e| e <= intact));
            let mut opener = Opener::new(key(1));
            let mut found = Vec::new();
            'link: for bytes in bent.chunks(1 + prng.index(60)) {
                feed(&mut opener, bytes);
                loop {
                    match opener.open() {
                        Ok(Some(frame)) => found.push(frame.decode::<String>().unwrap()),
                        Ok(None) => break,
                        Err(_) => break 'link,
                    }
                }
            }
            assert!(found.iter().eq(expected), "round {round}: {found:?} from {bent:?}");
        }
    }

    #[test]
    fn random_bytes_are_refused() {
        let mut prng = Prng::new(3);
        for _ in 0..5_000 {
            let mut opener = Opener::new(key(1));
            let length = prng.index(80);
            let mut bytes: Vec<u8> =
                (0..length).map(|_| u8::try_from(prng.below(256)).unwrap()).collect();
            if prng.chance(3, 4) && bytes.len() > 4 {
                bytes[..5].copy_from_slice(&[u8::try_from(prng.below(60)).unwrap(), 0, 0, 0, 1]);
            }
            feed(&mut opener, &bytes);
            assert!(!matches!(opener.open(), Ok(Some(_))), "a forged frame passed");
        }
    }
}
