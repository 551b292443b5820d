//! Switches of Nacos that nothing reads, there as here: an operator's script sets them and looks
//! whether they were taken. This node remembers them until it stops and tells nobody.

use std::sync::{Mutex, PoisonError};

use nacolet_model::limits;
use serde_json::{Map, Value, json};

/// What was set, by the name under which it is shown. There are as many as [`read`] knows.
#[derive(Debug, Default)]
pub(crate) struct Inert {
    set: Mutex<Map<String, Value>>,
}

impl Inert {
    /// Takes a switch that nothing reads. One that nobody knows is taken, too, and forgotten.
    ///
    /// # Errors
    /// What is wrong with the value, or that the switch would have to act.
    pub(crate) fn set(&self, entry: &str, value: &str) -> Result<(), &'static str> {
        if value.len() > limits::METADATA_BYTES_MAX {
            return Err("the value is too long");
        }
        if let Some((shown, value)) = read(entry, value)? {
            self.set.lock().unwrap_or_else(PoisonError::into_inner).insert(shown.into(), value);
        }
        Ok(())
    }

    /// Writes what was set over the switches as they are shown.
    pub(crate) fn lay_over(&self, switches: &mut Value) {
        for (name, value) in &*self.set.lock().unwrap_or_else(PoisonError::into_inner) {
            switches[name] = value.clone();
        }
    }
}

const ACTS: &str = "this switch cannot be turned here";
const NUMBER: &str = "the value is no number of this switch";

/// The name under which a switch is shown and what of its value; none where it is shown nowhere.
fn read(entry: &str, value: &str) -> Result<Option<(&'static str, Value)>, &'static str> {
    let is_true = || json!(value.eq_ignore_ascii_case("true"));
    let millis = |least: i64| match value.parse::<i64>() {
        Ok(millis) if millis >= least => Ok(json!(millis)),
        _ => Err(NUMBER),
    };
    Ok(Some(match entry {
        "masters" => ("masters", value.split(',').collect()),
        "distroThreshold" => {
            let threshold = value.parse::<f64>().ok().filter(|threshold| threshold.is_finite());
            ("distroThreshold", json!(threshold.ok_or(NUMBER)?))
        }
        "defaultCacheMillis" => ("defaultCacheMillis", millis(1_000)?),
        "serviceStatusSynchronizationPeriodMillis" => {
            ("serviceStatusSynchronizationPeriodMillis", millis(5_000)?)
        }
        "serverStatusSynchronizationPeriodMillis" => {
            ("serverStatusSynchronizationPeriodMillis", millis(15_000)?)
        }
        "distroServerExpiredMillis" => ("distroServerExpiredMillis", millis(i64::MIN)?),
        "disableAddIP" => ("disableAddIP", is_true()),
        "sendBeatOnly" => ("sendBeatOnly", is_true()),
        "autoChangeHealthCheckEnabled" => ("autoChangeHealthCheckEnabled", is_true()),
        "limitedUrlMap" if value.is_empty() => return Ok(None),
        "limitedUrlMap" => ("limitedUrlMap", limited(value)?),
        // These act in Nacos, and nothing here can: the value that they have is all they may get.
        "distro" if value.eq_ignore_ascii_case("true") => return Ok(None),
        "healthCheckTimes" if value == "3" => return Ok(None),
        "distro" | "healthCheckTimes" | "batch" | "pushVersion" | "httpHealthParams"
        | "tcpHealthParams" | "mysqlHealthParams" => return Err(ACTS),
        _ => return Ok(None),
    }))
}

/// `url:status,url:status`. Nacos answers calls of naming whose URL begins so with that status.
fn limited(value: &str) -> Result<Value, &'static str> {
    /// Where the calls are that Nacos would limit.
    const NAMING: &str = "/nacos/v1/ns/";
    let mut urls = Map::new();
    for entry in value.split(',') {
        let (url, status) = entry.split_once(':').ok_or("a limited url needs a status")?;
        let status = status.parse::<u32>().ok().filter(|status| *status > 0).ok_or(NUMBER)?;
        if url.is_empty() || url.starts_with(NAMING) || NAMING.starts_with(url) {
            return Err(ACTS);
        }
        urls.insert(url.into(), status.into());
    }
    Ok(urls.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(entry: &str, value: &str) -> Result<Value, &'static str> {
        let inert = Inert::default();
        inert.set(entry, value)?;
        let mut switches = json!({ "masters": null });
        inert.lay_over(&mut switches);
        Ok(switches)
    }

    #[test]
    fn what_nothing_reads_is_shown_as_it_was_set() {
        let check = |entry, value, expected: Value| {
            assert_eq!(shown(entry, value), Ok(expected), "{entry}={value}");
        };
        check("masters", "a,b", json!({ "masters": ["a", "b"] }));
        check("distroThreshold", "2", json!({ "masters": null, "distroThreshold": 2.0 }));
        check("limitedUrlMap", "/a:1", json!({ "masters": null, "limitedUrlMap": { "/a": 1 } }));
        for (entry, value) in [("nope", "1"), ("checkTimes", "0"), ("healthCheckTimes", "3")] {
            check(entry, value, json!({ "masters": null }));
        }
    }

    #[test]
    fn what_would_have_to_act_is_refused() {
        for (entry, value) in [
            ("healthCheckTimes", "5"),
            ("distro", "false"),
            ("httpHealthParams", "{}"),
            ("pushVersion", "java:1.0.0"),
            ("limitedUrlMap", "/:403"),
            ("limitedUrlMap", "/nacos/v1/ns/instance:403"),
            ("limitedUrlMap", "/a"),
            ("distroThreshold", "NaN"),
            ("defaultCacheMillis", "999"),
            ("masters", &"x".repeat(limits::METADATA_BYTES_MAX + 1)),
        ] {
            assert!(shown(entry, value).is_err(), "{entry}={value}");
        }
    }
}
