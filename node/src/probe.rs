//! Probes persistent instances, where the node is told to: the connections behind the rounds of
//! `nacolet_registry::probe`, which says where to connect to and what an answer means. Nothing is
//! resolved, no redirect is followed, and of an answer no more is read than its status.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, RwLock};

use futures_util::stream::{self, StreamExt};
use nacolet_api::Port;
use nacolet_model::{Instant, limits};
use nacolet_raft::Raft;
use nacolet_registry::probe::{
    Probe, ProbeCounts, ProbeRequest, ProbeResult, Rounds, STATUS_BYTES, status,
};
use smol::future;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::TcpStream;

use crate::clock;
use crate::cluster::address::{http_of, peer_of};
use crate::command::Command;
use crate::machine::{Machine, read, write};
use crate::proposer::Proposer;

/// The task that probes.
pub(crate) struct Prober {
    pub(crate) port: Arc<Port>,
    pub(crate) raft: Raft<Machine>,
    pub(crate) proposer: Proposer,
    /// Ports that this node listens on.
    pub(crate) own_ports: BTreeSet<u16>,
    /// What came of it, for those who ask.
    pub(crate) counts: Arc<RwLock<ProbeCounts>>,
}

impl Prober {
    /// Probes for ever.
    pub(crate) async fn run(self) {
        while !self.port.stage.is_ready() {
            smol::Timer::after(limits::OWN_PAUSE).await;
        }
        let mut rounds = Rounds::default();
        loop {
            clock::until(rounds.next_deadline(clock::now())).await;
            let own_ports = self.own_ports();
            let probes = rounds.begin(clock::now(), &read(&self.port.registry), &own_ports);
            let found = ask(probes).await;
            let now = clock::now();
            let verdicts = rounds.judge(now, &read(&self.port.registry), &own_ports, &found);
            *write(&self.counts) = rounds.counts();
            let verdicts = verdicts.into_iter().map(Command::Registry);
            stream::iter(verdicts).for_each_concurrent(None, |verdict| self.propose(verdict)).await;
        }
    }

    /// The ports of all members; their gRPC is where clients look for it.
    fn own_ports(&self) -> BTreeSet<u16> {
        let mut ports = self.own_ports.clone();
        let port_of = |address: &str| address.rsplit_once(':')?.1.parse::<u16>().ok();
        for address in self.raft.metrics().membership.addresses.values() {
            ports.extend(port_of(peer_of(address)));
            let http = http_of(address).and_then(|http| port_of(&http));
            ports.extend(http);
            ports.extend(http.and_then(|http| http.checked_add(1_000)));
        }
        ports
    }

    async fn propose(&self, command: Command) {
        if let Err(error) = self.proposer.propose(command).await {
            tracing::debug!(?error, "a change of health is proposed again in the next round");
        }
    }
}

/// Asks each at its moment, so many at a time.
async fn ask(probes: Vec<Probe>) -> Vec<(Probe, ProbeResult)> {
    let asked = stream::iter(probes).map(|probe| async {
        clock::until(probe.at).await;
        let found = look(&probe).await;
        (probe, found)
    });
    asked.buffer_unordered(limits::PROBES_AT_ONCE_MAX).collect().await
}

/// One probe: one connection, one deadline.
async fn look(probe: &Probe) -> ProbeResult {
    let deadline = clock::now() + limits::PROBE_TIMEOUT;
    let mut stream = match before(deadline, TcpStream::connect(probe.address)).await {
        Some(Ok(stream)) => stream,
        Some(Err(error)) => return meaning(&error),
        None => return ProbeResult::Silent,
    };
    let ProbeRequest::Http { request, expected } = &probe.ask else { return ProbeResult::Well };
    let answer = async {
        let mut first = [0; STATUS_BYTES];
        stream.write_all(request.as_bytes()).await?;
        stream.read_exact(&mut first).await?;
        Ok::<_, io::Error>(status(&first))
    };
    match before(deadline, answer).await {
        Some(Ok(Some(status))) if status == *expected => ProbeResult::Well,
        Some(Ok(_) | Err(_)) | None => ProbeResult::Wrong,
    }
}

async fn before<T>(deadline: Instant, answer: impl Future<Output = T>) -> Option<T> {
    let late = async {
        clock::until(deadline).await;
        None
    };
    future::or(async { Some(answer.await) }, late).await
}

/// What a connection that does not come about says of the other side.
fn meaning(error: &io::Error) -> ProbeResult {
    use io::ErrorKind;
    #[expect(clippy::wildcard_enum_match_arm, reason = "the system may add kinds")]
    match error.kind() {
        // The host is there and says no.
        ErrorKind::ConnectionRefused
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted => ProbeResult::Wrong,
        ErrorKind::TimedOut | ErrorKind::HostUnreachable => ProbeResult::Silent,
        // No way there from here, no descriptor, no port: it was not asked.
        _ => ProbeResult::Unasked,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use nacolet_model::{Group, Namespace, ServiceKey, ServiceName};
    use nacolet_registry::probe::ProbeTarget;
    use nacolet_registry::{InstanceKey, InstanceSpec};
    use rustix::io::Errno;
    use smol::net::TcpListener;

    use super::*;

    fn probe(address: SocketAddr, ask: ProbeRequest) -> Probe {
        let service = ServiceKey {
            namespace: Namespace::public(),
            group: Group::new("DEFAULT_GROUP").expect("group"),
            name: ServiceName::new("s").expect("name"),
        };
        let InstanceSpec { ip, port, cluster, .. } = InstanceSpec::new("10.0.0.1", 80);
        let target = ProbeTarget { service, instance: InstanceKey { ip, port, cluster } };
        Probe { target, at: Instant::ZERO, address, ask }
    }

    fn http() -> ProbeRequest {
        ProbeRequest::Http { request: "GET / HTTP/1.1\r\nHost: a\r\n\r\n".into(), expected: 200 }
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        (listener, address)
    }

    /// Answers one caller with `answer` after it has spoken.
    async fn answer(listener: &TcpListener, answer: &str) {
        let (mut stream, _) = listener.accept().await.expect("a caller");
        let mut request = [0; 64];
        let read = stream.read(&mut request).await.expect("a request");
        assert!(request[..read].starts_with(b"GET / "));
        stream.write_all(answer.as_bytes()).await.expect("it listens");
    }

    #[test]
    fn what_a_peer_does_is_what_is_found() {
        smol::block_on(async {
            let (listener, address) = listener().await;
            assert_eq!(look(&probe(address, ProbeRequest::Connect)).await, ProbeResult::Well);
            drop(listener.accept().await.expect("the first caller"));
            for (said, expected) in [
                ("HTTP/1.1 200 OK\r\n\r\n", ProbeResult::Well),
                ("HTTP/1.1 503 No\r\n\r\n", ProbeResult::Wrong),
                ("short", ProbeResult::Wrong),
                ("SSH-2.0-OpenSSH\r\n", ProbeResult::Wrong),
            ] {
                let probe = probe(address, http());
                let (found, ()) = future::zip(look(&probe), answer(&listener, said)).await;
                assert_eq!(found, expected, "{said}");
            }
            // The system takes the connection and nobody answers: the host lives all the same.
            assert_eq!(look(&probe(address, http())).await, ProbeResult::Wrong);
            drop(listener);
            assert_eq!(look(&probe(address, ProbeRequest::Connect)).await, ProbeResult::Wrong);
        });
    }

    #[test]
    fn no_redirect_is_followed() {
        smol::block_on(async {
            let (listener, address) = listener().await;
            let (elsewhere, there) = self::listener().await;
            let moved = format!("HTTP/1.1 302 Found\r\nLocation: http://{there}/\r\n\r\n");
            let probe = probe(address, http());
            let (found, ()) = future::zip(look(&probe), answer(&listener, &moved)).await;
            assert_eq!(found, ProbeResult::Wrong);
            // Whoever connects later is the first one there.
            let own = TcpStream::connect(there).await.expect("it listens");
            let (_, first) = elsewhere.accept().await.expect("a caller");
            assert_eq!(first, own.local_addr().expect("it is connected"));
        });
    }

    #[test]
    fn an_answer_without_end_is_not_read() {
        smol::block_on(async {
            let (listener, address) = listener().await;
            let flood = async {
                let (mut stream, _) = listener.accept().await.expect("a caller");
                let mut chunk = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
                chunk.resize(64 << 10, b'x');
                while stream.write_all(&chunk).await.is_ok() {}
            };
            let probe = probe(address, http());
            let (found, ()) = future::zip(look(&probe), flood).await;
            assert_eq!(
                found,
                ProbeResult::Well,
                "and the connection was closed, or the flood would go on"
            );
        });
    }

    #[test]
    fn so_many_are_asked_at_once_and_no_more() {
        smol::block_on(async {
            let (listener, address) = listener().await;
            let places = limits::PROBES_AT_ONCE_MAX;
            let probes: Vec<_> = (0..=places).map(|_| probe(address, http())).collect();
            let counted = async {
                let mut held = Vec::new();
                for _ in 0..places {
                    held.push(listener.accept().await.expect("a caller").0);
                }
                let last = listener.accept().await.expect("the last caller").0;
                let mut ended = 0;
                for stream in &mut held {
                    let read = async { stream.read_to_end(&mut Vec::new()).await.is_ok() };
                    let is_over = future::poll_once(read).await;
                    ended += usize::from(is_over.is_some());
                }
                drop(last);
                ended
            };
            let (found, ended) = future::zip(ask(probes), counted).await;
            assert!(ended > 0, "the last one came after another had ended");
            assert_eq!(found.len(), places + 1);
            assert!(found.iter().all(|(_, found)| *found == ProbeResult::Wrong));
        });
    }

    #[test]
    fn an_error_tells_their_trouble_from_ours() {
        for (error, expected) in [
            (Errno::CONNREFUSED, ProbeResult::Wrong),
            (Errno::CONNRESET, ProbeResult::Wrong),
            (Errno::TIMEDOUT, ProbeResult::Silent),
            (Errno::HOSTUNREACH, ProbeResult::Silent),
            (Errno::NETUNREACH, ProbeResult::Unasked),
            (Errno::NETDOWN, ProbeResult::Unasked),
            (Errno::MFILE, ProbeResult::Unasked),
            (Errno::ADDRNOTAVAIL, ProbeResult::Unasked),
            (Errno::ACCESS, ProbeResult::Unasked),
        ] {
            assert_eq!(meaning(&error.into()), expected, "{error}");
        }
    }
}
