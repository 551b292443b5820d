//! The limits of a server.

use std::net::IpAddr;
use std::time::Duration;

use nacolet_model::limits;

use crate::access::proof::OperatorKey;
use crate::bounds::origin::Network;

/// The limits of a server. The defaults are those of `model::limits`; tests shorten them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Request line and headers, bytes.
    pub head_bytes_max: usize,
    /// Headers of one request.
    pub headers_max: usize,
    /// Time to complete a head.
    pub head_timeout: Duration,
    /// Idle keep-alive, and a client that does not take its response.
    pub idle_timeout: Duration,
    /// Time to complete a body.
    pub body_timeout: Duration,
    /// Time before the speed of a body counts.
    pub body_grace: Duration,
    /// Slowest body, bytes per second.
    pub body_bytes_per_second_min: u64,
    /// Bodies being read or worked on and answers not taken yet, bytes in all.
    pub bodies_bytes_max: usize,
    /// And beyond that for small ones.
    pub bodies_reserve_bytes: usize,
    /// Rendered lists kept, bytes.
    pub lists_bytes_max: usize,
    /// Connections of one address that wait for their client.
    pub connections_per_address: usize,
    /// Networks whose addresses stand for many clients: no limit by address.
    pub trusted_proxies: Vec<Network>,
    /// What an administrator on another host proves, where nobody has to log in.
    pub operator_key: Option<OperatorKey>,
    /// Connections of all threads together, long polls apart.
    pub connections_max: usize,
    /// Requests waiting for the core thread, without long polls.
    pub requests_max: usize,
    /// Long polls held at once.
    pub long_polls_max: usize,
    /// A write without an answer after this long gets 503.
    pub write_timeout: Duration,
    /// Time to answer what is in flight when the server stops.
    pub drain_timeout: Duration,
    /// How long a connection that was refused is read from, so that the refusal arrives.
    pub linger_timeout: Duration,
    /// How much is read from it, bytes.
    pub linger_bytes_max: usize,
    /// What somebody waits for who has used wrong passwords too often.
    pub login_delay: Duration,
    /// How often deadlines are looked at while there are any.
    pub tick: Duration,
    /// gRPC connections of all threads together.
    pub grpc_connections_max: usize,
    /// Time for a gRPC client to set its connection up.
    pub grpc_setup_timeout: Duration,
    /// Silence after which a gRPC client is asked whether it lives.
    pub grpc_idle_timeout: Duration,
    /// Time it has to answer.
    pub grpc_detection_timeout: Duration,
    /// Time a gRPC client has to go that was told to come again with another login.
    pub grpc_reset_patience: Duration,
    /// A gRPC client that takes nothing of its socket or its stream for this long is closed.
    pub grpc_blocked_timeout: Duration,
    /// gRPC connections of one thread from which on those that only live wait together.
    pub grpc_quiet_connections_min: usize,
    /// Time without more than health checks after which one does.
    pub grpc_quiet_after: Duration,
}

impl Settings {
    /// Whether many clients have this address: of the own host, and of trusted proxies.
    pub(crate) fn is_shared(&self, ip: &str) -> bool {
        let holds = |ip: IpAddr| {
            ip.to_canonical().is_loopback() || self.trusted_proxies.iter().any(|net| net.holds(ip))
        };
        ip.parse().is_ok_and(holds)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            head_bytes_max: limits::HEAD_BYTES_MAX,
            headers_max: limits::HEADERS_MAX,
            head_timeout: limits::HEAD_TIMEOUT,
            idle_timeout: limits::IDLE_TIMEOUT,
            body_timeout: limits::BODY_TIMEOUT,
            body_grace: limits::BODY_GRACE,
            body_bytes_per_second_min: limits::BODY_BYTES_PER_SECOND_MIN,
            bodies_bytes_max: limits::BODIES_BYTES_MAX,
            bodies_reserve_bytes: limits::BODIES_RESERVE_BYTES,
            lists_bytes_max: limits::LIST_SHELF_BYTES_MAX,
            connections_per_address: limits::CONNECTIONS_PER_ADDRESS_MAX,
            trusted_proxies: Vec::new(),
            operator_key: None,
            connections_max: limits::CONNECTIONS_MAX,
            requests_max: limits::REQUESTS_MAX,
            long_polls_max: limits::LONG_POLLS_MAX,
            write_timeout: limits::WRITE_TIMEOUT,
            drain_timeout: limits::DRAIN_TIMEOUT,
            linger_timeout: limits::LINGER_TIMEOUT,
            linger_bytes_max: limits::LINGER_BYTES_MAX,
            login_delay: limits::LOGIN_DELAY,
            tick: limits::DEADLINE_TICK,
            grpc_connections_max: limits::GRPC_CONNECTIONS_MAX,
            grpc_setup_timeout: limits::GRPC_SETUP_TIMEOUT,
            grpc_idle_timeout: limits::GRPC_IDLE_TIMEOUT,
            grpc_detection_timeout: limits::GRPC_DETECTION_TIMEOUT,
            grpc_reset_patience: limits::GRPC_RESET_PATIENCE,
            grpc_blocked_timeout: limits::GRPC_BLOCKED_TIMEOUT,
            grpc_quiet_connections_min: limits::GRPC_QUIET_CONNECTIONS_MIN,
            grpc_quiet_after: limits::GRPC_QUIET_AFTER,
        }
    }
}
