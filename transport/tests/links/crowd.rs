//! Crowds at the door: strangers who connect and say nothing, as many as like, and again as soon as
//! they are sent away. Members find each other all the same.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use nacolet_model::{NodeId, limits};
use nacolet_transport::handshake::HELLO_BYTES;
use nacolet_transport::{Call, LinkSettings, Patience, Reply};
use smol::io::AsyncWriteExt;
use smol::net::TcpStream;
use smol::{Async, LocalExecutor};
use socket2::{Domain, Socket, Type};

use crate::{Node, is_closed, settings, start_at, until};

/// Silent sockets at each member.
const CROWD: usize = 64;
/// Time to come to an understanding, whoever stands around.
const SOON: Duration = Duration::from_secs(2);

/// A connection from this address on this host.
async fn connect_from(from: IpAddr, to: &str) -> TcpStream {
    let to: SocketAddr = to.parse().expect("an address");
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::new(from, 0).into()).expect("an address of this host");
    let stream = smol::unblock(move || socket.connect(&to.into()).map(|()| socket));
    let stream = std::net::TcpStream::from(stream.await.expect("it listens"));
    Async::new(stream).expect("a socket").into()
}

/// Connects, says so much, and connects anew as soon as it is sent away.
async fn loiter(from: IpAddr, to: String, says: Vec<u8>) {
    loop {
        let mut stream = connect_from(from, &to).await;
        let _ = stream.write_all(&says).await;
        while !is_closed(&mut stream).await {}
    }
}

/// Members that have just started, with the patience of the product.
async fn member(executor: &LocalExecutor<'_>, node: u64) -> Rc<Node> {
    let settings = LinkSettings { patience: Patience::default(), ..settings(node, "") };
    start_at(executor, "127.0.0.1:0", settings).await
}

/// Two members call each other while a crowd from this address stands around both.
fn check(strangers: [u8; 4], knows: bool, says: &[u8]) {
    let executor = Rc::new(LocalExecutor::new());
    let run = async {
        let (a, b) = (member(&executor, 1).await, member(&executor, 2).await);
        let mut crowd = Vec::new();
        for to in [&a, &b].into_iter().cycle().take(2 * CROWD) {
            let loiters = loiter(strangers.into(), to.address.clone(), says.to_vec());
            crowd.push(executor.spawn(loiters));
        }
        let full = |node: &Node| node.transport.counters().refused_full > 0;
        until(|| full(&a) && full(&b)).await;
        if knows {
            a.transport.set_members([(NodeId(2), &*b.address)]);
            b.transport.set_members([(NodeId(1), &*a.address)]);
        }
        let call = |from: &Rc<Node>, node, to: &Rc<Node>| {
            let (transport, address) = (from.transport.clone(), to.address.clone());
            executor.spawn(async move {
                loop {
                    let reply = transport.call(NodeId(node), &address, Call::Promote).await;
                    if reply == Ok(Reply::Done) {
                        break;
                    }
                    smol::Timer::after(Duration::from_millis(5)).await;
                }
            })
        };
        let (there, back) = (call(&a, 2, &b), call(&b, 1, &a));
        let both = async {
            there.await;
            back.await;
            true
        };
        let late = async {
            smol::Timer::after(SOON).await;
            false
        };
        assert!(smol::future::or(both, late).await, "{strangers:?} {knows} {}", says.len());
    };
    smol::block_on(executor.run(run));
}

#[test]
fn members_find_each_other_in_a_crowd_of_silent_strangers() {
    for strangers in [[127, 0, 0, 1], [127, 0, 0, 9]] {
        for knows in [false, true] {
            check(strangers, knows, &[]);
        }
    }
}

#[test]
fn members_find_each_other_in_a_crowd_that_says_half_a_hello() {
    check([127, 0, 0, 1], false, b"NCLT");
}

#[test]
fn members_that_know_each_other_do_so_in_a_crowd_that_says_what_members_say() {
    let mut hello = vec![0; HELLO_BYTES];
    hello[..6].copy_from_slice(b"NCLT\x01\x01");
    hello[16] = 9;
    check([127, 0, 0, 9], true, &hello);
}

#[test]
fn a_silent_stranger_is_closed_after_a_second_and_a_silent_peer_has_time() {
    let executor = Rc::new(LocalExecutor::new());
    let run = async {
        let (a, b) = (member(&executor, 1).await, member(&executor, 2).await);
        b.transport.set_members([(NodeId(1), &*a.address)]);
        let mut stranger = connect_from([127, 0, 0, 9].into(), &b.address).await;
        let mut peer = connect_from([127, 0, 0, 1].into(), &b.address).await;
        let closed = async { is_closed(&mut stranger).await };
        let too_soon = limits::PEER_SILENCE_TIMEOUT * 4 / 5;
        let late = async {
            smol::Timer::after(2 * limits::PEER_SILENCE_TIMEOUT - too_soon).await;
            false
        };
        smol::Timer::after(too_soon).await;
        assert_eq!(b.transport.counters().refused_other, 0, "it has a second");
        assert!(smol::future::or(closed, late).await);
        let peer = async { is_closed(&mut peer).await };
        assert!(smol::future::poll_once(peer).await.is_none());
        assert_eq!(b.transport.counters().refused_other, 1);
    };
    smol::block_on(executor.run(run));
}
