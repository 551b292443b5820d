//! A small seeded generator (SplitMix64, Steele et al. 2014) for jitter and simulation. Not for
//! secrets: those come from the operating system.

/// The same seed gives the same numbers on every machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prng {
    state: u64,
}

impl Prng {
    /// A generator that starts at `seed`; every seed is a good one.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number in `0..bound`; 0 when `bound` is 0. The bias of the multiplication method is below
    /// `bound / 2^64`.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// A position in a list of `count`, at random; 0 when the list is empty.
    pub fn index(&mut self, count: usize) -> usize {
        let below = self.below(u64::try_from(count).unwrap_or(u64::MAX));
        // It is less than `count`.
        usize::try_from(below).unwrap_or(0)
    }

    /// True with a chance of `numerator` in `denominator`.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }

    /// An independent generator, for one more actor of the same run.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::new(self.next_u64())
    }
}

/// Spreads every bit of `word` over all bits of the result: the finaliser of SplitMix64. Different
/// words give different results.
#[must_use]
pub const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_the_published_one() {
        // Reference values of SplitMix64 for seed 1234567 (Vigna's splitmix64.c).
        let mut prng = Prng::new(1_234_567);
        assert_eq!(prng.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(prng.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn below_stays_below() {
        let mut prng = Prng::new(1);
        assert!((0..10_000).all(|_| prng.below(7) < 7));
        assert_eq!(prng.below(0), 0);
        assert_eq!(prng.index(0), 0);
        let mut seen = [false; 3];
        (0..100).for_each(|_| seen[prng.index(3)] = true);
        assert_eq!(seen, [true; 3]);
    }
}
