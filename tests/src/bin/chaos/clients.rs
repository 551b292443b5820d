//! The clients: writers that publish, compare and set and read on any member, one writer whose
//! values only grow, and a listener and a reader on every member that watch it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use nacolet_config::Md5;
use nacolet_model::Prng;
use nacolet_tests::operation::{Action, End};

use crate::cluster::Door;
use crate::history::History;
use crate::http::Http;

const CONFIGS: &str = "/nacos/v1/cs/configs";
/// An answer takes no longer; a member that is held or paused may never give one.
const PATIENCE: Duration = Duration::from_secs(6);
/// Between two calls of one client.
const PAUSE: Duration = Duration::from_millis(3);
/// Calls per key: the search for an order stays small.
const CALLS_PER_KEY: u64 = 120;
const KEYS: u64 = 4;

/// What clients do during one cycle.
pub(crate) struct Load {
    pub(crate) name: String,
    pub(crate) members: Vec<Door>,
    pub(crate) history: History,
    pub(crate) stop: AtomicBool,
    pub(crate) serial: AtomicU64,
    calls: AtomicU64,
}

impl Load {
    pub(crate) fn new(name: String, members: Vec<Door>) -> Self {
        let serial = AtomicU64::new(1);
        let (history, stop, calls) =
            (History::default(), AtomicBool::new(false), AtomicU64::new(0));
        Self { name, members, history, stop, serial, calls }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// One of a few keys; new ones when these have been called often enough.
    fn key(&self, prng: &mut Prng) -> String {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        let generation = calls / (CALLS_PER_KEY * KEYS);
        format!("{}-{generation}-{}", self.name, prng.below(KEYS))
    }

    /// Calls members in turn until it is stopped.
    pub(crate) fn work(&self, seed: u64) {
        let mut prng = Prng::new(seed);
        let mut links: Vec<Option<Http>> = self.members.iter().map(|_| None).collect();
        let mut seen = None;
        while !self.stopped() {
            let key = self.key(&mut prng);
            let at = usize::try_from(prng.below(links.len() as u64)).unwrap_or(0);
            let mut link = Link { address: self.members[at].address(), http: &mut links[at] };
            let new = self.serial.fetch_add(1, Ordering::Relaxed);
            let action = match prng.below(10) {
                0..5 => Action::Write(new),
                5..7 => Action::Cas { expected: seen, new },
                7 => Action::Remove(new),
                _ => Action::Read,
            };
            // Without an expected value a compare-and-set is a plain write.
            let action = match action {
                Action::Cas { expected: None, new } => Action::Write(new),
                action => action,
            };
            if let End::Read(value) = self.call(&mut link, &key, action) {
                seen = value;
            }
            sleep(PAUSE);
        }
    }

    /// One call that is part of the history.
    pub(crate) fn call(&self, link: &mut Link<'_>, key: &str, action: Action) -> End {
        let begun = self.history.begin(key, action);
        let end = link.perform(key, action);
        self.history.end(&begun, end);
        end
    }
}

/// A connection to one member, made when it is needed.
pub(crate) struct Link<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) http: &'a mut Option<Http>,
}

impl Link<'_> {
    fn perform(&mut self, key: &str, action: Action) -> End {
        let target = format!("{CONFIGS}?dataId={key}&group=g");
        let publish = |serial| format!("dataId={key}&group=g&content={serial}");
        let answer = match action {
            Action::Write(serial) => self.send("POST", CONFIGS, "", &publish(serial)),
            Action::Cas { expected, new } => {
                let md5 = Md5::of(&expected.map_or_else(String::new, |serial| serial.to_string()));
                self.send("POST", CONFIGS, &format!("casMd5: {md5}\r\n"), &publish(new))
            }
            Action::Remove(_) => self.send("DELETE", &target, "", ""),
            Action::Read => self.send("GET", &format!("{target}&consistency=linear"), "", ""),
        };
        let Some(answer) = answer else { return End::Void };
        let is_read = action == Action::Read;
        match answer {
            Ok((200, text)) if is_read => text.parse().map_or(End::Unknown, |v| End::Read(Some(v))),
            Ok((404, _)) if is_read => End::Read(None),
            Ok((200, text)) if text == "true" => End::Done,
            Ok((500, text)) if text.contains("Cas publish fail") => End::Mismatch,
            Ok((503, text)) if is_refusal(&text) => End::Void,
            Ok(_) => End::Unknown,
            Err(_) => {
                *self.http = None;
                End::Unknown
            }
        }
    }

    /// None when nothing was sent.
    fn send(
        &mut self,
        method: &str,
        target: &str,
        header: &str,
        form: &str,
    ) -> Option<std::io::Result<(u16, String)>> {
        if self.http.is_none() {
            *self.http = Http::connect(self.address, PATIENCE).ok();
        }
        let sent = self.http.as_mut()?.call(method, target, header, form);
        if sent.is_err() {
            *self.http = None;
        }
        Some(sent)
    }

    /// What this member shows: a value, nothing (certainly), or no answer.
    pub(crate) fn look(&mut self, key: &str) -> Option<Option<u64>> {
        match self.send("GET", &format!("{CONFIGS}?dataId={key}&group=g"), "", "")?.ok()? {
            (200, text) => text.parse().ok().map(Some),
            (404, _) => Some(None),
            _ => None,
        }
    }
}

fn is_refusal(text: &str) -> bool {
    ["nothing was written", "overloaded", "is stopping", "is STARTING"]
        .iter()
        .any(|words| text.contains(words))
}

/// The value that only grows, and what everybody has seen of it.
#[derive(Default)]
pub(crate) struct Growing {
    state: Mutex<Newest>,
    wrong: Mutex<Vec<String>>,
    pub(crate) heard: AtomicU64,
    pub(crate) looks: AtomicU64,
    pub(crate) stop: AtomicBool,
    stop_writing: AtomicBool,
}

/// The key that is written at present, and its value. After a write whose outcome nobody knows the
/// next one goes to another key, so that values of one key never come late.
#[derive(Clone, Default)]
pub(crate) struct Newest {
    pub(crate) key: u64,
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
}

impl Newest {
    pub(crate) fn name(&self) -> String {
        format!("growing-{}", self.key)
    }
}

impl Growing {
    pub(crate) fn newest(&self) -> Newest {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, newest: &Newest) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone_from(newest);
    }

    fn complain(&self, what: String) {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    pub(crate) fn wrong(&self) -> Vec<String> {
        std::mem::take(&mut *self.wrong.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn stop_writing(&self) {
        self.stop_writing.store(true, Ordering::Relaxed);
    }

    /// Writes ever larger values.
    pub(crate) fn write(&self, members: &[Door]) {
        let mut links: Vec<Option<Http>> = members.iter().map(|_| None).collect();
        let mut turn = 0;
        while !self.stop_writing.load(Ordering::Relaxed) {
            turn += 1;
            let at = turn % members.len();
            let mut newest = self.newest();
            newest.sent += 1;
            self.set(&newest);
            let mut link = Link { address: members[at].address(), http: &mut links[at] };
            match link.perform(&newest.name(), Action::Write(newest.sent)) {
                End::Done => newest.acknowledged = newest.sent,
                End::Void => {}
                _ => newest = Newest { key: newest.key + 1, ..Newest::default() },
            }
            self.set(&newest);
            sleep(PAUSE * 4);
        }
    }

    /// P3: what one member shows is what was written, and never goes back, restarts included.
    pub(crate) fn watch(&self, member: usize, door: &Door) {
        let (mut http, mut shown, mut key) = (None, None, 0);
        while !self.stopped() {
            let before = self.newest();
            if before.key != key {
                (shown, key) = (None, before.key);
            }
            let mut link = Link { address: door.address(), http: &mut http };
            if let Some(found) = link.look(&before.name()) {
                self.looks.fetch_add(1, Ordering::Relaxed);
                let after = self.newest();
                if found < shown {
                    let name = before.name();
                    self.complain(format!(
                        "P3: member {member} shows {found:?} of {name} after {shown:?}"
                    ));
                }
                if after.key == key && found > Some(after.sent) {
                    self.complain(format!(
                        "P3: member {member} shows {found:?}, sent: {}",
                        after.sent
                    ));
                }
                shown = shown.max(found);
            }
            sleep(PAUSE * 2);
        }
    }

    /// P5: a listener hears of newer values only. One poll at a time, as long as nothing changes.
    pub(crate) fn listen(&self, member: usize, door: &Door, holds: &Mutex<(u64, Option<u64>)>) {
        let (mut http, mut reader) = (None, None);
        while !self.stopped() {
            let (newest, address) = (self.newest(), door.address());
            let (key, held) = *holds.lock().unwrap_or_else(PoisonError::into_inner);
            let held = if key == newest.key { held } else { None };
            let name = newest.name();
            let md5 = held.map(|held| Md5::of(&held.to_string()).to_string()).unwrap_or_default();
            let list = format!("Listening-Configs={name}%02g%02{md5}%01");
            if http.is_none() {
                // Short, so that a listener turns to another key soon.
                http = Http::connect(address, Duration::from_millis(1_200)).ok();
            }
            let Some(open) = http.as_mut() else {
                sleep(PAUSE * 4);
                continue;
            };
            let long = "long-pulling-timeout: 10000\r\n";
            let told = open.call("POST", &format!("{CONFIGS}/listener"), long, &list);
            if told.is_err() {
                http = None;
            }
            if !told.is_ok_and(|(status, text)| status == 200 && text.contains(&name)) {
                continue;
            }
            let mut link = Link { address, http: &mut reader };
            let Some(found) = link.look(&name) else { continue };
            self.heard.fetch_add(1, Ordering::Relaxed);
            if found <= held {
                self.complain(format!(
                    "P5: member {member} told of {found:?} of {name} after {held:?}"
                ));
            }
            *holds.lock().unwrap_or_else(PoisonError::into_inner) = (newest.key, found);
        }
    }
}
