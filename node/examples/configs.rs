//! Publishes configs of 1,200 bytes, updates them at random and says what memory the node took, for
//! `BENCHMARKS.md`, "Little memory". Linux only.
//!
//! ```text
//! cd /sys/fs/cgroup/memory && mkdir n && echo 32M > n/memory.limit_in_bytes
//! sh -c 'echo $$ > /sys/fs/cgroup/memory/n/cgroup.procs; exec nacolet --data-dir d' &
//! cargo run --release --example configs 127.0.0.1:8848 PID 10000 100000
//! ```
//!
//! Updates below zero delete all configs instead; 0 reads them.
#![expect(clippy::disallowed_methods, reason = "a load tool has no other clock")]
#![expect(clippy::print_stdout, reason = "its figures")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::Instant;

use nacolet_model::Prng;

const PATH: &str = "/nacos/v1/cs/configs";
const CONNECTIONS: u64 = 16;
const BYTES: usize = 1_200;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, pid, configs, updates] = arguments.as_slice() else {
        return Err("HOST:PORT, PID, configs, updates".into());
    };
    let (configs, updates): (u64, i64) = (configs.parse()?, updates.parse()?);
    let count = configs + u64::try_from(updates).unwrap_or(0);
    let answers = Mutex::new(BTreeMap::<u16, u64>::new());
    let started = Instant::now();
    let work = |own: u64| -> Result<(), Failure> {
        let mut stream = BufReader::new(TcpStream::connect(address)?);
        stream.get_ref().set_nodelay(true)?;
        let mut prng = Prng::new(own);
        for turn in (own..count).step_by(usize::try_from(CONNECTIONS)?) {
            let number = if turn < configs { turn } else { prng.below(configs) };
            let status = call(&mut stream, number, turn, updates)?;
            *answers.lock().map_err(|_error| "a thread panicked")?.entry(status).or_default() += 1;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..CONNECTIONS).map(|own| scope.spawn(move || work(own))).collect();
        let ended =
            threads.into_iter().map(|thread| thread.join().map_err(|_panic| "it panicked")?);
        ended.collect::<Result<(), Failure>>()
    })?;
    let answers = answers.lock().map_err(|_error| "a thread panicked")?;
    println!("{:.1} s, answers {:?}", started.elapsed().as_secs_f32(), *answers);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let told = |line: &&str| ["VmHWM", "VmRSS", "RssAnon"].iter().any(|key| line.starts_with(key));
    status.lines().filter(told).for_each(|line| println!("{line}"));
    Ok(())
}

/// One call about a config; its status.
fn call(
    stream: &mut BufReader<TcpStream>,
    number: u64,
    turn: u64,
    updates: i64,
) -> Result<u16, Failure> {
    let name = format!("dataId=app-{number}.properties&group=DEFAULT_GROUP");
    let (method, target, form) = match updates {
        ..0 => ("DELETE", format!("{PATH}?{name}"), String::new()),
        0 => ("GET", format!("{PATH}?{name}"), String::new()),
        1.. => {
            let line = format!("key.{number}={turn:08}\n");
            let text: String = line.chars().cycle().take(BYTES).collect();
            ("POST", PATH.to_owned(), format!("{name}&content={text}"))
        }
    };
    let head = format!(
        "{method} {target} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\
         content-type: application/x-www-form-urlencoded\r\n\r\n{form}",
        form.len()
    );
    stream.get_mut().write_all(head.as_bytes())?;
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).ok_or("no answer")?.parse()?;
    let mut length = 0;
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse()?;
        }
    }
    stream.read_exact(&mut vec![0; length])?;
    Ok(status)
}
