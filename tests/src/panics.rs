//! What a panic says besides its message: where it was, and which functions of ours it came
//! through. Only the hook of the process hears of that, so it is noted per thread until somebody
//! asks.

use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::panic;
use std::sync::Once;

/// Functions of ours that are named, the innermost ones.
const FUNCTIONS_MAX: usize = 12;

thread_local! {
    static LAST: RefCell<Option<Panic>> = const { RefCell::new(None) };
    static WATCHES: RefCell<bool> = const { RefCell::new(false) };
}

/// The last panic of this thread.
#[derive(Clone, Debug)]
pub(crate) struct Panic {
    /// File, line and column.
    pub(crate) location: String,
    /// Our functions that it came through, the innermost first, as far as the binary knows their
    /// names.
    pub(crate) functions: Vec<String>,
}

/// Runs `run`, in which every panic of this thread is noted, and is not told on standard error.
pub(crate) fn noting<T>(run: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !WATCHES.with_borrow(|watches| *watches) {
                return before(info);
            }
            let location = info.location().map(ToString::to_string).unwrap_or_default();
            let functions = functions(&Backtrace::force_capture().to_string());
            LAST.with_borrow_mut(|last| *last = Some(Panic { location, functions }));
        }));
    });
    WATCHES.with_borrow_mut(|watches| *watches = true);
    let result = run();
    WATCHES.with_borrow_mut(|watches| *watches = false);
    result
}

/// The panic that was noted last, once.
pub(crate) fn take() -> Option<Panic> {
    LAST.with_borrow_mut(Option::take)
}

/// Our functions in a backtrace, without the simulator's own way to a task.
fn functions(backtrace: &str) -> Vec<String> {
    let names = backtrace.lines().filter_map(|line| line.trim_start().split_once(": "));
    let names = names.map(|(_, name)| name.trim());
    let ours = names.filter(|name| name.contains("nacolet_") && !name.contains("::panics::"));
    ours.take(FUNCTIONS_MAX).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn a_panic_is_noted_with_its_place_and_only_once() {
        let line = line!() + 1;
        let panicked = noting(|| catch_unwind(|| panic!("on purpose")));
        assert!(panicked.is_err());
        let panic = take().expect("it was noted");
        assert!(panic.location.starts_with(&format!("{}:{line}:", file!())), "{}", panic.location);
        assert!(take().is_none());
    }

    #[test]
    fn the_way_of_a_panic_is_told_by_our_functions() {
        let backtrace = "   0: std::panicking::begin\n             at /rustc/library/std:1\n   \
            1: nacolet_tests::panics::noting\n   2: nacolet_raft::engine::step::Engine::step\n  \
            10: <nacolet_config::Store as core::fmt::Debug>::fmt\n             at config/src/store.rs:7\n";
        let expected = [
            "nacolet_raft::engine::step::Engine::step",
            "<nacolet_config::Store as core::fmt::Debug>::fmt",
        ];
        assert_eq!(functions(backtrace), expected);
    }
}
