//! Looks how much memory this process has, where it has little: the allocator may keep more than
//! the configs need, above all where contents grow a little at every update. A node refuses what
//! its clients publish before the system ends it; what is agreed is applied all the same.

use nacolet_config::{Command, CommandError};

/// Bytes of contents after which it is looked again.
const LOOK_EVERY_BYTES: usize = 64 << 10;

/// Whether memory is short.
pub(crate) struct Shortage {
    max: Option<u64>,
    unseen: usize,
    is_short: bool,
}

impl Shortage {
    /// `max` is the memory there is, in bytes, where it is little.
    pub(crate) fn new(max: Option<u64>) -> Self {
        Self { max, unseen: 0, is_short: false }
    }

    /// Whether a client may propose this now. Deletes are always taken.
    pub(crate) fn check(&mut self, command: &Command) -> Result<(), CommandError> {
        let Some(max) = self.max else { return Ok(()) };
        let Command::Publish(publish) = command else { return Ok(()) };
        self.unseen += publish.content.len();
        if self.is_short || self.unseen > LOOK_EVERY_BYTES {
            self.unseen = 0;
            let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
            self.note(max, own_bytes(&status));
        }
        if self.is_short { Err(CommandError::NoRoom { bytes: max }) } else { Ok(()) }
    }

    /// The last part is for the kernel and for what comes between two looks.
    fn note(&mut self, max: u64, taken: u64) {
        let before = std::mem::replace(&mut self.is_short, taken > max - max / 32 * 3);
        match (before, self.is_short) {
            (false, true) => tracing::warn!(
                taken,
                max,
                "memory is short: nothing can be published here; deletes and a restart free some"
            ),
            (true, false) => tracing::info!(taken, "memory is not short any more"),
            (false, false) | (true, true) => {}
        }
    }
}

/// Memory that is no file's, in bytes; none where the system does not say.
fn own_bytes(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map_or(0, |kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_short_before_there_is_none_and_not_for_ever() {
        assert_eq!(own_bytes("VmRSS:\t 9 kB\nRssAnon:\t    2048 kB\nRssFile: 7 kB\n"), 2 << 20);
        assert_eq!(own_bytes("VmRSS: 9 kB\n"), 0);
        let mut shortage = Shortage::new(Some(32 << 20));
        for (mebibytes, is_short) in [(0, false), (29, false), (30, true), (40, true), (28, false)]
        {
            shortage.note(32 << 20, mebibytes << 20);
            assert_eq!(shortage.is_short, is_short, "{mebibytes} MiB");
        }
    }
}
