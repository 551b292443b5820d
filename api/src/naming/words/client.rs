//! The ids that Nacos 2 gives to clients over HTTP.

use std::fmt;

use nacolet_registry::{Instance, Subscriber};

/// `ip:port#true` for ephemeral instances and subscribers, `ip:port#false` for persistent
/// instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClientId<'a> {
    pub(crate) ip: &'a str,
    pub(crate) port: u16,
    /// Kind of what it publishes.
    pub(crate) ephemeral: bool,
}

impl<'a> ClientId<'a> {
    /// The client that an instance belongs to.
    pub(crate) fn of(instance: &'a Instance) -> Self {
        Self { ip: instance.ip(), port: instance.port(), ephemeral: instance.ephemeral() }
    }

    /// The client that a subscriber is.
    pub(crate) fn subscribing(subscriber: &'a Subscriber) -> Self {
        Self { ip: &subscriber.ip, port: subscriber.port, ephemeral: true }
    }

    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (address, kind) = text.rsplit_once('#')?;
        let (ip, port) = address.rsplit_once(':')?;
        Some(Self { ip, port: port.parse().ok()?, ephemeral: kind.parse().ok()? })
    }
}

impl fmt::Display for ClientId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}#{}", self.ip, self.port, self.ephemeral)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_ids_survive_writing_and_reading() {
        for text in ["10.0.0.1:80#true", "::1:80#false", "host:0#true"] {
            assert_eq!(ClientId::parse(text).expect(text).to_string(), text);
        }
        for text in ["", "10.0.0.1:80", "10.0.0.1#true", "a:80#1", "1700000000000_127.0.0.1_5"] {
            assert_eq!(ClientId::parse(text), None, "{text}");
        }
    }
}
