//! The datagrams of Nacos 1.x pushes: what a subscriber is sent and what it answers. Bytes in,
//! bytes out; the node owns the socket and the registry decides who is owed a push and when it is
//! resent.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use nacolet_auth::{Action, Resource, Users};
use nacolet_model::{ServiceKey, limits};
use nacolet_registry::{By, ListQuery, Registry, Subscriber};
use serde::{Deserialize, Serialize};

use crate::access::about::About as _;
use crate::http::json::object;
use crate::naming::words::info;

/// What a subscriber receives (Nacos `AckPacket`, `PushPacket` of the 1.x clients).
#[derive(Serialize)]
struct PushPacket<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    /// The service as the list call answers it, as a text inside the packet.
    data: &'a str,
    /// A number, because Go clients decode nothing else.
    #[serde(rename = "lastRefTime")]
    reference: u64,
}

/// What a subscriber answers. Clients write the reference as a text, some as a number.
#[derive(Deserialize)]
struct AckPacket<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(rename = "lastRefTime")]
    reference: Reference,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Reference {
    Number(u64),
    Text(String),
}

/// The datagram that tells a subscriber how its service looks now, or `None` when it would be
/// larger than a datagram may be: that subscriber then finds out by polling. One that may not read
/// of the service any more is told nothing either.
#[must_use]
pub fn render_push(
    registry: &Registry,
    users: &Users,
    subscriber: &Subscriber,
    service: &ServiceKey,
    clusters: &str,
    reference: u64,
) -> Option<Vec<u8>> {
    if !subscriber.by.as_ref().is_none_or(|by| may_hear(users, by, service)) {
        return None;
    }
    let query = ListQuery {
        namespace: service.namespace.as_str(),
        group: service.group.as_str(),
        name: service.name.as_str(),
        clusters,
        healthy_only: false,
    };
    push_packet(&info::render(&registry.list(&query), &query), reference)
}

/// Whether somebody who asked with this login may still be told.
fn may_hear(users: &Users, by: &By, service: &ServiceKey) -> bool {
    let is_current = users.user(&by.user).is_some_and(|user| user.since == by.since);
    let permits = |action: Action, asked: &Resource<'_>| users.permits(&by.user, action, asked);
    is_current && service.is_permitted(Action::Read, &permits)
}

fn push_packet(service_info: &str, reference: u64) -> Option<Vec<u8>> {
    let packet = PushPacket { kind: "dom", data: service_info, reference };
    let plain = serde_json::to_vec(&packet).ok()?;
    let bytes = if plain.len() < limits::UDP_GZIP_FROM_BYTES { plain } else { gzip(&plain)? };
    (bytes.len() <= limits::UDP_BYTES_MAX).then_some(bytes)
}

fn gzip(plain: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 2), Compression::fast());
    encoder.write_all(plain).ok()?;
    encoder.finish().ok()
}

/// The reference that `datagram` acknowledges, or `None` when it is anything but a `push-ack`.
#[must_use]
pub fn parse_ack(datagram: &[u8]) -> Option<u64> {
    let packet: AckPacket<'_> = object(datagram).ok()?;
    if packet.kind != "push-ack" {
        return None;
    }
    match packet.reference {
        Reference::Number(number) => Some(number),
        Reference::Text(text) => text.trim().parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use nacolet_auth::{Actions, Begin, Command, Name, Pattern};
    use nacolet_registry::RegistrySettings;

    use super::*;

    #[test]
    fn who_may_not_read_any_more_is_pushed_nothing_more() {
        let name = |text: &str| Name::new(text).expect("a name");
        let permitted = |users: &mut Users, index, namespace: &str, is_on| {
            let role = name("r");
            let resource = Pattern::new(&format!("{namespace}:*:*")).expect("a resource");
            let actions = Actions::Read;
            let command = if is_on {
                Command::Permit { role, resource, actions }
            } else {
                Command::Forbid { role, resource, actions }
            };
            users.apply(index, command).expect("it fits");
        };
        let mut users = Users::new();
        let hash: Box<str> = "h".into();
        for (index, command) in (1..).zip([
            Command::Begin(Begin { user: name("nacos"), hash: hash.clone(), key: [7; 32] }),
            Command::CreateUser { user: name("u"), hash: hash.clone() },
            Command::AddRole { role: name("r"), user: name("u") },
        ]) {
            users.apply(index, command).expect("it fits");
        }
        permitted(&mut users, 4, "a", true);
        let registry = Registry::new(RegistrySettings::default());
        let is_pushed = |users: &Users, by: Option<By>, namespace: &str| {
            let (ip, port) = ("10.0.0.1".into(), 80);
            let subscriber = Subscriber { ip, port, agent: "".into(), app: "".into(), by };
            let service = crate::access::about::service_of(namespace, "g", "s").expect("a name");
            render_push(&registry, users, &subscriber, &service, "", 7).is_some()
        };
        let since = users.user("u").expect("it is there").since;
        let by = |since| Some(By { user: "u".into(), since });
        assert!(is_pushed(&users, None, "b"), "where nobody has to log in");
        assert!(is_pushed(&users, by(since), "a"));
        assert!(!is_pushed(&users, by(since), "b"));
        assert!(!is_pushed(&users, by(since + 1), "a"), "another password");
        permitted(&mut users, 5, "a", false);
        assert!(!is_pushed(&users, by(since), "a"), "the permission is gone");
        permitted(&mut users, 6, "a", true);
        assert!(is_pushed(&users, by(since), "a"));
        users.apply(7, Command::SetPassword { user: name("u"), hash }).expect("it fits");
        assert!(!is_pushed(&users, by(since), "a"), "a new password");
        users.apply(8, Command::RemoveUser { user: name("u") }).expect("it fits");
        assert!(!is_pushed(&users, by(since), "a"), "nobody");
    }

    #[test]
    fn a_small_push_is_plain_json_with_the_service_as_a_text() {
        let bytes = push_packet(r#"{"name":"g@@s"}"#, 7).expect("it fits a datagram");
        let expected = r#"{"type":"dom","data":"{\"name\":\"g@@s\"}","lastRefTime":7}"#;
        assert_eq!(std::str::from_utf8(&bytes), Ok(expected));
    }

    #[test]
    fn a_push_is_gzipped_from_1024_bytes() {
        let frame = push_packet("", 7).expect("it fits").len();
        let just_below = "x".repeat(limits::UDP_GZIP_FROM_BYTES - 1 - frame);
        assert_eq!(push_packet(&just_below, 7).expect("it fits")[0], b'{');

        let bytes = push_packet(&format!("{just_below}x"), 7).expect("it fits");
        assert_eq!(bytes[..2], [0x1f, 0x8b]);
        let mut plain = String::new();
        GzDecoder::new(&*bytes).read_to_string(&mut plain).expect("what we packed unpacks");
        assert_eq!(plain.len(), limits::UDP_GZIP_FROM_BYTES);
        assert!(plain.starts_with(r#"{"type":"dom","data":"xxx"#), "{plain}");
    }

    #[test]
    fn what_no_datagram_can_carry_is_not_pushed() {
        // A sequence that gzip cannot shrink below the limit.
        let mut prng = nacolet_model::Prng::new(1);
        let noise: String = (0..limits::UDP_BYTES_MAX)
            .flat_map(|_| format!("{:04x}", prng.below(65_536)).into_bytes())
            .map(char::from)
            .collect();
        assert_eq!(push_packet(&noise, 7), None);
    }

    #[test]
    fn acknowledgements_are_read_in_every_spelling() {
        let check = |datagram: &str, expected: Option<u64>| {
            assert_eq!(parse_ack(datagram.as_bytes()), expected, "{datagram}");
        };
        check(r#"{"type":"push-ack","lastRefTime":"42","data":""}"#, Some(42));
        check(r#"{"type": "push-ack", "lastRefTime":42, "data":""}"#, Some(42));
        check(r#"{"type":"dump-ack","lastRefTime":"42","data":"{}"}"#, None);
        check(r#"{"type":"push-ack","lastRefTime":"x"}"#, None);
        check(r#"{"type":"push-ack"}"#, None);
        check("", None);
        check("\u{0}", None);
    }

    #[test]
    fn random_datagrams_are_ignored() {
        let mut prng = nacolet_model::Prng::new(2);
        for _ in 0..10_000 {
            let bytes: Vec<u8> =
                (0..prng.below(64)).map(|_| prng.next_u64().to_le_bytes()[0]).collect();
            assert_eq!(parse_ack(&bytes), None);
        }
    }
}
