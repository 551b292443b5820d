//! How the simulated disk frames what it stores: its length, its checksum, the bytes. Of a torn or
//! zeroed frame nothing is read.

/// Bytes before the content of a frame.
const HEAD_BYTES: usize = 8;

/// A content in its frame.
pub(crate) fn frame(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    [&length.to_le_bytes()[..], &crc32fast::hash(content).to_le_bytes(), content].concat()
}

/// The content of the first frame and what follows it; none if the frame is not whole. Zeroes are a
/// whole frame without content.
pub(crate) fn unframe(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let length = u32::from_le_bytes(head[..4].try_into().ok()?);
    let crc = u32::from_le_bytes(head[4..].try_into().ok()?);
    let (content, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    (crc32fast::hash(content) == crc).then_some((content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_whole_or_nothing() {
        let two = [frame(b"one"), frame(b"two!")].concat();
        let (content, rest) = unframe(&two).expect("it is whole");
        assert_eq!((content, rest), (&b"one"[..], &frame(b"two!")[..]));
        let one = frame(b"one");
        for kept in 0..one.len() {
            assert_eq!(unframe(&one[..kept]), None, "cut after {kept}");
            let mut torn = one.clone();
            torn[kept..].fill(0);
            // A frame without content is all zeroes.
            let nothing = (kept == 0).then_some((&b""[..], &[0; 3][..]));
            assert_eq!(unframe(&torn), nothing, "zeroed from {kept} on");
        }
    }
}
