//! What goes through the Raft log and what comes back. A command is checked once, where it is made;
//! whoever holds one need not look again, and applying it never fails half-way.
//!
//! The encoding is a file and wire format: variants and fields are appended, never reordered, and
//! golden bytes in `tests/suite/formats.rs` hold it still. Next: `store.rs`, which applies
//! commands.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use nacolet_model::{ConfigKey, Namespace, NodeId, WallTime, limits};
use serde::{Deserialize, Serialize};

use crate::md5::Md5;
use crate::rule::{Gray, GrayName};
use crate::text::{PublishError, check_chars, check_content, check_named};

/// One change of the configuration centre.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Writes a config or a gray version of it.
    Publish(Box<Publish>),
    /// Removes a config or a gray version of it.
    Remove(Box<Remove>),
    /// Gives a namespace a name. Configs may use a namespace that nobody created (Nacos).
    CreateNamespace {
        /// The new id.
        id: Namespace,
        /// Shown to people.
        name: Box<str>,
        /// A description, may be empty.
        desc: Box<str>,
        /// When it was asked for.
        at: WallTime,
    },
    /// Changes name and description of a namespace.
    UpdateNamespace {
        /// Which one.
        id: Namespace,
        /// Shown to people.
        name: Box<str>,
        /// A description, may be empty.
        desc: Box<str>,
        /// When it was asked for.
        at: WallTime,
    },
    /// Forgets a namespace. Its configs stay, as in Nacos.
    RemoveNamespace {
        /// Which one.
        id: Namespace,
        /// When it was asked for.
        at: WallTime,
    },
    /// States what room a member has for configs and their past. The least of all binds.
    Room {
        /// Whose.
        member: NodeId,
        /// How much; `None` for no bound beside the limits.
        bytes: Option<u64>,
    },
}

impl Command {
    /// Whether it is one that a client may ask for: to be asked before it is proposed, wherever it
    /// comes from. Applying one from the log asks again.
    ///
    /// # Errors
    /// See [`Invalid`].
    pub fn check(&self) -> Result<(), Invalid> {
        match self {
            Self::Publish(publish) => publish.check(),
            Self::Remove(remove) => {
                check_namespace_id(&remove.key.namespace)?;
                remove.gray.iter().try_for_each(GrayName::check)?;
                Ok(remove.operator.check()?)
            }
            Self::CreateNamespace { id, name, desc, at: _ }
            | Self::UpdateNamespace { id, name, desc, at: _ } => {
                check_namespace_id(id)?;
                Ok(Self::check_namespace(name, desc)?)
            }
            Self::RemoveNamespace { id, at: _ } => check_namespace_id(id),
            Self::Room { member: _, bytes } => {
                let stated = limits::ROOM_BYTES_MIN..limits::ROOM_BYTES_MAX;
                let fits = bytes.is_none_or(|bytes| stated.contains(&bytes));
                if fits { Ok(()) } else { Err(Invalid::Room) }
            }
        }
    }

    /// Whether name and description of a namespace are inside their limits.
    ///
    /// # Errors
    /// The name is blank or one of them is too long.
    pub fn check_namespace(name: &str, desc: &str) -> Result<(), PublishError> {
        check_named("namespaceName", name, limits::NAMESPACE_NAME_CHARS_MAX)?;
        check_chars("namespaceDesc", desc, limits::NAMESPACE_NAME_CHARS_MAX)
    }
}

/// Why a command is none that a client may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A text is missing or too long, or a list is too long.
    #[error(transparent)]
    Field(#[from] PublishError),
    /// The md5 is not that of the content.
    #[error("the md5 is not that of the content")]
    Md5,
    /// The namespace is another spelling of the default one.
    #[error("the namespace is not spelled as it is stored")]
    Namespace,
    /// No member states such a room.
    #[error("no member has so little room, or has to state so much")]
    Room,
}

/// Why applying a command changed nothing but the index and the chained hash.
pub type ApplyError = nacolet_model::ApplyError<Invalid, CommandError>;

/// Who asked for a change, and from where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// The user's name, empty when unknown.
    pub user: Box<str>,
    /// The address the request came from.
    pub ip: Box<str>,
}

impl Operator {
    /// Whether both texts are inside their limits.
    ///
    /// # Errors
    /// One of them is too long.
    pub fn check(&self) -> Result<(), PublishError> {
        check_chars("src_user", &self.user, limits::LABEL_CHARS_MAX)?;
        check_chars("src_ip", &self.ip, limits::IP_CHARS_MAX)
    }
}

/// Format of a content, as the publisher says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConfigType {
    /// `properties`
    Properties,
    /// `xml`
    Xml,
    /// `json`
    Json,
    /// `text`
    Text,
    /// `html`
    Html,
    /// `yaml`
    Yaml,
    /// `toml`
    Toml,
    /// `unset`
    Unset,
}

impl ConfigType {
    const ALL: [Self; 8] = [
        Self::Properties,
        Self::Xml,
        Self::Json,
        Self::Text,
        Self::Html,
        Self::Yaml,
        Self::Toml,
        Self::Unset,
    ];

    /// The type named by `text`, and [`Self::Text`] for every other text (Nacos `ConfigType`).
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self::parse(text).unwrap_or(Self::Text)
    }

    /// The type named by `text`, if it names one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == text)
    }

    /// The word of Nacos for this type.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Properties => "properties",
            Self::Xml => "xml",
            Self::Json => "json",
            Self::Text => "text",
            Self::Html => "html",
            Self::Yaml => "yaml",
            Self::Toml => "toml",
            Self::Unset => "unset",
        }
    }
}

/// What a publisher says about a content. An empty text means that nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// Format of the content.
    pub config_type: Option<ConfigType>,
    /// The application it belongs to.
    pub app_name: Box<str>,
    /// A description.
    pub desc: Box<str>,
    /// Free words to search by (`config_tags`).
    pub tags: Vec<Box<str>>,
    /// `use` of Nacos.
    pub use_: Box<str>,
    /// `effect` of Nacos.
    pub effect: Box<str>,
    /// `schema` of Nacos.
    pub schema: Box<str>,
    /// Key of a client-side encryption, itself encrypted.
    pub encrypted_data_key: Box<str>,
}

/// Which labels of the stored config an update keeps instead of taking its own. Nacos keeps these
/// two when the parameter is absent, and clears them when it is present and empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inherit {
    /// The request has no `appName`.
    pub app_name: bool,
    /// The request has no `config_tags`.
    pub tags: bool,
}

impl Labels {
    /// Whether they are inside their limits.
    ///
    /// # Errors
    /// A label is too long or there are too many tags.
    pub fn check(&self) -> Result<(), PublishError> {
        check_chars("appName", &self.app_name, limits::LABEL_CHARS_MAX)?;
        check_chars("desc", &self.desc, limits::DESC_CHARS_MAX)?;
        check_chars("use", &self.use_, limits::USE_CHARS_MAX)?;
        check_chars("effect", &self.effect, limits::USE_CHARS_MAX)?;
        check_chars("schema", &self.schema, limits::SCHEMA_CHARS_MAX)?;
        check_chars("encryptedDataKey", &self.encrypted_data_key, limits::LABEL_CHARS_MAX)?;
        if self.tags.len() > limits::CONFIG_TAGS_MAX {
            return Err(PublishError::TooMany {
                what: "config_tags",
                count_max: limits::CONFIG_TAGS_MAX,
            });
        }
        self.tags
            .iter()
            .try_for_each(|tag| check_chars("config_tags", tag, limits::CONFIG_TAG_CHARS_MAX))
    }
}

/// Writes a content. Made by [`Publish::new`] and the `with_` calls after it, which check every
/// limit. Its debug form leaves the content out: contents hold secrets and are no matter for logs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// Which config.
    pub key: ConfigKey,
    /// The content. Shared with the store, which keeps this very allocation.
    pub content: Arc<str>,
    /// The md5 of `content`, taken once, where the command is made.
    pub md5: Md5,
    /// What the publisher says about it.
    pub labels: Labels,
    /// Labels to keep from the stored config.
    pub inherit: Inherit,
    /// The gray version to write; the config itself when `None`.
    pub gray: Option<Gray>,
    /// Publish only when this is the stored md5, or when nothing is stored (Nacos).
    pub cas_md5: Option<Md5>,
    /// Publish only when there is nothing yet, for imports that must not overwrite.
    pub only_new: bool,
    /// Who asks.
    pub operator: Operator,
    /// When it was asked for.
    pub at: WallTime,
}

impl Publish {
    /// A publish of `content` without labels, for everybody, unconditionally.
    ///
    /// # Errors
    /// The content is blank or too long, or the operator's texts are too long.
    pub fn new(
        key: ConfigKey,
        content: Arc<str>,
        operator: Operator,
        at: WallTime,
    ) -> Result<Self, PublishError> {
        check_content(content.len(), content.trim().is_empty())?;
        operator.check()?;
        Ok(Self {
            key,
            md5: Md5::of(&content),
            content,
            labels: Labels::default(),
            inherit: Inherit::default(),
            gray: None,
            cas_md5: None,
            only_new: false,
            operator,
            at,
        })
    }

    fn check(&self) -> Result<(), Invalid> {
        check_namespace_id(&self.key.namespace)?;
        check_version(&self.content, self.md5)?;
        self.labels.check()?;
        self.gray.iter().try_for_each(Gray::check)?;
        Ok(self.operator.check()?)
    }

    /// Adds labels; `inherit` says which ones the stored config keeps.
    ///
    /// # Errors
    /// A label is too long or there are too many tags.
    pub fn with_labels(self, labels: Labels, inherit: Inherit) -> Result<Self, PublishError> {
        labels.check()?;
        Ok(Self { labels, inherit, ..self })
    }

    /// Makes it a gray version.
    ///
    /// # Errors
    /// The tag is blank or too long; the list of addresses is empty, too long, or has such an
    /// address.
    pub fn with_gray(self, gray: Gray) -> Result<Self, PublishError> {
        gray.check()?;
        Ok(Self { gray: Some(gray), ..self })
    }

    /// Publishes only over a version with this md5, or where there is none. An empty text asks for
    /// nothing (SDKs send it always); any other text that is no md5 matches no version.
    #[must_use]
    pub fn with_cas(self, md5: &str) -> Self {
        Self { cas_md5: Md5::claimed(md5.trim()), ..self }
    }

    /// Publishes only where nothing is stored yet.
    #[must_use]
    pub fn only_new(self) -> Self {
        Self { only_new: true, ..self }
    }
}

impl fmt::Debug for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish")
            .field("key", &self.key)
            .field("content_bytes", &self.content.len())
            .field("md5", &self.md5)
            .field("gray", &self.gray)
            .field("cas_md5", &self.cas_md5)
            .field("operator", &self.operator)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl From<Publish> for Command {
    fn from(publish: Publish) -> Self {
        Self::Publish(Box::new(publish))
    }
}

/// Removes a config. Gray versions of it stay until they are removed themselves (Nacos).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remove {
    /// Which config.
    pub key: ConfigKey,
    /// Only this gray version of it.
    pub gray: Option<GrayName>,
    /// Who asks.
    pub operator: Operator,
    /// When it was asked for.
    pub at: WallTime,
}

impl From<Remove> for Command {
    fn from(remove: Remove) -> Self {
        Self::Remove(Box::new(remove))
    }
}

/// What a command did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// The content is stored.
    Published {
        /// There was none before.
        created: bool,
        /// The md5 of what is stored now.
        md5: Md5,
    },
    /// The config is absent now.
    Removed {
        /// It was there before.
        existed: bool,
    },
    /// The namespace is as asked for.
    Namespace {
        /// It was not before.
        changed: bool,
    },
    /// The room is stated.
    Room {
        /// It was another one before.
        changed: bool,
    },
}

/// Why a command changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum CommandError {
    /// The stored md5 is not the expected one.
    #[error("the stored md5 is not the expected one")]
    CasMismatch,
    /// The config is there already and must not be overwritten.
    #[error("the config is there already")]
    ConfigExists,
    /// The node holds as many configs, or as many bytes of them, as it may.
    #[error(
        "there are {} configs or {} bytes of them already",
        limits::CONFIGS_MAX,
        limits::CONTENTS_BYTES_MAX
    )]
    TooManyConfigs,
    /// The config has as many gray versions as it may.
    #[error("there are {} gray versions already", limits::GRAY_VERSIONS_MAX)]
    TooManyGray,
    /// The namespace is there already.
    #[error("the namespace is there already")]
    NamespaceExists,
    /// There is no such namespace, or it is the default one, which nobody can change.
    #[error("there is no such namespace to change")]
    NamespaceUnknown,
    /// There are as many namespaces as may be.
    #[error("there are {} namespaces already", limits::NAMESPACES_MAX)]
    TooManyNamespaces,
    /// The log index lies at or behind what is applied: the command took effect earlier.
    #[error("the command was applied before")]
    AlreadyApplied,
    /// The configs take what the member with the least memory has for them.
    #[error(
        "the configs fill the {bytes} bytes of the member with the least memory for them; delete \
         some, or give it more (memory-max)"
    )]
    NoRoom {
        /// So much.
        bytes: u64,
    },
    /// As many members as there may be have stated a room.
    #[error("{} members have stated their room already", limits::MEMBERS_MAX)]
    TooManyRooms,
}

/// Whether a content can be stored under this md5: the same to who applies a command and who loads
/// a state, as is everything here.
pub(crate) fn check_version(content: &str, md5: Md5) -> Result<(), Invalid> {
    check_content(content.len(), content.trim().is_empty())?;
    if Md5::of(content) == md5 { Ok(()) } else { Err(Invalid::Md5) }
}

fn check_namespace_id(id: &Namespace) -> Result<(), Invalid> {
    if id.is_canonical() { Ok(()) } else { Err(Invalid::Namespace) }
}
