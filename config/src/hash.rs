//! The chained hash of everything applied: members that agree on it at one index hold the same state.
//! A check against mistakes, not against malice, so a fast mixing function will do (the finaliser of
//! SplitMix64).

use postcard::ser_flavors::Flavor;

use crate::Command;

/// The hash after `command` at `index`, given the hash before it.
pub(crate) fn chain(before: u64, index: u64, command: &Command) -> u64 {
    let hasher = Hasher { state: mix(before ^ index), word: 0, length: 0 };
    postcard::serialize_with_flavor(command, hasher)
        .expect("commands have only fields of known length and the hasher takes all bytes")
}

fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
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
        bytes.iter().for_each(|byte| self.push(*byte));
        Ok(())
    }

    fn finalize(mut self) -> postcard::Result<u64> {
        self.round();
        Ok(mix(self.state ^ self.length))
    }
}
