//! Where a probe of an instance connects to and what it says there. Addresses come from clients, so
//! `judge` stands between them and every connection: it is what keeps a client from making this
//! node reach what the client cannot reach itself.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::words::meta::{HealthChecker, header_lines, is_path};

/// Where clouds answer questions about the machine that asks, secrets included; those of the
/// link-local range apart (Azure, Alibaba, Oracle; AWS and Google by their newer protocol).
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
];
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x254),
];

/// What a probe says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeRequest {
    /// Nothing: a connection is enough.
    Connect,
    /// A request; one status is healthy.
    Http {
        /// All that is sent.
        request: Box<str>,
        /// The status.
        expected: u16,
    },
}

/// Where and how an address is probed; `None` where it may not be connected to.
pub(super) fn aim(
    ip: &str,
    port: u16,
    checker: &HealthChecker,
    own_ports: &BTreeSet<u16>,
) -> Option<(SocketAddr, ProbeRequest)> {
    let address = judge(ip, port, own_ports)?;
    let ask = match checker {
        HealthChecker::Tcp => ProbeRequest::Connect,
        HealthChecker::Http { path, headers, expected_code } => ProbeRequest::Http {
            request: request(address, path, headers)?,
            expected: *expected_code,
        },
        HealthChecker::Mysql { .. } | HealthChecker::None => return None,
    };
    Some((address, ask))
}

/// The address to connect to, if a client may make us do that. Names are not resolved: they could
/// mean another address each time.
fn judge(ip: &str, port: u16, own_ports: &BTreeSet<u16>) -> Option<SocketAddr> {
    let ip = ip.parse::<IpAddr>().ok()?.to_canonical();
    let is_barred = match ip {
        IpAddr::V4(v4) => is_barred_v4(v4),
        IpAddr::V6(v6) => is_barred_v6(v6) || embedded(v6).is_some_and(is_barred_v4),
    };
    let is_legal = !is_barred && port != 0 && !own_ports.contains(&port);
    is_legal.then(|| SocketAddr::new(ip, port))
}

/// What is this host, its link, nobody or many; and what answers for a cloud.
fn is_barred_v4(ip: Ipv4Addr) -> bool {
    let is_reserved = matches!(ip.octets(), [0 | 240..=255, ..]);
    is_reserved
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || METADATA_V4.contains(&ip)
}

/// The same.
fn is_barred_v6(ip: Ipv6Addr) -> bool {
    // `fec0::/10` was what `fe80::/10` is, for a site.
    let is_site_local = ip.segments()[0] & 0xffc0 == 0xfec0;
    is_site_local
        || ip.is_loopback()
        || ip.is_unspecified()
        || ip.is_unicast_link_local()
        || ip.is_multicast()
        || METADATA_V6.contains(&ip)
}

/// The address of the old kind that one of the new kind stands for where a translator is on the
/// way: compatible, translated, NAT64 and 6to4 ones.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let ([0, 0, 0, 0, 0, 0, high, low]
    | [0, 0, 0, 0, 0xffff, 0, high, low]
    | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
    | [0x2002, high, low, ..]) = ip.segments()
    else {
        return None;
    };
    Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
}

/// The request of an HTTP probe; none where an operator's words would not stay in their places.
fn request(address: SocketAddr, path: &str, headers: &str) -> Option<Box<str>> {
    let slash = if path.starts_with('/') { "" } else { "/" };
    let (lines, has_host) = header_lines(headers)?;
    let host = if has_host { String::new() } else { format!("Host: {address}\r\n") };
    is_path(path).then(|| {
        format!("GET {slash}{path} HTTP/1.1\r\nConnection: close\r\n{host}{lines}\r\n").into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::meta::is_request;

    fn own() -> BTreeSet<u16> {
        [7848, 8848, 9848].into()
    }

    fn check(ip: &str, port: u16, expected: Option<&str>) {
        let expected = expected.map(|address| address.parse().expect("an address"));
        assert_eq!(judge(ip, port, &own()), expected, "{ip} {port}");
    }

    #[test]
    fn an_address_of_another_host_is_connected_to() {
        for good in ["10.0.0.1", "192.168.1.9", "172.16.0.1", "8.8.8.8", "100.64.0.1"] {
            check(good, 80, Some(&format!("{good}:80")));
        }
        for good in ["fd00::1", "2001:db8::1", "64:ff9b::a00:1", "2002:a00:1::1"] {
            check(good, 80, Some(&format!("[{good}]:80")));
        }
        // Judged and called by the address inside.
        check("::ffff:10.0.0.1", 80, Some("10.0.0.1:80"));
    }

    #[test]
    fn this_host_its_link_nobody_and_everybody_are_not() {
        for bad in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.0.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ] {
            check(bad, 80, None);
        }
    }

    #[test]
    fn what_answers_for_a_cloud_is_not() {
        for bad in
            ["168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"]
        {
            check(bad, 80, None);
        }
    }

    #[test]
    fn an_address_inside_another_is_judged_too() {
        for bad in [
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0.0.0.0",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::1",
            "2002:a9fe:a9fe::1",
        ] {
            check(bad, 80, None);
        }
    }

    #[test]
    fn what_is_no_plain_address_is_not() {
        for bad in [
            "localhost",
            "a.example",
            "",
            "10.0.0.1:80",
            "[fd00::1]",
            "fe80::1%eth0",
            "0x7f000001",
            "2130706433",
            "010.0.0.1",
            "10.1",
            " 10.0.0.1",
        ] {
            check(bad, 80, None);
        }
    }

    #[test]
    fn ports_of_members_are_not_on_whichever_host() {
        for port in own().into_iter().chain([0]) {
            check("10.0.0.1", port, None);
            check("fd00::1", port, None);
        }
    }

    #[test]
    fn words_of_operators_stay_in_their_places() {
        let address: SocketAddr = "10.0.0.1:80".parse().expect("an address");
        let plain =
            "GET /up?x=1 HTTP/1.1\r\nConnection: close\r\nHost: 10.0.0.1:80\r\nA: b c\r\n\r\n";
        assert_eq!(request(address, "/up?x=1", "A: b c").as_deref(), Some(plain));
        let named = "GET /up HTTP/1.1\r\nConnection: close\r\nhost: box\r\nB: 1:2\r\n\r\n";
        assert_eq!(request(address, "up", "host:box| B:1:2|").as_deref(), Some(named));
        for (path, headers) in [
            ("/a b", ""),
            ("/\r\nX: y", ""),
            ("/", "A"),
            ("/", "A:b\r\nC:d"),
            ("/", ":b"),
            ("/", "A b:c"),
            ("/ü", ""),
        ] {
            assert_eq!(request(address, path, headers), None, "{path:?} {headers:?}");
            assert!(!is_request(path, headers), "{path:?} {headers:?}");
        }
    }
}
