//! Passwords: hashed with bcrypt, one at a time, with a short queue, so that nobody can keep the
//! machine busy with them; wrong ones are counted for a while (docs/reliability.md, "Must have":
//! M5). Whoever sends name and password with every call, as the Node SDK does, is recognised after
//! the first time without another hash.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hmac::{Hmac, Mac};
use nacolet_auth::User;
use nacolet_model::{Duration, Instant, limits};
use sha2::Sha256;

use crate::access::denied::{BAD_PASSWORD, Denied};

/// What an unknown user is compared with, which takes as long as with a known one. The hash of
/// nothing that anybody knows: its last part is made up.
const NOBODY: &str = "$2b$10$abcdefghijklmnopqrstuuJ3YKq3yP1ZMWUZnlmWpZZpZZZpZZpZe";

/// Why a password is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too short or too long.
    #[error(
        "a password has {} to {} bytes",
        limits::PASSWORD_BYTES_MIN,
        limits::PASSWORD_BYTES_MAX
    )]
    Length,
    /// The system has no random numbers.
    #[error("the password cannot be hashed")]
    Hash,
    /// The system has no random numbers to make one of.
    #[error("the system has no random numbers")]
    Random,
}

/// The hash of a new password. Takes long on purpose.
///
/// # Errors
/// See [`PasswordError`].
pub fn hash(password: &str) -> Result<Box<str>, PasswordError> {
    if !(limits::PASSWORD_BYTES_MIN..=limits::PASSWORD_BYTES_MAX).contains(&password.len()) {
        return Err(PasswordError::Length);
    }
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).ok().ok_or(PasswordError::Hash)?;
    let parts = bcrypt::hash_with_salt(password, limits::PASSWORD_COST, salt);
    let parts = parts.ok().ok_or(PasswordError::Hash)?;
    Ok(parts.format_for_version(bcrypt::Version::TwoB).into())
}

/// Letters and digits of a random password: no two look alike.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Of five bits each.
const LETTERS_COUNT: usize = 26;

/// 130 random bits that can be read out.
///
/// # Errors
/// The system has no random numbers.
pub fn random_password() -> Result<String, PasswordError> {
    let mut bytes = [0; LETTERS_COUNT];
    getrandom::fill(&mut bytes).ok().ok_or(PasswordError::Random)?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect())
}

/// Looks at passwords.
pub(super) struct Gate {
    /// One hash at a time.
    turn: smol::lock::Mutex<()>,
    waiting: Queue,
    failures: Mutex<Failures>,
    /// Of those who were recognised: a mark of the password.
    recognised: Mutex<BTreeMap<Box<str>, Recognised>>,
    /// Makes the marks; without random numbers there are none.
    secret: Option<[u8; 32]>,
    /// How long whoever has failed too often waits, once.
    delay: Duration,
    delayed: Delayed,
}

struct Recognised {
    since: u64,
    mark: [u8; 32],
}

impl Gate {
    /// Has recognised nobody.
    pub(super) fn new(delay: Duration) -> Self {
        let mut secret = [0; 32];
        let secret = getrandom::fill(&mut secret).ok().map(|()| secret);
        Self {
            turn: smol::lock::Mutex::new(()),
            waiting: Queue::default(),
            failures: Mutex::default(),
            recognised: Mutex::default(),
            secret,
            delay,
            delayed: Delayed::default(),
        }
    }

    /// Whether this is the password of this user.
    pub(super) async fn verify(
        &self,
        now: Instant,
        name: &str,
        user: Option<User>,
        password: String,
        ip: &str,
    ) -> Result<(), Denied> {
        if user.as_ref().is_some_and(|user| self.is_recognised(name, user, &password)) {
            return Ok(());
        }
        let source = source(ip);
        let times = locked(&self.failures).tries(now, name, &source)?;
        self.wait(times, &source).await?;
        let _turn = self.turn(name, &password).await?;
        // Whoever waited may have been recognised meanwhile, or have used up the tries.
        if user.as_ref().is_some_and(|user| self.is_recognised(name, user, &password)) {
            return Ok(());
        }
        locked(&self.failures).tries(now, name, &source)?;
        let hash = user.as_ref().map_or(NOBODY, |user| &user.hash).to_owned();
        let mark = self.mark(name, &password);
        let is_right = smol::unblock(move || {
            password.len() <= limits::PASSWORD_BYTES_MAX
                && bcrypt::verify(password, &hash).unwrap_or(false)
        })
        .await;
        match user {
            Some(User { since, .. }) if is_right => {
                locked(&self.failures).forget(name, &source);
                if let Some(mark) = mark.map(|mark| mark.finalize().into_bytes().into()) {
                    let mut recognised = locked(&self.recognised);
                    if recognised.len() >= limits::USERS_MAX && !recognised.contains_key(name) {
                        // Of users that are no more, or all are there and come back after one hash.
                        recognised.clear();
                    }
                    recognised.insert(name.into(), Recognised { since, mark });
                }
                Ok(())
            }
            Some(_) | None => Err(self.wrong(now, name, &source, times)),
        }
    }

    /// Whether this user has no more tries from there.
    pub(super) fn is_shut(&self, now: Instant, name: &str, ip: &str) -> bool {
        locked(&self.failures).tries(now, name, &source(ip)).is_err()
    }

    /// Waits until no other password is looked at, unless too many wait already.
    pub(super) async fn turn(
        &self,
        name: &str,
        password: &str,
    ) -> Result<smol::lock::MutexGuard<'_, ()>, Denied> {
        let mark = self.mark(name, password).map(|mark| mark.finalize().into_bytes().into());
        let place = QueuePlace::take(&self.waiting, mark.unwrap_or_default());
        let Some(_place) = place else { return Err(Denied::TooMany(1)) };
        Ok(self.turn.lock().await)
    }

    /// Waits so many times, unless too many wait already, in all or from there.
    async fn wait(&self, times: u32, source: &str) -> Result<(), Denied> {
        struct Waiting<'a>(&'a Delayed, &'a str);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                let mut delayed = locked(self.0);
                if let Some(count) = delayed.get_mut(self.1) {
                    *count -= 1;
                    if *count == 0 {
                        delayed.remove(self.1);
                    }
                }
            }
        }
        if times == 0 {
            return Ok(());
        }
        {
            let mut delayed = locked(&self.delayed);
            let of_source = delayed.get(source).copied().unwrap_or_default();
            if delayed.values().sum::<usize>() >= limits::LOGINS_WAITING_MAX
                || of_source >= limits::LOGINS_WAITING_PER_ADDRESS_MAX
            {
                return Err(Denied::TooMany(LONGEST_S));
            }
            delayed.insert(source.into(), of_source + 1);
        }
        let _waiting = Waiting(&self.delayed, source);
        smol::Timer::after(self.delay * times).await;
        Ok(())
    }

    /// Counts a wrong password that was looked at after so many waits. Who cannot be slowed down
    /// any more is told to go away for a while; the right password is taken all the same.
    fn wrong(&self, now: Instant, name: &str, source: &str, times: u32) -> Denied {
        locked(&self.failures).count(now, name, source);
        if times < limits::LOGIN_DELAYS_MAX { BAD_PASSWORD } else { Denied::TooMany(LONGEST_S) }
    }

    /// Compares in constant time.
    fn is_recognised(&self, name: &str, user: &User, password: &str) -> bool {
        let Some(mark) = self.mark(name, password) else { return false };
        let recognised = locked(&self.recognised);
        let known = recognised.get(name).filter(|known| known.since == user.since);
        known.is_some_and(|known| mark.verify_slice(&known.mark).is_ok())
    }

    fn mark(&self, name: &str, password: &str) -> Option<Hmac<Sha256>> {
        let secret = self.secret.as_ref()?;
        // HMAC takes keys of any length.
        let mut mark = Hmac::<Sha256>::new_from_slice(secret).ok()?;
        mark.update(name.as_bytes());
        mark.update(&[0]);
        mark.update(password.as_bytes());
        Some(mark)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The longest that a try waits, in seconds.
const LONGEST_S: u32 = limits::LOGIN_DELAYS_MAX;
const _: () = assert!(limits::LOGIN_DELAY.as_secs() == 1, "LONGEST_S counts seconds");

/// How many tries wait, by where they come from.
type Delayed = Mutex<BTreeMap<Box<str>, usize>>;

/// What waits to be looked at: marks of name and password, each with how many wait with it.
type Queue = Mutex<BTreeMap<[u8; 32], usize>>;

/// A place in the queue.
struct QueuePlace<'a> {
    queue: &'a Queue,
    mark: [u8; 32],
}

impl<'a> QueuePlace<'a> {
    fn take(queue: &'a Queue, mark: [u8; 32]) -> Option<Self> {
        let mut waiting = locked(queue);
        if waiting.len() >= limits::PASSWORDS_WAITING_MAX && !waiting.contains_key(&mark) {
            return None;
        }
        *waiting.entry(mark).or_default() += 1;
        drop(waiting);
        Some(Self { queue, mark })
    }
}

impl Drop for QueuePlace<'_> {
    fn drop(&mut self) {
        let mut waiting = locked(self.queue);
        if let Some(count) = waiting.get_mut(&self.mark) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.mark);
            }
        }
    }
}

/// Where tries come from: an address, or of IPv6 the network of it, in which anybody has as many
/// addresses as he likes.
pub(super) fn source(ip: &str) -> Box<str> {
    match ip.parse::<Ipv6Addr>() {
        Ok(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).to_string().into()
        }
        Err(_) => ip.into(),
    }
}

/// Wrong passwords: by source and user, by source, and by user.
#[derive(Debug, Default)]
struct Failures(BTreeMap<(Box<str>, Box<str>), FailureCount>);

#[derive(Clone, Copy, Debug)]
struct FailureCount {
    failures: u32,
    /// Of the first of them.
    since: Instant,
}

impl Failures {
    /// Stands for every user, and for every source.
    const ALL: &str = "";

    fn counted(&self, now: Instant, source: &str, name: &str) -> Option<&FailureCount> {
        let count = self.0.get(&(Box::from(source), Box::from(name)));
        count.filter(|count| count.is_in_force(now))
    }

    fn of(&self, now: Instant, source: &str, name: &str) -> u32 {
        self.counted(now, source, name).map_or(0, |count| count.failures)
    }

    /// How many times the next try waits.
    ///
    /// # Errors
    /// There are no more tries as long as the failures count.
    fn tries(&self, now: Instant, name: &str, source: &str) -> Result<u32, Denied> {
        let name = Self::tracked(name);
        let pair = self.counted(now, source, name);
        if let Some(count) = pair.filter(|count| count.failures >= limits::LOGIN_FAILURES_MAX) {
            let left = limits::LOGIN_WINDOW.saturating_sub(now.saturating_since(count.since));
            return Err(Denied::TooMany(
                u32::try_from(left.as_secs()).map_or(1, |left| left.max(1)),
            ));
        }
        let pair = pair.map_or(0, |count| count.failures);
        let beyond = |failures: u32, free: u32| (failures + 1).saturating_sub(free);
        let often = beyond(pair, limits::LOGIN_FAILURES_FREE)
            .max(beyond(self.of(now, source, Self::ALL), limits::LOGIN_FAILURES_PER_ADDRESS_MAX))
            .max(beyond(self.of(now, Self::ALL, name), limits::LOGIN_FAILURES_PER_USER_MAX));
        Ok(often.min(limits::LOGIN_DELAYS_MAX))
    }

    /// Long names are no users; one place is enough for all of them.
    fn tracked(name: &str) -> &str {
        if name.len() > 4 * limits::USER_NAME_CHARS_MAX { "a name that is too long" } else { name }
    }

    fn count(&mut self, now: Instant, name: &str, source: &str) {
        let name = Self::tracked(name);
        for (source, name) in [(source, name), (source, Self::ALL), (Self::ALL, name)] {
            let key = (Box::from(source), Box::from(name));
            if self.0.len() >= limits::LOGINS_TRACKED_MAX && !self.0.contains_key(&key) {
                self.make_room(now);
            }
            let fresh = FailureCount { failures: 0, since: now };
            let count = self.0.entry(key).or_insert(fresh);
            if !count.is_in_force(now) {
                *count = fresh;
            }
            count.failures = count.failures.saturating_add(1);
        }
    }

    fn forget(&mut self, name: &str, source: &str) {
        self.0.remove(&(Box::from(source), Box::from(name)));
    }

    /// What is over goes, else the oldest.
    fn make_room(&mut self, now: Instant) {
        self.0.retain(|_, count| count.is_in_force(now));
        if self.0.len() >= limits::LOGINS_TRACKED_MAX {
            let oldest = self.0.iter().min_by_key(|(_, count)| count.since);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.0.remove(&oldest);
            }
        }
    }
}

impl FailureCount {
    fn is_in_force(&self, now: Instant) -> bool {
        now.saturating_since(self.since) < limits::LOGIN_WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn user(password: &str, since: u64) -> Option<User> {
        Some(User { hash: hash(password).expect("a password"), since })
    }

    #[test]
    fn a_hash_is_of_its_password_alone() {
        let hashed = hash("correct horse").expect("a password");
        assert!(hashed.starts_with("$2b$10$") && hashed.len() == 60, "{hashed}");
        assert_eq!(bcrypt::verify("correct horse", &hashed).ok(), Some(true));
        assert_eq!(bcrypt::verify("battery staple", &hashed).ok(), Some(false));
        assert_ne!(hash("correct horse"), Ok(hashed), "salted");
        let long = "p".repeat(limits::PASSWORD_BYTES_MAX);
        assert!(hash(&long).is_ok());
        assert_eq!(hash(&(long + "p")), Err(PasswordError::Length));
        assert_eq!(hash("short"), Err(PasswordError::Length));
    }

    #[test]
    fn a_random_password_is_one_that_is_taken_and_no_two_are_alike() {
        let (first, second) = (random_password(), random_password());
        let (first, second) = (first.expect("random"), second.expect("random"));
        assert!(first != second && hash(&first).is_ok());
        assert!(first.bytes().all(|byte| LETTERS.contains(&byte)), "{first}");
    }

    #[test]
    fn an_unknown_user_is_compared_with_a_hash_that_can_be_read() {
        assert_eq!(bcrypt::verify("anything", NOBODY).ok(), Some(false));
    }

    #[test]
    fn whoever_was_right_once_is_recognised_until_the_password_changes() {
        let gate = Gate::new(Duration::ZERO);
        let (known, changed) = (user("correct horse", 1), user("battery staple", 2));
        let verify = |user: &Option<User>, password: &str| {
            let password = password.to_owned();
            smol::block_on(gate.verify(at(0), "u", user.clone(), password, "ip"))
        };
        assert_eq!(verify(&known, "correct horse"), Ok(()));
        let known_user = known.clone().expect("there");
        assert!(gate.is_recognised("u", &known_user, "correct horse"));
        assert!(!gate.is_recognised("u", &known_user, "battery staple"));
        assert!(!gate.is_recognised("v", &known_user, "correct horse"));
        assert_eq!(verify(&changed, "correct horse"), Err(BAD_PASSWORD));
        assert_eq!(verify(&changed, "battery staple"), Ok(()));
        assert_eq!(verify(&None, "battery staple"), Err(BAD_PASSWORD));
    }

    #[test]
    fn a_few_wrong_passwords_close_the_gate_for_that_user_from_there() {
        let gate = Gate::new(Duration::ZERO);
        let known = user("correct horse", 1);
        let verify = |now, ip: &str, password: &str| {
            let password = password.to_owned();
            smol::block_on(gate.verify(at(now), "u", known.clone(), password, ip))
        };
        for _ in 0..limits::LOGIN_FAILURES_MAX {
            assert_eq!(verify(0, "a", "wrong"), Err(BAD_PASSWORD));
        }
        assert_eq!(verify(1, "a", "correct horse"), Err(Denied::TooMany(899)));
        assert_eq!(verify(1, "b", "correct horse"), Ok(()), "others are not concerned");
        let later = limits::LOGIN_WINDOW.as_secs();
        assert_eq!(verify(later, "a", "correct horse"), Ok(()));
    }

    #[test]
    fn a_fleet_logs_in_together_and_guesses_stand_in_a_short_queue() {
        let gate = Gate::new(Duration::ZERO);
        let known = user("correct horse", 1);
        let hashes = |gate: &Gate| locked(&gate.waiting).len();
        smol::block_on(async {
            let turn = gate.turn("other", "first").await.expect("nobody waits");
            let right: Vec<_> = (0..100)
                .map(|_| gate.verify(at(0), "u", known.clone(), "correct horse".into(), "a"))
                .collect();
            let mut right = Box::pin(futures_util::future::join_all(right));
            assert!(futures_util::poll!(&mut right).is_pending());
            assert_eq!(hashes(&gate), 1);
            let mut guesses: Vec<_> = (0..limits::PASSWORDS_WAITING_MAX)
                .map(|n| Box::pin(gate.verify(at(0), "u", None, format!("guess {n}"), "b")))
                .collect();
            let last = guesses.pop().expect("one too many");
            for guess in &mut guesses {
                assert!(futures_util::poll!(guess).is_pending());
            }
            assert_eq!(hashes(&gate), limits::PASSWORDS_WAITING_MAX);
            assert_eq!(last.await, Err(Denied::TooMany(1)));
            drop((guesses, turn));
            assert_eq!(right.await, vec![Ok(()); 100]);
            assert_eq!(hashes(&gate), 0);
        });
    }

    #[test]
    fn an_address_that_tries_many_users_is_slowed_down() {
        let mut failures = Failures::default();
        for number in 0..limits::LOGIN_FAILURES_PER_ADDRESS_MAX {
            assert_eq!(failures.tries(at(0), &format!("u{number}"), "a"), Ok(0));
            failures.count(at(0), &format!("u{number}"), "a");
        }
        assert_eq!(failures.tries(at(0), "other", "a"), Ok(1), "and not turned away");
        assert_eq!(failures.tries(at(0), "other", "b"), Ok(0));
        for number in 0..1_000 {
            failures.count(at(0), &format!("v{number}"), "a");
        }
        assert_eq!(failures.tries(at(0), "other", "a"), Ok(limits::LOGIN_DELAYS_MAX));
    }

    #[test]
    fn a_user_whom_many_addresses_try_is_slowed_down_and_never_locked() {
        let mut failures = Failures::default();
        for number in 0..10 * limits::LOGIN_FAILURES_PER_USER_MAX {
            failures.count(at(0), "u", &format!("{number}"));
        }
        assert_eq!(failures.tries(at(0), "u", "new"), Ok(limits::LOGIN_DELAYS_MAX));
        assert_eq!(failures.tries(at(0), "v", "new"), Ok(0));
        let later = limits::LOGIN_WINDOW.as_secs();
        assert_eq!(failures.tries(at(later), "u", "new"), Ok(0));
    }

    /// Whoever guesses from one address hears 429 in the end; whoever is right there does not.
    #[test]
    fn who_tries_on_is_told_to_go_away_and_who_is_right_is_let_in() {
        let gate = Gate::new(Duration::ZERO);
        let known = user("correct horse", 1);
        let steps = limits::LOGIN_FAILURES_PER_ADDRESS_MAX + limits::LOGIN_DELAYS_MAX;
        for number in 0..steps + 2 {
            let name = format!("x{number}");
            let told = smol::block_on(gate.verify(at(0), &name, None, "wrong".into(), "a"));
            let expected = if number + 1 < steps { BAD_PASSWORD } else { Denied::TooMany(5) };
            assert_eq!(told, Err(expected), "try {number}");
        }
        let right = gate.verify(at(0), "u", known, "correct horse".into(), "a");
        assert_eq!(smol::block_on(right), Ok(()));
    }

    #[test]
    fn no_address_takes_all_places_of_those_who_wait() {
        let gate = Gate::new(Duration::from_secs(3_600));
        smol::block_on(async {
            let mut waiting = Vec::new();
            for _ in 0..limits::LOGINS_WAITING_PER_ADDRESS_MAX {
                let mut wait = Box::pin(gate.wait(1, "a"));
                assert!(futures_util::poll!(&mut wait).is_pending());
                waiting.push(wait);
            }
            assert_eq!(gate.wait(1, "a").await, Err(Denied::TooMany(5)));
            assert!(futures_util::poll!(Box::pin(gate.wait(1, "b"))).is_pending());
            drop(waiting);
            assert!(locked(&gate.delayed).is_empty());
        });
    }

    #[test]
    fn a_pair_of_user_and_address_waits_longer_each_time_until_it_has_no_tries() {
        let mut failures = Failures::default();
        let waits: Vec<_> = (0..6)
            .map(|_| {
                let tries = failures.tries(at(0), "u", "a");
                failures.count(at(0), "u", "a");
                tries
            })
            .collect();
        assert_eq!(waits, [Ok(0), Ok(0), Ok(0), Ok(1), Ok(2), Err(Denied::TooMany(900))]);
    }

    #[test]
    fn addresses_of_one_network_are_one_source() {
        assert_eq!(source("2001:db8:1:2:3:4:5:6"), source("2001:db8:1:2:ffff::1"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_eq!(&*source("10.0.0.1"), "10.0.0.1");
    }

    #[test]
    fn no_more_is_remembered_than_may_be() {
        let mut failures = Failures::default();
        for number in 0..2 * limits::LOGINS_TRACKED_MAX {
            failures.count(at(number as u64 / 100), "u", &format!("{number}"));
            assert!(failures.0.len() <= limits::LOGINS_TRACKED_MAX);
        }
        let long = "n".repeat(10_000);
        failures.count(at(90), &long, "a");
        assert!(failures.0.keys().all(|(_, name)| name.len() < 300));
    }
}
