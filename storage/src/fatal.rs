//! How the process ends where going on could lose or contradict acknowledged data.

/// Ends the process because going on could lose or contradict acknowledged data.
pub type Fatal = fn(&str) -> !;

/// Says why on standard error and aborts: no destructor runs, no further byte is written.
pub fn abort_process(why: &str) -> ! {
    use std::io::Write;
    // Not `eprintln`, which panics when nobody reads standard error any more; a panic could leave
    // the process alive.
    drop(writeln!(std::io::stderr(), "fatal: {why}"));
    std::process::abort();
}
