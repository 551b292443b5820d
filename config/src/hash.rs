//! The chained hash of everything applied: members that agree on it at one index hold the same
//! state. A check against mistakes, not against malice, so a fast mixing function will do (the
//! finaliser of SplitMix64).

use nacolet_model::prng::mix;
use postcard::ser_flavors::Flavor;

use crate::command::Command;

/// The hash after `command` at `index`, given the hash before it.
pub(crate) fn chain(before: u64, index: u64, command: &Command) -> u64 {
    let hasher = Hasher { state: mix(before ^ index), word: 0, length: 0 };
    postcard::serialize_with_flavor(command, hasher)
        .expect("commands have only fields of known length and the hasher takes all bytes")
}

/// Takes the encoding of a command byte by byte, eight bytes a round, and keeps none of it. How the
/// encoder cuts its bytes into calls makes no difference.
struct Hasher {
    state: u64,
    word: u64,
    length: u64,
}

impl Hasher {
    fn push(&mut self, byte: u8) {
        self.word = (self.word << 8) | u64::from(byte);
        self.length += 1;
        if self.length.is_multiple_of(8) {
            self.round();
        }
    }

    fn extend(&mut self, bytes: &[u8]) {
        let pending = (self.length % 8) as usize;
        let (head, bytes) = bytes.split_at(bytes.len().min((8 - pending) % 8));
        head.iter().for_each(|byte| self.push(*byte));
        let (words, tail) = bytes.as_chunks::<8>();
        for word in words {
            self.word = u64::from_be_bytes(*word);
            self.length += 8;
            self.round();
        }
        tail.iter().for_each(|byte| self.push(*byte));
    }

    fn round(&mut self) {
        self.state = mix(self.state.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ self.word);
        self.word = 0;
    }
}

impl Flavor for Hasher {
    type Output = u64;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.extend(bytes);
        Ok(())
    }

    fn finalize(mut self) -> postcard::Result<u64> {
        self.round();
        Ok(mix(self.state ^ self.length))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn hash(pieces: &[&[u8]]) -> Option<u64> {
        let mut hasher = Hasher { state: 1, word: 0, length: 0 };
        for piece in pieces {
            hasher.try_extend(piece).ok()?;
        }
        hasher.finalize().ok()
    }

    #[test]
    fn the_cut_of_the_bytes_makes_no_difference_and_every_byte_does() {
        let bytes: Vec<u8> = (0..40).collect();
        let whole = hash(&[&bytes]);
        for first in 0..40 {
            for second in first..40 {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(hash(&pieces), whole, "cut at {first} and {second}");
            }
            let mut other = bytes.clone();
            other[first] ^= 1;
            assert_ne!(hash(&[&other]), whole, "byte {first}");
            assert_ne!(hash(&[&bytes[..first]]), whole, "{first} bytes");
        }
    }
}
