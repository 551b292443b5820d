//! What decoding costs, counted in allocated bytes rather than in time: the same input costs the
//! same on every machine. The program that runs the targets owns the allocator, so it hands in the
//! meter; without one nothing is measured.

use std::sync::OnceLock;

/// Bytes allocated since the start of the process, given back or not.
pub type Meter = fn() -> u64;

static METER: OnceLock<Meter> = OnceLock::new();

/// Tells how to measure. The first call counts.
pub fn measure_with(meter: Meter) {
    METER.get_or_init(|| meter);
}

/// `serde` sets aside up to 1 MiB for a sequence whose length is announced and not there, and the
/// sequences of our messages are nested three deep at most.
pub(crate) const ANNOUNCED: u64 = 3 << 20;

/// What work may cost: so many bytes for each byte of input, and so many in any case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) per_byte: u64,
    pub(crate) fixed: u64,
}

impl Bound {
    /// Does `work` over an input of this size and holds it to the bound.
    pub(crate) fn hold<T>(self, input: usize, work: impl FnOnce() -> T) -> T {
        let Some(meter) = METER.get() else { return work() };
        let before = meter();
        let done = work();
        let spent = meter().saturating_sub(before);
        let most = self.fixed + self.per_byte * input as u64;
        assert!(spent <= most, "{spent} bytes for an input of {input}, at most {most}");
        done
    }
}
