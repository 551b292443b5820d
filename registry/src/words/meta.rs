//! What operators say about services and clusters, and how instances of a cluster are to be probed.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;

use nacolet_model::limits;
use serde::{Deserialize, Serialize};

use crate::words::error::RegistryError;
use crate::words::spec::Metadata;

/// How clients are matched with instances. Stored and echoed; `Label` selects nothing without a
/// CMDB, as in Nacos.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Selector {
    /// No selection.
    #[default]
    None,
    /// An expression over labels.
    Label {
        /// The expression.
        expression: Box<str>,
    },
}

/// How persistent instances of a cluster are to be probed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthChecker {
    /// By opening a connection (default of Nacos).
    #[default]
    Tcp,
    /// By a request.
    Http {
        /// Path.
        path: Box<str>,
        /// Headers, `name:value` joined with `|`.
        headers: Box<str>,
        /// Status that counts as healthy.
        expected_code: u16,
    },
    /// By a query. No longer accepted: nothing here speaks that protocol.
    Mysql {
        /// User.
        user: Box<str>,
        /// Password.
        password: Box<str>,
        /// Query.
        cmd: Box<str>,
    },
    /// Not at all: operators say who is healthy.
    None,
}

/// What operators set on a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceMeta {
    /// Share of healthy instances at which protection begins.
    pub protect_threshold: f64,
    /// Metadata of the service.
    pub metadata: Metadata,
    /// Selector.
    pub selector: Selector,
    /// Kind of the instances, where declared.
    pub ephemeral: Option<bool>,
}

/// What operators set on a cluster inside a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterMeta {
    /// How its persistent instances are to be probed.
    pub health_checker: HealthChecker,
    /// Port to probe.
    pub check_port: u16,
    /// Whether to probe the instance's own port.
    pub use_instance_port: bool,
    /// Metadata of the cluster.
    pub metadata: Metadata,
}

impl Default for ClusterMeta {
    fn default() -> Self {
        Self {
            health_checker: HealthChecker::default(),
            // Nacos probes port 80 where nobody says otherwise, and the instance's port by default.
            check_port: 80,
            use_instance_port: true,
            metadata: Metadata::default(),
        }
    }
}

impl ServiceMeta {
    /// Bytes of its texts.
    pub(crate) fn text_bytes(&self) -> usize {
        let selector = match &self.selector {
            Selector::Label { expression } => expression.len(),
            Selector::None => 0,
        };
        self.metadata.text_bytes() + selector
    }

    /// Whether it is inside its limits.
    pub(crate) fn check(&self) -> Result<(), RegistryError> {
        // Above 1 it protects always and below 0 never more than at 0, as in Nacos.
        if !self.protect_threshold.is_finite() {
            return Err(RegistryError::Threshold);
        }
        match &self.selector {
            Selector::Label { expression } if expression.len() > limits::METADATA_BYTES_MAX => {
                Err(RegistryError::TooLong)
            }
            Selector::Label { .. } | Selector::None => Ok(()),
        }
    }
}

impl ClusterMeta {
    /// Whether it can be stored. The door is stricter, see `HealthChecker::check`: what an older
    /// one let through stays.
    pub(crate) fn check(&self) -> Result<(), RegistryError> {
        self.health_checker.check_texts()
    }

    /// Bytes of its texts.
    pub(crate) fn text_bytes(&self) -> usize {
        self.metadata.text_bytes() + self.health_checker.text_bytes()
    }
}

impl HealthChecker {
    fn text_bytes(&self) -> usize {
        match self {
            Self::Tcp | Self::None => 0,
            Self::Http { path, headers, .. } => path.len() + headers.len(),
            Self::Mysql { user, password, cmd } => user.len() + password.len() + cmd.len(),
        }
    }

    /// Whether its texts are inside their limits.
    fn check_texts(&self) -> Result<(), RegistryError> {
        let is_long = self.text_bytes() > limits::METADATA_BYTES_MAX;
        if is_long { Err(RegistryError::TooLong) } else { Ok(()) }
    }

    /// Whether it makes anybody connect to anything.
    pub(crate) fn probes(&self) -> bool {
        matches!(self, Self::Tcp | Self::Http { .. })
    }

    /// Whether it is inside its limits, and can be what it says: an operator must not believe in a
    /// probe that never happens.
    pub(crate) fn check(&self) -> Result<(), RegistryError> {
        self.check_texts()?;
        match self {
            Self::Http { path, headers, .. } if !is_request(path, headers) => {
                Err(RegistryError::CheckerRequest)
            }
            Self::Mysql { .. } => Err(RegistryError::CheckerUnsupported),
            Self::Tcp | Self::Http { .. } | Self::None => Ok(()),
        }
    }
}

/// Whether a checker can be made a request.
pub(crate) fn is_request(path: &str, headers: &str) -> bool {
    is_path(path) && header_lines(headers).is_some()
}

pub(crate) fn is_path(path: &str) -> bool {
    path.bytes().all(|byte| byte.is_ascii_graphic())
}

/// `name:value|name:value` as lines, and whether one of them names the host.
pub(crate) fn header_lines(headers: &str) -> Option<(String, bool)> {
    let (mut lines, mut has_host) = (String::new(), false);
    for header in headers.split('|').filter(|header| !header.trim().is_empty()) {
        let (name, value) = header.split_once(':')?;
        let (name, value) = (name.trim(), value.trim());
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let is_value = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        if name.is_empty() || !name.bytes().all(is_name) || !value.bytes().all(is_value) {
            return None;
        }
        has_host |= name.eq_ignore_ascii_case("host");
        lines += &format!("{name}: {value}\r\n");
    }
    Some((lines, has_host))
}
