//! Tests of the configuration centre through its public face.

mod bounds;
mod formats;
mod hostile;
mod listeners;
mod model;
mod room;
mod scenario;

use nacolet_config::{Capture, Command, LoadError, Loader, Operator, Publish, Store};
use nacolet_model::{ConfigKey, DataId, Group, Namespace, WallTime};

/// The key written as `namespace/group/dataId`.
fn key(text: &str) -> ConfigKey {
    let mut parts = text.splitn(3, '/');
    let mut part = || parts.next().expect("namespace/group/dataId");
    ConfigKey {
        namespace: Namespace::parse(part()).expect("a namespace"),
        group: Group::new(part()).expect("a group"),
        data_id: DataId::new(part()).expect("a dataId"),
    }
}

/// A plain publish.
fn publish(key: ConfigKey, content: &str) -> Publish {
    let operator = Operator { user: "nacos".into(), ip: "10.0.0.1".into() };
    Publish::new(key, content.into(), operator, WallTime(1_000)).expect("inside the limits")
}

/// A plain publish as a command.
fn write(text: &str, content: &str) -> Command {
    publish(key(text), content).into()
}

/// Every chunk of a capture.
fn chunks(mut capture: Capture) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| capture.next_chunk()).collect()
}

/// A store made of chunks.
fn load<'a>(chunks: impl IntoIterator<Item = &'a Vec<u8>>) -> Result<Store, LoadError> {
    let mut loader = Loader::new();
    for chunk in chunks {
        loader.push(chunk)?;
    }
    loader.finish()
}
