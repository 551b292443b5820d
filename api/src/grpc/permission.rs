//! Whether the caller of a request may make it: the token is in the headers of the payload, the names are
//! in its JSON and read with the functions of the handlers, so that no two readings differ. A request
//! whose names cannot be read is let through: its handler says what is wrong with it.

use std::sync::Arc;

use hyper::body::Bytes;
use nacolet_auth::{Action, Kind as Half, Resource};
use nacolet_model::{Group, Namespace};
use serde::Deserialize;

use super::Zone;
use super::config::{self, Context, text};
use super::dispatch::{Kind, read};
use super::message::{Empty, Refusal, failed};
use super::naming;
use super::pattern::{self, Pattern};
use super::wire::Payload;
use crate::access::{self, Denied};
use crate::status::Failure;

/// Every name that a request may have.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Names {
    data_id: Option<String>,
    group: Option<String>,
    tenant: Option<String>,
    namespace: Option<String>,
    group_name: Option<String>,
    service_name: Option<String>,
    group_key_pattern: Option<String>,
    config_listen_contexts: Option<Vec<Context>>,
}

/// The user, where there are users. The outer error is a request that is no JSON.
pub(super) fn check(
    zone: &Zone,
    kind: Kind,
    payload: &Payload,
) -> serde_json::Result<Result<Option<Arc<str>>, Denied>> {
    let access = &zone.state.access;
    if !access.is_on() || kind == Kind::HealthCheck {
        return Ok(Ok(None));
    }
    let token = payload.header("accessToken").unwrap_or_default();
    let user = match access.user_of(zone.state.now(), token) {
        Ok(user) => user,
        Err(denied) => return Ok(Err(denied)),
    };
    let names: Names = read(payload)?;
    let permits = |action, asked: &Resource<'_>| access.permits(Some(&user), action, asked);
    let permitted = match kind {
        // Locks have no namespace: they are for every user.
        Kind::HealthCheck | Kind::LockOperation => Ok(()),
        Kind::ConfigQuery => names.config(|asked| permits(Action::Read, asked)),
        Kind::ConfigPublish | Kind::ConfigRemove => {
            names.config(|asked| permits(Action::Write, asked))
        }
        Kind::ConfigBatchListen => {
            let contexts = names.config_listen_contexts.iter().flatten();
            let mut keys = contexts.filter_map(|context| context.key().ok());
            keys.try_for_each(|key| permits(Action::Read, &access::config(&key)))
        }
        Kind::Instance | Kind::BatchInstance | Kind::PersistentInstance => {
            names.service(|asked| permits(Action::Write, asked))
        }
        Kind::ServiceQuery | Kind::SubscribeService => {
            names.service(|asked| permits(Action::Read, asked))
        }
        Kind::ServiceList => {
            let namespace = text(names.namespace.as_ref()).unwrap_or_default();
            let namespace = Namespace::canonical(namespace).unwrap_or(namespace);
            let group = text(names.group_name.as_ref()).unwrap_or(Group::DEFAULT);
            let all = access::whole(namespace, Half::Naming);
            permits(Action::Read, &Resource { group, ..all })
        }
        Kind::ConfigFuzzyWatch => {
            names.pattern(pattern::Kind::Config, Half::Config, |asked| permits(Action::Read, asked))
        }
        Kind::NamingFuzzyWatch => names
            .pattern(pattern::Kind::Service, Half::Naming, |asked| permits(Action::Read, asked)),
    };
    Ok(permitted.map(|()| Some(user)))
}

/// The answer to a request that is not permitted.
pub(super) fn denied(kind: Kind, request_id: Option<&str>, denied: Denied) -> Bytes {
    failed(kind.response(), request_id, &Refusal::from(Failure::from(denied)), Empty {})
}

type Asked = Result<(), Denied>;

impl Names {
    fn config(&self, permits: impl Fn(&Resource<'_>) -> Asked) -> Asked {
        let key = config::key(self.data_id.as_ref(), self.group.as_ref(), self.tenant.as_ref());
        key.ok().map_or(Ok(()), |key| permits(&access::config(&key)))
    }

    fn service(&self, permits: impl Fn(&Resource<'_>) -> Asked) -> Asked {
        let target = naming::target(&self.namespace, &self.group_name, &self.service_name);
        target.ok().map_or(Ok(()), |target| {
            let (namespace, group, name) = (target.namespace, target.group, target.name);
            permits(&Resource { namespace, group, kind: Half::Naming, name })
        })
    }

    /// A pattern may mean whatever is in its namespace.
    fn pattern(
        &self,
        kind: pattern::Kind,
        half: Half,
        permits: impl Fn(&Resource<'_>) -> Asked,
    ) -> Asked {
        let pattern = text(self.group_key_pattern.as_ref());
        let pattern = pattern.and_then(|pattern| Pattern::parse(kind, pattern));
        pattern.map_or(Ok(()), |pattern| permits(&access::whole(&pattern.namespace, half)))
    }
}
