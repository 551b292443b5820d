//! Peers that are not where the membership says, and ports on which nobody of ours is.

use nacolet_transport::PeerNetwork;

use super::*;

/// An address at which nobody listens: nothing answers a handshake there.
async fn deserted() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    (listener, address)
}

async fn say_until_heard(from: &Node, to: NodeId, at: &str, inbox: &Inbox) -> PeerNetwork {
    let mut network = from.transport.networks(whole).connect(to, at);
    while inbox.raft.borrow().is_empty() {
        let _ = network.send(message(3)).await;
        smol::Timer::after(Duration::from_millis(1)).await;
    }
    network
}

#[test]
fn whoever_knocks_is_found_and_finds_although_the_membership_knows_neither() {
    with_two(|_, a, b| async move {
        // One old address refuses connections, at the other one somebody says nothing.
        let (gone, refuses) = deserted().await;
        drop(gone);
        let (_silent, hangs) = deserted().await;
        assert_eq!(
            a.transport.knock(&b.address).await.expect("it is there"),
            (NodeId(2), Some(CLUSTER))
        );
        let _to_b = say_until_heard(&a, NodeId(2), &refuses, &b.inbox).await;
        let _to_a = say_until_heard(&b, NodeId(1), &hangs, &a.inbox).await;
        assert!(a.transport.is_up(NodeId(2)));
        assert!(a.transport.is_up_at(NodeId(2), &b.address));
        assert!(!a.transport.is_up_at(NodeId(2), &refuses), "it is not at its old place");
        // Once the membership says the same, the connection stays as it is.
        let frames = b.transport.counters().raft_frames;
        let mut network = a.transport.networks(whole).connect(NodeId(2), &b.address);
        network.send(message(4)).await.expect("it is up");
        until(|| b.transport.counters().raft_frames > frames).await;
        assert!(a.transport.is_up_at(NodeId(2), &b.address));
    });
}

#[test]
fn a_guest_that_knocks_is_told_of_the_cluster_and_the_other_way_round() {
    with_two(|executor, a, _| async move {
        let none = LinkSettings { cluster: None, ..settings(3, "") };
        let guest = start_at(&executor, "127.0.0.1:0", none).await;
        assert_eq!(
            guest.transport.knock(&a.address).await.expect("it is there"),
            (NodeId(1), Some(CLUSTER))
        );
        assert_eq!(
            a.transport.knock(&guest.address).await.expect("it is there"),
            (NodeId(3), None)
        );
        until(|| a.transport.introduced(NodeId(3)) == guest.address).await;
    });
}

/// A server that says this and nothing more to whoever connects.
async fn knock_at(answer: &'static [u8]) -> String {
    let executor = LocalExecutor::new();
    let run = async {
        let a = start(&executor, 1).await;
        let (listener, address) = deserted().await;
        let serve = executor.spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("it is called");
            stream.write_all(answer).await.expect("it is read");
            stream
        });
        let error = a.transport.knock(&address).await.expect_err("no peer");
        drop(serve);
        error.to_string()
    };
    executor.run(run).await
}

#[test]
fn a_port_of_another_kind_is_named() {
    smol::block_on(async {
        let http = knock_at(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        assert!(http.starts_with("that is an HTTP port"), "{http}");
        let grpc = knock_at(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100]).await;
        assert!(grpc.starts_with("that is a gRPC port"), "{grpc}");
        let other = knock_at(&[b'x'; handshake::HELLO_BYTES]).await;
        assert_eq!(other, "that is not a member of any cluster");
    });
}
