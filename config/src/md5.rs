//! The md5 of a content: what clients compare, what compare-and-set expects, what listeners hold.
//! It is a name for a version, not a protection against forgery.

use core::fmt;

use md5::{Digest as _, Md5 as Hasher};
use serde::{Deserialize, Serialize};

/// MD5 of the UTF-8 bytes of a content. Shown as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Md5(pub [u8; 16]);

impl Md5 {
    /// Stands for a text that is no md5 at all. No known content has it, so it differs from all.
    pub const UNMATCHED: Self = Self([0; 16]);

    /// The md5 of `content`.
    #[must_use]
    pub fn of(content: &str) -> Self {
        Self(Hasher::digest(content.as_bytes()).into())
    }

    /// Reads 32 lower-case hexadecimal digits; Nacos compares texts, so upper case is another text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits: &[u8; 32] = text.as_bytes().try_into().ok()?;
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = (nibble(pair[0])? << 4) | nibble(pair[1])?;
        }
        Some(Self(bytes))
    }

    /// What a client claims to hold: nothing for an empty text, and [`Self::UNMATCHED`] for a text
    /// that is no md5, so that such a client is told of a difference as Nacos would.
    #[must_use]
    pub fn claimed(text: &str) -> Option<Self> {
        if text.is_empty() { None } else { Some(Self::parse(text).unwrap_or(Self::UNMATCHED)) }
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Md5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Md5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;

    #[test]
    fn the_digest_is_the_one_of_rfc_1321() {
        assert_eq!(Md5::of("").to_string(), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(Md5::of("abc").to_string(), "900150983cd24fb0d6963f7d28e17f72");
    }

    #[test]
    fn parse_takes_back_what_display_gives_and_nothing_else() {
        let md5 = Md5::of("x=1");
        assert_eq!(Md5::parse(&md5.to_string()), Some(md5));
        assert_eq!(Md5::parse(&md5.to_string().to_uppercase()), None);
        assert_eq!(Md5::parse(&md5.to_string()[1..]), None);
        assert_eq!(Md5::parse("zz1d8cd98f00b204e9800998ecf8427e"), None);
        assert_eq!(Md5::claimed(""), None);
        assert_eq!(Md5::claimed("old"), Some(Md5::UNMATCHED));
    }
}
