//! Tokens as Nacos makes them, JWT with HMAC-SHA-256. There is one algorithm: the header is
//! compared and never read, so no other can be asked for, `none` included. Clients do not look
//! inside.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use nacolet_auth::Key;
use nacolet_model::{Instant, WallTime, limits};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::access::password::PasswordError;
use crate::http::json::object;

/// `{"alg":"HS256","typ":"JWT"}`
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// Life of a token in seconds; Java and Go need it.
pub(crate) const LIFE_S: u64 = limits::TOKEN_LIFE.as_secs();

/// What a token says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    /// Name of the user.
    pub(super) sub: String,
    /// Seconds since 1970 from which on it is worth nothing.
    pub(super) exp: u64,
    /// Which password it was made with: `User::since`.
    pub(super) pwd: u64,
}

/// A new key, for the first user.
pub(crate) fn random_key() -> Result<Key, PasswordError> {
    let mut key = Key::default();
    getrandom::fill(&mut key).ok().ok_or(PasswordError::Random)?;
    Ok(key)
}

/// Signs claims; always there.
pub(super) fn make(key: &Key, user: &str, pwd: u64, exp: u64) -> Option<String> {
    let claims = Claims { sub: user.to_owned(), exp, pwd };
    let claims = serde_json::to_vec(&claims).ok()?;
    let signed = format!("{HEADER}.{}", URL_SAFE_NO_PAD.encode(claims));
    let signature = mac(key, &signed)?.finalize().into_bytes();
    Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// What a token says, if we signed it. The signature is compared in constant time.
pub(super) fn read(key: &Key, token: &str) -> Option<Claims> {
    if token.len() > limits::TOKEN_BYTES_MAX {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let claims = signed.strip_prefix(HEADER)?.strip_prefix('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    mac(key, signed)?.verify_slice(&signature).ok()?;
    object(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

fn mac(key: &Key, signed: &str) -> Option<Hmac<Sha256>> {
    // HMAC takes keys of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(signed.as_bytes());
    Some(mac)
}

/// The time of tokens. A board without a clock starts in 1970 and jumps when it hears what time it
/// is: tokens made before live on by the time since the start, those made after by the wall clock.
/// A wall clock that is set back revives nothing.
#[derive(Debug)]
pub(super) struct Clock {
    mono: Instant,
    wall: WallTime,
}

impl Clock {
    /// Started now.
    pub(super) fn new((mono, wall): (Instant, WallTime)) -> Self {
        Self { mono, wall }
    }

    /// Seconds since 1970 by the time since the start, and by the wall clock unless it was set
    /// back.
    fn seconds(&self, (mono, wall): (Instant, WallTime)) -> (u64, u64) {
        let since = u64::try_from(mono.saturating_since(self.mono).as_millis());
        let steady = self.wall.as_millis().saturating_add(since.unwrap_or(u64::MAX));
        (steady / 1_000, wall.as_millis().max(steady) / 1_000)
    }

    /// When a token made now ends.
    pub(super) fn expiry(&self, now: (Instant, WallTime)) -> u64 {
        self.seconds(now).1.saturating_add(LIFE_S)
    }

    /// Whether a token that ends then is worth something now.
    pub(super) fn is_alive(&self, now: (Instant, WallTime), exp: u64) -> bool {
        self.seconds_for(now, exp) < exp
    }

    /// Whether a token that ends then was made a moment ago.
    pub(super) fn is_fresh(&self, now: (Instant, WallTime), exp: u64) -> bool {
        const OLD_S: u64 = LIFE_S - limits::LOGIN_FRESH.as_secs();
        self.seconds_for(now, exp) < exp.saturating_sub(OLD_S)
    }

    /// The time by which a token that ends then is judged.
    fn seconds_for(&self, now: (Instant, WallTime), exp: u64) -> u64 {
        let (steady, wall) = self.seconds(now);
        // One that ends later than any made before a jump was made after it.
        let is_of_now = exp > steady.saturating_add(LIFE_S);
        if is_of_now { wall } else { steady }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const KEY: Key = [7; 32];

    #[test]
    fn a_token_says_what_was_signed() {
        let token = make(&KEY, "nacos", 9, 1_000).expect("made");
        let claims = Claims { sub: "nacos".to_owned(), exp: 1_000, pwd: 9 };
        assert_eq!(read(&KEY, &token), Some(claims));
        assert_eq!(read(&[8; 32], &token), None);
        assert!(token.starts_with("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."));
    }

    /// With keys and algorithms of an attacker's choice (docs/reliability.md, "Must have": M4).
    #[test]
    fn only_tokens_that_we_signed_are_read() {
        let token = make(&KEY, "nacos", 9, 1_000).expect("made");
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, signature] = parts.as_slice() else { panic!("three parts") };
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let admin = encode(r#"{"sub":"admin","exp":9999999999,"pwd":0}"#);
        let mut forged = vec![
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
            format!("{header}.{claims}"),
            format!("{header}.{claims}."),
            format!("{header}.{admin}.{signature}"),
            format!("{header}..{signature}"),
            format!("{header}.{claims}.{signature}="),
            format!("{header}.{claims}.{signature}.{signature}"),
            format!("{header} .{claims}.{signature}"),
            format!("{token}{}", "A".repeat(limits::TOKEN_BYTES_MAX)),
            "AUTH_DISABLED".to_owned(),
        ];
        for algorithm in ["none", "None", "HS384", "HS512", "RS256", "ES256"] {
            let header = encode(&format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#));
            forged.push(format!("{header}.{admin}."));
            forged.push(format!("{header}.{claims}.{signature}"));
        }
        // The public default key of Nacos up to 2.2.0.
        let default = b"SecretKey012345678901234567890123456789012345678901234567890123456789";
        let mut mac = Hmac::<Sha256>::new_from_slice(default).expect("any length");
        let signed = format!("{header}.{admin}");
        mac.update(signed.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
        forged.push(format!("{signed}.{signature}"));
        for token in forged {
            assert_eq!(read(&KEY, &token), None, "{token}");
        }
        for at in 0..token.len() {
            let mut bent = token.clone().into_bytes();
            bent[at] ^= 1;
            let bent = String::from_utf8_lossy(&bent);
            // The last letter of the signature has two bits that mean nothing, and must be zero.
            assert_eq!(read(&KEY, &bent), None, "{at}");
        }
    }

    #[test]
    fn a_token_lives_for_its_time_whatever_the_wall_clock_does() {
        let at = |mono_s: u64, wall_s: u64| {
            (Instant::ZERO + Duration::from_secs(mono_s), WallTime(wall_s * 1_000))
        };
        let clock = Clock::new(at(0, 100));
        let early = clock.expiry(at(10, 110));
        assert_eq!(early, 110 + LIFE_S);
        assert!(clock.is_alive(at(LIFE_S, 100 + LIFE_S), early));
        assert!(!clock.is_alive(at(LIFE_S + 10, 110 + LIFE_S), early));
        // The clock is set from 1970 to now.
        const NOW: u64 = 1_790_000_000;
        assert!(clock.is_alive(at(20, NOW), early));
        assert!(!clock.is_alive(at(LIFE_S + 10, NOW), early));
        let late = clock.expiry(at(20, NOW));
        assert!(clock.is_alive(at(30, NOW + 10), late));
        assert!(!clock.is_alive(at(20 + LIFE_S, NOW + LIFE_S), late));
        // It is set back, and then stands still.
        assert!(!clock.is_alive(at(LIFE_S + 10, 0), early));
    }
}
