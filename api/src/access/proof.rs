//! Proof of the cluster key, for whoever administers the cluster from another host while nobody has
//! to log in. What is proved is this very call: a nonce of the server, method, path with query, and
//! body. The key itself is never sent, and neither is what is made of it.
//!
//! A nonce is worth nothing after half a minute or once it was used. Nothing is kept of those that
//! were given out, since strangers may ask for any number: the server knows its own by their mark.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use nacolet_model::{Instant, limits};
use sha2::Sha256;

/// The header with a proof.
pub const PROOF_HEADER: &str = "nacolet-proof";

/// What administrators prove: made of the cluster key, and of no use among members.
#[derive(Clone)]
pub struct OperatorKey(pub [u8; 32]);

impl std::fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OperatorKey")
    }
}

/// A call that is proved.
#[derive(Clone, Copy, Debug)]
pub struct Proved<'a> {
    /// Its method.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// Its body.
    pub body: &'a [u8],
}

/// When it was given out, something random, and the mark of the server.
type Nonce = [u8; 32];

/// Gives out nonces and looks at proofs.
pub(crate) struct Proofs {
    key: Option<OperatorKey>,
    /// Makes the marks; without random numbers there are no nonces.
    secret: Option<[u8; 32]>,
    used: Mutex<BTreeMap<Nonce, Instant>>,
}

impl OperatorKey {
    /// The value of the header that proves this call with a nonce of the server.
    #[must_use]
    pub fn proof(&self, nonce: &str, call: Proved<'_>) -> Option<String> {
        let nonce: Nonce = URL_SAFE_NO_PAD.decode(nonce).ok()?.try_into().ok()?;
        let proof = self.over(&nonce, call)?.finalize().into_bytes();
        Some(URL_SAFE_NO_PAD.encode([&nonce[..], &proof].concat()))
    }

    /// Method and target have no line feed.
    fn over(
        &self,
        nonce: &Nonce,
        Proved { method, target, body }: Proved<'_>,
    ) -> Option<Hmac<Sha256>> {
        let mut mac = mac(&self.0, nonce)?;
        for part in [method.as_bytes(), b"\n", target.as_bytes(), b"\n", body] {
            mac.update(part);
        }
        Some(mac)
    }
}

fn mac(key: &[u8; 32], first: &[u8]) -> Option<Hmac<Sha256>> {
    // HMAC takes keys of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(first);
    Some(mac)
}

impl Proofs {
    pub(crate) fn new(key: Option<OperatorKey>) -> Self {
        let mut secret = [0; 32];
        let secret = getrandom::fill(&mut secret).ok().map(|()| secret);
        Self { key, secret, used: Mutex::default() }
    }

    /// A nonce for one call; none where there is no key to be proved.
    pub(crate) fn nonce(&self, now: Instant) -> Option<String> {
        self.key.as_ref()?;
        let mut nonce = Nonce::default();
        nonce[..8].copy_from_slice(&now.as_micros().to_le_bytes());
        getrandom::fill(&mut nonce[8..16]).ok()?;
        let mark = mac(self.secret.as_ref()?, &nonce[..16])?.finalize().into_bytes();
        nonce[16..].copy_from_slice(&mark[..16]);
        Some(URL_SAFE_NO_PAD.encode(nonce))
    }

    /// Whether `shown` proves this call. It does so once.
    pub(crate) fn proves(&self, now: Instant, shown: &[u8], call: Proved<'_>) -> bool {
        self.used_by(now, shown, call).is_some_and(|nonce| self.is_first(now, nonce))
    }

    fn used_by(&self, now: Instant, shown: &[u8], call: Proved<'_>) -> Option<Nonce> {
        let bytes: [u8; 64] = URL_SAFE_NO_PAD.decode(shown).ok()?.try_into().ok()?;
        let (nonce, proof) = bytes.split_at(32);
        let nonce: Nonce = nonce.try_into().ok()?;
        let mark = mac(self.secret.as_ref()?, &nonce[..16])?;
        mark.verify_truncated_left(&nonce[16..]).ok()?;
        let given = Instant::from_micros(u64::from_le_bytes(nonce[..8].try_into().ok()?));
        if now.saturating_since(given) >= limits::PROOF_LIFE {
            return None;
        }
        self.key.as_ref()?.over(&nonce, call)?.verify_slice(proof).ok()?;
        Some(nonce)
    }

    /// Notes that a nonce was used. Only who has the key gets here.
    fn is_first(&self, now: Instant, nonce: Nonce) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, at| now.saturating_since(*at) < limits::PROOF_LIFE);
        used.len() < limits::PROOFS_MAX && used.insert(nonce, now).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Proved<'static> =
        Proved { method: "POST", target: "/nacos/a?b=c", body: b"node=1" };

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(1_000 * seconds)
    }

    #[test]
    fn a_proof_is_of_one_call_once_and_for_half_a_minute() {
        let key = OperatorKey([7; 32]);
        let proofs = Proofs::new(Some(key.clone()));
        let shown = || {
            let nonce = proofs.nonce(at(0)).expect("there is a key");
            key.proof(&nonce, CALL).expect("a nonce")
        };
        let first = shown();
        let others = [
            Proved { method: "GET", ..CALL },
            Proved { target: "/nacos/a?b=d", ..CALL },
            Proved { body: b"node=2", ..CALL },
        ];
        for call in others {
            assert!(!proofs.proves(at(1), first.as_bytes(), call), "{call:?}");
        }
        assert!(proofs.proves(at(1), first.as_bytes(), CALL));
        assert!(!proofs.proves(at(1), first.as_bytes(), CALL), "said again");
        let late = shown();
        assert!(!proofs.proves(at(30), late.as_bytes(), CALL));
        assert!(proofs.proves(at(29), late.as_bytes(), CALL));
    }

    #[test]
    fn nobody_else_proves_anything() {
        let key = OperatorKey([7; 32]);
        let proofs = Proofs::new(Some(key.clone()));
        let nonce = proofs.nonce(at(0)).expect("there is a key");
        let proves = |shown: &str| proofs.proves(at(0), shown.as_bytes(), CALL);
        let wrong = OperatorKey([8; 32]).proof(&nonce, CALL).expect("a nonce");
        assert!(!proves(&wrong));
        let made_up = URL_SAFE_NO_PAD.encode([0; 32]);
        assert!(!proves(&key.proof(&made_up, CALL).expect("its length is right")));
        for nonsense in ["", "?", "AAAA", &"A".repeat(86), &"A".repeat(10_000)] {
            assert!(!proves(nonsense), "{nonsense}");
        }
        let other = Proofs::new(Some(key.clone()));
        let theirs = other.nonce(at(0)).expect("there is a key");
        assert!(!proves(&key.proof(&theirs, CALL).expect("a nonce")), "of another node");
        assert!(proves(&key.proof(&nonce, CALL).expect("a nonce")));
        let none = Proofs::new(None);
        assert_eq!(none.nonce(at(0)), None);
        assert!(!none.proves(at(0), key.proof(&nonce, CALL).expect("a nonce").as_bytes(), CALL));
    }

    #[test]
    fn used_nonces_are_bounded() {
        let key = OperatorKey([7; 32]);
        let proofs = Proofs::new(Some(key.clone()));
        let proves = |seconds| {
            let nonce = proofs.nonce(at(seconds)).expect("there is a key");
            let shown = key.proof(&nonce, CALL).expect("a nonce");
            proofs.proves(at(seconds), shown.as_bytes(), CALL)
        };
        assert_eq!((0..100).filter(|_| proves(0)).count(), limits::PROOFS_MAX);
        assert!(proves(30));
    }
}
