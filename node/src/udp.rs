//! The socket of pushes to Nacos 1.x subscribers. A datagram that cannot be sent is lost, as
//! datagrams may be: the registry sends it once more, and the client polls.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use nacolet_api::udp::{parse_ack, render_push};
use nacolet_auth::Users;
use nacolet_model::{ServiceKey, limits};
use nacolet_registry::{Registry, Subscriber};
use smol::Async;
use smol::future;

/// Sends pushes and hears their acknowledgements.
pub(crate) struct Udp {
    socket: Option<Async<UdpSocket>>,
}

impl Udp {
    /// A socket on a free port of `ip`. Without one the node serves all the same: clients poll.
    pub(crate) fn bind(ip: IpAddr) -> Self {
        let socket = Async::<UdpSocket>::bind((ip, 0));
        if let Err(error) = &socket {
            tracing::warn!(%error, "no UDP socket: subscribers of Nacos 1.x are not pushed to");
        }
        Self { socket: socket.ok() }
    }

    /// Sends `subscriber` how `service` looks now.
    pub(crate) fn push(
        &self,
        registry: &Registry,
        users: &Users,
        subscriber: &Subscriber,
        service: &ServiceKey,
        clusters: &str,
        reference: u64,
    ) {
        let (Some(socket), Ok(ip)) = (&self.socket, subscriber.ip.parse::<IpAddr>()) else {
            return;
        };
        let datagram = render_push(registry, users, subscriber, service, clusters, reference);
        let Some(datagram) = datagram else { return };
        let target = SocketAddr::new(ip, subscriber.port);
        if let Err(error) = socket.get_ref().send_to(&datagram, target) {
            tracing::debug!(%error, %target, "a push was not sent");
        }
    }

    /// The reference of the next push that is acknowledged.
    pub(crate) async fn acked(&self) -> u64 {
        let Some(socket) = &self.socket else { return future::pending().await };
        let mut datagram = [0; limits::UDP_ACK_BYTES_MAX];
        loop {
            match socket.recv_from(&mut datagram).await {
                Ok((length, _)) => {
                    if let Some(reference) = parse_ack(&datagram[..length]) {
                        return reference;
                    }
                }
                // An unreachable subscriber comes back as an error of the next receive.
                Err(error) => tracing::debug!(%error, "a subscriber cannot be reached"),
            }
        }
    }
}
