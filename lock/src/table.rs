//! The locks that are held, when each one's time is over, and who waits for it.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use nacolet_model::limits;
use serde::{Deserialize, Serialize};

use crate::command::{
    Acquire, ApplyError, Command, CommandError, Forgo, Free, Gone, Kind, Look, Release, Renew,
    Stamp, Take, check_key, check_time, check_wait, millis_at_most,
};
use crate::owner::account_of;
use crate::shares::Shares;

/// The time of the locks. It begins at zero whenever no lock is held, so that members with the same
/// locks have the same state, whatever there was before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Time {
    /// The last stamp.
    pub(crate) stamp: Stamp,
    /// Milliseconds that have passed, as far as stamps tell.
    pub(crate) millis: u64,
}

impl Time {
    fn advance(&mut self, stamp: Stamp) {
        if stamp.clock == self.stamp.clock {
            let passed = stamp.millis.saturating_sub(self.stamp.millis);
            self.millis = self.millis.saturating_add(passed);
        }
        self.stamp = stamp;
    }
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// Empty where nobody said who it is.
    pub(crate) owner: Arc<str>,
    /// 0 where it is not missed.
    pub(crate) connection: u64,
    /// How often it was taken and not freed.
    pub(crate) count: u32,
    /// When its time is over.
    pub(crate) end: u64,
}

/// Who waits for a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) owner: Arc<str>,
    pub(crate) connection: u64,
    /// When it waits no more.
    pub(crate) end: u64,
}

/// One lock: somebody holds it, or somebody waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lock {
    pub(crate) holder: Option<Holder>,
    pub(crate) queue: VecDeque<Waiter>,
    /// Its deadline, as `Locks::dues` has it.
    due: Option<u64>,
}

impl Lock {
    pub(crate) fn held_by(holder: Option<Holder>) -> Self {
        Self { holder, queue: VecDeque::new(), due: None }
    }

    /// When something is over: the time of who holds it, or the turn of who is first.
    fn deadline(&self) -> Option<u64> {
        let turn = self.queue.front().map(|first| first.end);
        self.holder.as_ref().map(|holder| holder.end).or(turn)
    }

    /// How long that is yet.
    fn rest(&self, now: u64) -> u64 {
        self.deadline().map_or(0, |end| end.saturating_sub(now))
    }

    /// Nobody holds it: whoever is first has its turn, and not for ever.
    pub(crate) fn give_turn(&mut self, now: u64) -> Option<&Waiter> {
        let first = self.queue.front_mut().filter(|_| self.holder.is_none())?;
        let turn = millis_at_most(limits::LOCK_TURN, limits::LOCK_WAIT_MAX);
        first.end = first.end.min(now.saturating_add(turn));
        Some(first)
    }
}

/// A lock by its kind and name.
pub(crate) type Name = (Kind, Arc<str>);

/// What became of a command. A wire format: append fields, never reorder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// It is done: taken, freed, renewed.
    pub done: bool,
    /// How often the lock is taken by now, if by the one who asks.
    pub count: u32,
    /// Its place in the queue, where it waits.
    pub position: Option<u32>,
    /// How long the lock is held yet, milliseconds, or, where it is free, how long whoever is first
    /// may yet take it. 0 where nobody holds it or waits.
    pub rest: u64,
}

/// Somebody who waits may try again: the lock is free, or its turn has come.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Notice {
    /// Over which connection it waits.
    pub connection: u64,
    /// How the lock behaves.
    pub kind: Kind,
    /// Its name.
    pub key: Arc<str>,
    /// Who waits.
    pub owner: Arc<str>,
}

/// All locks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Locks {
    pub(crate) time: Time,
    pub(crate) held: BTreeMap<Name, Lock>,
    /// The deadline of each.
    dues: BTreeSet<(u64, Name)>,
    waiters: usize,
    shares: Shares,
}

impl Locks {
    /// No lock is held.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many locks are held or waited for, some of which may have run out since the last
    /// command.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether no lock is held or waited for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// How many wait, for all locks together.
    pub(crate) fn waiters(&self) -> usize {
        self.waiters
    }

    /// As [`Self::operate_logged`], for whoever asks only whether it is done.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub fn apply_logged(&mut self, command: &Command) -> Result<bool, ApplyError> {
        self.operate_logged(command, &mut Vec::new()).map(|answer| answer.done)
    }

    /// Applies a command from the log, whoever put it there; those who may try again are added to
    /// `notices`.
    ///
    /// # Errors
    /// See [`ApplyError`]. One that is invalid does not even move the time.
    pub fn operate_logged(
        &mut self,
        command: &Command,
        notices: &mut Vec<Notice>,
    ) -> Result<Answer, ApplyError> {
        command.check().map_err(ApplyError::Invalid)?;
        self.operate(command, notices).map_err(ApplyError::Refused)
    }

    /// Applies a command that is known to be valid: whether it is done.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub fn apply(&mut self, command: &Command) -> Result<bool, CommandError> {
        self.operate(command, &mut Vec::new()).map(|answer| answer.done)
    }

    /// Applies a command that is known to be valid, see [`Self::operate_logged`].
    ///
    /// # Errors
    /// As many locks are held, or waited for, as may be.
    pub fn operate(
        &mut self,
        command: &Command,
        notices: &mut Vec<Notice>,
    ) -> Result<Answer, CommandError> {
        self.time.advance(command.stamp());
        self.expire(notices);
        let done = |done| Answer { done, ..Answer::default() };
        let answer = match command {
            Command::Acquire(Acquire { key, millis, stamp }) => {
                let name = (Kind::Plain, Arc::from(&**key));
                if self.held.contains_key(&name) {
                    Ok(done(false))
                } else {
                    let taken = self.hold_new(name, "", 0, *millis, *stamp);
                    taken.map(|()| Answer { count: 1, ..done(true) })
                }
            }
            Command::Release(Release { key, .. }) => {
                Ok(done(self.free(&(Kind::Plain, Arc::from(&**key)), notices)))
            }
            Command::Take(take) => self.take(take),
            Command::Free(free) => Ok(self.free_of(free, notices)),
            Command::Renew(renew) => Ok(done(self.renew(renew))),
            Command::Forgo(forgo) => {
                self.forgo(forgo, notices);
                Ok(done(true))
            }
            Command::Gone(Gone { connection, .. }) => {
                self.gone(*connection, notices);
                Ok(done(true))
            }
            Command::Look(Look { kind, key, .. }) => {
                Ok(self.look(&(*kind, Arc::from(&**key)), notices))
            }
        };
        if self.held.is_empty() {
            self.time = Time::default();
        }
        answer
    }

    /// Takes a lock that nobody holds or waits for.
    fn hold_new(
        &mut self,
        name: Name,
        owner: &str,
        connection: u64,
        millis: u64,
        stamp: Stamp,
    ) -> Result<(), CommandError> {
        if self.held.len() >= limits::LOCKS_MAX {
            return Err(CommandError::TooManyLocks);
        }
        if !self.shares.has_room(owner, connection) {
            return Err(CommandError::TooManyOfOne);
        }
        if self.held.is_empty() {
            self.time = Time { stamp, millis: 0 };
        }
        let end = self.time.millis.saturating_add(millis);
        let holder = Holder { owner: Arc::from(owner), connection, count: 1, end };
        self.put(name, Lock::held_by(Some(holder)));
        Ok(())
    }

    /// Puts a lock where none is.
    pub(crate) fn put(&mut self, name: Name, mut lock: Lock) {
        lock.give_turn(self.time.millis);
        if let Some(Holder { owner, connection, .. }) = &lock.holder {
            self.shares.enter(owner, *connection);
        }
        for Waiter { owner, connection, .. } in &lock.queue {
            self.shares.enter(owner, *connection);
        }
        self.waiters += lock.queue.len();
        self.held.insert(name.clone(), lock);
        self.schedule(&name);
    }

    /// Whether nobody holds or waits for more than may be.
    pub(crate) fn is_shared(&self) -> bool {
        self.shares.is_bounded()
    }

    fn take(&mut self, take: &Take) -> Result<Answer, CommandError> {
        let Take { kind, key, owner, connection, millis, wait_millis, stamp } = take;
        let name = (*kind, Arc::from(&**key));
        let now = self.time.millis;
        self.leave(&name, |waiter| waiter.end <= now);
        let Some(lock) = self.held.get_mut(&name) else {
            self.hold_new(name, owner, *connection, *millis, *stamp)?;
            return Ok(Answer { done: true, count: 1, rest: *millis, ..Answer::default() });
        };
        let is_me = |waiter: &Waiter| *waiter.owner == **owner && waiter.connection == *connection;
        let place = lock.queue.iter().position(is_me);
        let is_again = lock
            .holder
            .as_ref()
            .is_some_and(|holder| *kind == Kind::Reentrant && *holder.owner == **owner);
        if is_again || lock.holder.is_none() && place == Some(0) {
            let count = self.hold(&name, take);
            return Ok(Answer { done: true, count, rest: *millis, ..Answer::default() });
        }
        let rest = lock.rest(now);
        if *wait_millis == 0 {
            return Ok(Answer { rest, ..Answer::default() });
        }
        let end = now.saturating_add(*wait_millis);
        let place = match place {
            Some(place) => {
                lock.queue[place].end = end;
                place
            }
            None if lock.queue.len() >= limits::LOCK_WAITERS_MAX
                || self.waiters >= limits::LOCKS_WAITERS_MAX =>
            {
                return Err(CommandError::TooManyWaiters);
            }
            None if !self.shares.has_room(owner, *connection) => {
                return Err(CommandError::TooManyOfOne);
            }
            None => {
                let owner = Arc::from(&**owner);
                self.shares.enter(&owner, *connection);
                lock.queue.push_back(Waiter { owner, connection: *connection, end });
                self.waiters += 1;
                lock.queue.len() - 1
            }
        };
        Ok(Answer { position: u32::try_from(place).ok(), rest, ..Answer::default() })
    }

    /// Takes a lock again, or when it is its turn; how often it is taken by now.
    fn hold(&mut self, name: &Name, take: &Take) -> u32 {
        let Take { owner, connection, millis, .. } = take;
        let end = self.time.millis.saturating_add(*millis);
        let Some(lock) = self.held.get_mut(name) else { return 0 };
        let count = match &mut lock.holder {
            Some(holder) => {
                self.shares.leave(&holder.owner, holder.connection);
                self.shares.enter(&holder.owner, *connection);
                holder.count = holder.count.saturating_add(1);
                (holder.connection, holder.end) = (*connection, end);
                holder.count
            }
            None => {
                // It has been counted as one who waits.
                self.waiters -= usize::from(lock.queue.pop_front().is_some());
                let owner = Arc::from(&**owner);
                lock.holder = Some(Holder { owner, connection: *connection, count: 1, end });
                1
            }
        };
        self.schedule(name);
        count
    }

    fn free_of(&mut self, free: &Free, notices: &mut Vec<Notice>) -> Answer {
        let name = (free.kind, Arc::from(&*free.key));
        let Some(holder) = self.held.get_mut(&name).and_then(|lock| lock.holder.as_mut()) else {
            return Answer::default();
        };
        let is_own = match free.kind {
            Kind::Plain => {
                let account = account_of(&holder.owner);
                account.is_none() || account == account_of(&free.owner)
            }
            Kind::Reentrant | Kind::NonReentrant => *holder.owner == *free.owner,
        };
        if !is_own {
            return Answer::default();
        }
        if free.kind == Kind::Reentrant && holder.count > 1 {
            holder.count -= 1;
            return Answer { done: true, count: holder.count, ..Answer::default() };
        }
        Answer { done: self.free(&name, notices), ..Answer::default() }
    }

    fn renew(&mut self, renew: &Renew) -> bool {
        let name = (renew.kind, Arc::from(&*renew.key));
        let now = self.time.millis;
        // A lock that is renewed for ever must not keep them.
        self.leave(&name, |waiter| waiter.end <= now);
        let lock = self.held.get_mut(&name);
        let Some(holder) = lock.and_then(|lock| lock.holder.as_mut()) else { return false };
        if *holder.owner != *renew.owner {
            return false;
        }
        holder.end = now.saturating_add(renew.millis);
        self.schedule(&name);
        true
    }

    fn forgo(&mut self, forgo: &Forgo, notices: &mut Vec<Notice>) {
        let name = (forgo.kind, Arc::from(&*forgo.key));
        let is_me = |waiter: &Waiter| {
            *waiter.owner == *forgo.owner && waiter.connection == forgo.connection
        };
        if self.leave(&name, is_me) {
            self.settle(&name, notices);
        }
    }

    /// Takes waiters out of a queue; whether there were any. Of a lock that somebody holds no more
    /// follows; another one is to be settled.
    fn leave(&mut self, name: &Name, leaves: impl Fn(&Waiter) -> bool) -> bool {
        let Some(lock) = self.held.get_mut(name) else { return false };
        let before = lock.queue.len();
        let shares = &mut self.shares;
        lock.queue.retain(|waiter| {
            let goes = leaves(waiter);
            if goes {
                shares.leave(&waiter.owner, waiter.connection);
            }
            !goes
        });
        self.waiters -= before - lock.queue.len();
        before > lock.queue.len()
    }

    fn gone(&mut self, connection: u64, notices: &mut Vec<Notice>) {
        let is_of = |lock: &Lock| {
            lock.holder.as_ref().is_some_and(|holder| holder.connection == connection)
                || lock.queue.iter().any(|waiter| waiter.connection == connection)
        };
        let names: Vec<Name> = if connection == 0 {
            Vec::new()
        } else {
            self.held.iter().filter(|(_, lock)| is_of(lock)).map(|(name, _)| name.clone()).collect()
        };
        for name in names {
            self.leave(&name, |waiter| waiter.connection == connection);
            let holder = self.held.get(&name).and_then(|lock| lock.holder.as_ref());
            if holder.is_some_and(|holder| holder.connection == connection) {
                self.free(&name, notices);
            } else {
                self.settle(&name, notices);
            }
        }
    }

    fn look(&mut self, name: &Name, notices: &mut Vec<Notice>) -> Answer {
        self.settle(name, notices);
        let Some(lock) = self.held.get(name) else { return Answer::default() };
        let (done, rest) = (lock.holder.is_some(), lock.rest(self.time.millis));
        Answer { done, rest, ..Answer::default() }
    }

    /// Frees a lock whoever holds it; whether anybody did.
    fn free(&mut self, name: &Name, notices: &mut Vec<Notice>) -> bool {
        let is_freed = self.let_go(name);
        if is_freed {
            self.settle(name, notices);
        }
        is_freed
    }

    fn let_go(&mut self, name: &Name) -> bool {
        let holder = self.held.get_mut(name).and_then(|lock| lock.holder.take());
        if let Some(Holder { owner, connection, .. }) = &holder {
            self.shares.leave(owner, *connection);
        }
        holder.is_some()
    }

    /// Tells whoever is first in the queue of a free lock; a lock that nobody holds or waits for is
    /// none.
    fn settle(&mut self, name: &Name, notices: &mut Vec<Notice>) {
        let now = self.time.millis;
        self.leave(name, |waiter| waiter.end <= now);
        let Some(lock) = self.held.get_mut(name) else { return };
        if let Some(Waiter { owner, connection, .. }) = lock.give_turn(now) {
            notices.push(Notice {
                connection: *connection,
                kind: name.0,
                key: Arc::clone(&name.1),
                owner: Arc::clone(owner),
            });
        }
        self.schedule(name);
    }

    /// Notes the deadline of a lock, which is none where nobody holds it or waits.
    fn schedule(&mut self, name: &Name) {
        let Some(lock) = self.held.get_mut(name) else { return };
        let due = lock.deadline();
        if due != lock.due {
            if let Some(old) = core::mem::replace(&mut lock.due, due) {
                self.dues.remove(&(old, name.clone()));
            }
            if let Some(due) = due {
                self.dues.insert((due, name.clone()));
            }
        }
        if due.is_none() {
            self.held.remove(name);
        }
    }

    fn expire(&mut self, notices: &mut Vec<Notice>) {
        while self.dues.first().is_some_and(|(due, _)| *due <= self.time.millis) {
            if let Some((_, name)) = self.dues.pop_first() {
                if let Some(lock) = self.held.get_mut(&name) {
                    lock.due = None;
                }
                self.let_go(&name);
                self.settle(&name, notices);
            }
        }
    }

    /// What always holds; for tests.
    ///
    /// # Panics
    /// When it does not.
    pub fn invariants(&self) {
        let now = self.time.millis;
        assert!(self.held.len() <= limits::LOCKS_MAX);
        assert!(self.held.keys().all(|(_, key)| check_key(key).is_ok()));
        let (mut waiters, mut shares) = (0, Shares::default());
        for (name, lock) in &self.held {
            let Lock { holder, queue, due } = lock;
            assert_eq!(*due, lock.deadline(), "{name:?} is over at another time");
            assert!(due.is_some_and(|due| self.dues.contains(&(due, name.clone()))));
            let mut turn = lock.clone();
            turn.give_turn(now);
            assert_eq!(*lock, turn, "the turn of {name:?} is too long");
            if let Some(Holder { owner, connection, .. }) = holder {
                shares.enter(owner, *connection);
            }
            assert!(holder.is_some() || !queue.is_empty(), "{name:?} is none");
            assert!(queue.len() <= limits::LOCK_WAITERS_MAX);
            waiters += queue.len();
            for waiter in queue {
                shares.enter(&waiter.owner, waiter.connection);
                assert!(check_wait(waiter.end.saturating_sub(now)).is_ok(), "it waits for long");
                let twins = queue.iter().filter(|other| {
                    (&other.owner, other.connection) == (&waiter.owner, waiter.connection)
                });
                assert_eq!(twins.count(), 1, "it waits twice");
            }
            if let Some(Holder { end, count, .. }) = holder {
                assert!(*count > 0 && (*count == 1 || name.0 == Kind::Reentrant));
                let is_timed = check_time(end.saturating_sub(now)).is_ok();
                assert!(is_timed, "held for longer than may be");
                assert!(*end >= now, "held for too long");
            }
        }
        assert_eq!((self.held.len(), waiters), (self.dues.len(), self.waiters));
        assert_eq!(self.shares, shares);
        assert!(self.shares.is_bounded());
        assert!(self.waiters <= limits::LOCKS_WAITERS_MAX);
        assert!(!self.held.is_empty() || self.time == Time::default());
    }
}

#[cfg(test)]
mod tests;
