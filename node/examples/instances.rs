//! Load for the registry of several members over HTTP v1, with plain sockets. Prints one line of
//! `name=value` per figure; `BENCHMARKS.md` has the commands.
//!
//! ```text
//! instances visible A B C [rate=2000] [seconds=10] [pid=1,2,3]
//!     registers with A at a rate, and now and then one whose way to B and C is timed
//! instances beat A B C [count=20000] [seconds=60] [pid=1,2,3] [kill=1]
//!     registers with all and beats every five seconds; kills the first process half way, and a
//!     third of the clients with it
//! instances hold A B C [count=20000]
//!     registers with all what needs no beat for an hour, and ends
//! ```
#![expect(clippy::disallowed_methods, reason = "a load tool has no other clock")]
#![expect(clippy::print_stdout, reason = "its figures")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

const INSTANCE: &str = "/nacos/v1/ns/instance";
const BEAT_EVERY: Duration = Duration::from_secs(5);
const THREADS: usize = 16;
/// Metadata by which an instance needs a beat once an hour.
const HOUR: &str = "&metadata=%7B%22preserved.heart.beat.timeout%22%3A%223600000%22%2C\
                    %22preserved.ip.delete.timeout%22%3A%223600000%22%7D";
/// Instances of one service.
const PER_SERVICE: usize = 10;

/// One keep-alive connection.
struct Http(BufReader<TcpStream>);

impl Http {
    fn connect(address: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(Self(BufReader::new(stream)))
    }

    fn call(&mut self, method: &str, target: &str, form: &str) -> std::io::Result<String> {
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: load\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
            form.len()
        );
        self.0.get_mut().write_all(request.as_bytes())?;
        let (mut line, mut length, mut is_ok) = (String::new(), 0, false);
        loop {
            line.clear();
            if self.0.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let head = line.trim_end();
            if let Some(status) = head.strip_prefix("HTTP/1.1 ") {
                is_ok = status.starts_with("200");
            } else if let Some((name, value)) = head.split_once(':') {
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.trim().parse().unwrap_or_default();
                }
            } else {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        let body = String::from_utf8_lossy(&body).into_owned();
        if is_ok { Ok(body) } else { Err(std::io::Error::other(body)) }
    }
}

/// A connection to each member that is made anew when it breaks.
struct Pool<'a> {
    members: &'a [String],
    open: BTreeMap<usize, Http>,
}

impl Pool<'_> {
    fn call(
        &mut self,
        of: usize,
        method: &str,
        target: &str,
        form: &str,
    ) -> std::io::Result<String> {
        let mut http = match self.open.remove(&of) {
            Some(http) => http,
            None => Http::connect(&self.members[of])?,
        };
        let answer = http.call(method, target, form)?;
        self.open.insert(of, http);
        Ok(answer)
    }
}

#[derive(Clone, Copy)]
struct Usage {
    cpu: f64,
    peak_mib: f64,
    mib: f64,
}

/// What a process has used.
fn usage(pid: &str) -> Usage {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok());
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or_default() / 1024.0
    };
    // 100 ticks a second on every Linux.
    let cpu = (ticks(11).unwrap_or_default() + ticks(12).unwrap_or_default()) / 100.0;
    Usage { cpu, peak_mib: mib("VmHWM:"), mib: mib("VmRSS:") }
}

struct Args {
    members: Vec<String>,
    options: BTreeMap<String, String>,
}

impl Args {
    fn number(&self, name: &str, default: usize) -> usize {
        self.options.get(name).and_then(|text| text.parse().ok()).unwrap_or(default)
    }

    fn pids(&self) -> Vec<String> {
        let pids = self.options.get("pid").map(String::as_str).unwrap_or_default();
        pids.split(',').filter(|pid| !pid.is_empty()).map(str::to_owned).collect()
    }
}

fn main() {
    let mut words = std::env::args().skip(1);
    let verb = words.next().unwrap_or_default();
    let (options, members): (Vec<String>, Vec<String>) = words.partition(|word| word.contains('='));
    let options = options
        .iter()
        .filter_map(|word| word.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let args = Args { members, options };
    match verb.as_str() {
        "visible" if args.members.len() > 1 => visible(&args),
        "beat" if !args.members.is_empty() => beat(&args),
        "hold" if !args.members.is_empty() => drop(register(&args, HOUR)),
        _ => println!("instances visible|beat|hold HOST:PORT... [name=value]..."),
    }
}

/// Time from a register at the first member until all others list it.
fn visible(args: &Args) {
    let (rate, seconds) = (args.number("rate", 0), args.number("seconds", 10));
    let registered = Arc::new(AtomicU64::new(0));
    let (begin, pids) = (Instant::now(), args.pids());
    let before: Vec<Usage> = pids.iter().map(|pid| usage(pid)).collect();
    let end = begin + Duration::from_secs(u64::try_from(seconds).unwrap_or(10));
    let loaders: Vec<_> = (0..if rate == 0 { 0 } else { THREADS })
        .map(|thread| {
            let (address, registered) = (args.members[0].clone(), Arc::clone(&registered));
            spawn(move || load(&address, thread, rate, end, &registered))
        })
        .collect();
    let mut pool = Pool { members: &args.members, open: BTreeMap::new() };
    let mut times = Vec::new();
    for number in 0.. {
        if Instant::now() >= end {
            break;
        }
        times.push(time_one(&mut pool, number));
        sleep(Duration::from_millis(10));
    }
    for loader in loaders {
        loader.join().unwrap_or_default();
    }
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 1000].as_secs_f64() * 1e3;
    let (count, took) = (registered.load(Ordering::Relaxed), begin.elapsed().as_secs_f64());
    let all = count + u64::try_from(times.len()).unwrap_or_default();
    println!(
        "visible probes={} p50_ms={:.2} p99_ms={:.2} max_ms={:.2} registered_per_s={:.0}",
        times.len(),
        at(500),
        at(990),
        at(1000),
        all as f64 / took
    );
    say_cpu(&pids, &before, all);
}

/// CPU of all processes for each of so many registrations.
fn say_cpu(pids: &[String], before: &[Usage], registered: u64) {
    let spent = pids.iter().zip(before).map(|(pid, before)| usage(pid).cpu - before.cpu);
    let each: Vec<f64> = spent.map(|spent| spent * 1e6 / registered as f64).collect();
    println!("cpu us_per_register={:.1} of_which={each:.1?}", each.iter().sum::<f64>());
}

fn time_one(pool: &mut Pool<'_>, number: usize) -> Duration {
    let ip = format!("10.9.{}.{}", number / 250 % 250, number % 250);
    let form = format!("serviceName=probe{number}&ip={ip}&port=80");
    let begin = Instant::now();
    pool.call(0, "POST", INSTANCE, &form).expect("it is registered");
    for other in 1..pool.members.len() {
        let target = format!("{INSTANCE}/list?serviceName=probe{number}");
        while !pool.call(other, "GET", &target, "").expect("a list").contains(&ip) {}
    }
    begin.elapsed()
}

/// Registers at its share of a rate.
fn load(address: &str, thread: usize, rate: usize, end: Instant, registered: &AtomicU64) {
    let mut http = Http::connect(address).expect("it accepts connections");
    let gap = Duration::from_secs_f64(THREADS as f64 / rate as f64);
    let mut due = Instant::now();
    for number in (thread..).step_by(THREADS) {
        if Instant::now() >= end {
            return;
        }
        sleep(due.saturating_duration_since(Instant::now()));
        due += gap;
        let ip = format!("10.{}.{}.{}", number / 62_500 % 250, number / 250 % 250, number % 250);
        let form = format!("serviceName=load{}&ip={ip}&port=80", number % 100);
        http.call("POST", INSTANCE, &form).expect("it is registered");
        registered.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the threads of `beat` share.
struct Clients {
    members: Vec<String>,
    count: usize,
    metadata: &'static str,
    /// The first member is dead, and every third client with it.
    killed: AtomicBool,
    beats: AtomicU64,
    /// Beats that no member knew: the instance was lost.
    lost: AtomicU64,
    ended: AtomicBool,
}

impl Clients {
    fn threads(self: &Arc<Self>, work: fn(&Self, usize)) -> Vec<std::thread::JoinHandle<()>> {
        let thread = |number| {
            let clients = Arc::clone(self);
            spawn(move || work(&clients, number))
        };
        (0..THREADS).map(thread).collect()
    }

    fn is_dead(&self, number: usize) -> bool {
        self.killed.load(Ordering::Relaxed) && number.is_multiple_of(3)
    }

    fn first(&self) -> usize {
        usize::from(self.killed.load(Ordering::Relaxed))
    }

    /// Any member that lives.
    fn member(&self, number: usize) -> usize {
        let first = self.first();
        first + number % (self.members.len() - first)
    }
}

fn form(number: usize) -> String {
    let service = number / PER_SERVICE;
    let ip = format!("10.{}.{}.{}", number / 62_500, number / 250 % 250, number % 250);
    format!("serviceName=s{service}&ip={ip}&port=80")
}

/// Registers everything with all members by turns.
fn register(args: &Args, metadata: &'static str) -> Arc<Clients> {
    let clients = Arc::new(Clients {
        members: args.members.clone(),
        count: args.number("count", 20_000),
        metadata,
        killed: AtomicBool::new(false),
        beats: AtomicU64::new(0),
        lost: AtomicU64::new(0),
        ended: AtomicBool::new(false),
    });
    let (begin, pids) = (Instant::now(), args.pids());
    let before: Vec<Usage> = pids.iter().map(|pid| usage(pid)).collect();
    let registering = clients.threads(register_all);
    registering.into_iter().for_each(|thread| thread.join().expect("all are registered"));
    println!("registered count={} in_s={:.1}", clients.count, begin.elapsed().as_secs_f64());
    // What was sent last may still be on its way.
    sleep(Duration::from_millis(500));
    say_cpu(&pids, &before, u64::try_from(clients.count).unwrap_or_default());
    clients
}

fn beat(args: &Args) {
    let seconds = u64::try_from(args.number("seconds", 60)).unwrap_or(60);
    let clients = register(args, "");
    let beating = clients.threads(beat_all);
    sleep(BEAT_EVERY);
    let (pids, begin) = (args.pids(), Instant::now());
    let before: Vec<Usage> = pids.iter().map(|pid| usage(pid)).collect();
    if let Some(victim) = args.options.get("kill") {
        sleep(Duration::from_secs(seconds / 2));
        kill(&clients, victim, Duration::from_secs(60));
    } else {
        sleep(Duration::from_secs(seconds));
        let took = begin.elapsed().as_secs_f64();
        for (pid, before) in pids.iter().zip(before) {
            let Usage { cpu, peak_mib, mib } = usage(pid);
            let share = (cpu - before.cpu) / took * 100.0;
            println!("node pid={pid} cpu_percent={share:.1} mib={mib:.1} peak_mib={peak_mib:.1}");
        }
    }
    clients.ended.store(true, Ordering::Relaxed);
    beating.into_iter().for_each(|thread| thread.join().expect("beats are answered"));
    let (beats, lost) = (&clients.beats, &clients.lost);
    println!("beats={} lost={}", beats.load(Ordering::Relaxed), lost.load(Ordering::Relaxed));
    look_at_all(&clients);
}

fn register_all(clients: &Clients, thread: usize) {
    let mut pool = Pool { members: &clients.members, open: BTreeMap::new() };
    for number in (thread..clients.count).step_by(THREADS) {
        let form = format!("{}{}", form(number), clients.metadata);
        let answer = pool.call(clients.member(number), "POST", INSTANCE, &form);
        answer.expect("it is registered");
    }
}

/// Beats for every THREADS-th instance, evenly spread over the period.
fn beat_all(clients: &Clients, thread: usize) {
    let mut pool = Pool { members: &clients.members, open: BTreeMap::new() };
    let mine: Vec<usize> = (thread..clients.count).step_by(THREADS).collect();
    let gap = BEAT_EVERY / u32::try_from(mine.len()).unwrap_or(1);
    let mut due = Instant::now();
    for round in 0.. {
        for number in &mine {
            if clients.ended.load(Ordering::Relaxed) {
                return;
            }
            sleep(due.saturating_duration_since(Instant::now()));
            due += gap;
            // Another member in every round, as clients of Nacos 1.x do; one that is gone is
            // skipped.
            for attempt in 0..3 {
                if clients.is_dead(*number) {
                    break;
                }
                let member = clients.member(number + round + attempt);
                let target = format!("{INSTANCE}/beat?{}", form(*number));
                if let Ok(answer) = pool.call(member, "PUT", &target, "") {
                    let is_known = answer.contains("10200");
                    clients.beats.fetch_add(1, Ordering::Relaxed);
                    clients.lost.fetch_add(u64::from(!is_known), Ordering::Relaxed);
                    break;
                }
            }
        }
    }
}

/// Kills the first member and watches the others for some time.
fn kill(clients: &Clients, victim: &str, time: Duration) {
    clients.killed.store(true, Ordering::Relaxed);
    let killed = Command::new("kill").args(["-9", victim]).status();
    assert!(killed.is_ok_and(|status| status.success()), "it is killed");
    let begin = Instant::now();
    let live = (0..clients.count).filter(|number| !clients.is_dead(*number)).count();
    let mut pool = Pool { members: &clients.members, open: BTreeMap::new() };
    let (mut fewest, mut gone_after) = (usize::MAX, None);
    while begin.elapsed() < time {
        let mut most = 0;
        for member in clients.first()..clients.members.len() {
            let target = "/nacos/v1/ns/operator/metrics?onlyStatus=false";
            let metrics = pool.call(member, "GET", target, "").expect("it answers");
            let count = metrics.split("\"instanceCount\":").nth(1).and_then(|rest| {
                rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<usize>().ok()
            });
            let count = count.expect("a number");
            (fewest, most) = (fewest.min(count), most.max(count));
        }
        if most == live && gone_after.is_none() {
            gone_after = Some(begin.elapsed().as_secs_f64());
        }
        sleep(Duration::from_millis(250));
    }
    println!("killed live={live} fewest_listed={fewest} dead_gone_after_s={gone_after:?}");
}

/// Every instance whose client lives is on every list, healthy; counts those that are not.
fn look_at_all(clients: &Clients) {
    let mut pool = Pool { members: &clients.members, open: BTreeMap::new() };
    let (mut missing, mut sick) = (0, 0);
    for member in clients.first()..clients.members.len() {
        for service in 0..clients.count.div_ceil(PER_SERVICE) {
            let target = format!("{INSTANCE}/list?serviceName=s{service}");
            let list = pool.call(member, "GET", &target, "").expect("a list");
            sick += list.matches("\"healthy\":false").count();
            let first = service * PER_SERVICE;
            for number in (first..clients.count.min(first + PER_SERVICE))
                .filter(|number| !clients.is_dead(*number))
            {
                let form = form(number);
                let ip = form.split("ip=").nth(1).and_then(|rest| rest.split('&').next());
                missing += usize::from(!list.contains(&format!("{}\"", ip.unwrap_or_default())));
            }
        }
    }
    println!("lists missing={missing} unhealthy={sick}");
}
