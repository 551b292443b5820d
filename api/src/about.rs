//! What a call is about: one typed value, made by a decoder out of the identifiers of a request. The
//! permission is asked of it, and the handler gets it and works on nothing else, so what is checked is
//! what is done. Which spelling of a namespace counts is decided here, once for each family of paths, as
//! Nacos answers.

use nacolet_auth::{Action, Kind, Resource};
use nacolet_model::{ConfigKey, DataId, Group, Namespace, ServiceKey, ServiceName};

use crate::params::{Id, Parts};
use crate::status::{Code, Failure};

/// Any, in a question about many things at once.
const ANY: &str = "*";

/// Says of each resource whether this may be done with it.
pub(crate) type Permits<'a> = dyn Fn(Action, &Resource<'_>) -> bool + 'a;

/// What a caller must be permitted to touch.
pub(crate) trait About: Send + Sync + 'static {
    /// Whether all of it may be touched with `action`, where `permits` says of each resource whether it
    /// may. What no permission on configs or services can speak of is never permitted by one: only a route
    /// for administrators, for every user or for anybody can be about it.
    fn is_permitted(&self, _action: Action, _permits: &Permits<'_>) -> bool {
        false
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

/// Something of a namespace, with the text that its caller knows the namespace by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spelled<T> {
    /// What the call is about.
    pub(crate) of: T,
    /// The namespace; the default one is empty unless the caller said `public`.
    pub(crate) tenant: Box<str>,
}

impl<T: About> About for Spelled<T> {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        self.of.is_permitted(action, permits)
    }
}

impl Spelled<ConfigKey> {
    /// A config whose namespace is in the parameter `id`.
    pub(crate) fn config(parts: &Parts<'_>, id: Id) -> Result<Self, Failure> {
        let said = parts.id(id)?;
        let of = config_key(parts, said, Id::GROUP)?;
        let tenant = spelling(of.namespace.as_str(), said.unwrap_or_default()).into();
        Ok(Self { of, tenant })
    }
}

impl Spelled<Whole> {
    /// The configs of the namespace in the parameter `id`.
    pub(crate) fn configs(parts: &Parts<'_>, id: Id) -> Result<Self, Failure> {
        let said = parts.id_or(id, "")?;
        let of = Whole { kind: Kind::Config, namespace: Namespace::parse(said)? };
        let tenant = spelling(of.namespace.as_str(), said).into();
        Ok(Self { of, tenant })
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

/// The config of a call of v1 or v2. Both take both words for the namespace.
pub(crate) fn config_v1(parts: &Parts<'_>) -> Result<ConfigKey, Failure> {
    config_key(parts, parts.either_id(Id::NAMESPACE_ID, Id::TENANT)?, Id::GROUP)
}

/// The config of a call of v3.
pub(crate) fn config_v3(parts: &Parts<'_>) -> Result<ConfigKey, Failure> {
    config_key(parts, parts.id(Id::NAMESPACE_ID)?, Id::GROUP_NAME)
}

fn config_key(parts: &Parts<'_>, namespace: Option<&str>, group: Id) -> Result<ConfigKey, Failure> {
    // The order in which Nacos misses them.
    let data_id = DataId::new(parts.present_id(Id::DATA_ID)?)?;
    let group = Group::new(parts.present_id(group)?)?;
    Ok(ConfigKey { namespace: Namespace::parse(namespace.unwrap_or_default())?, group, data_id })
}

/// The namespace of a naming call.
pub(crate) fn namespace(parts: &Parts<'_>) -> Result<Namespace, Failure> {
    Ok(Namespace::parse(parts.id_or(Id::NAMESPACE_ID, Namespace::PUBLIC)?)?)
}

/// All services of the namespace of a naming call.
pub(crate) fn services(parts: &Parts<'_>) -> Result<Whole, Failure> {
    Ok(Whole { kind: Kind::Naming, namespace: namespace(parts)? })
}

/// The service of a v1 call: `serviceName` with or without its group; `groupName` counts only where the
/// name has none (Nacos `ServiceNameFilter`).
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

/// The service in `namespace##group@@service`.
pub(crate) fn service_of_key(key: &str) -> Result<ServiceKey, Failure> {
    let (namespace, name) = key.split_once("##").unwrap_or(("", key));
    service_of(namespace, Group::DEFAULT, name)
}

/// A `group@@service` or bare name in a namespace.
pub(crate) fn service_of(namespace: &str, group: &str, name: &str) -> Result<ServiceKey, Failure> {
    let (group, name) = name.split_once("@@").unwrap_or((group, name));
    if group.is_empty() {
        let words = "Param 'serviceName' is illegal, groupName can't be empty";
        return Err(Failure::invalid_as(Code::SERVICE_NAME_ERROR, words));
    }
    if name.is_empty() {
        let words =
            "Param 'serviceName' is illegal, it should be format as 'groupName@@serviceName'";
        return Err(Failure::invalid_as(Code::SERVICE_NAME_ERROR, words));
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
    use crate::params::Fields;

    /// What calls with this query are about: the config of v1 and v2, that of v3, the service of v1, that of v2
    /// and v3.
    #[must_use]
    pub fn decoded(query: &[u8]) -> [Option<[String; 3]>; 4] {
        let Ok(fields) = Fields::parse(query, b"") else { return [const { None }; 4] };
        let (uri, headers, body) = (Uri::default(), HeaderMap::new(), Bytes::new());
        let parts = Parts { fields: &fields, uri: &uri, headers: &headers, body: &body };
        let config = |key: ConfigKey| {
            [key.namespace.to_string(), key.group.to_string(), key.data_id.to_string()]
        };
        let service = |key: ServiceKey| {
            [key.namespace.to_string(), key.group.to_string(), key.name.to_string()]
        };
        [
            config_v1(&parts).ok().map(config),
            config_v3(&parts).ok().map(config),
            service_grouped(&parts).ok().map(service),
            service_apart(&parts).ok().map(service),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::testing::decoded;

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
            let found = decoded(&query, config_v1).ok();
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
    fn other_words_for_a_group_mean_nothing() {
        assert!(decoded("dataId=d&groupName=g", config_v1).is_err());
        assert!(decoded("dataId=d&group=g", config_v3).is_err());
        let key = decoded("dataId=d&group=g&groupName=h&namespaceId=n", config_v3).expect("valid");
        assert_eq!((key.group.as_str(), key.namespace.as_str()), ("h", "n"));
    }
}
