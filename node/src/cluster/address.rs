//! How a member is written down in the membership: `HOST:PEER_PORT/HTTP_PORT`, because whoever
//! knows the members must also be able to send clients to them.

use nacolet_model::limits;

/// The text for a member on `host`, which has its brackets if it needs some.
pub(crate) fn compose(host: &str, peer_port: u16, http_port: u16) -> String {
    format!("{host}:{peer_port}/{http_port}")
}

/// Where it listens for peers.
pub(crate) fn peer_of(address: &str) -> &str {
    address.split_once('/').map_or(address, |(peer, _)| peer)
}

/// Where it listens for HTTP, when that is known.
pub(crate) fn http_of(address: &str) -> Option<String> {
    let (peer, http) = address.split_once('/')?;
    let (host, _) = peer.rsplit_once(':')?;
    Some(format!("{host}:{http}"))
}

/// Whether a peer or an operator may put this into the membership.
pub(crate) fn is_address(address: &str) -> bool {
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
    let legal = |c: char| c.is_ascii_alphanumeric() || ".-_:[]/".contains(c);
    let Some((host, port)) = peer_of(address).rsplit_once(':') else { return false };
    let http = address.split_once('/').is_none_or(|(_, http)| is_port(http));
    address.len() <= limits::PEER_ADDRESS_BYTES_MAX
        && address.chars().all(legal)
        && !host.is_empty()
        && is_port(port)
        && http
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_both_ports() {
        let address = compose("[::1]", 7848, 8848);
        assert_eq!(address, "[::1]:7848/8848");
        assert_eq!(peer_of(&address), "[::1]:7848");
        assert_eq!(http_of(&address).as_deref(), Some("[::1]:8848"));
        assert_eq!((peer_of("box:1"), http_of("box:1")), ("box:1", None));
    }

    #[test]
    fn nonsense_is_no_address() {
        for good in ["box:1", "10.0.0.1:7848/8848", "[::1]:7848/1"] {
            assert!(is_address(good), "{good}");
        }
        for bad in ["", "box", ":1", "box:0", "box:x", "box:1/", "box:1/x", "b x:1", "box:70000"] {
            assert!(!is_address(bad), "{bad}");
        }
        assert!(!is_address(&format!("{}:1", "a".repeat(limits::PEER_ADDRESS_BYTES_MAX))));
    }
}
