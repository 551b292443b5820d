//! Named points where a test build can end the process, so that crashes are aimed at code and not
//! only at moments. With the feature `failpoints` off (the default) a point is an empty inline
//! function. With it on, `NACOLET_FAILPOINT=name[:n]` aborts at the n-th visit of that point.

/// Every point, in the order in which a write passes them.
pub const FAILPOINTS: &[&str] = &[
    "log.before-write",
    "log.written",
    "log.before-sync",
    "log.synced",
    "log.before-durable",
    "log.before-complete",
    "log.reset-written",
    "log.purge-compacted",
    "log.purged",
    "log.file-created",
    "small.written",
    "small.synced",
    "small.renamed",
    "snapshot.block",
    "snapshot.written",
    "snapshot.synced",
    "snapshot.renamed",
    "snapshot.directory-synced",
    "snapshot.old-removed",
    "snapshot.received-part",
];

/// Passes one point.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn hit(_name: &'static str) {}

/// Passes one point; ends the process when it is the one asked for.
#[cfg(feature = "failpoints")]
pub(crate) fn hit(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static VISITS: AtomicU64 = AtomicU64::new(0);

    debug_assert!(FAILPOINTS.contains(&name), "unlisted failpoint {name}");
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("NACOLET_FAILPOINT").ok()?;
        let (name, nth) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), nth.parse().unwrap_or(1)))
    });
    if let Some((wanted, nth)) = wanted
        && wanted == name
        && VISITS.fetch_add(1, Ordering::Relaxed) + 1 == *nth
    {
        std::process::abort();
    }
}
