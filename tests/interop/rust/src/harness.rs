//! Cases, how they are told, and the word with `cargo ci interop`. A case fails by panicking.

use std::future::Future;
use std::io::{self, BufRead, Write};
use std::pin::Pin;
use std::time::{Duration, Instant};

/// The panic message of a case that cannot be tried here.
const SKIP: &str = "skip: ";

/// A case that has a name and has not begun.
pub struct Case {
    name: &'static str,
    run: fn() -> Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Case {
    /// Names a case.
    pub const fn new(
        name: &'static str,
        run: fn() -> Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Self {
        Self { name, run }
    }
}

/// Runs `together` side by side, because most of them wait, then `alone` one by one.
pub async fn run(together: &[Case], alone: &[Case]) -> bool {
    let wanted: Vec<String> = std::env::args().skip(2).collect();
    let named = |case: &&Case| wanted.is_empty() || wanted.iter().any(|name| name == case.name);
    let mut passed = true;
    // The message goes into the case's line; where it comes from, to the standard error.
    std::panic::set_hook(Box::new(|info| match info.location() {
        Some(location) if info.payload_as_str().is_none_or(|why| !why.starts_with(SKIP)) => {
            eprintln!("{}:{}", location.file(), location.line());
        }
        Some(_) | None => {}
    }));
    let tasks: Vec<_> = together.iter().filter(named).map(tell).map(tokio::spawn).collect();
    for task in tasks {
        passed &= task.await.unwrap_or(false);
    }
    for case in alone.iter().filter(named) {
        passed &= tell(case).await;
    }
    passed
}

/// Runs one case and prints its line.
fn tell(case: &Case) -> impl Future<Output = bool> + Send + 'static {
    let (name, future) = (case.name, (case.run)());
    async move {
        let start = Instant::now();
        let Err(error) = tokio::spawn(future).await else {
            say(&format!("ok {name} ({:.1} s)", start.elapsed().as_secs_f64()));
            return true;
        };
        let payload = error.into_panic();
        let why = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("it panicked");
        let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some(why) = why.strip_prefix(SKIP) {
            say(&format!("skip {name} {why}"));
            return true;
        }
        say(&format!("FAIL {name} {why}"));
        false
    }
}

/// Looks until `look` says true, or panics after `within`.
pub async fn eventually<F: Future<Output = bool>>(
    within: Duration,
    what: &str,
    mut look: impl FnMut() -> F,
) -> Duration {
    let start = Instant::now();
    while !look().await {
        assert!(start.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    start.elapsed()
}

/// Waits until every node has heard of what one of them took; one node has at once.
pub async fn settle() {
    if std::env::args().nth(1).is_some_and(|servers| servers.contains(',')) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// A name no earlier run has used, so that a server may be tried twice.
pub fn unique(word: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let since = std::time::UNIX_EPOCH.elapsed().expect("the clock is past 1970").as_millis();
    format!("{word}-{since}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Has the server killed and started again on the same data. The line's answer is read on this
/// thread: nothing else runs meanwhile that would mind.
pub fn restart_server() {
    say("RESTART");
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    if read.is_err() || answer.trim() != "RESTARTED" {
        panic!("{SKIP}the server is not ours to restart");
    }
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        // Nobody listens any more.
        std::process::exit(1);
    }
}
