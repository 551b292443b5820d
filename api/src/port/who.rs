//! Who is connected, subscribes and listens: what is looked for, and what one member finds. Members
//! ask each other in these words, so this is a wire format in postcard: variants and fields are
//! appended, never reordered.

use nacolet_config::Md5;
use nacolet_model::{ConfigKey, Namespace, ServiceKey, WallTime};
use nacolet_registry::{ClientId, Subscriber};
use serde::{Deserialize, Serialize};

/// Whom somebody looks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sought {
    /// Every connection over gRPC.
    Everybody,
    /// Those that are there for services, and who subscribes over UDP: what Nacos lists as clients.
    Clients,
    /// The connection with this id, and its subscriptions.
    One(Box<str>),
    /// Who subscribes to a service, each with its subscriptions to it.
    Subscribers(ServiceKey),
    /// Who listens, each with what it listens to.
    Listeners(WatchersOf),
}

/// A connection over gRPC that is set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connected {
    /// As the registry names it.
    pub client: ClientId,
    /// `milliseconds_ip_port`.
    pub id: Box<str>,
    /// Address.
    pub ip: Box<str>,
    /// Port.
    pub port: u16,
    /// What it said that it is.
    pub version: Box<str>,
    /// The application that it said.
    pub app: Box<str>,
    /// Its last sign of life.
    pub heard: WallTime,
    /// With the clusters of each, as far as they were asked for.
    pub subscriptions: Vec<(ServiceKey, Box<str>)>,
    /// With the md5 that it has of each, as far as they were asked for.
    pub listens: Vec<(ConfigKey, Option<Md5>)>,
    /// How many subscriptions it has.
    pub subscribed: u32,
}

/// Who subscribes over UDP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UdpSubscribed {
    /// Who.
    pub subscriber: Subscriber,
    /// To what.
    pub service: ServiceKey,
    /// To which clusters, as it spelled them.
    pub clusters: Box<str>,
}

/// Which listeners are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WatchersOf {
    /// The listeners of one config.
    Key(ConfigKey),
    /// The configs one address listens to, in one namespace or in all.
    Ip {
        /// Address of the client.
        ip: Box<str>,
        /// Only this namespace.
        namespace: Option<Namespace>,
    },
}

/// One listener of one config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watcher {
    /// What it listens to.
    pub key: ConfigKey,
    /// Address of the client.
    pub ip: Box<str>,
    /// The md5 it has; none for a config it does not have.
    pub md5: Option<Md5>,
}

/// What one member, or all of them, found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Over gRPC.
    pub connected: Vec<Connected>,
    /// Over UDP.
    pub udp: Vec<UdpSubscribed>,
    /// Long polls.
    pub polls: Vec<Watcher>,
}

impl Found {
    /// Adds what another member found.
    pub fn add(&mut self, other: Self) {
        let Self { connected, udp, polls } = other;
        self.connected.extend(connected);
        self.udp.extend(udp);
        self.polls.extend(polls);
    }

    /// Leaves out the latter half, where there is too much; false where nothing is left to leave
    /// out.
    pub fn halve(&mut self) -> bool {
        let Self { connected, udp, polls } = self;
        let before = connected.len() + udp.len() + polls.len();
        if let [one] = &mut **connected {
            one.subscriptions.truncate(one.subscriptions.len() / 2);
            one.listens.truncate(one.listens.len() / 2);
            if !one.subscriptions.is_empty() || !one.listens.is_empty() {
                return true;
            }
        }
        connected.truncate(connected.len() / 2);
        udp.truncate(udp.len() / 2);
        polls.truncate(polls.len() / 2);
        before > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connected(subscriptions: usize) -> Connected {
        let service = |number| {
            let name = nacolet_model::ServiceName::new(&format!("s{number}")).expect("a name");
            let group = nacolet_model::Group::new("g").expect("a name");
            ServiceKey { namespace: Namespace::public(), group, name }
        };
        Connected {
            client: ClientId::from_u64(1),
            id: "1_a_2".into(),
            ip: "a".into(),
            port: 2,
            version: "".into(),
            app: "".into(),
            heard: WallTime(3),
            subscriptions: (0..subscriptions).map(|number| (service(number), "".into())).collect(),
            listens: Vec::new(),
            subscribed: 0,
        }
    }

    #[test]
    fn what_is_too_much_is_halved_until_nothing_is_left() {
        let mut found = Found { connected: vec![connected(5); 3], ..Found::default() };
        let mut sizes = Vec::new();
        while found.halve() {
            let subscriptions = found.connected.iter().map(|one| one.subscriptions.len()).sum();
            sizes.push((found.connected.len(), subscriptions));
        }
        assert_eq!(sizes, [(1, 5), (1, 2), (1, 1), (0, 0)]);
        assert_eq!(found, Found::default());
    }
}
