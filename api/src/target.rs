//! Which service, cluster and instance a naming call means. v1 writes `group@@service` into one
//! parameter, v2 and v3 keep group and name apart; both become one checked, borrowed [`Target`].

use nacolet_model::{ClusterName, Group, Namespace, ServiceKey, ServiceName};

use crate::params::Params;
use crate::shapes::Grouped;
use crate::status::{Code, Failure};

/// A service, checked but not copied: lookups need no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// Canonical namespace.
    pub(crate) namespace: &'a str,
    /// Group.
    pub(crate) group: &'a str,
    /// Name without the group.
    pub(crate) name: &'a str,
}

impl<'a> Target<'a> {
    /// The service of a v1 call: `serviceName` with or without its group; `groupName` counts only
    /// where the name has none (Nacos `ServiceNameFilter`).
    pub(crate) fn grouped(params: &'a Params<'_>) -> Result<Self, Failure> {
        let name = params.required("serviceName")?;
        let group = params.text_or("groupName", Group::DEFAULT);
        Self::parse(params.text_or("namespaceId", Namespace::PUBLIC), group, name)
    }

    /// The service of a v2 or v3 call: group and name in parameters of their own.
    pub(crate) fn apart(params: &'a Params<'_>) -> Result<Self, Failure> {
        let name = params.required("serviceName")?;
        let group = params.text_or("groupName", Group::DEFAULT);
        Self::check(params.text_or("namespaceId", Namespace::PUBLIC), group, name)
    }

    /// A `group@@service` or bare name in a namespace.
    pub(crate) fn parse(
        namespace: &'a str,
        group: &'a str,
        name: &'a str,
    ) -> Result<Self, Failure> {
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
        Self::check(namespace, group, name)
    }

    fn check(namespace: &'a str, group: &'a str, name: &'a str) -> Result<Self, Failure> {
        Ok(Self {
            namespace: Namespace::canonical(namespace)?,
            group: Group::check(group)?,
            name: ServiceName::check(name)?,
        })
    }

    /// An owned copy, for a write.
    pub(crate) fn key(&self) -> Result<ServiceKey, Failure> {
        Ok(ServiceKey {
            namespace: Namespace::parse(self.namespace)?,
            group: Group::new(self.group)?,
            name: ServiceName::new(self.name)?,
        })
    }

    /// `group@@service`.
    pub(crate) fn full_name(&self) -> Grouped<'a> {
        Grouped { group: self.group, name: self.name }
    }
}

/// The namespace of a naming call.
pub(crate) fn namespace<'a>(params: &'a Params<'_>) -> Result<&'a str, Failure> {
    Ok(Namespace::canonical(params.text_or("namespaceId", Namespace::PUBLIC))?)
}

/// The cluster a call names, in either spelling. Python 1.0 sends the word `None`, which is then the
/// cluster's name.
pub(crate) fn cluster<'a>(params: &'a Params<'_>) -> Result<Option<&'a str>, Failure> {
    params
        .text("clusterName")
        .or_else(|| params.text("cluster"))
        .map(|text| ClusterName::check(text).map_err(Failure::from))
        .transpose()
}

/// As [`cluster`], the default one where none is named.
pub(crate) fn cluster_or_default<'a>(params: &'a Params<'_>) -> Result<&'a str, Failure> {
    Ok(cluster(params)?.unwrap_or(ClusterName::DEFAULT))
}

/// The address of an instance.
pub(crate) fn address<'a>(params: &'a Params<'_>) -> Result<(&'a str, u16), Failure> {
    let ip = params.required("ip")?;
    let port = params.required("port")?;
    Ok((ip, parse_port(port)?))
}

/// A port, or the words of Nacos `DefaultParamChecker`.
pub(crate) fn parse_port(text: &str) -> Result<u16, Failure> {
    let words = "Param 'port' is illegal, the value should be between 0 and 65535.";
    text.parse().ok().ok_or(Failure::invalid(words))
}

/// A boolean of v1 naming (Nacos `ConvertUtils.toBoolean`): absent is the default, a word that means
/// nothing is false.
pub(crate) fn toggle(params: &Params<'_>, name: &str, default: bool) -> bool {
    match params.text(name) {
        None => default,
        Some(_) => params.switch_or(name, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_v1(query: &str, expected: Option<(&str, &str, &str)>) {
        let params = Params::new(query.as_bytes(), b"");
        let actual = Target::grouped(&params)
            .ok()
            .map(|target| (target.namespace, target.group, target.name));
        assert_eq!(actual, expected, "{query}");
    }

    #[test]
    fn a_grouped_name_beats_the_group_parameter() {
        check_v1("serviceName=s", Some(("public", "DEFAULT_GROUP", "s")));
        check_v1("serviceName=s&groupName=g", Some(("public", "g", "s")));
        check_v1("serviceName=a@@s&groupName=g", Some(("public", "a", "s")));
        check_v1("serviceName=+s+&namespaceId=", Some(("public", "DEFAULT_GROUP", "s")));
        check_v1("serviceName=s&namespaceId=default", Some(("default", "DEFAULT_GROUP", "s")));
        check_v1("", None);
        check_v1("serviceName=", None);
        check_v1("serviceName=@@s", None);
        check_v1("serviceName=g@@", None);
        check_v1("serviceName=a@@b@@c", None);
        check_v1("serviceName=s&namespaceId=a%2Fb", None);
    }

    #[test]
    fn v2_keeps_group_and_name_apart() {
        let params = Params::new(b"serviceName=a@@b&groupName=g", b"");
        assert!(Target::apart(&params).is_err());
        let params = Params::new(b"serviceName=b&groupName=g", b"");
        assert_eq!(Target::apart(&params).expect("valid").full_name().to_string(), "g@@b");
    }

    #[test]
    fn a_word_that_is_no_boolean_is_false() {
        let params = Params::new(b"a=True&b=1&c=", b"");
        assert!(toggle(&params, "a", false));
        assert!(!toggle(&params, "b", true));
        assert!(toggle(&params, "c", true));
        assert!(toggle(&params, "d", true));
    }

    #[test]
    fn the_cluster_has_two_spellings() {
        let params = Params::new(b"cluster=c1", b"");
        assert_eq!(cluster(&params).expect("valid"), Some("c1"));
        let params = Params::new(b"clusterName=None&cluster=c1", b"");
        assert_eq!(cluster(&params).expect("valid"), Some("None"));
        assert_eq!(cluster_or_default(&Params::new(b"", b"")).expect("valid"), "DEFAULT");
        assert!(cluster(&Params::new(b"cluster=a.b", b"")).is_err());
    }

    #[test]
    fn ports_are_checked() {
        assert_eq!(parse_port("65535").expect("a port"), 65_535);
        for text in ["65536", "-1", "80x", ""] {
            assert!(parse_port(text).is_err(), "{text}");
        }
    }
}
