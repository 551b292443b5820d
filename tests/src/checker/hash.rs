//! Fingerprints of what nodes must agree on.

/// Bytes in one number (FNV-1a), from a beginning that tells kinds apart.
pub(super) fn hash(begin: u64, bytes: &[u8]) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(begin, mix)
}
