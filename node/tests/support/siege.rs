//! What is measured of a node while strangers do what they do: its memory, and how it serves
//! others.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};

use super::support::grpc::Grpc;
use super::support::{Http, Node, TempDir};

const KIB: usize = 1 << 10;
/// What all strangers together may take.
const STRANGERS_KIB: u64 = 64 << 10;
/// What is as good as nothing.
const GONE_KIB: u64 = 4 << 10;
/// What may be left of it once they are gone. The allocator keeps pieces between what lives on for
/// the next, so it may be much of what was taken, and is bounded as that is.
const LEFT_KIB: u64 = 48 << 10;

/// One node after the other: figures of two at once mean nothing.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("as many descriptors as may be");
    guard
}

pub(crate) struct Siege {
    name: &'static str,
    pub(crate) node: Node,
    pub(crate) address: SocketAddr,
    pub(crate) grpc: SocketAddr,
    before_kib: u64,
    healthy: Option<Healthy>,
    _data: TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Siege {
    pub(crate) fn begin(name: &'static str, environment: &[(&str, &str)]) -> Self {
        Self::after(name, environment, |_| {})
    }

    /// `prepare` runs before the memory is looked at.
    pub(crate) fn after(
        name: &'static str,
        environment: &[(&str, &str)],
        prepare: impl FnOnce(&Node),
    ) -> Self {
        let alone = alone();
        let data = TempDir::new("greedy");
        let node = Node::try_start(data.path(), environment).expect("the node becomes ready");
        prepare(&node);
        let address: SocketAddr = node.address.parse().expect("an address");
        // gRPC is spoken on the HTTP port too, so it is all the same which is asked.
        let siege = Self {
            name,
            grpc: address,
            before_kib: node.kib("VmRSS"),
            healthy: Some(Healthy::start(address)),
            address,
            node,
            _data: data,
            _alone: alone,
        };
        std::thread::sleep(Duration::from_millis(200));
        siege
    }

    /// The figures while strangers hold what they hold, and after `end` has let them go.
    pub(crate) fn end(mut self, strangers: impl Sized) {
        drop(strangers);
        let begin = Instant::now();
        let left = loop {
            let left = self.node.kib("VmRSS").saturating_sub(self.before_kib);
            if left <= GONE_KIB || begin.elapsed() > Duration::from_secs(2) {
                break left;
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        // Those who queued came when the others went.
        let peak = self.node.kib("VmHWM").saturating_sub(self.before_kib);
        let healthy = self.healthy.take().expect("it is there until the end").stop();
        println!(
            "{}: {} MiB at most, {} MiB stay; others: {} calls, {} failed, 90 % within {} ms, \
             longest {} ms",
            self.name,
            peak >> 10,
            left >> 10,
            healthy.times.len(),
            healthy.failed,
            healthy.rank(90).as_millis(),
            healthy.longest().as_millis(),
        );
        assert!(peak <= STRANGERS_KIB, "{} KiB were taken", peak);
        assert!(left <= LEFT_KIB, "{} KiB stay", left);
        assert_eq!(healthy.failed, 0, "others are served");
        assert!(healthy.median() < Duration::from_millis(100), "{:?}", healthy.median());
    }
}

/// A client of another address: a new connection for each call, now and then a publish.
struct Healthy {
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<Figures>,
}

#[derive(Default)]
struct Figures {
    times: Vec<Duration>,
    failed: usize,
    /// Bytes that it published: the node has them in its history.
    kept: usize,
}

impl Figures {
    fn median(&self) -> Duration {
        self.rank(50)
    }

    fn rank(&self, percent: usize) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        times.get(times.len() * percent / 100).copied().unwrap_or_default()
    }

    fn longest(&self) -> Duration {
        self.times.iter().max().copied().unwrap_or_default()
    }
}

impl Healthy {
    fn start(address: SocketAddr) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stopped);
        let thread = std::thread::spawn(move || {
            let mut figures = Figures::default();
            while !told.load(Ordering::Relaxed) {
                let begin = Instant::now();
                let is_publish = figures.times.len() % 8 == 7;
                if !is_served(address, is_publish) {
                    figures.failed += 1;
                } else if is_publish {
                    figures.kept += HEALTHY_BYTES;
                }
                figures.times.push(begin.elapsed());
                std::thread::sleep(Duration::from_millis(10));
            }
            figures
        });
        Self { stopped, thread }
    }

    fn stop(self) -> Figures {
        self.stopped.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic")
    }
}

const HEALTHY_BYTES: usize = 20 * KIB;

pub(crate) fn is_served(address: SocketAddr, is_publish: bool) -> bool {
    let Ok(mut http) = Http::connect(&address.to_string()) else { return false };
    let answer = if is_publish {
        let content = "x".repeat(HEALTHY_BYTES);
        let form = format!("dataId=healthy&group=g&content={content}");
        http.call("POST", "/nacos/v1/cs/configs", &form)
    } else {
        http.call("GET", "/nacos/v1/cs/health", "")
    };
    matches!(answer, Ok((200, _)))
}

/// The most that one call takes, beside three times its bytes: more is as good as an attack.
const CALL_KIB: u64 = 1 << 10;

/// Runs one call against a node of its own, and compares what it took with its bytes.
pub(crate) fn one_call(name: &str, bytes: usize, call: impl FnOnce(&Node)) {
    let data = TempDir::new("greedy");
    let node = Node::try_start(data.path(), &[]).expect("the node becomes ready");
    one_call_of(&node, name, bytes, call);
}

/// The most memory that a node ever had, once what came before has come to its end.
fn settled(node: &Node) -> u64 {
    let (mut most, mut quiet) = (node.kib("VmHWM"), 0);
    while quiet < 5 {
        std::thread::sleep(Duration::from_millis(100));
        let now = node.kib("VmHWM");
        quiet = if now == most { quiet + 1 } else { 0 };
        most = now;
    }
    most
}

/// As [`one_call`], against this node.
pub(crate) fn one_call_of(node: &Node, name: &str, bytes: usize, call: impl FnOnce(&Node)) {
    measured(node, name, |node| {
        call(node);
        3 * bytes
    });
}

/// Runs one call against this node, and compares what it took with the bytes of its answer, which
/// are counted for it.
pub(crate) fn one_answer_of(node: &Node, name: &str, call: impl FnOnce(&Node) -> usize) {
    measured(node, name, call);
}

/// What a call took, which is no more than it says that it may be, and a little.
fn measured(node: &Node, name: &str, call: impl FnOnce(&Node) -> usize) {
    // What the first call of all brings into being is nobody's.
    Grpc::connect(&node.address).register("first", "10.0.0.1");
    assert_eq!(node.http().post("/nacos/v1/cs/configs", "dataId=d&group=g&content=x").0, 200);
    let address = node.address.parse().expect("an address");
    assert!(is_served(address, true) && is_served(address, false));
    settled(node);
    let before = node.forget_peak();
    let healthy = Healthy::start(address);
    let kib = |bytes: usize| u64::try_from(bytes >> 10).expect("small");
    let may = kib(call(node));
    let healthy = healthy.stop();
    // The longer it takes, the more have the others published, whose history stays.
    let taken = node.kib("VmHWM").saturating_sub(before + kib(healthy.kept));
    println!(
        "{name}: may take {may} KiB, takes {taken} KiB; others longest {:?}",
        healthy.longest()
    );
    assert!(taken <= may + CALL_KIB, "{name}: {may} KiB, takes {taken} KiB");
    assert_eq!(healthy.failed, 0, "{name}: others are served");
}
