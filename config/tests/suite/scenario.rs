//! Stories in plain text: each file under `scenarios/` is a list of calls and what they answered.
//! `UPDATE=1 cargo test -p nacolet-config` rewrites the answers; the difference is reviewed.
//!
//! A line that is indented is an answer, a line that begins with `#` is for the reader.

use std::fmt::Write as _;
use std::{fs, path::Path};

use nacolet_config::{
    Caller, Command, ConfigType, Gray, GrayName, HistoryItem, Inherit, KeyRef, Labels, ListenInput,
    ListenKey, ListenOutput, Listeners, Md5, Operator, Publish, Remove, Response, Search,
    SearchMode, Store,
};
use nacolet_model::{Instant, Namespace, RequestId, WallTime};

use crate::{chunks, key, load};

#[derive(Default)]
struct World {
    store: Store,
    listeners: Listeners,
    now: Instant,
    last: Option<(u64, Command)>,
}

/// The words of one line: plain ones by position, `name=value` ones by name.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn at(&self, position: usize) -> &'a str {
        self.0.get(position).unwrap_or_else(|| panic!("no word {position} in {:?}", self.0))
    }

    fn named(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    fn list(&self, name: &str) -> Vec<&'a str> {
        self.named(name).map(|value| value.split(',').collect()).unwrap_or_default()
    }
}

impl World {
    fn run(&mut self, line: &str) -> String {
        let words = Words(line.split_whitespace().collect());
        match words.at(0) {
            "publish" => self.publish(&words),
            "remove" => self.remove(&words),
            "namespace" => self.namespace(&words),
            "replay" => {
                let (index, command) = self.last.clone().expect("a command before");
                self.apply(index, command)
            }
            "get" => self.get(&words),
            "show" => self.show(&words),
            "history" => self.history(&words),
            "previous" => {
                let id = words.at(1).parse().expect("an id");
                self.store.history_previous(id).map_or("none\n".into(), history_line)
            }
            "search" => self.search(&words),
            "namespaces" => self.namespaces(),
            "listen" => self.listen(&words),
            "cancel" => self.listeners_hear(ListenInput::Cancel(request(words.at(1)))),
            "time" => {
                self.now = Instant::from_millis(words.at(1).parse().expect("milliseconds"));
                self.listeners_hear(ListenInput::Wake)
            }
            "deadline" => format!("{:?}\n", self.listeners.next_deadline().map(Instant::as_millis)),
            "watchers" => self.watchers(&words),
            "reload" => self.reload(),
            other => panic!("unknown call {other}"),
        }
    }

    fn apply(&mut self, index: u64, command: Command) -> String {
        let mut changes = Vec::new();
        let mut text = match self.store.apply(index, command.clone(), &mut changes) {
            Ok(Response::Published { created, .. }) if created => "created".into(),
            Ok(Response::Published { .. }) => "updated".into(),
            Ok(Response::Removed { existed }) => format!("removed existed={existed}"),
            Ok(Response::Room { changed }) => format!("room changed={changed}"),
            Ok(Response::Namespace { changed }) => format!("namespace changed={changed}"),
            Err(error) => format!("{error:?}"),
        };
        for change in &changes {
            let KeyRef { namespace, group, data_id } = (&change.key).into();
            write!(text, ", change {namespace}/{group}/{data_id}").expect("text");
        }
        text.push('\n');
        self.last = Some((index, command));
        self.store.invariants();
        text + &self.listeners_hear(ListenInput::Changed(changes))
    }

    fn publish(&mut self, words: &Words<'_>) -> String {
        let boxed = |name| words.named(name).unwrap_or_default().into();
        let labels = Labels {
            config_type: words.named("type").map(ConfigType::from_text),
            app_name: boxed("app"),
            desc: boxed("desc"),
            tags: words
                .list("tags")
                .into_iter()
                .filter(|t| !t.is_empty())
                .map(Into::into)
                .collect(),
            use_: boxed("use"),
            effect: boxed("effect"),
            schema: boxed("schema"),
            encrypted_data_key: boxed("datakey"),
        };
        // A line cannot show white space.
        let content = if words.at(2) == "BLANK" { " \n" } else { words.at(2) };
        let inherit =
            Inherit { app_name: words.named("app").is_none(), tags: words.named("tags").is_none() };
        let made = Publish::new(key(words.at(1)), content.into(), operator(words), at(words))
            .and_then(|publish| publish.with_labels(labels, inherit));
        let made = made.and_then(|publish| match (words.named("beta"), words.named("tag")) {
            (Some(_), _) => {
                let ips = words.list("beta").into_iter().map(Into::into).collect();
                publish.with_gray(Gray::Beta(ips))
            }
            (None, Some(tag)) => publish.with_gray(Gray::Tag(tag.into())),
            (None, None) => Ok(publish),
        });
        let publish = match made {
            Ok(publish) => publish,
            Err(error) => return format!("{error}\n"),
        };
        let publish = match words.named("cas") {
            // The md5 of a content, or a text as it is.
            Some(cas) => match cas.strip_prefix("md5:") {
                Some(content) => publish.with_cas(&Md5::of(content).to_string()),
                None => publish.with_cas(cas),
            },
            None => publish,
        };
        let publish = if words.0.contains(&"only-new") { publish.only_new() } else { publish };
        self.apply(self.store.applied() + 1, publish.into())
    }

    fn remove(&mut self, words: &Words<'_>) -> String {
        let gray = match words.named("tag") {
            Some(tag) => Some(GrayName::Tag(tag.into())),
            None => words.0.contains(&"beta").then_some(GrayName::Beta),
        };
        let (operator, at) = (operator(words), at(words));
        let remove = Remove { key: key(words.at(1)), gray, operator, at };
        self.apply(self.store.applied() + 1, remove.into())
    }

    fn namespace(&mut self, words: &Words<'_>) -> String {
        let id = Namespace::parse(words.at(2)).expect("a namespace");
        let name = words.named("name").unwrap_or_default().into();
        let desc = words.named("desc").unwrap_or_default().into();
        let at = at(words);
        let command = match words.at(1) {
            "create" => Command::CreateNamespace { id, name, desc, at },
            "update" => Command::UpdateNamespace { id, name, desc, at },
            "remove" => Command::RemoveNamespace { id, at },
            other => panic!("unknown call {other}"),
        };
        self.apply(self.store.applied() + 1, command)
    }

    fn get(&self, words: &Words<'_>) -> String {
        let key = key(words.at(1));
        let KeyRef { namespace, group, data_id } = (&key).into();
        let (ip, tag) = (words.named("ip").unwrap_or_default(), words.named("tag"));
        let caller = Caller { ip, tag, labels: &[] };
        match self.store.view(namespace, group, data_id, &caller) {
            None => "none\n".into(),
            Some(view) => {
                let kind = view.config_type.map_or("-", ConfigType::as_str);
                let gray = view.gray.map_or(String::new(), |gray| format!(" {gray:?}"));
                format!("{} type={kind} modified={}{gray}\n", view.content, view.modified.0)
            }
        }
    }

    fn show(&self, words: &Words<'_>) -> String {
        let key = key(words.at(1));
        let KeyRef { namespace, group, data_id } = (&key).into();
        let mut text = String::new();
        if let Some(config) = self.store.get(namespace, group, data_id) {
            let labels = config.labels();
            writeln!(text, "id={} revision={} {}", config.id, config.revision, config.content)
                .and_then(|()| {
                    let (created, modified) = (config.created.0, config.modified.0);
                    let Operator { user, ip } = &*config.operator;
                    writeln!(text, "created={created} modified={modified} by {user}@{ip}")
                })
                .and_then(|()| writeln!(text, "{labels:?}"))
                .expect("text");
        }
        for gray in self.store.grays(namespace, group, data_id) {
            let (name, ips) = (gray.gray.name(), gray.beta_ips());
            writeln!(text, "gray {name} {ips:?} id={} {}", gray.id, gray.content).expect("text");
        }
        if text.is_empty() { "none\n".into() } else { text }
    }

    fn history(&self, words: &Words<'_>) -> String {
        let key = key(words.at(1));
        let KeyRef { namespace, group, data_id } = (&key).into();
        let number = |name, default| words.named(name).map_or(default, |n| n.parse().expect("n"));
        let page =
            self.store.history(namespace, group, data_id, number("page", 1), number("size", 100));
        let lines: String = page.items.into_iter().map(history_line).collect();
        format!("{lines}{} in all\n", page.total)
    }

    fn search(&self, words: &Words<'_>) -> String {
        let number = |name, default| words.named(name).map_or(default, |n| n.parse().expect("n"));
        let types: Vec<_> = words.list("types").into_iter().filter_map(ConfigType::parse).collect();
        let page = self.store.search(&Search {
            namespace: words.named("namespace").unwrap_or("public"),
            data_id: words.named("dataId").unwrap_or_default(),
            group: words.named("group").unwrap_or_default(),
            mode: match words.at(1) {
                "accurate" => SearchMode::Accurate,
                "blur" => SearchMode::Blur,
                other => panic!("unknown mode {other}"),
            },
            app_name: words.named("app").unwrap_or_default(),
            tags: &words.list("tags"),
            types: &types,
            content_contains: words.named("content").unwrap_or_default(),
            page_no: number("page", 1),
            page_size: number("size", 10),
        });
        let mut text = String::new();
        for (KeyRef { group, data_id, .. }, config) in page.items {
            writeln!(text, "{group}/{data_id} {}", config.content).expect("text");
        }
        format!("{text}page {} of {}, {} in all\n", page.page_no, page.pages, page.total)
    }

    fn namespaces(&self) -> String {
        let mut text = String::new();
        for namespace in self.store.namespaces() {
            let custom = if namespace.custom { "custom" } else { "default" };
            let (id, name, desc) = (namespace.id, namespace.name, namespace.desc);
            writeln!(text, "{id} {name:?} {desc:?} {} {custom}", namespace.config_count)
                .expect("text");
        }
        text
    }

    fn listen(&mut self, words: &Words<'_>) -> String {
        // Watched configs are `key=content` words, with `-` for a client that holds nothing.
        let watched = words.0.iter().filter(|word| word.contains('/'));
        let keys = watched.map(|word| {
            let (name, content) = word.split_once('=').expect("key=content");
            let md5 = if content == "-" { None } else { Some(Md5::of(content)) };
            ListenKey { key: key(name), md5 }
        });
        let until = words.named("until").map_or(30_000, |ms| ms.parse().expect("milliseconds"));
        self.listeners_hear(ListenInput::Listen {
            request: request(words.at(1)),
            keys: keys.collect(),
            ip: words.named("ip").unwrap_or("10.0.0.9").into(),
            tag: words.named("tag").map(Into::into),
            deadline: Instant::from_millis(until),
        })
    }

    fn listeners_hear(&mut self, input: ListenInput) -> String {
        let mut out = Vec::new();
        self.listeners.step(self.now, &self.store, input, &mut out);
        self.listeners.invariants();
        let mut text = String::new();
        for output in out {
            match output {
                ListenOutput::Answer { request, changed } => {
                    writeln!(text, "answer {} {changed:?}", request.0).expect("text");
                }
                ListenOutput::Refused { request } => {
                    writeln!(text, "refuse {}", request.0).expect("text");
                }
            }
        }
        text
    }

    fn watchers(&self, words: &Words<'_>) -> String {
        let key = key(words.at(1));
        let KeyRef { namespace, group, data_id } = (&key).into();
        let mut text = String::new();
        for (ip, md5) in self.listeners.watchers(namespace, group, data_id) {
            writeln!(text, "{ip} {md5:?}").expect("text");
        }
        text
    }

    fn reload(&mut self) -> String {
        let written = chunks(self.store.capture());
        self.store = load(&written).expect("what was written is read");
        self.store.invariants();
        assert_eq!(written, chunks(self.store.capture()), "a second round changes nothing");
        let heard = self.listeners_hear(ListenInput::Reloaded);
        format!("{} chunk(s)\n{heard}", written.len())
    }
}

fn history_line(item: &HistoryItem) -> String {
    let gray = item.gray().map_or(String::new(), |gray| format!(" {gray}"));
    let (id, op, content) = (item.id, item.op.as_str(), &item.content);
    let Operator { user, ip } = &*item.operator;
    format!("{id} {op} {content} at={} by {user}@{ip}{gray}\n", item.at.0)
}

fn operator(words: &Words<'_>) -> Operator {
    let word = |name, default| words.named(name).unwrap_or(default).into();
    Operator { user: word("user", "nacos"), ip: word("from", "10.0.0.1") }
}

fn at(words: &Words<'_>) -> WallTime {
    WallTime(words.named("at").map_or(0, |at| at.parse().expect("milliseconds")))
}

fn request(word: &str) -> RequestId {
    RequestId(word.parse().expect("a request id"))
}

/// What the calls of `story` answer, in the form of the file itself.
fn told(story: &str) -> String {
    let mut world = World::default();
    let mut text = String::new();
    for line in story.lines().filter(|line| !line.starts_with("  ")) {
        writeln!(text, "{line}").expect("text");
        if !line.is_empty() && !line.starts_with('#') {
            for answer in world.run(line).lines() {
                writeln!(text, "  {answer}").expect("text");
            }
        }
    }
    text
}

#[test]
fn stories_end_as_they_are_told() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        let story = fs::read_to_string(&path).expect("a text");
        let told = told(&story);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &told).expect("the file can be written");
        }
        let wrong = story.lines().zip(told.lines()).find(|(told, wanted)| told != wanted);
        let same = story == told || std::env::var_os("UPDATE").is_some();
        assert!(same, "{}: {wrong:?}", path.display());
        count += 1;
    }
    assert!(count >= 8, "only {count} stories");
}
