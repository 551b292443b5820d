//! Two nodes that prove to each other that they hold one key, and a question that is answered on
//! the link that brought it.
//!
//! `cargo run -p nacolet-transport --example call`
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::rc::Rc;

use nacolet_model::NodeId;
use nacolet_raft::{LogIndex, Message};
use nacolet_registry as registry;
use nacolet_transport::{
    Call, ClusterId, ClusterKey, Handler, LinkSettings, LocalFuture, Patience, Reply, Transport,
};
use smol::LocalExecutor;
use smol::net::TcpListener;

/// Answers writes with what was written.
struct Echo;

impl Handler for Echo {
    fn raft(&self, _from: NodeId, _message: Message) {}

    fn distro(&self, _from: NodeId, _message: registry::Message, _bytes: usize) {}

    fn call(&self, from: NodeId, _guest: bool, call: Call) -> LocalFuture<Reply> {
        println!("{from} asks");
        Box::pin(async {
            let Call::Write(answer) = call else { return Reply::Unknown };
            Reply::Written { answer, applied: LogIndex(1) }
        })
    }
}

fn settings(node: u64, key: &ClusterKey, address: String) -> LinkSettings {
    let (key, cluster, patience) = (key.clone(), Some(ClusterId(1)), Patience::default());
    LinkSettings { node: NodeId(node), key, cluster, address, seed: node, patience }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let executor = LocalExecutor::new();
    smol::block_on(executor.run(async {
        let key = ClusterKey::new(b"thirty-two bytes that nobody knows")?;
        let mut addresses = Vec::new();
        let mut transports = Vec::new();
        for node in [1, 2] {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?.to_string();
            let (transport, runner) = Transport::new(settings(node, &key, address.clone()));
            executor.spawn(runner.run(listener, Rc::new(Echo))).detach();
            addresses.push(address);
            transports.push(transport);
        }
        let call = Call::Write(b"hello".to_vec());
        let reply = transports[0].call(NodeId(2), &addresses[1], call).await?;
        let Reply::Written { answer, .. } = reply else { return Err("another answer".into()) };
        println!("answered: {}", String::from_utf8_lossy(&answer));
        Ok(())
    }))
}
