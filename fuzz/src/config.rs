//! The configuration centre: publishes, gray versions, removes and namespaces, and its snapshots.

use std::sync::Arc;

use nacolet_config::{
    Command, ConfigType, Gray, GrayName, HistoryItem, Inherit, LabelRule, LabelSyntax, Labels,
    Loader, Operator, Publish, Remove, Store,
};
use nacolet_model::{NodeId, WallTime};

use crate::replica::Replica;
use crate::source::Source;
use crate::words;

impl Replica for Store {
    type Command = Command;

    fn empty() -> Self {
        Self::new()
    }

    fn made(&self, source: &mut Source<'_>) -> Option<Command> {
        let kind = source.choice(10);
        let at = WallTime(source.number());
        Some(match kind {
            0..=4 => publish(self, source, at)?.into(),
            5 | 6 => {
                let gray = gray(source).map(|gray| gray.name());
                let gray = gray.filter(|_| source.flag());
                let (key, operator) = (words::config_key(source)?, operator(source));
                gray.iter().try_for_each(GrayName::check).ok()?;
                operator.check().ok()?;
                Remove { key, gray, operator, at }.into()
            }
            7 | 8 => {
                let (name, desc) = (source.text(), source.text());
                Command::check_namespace(&name, &desc).ok()?;
                let (id, name, desc) = (words::namespace(source)?, name.into(), desc.into());
                match kind {
                    7 => Command::CreateNamespace { id, name, desc, at },
                    _ => Command::UpdateNamespace { id, name, desc, at },
                }
            }
            _ => {
                let id = words::namespace(source)?;
                if source.flag() { room(source) } else { Command::RemoveNamespace { id, at } }
            }
        })
    }

    fn is_valid(command: &Command) -> bool {
        command.check().is_ok()
    }

    fn apply(&mut self, index: u64, command: Command) -> String {
        let mut changes = Vec::new();
        let answer = self.apply_logged(index, command, &mut changes);
        assert!(changes.len() <= 1, "one command changes one config");
        assert!(answer.is_ok() || changes.is_empty(), "what is refused changes nothing");
        format!("{answer:?}")
    }

    fn capture(&self) -> Vec<Vec<u8>> {
        let mut capture = Self::capture(self);
        std::iter::from_fn(|| capture.next_chunk()).collect()
    }

    fn load(_old: Option<Self>, chunks: &[Vec<u8>]) -> Option<Self> {
        let mut loader = Loader::new();
        chunks.iter().try_for_each(|chunk| loader.push(chunk)).ok()?;
        loader.finish().ok()
    }

    fn invariants(&self) {
        Self::invariants(self);
    }

    fn assert_alike(&self, other: &Self) {
        assert_eq!(self.state_hash(), other.state_hash());
        assert_eq!((self.len(), self.applied()), (other.len(), other.applied()));
        assert_eq!(self.content_bytes(), other.content_bytes());
        assert_eq!(self.history_len(), other.history_len());
        assert!(self.rooms().eq(other.rooms()), "the same rooms");
        assert!(self.configs().eq(other.configs()), "the same configs");
        assert!(self.namespaces().eq(other.namespaces()), "the same namespaces");
        for (key, _) in self.configs() {
            let grays = |store: &Self| store.grays(key.namespace, key.group, key.data_id).to_vec();
            assert_eq!(grays(self), grays(other), "the same gray versions");
            // An item may know the number of an older one that is gone, and nothing shows that.
            let past = |store: &Self| {
                let page = store.history(key.namespace, key.group, key.data_id, 1, 100);
                let seen = |item: &HistoryItem| {
                    let HistoryItem { id, op, content, md5, operator, at, config_type, .. } = item;
                    let what = (*id, *op, Arc::clone(content), *md5, *at, *config_type);
                    (what, Arc::clone(operator), item.labels().cloned(), item.gray().cloned())
                };
                page.items.into_iter().map(seen).collect::<Vec<_>>()
            };
            assert_eq!(past(self), past(other), "the same past");
        }
    }
}

fn publish(store: &Store, source: &mut Source<'_>, at: WallTime) -> Option<Publish> {
    let key = words::config_key(source)?;
    let content = match source.choice(3) {
        0 => source.text(),
        1 => "content".into(),
        _ => "x".repeat(1 + usize::from(source.byte())),
    };
    let ways = source.byte();
    let stored = store.get(key.namespace.as_str(), key.group.as_str(), key.data_id.as_str());
    let stored = stored.map(|config| config.md5.to_string());
    let mut publish = Publish::new(key, content.into(), operator(source), at).ok()?;
    if ways & 1 == 1 {
        let inherit = Inherit { app_name: ways & 2 == 2, tags: ways & 4 == 4 };
        publish = publish.with_labels(labels(source), inherit).ok()?;
    }
    if ways & 8 == 8 {
        publish = publish.with_gray(gray(source)?).ok()?;
    }
    if ways & 16 == 16 {
        let stored = stored.filter(|_| source.flag());
        publish = publish.with_cas(&stored.unwrap_or_else(|| source.text()));
    }
    if ways & 32 == 32 {
        publish = publish.only_new();
    }
    Some(publish)
}

/// What a member states of its room, or takes back.
fn room(source: &mut Source<'_>) -> Command {
    let rooms = [None, Some(4 << 20), Some(16 << 20), Some(100 << 20)];
    Command::Room { member: NodeId(source.number()), bytes: source.pick(&rooms) }
}

fn operator(source: &mut Source<'_>) -> Operator {
    match source.choice(4) {
        0 => Operator { user: source.text().into(), ip: "10.0.0.1".into() },
        1 => Operator { user: "root".into(), ip: "".into() },
        _ => Operator::default(),
    }
}

fn labels(source: &mut Source<'_>) -> Labels {
    let types = [None, Some(ConfigType::Yaml), Some(ConfigType::Unset), Some(ConfigType::Json)];
    let tags = (0..source.choice(6)).map(|_| source.text().into()).collect();
    Labels {
        config_type: source.pick(&types),
        app_name: source.text().into(),
        desc: source.text().into(),
        tags,
        use_: source.text().into(),
        effect: source.text().into(),
        schema: source.text().into(),
        encrypted_data_key: source.text().into(),
    }
}

fn gray(source: &mut Source<'_>) -> Option<Gray> {
    match source.choice(5) {
        4 => Some(Gray::Labels(Box::new(LabelRule {
            name: source.text().into(),
            syntax: source.pick(&[LabelSyntax::Single, LabelSyntax::Joined]),
            expr: source.pick(&["env=a", "env=a,b&&v=1||x=y", "env", "&&"]).into(),
            priority: source.pick(&[0, -1, i32::MAX]),
        }))),
        0 => Some(Gray::Beta((0..1 + source.choice(3)).map(|_| source.text().into()).collect())),
        1 => Some(Gray::Beta(vec!["10.0.0.1".into()])),
        2 => Some(Gray::Tag(source.pick(&["t", "u", "v"]).into())),
        _ => match source.text() {
            tag if tag.is_empty() => None,
            tag => Some(Gray::Tag(GrayName::Tag(tag.into()).to_string().into())),
        },
    }
}
