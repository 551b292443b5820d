//! Time and tasks of a simulated world: one thread, one clock that moves from event to event, and
//! an executor that polls woken tasks first come, first served. With the same calls it does the
//! same things, byte for byte; `trace` sums up what happened, so that two runs can be compared.
//!
//! Tasks belong to groups. A group is one life of one node (or the outside world): it can be
//! killed, as by a power cut, and paused, as by SIGSTOP.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use nacolet_model::{Duration, Instant, NodeId};

use crate::story::Story;

/// Polls without any time passing after which tasks are taken for an endless loop.
const POLLS_PER_EVENT_MAX: usize = 200_000;
/// Lives of one node at most: the rest of a group's number names the node.
const LIVES_MAX: u64 = 1_000_000;

/// Names tasks that live and die together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupId(pub u64);

/// The outside world: clients, operators, faults.
pub const OUTSIDE: GroupId = GroupId(0);

/// The group of a node's life.
pub(crate) const fn group_of(node: NodeId, life: u64) -> GroupId {
    GroupId(node.0 * LIVES_MAX + life)
}

/// The node that the tasks of a group belong to; none when they belong to the outside world.
pub(crate) fn node_of(group: GroupId) -> Option<NodeId> {
    (group != OUTSIDE).then_some(NodeId(group.0 / LIVES_MAX))
}

type TaskFuture = Pin<Box<dyn Future<Output = ()>>>;
type Ready = Arc<Mutex<VecDeque<u64>>>;

enum Event {
    Wake(Waker),
    Call(Box<dyn FnOnce()>),
}

struct Task {
    group: GroupId,
    /// Out while it is being polled.
    future: Option<TaskFuture>,
    waker: Arc<TaskWaker>,
}

struct TaskWaker {
    id: u64,
    queued: Mutex<bool>,
    ready: Ready,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut *queued, true) {
            self.ready.lock().unwrap_or_else(PoisonError::into_inner).push_back(self.id);
        }
    }
}

#[derive(Default)]
struct Inner {
    now: Cell<Instant>,
    sequence: Cell<u64>,
    trace: Cell<u64>,
    events: RefCell<BTreeMap<(Instant, u64), Event>>,
    tasks: RefCell<BTreeMap<u64, Task>>,
    ready: Ready,
    paused: RefCell<BTreeSet<GroupId>>,
    /// Woken while their group was paused.
    held: RefCell<Vec<u64>>,
    /// Whose task is being polled; the outside world's between two polls.
    polled: Cell<GroupId>,
    story: Story,
}

/// The simulated world's clock and executor. Clones are one kernel.
#[derive(Clone, Default)]
pub struct Kernel(Rc<Inner>);

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").field("now", &self.now()).finish_non_exhaustive()
    }
}

impl Kernel {
    /// True time: microseconds since the world began.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.0.now.get()
    }

    /// Sums up everything that happened so far.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.0.trace.get()
    }

    /// What happened so far, in words, if somebody asked for that.
    #[must_use]
    pub fn story(&self) -> &Story {
        &self.0.story
    }

    /// Whose task is being polled; after a panic, whose task panicked.
    pub(crate) fn polled(&self) -> GroupId {
        self.0.polled.get()
    }

    /// Moves the clock.
    fn set_now(&self, now: Instant) {
        self.0.now.set(now);
        self.0.story.set_now(now);
    }

    /// Adds a fact to the trace.
    pub fn note(&self, fact: u64) {
        let mixed = (self.0.trace.get() ^ fact).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0.trace.set(mixed.rotate_left(23));
    }

    /// Calls `call` at `at`, or as soon as possible.
    pub fn at(&self, at: Instant, call: impl FnOnce() + 'static) {
        let key = self.key(at);
        self.0.events.borrow_mut().insert(key, Event::Call(Box::new(call)));
    }

    /// Calls `call` after `delay`.
    pub fn after(&self, delay: Duration, call: impl FnOnce() + 'static) {
        self.at(self.now() + delay, call);
    }

    fn key(&self, at: Instant) -> (Instant, u64) {
        let sequence = self.0.sequence.get();
        self.0.sequence.set(sequence + 1);
        (at.max(self.now()), sequence)
    }

    /// Resolves at `deadline`.
    #[must_use]
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        Sleep { kernel: self.clone(), deadline, key: None }
    }

    /// Resolves after `delay`.
    #[must_use]
    pub fn sleep(&self, delay: Duration) -> Sleep {
        self.sleep_until(self.now() + delay)
    }

    /// Adds a task; it is polled when its turn comes.
    pub fn spawn(&self, group: GroupId, future: impl Future<Output = ()> + 'static) {
        let id = self.0.sequence.get();
        self.0.sequence.set(id + 1);
        let ready = Arc::clone(&self.0.ready);
        let waker = Arc::new(TaskWaker { id, queued: Mutex::new(false), ready });
        let task = Task { group, future: Some(Box::pin(future)), waker: Arc::clone(&waker) };
        self.0.tasks.borrow_mut().insert(id, task);
        waker.wake();
    }

    /// Drops every task of `group`, as a power cut does.
    pub fn kill(&self, group: GroupId) {
        let mut tasks = self.0.tasks.borrow_mut();
        let dead: Vec<u64> =
            tasks.iter().filter(|(_, task)| task.group == group).map(|(id, _)| *id).collect();
        let dead: Vec<Task> = dead.iter().filter_map(|id| tasks.remove(id)).collect();
        drop(tasks);
        self.0.paused.borrow_mut().remove(&group);
        // Dropping tells whoever waits for them, and they may use the kernel for that.
        drop(dead);
    }

    /// Drops every task and every event. They hold the kernel, and the kernel holds them.
    pub fn clear(&self) {
        while !self.0.tasks.borrow().is_empty() || !self.0.events.borrow().is_empty() {
            let tasks = std::mem::take(&mut *self.0.tasks.borrow_mut());
            drop(tasks);
            let events = std::mem::take(&mut *self.0.events.borrow_mut());
            drop(events);
        }
    }

    /// Polls no task of `group` until it is resumed.
    pub fn pause(&self, group: GroupId) {
        self.0.paused.borrow_mut().insert(group);
    }

    /// Goes on with the tasks of `group`.
    pub fn resume(&self, group: GroupId) {
        self.0.paused.borrow_mut().remove(&group);
        let held = std::mem::take(&mut *self.0.held.borrow_mut());
        self.ready().extend(held);
    }

    /// Whether `group` is paused.
    #[must_use]
    pub fn is_paused(&self, group: GroupId) -> bool {
        self.0.paused.borrow().contains(&group)
    }

    /// Whether tasks of a node are paused.
    pub(crate) fn is_paused_node(&self, node: NodeId) -> bool {
        self.0.paused.borrow().iter().any(|group| node_of(*group) == Some(node))
    }

    fn ready(&self) -> std::sync::MutexGuard<'_, VecDeque<u64>> {
        self.0.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls woken tasks until none is left.
    ///
    /// # Panics
    /// Tasks wake each other without end.
    pub fn settle(&self) {
        for _ in 0..POLLS_PER_EVENT_MAX {
            let next = self.ready().pop_front();
            let Some(id) = next else { return };
            self.poll(id);
        }
        panic!("the tasks wake each other without end");
    }

    fn poll(&self, id: u64) {
        let mut tasks = self.0.tasks.borrow_mut();
        let Some(task) = tasks.get_mut(&id) else { return };
        if self.0.paused.borrow().contains(&task.group) {
            self.0.held.borrow_mut().push(id);
            return;
        }
        *task.waker.queued.lock().unwrap_or_else(PoisonError::into_inner) = false;
        let waker = Waker::from(Arc::clone(&task.waker));
        let Some(mut future) = task.future.take() else { return };
        self.0.polled.set(task.group);
        drop(tasks);
        self.note(id);
        let ended = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        self.0.polled.set(OUTSIDE);
        let mut tasks = self.0.tasks.borrow_mut();
        if ended {
            tasks.remove(&id);
        } else if let Some(task) = tasks.get_mut(&id) {
            task.future = Some(future);
            return;
        }
        // It ended, or it was killed while it was being polled.
        drop(tasks);
        drop(future);
    }

    /// Moves to the next event no later than `end`, carries it out and lets the tasks settle. False
    /// when there is none: it is `end` then.
    pub fn step(&self, end: Instant) -> bool {
        let mut events = self.0.events.borrow_mut();
        let due = events.first_key_value().is_some_and(|((at, _), _)| *at <= end);
        if !due {
            drop(events);
            self.set_now(self.now().max(end));
            return false;
        }
        let Some(((at, sequence), event)) = events.pop_first() else { return false };
        drop(events);
        self.set_now(at);
        self.note(at.as_micros() ^ sequence.rotate_left(40));
        match event {
            Event::Wake(waker) => waker.wake(),
            Event::Call(call) => call(),
        }
        self.settle();
        true
    }
}

/// Waits for a time.
#[derive(Debug)]
pub struct Sleep {
    kernel: Kernel,
    deadline: Instant,
    key: Option<(Instant, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.kernel.now() >= self.deadline {
            return Poll::Ready(());
        }
        let key = self.key.unwrap_or_else(|| self.kernel.key(self.deadline));
        self.key = Some(key);
        self.kernel.0.events.borrow_mut().insert(key, Event::Wake(context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.kernel.0.events.borrow_mut().remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Rc<RefCell<Vec<&'static str>>> {
        Rc::default()
    }

    #[test]
    fn events_come_in_the_order_of_their_time_and_then_of_their_making() {
        let (kernel, log) = (Kernel::default(), log());
        for (millis, name) in [(5, "late"), (1, "early"), (5, "later")] {
            let log = Rc::clone(&log);
            kernel.after(Duration::from_millis(millis), move || log.borrow_mut().push(name));
        }
        while kernel.step(Instant::from_millis(4)) {}
        assert_eq!(*log.borrow(), ["early"]);
        assert_eq!(kernel.now(), Instant::from_millis(4));
        while kernel.step(Instant::from_millis(9)) {}
        assert_eq!(*log.borrow(), ["early", "late", "later"]);
    }

    #[test]
    fn a_paused_group_wakes_late_and_a_killed_one_never() {
        let (kernel, log) = (Kernel::default(), log());
        for (group, name) in [(1, "paused"), (2, "killed"), (3, "free")] {
            let (sleep, log) = (kernel.sleep(Duration::from_millis(1)), Rc::clone(&log));
            kernel.spawn(GroupId(group), async move {
                sleep.await;
                log.borrow_mut().push(name);
            });
        }
        kernel.settle();
        kernel.pause(GroupId(1));
        kernel.kill(GroupId(2));
        while kernel.step(Instant::from_millis(9)) {}
        assert_eq!(*log.borrow(), ["free"]);
        kernel.resume(GroupId(1));
        kernel.settle();
        assert_eq!(*log.borrow(), ["free", "paused"]);
    }
}
