//! A config that is published, read and listened to: the client that holds an older content is
//! answered as soon as another one is applied.
//!
//! `cargo run -p nacolet-config --example listen`
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use nacolet_config::{
    Caller, ListenInput, ListenKey, ListenOutput, Listeners, Md5, Operator, Publish, Store,
};
use nacolet_model::{ConfigKey, DataId, Duration, Group, Instant, Namespace, RequestId, WallTime};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let key = ConfigKey {
        namespace: Namespace::public(),
        group: Group::new("DEFAULT_GROUP")?,
        data_id: DataId::new("app.yml")?,
    };
    let publish = |content: &str, at| {
        Publish::new(key.clone(), content.into(), Operator::default(), WallTime(at))
    };
    let (mut store, mut listeners, now) = (Store::new(), Listeners::new(), Instant::ZERO);
    store.apply(1, publish("port: 80", 1)?.into(), &mut Vec::new())?;

    // A client holds what there is, and asks to be told of anything else within 30 s.
    let keys = vec![ListenKey { key: key.clone(), md5: Some(Md5::of("port: 80")) }];
    let deadline = now + Duration::from_secs(30);
    let poll = ListenInput::Listen {
        request: RequestId(1),
        keys,
        ip: "10.0.0.7".into(),
        tag: None,
        deadline,
    };
    let mut answers = Vec::new();
    listeners.step(now, &store, poll, &mut answers);
    assert!(answers.is_empty(), "nothing has changed");

    let mut changes = Vec::new();
    store.apply(2, publish("port: 8080", 2)?.into(), &mut changes)?;
    listeners.step(now, &store, ListenInput::Changed(changes), &mut answers);
    let answer = ListenOutput::Answer { request: RequestId(1), changed: vec![0] };
    assert_eq!(answers, [answer]);

    let caller = Caller { ip: "10.0.0.7", ..Caller::default() };
    let view = store.view("public", "DEFAULT_GROUP", "app.yml", &caller);
    println!("the client reads: {}", view.ok_or("it was just published")?.content);
    Ok(())
}
