//! Bytes as a story: numbers, texts and choices are read from the front until nothing is left, and
//! then everything is zero or empty. Whatever the bytes are they mean something, so that no
//! mutation is in vain, and near bytes mean near stories.

/// What is left of the bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'d> {
    rest: &'d [u8],
}

impl<'d> Source<'d> {
    pub(crate) const fn new(rest: &'d [u8]) -> Self {
        Self { rest }
    }

    /// Whether the story is over.
    pub(crate) const fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// One of so many, counted from 0.
    pub(crate) fn choice(&mut self, count: u8) -> u8 {
        self.byte() % count.max(1)
    }

    /// One of `all`, which are not empty.
    pub(crate) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()]
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.iter_mut().for_each(|byte| *byte = self.byte());
        bytes
    }

    /// Mostly a small number; the ends of the ranges more often than chance has them.
    pub(crate) fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=247 => small.into(),
            248 => u16::from_le_bytes(self.array()).into(),
            249 => u32::from_le_bytes(self.array()).into(),
            250 => u64::from_le_bytes(self.array()),
            251 => u64::from(u32::MAX) - u64::from(self.byte()),
            252 => (u64::MAX >> 1) - u64::from(self.byte()),
            253 => (u64::MAX >> 1) + u64::from(self.byte()),
            254 => u64::MAX - u64::from(self.byte()),
            255 => u64::MAX,
        }
    }

    /// As many bytes as the next one says, twice as many words of two where it is large; what is
    /// there.
    pub(crate) fn bytes(&mut self) -> &'d [u8] {
        let count = match self.byte() {
            small @ 0..=223 => usize::from(small),
            large => usize::from(large - 223) << 7,
        };
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// Everything that is left.
    pub(crate) fn all(&mut self) -> &'d [u8] {
        core::mem::take(&mut self.rest)
    }

    /// A text of [`Self::bytes`].
    pub(crate) fn text(&mut self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_ends_with_zeros() {
        let mut source = Source::new(&[7, 2, b'a', b'b', 248, 1]);
        assert_eq!((source.number(), source.text().as_str()), (7, "ab"));
        assert_eq!(source.number(), 1, "the byte that is missing is zero");
        assert!(source.is_over());
        assert_eq!((source.byte(), source.bytes(), source.number()), (0, &[][..], 0));
    }

    #[test]
    fn lengths_may_be_large() {
        let bytes: Vec<u8> = [224].into_iter().chain([1; 200]).collect();
        assert_eq!(Source::new(&bytes).bytes().len(), 128);
    }
}
