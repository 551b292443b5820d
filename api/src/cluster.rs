//! What operators say about a cluster inside a service: its health checker and metadata.

use hyper::Method;
use nacolet_model::{ClusterName, ServiceKey};
use nacolet_registry::{HealthChecker, Request};
use serde::Deserialize;

use crate::about;
use crate::address;
use crate::instance::{Dialect, done};
use crate::params::{Fields, field};
use crate::router::{Permission, Routes};
use crate::server::State;
use crate::spec;
use crate::status::Failure;

pub(crate) fn routes(routes: &mut Routes) {
    let write = Permission::NamingWrite;
    routes.at("/v1/ns/cluster").later(Method::PUT, write, about::service_grouped, |state, ask| {
        done(state, ask, Dialect::V1, put)
    });
    routes.at("/v3/admin/ns/cluster").later(
        Method::PUT,
        write,
        about::service_apart,
        |state, ask| done(state, ask, Dialect::V2, put),
    );
}

fn put(_state: &State, params: &Fields, service: ServiceKey) -> Result<Request, Failure> {
    let cluster = ClusterName::new(params.required(field::CLUSTER_NAME)?)?;
    let check_port = address::parse_port(params.required(field::CHECK_PORT)?)?;
    params.required(field::USE_INSTANCE_PORT_FOR_CHECK)?;
    Ok(Request::PutCluster {
        service,
        cluster,
        health_checker: parse_checker(params.required(field::HEALTH_CHECKER)?)?,
        check_port,
        use_instance_port: address::toggle(params, field::USE_INSTANCE_PORT_FOR_CHECK, false),
        metadata: spec::parse_metadata(params.text(field::METADATA).unwrap_or_default())?,
    })
}

/// `{"type":"TCP"}`, `HTTP`, `MYSQL` or `NONE` with their fields (Nacos `HealthCheckerFactory`).
fn parse_checker(text: &str) -> Result<HealthChecker, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        #[serde(rename = "type")]
        kind: String,
        path: Option<String>,
        headers: Option<String>,
        expected_response_code: Option<u16>,
        user: Option<String>,
        pwd: Option<String>,
        cmd: Option<String>,
    }
    let shape: Shape = serde_json::from_str(text)
        .map_err(|error| Failure::invalid(format!("Param 'healthChecker' is illegal, {error}")))?;
    let text = |field: Option<String>| field.unwrap_or_default().into_boxed_str();
    match shape.kind.to_ascii_uppercase().as_str() {
        "TCP" => Ok(HealthChecker::Tcp),
        "NONE" => Ok(HealthChecker::None),
        "HTTP" => Ok(HealthChecker::Http {
            path: text(shape.path),
            headers: text(shape.headers),
            expected_code: shape.expected_response_code.unwrap_or(200),
        }),
        "MYSQL" => Ok(HealthChecker::Mysql {
            user: text(shape.user),
            password: text(shape.pwd),
            cmd: text(shape.cmd),
        }),
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
        check(r#"{"type":"ICMP"}"#, None);
        check(r#"{"path":"/h"}"#, None);
        check("TCP", None);
    }
}
