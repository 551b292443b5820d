//! Real processes that probe persistent instances: what answers is healthy on every member and what
//! does not is not, and nothing is connected to that nobody asked for.

#[expect(dead_code, reason = "each test binary uses its part")]
mod support;

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread::sleep;
use std::time::Duration;

use support::site::{Member, Site};
use support::{Http, Node, TempDir};

const INSTANCE: &str = "/nacos/v1/ns/instance";
const CLUSTER: &str = "/nacos/v1/ns/cluster";

/// An address of this machine that is no loopback address: those are never probed. `None` on a
/// machine without a network, where these tests have nothing to say.
fn own_address() -> Option<IpAddr> {
    // Nothing is sent.
    let towards = |from: &str, to: &str| {
        let socket = UdpSocket::bind(from).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    let address = towards("0.0.0.0:0", "192.0.2.1:9").or(towards("[::]:0", "[2001:db8::1]:9"));
    #[expect(clippy::print_stdout, reason = "a test that did not run should not look as if it had")]
    if address.is_none() {
        println!("not run: this machine has no address but loopback");
    }
    address
}

fn listen(ip: IpAddr, port: u16) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((ip, port)).expect("a port");
    listener.set_nonblocking(true).expect("it listens");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// Whoever connects, within half a minute.
fn accept(listener: &TcpListener) -> TcpStream {
    for _ in 0..3_000 {
        match listener.accept() {
            Ok((stream, _)) => return stream,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
        sleep(Duration::from_millis(10));
    }
    panic!("nobody connects");
}

fn nobody_came(listener: &TcpListener) {
    let error = listener.accept().expect_err("nobody was asked to come");
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
}

fn register(http: &mut Http, service: &str, address: SocketAddr) {
    let (ip, port) = (address.ip(), address.port());
    let form = format!("serviceName={service}&ip={ip}&port={port}&ephemeral=false");
    assert_eq!(http.post(INSTANCE, &form), (200, "ok".to_owned()));
}

/// Says how a service will be probed.
fn put_checker(http: &mut Http, service: &str, checker: &str) {
    let form = format!("serviceName={service}&protectThreshold=0");
    assert_eq!(http.post("/nacos/v1/ns/service", &form).0, 200);
    let form = format!(
        "serviceName={service}&clusterName=DEFAULT&checkPort=1&useInstancePort4Check=true\
         &healthChecker={checker}"
    );
    assert_eq!(http.call("PUT", CLUSTER, &form).expect("an answer").0, 200);
}

/// Waits until a member shows this health, for a minute: three rounds, on a busy machine.
fn until_healthy(member: &Member, healthy: bool) {
    let mut http = member.http();
    let mut last = String::new();
    for _ in 0..2_400 {
        last = http.get(&format!("{INSTANCE}/list?serviceName=s")).1;
        if last.contains(&format!("\"healthy\":{healthy}")) {
            return;
        }
        sleep(Duration::from_millis(25));
    }
    panic!("{}: it does not come about: {last}", member.http);
}

/// A counter of a member.
fn counter(member: &Member, name: &str) -> u64 {
    let page = member.http().get("/nacos/metrics").1;
    let line = page.lines().find(|line| line.starts_with(&format!("nacolet_{name} ")));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).expect("a number")
}

#[test]
fn an_instance_that_dies_is_unhealthy_on_every_member_until_it_is_back() {
    let Some(ip) = own_address() else { return };
    let site = Site::new("probe");
    let a = site.start("a", &["--probe"]);
    let join = ["--probe", "--join", &a.peer_address()];
    let (b, c) = (site.start("b", &join), site.start("c", &join));
    let members = [&a, &b, &c];
    let (listener, address) = listen(ip, 0);
    register(&mut c.http(), "s", address);
    accept(&listener);
    for member in members {
        until_healthy(member, true);
    }
    drop(listener);
    for member in members {
        until_healthy(member, false);
    }
    let (listener, _) = listen(ip, address.port());
    for member in members {
        until_healthy(member, true);
    }
    accept(&listener);
    let sum = |name| members.map(|member| counter(member, name)).into_iter().sum::<u64>();
    assert!(sum("probes_proposed_total") >= 2, "there and back");
    assert!(sum("probes_failed_total") >= 3 && sum("probes_total") >= 6);
}

#[test]
fn only_what_was_asked_for_is_connected_to() {
    let Some(ip) = own_address() else { return };
    let (quiet, curious) = (TempDir::new("probe-off"), TempDir::new("probe-on"));
    let off = Node::start(quiet.path());
    let on = Node::try_start(curious.path(), &[("NACOLET_PROBE", "true")]).expect("it starts");
    let (never, unasked) = listen(ip, 0);
    let (local, loopback) = listen(IpAddr::from([127, 0, 0, 1]), 0);
    let (left, alone) = listen(ip, 0);
    let (web, page) = listen(ip, 0);
    let (last, plain) = listen(ip, 0);
    register(&mut off.http(), "s", unasked);
    let mut http = on.http();
    register(&mut http, "local", loopback);
    put_checker(&mut http, "none", "%7B%22type%22%3A%22NONE%22%7D");
    register(&mut http, "none", alone);
    put_checker(
        &mut http,
        "page",
        "%7B%22type%22%3A%22HTTP%22%2C%22path%22%3A%22%2Fup%22%2C%22headers%22%3A%22A%3Ab%22%7D",
    );
    register(&mut http, "page", page);
    // It comes last in a round: at the second time all others had their turn.
    register(&mut http, "z", plain);
    let mut asked = accept(&web);
    asked.set_nonblocking(false).expect("it is open");
    asked.set_read_timeout(Some(Duration::from_secs(10))).expect("it is open");
    let mut request = vec![0; 64];
    let read = asked.read(&mut request).expect("a request");
    let request = String::from_utf8_lossy(&request[..read]);
    assert!(request.starts_with("GET /up HTTP/1.1\r\n"), "{request}");
    for _ in 0..2 {
        assert_eq!(accept(&last).peer_addr().expect("it is open").ip(), ip);
    }
    for listener in [&never, &local, &left] {
        nobody_came(listener);
    }
}
