//! Bytes that were right and are not any more: what a broken disk, a broken program or a stranger
//! hands to a decoder.

use alloc::vec::Vec;
use core::fmt::Debug;

use nacolet_model::Prng;
use serde::{Serialize, de::DeserializeOwned};

use crate::types::decode;

/// Flips bits of `bytes`, cuts them short, makes them longer, or goes on as `other` does.
pub fn bend(prng: &mut Prng, bytes: &mut Vec<u8>, other: &[u8]) {
    let mut below = |bound: usize| prng.index(bound);
    match below(4) {
        0 => {
            for _ in 0..=below(3) {
                let (at, bit) = (below(bytes.len()), below(8));
                bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << bit);
            }
        }
        1 => bytes.truncate(below(bytes.len())),
        2 => {
            for _ in 0..=below(8) {
                // Ends of numbers and lengths, more often than chance has them.
                let byte = [0, 1, 0x7f, 0x80, 0xff][below(5)];
                bytes.insert(below(bytes.len() + 1), byte);
            }
        }
        _ => {
            bytes.truncate(below(bytes.len() + 1));
            bytes.extend_from_slice(&other[below(other.len() + 1)..]);
        }
    }
}

/// Decodes bent encodings of `values`, that many. Returns how many were refused; the others were
/// values that can be written and read again.
///
/// # Panics
/// One of them was not, or there is no value.
pub fn withstand<T>(values: &[T], rounds: usize) -> usize
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let encode = |value: &T| postcard::to_allocvec(value).expect("a value encodes");
    let good: Vec<Vec<u8>> = values.iter().map(encode).collect();
    let mut prng = Prng::new(rounds as u64);
    let mut refused = 0;
    for round in 0..rounds {
        let mut bytes = good[round % good.len()].clone();
        let other = prng.below(good.len() as u64);
        bend(&mut prng, &mut bytes, &good[usize::try_from(other).unwrap_or(0)]);
        match decode::<T>(&bytes) {
            Some(value) => {
                let again = decode(&encode(&value));
                assert_eq!(again.as_ref(), Some(&value), "it came from {bytes:?}");
            }
            None => refused += 1,
        }
    }
    refused
}
