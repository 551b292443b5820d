//! The configuration centre as a pure state machine: contents under (namespace, group, dataId),
//! gray versions of them, their bounded history, the names of namespaces, and the long polls that
//! wait for a change. No clock, no socket, no log file: time is an argument, durability is Raft's.
//!
//! Every change is a [`Command`] with a log index. The same commands in the same order give the
//! same [`Store`] on every member. Reads take `&Store` and hand out shared contents without
//! copying.
//!
//! ```
//! use nacolet_config::{Operator, Publish, Store};
//! use nacolet_model::{ConfigKey, DataId, Group, Namespace, WallTime};
//!
//! let key = ConfigKey {
//!     namespace: Namespace::public(),
//!     group: Group::new("DEFAULT_GROUP")?,
//!     data_id: DataId::new("app.yml")?,
//! };
//! let publish = Publish::new(key, "port: 80".into(), Operator::default(), WallTime(0))?;
//!
//! let mut store = Store::new();
//! let mut changes = Vec::new();
//! store.apply(1, publish.into(), &mut changes)?;
//! let config = store.get("public", "DEFAULT_GROUP", "app.yml").expect("just published");
//! assert_eq!(&*config.content, "port: 80");
//! assert_eq!(changes.len(), 1);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! Read `command.rs`, then `entry.rs`, `store.rs` and `apply.rs`, then `listen.rs`.
#![no_std]

extern crate alloc;

mod apply;
mod command;
mod entry;
mod gray;
mod hash;
mod history;
mod key;
mod listen;
mod load;
mod md5;
mod namespace;
mod room;
mod rule;
mod search;
mod snapshot;
mod store;
mod text;
mod walk;

pub use command::{
    ApplyError, Command, CommandError, ConfigType, Inherit, Invalid, Labels, Operator, Publish,
    Remove, Response,
};
pub use entry::{Change, Config, View};
pub use gray::{Caller, GrayKind, GrayVersion};
pub use history::{HistoryItem, HistoryOp};
pub use key::{KeyRef, KeyText};
pub use listen::{ListenInput, ListenKey, ListenOutput, Listeners};
pub use load::{LoadError, Loader};
pub use md5::Md5;
pub use namespace::NamespaceView;
pub use room::past_max;
pub use rule::{Gray, GrayName, LabelRule, LabelSyntax};
pub use search::{Page, Search, SearchMode, like};
pub use snapshot::Capture;
pub use store::Store;
pub use text::{PublishError, check_content};
pub use walk::Walk;
