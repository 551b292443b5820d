//! Load over gRPC, for BENCHMARKS.md: many idle connections, time from a change to its notices, and
//! the server's CPU per request. It shares the client of the tests, which knows nothing of the
//! server's encoding. Any server that speaks the protocol of Nacos can be measured.
//!
//! ```text
//! load idle   ADDRESS PID CONNECTIONS SECONDS
//! load notify ADDRESS SUBSCRIBERS ROUNDS
//! load query|register|health ADDRESS PID CONNECTIONS SECONDS
//! load gone   ADDRESS,ADDRESS,ADDRESS ROUNDS
//! ```
//!
//! `gone` kills a process that has registered at the first address, and waits until subscribers at
//! all of them have heard that its instance is gone.
#![allow(clippy::print_stdout, reason = "a program that tells figures")]
#![expect(clippy::disallowed_methods, reason = "a program that takes times")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use smol::Timer;

#[path = "../tests/grpc/client.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod client;

use client::Client;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().expect("a number");
    match words.as_slice() {
        ["idle", address, pid, count, seconds] => {
            smol::block_on(idle(parse(address), pid, number(count), number(seconds)));
        }
        ["notify", address, count, rounds] => {
            smol::block_on(notify(parse(address), number(count), number(rounds)));
        }
        [kind @ ("query" | "register" | "health"), address, pid, count, seconds] => {
            smol::block_on(load(kind, parse(address), pid, number(count), number(seconds)));
        }
        ["gone", addresses, rounds] => {
            smol::block_on(gone(addresses.split(',').map(parse).collect(), number(rounds)));
        }
        ["provide", address, service] => smol::block_on(provide(parse(address), service)),
        _ => panic!("see the head of api/examples/load.rs"),
    }
}

fn parse(address: &str) -> SocketAddr {
    address.parse().expect("an address and a port")
}

fn register(service: &str, number: u64) -> Value {
    let (high, low) = (number / 200 % 200, number % 200);
    json!({
        "type": "registerInstance", "serviceName": service, "groupName": "DEFAULT_GROUP",
        "namespace": "public",
        "instance": {
            "ip": format!("10.9.{high}.{low}"), "port": 8080, "weight": 1.0, "healthy": true,
            "enabled": true, "ephemeral": true, "clusterName": "DEFAULT", "metadata": {},
        },
    })
}

fn listens(number: u64) -> Value {
    let context = |config: u64| {
        let data_id = format!("load-{}", (number * 10 + config) % 1_000);
        json!({"dataId": data_id, "group": "DEFAULT_GROUP", "tenant": "", "md5": ""})
    };
    let contexts: Vec<Value> = (0..10).map(context).collect();
    json!({"listen": true, "configListenContexts": contexts})
}

/// Connections that do nothing but live: a health check every five seconds, as SDKs send it.
async fn idle(address: SocketAddr, pid: &str, count: u64, seconds: u64) {
    let before = resident(pid);
    let mut clients = Vec::new();
    for number in 0..count {
        let mut client = Client::set_up(address).await;
        let service = format!("service-{}", number % 100);
        client.done("InstanceRequest", register(&service, number), "InstanceResponse").await;
        let kind = "ConfigChangeBatchListenResponse";
        client.done("ConfigBatchListenRequest", listens(number), kind).await;
        clients.push(client);
    }
    println!("{count} connections, resident {before} KiB -> {} KiB", resident(pid));
    // The set-up is over when everybody has lived for a while.
    live(&mut clients, Instant::now() + 2 * CHECK_EVERY).await;
    let (begin, cpu) = (Instant::now(), cpu_micros(pid));
    let checked = live(&mut clients, begin + Duration::from_secs(seconds)).await;
    let (time, used) = (begin.elapsed().as_secs_f64(), cpu_micros(pid) - cpu);
    println!(
        "resident {} KiB, {:.0} checks/s, {:.2} % of a core",
        resident(pid),
        checked / time,
        used / time / 10_000.0
    );
}

const CHECK_EVERY: Duration = Duration::from_secs(5);

/// Checks every client every five seconds, each at its own moment, until `end`; returns the checks.
async fn live(clients: &mut [Client], end: Instant) -> f64 {
    let (begin, count) = (Instant::now(), clients.len() as f64);
    let all = clients.iter_mut().zip(0_u32..).map(|(client, number)| async move {
        let mut next = begin + CHECK_EVERY.mul_f64(f64::from(number) / count);
        let mut checks = 0.0;
        while next < end {
            Timer::at(next).await;
            client.done("HealthCheckRequest", json!({}), "HealthCheckResponse").await;
            next += CHECK_EVERY;
            checks += 1.0;
        }
        checks
    });
    futures_util::future::join_all(all).await.into_iter().sum()
}

/// Time from a change until each subscriber has heard of it.
async fn notify(address: SocketAddr, count: u64, rounds: u64) {
    let mut provider = Client::set_up(address).await;
    // What an earlier run left behind must not be heard of.
    let name = format!("notify-{}", std::process::id());
    let publish = |round: u64| {
        json!({
            "dataId": name, "group": "G", "tenant": "", "content": format!("round {round}"),
        })
    };
    provider.done("ConfigPublishRequest", publish(u64::MAX), "ConfigPublishResponse").await;
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = Client::set_up(address).await;
        let context = json!({"dataId": name, "group": "G", "tenant": "", "md5": "x"});
        let listen = json!({"listen": true, "configListenContexts": [context]});
        client.done("ConfigBatchListenRequest", listen, "ConfigChangeBatchListenResponse").await;
        let subscribe = json!({"serviceName": name, "subscribe": true});
        client.done("SubscribeServiceRequest", subscribe, "SubscribeServiceResponse").await;
        clients.push(client);
    }
    let (mut configs, mut services) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let begin = Instant::now();
        provider.done("ConfigPublishRequest", publish(round), "ConfigPublishResponse").await;
        configs.extend(hear_all(&mut clients, "ConfigChangeNotifyRequest", begin).await);
        let begin = Instant::now();
        provider.done("InstanceRequest", register(&name, round), "InstanceResponse").await;
        services.extend(hear_all(&mut clients, "NotifySubscriberRequest", begin).await);
    }
    told("config change to notice", configs);
    told("instance change to notice", services);
}

/// Registers one instance and lives until it is killed.
async fn provide(address: SocketAddr, service: &str) {
    let mut client = Client::set_up(address).await;
    client.done("InstanceRequest", register(service, 1), "InstanceResponse").await;
    smol::future::pending::<()>().await;
}

/// Time from the death of a process to the last subscriber that hears of it.
async fn gone(addresses: Vec<SocketAddr>, rounds: u64) {
    let program = std::env::current_exe().expect("this program");
    let first = addresses.first().expect("an address").to_string();
    let (mut clients, mut times) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let service = format!("gone-{round}");
        clients.clear();
        for address in &addresses {
            let mut client = Client::set_up(*address).await;
            let subscribe = json!({"serviceName": service, "subscribe": true});
            client.done("SubscribeServiceRequest", subscribe, "SubscribeServiceResponse").await;
            clients.push(client);
        }
        let mut provider = std::process::Command::new(&program);
        let mut provider = provider.args(["provide", &first, &service]).spawn().expect("starts");
        hear_hosts(&mut clients, 1, Instant::now()).await;
        provider.kill().expect("it runs");
        let begin = Instant::now();
        let heard = hear_hosts(&mut clients, 0, begin).await;
        times.extend(heard.into_iter().max());
        provider.wait().expect("it ends");
    }
    told("process killed to gone everywhere", times);
}

async fn hear_hosts(clients: &mut [Client], count: usize, begin: Instant) -> Vec<Duration> {
    let all = clients.iter_mut().map(|client| async move {
        let hosts = |told: &Value| told["serviceInfo"]["hosts"].as_array().map(Vec::len);
        while hosts(&client.hears("NotifySubscriberRequest").await) != Some(count) {}
        begin.elapsed()
    });
    futures_util::future::join_all(all).await
}

async fn hear_all(clients: &mut [Client], kind: &str, begin: Instant) -> Vec<Duration> {
    let all = clients.iter_mut().map(|client| async move {
        client.hears(kind).await;
        begin.elapsed()
    });
    futures_util::future::join_all(all).await
}

fn told(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!("{what}: p50 {:?}, p99 {:?}, max {:?}", at(50), at(99), at(100));
}

/// CPU of the server per request, with one request in flight on each connection.
async fn load(kind: &str, address: SocketAddr, pid: &str, count: u64, seconds: u64) {
    let mut setup = Client::set_up(address).await;
    for number in 0..100 {
        let config = json!({
            "dataId": format!("load-{number}"), "group": "DEFAULT_GROUP", "tenant": "",
            "content": "x".repeat(1_024),
        });
        setup.done("ConfigPublishRequest", config, "ConfigPublishResponse").await;
    }
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(Client::set_up(address).await);
    }
    let (begin, cpu) = (Instant::now(), cpu_micros(pid));
    let end = begin + Duration::from_secs(seconds);
    let one = |number: u64, mut client: Client| async move {
        let mut done = 0_u64;
        while Instant::now() < end {
            let (ask, body, answer) = match kind {
                "query" => {
                    let data_id = format!("load-{}", done % 100);
                    let query = json!({"dataId": data_id, "group": "DEFAULT_GROUP", "tenant": ""});
                    ("ConfigQueryRequest", query, "ConfigQueryResponse")
                }
                "register" => {
                    // One instance per connection, a little different each time.
                    let mut request = register(&format!("load-{number}"), number);
                    request["instance"]["weight"] = json!(done % 100);
                    ("InstanceRequest", request, "InstanceResponse")
                }
                _ => ("HealthCheckRequest", json!({}), "HealthCheckResponse"),
            };
            client.done(ask, body, answer).await;
            done += 1;
        }
        done
    };
    let all = clients.into_iter().zip(0..).map(|(client, number)| one(number, client));
    let done: u64 = futures_util::future::join_all(all).await.into_iter().sum();
    let used = cpu_micros(pid) - cpu;
    let done = u32::try_from(done).map_or(f64::INFINITY, f64::from);
    let rate = done / begin.elapsed().as_secs_f64();
    println!("{kind}: {rate:.0} requests/s, {:.1} us of server CPU each", used / done);
}

/// User and system time of all threads of a process, microseconds.
fn cpu_micros(pid: &str) -> f64 {
    const MICROS_PER_TICK: f64 = 10_000.0;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
    let (_, fields) = stat.rsplit_once(") ").expect("a name");
    let ticks = fields.split(' ').skip(11).take(2).map(|text| text.parse::<f64>());
    ticks.map(|ticks| ticks.expect("a number") * MICROS_PER_TICK).sum()
}

/// Resident memory of a process, KiB.
fn resident(pid: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("a size");
    line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number")
}
