//! Addresses as settings have them: written out, resolved, or one beside the other.

use std::net::{IpAddr, SocketAddr};

use super::error::SettingsError;

/// The peer port lies 1000 below the HTTP port; a free port stays one.
pub(super) fn peer_addr_beside(http: SocketAddr) -> Result<SocketAddr, SettingsError> {
    let port = match http.port() {
        0 => Some(0),
        port => port.checked_sub(1_000).filter(|port| *port > 0),
    };
    let port = port.ok_or(SettingsError::NoPeerPort { address: http })?;
    Ok(SocketAddr::new(http.ip(), port))
}

/// A host as it stands before a port: IPv6 addresses get their brackets.
pub(super) fn url_host(value: &str) -> Result<String, SettingsError> {
    let bare = value.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok(format!("[{bare}]"));
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if value.is_empty() || value.len() > 253 || !value.chars().all(legal) {
        return Err(SettingsError::Host { value: value.to_owned() });
    }
    Ok(value.to_owned())
}

/// Where SDKs look for gRPC: 1000 ports above HTTP. A port that the system chooses has no
/// neighbour, and neither has one at the end of the range: the system chooses again.
pub(super) fn neighbour(http: SocketAddr) -> SocketAddr {
    let above = http.port().checked_add(1000).filter(|_| http.port() != 0);
    SocketAddr::new(http.ip(), above.unwrap_or(0))
}

pub(super) fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// A name is resolved once, at start: `localhost:8848` is as good as `127.0.0.1:8848`.
pub(super) fn address(key: &'static str, value: &str) -> Result<SocketAddr, SettingsError> {
    let wrong = || SettingsError::Address { key, value: value.to_owned() };
    if let Ok(address) = value.parse() {
        return Ok(address);
    }
    let mut found = std::net::ToSocketAddrs::to_socket_addrs(value).ok().ok_or_else(wrong)?;
    found.next().ok_or_else(wrong)
}
