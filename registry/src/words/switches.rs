//! The switches of Nacos (`SwitchDomain`) that have a meaning here. A switch that is accepted acts;
//! every other name is refused, so that no operator believes in an effect that is not there.

use nacolet_model::{Duration, limits};
use serde::{Deserialize, Serialize};

use crate::words::error::RegistryError;

/// What an operator says the server's state is, whatever it really is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerStatus {
    /// Serves all.
    Up,
    /// Serves nothing.
    Down,
    /// Refuses writes.
    ReadOnly,
    /// Refuses reads.
    WriteOnly,
}

impl ServerStatus {
    /// The word of Nacos.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "UP",
            Self::Down => "DOWN",
            Self::ReadOnly => "READ_ONLY",
            Self::WriteOnly => "WRITE_ONLY",
        }
    }
}

/// One switch and its new value, as it goes through the Raft log: append variants only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Switch {
    /// `clientBeatInterval`, milliseconds: the period told to clients, see
    /// [`Switches::client_beat_interval`].
    ClientBeatInterval(u32),
    /// `pushCacheMillis`: poll period told to clients and lease of UDP subscribers.
    PushCacheMillis(u32),
    /// `check` or `healthCheckEnabled`: whether silence has consequences.
    HealthCheckEnabled(bool),
    /// `pushEnabled`: whether UDP subscribers are pushed to.
    PushEnabled(bool),
    /// `lightBeatEnabled`: whether clients are told that light beats will do.
    LightBeatEnabled(bool),
    /// `defaultInstanceEphemeral`: kind of an instance that does not say.
    DefaultInstanceEphemeral(bool),
    /// `overriddenServerStatus`.
    OverriddenServerStatus(Option<ServerStatus>),
}

impl Switch {
    /// Reads a switch in the words of Nacos.
    ///
    /// # Errors
    /// [`RegistryError::SwitchUnknown`] and [`RegistryError::SwitchValue`].
    pub fn parse(entry: &str, value: &str) -> Result<Self, RegistryError> {
        let value = value.trim();
        let switch = match entry {
            "clientBeatInterval" => Self::ClientBeatInterval(number(value)?),
            "pushCacheMillis" | "defaultPushCacheMillis" => Self::PushCacheMillis(number(value)?),
            "check" | "healthCheckEnabled" => Self::HealthCheckEnabled(boolean(value)?),
            "pushEnabled" => Self::PushEnabled(boolean(value)?),
            "lightBeatEnabled" => Self::LightBeatEnabled(boolean(value)?),
            "defaultInstanceEphemeral" => Self::DefaultInstanceEphemeral(boolean(value)?),
            "overriddenServerStatus" => Self::OverriddenServerStatus(status(value)?),
            _ => return Err(RegistryError::SwitchUnknown),
        };
        switch.check().map(|()| switch)
    }

    /// Whether the value is inside its limits.
    pub(crate) fn check(self) -> Result<(), RegistryError> {
        match self {
            Self::PushCacheMillis(ms) => check_push_cache(ms),
            Self::ClientBeatInterval(_)
            | Self::HealthCheckEnabled(_)
            | Self::PushEnabled(_)
            | Self::LightBeatEnabled(_)
            | Self::DefaultInstanceEphemeral(_)
            | Self::OverriddenServerStatus(_) => Ok(()),
        }
    }
}

/// The lower bound is `SwitchEntry.MIN_PUSH_CACHE_TIME_MIILIS` of Nacos.
fn check_push_cache(ms: u32) -> Result<(), RegistryError> {
    check_millis(ms, 10_000, limits::BEAT_OVERRIDE_MAX)
}

fn check_millis(ms: u32, min: u32, max: Duration) -> Result<(), RegistryError> {
    let is_inside = ms >= min && u128::from(ms) <= max.as_millis();
    if is_inside { Ok(()) } else { Err(RegistryError::SwitchValue) }
}

fn number(value: &str) -> Result<u32, RegistryError> {
    value.parse().ok().ok_or(RegistryError::SwitchValue)
}

fn boolean(value: &str) -> Result<bool, RegistryError> {
    if value.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if value.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err(RegistryError::SwitchValue)
    }
}

fn status(value: &str) -> Result<Option<ServerStatus>, RegistryError> {
    Ok(Some(match value {
        // Nacos takes an empty value or NULL as "nothing is overridden".
        "" | "NULL" | "null" => return Ok(None),
        "UP" => ServerStatus::Up,
        "DOWN" => ServerStatus::Down,
        "READ_ONLY" => ServerStatus::ReadOnly,
        "WRITE_ONLY" => ServerStatus::WriteOnly,
        _ => return Err(RegistryError::SwitchValue),
    }))
}

/// The state of all switches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switches {
    /// See [`Switch::ClientBeatInterval`].
    pub client_beat_interval_ms: u32,
    /// See [`Switch::PushCacheMillis`].
    pub push_cache_ms: u32,
    /// See [`Switch::HealthCheckEnabled`].
    pub health_check_enabled: bool,
    /// See [`Switch::PushEnabled`].
    pub push_enabled: bool,
    /// See [`Switch::LightBeatEnabled`].
    pub light_beat_enabled: bool,
    /// See [`Switch::DefaultInstanceEphemeral`].
    pub default_instance_ephemeral: bool,
    /// See [`Switch::OverriddenServerStatus`].
    pub overridden_server_status: Option<ServerStatus>,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            client_beat_interval_ms: 5_000,
            push_cache_ms: 10_000,
            health_check_enabled: true,
            push_enabled: true,
            light_beat_enabled: true,
            default_instance_ephemeral: true,
            overridden_server_status: None,
        }
    }
}

impl Switches {
    /// Whether every value is inside its limits.
    pub(crate) fn check(&self) -> Result<(), RegistryError> {
        check_push_cache(self.push_cache_ms)
    }

    /// Turns one switch.
    pub fn set(&mut self, switch: Switch) {
        match switch {
            Switch::ClientBeatInterval(ms) => self.client_beat_interval_ms = ms,
            Switch::PushCacheMillis(ms) => self.push_cache_ms = ms,
            Switch::HealthCheckEnabled(on) => self.health_check_enabled = on,
            Switch::PushEnabled(on) => self.push_enabled = on,
            Switch::LightBeatEnabled(on) => self.light_beat_enabled = on,
            Switch::DefaultInstanceEphemeral(on) => self.default_instance_ephemeral = on,
            Switch::OverriddenServerStatus(status) => self.overridden_server_status = status,
        }
    }

    /// Whether writes are let through; beats are writes, switches always pass.
    #[must_use]
    pub fn serves_writes(&self) -> bool {
        !matches!(self.overridden_server_status, Some(ServerStatus::Down | ServerStatus::ReadOnly))
    }

    /// Whether silence has consequences. While writes are refused beats are too, and then silence
    /// is our doing.
    #[must_use]
    pub fn watches_beats(&self) -> bool {
        self.health_check_enabled && self.serves_writes()
    }

    /// Whether reads are let through.
    #[must_use]
    pub fn serves_reads(&self) -> bool {
        !matches!(self.overridden_server_status, Some(ServerStatus::Down | ServerStatus::WriteOnly))
    }

    /// The beat period told to clients: what was set, at least one second and at most two thirds
    /// of the time-out. Clients obey: with less they are a flood, and with more one late beat makes
    /// an instance unhealthy.
    #[must_use]
    pub fn client_beat_interval(&self) -> Duration {
        let set = Duration::from_millis(u64::from(self.client_beat_interval_ms));
        set.clamp(Duration::from_secs(1), limits::BEAT_TIMEOUT * 2 / 3)
    }

    /// The poll period told to clients and the lease of UDP subscribers.
    #[must_use]
    pub fn push_cache(&self) -> Duration {
        Duration::from_millis(u64::from(self.push_cache_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(entry: &str, value: &str, expected: Result<Switch, RegistryError>) {
        assert_eq!(Switch::parse(entry, value), expected, "{entry}={value}");
    }

    #[test]
    fn only_switches_that_act_are_accepted() {
        check("clientBeatInterval", "8000", Ok(Switch::ClientBeatInterval(8_000)));
        check("clientBeatInterval", "1", Ok(Switch::ClientBeatInterval(1)));
        check("clientBeatInterval", "-1", Err(RegistryError::SwitchValue));
        check("pushCacheMillis", "10000", Ok(Switch::PushCacheMillis(10_000)));
        check("pushCacheMillis", "9999", Err(RegistryError::SwitchValue));
        check("defaultPushCacheMillis", "86400001", Err(RegistryError::SwitchValue));
        check("check", "False", Ok(Switch::HealthCheckEnabled(false)));
        check("healthCheckEnabled", "yes", Err(RegistryError::SwitchValue));
        check("pushEnabled", "false", Ok(Switch::PushEnabled(false)));
        check("lightBeatEnabled", "true", Ok(Switch::LightBeatEnabled(true)));
        check("defaultInstanceEphemeral", "true", Ok(Switch::DefaultInstanceEphemeral(true)));
        check("overriddenServerStatus", "", Ok(Switch::OverriddenServerStatus(None)));
        check("overriddenServerStatus", "SLEEPING", Err(RegistryError::SwitchValue));
        for unknown in ["distroThreshold", "sendBeatOnly", "", "ClientBeatInterval"] {
            check(unknown, "1", Err(RegistryError::SwitchUnknown));
        }
    }

    #[test]
    fn clients_are_told_to_beat_neither_all_the_time_nor_too_rarely() {
        for (set_ms, told_ms) in [(0, 1_000), (1, 1_000), (8_000, 8_000), (u32::MAX, 10_000)] {
            let mut switches = Switches::default();
            switches.set(Switch::ClientBeatInterval(set_ms));
            assert_eq!(switches.client_beat_interval(), Duration::from_millis(told_ms));
        }
    }

    #[test]
    fn the_overridden_status_says_what_is_served() {
        let mut switches = Switches::default();
        for (status, reads, writes) in [
            (None, true, true),
            (Some(ServerStatus::Up), true, true),
            (Some(ServerStatus::Down), false, false),
            (Some(ServerStatus::ReadOnly), true, false),
            (Some(ServerStatus::WriteOnly), false, true),
        ] {
            switches.set(Switch::OverriddenServerStatus(status));
            assert_eq!((switches.serves_reads(), switches.serves_writes()), (reads, writes));
        }
    }
}
