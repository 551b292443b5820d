//! Which cluster and instance of a service a naming call means.

use nacolet_model::ClusterName;

use crate::http::failure::Failure;
use crate::http::params::{Field, Fields, field};

/// The cluster a call names, in either spelling. Python 1.0 sends the word `None`, which is then
/// the cluster's name.
pub(crate) fn cluster(params: &Fields) -> Result<Option<&str>, Failure> {
    params
        .text(field::CLUSTER_NAME)
        .or_else(|| params.text(field::CLUSTER))
        .map(|text| ClusterName::check(text).map_err(Failure::from))
        .transpose()
}

/// As [`cluster`], the default one where none is named.
pub(crate) fn cluster_or_default(params: &Fields) -> Result<&str, Failure> {
    Ok(cluster(params)?.unwrap_or(ClusterName::DEFAULT))
}

/// The address of an instance.
pub(crate) fn address(params: &Fields) -> Result<(&str, u16), Failure> {
    let ip = params.required(field::IP)?;
    let port = params.required(field::PORT)?;
    Ok((ip, parse_port(port)?))
}

/// A port, or the words of Nacos `DefaultParamChecker`.
pub(crate) fn parse_port(text: &str) -> Result<u16, Failure> {
    let words = "Param 'port' is illegal, the value should be between 0 and 65535.";
    text.parse().ok().ok_or_else(|| Failure::checked(words.into()))
}

/// A boolean of v1 naming (Nacos `ConvertUtils.toBoolean`): absent is the default, a word that
/// means nothing is false.
pub(crate) fn toggle(params: &Fields, name: Field, default: bool) -> bool {
    match params.text(name) {
        None => default,
        Some(_) => params.switch_or(name, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(query: &str) -> Fields {
        Fields::parse(query.as_bytes(), b"").expect("few")
    }

    #[test]
    fn a_word_that_is_no_boolean_is_false() {
        let params = fields("healthy=True&valid=1&enabled=");
        assert!(toggle(&params, field::HEALTHY, false));
        assert!(!toggle(&params, field::VALID, true));
        assert!(toggle(&params, field::ENABLED, true));
        assert!(toggle(&params, field::ENABLE, true));
    }

    #[test]
    fn the_cluster_has_two_spellings() {
        let params = fields("cluster=c1");
        assert_eq!(cluster(&params).expect("valid"), Some("c1"));
        let params = fields("clusterName=None&cluster=c1");
        assert_eq!(cluster(&params).expect("valid"), Some("None"));
        assert_eq!(cluster_or_default(&fields("")).expect("valid"), "DEFAULT");
        assert!(cluster(&fields("cluster=a.b")).is_err());
    }

    #[test]
    fn ports_are_checked() {
        assert_eq!(parse_port("65535").expect("a port"), 65_535);
        for text in ["65536", "-1", "80x", ""] {
            assert!(parse_port(text).is_err(), "{text}");
        }
    }
}
