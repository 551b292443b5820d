//! An executor that runs tasks until none can go on, and the clock that decides when they can
//! again.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};

use nacolet_model::{Duration, Instant};

use crate::runtime::{LocalBoxFuture, Timer};

/// Rounds after which tasks that keep waking each other are taken for an endless loop.
const ROUNDS_MAX: usize = 100_000;

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct Task {
    future: LocalBoxFuture<'static, ()>,
    woken: Arc<Flag>,
}

/// Tasks on one thread, polled in the order in which they were spawned.
#[derive(Default)]
pub struct Crew {
    tasks: BTreeMap<usize, Task>,
    next: usize,
    polls: u64,
}

impl core::fmt::Debug for Crew {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Crew").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}

/// The outcome of a spawned task, once it is there.
#[derive(Clone, Debug)]
pub struct Pending<T> {
    outcome: Rc<RefCell<Option<T>>>,
    task: usize,
}

impl<T> Pending<T> {
    /// The outcome, once.
    #[must_use]
    pub fn take(&self) -> Option<T> {
        self.outcome.borrow_mut().take()
    }

    /// Whether the task has ended and its outcome was not taken.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.outcome.borrow().is_some()
    }
}

impl Crew {
    /// Adds a task; it first runs with the next [`Self::run`].
    pub fn spawn<T: 'static>(&mut self, future: impl Future<Output = T> + 'static) -> Pending<T> {
        let outcome = Rc::new(RefCell::new(None));
        let slot = Rc::clone(&outcome);
        let future = Box::pin(async move {
            let value = future.await;
            *slot.borrow_mut() = Some(value);
        });
        let task = self.next;
        self.next += 1;
        self.tasks.insert(task, Task { future, woken: Arc::new(Flag(AtomicBool::new(true))) });
        Pending { outcome, task }
    }

    /// Drops a task, as a crash does.
    pub fn kill<T>(&mut self, pending: &Pending<T>) {
        self.tasks.remove(&pending.task);
    }

    /// Polls woken tasks until none is.
    ///
    /// # Panics
    /// Tasks wake each other without end.
    pub fn run(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let woken: Vec<usize> = self
                .tasks
                .iter()
                .filter(|(_, task)| task.woken.0.swap(false, Ordering::SeqCst))
                .map(|(number, _)| *number)
                .collect();
            if woken.is_empty() {
                return;
            }
            for number in woken {
                self.poll(number);
            }
        }
        panic!("the tasks wake each other without end");
    }

    /// How often any task has been polled.
    #[must_use]
    pub const fn polls(&self) -> u64 {
        self.polls
    }

    /// Runs, then lets time pass, alarm by alarm.
    pub fn pass(&mut self, timer: &ManualTimer, time: Duration) {
        self.run();
        let end = timer.now() + time;
        while let Some(alarm) = timer.next_alarm().filter(|alarm| *alarm <= end) {
            timer.set(alarm);
            self.run();
        }
        timer.set(end);
        self.run();
    }

    fn poll(&mut self, number: usize) {
        let Some(task) = self.tasks.get_mut(&number) else { return };
        self.polls += 1;
        let waker = Waker::from(Arc::clone(&task.woken));
        if task.future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            self.tasks.remove(&number);
        }
    }
}

#[derive(Debug, Default)]
struct Clock {
    now: Instant,
    next: u64,
    alarms: BTreeMap<(Instant, u64), Waker>,
}

/// A clock that stands still until it is set. Clones are one clock.
#[derive(Clone, Debug, Default)]
pub struct ManualTimer(Rc<RefCell<Clock>>);

impl ManualTimer {
    /// Moves the clock, never backwards, and wakes those whose time has come.
    pub fn set(&self, now: Instant) {
        let mut clock = self.0.borrow_mut();
        let now = clock.now.max(now);
        clock.now = now;
        let later = clock.alarms.split_off(&(now, u64::MAX));
        let due = core::mem::replace(&mut clock.alarms, later);
        drop(clock);
        due.into_values().for_each(Waker::wake);
    }

    /// The earliest time anybody waits for.
    #[must_use]
    pub fn next_alarm(&self) -> Option<Instant> {
        self.0.borrow().alarms.keys().next().map(|(at, _)| *at)
    }
}

/// Takes its alarm out of the clock when it is no longer waited for.
struct Alarm {
    clock: ManualTimer,
    key: (Instant, u64),
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.clock.0.borrow_mut().alarms.remove(&self.key);
    }
}

impl Timer for ManualTimer {
    fn now(&self) -> Instant {
        self.0.borrow().now
    }

    fn until(&self, deadline: Instant) -> LocalBoxFuture<'static, ()> {
        let mut clock = self.0.borrow_mut();
        clock.next += 1;
        let alarm = Alarm { clock: self.clone(), key: (deadline, clock.next) };
        Box::pin(poll_fn(move |context| {
            let mut clock = alarm.clock.0.borrow_mut();
            if clock.now >= deadline {
                return Poll::Ready(());
            }
            clock.alarms.insert(alarm.key, context.waker().clone());
            Poll::Pending
        }))
    }
}
