//! The locks: who took which name, and the time that no wall clock touches.

use nacolet_lock::{Acquire, Command, Loader, Locks, Release, Stamp};
use nacolet_model::Duration;

use crate::replica::Replica;
use crate::source::Source;

impl Replica for Locks {
    type Command = Command;

    fn empty() -> Self {
        Self::new()
    }

    fn made(&self, source: &mut Source<'_>) -> Option<Command> {
        let stamp = Stamp { clock: source.choice(3).into(), millis: source.number() };
        let key = match source.choice(5) {
            0 => source.text(),
            other => ["a", "b", "c", "d"][usize::from(other) - 1].into(),
        };
        if source.flag() {
            Release::new(&key, stamp).ok().map(Command::Release)
        } else {
            let time = Duration::from_millis(source.number());
            Acquire::new(&key, time, stamp).ok().map(Command::Acquire)
        }
    }

    fn is_valid(command: &Command) -> bool {
        command.check().is_ok()
    }

    fn apply(&mut self, _index: u64, command: Command) -> String {
        format!("{:?}", self.apply_logged(&command))
    }

    fn capture(&self) -> Vec<Vec<u8>> {
        let mut capture = Self::capture(self);
        std::iter::from_fn(|| capture.next_chunk()).collect()
    }

    fn load(_old: Option<Self>, chunks: &[Vec<u8>]) -> Option<Self> {
        let mut loader = Loader::new();
        chunks.iter().try_for_each(|chunk| loader.push(chunk)).ok()?;
        loader.finish().ok()
    }

    fn invariants(&self) {
        Self::invariants(self);
    }

    fn assert_alike(&self, other: &Self) {
        assert_eq!(self, other);
    }
}
