//! Passwords: hashed with bcrypt, one at a time, with a short queue, so that nobody can keep the machine
//! busy with them; wrong ones are counted for a while (reliability M5). Whoever sends name and password
//! with every call, as the Node SDK does, is recognised after the first time without another hash.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hmac::{Hmac, Mac};
use nacolet_auth::User;
use nacolet_model::{Instant, limits};
use sha2::Sha256;

use super::{BAD_PASSWORD, Denied};

/// What an unknown user is compared with, which takes as long as with a known one. The hash of nothing
/// that anybody knows: its last part is made up.
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
}

struct Recognised {
    since: u64,
    mark: [u8; 32],
}

impl Gate {
    /// Has recognised nobody.
    pub(super) fn new() -> Self {
        let mut secret = [0; 32];
        let secret = getrandom::fill(&mut secret).ok().map(|()| secret);
        Self {
            turn: smol::lock::Mutex::new(()),
            waiting: Queue::default(),
            failures: Mutex::default(),
            recognised: Mutex::default(),
            secret,
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
        if !locked(&self.failures).has_tries(now, name, ip) {
            return Err(Denied::TooMany);
        }
        let _turn = self.turn(name, &password).await?;
        // Whoever waited may have been recognised meanwhile, or have used up the tries.
        if user.as_ref().is_some_and(|user| self.is_recognised(name, user, &password)) {
            return Ok(());
        }
        if !locked(&self.failures).has_tries(now, name, ip) {
            return Err(Denied::TooMany);
        }
        let hash = user.as_ref().map_or(NOBODY, |user| &user.hash).to_owned();
        let mark = self.mark(name, &password);
        let is_right = smol::unblock(move || {
            password.len() <= limits::PASSWORD_BYTES_MAX
                && bcrypt::verify(password, &hash).unwrap_or(false)
        })
        .await;
        match user {
            Some(User { since, .. }) if is_right => {
                locked(&self.failures).forget(name, ip);
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
            Some(_) | None => self.wrong(now, name, ip),
        }
    }

    /// Waits until no other password is looked at, unless too many wait already.
    pub(super) async fn turn(
        &self,
        name: &str,
        password: &str,
    ) -> Result<smol::lock::MutexGuard<'_, ()>, Denied> {
        let mark = self.mark(name, password).map(|mark| mark.finalize().into_bytes().into());
        let place = Place::take(&self.waiting, mark.unwrap_or_default());
        let Some(_place) = place else { return Err(Denied::TooMany) };
        Ok(self.turn.lock().await)
    }

    fn wrong(&self, now: Instant, name: &str, ip: &str) -> Result<(), Denied> {
        locked(&self.failures).count(now, name, ip);
        Err(BAD_PASSWORD)
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

/// What waits to be looked at: marks of name and password, each with how many wait with it.
type Queue = Mutex<BTreeMap<[u8; 32], usize>>;

/// A place in the queue.
struct Place<'a> {
    queue: &'a Queue,
    mark: [u8; 32],
}

impl<'a> Place<'a> {
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

impl Drop for Place<'_> {
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

/// Wrong passwords, by address, and by user and address.
#[derive(Debug, Default)]
struct Failures(BTreeMap<(Box<str>, Box<str>), Count>);

#[derive(Clone, Copy, Debug)]
struct Count {
    failures: u32,
    /// Of the first of them.
    since: Instant,
}

impl Failures {
    /// Stands for every user.
    const ALL: &str = "";

    fn has_tries(&self, now: Instant, name: &str, ip: &str) -> bool {
        let has = |name: &str, max| {
            let count = self.0.get(&(Box::from(ip), Box::from(name)));
            count.is_none_or(|count| !count.is_in_force(now) || count.failures < max)
        };
        has(name, limits::LOGIN_FAILURES_MAX)
            && has(Self::ALL, limits::LOGIN_FAILURES_PER_ADDRESS_MAX)
    }

    fn count(&mut self, now: Instant, name: &str, ip: &str) {
        // Long names are no users; one place is enough for all of them.
        let name = if name.len() > 4 * limits::USER_NAME_CHARS_MAX { Self::ALL } else { name };
        for name in [name, Self::ALL] {
            let key = (Box::from(ip), Box::from(name));
            if self.0.len() >= limits::LOGINS_TRACKED_MAX && !self.0.contains_key(&key) {
                self.make_room(now);
            }
            let fresh = Count { failures: 0, since: now };
            let count = self.0.entry(key).or_insert(fresh);
            if !count.is_in_force(now) {
                *count = fresh;
            }
            count.failures = count.failures.saturating_add(1);
            if name == Self::ALL {
                break;
            }
        }
    }

    fn forget(&mut self, name: &str, ip: &str) {
        self.0.remove(&(Box::from(ip), Box::from(name)));
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

impl Count {
    fn is_in_force(&self, now: Instant) -> bool {
        now.saturating_since(self.since) < limits::LOGIN_WINDOW
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
    fn an_unknown_user_is_compared_with_a_hash_that_can_be_read() {
        assert_eq!(bcrypt::verify("anything", NOBODY).ok(), Some(false));
    }

    #[test]
    fn whoever_was_right_once_is_recognised_until_the_password_changes() {
        let gate = Gate::new();
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
        let gate = Gate::new();
        let known = user("correct horse", 1);
        let verify = |now, ip: &str, password: &str| {
            let password = password.to_owned();
            smol::block_on(gate.verify(at(now), "u", known.clone(), password, ip))
        };
        for _ in 0..limits::LOGIN_FAILURES_MAX {
            assert_eq!(verify(0, "a", "wrong"), Err(BAD_PASSWORD));
        }
        assert_eq!(verify(1, "a", "correct horse"), Err(Denied::TooMany));
        assert_eq!(verify(1, "b", "correct horse"), Ok(()), "others are not concerned");
        let later = limits::LOGIN_WINDOW.as_secs();
        assert_eq!(verify(later, "a", "correct horse"), Ok(()));
    }

    #[test]
    fn a_fleet_logs_in_together_and_guesses_stand_in_a_short_queue() {
        let gate = Gate::new();
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
            assert_eq!(last.await, Err(Denied::TooMany));
            drop((guesses, turn));
            assert_eq!(right.await, vec![Ok(()); 100]);
            assert_eq!(hashes(&gate), 0);
        });
    }

    #[test]
    fn an_address_that_tries_many_users_is_turned_away() {
        let mut failures = Failures::default();
        for number in 0..limits::LOGIN_FAILURES_PER_ADDRESS_MAX {
            assert!(failures.has_tries(at(0), &format!("u{number}"), "a"));
            failures.count(at(0), &format!("u{number}"), "a");
        }
        assert!(!failures.has_tries(at(0), "other", "a"));
        assert!(failures.has_tries(at(0), "other", "b"));
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
