//! What operators say about a cluster inside a service: its health checker and metadata.

use hyper::Method;
use nacolet_model::{ClusterName, ServiceKey};
use nacolet_registry::{HealthChecker, Request};

use crate::access::about;
use crate::access::rule::Permission;
use crate::http::failure::Failure;
use crate::http::json::{Scalar, member, members};
use crate::http::params::{Fields, field};
use crate::naming::words::dialect::{Dialect, done};
use crate::naming::words::{address, spec};
use crate::route::table::Routes;
use crate::state::State;

pub(crate) fn routes(routes: &mut Routes) {
    let write = Permission::NamingWrite;
    routes.at("/v1/ns/cluster").later(Method::PUT, write, about::service_grouped, |state, ask| {
        done(state, ask, Dialect::V1, put)
    });
    for path in ["/v3/admin/ns/cluster", "/v3/console/ns/service/cluster"] {
        routes.at(path).later(Method::PUT, write, about::service_apart, |state, ask| {
            done(state, ask, Dialect::V2, put)
        });
    }
}

fn put(
    _state: &State,
    params: &Fields,
    service: ServiceKey,
    dialect: Dialect,
) -> Result<Request, Failure> {
    let cluster = ClusterName::new(params.required(field::CLUSTER_NAME)?)?;
    let check_port = address::parse_port(params.required(field::CHECK_PORT)?)?;
    params.required(field::USE_INSTANCE_PORT_FOR_CHECK)?;
    Ok(Request::PutCluster {
        service,
        cluster,
        health_checker: parse_checker(params.required(field::HEALTH_CHECKER)?)?,
        check_port,
        use_instance_port: dialect.toggle(params, field::USE_INSTANCE_PORT_FOR_CHECK, false)?,
        metadata: spec::parse_metadata(params.text(field::METADATA).unwrap_or_default())?,
    })
}

/// `{"type":"TCP"}`, `HTTP`, `MYSQL` or `NONE` with their fields (Nacos `HealthCheckerFactory`).
fn parse_checker(text: &str) -> Result<HealthChecker, Failure> {
    let wrong = |error| Failure::invalid(format!("Param 'healthChecker' is illegal, {error}"));
    let names = ["type", "path", "headers", "expectedResponseCode", "user", "pwd", "cmd"];
    let [kind, path, headers, expected_code, user, pwd, cmd] =
        members(text, names).map_err(wrong)?;
    let text = |value| -> Result<Box<str>, Failure> {
        let said = member::<Scalar<'_>>(value).map_err(wrong)?;
        Ok(said.map(Scalar::into_text).unwrap_or_default())
    };
    match text(kind)?.to_ascii_uppercase().as_str() {
        "TCP" => Ok(HealthChecker::Tcp),
        "NONE" => Ok(HealthChecker::None),
        "HTTP" => Ok(HealthChecker::Http {
            path: text(path)?,
            headers: text(headers)?,
            expected_code: member(expected_code).map_err(wrong)?.unwrap_or(200),
        }),
        "MYSQL" => {
            Ok(HealthChecker::Mysql { user: text(user)?, password: text(pwd)?, cmd: text(cmd)? })
        }
        _ => Err(Failure::invalid("Param 'healthChecker' is illegal, unknown type")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkers_are_read_by_type() {
        let check = |text: &str, expected: Option<HealthChecker>| {
            assert_eq!(parse_checker(text).ok(), expected, "{text}");
        };
        check(r#"{"type":"TCP"}"#, Some(HealthChecker::Tcp));
        check(r#"{"type":"none"}"#, Some(HealthChecker::None));
        check(
            r#"{"type":"HTTP","path":"/h","headers":"a:b","expectedResponseCode":204}"#,
            Some(HealthChecker::Http {
                path: "/h".into(),
                headers: "a:b".into(),
                expected_code: 204,
            }),
        );
        // As Jackson writes an object that names its type itself.
        check(r#"{"type":"HTTP","type":"TCP"}"#, Some(HealthChecker::Tcp));
        check(r#"{"type":"ICMP"}"#, None);
        check(r#"{"path":"/h"}"#, None);
        check("TCP", None);
    }
}
