//! Commands that no door lets through, as a member that has the key may put them into the log. They
//! change nothing, and whatever was applied can be loaded again.

use std::sync::Arc;

use nacolet_config::{
    ApplyError, Command, Gray, GrayName, Inherit, Invalid, Labels, Md5, Operator, Publish, Remove,
    Store,
};
use nacolet_model::{ConfigKey, DataId, Group, Namespace, NodeId, Prng, WallTime, limits};

use crate::{chunks, key, load, publish};

/// A namespace as it may be decoded, in any spelling.
fn decoded(text: &str) -> Namespace {
    Namespace::try_from(Box::<str>::from(text)).expect("a word")
}

fn long(chars: usize) -> Box<str> {
    "x".repeat(chars + 1).into()
}

fn with(change: impl FnOnce(&mut Publish)) -> Command {
    let mut publish = publish(key("n/G/a"), "content");
    change(&mut publish);
    publish.into()
}

fn labelled(change: impl FnOnce(&mut Labels)) -> Command {
    with(|publish| change(&mut publish.labels))
}

fn of_content(content: &str) -> Command {
    with(|publish| {
        publish.content = Arc::from(content);
        publish.md5 = Md5::of(content);
    })
}

fn remove(change: impl FnOnce(&mut Remove)) -> Command {
    let operator = Operator::default();
    let mut remove = Remove { key: key("n/G/a"), gray: None, operator, at: WallTime(1) };
    change(&mut remove);
    remove.into()
}

fn namespaces(id: &str, name: &str, desc: &str) -> [Command; 2] {
    let (id, at) = (decoded(id), WallTime(1));
    let (name, desc): (Box<str>, Box<str>) = (name.into(), desc.into());
    [
        Command::CreateNamespace { id: id.clone(), name: name.clone(), desc: desc.clone(), at },
        Command::UpdateNamespace { id, name, desc, at },
    ]
}

/// One command for each way to be wrong.
fn invalid() -> Vec<Command> {
    let gray = |gray| with(|publish| publish.gray = Some(gray));
    let ips = |count: usize| Gray::Beta((0..count).map(|ip| format!("{ip}").into()).collect());
    let mut all = vec![
        with(|publish| publish.md5 = Md5::of("another")),
        with(|publish| publish.key.namespace = decoded("null")),
        with(|publish| publish.operator.user = long(limits::LABEL_CHARS_MAX)),
        with(|publish| publish.operator.ip = long(limits::IP_CHARS_MAX)),
        of_content(""),
        of_content(" \n"),
        of_content(&"x".repeat(limits::CONTENT_BYTES_MAX + 1)),
        labelled(|labels| labels.app_name = long(limits::LABEL_CHARS_MAX)),
        labelled(|labels| labels.desc = long(limits::DESC_CHARS_MAX)),
        labelled(|labels| labels.use_ = long(limits::USE_CHARS_MAX)),
        labelled(|labels| labels.effect = long(limits::USE_CHARS_MAX)),
        labelled(|labels| labels.schema = long(limits::SCHEMA_CHARS_MAX)),
        labelled(|labels| labels.encrypted_data_key = long(limits::LABEL_CHARS_MAX)),
        labelled(|labels| labels.tags = vec!["t".into(); limits::CONFIG_TAGS_MAX + 1]),
        labelled(|labels| labels.tags = vec![long(limits::CONFIG_TAG_CHARS_MAX)]),
        gray(Gray::Tag("".into())),
        gray(Gray::Tag(long(limits::TAG_CHARS_MAX))),
        gray(ips(0)),
        gray(ips(limits::BETA_IPS_MAX + 1)),
        gray(Gray::Beta(vec![" ".into()])),
        gray(Gray::Beta(vec![long(limits::IP_CHARS_MAX)])),
        remove(|remove| remove.key.namespace = decoded("null")),
        remove(|remove| remove.gray = Some(GrayName::Tag(long(limits::TAG_CHARS_MAX)))),
        remove(|remove| remove.operator.ip = long(limits::IP_CHARS_MAX)),
        Command::RemoveNamespace { id: decoded("null"), at: WallTime(1) },
        Command::Room { member: NodeId(1), bytes: Some(limits::ROOM_BYTES_MIN - 1) },
        Command::Room { member: NodeId(1), bytes: Some(limits::ROOM_BYTES_MAX) },
    ];
    all.extend(namespaces("null", "name", ""));
    all.extend(namespaces("n", " ", ""));
    all.extend(namespaces("n", &long(limits::NAMESPACE_NAME_CHARS_MAX), ""));
    all.extend(namespaces("n", "name", &long(limits::NAMESPACE_NAME_CHARS_MAX)));
    all
}

#[test]
fn a_command_that_no_door_lets_through_changes_nothing() {
    let mut store = Store::new();
    store.apply_logged(1, publish(key("n/G/a"), "before").into(), &mut Vec::new()).expect("valid");
    for (index, command) in (2..).zip(invalid()) {
        let mut changes = Vec::new();
        let before = store.state_hash();
        let answer = store.apply_logged(index, command.clone(), &mut changes);
        assert!(matches!(answer, Err(ApplyError::Invalid(_))), "{command:?}");
        assert_eq!((changes.len(), store.applied()), (0, index), "{command:?}");
        assert_ne!(store.state_hash(), before, "members that heard another command differ");
        let loaded = load(&chunks(store.capture())).expect("it can be loaded");
        assert_eq!(chunks(loaded.capture()), chunks(store.capture()));
    }
    let again = store.apply_logged(1, invalid().remove(0), &mut Vec::new());
    assert!(matches!(again, Err(ApplyError::Refused(_))), "it was applied before");
    let null = ApplyError::Invalid(Invalid::Namespace);
    let last = Command::RemoveNamespace { id: decoded("null"), at: WallTime(1) };
    assert_eq!(store.apply_logged(900, last, &mut Vec::new()), Err(null));
}

/// A text that is often wrong for whatever it is meant for.
fn text(prng: &mut Prng) -> Box<str> {
    match prng.below(9) {
        0 => "".into(),
        1 => " ".into(),
        2 => "null".into(),
        3 => "ü".repeat(prng.index(300)).into(),
        4 => "10. .0.1".into(),
        5 => long(prng.index(1_100)),
        _ => format!("t{}", prng.below(3)).into(),
    }
}

fn any_key(prng: &mut Prng) -> ConfigKey {
    let namespace = ["public", "null", "n"][prng.index(3)];
    ConfigKey {
        namespace: decoded(namespace),
        group: Group::new("G").expect("valid"),
        data_id: DataId::new(&format!("d{}", prng.below(3))).expect("valid"),
    }
}

fn any(prng: &mut Prng) -> Command {
    let operator = Operator { user: text(prng), ip: text(prng) };
    let operator = if prng.chance(3, 4) { Operator::default() } else { operator };
    let (key, at) = (any_key(prng), WallTime(prng.next_u64()));
    let tags = (0..prng.below(8)).map(|_| text(prng)).collect();
    let labels = Labels { app_name: text(prng), desc: text(prng), tags, ..Labels::default() };
    let labels = if prng.chance(1, 2) { labels } else { Labels::default() };
    let gray = match prng.below(4) {
        0 => Some(Gray::Tag(text(prng))),
        1 => Some(Gray::Beta((0..prng.below(3)).map(|_| text(prng)).collect())),
        _ => None,
    };
    let id = key.namespace.clone();
    match prng.below(6) {
        0 => Remove { key, gray: gray.map(|gray| gray.name()), operator, at }.into(),
        1 => Command::CreateNamespace { id, name: text(prng), desc: text(prng), at },
        2 => Command::UpdateNamespace { id, name: text(prng), desc: text(prng), at },
        3 if prng.chance(1, 3) => Command::RemoveNamespace { id, at },
        _ => {
            let content: Arc<str> = text(prng).into();
            let md5 = Md5::of(if prng.chance(1, 5) { "another" } else { &content });
            let inherit = Inherit { app_name: prng.chance(1, 2), tags: prng.chance(1, 2) };
            let (cas_md5, only_new) = (None, prng.chance(1, 9));
            let publish = Publish {
                key,
                content,
                md5,
                labels,
                inherit,
                gray,
                cas_md5,
                only_new,
                operator,
                at,
            };
            publish.into()
        }
    }
}

#[test]
fn whatever_was_applied_can_be_loaded() {
    let mut prng = Prng::new(40);
    let (mut valid, mut invalid) = (0, 0);
    for _ in 0..300 {
        let mut store = Store::new();
        for index in 1..30 {
            let command = any(&mut prng);
            let is_valid = command.check().is_ok();
            let answer = store.apply_logged(index, command, &mut Vec::new());
            assert_eq!(matches!(answer, Err(ApplyError::Invalid(_))), !is_valid);
            *(if is_valid { &mut valid } else { &mut invalid }) += 1;
        }
        store.invariants();
        let captured = chunks(store.capture());
        let loaded = load(&captured).expect("it can be loaded");
        loaded.invariants();
        assert_eq!(chunks(loaded.capture()), captured);
    }
    assert!(valid > 1_000 && invalid > 1_000, "{valid} {invalid}");
}
