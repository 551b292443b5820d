//! Bytes that outlive a program: commands in the log, chunks in Raft snapshots. Golden bytes hold
//! them still, and no byte string whatever makes a decoder panic.

use std::fmt::Write as _;
use std::panic::catch_unwind;

use nacolet_config::{
    Command, ConfigType, Gray, GrayName, Inherit, LabelRule, LabelSyntax, Labels, LoadError,
    Loader, Operator, Remove, Store,
};
use nacolet_model::{Namespace, NodeId, Prng, WallTime, limits};

use crate::{chunks, key, load, publish, write};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("text");
        text
    })
}

fn commands() -> Vec<Command> {
    let labels = Labels {
        config_type: Some(ConfigType::Yaml),
        app_name: "shop".into(),
        desc: "d".into(),
        tags: vec!["t".into()],
        use_: "u".into(),
        effect: "e".into(),
        schema: "s".into(),
        encrypted_data_key: "k".into(),
    };
    let inherit = Inherit { app_name: true, tags: false };
    let full = publish(key("dev/G/a"), "v1").with_labels(labels, inherit).expect("fits");
    let beta = publish(key("dev/G/a"), "v2").with_gray(Gray::Beta(vec!["1.1.1.1".into()]));
    let operator = Operator { user: "u".into(), ip: "i".into() };
    let id = Namespace::parse("dev").expect("valid");
    let at = WallTime(300);
    let rule = LabelRule {
        name: "r".into(),
        syntax: LabelSyntax::Joined,
        expr: "env=prod".into(),
        priority: -3,
    };
    vec![
        full.into(),
        beta.expect("fits").with_cas("900150983cd24fb0d6963f7d28e17f72").only_new().into(),
        Remove {
            key: key("dev/G/a"),
            gray: Some(GrayName::Tag("t".into())),
            operator: operator.clone(),
            at,
        }
        .into(),
        Command::CreateNamespace { id: id.clone(), name: "Dev".into(), desc: "x".into(), at },
        Command::UpdateNamespace { id: id.clone(), name: "Dev".into(), desc: "".into(), at },
        Command::RemoveNamespace { id, at },
        publish(key("dev/G/a"), "v3").with_gray(Gray::Labels(Box::new(rule))).expect("fits").into(),
        Remove { key: key("dev/G/a"), gray: Some(GrayName::Labels("r".into())), operator, at }
            .into(),
        Command::Room { member: NodeId(300), bytes: Some(limits::ROOM_BYTES_MIN) },
        Command::Room { member: NodeId(1), bytes: None },
    ]
}

#[test]
fn commands_keep_their_bytes() {
    let golden = [
        concat!(
            "0003646576014701610276316654c734ccab8f440ff0825eb443dc7f01050473686f700164010174",
            "017501650173016b0100000000056e61636f730831302e302e302e31e807",
        ),
        concat!(
            "0003646576014701610276321b267619c4812cc46ee281747884ca50000000000000000000000100",
            "0107312e312e312e3101900150983cd24fb0d6963f7d28e17f7201056e61636f730831302e302e30",
            "2e31e807",
        ),
        "0103646576014701610101017401750169ac02",
        "0203646576034465760178ac02",
        "03036465760344657600ac02",
        "0403646576ac02",
        concat!(
            "00036465760147016102763343a03299a3c3fed3d8ce7b820f3aca81000000000000000000000102",
            "01720108656e763d70726f64050000056e61636f730831302e302e302e31e807",
        ),
        "0103646576014701610102017201750169ac02",
        "05ac020180808002",
        "050100",
    ];
    let written: Vec<_> = commands()
        .iter()
        .map(|command| hex(&postcard::to_allocvec(command).expect("encodes")))
        .collect();
    assert_eq!(written, golden);
    for command in commands() {
        let bytes = postcard::to_allocvec(&command).expect("encodes");
        assert_eq!(postcard::from_bytes(&bytes), Ok(command));
    }
}

fn small_store() -> Store {
    let mut store = Store::new();
    let at = WallTime(5);
    let id = Namespace::parse("dev").expect("valid");
    let create = Command::CreateNamespace { id, name: "Dev".into(), desc: "".into(), at };
    let beta = publish(key("dev/G/a"), "beta").with_gray(Gray::Beta(vec!["1.1.1.1".into()]));
    let commands = [
        create,
        write("dev/G/a", "v1"),
        write("dev/G/a", "v2"),
        beta.expect("fits").into(),
        Remove { key: key("dev/G/b"), gray: None, operator: Operator::default(), at }.into(),
    ];
    for (index, command) in (1..).zip(commands) {
        store.apply(index, command, &mut Vec::new()).expect("applied");
    }
    store
}

#[test]
fn raft_snapshots_keep_their_bytes() {
    let golden = concat!(
        "01000005e28bafcf969cd7e4460103010364657603446576000505020364657601470161030203e8",
        "07e807000001056e61636f730831302e302e302e31001b267619c4812cc46ee281747884ca500276",
        "320404e807000107312e312e312e31e80700000000987bcab01b929eb2c07877b224215c92046265",
        "7461050400010000e80700000001010503010001e807000000006654c734ccab8f440ff0825eb443",
        "dc7f0276310502000000e807000000010206",
    );
    let chunks = chunks(small_store().capture());
    assert_eq!(chunks.iter().map(|chunk| hex(chunk)).collect::<Vec<_>>(), [golden]);
    let loaded = load(&chunks).expect("read");
    loaded.invariants();
    assert_eq!(loaded.state_hash(), small_store().state_hash());
}

/// What a member without much memory adds: its room stands before the keys.
#[test]
fn rooms_in_raft_snapshots_keep_their_bytes() {
    let mut store = Store::new();
    let room = Command::Room { member: NodeId(300), bytes: Some(limits::ROOM_BYTES_MIN) };
    store.apply(1, room, &mut Vec::new()).expect("applied");
    let chunks = chunks(store.capture());
    let golden = "01000001acf9b5e2f4f18ae2af01000007ac028080800206";
    assert_eq!(chunks.iter().map(|chunk| hex(chunk)).collect::<Vec<_>>(), [golden]);
    let loaded = load(&chunks).expect("read");
    assert!(loaded.rooms().eq([(NodeId(300), limits::ROOM_BYTES_MIN)]));
}

#[test]
fn an_empty_store_goes_round() {
    let loaded = load(&chunks(Store::new().capture())).expect("read");
    assert_eq!((loaded.applied(), loaded.len()), (0, 0));
}

/// A store of some megabytes with one config larger than a chunk.
fn large_store() -> Store {
    let mut store = Store::new();
    for index in 1..=200 {
        let size = if index == 100 { 2 * limits::SNAPSHOT_CHUNK_BYTES_MAX } else { 10_000 };
        let content = format!("{index}{}", "x".repeat(size));
        store.apply(index, write(&format!("n/G/{index}"), &content), &mut Vec::new()).expect("ok");
    }
    store
}

#[test]
fn chunks_are_bounded_unless_one_config_is_larger() {
    let chunks = chunks(large_store().capture());
    let large = chunks.iter().filter(|chunk| chunk.len() > limits::SNAPSHOT_CHUNK_BYTES_MAX);
    assert_eq!(large.count(), 1);
    assert!(chunks.len() < 20, "{} chunks", chunks.len());
    assert_eq!(load(&chunks).expect("read").len(), 200);
}

#[test]
fn a_capture_is_of_its_moment() {
    let mut store = small_store();
    let capture = store.capture();
    store.apply(9, write("dev/G/a", "later"), &mut Vec::new()).expect("applied");
    let loaded = load(&chunks(capture)).expect("read");
    assert_eq!(loaded.get("dev", "G", "a").map(|config| &*config.content), Some("v2"));
    assert_eq!(loaded.applied(), 5);
}

#[test]
fn a_missing_a_doubled_and_a_foreign_chunk_are_told_apart() {
    let chunks = chunks(large_store().capture());
    let error = |chunks: Vec<&Vec<u8>>| load(chunks).err();
    let missing = LoadError::OutOfOrder { expected: 1, found: 2 };
    assert_eq!(error(vec![&chunks[0], &chunks[2]]), Some(missing));
    let doubled = LoadError::OutOfOrder { expected: 1, found: 0 };
    assert_eq!(error(vec![&chunks[0], &chunks[0]]), Some(doubled));
    assert_eq!(error(chunks[..chunks.len() - 1].iter().collect()), Some(LoadError::Incomplete));
    assert_eq!(error(vec![]), Some(LoadError::Incomplete));
    let mut foreign = chunks[0].clone();
    foreign[0] = 9;
    assert_eq!(error(vec![&foreign]), Some(LoadError::Version { found: 9 }));
    let cut = chunks[0][..chunks[0].len() - 1].to_vec();
    assert_eq!(error(vec![&cut]), Some(LoadError::Malformed { chunk: 0 }));
    // The first error stays, whatever comes after it.
    let mut loader = Loader::new();
    assert!(loader.push(&cut).is_err() && loader.push(&chunks[0]).is_err());
    assert!(loader.finish().is_err());
}

/// Changes, cuts or doubles a few bytes.
fn damage(prng: &mut Prng, bytes: &mut Vec<u8>) {
    for _ in 0..=prng.below(3) {
        let at = prng.index(bytes.len());
        match prng.below(4) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, prng.next_u64().to_le_bytes()[0]),
            _ => bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << prng.below(8)),
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
}

#[test]
fn no_bytes_make_a_decoder_panic() {
    let good = chunks(small_store().capture()).remove(0);
    let commands: Vec<_> =
        commands().iter().map(|c| postcard::to_allocvec(c).expect("encodes")).collect();
    let mut prng = Prng::new(3);
    let mut refused = 0;
    for round in 0..8_000 {
        let mut bytes = good.clone();
        damage(&mut prng, &mut bytes);
        // A damaged state that is read may be a wrong one, but a whole one: it can be written.
        let outcome = catch_unwind(|| load([&bytes]).map(|store| chunks(store.capture())));
        refused += u64::from(outcome.expect("no panic").is_err());
        let mut bytes = commands[round % commands.len()].clone();
        damage(&mut prng, &mut bytes);
        if let Ok(command) = postcard::from_bytes::<Command>(&bytes) {
            let mut store = small_store();
            let _ = store.apply(10, command, &mut Vec::new());
        }
        let noise: Vec<u8> =
            (0..prng.below(64)).map(|_| prng.next_u64().to_le_bytes()[0]).collect();
        let _ = postcard::from_bytes::<Command>(&noise);
        let _ = load([&[&[1, 0], noise.as_slice()].concat()]);
    }
    assert!(refused > 400, "only {refused} damaged chunks were refused");
}
