//! What a call is about: one typed value, made by a decoder out of the identifiers of a request.
//! The permission is asked of it, and the handler gets it and works on nothing else, so what is
//! checked is what is done. Which spelling of a namespace counts is decided here, once for each
//! family of paths, as Nacos answers.

use std::collections::BTreeSet;

use nacolet_auth::{Action, Kind, Resource};
use nacolet_model::{ConfigKey, DataId, Group, Namespace, ServiceKey, ServiceName};

use crate::http::failure::Failure;
use crate::http::params::{Id, Parts};

/// Any, in a question about many things at once.
const ANY: &str = "*";

/// Says of each resource whether this may be done with it.
pub(crate) type Permits<'a> = dyn Fn(Action, &Resource<'_>) -> bool + 'a;

/// What a caller must be permitted to touch.
pub(crate) trait About: Send + Sync + 'static {
    /// Whether all of it may be touched with `action`, where `permits` says of each resource
    /// whether it may. What no permission on configs or services can speak of is never permitted by
    /// one: only a route for administrators, for every user or for anybody can be about it.
    fn is_permitted(&self, _action: Action, _permits: &Permits<'_>) -> bool {
        false
    }

    /// The configs that it names by number. Their keys are looked up before permission is asked.
    fn numbered(&mut self) -> Option<&mut ConfigIds> {
        None
    }
}

/// Configs that a call names by number; they may be of any namespace. A number says nothing, so
/// permission is asked of the keys behind the numbers, and what is done is done to those keys.
#[derive(Debug, Default)]
pub(crate) struct ConfigIds {
    ids: BTreeSet<u64>,
    keys: Vec<(u64, ConfigKey)>,
}

impl ConfigIds {
    /// With these numbers, and no keys yet.
    pub(crate) fn new(ids: BTreeSet<u64>) -> Self {
        Self { ids, keys: Vec::new() }
    }

    /// The numbers.
    pub(crate) fn ids(&self) -> &BTreeSet<u64> {
        &self.ids
    }

    /// Takes the keys that were found, in their order.
    pub(crate) fn find(&mut self, found: impl Iterator<Item = (u64, ConfigKey)>) {
        self.keys = found.filter(|(id, _)| self.ids.contains(id)).collect();
    }

    /// The keys that were found, each with its number, in the order of keys.
    pub(crate) fn keys(&self) -> &[(u64, ConfigKey)] {
        &self.keys
    }
}

impl About for ConfigIds {
    /// Who may not touch all configs is told nothing of a number behind which there is none: it
    /// must look as one of another namespace does.
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        let are_there = !self.ids.is_empty() && self.keys.len() == self.ids.len();
        permits(action, &everything(Kind::Config))
            || are_there && self.keys.iter().all(|(_, key)| key.is_permitted(action, permits))
    }

    fn numbered(&mut self) -> Option<&mut ConfigIds> {
        Some(self)
    }
}

/// The node itself.
impl About for () {}

impl About for ConfigKey {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        permits(action, &config(self))
    }
}

impl About for ServiceKey {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        permits(action, &service(self))
    }
}

/// A service, and whether the call named it with its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptService {
    of: ServiceKey,
    has_group: bool,
}

impl KeptService {
    /// The service, where it was named whole (Nacos `NamingUtils.checkServiceNameFormat`).
    pub(crate) fn whole(self) -> Result<ServiceKey, Failure> {
        if self.has_group { Ok(self.of) } else { Err(Failure::invalid(NO_GROUP)) }
    }
}

impl About for KeptService {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        self.of.is_permitted(action, permits)
    }
}

/// All of them.
impl About for Vec<ConfigKey> {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        self.iter().all(|key| key.is_permitted(action, permits))
    }
}

/// The services of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupOfServices {
    /// The namespace.
    pub(crate) namespace: Namespace,
    /// The group.
    pub(crate) group: Group,
}

impl About for GroupOfServices {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        let all = whole(self.namespace.as_str(), Kind::Naming);
        permits(action, &Resource { group: self.group.as_str(), ..all })
    }
}

/// Whatever is in one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    /// Which half of it.
    pub(crate) kind: Kind,
    /// The namespace.
    pub(crate) namespace: Namespace,
}

impl About for Whole {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        permits(action, &whole(self.namespace.as_str(), self.kind))
    }
}

/// Things of any namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Everything(pub(crate) Kind);

impl About for Everything {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        permits(action, &everything(self.0))
    }
}

impl Whole {
    /// The configs of the namespace in the parameter `id`.
    pub(crate) fn configs(parts: &Parts<'_>, id: Id) -> Result<Self, Failure> {
        let namespace = Namespace::parse(parts.id_or(id, "")?)?;
        Ok(Self { kind: Kind::Config, namespace })
    }
}

/// How this caller spells the namespace: the default one is `public` only for who says so.
pub(crate) fn spelling<'a>(canonical: &'a str, asked: &'a str) -> &'a str {
    if canonical == Namespace::PUBLIC && asked.trim() != Namespace::PUBLIC { "" } else { canonical }
}

/// One config.
pub(crate) fn config(key: &ConfigKey) -> Resource<'_> {
    let (namespace, group) = (key.namespace.as_str(), key.group.as_str());
    Resource { namespace, group, kind: Kind::Config, name: key.data_id.as_str() }
}

/// One service.
pub(crate) fn service(key: &ServiceKey) -> Resource<'_> {
    let (namespace, group) = (key.namespace.as_str(), key.group.as_str());
    Resource { namespace, group, kind: Kind::Naming, name: key.name.as_str() }
}

/// All of one kind in one namespace.
pub(crate) fn whole(namespace: &str, kind: Kind) -> Resource<'_> {
    Resource { namespace, group: ANY, kind, name: ANY }
}

/// All of one kind.
pub(crate) fn everything(kind: Kind) -> Resource<'static> {
    Resource { namespace: ANY, group: ANY, kind, name: ANY }
}

/// The decoder of a route about nothing in particular.
pub(crate) fn nothing(_parts: &Parts<'_>) -> Result<(), Failure> {
    Ok(())
}

/// The config that is read by v1 or v2: reads alone take both words for the namespace.
pub(crate) fn config_read(parts: &Parts<'_>) -> Result<ConfigKey, Failure> {
    config_key(parts, parts.either_id(Id::NAMESPACE_ID, Id::TENANT)?)
}

/// The config of any other call of v1, or of one of v2 with the words of v1.
pub(crate) fn config_v1(parts: &Parts<'_>) -> Result<ConfigKey, Failure> {
    config_key(parts, parts.id(Id::TENANT)?)
}

/// The config of any other call of v2.
pub(crate) fn config_v2(parts: &Parts<'_>) -> Result<ConfigKey, Failure> {
    config_key(parts, parts.id(Id::NAMESPACE_ID)?)
}

/// The config of a form of v2: blank is absent.
pub(crate) fn config_form_v2(parts: &Parts<'_>) -> Result<ConfigKey, Failure> {
    parts.required_id(Id::DATA_ID)?;
    parts.required_id(Id::GROUP)?;
    config_v2(parts)
}

/// The config of a call of v3, whose names may be missing in one way only: blank is absent.
pub(crate) fn config_v3(parts: &Parts<'_>) -> Result<ConfigKey, Failure> {
    // The order in which Nacos misses them.
    let group = Group::new(parts.required_id(Id::GROUP_NAME)?)?;
    let data_id = DataId::new(parts.required_id(Id::DATA_ID)?)?;
    let namespace = Namespace::parse(parts.id_or(Id::NAMESPACE_ID, "")?)?;
    Ok(ConfigKey { namespace, group, data_id })
}

fn config_key(parts: &Parts<'_>, namespace: Option<&str>) -> Result<ConfigKey, Failure> {
    // The order in which Nacos misses them.
    let data_id = filled_id(parts, Id::DATA_ID)?;
    let group = filled_id(parts, Id::GROUP)?;
    Ok(ConfigKey {
        namespace: Namespace::parse(namespace.unwrap_or_default())?,
        group: Group::new(group)?,
        data_id: DataId::new(data_id)?,
    })
}

/// The name of a config or of its group: blank is another mistake than absent.
pub(crate) fn filled_id<'p>(parts: &'p Parts<'_>, id: Id) -> Result<&'p str, Failure> {
    match (parts.present_id(id)?, parts.raw_id(id)?) {
        ("", said) => {
            Err(Failure::invalid(format!("invalid {} : {}", id.name(), said.unwrap_or_default())))
        }
        (name, _) => Ok(name),
    }
}

/// The namespace of a naming call.
pub(crate) fn namespace(parts: &Parts<'_>) -> Result<Namespace, Failure> {
    Ok(Namespace::parse(parts.id_or(Id::NAMESPACE_ID, Namespace::PUBLIC)?)?)
}

/// All services of the namespace of a naming call.
pub(crate) fn services(parts: &Parts<'_>) -> Result<Whole, Failure> {
    Ok(Whole { kind: Kind::Naming, namespace: namespace(parts)? })
}

/// The service of a v1 call: `serviceName` with or without its group; `groupName` counts only where
/// the name has none (Nacos `ServiceNameFilter`).
pub(crate) fn service_grouped(parts: &Parts<'_>) -> Result<ServiceKey, Failure> {
    let name = parts.required_id(Id::SERVICE_NAME)?;
    let group = parts.id_or(Id::GROUP_NAME, Group::DEFAULT)?;
    service_of(parts.id_or(Id::NAMESPACE_ID, Namespace::PUBLIC)?, group, name)
}

/// The service of a v2 or v3 call: group and name in parameters of their own.
pub(crate) fn service_apart(parts: &Parts<'_>) -> Result<ServiceKey, Failure> {
    let name = parts.required_id(Id::SERVICE_NAME)?;
    let group = parts.id_or(Id::GROUP_NAME, Group::DEFAULT)?;
    service_key(parts.id_or(Id::NAMESPACE_ID, Namespace::PUBLIC)?, group, name)
}

/// The service of a call of v2 that kept the name with its group.
pub(crate) fn service_kept(parts: &Parts<'_>) -> Result<KeptService, Failure> {
    let has_group = whole_name(parts.required_id(Id::SERVICE_NAME)?).is_ok();
    Ok(KeptService { of: service_grouped(parts)?, has_group })
}

/// The service in `namespace##group@@service`.
pub(crate) fn service_of_key(key: &str) -> Result<KeptService, Failure> {
    let (namespace, name) = key.split_once("##").unwrap_or(("", key));
    let has_group = whole_name(name).is_ok();
    Ok(KeptService { of: service_of(namespace, Group::DEFAULT, name)?, has_group })
}

fn whole_name(name: &str) -> Result<&str, Failure> {
    if name.contains("@@") { Ok(name) } else { Err(Failure::invalid(NO_GROUP)) }
}

const NO_GROUP: &str =
    "Param 'serviceName' is illegal, it should be format as 'groupName@@serviceName'";

/// A `group@@service` or bare name in a namespace.
pub(crate) fn service_of(namespace: &str, group: &str, name: &str) -> Result<ServiceKey, Failure> {
    let (group, name) = name.split_once("@@").unwrap_or((group, name));
    if group.is_empty() {
        let words = "Param 'serviceName' is illegal, groupName can't be empty";
        return Err(Failure::filtered(words));
    }
    if name.is_empty() {
        return Err(Failure::filtered(NO_GROUP));
    }
    service_key(namespace, group, name)
}

fn service_key(namespace: &str, group: &str, name: &str) -> Result<ServiceKey, Failure> {
    Ok(ServiceKey {
        namespace: Namespace::parse(namespace)?,
        group: Group::new(group)?,
        name: ServiceName::new(name)?,
    })
}

/// Decoders of identifiers over a query. Only with the feature `fuzzing`.
#[cfg(feature = "fuzzing")]
pub mod fuzzing {
    use hyper::Uri;
    use hyper::body::Bytes;
    use hyper::header::HeaderMap;

    use super::*;
    use crate::http::params::Fields;
    use crate::http::room::Room;

    /// What calls with this query are about: the config of v1 and v2, that of v3, the service of
    /// v1, that of v2 and v3.
    #[must_use]
    pub fn decoded(query: &[u8]) -> [Option<[String; 3]>; 4] {
        let Ok(fields) = Fields::parse(query, b"") else { return [const { None }; 4] };
        let (uri, headers, body) = (Uri::default(), HeaderMap::new(), Bytes::new());
        let room = Room::default();
        let parts =
            Parts { fields: &fields, uri: &uri, headers: &headers, body: &body, room: &room };
        let config = |key: ConfigKey| {
            [key.namespace.to_string(), key.group.to_string(), key.data_id.to_string()]
        };
        let service = |key: ServiceKey| {
            [key.namespace.to_string(), key.group.to_string(), key.name.to_string()]
        };
        [
            config_read(&parts).ok().map(config),
            config_v3(&parts).ok().map(config),
            service_grouped(&parts).ok().map(service),
            service_apart(&parts).ok().map(service),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::params::testing::decoded;

    fn text(key: &ServiceKey) -> String {
        format!("{}:{}:{}", key.namespace, key.group, key.name)
    }

    fn check_v1(query: &str, expected: Option<&str>) {
        let found = decoded(query, service_grouped).ok();
        assert_eq!(found.as_ref().map(text).as_deref(), expected, "{query}");
    }

    #[test]
    fn a_grouped_name_beats_the_group_parameter() {
        check_v1("serviceName=s", Some("public:DEFAULT_GROUP:s"));
        check_v1("serviceName=s&groupName=g", Some("public:g:s"));
        check_v1("serviceName=a@@s&groupName=g", Some("public:a:s"));
        check_v1("serviceName=+s+&namespaceId=", Some("public:DEFAULT_GROUP:s"));
        check_v1("serviceName=s&namespaceId=default", Some("default:DEFAULT_GROUP:s"));
        check_v1("serviceName=s&group=g&tenant=t", Some("public:DEFAULT_GROUP:s"));
        check_v1("", None);
        check_v1("serviceName=", None);
        check_v1("serviceName=@@s", None);
        check_v1("serviceName=g@@", None);
        check_v1("serviceName=a@@b@@c", None);
        check_v1("serviceName=s&namespaceId=a%2Fb", None);
        check_v1("serviceName=s&serviceName=t", None);
        check_v1("serviceName=s&groupName=g&groupName=h", None);
    }

    #[test]
    fn v2_keeps_group_and_name_apart() {
        assert!(decoded("serviceName=a@@b&groupName=g", service_apart).is_err());
        let found = decoded("serviceName=b&groupName=g", service_apart).expect("valid");
        assert_eq!(text(&found), "public:g:b");
    }

    /// The recorded answers of Nacos.
    #[test]
    fn the_namespace_of_a_config_is_spelled_in_two_ways() {
        let check = |query: &str, expected: Option<&str>| {
            let query = format!("dataId=d&group=g&{query}");
            let found = decoded(&query, config_read).ok();
            let found = found.as_ref().map(|key| key.namespace.as_str());
            assert_eq!(found, expected, "{query}");
        };
        check("", Some("public"));
        check("tenant=dev", Some("dev"));
        check("namespaceId=dev", Some("dev"));
        check("namespaceId=dev&tenant=", Some("dev"));
        check("namespaceId=&tenant=dev", Some("public"));
        check("namespaceId=public&tenant=dev", Some("public"));
        check("namespaceId=a&namespaceId=b", None);
        check("tenant=a&tenant=b", None);
    }

    #[test]
    fn what_writes_a_config_knows_one_word_for_its_namespace() {
        let namespace = |query: &str, decode: fn(&Parts<'_>) -> Result<ConfigKey, Failure>| {
            let key = decoded(&format!("dataId=d&group=g&{query}"), decode).expect("valid");
            key.namespace.to_string()
        };
        for (query, v1, v2) in [
            ("tenant=a", "a", "public"),
            ("namespaceId=a", "public", "a"),
            ("namespaceId=a&tenant=b", "b", "a"),
            ("namespaceId=&tenant=b", "b", "public"),
        ] {
            assert_eq!(namespace(query, config_v1), v1, "{query}");
            assert_eq!(namespace(query, config_v2), v2, "{query}");
        }
    }

    #[test]
    fn a_blank_name_is_another_mistake_than_none() {
        let words = |query: &str| decoded(query, config_v1).expect_err("refused").grpc().1;
        assert_eq!(words("dataId=+&group=g"), "invalid dataId :  ");
        assert_eq!(words("dataId=d&group="), "invalid group : ");
        assert_eq!(words("group=g"), "Param 'dataId' is required.");
    }

    #[test]
    fn other_words_for_a_group_mean_nothing() {
        assert!(decoded("dataId=d&groupName=g", config_v1).is_err());
        assert!(decoded("dataId=d&group=g", config_v3).is_err());
        let key = decoded("dataId=d&group=g&groupName=h&namespaceId=n", config_v3).expect("valid");
        assert_eq!((key.group.as_str(), key.namespace.as_str()), ("h", "n"));
    }
}
