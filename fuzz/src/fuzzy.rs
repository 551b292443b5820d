//! Fuzzy watches: what a pattern means, names as texts, and that a client which hears everything
//! knows in the end what there is.

use std::collections::BTreeSet;
use std::rc::Rc;

use nacolet_api::fuzzing::fuzzy::{self, Told, Watch};
use nacolet_model::limits;

use crate::cost::Bound;
use crate::source::Source;

const PARSE: Bound = Bound { per_byte: 64, fixed: 16 << 10 };

pub(crate) fn run(data: &[u8]) {
    let mut source = Source::new(data);
    match source.choice(3) {
        0 => pattern(&mut source),
        1 => names(&String::from_utf8_lossy(source.all())),
        _ => watch(&mut source),
    }
}

fn pattern(source: &mut Source<'_>) {
    let (group, name) = (source.text(), source.text());
    let pattern = match source.flag() {
        true => format!("public>>{}>>{}", source.text(), source.text()),
        false => source.text(),
    };
    let bytes = group.len() + name.len() + pattern.len();
    let meant = PARSE.hold(bytes, || fuzzy::matches(&pattern, "public", &group, &name));
    let Some(meant) = meant else { return };
    let parts: Vec<&str> = pattern.split(">>").collect();
    let [namespace, in_group, in_name] = parts.as_slice() else { panic!("three parts") };
    let is_public = matches!(namespace.trim(), "" | "null" | "public");
    assert_eq!(meant, is_public && like(in_group, &group) && like(in_name, &name), "{pattern}");
}

/// Nacos's `FuzzyGroupKeyPattern`, read from its description: stars count at the ends alone.
fn like(pattern: &str, text: &str) -> bool {
    let core = pattern.replace('*', "");
    match (pattern.starts_with('*'), pattern.ends_with('*')) {
        (true, _) if pattern == "*" => true,
        (true, true) => text.contains(&core),
        (true, false) => text.ends_with(&core),
        (false, true) => text.starts_with(&core),
        (false, false) => pattern == text,
    }
}

fn names(text: &str) {
    if let Some((key, name)) = PARSE.hold(text.len(), || fuzzy::config(text)) {
        assert_eq!(fuzzy::config(&name), Some((key, Rc::clone(&name))), "{text:?}");
    }
    if let Some((key, name)) = PARSE.hold(text.len(), || fuzzy::service(text)) {
        assert_eq!(fuzzy::service(&name), Some((key, Rc::clone(&name))), "{text:?}");
    }
}

/// What a client knows; it may miss the last step that was not acknowledged.
fn hear(known: &mut BTreeSet<Rc<str>>, told: &Told) {
    match told {
        Told::Batch(names) => known.extend(names.iter().cloned()),
        Told::Finish => {}
        Told::Change(name, true) => _ = known.insert(Rc::clone(name)),
        Told::Change(name, false) => _ = known.remove(name),
    }
}

/// Names of configs: more than two messages hold.
const NAMES: usize = 2 * limits::FUZZY_BATCH_NAMES + 20;

thread_local! {
    static ALL: [Rc<str>; NAMES] =
        std::array::from_fn(|number| format!("{number:03}+G+public").into());
}

fn watch(source: &mut Source<'_>) {
    ALL.with(|all| watch_some_of(all, source));
}

fn watch_some_of(all: &[Rc<str>; NAMES], source: &mut Source<'_>) {
    let pick = |source: &mut Source<'_>| Rc::clone(&all[usize::from(source.byte()) % all.len()]);
    let some = |source: &mut Source<'_>| -> BTreeSet<Rc<str>> {
        let (from, count) = (usize::from(source.byte()) % all.len(), usize::from(source.byte()));
        all.iter().skip(from).take(count).cloned().collect()
    };
    let (mut known, mut there) = (some(source), some(source));
    let is_new = source.flag();
    let mut watch = Watch::begin(known.clone(), &there, is_new);
    let mut told: Option<Told> = None;
    let mut notes = 0;
    while !source.is_over() {
        match source.choice(5) {
            0 | 1 => {
                let (name, is_there) = (pick(source), source.flag());
                let changed = match is_there {
                    true => there.insert(Rc::clone(&name)),
                    false => there.remove(&name),
                };
                watch.note(&name, is_there);
                notes += usize::from(changed);
            }
            2 => {
                // A step that was lost is said again, or is overtaken.
                let heard = source.flag();
                told = watch.say();
                told.iter().filter(|_| heard).for_each(|told| hear(&mut known, told));
                told = told.filter(|_| heard);
            }
            _ => {
                if told.take().is_some() {
                    watch.acknowledged();
                }
            }
        }
    }
    let mut steps = 0;
    while watch.is_owed() {
        let Some(step) = watch.say() else { panic!("owed, and nothing to say") };
        hear(&mut known, &step);
        watch.acknowledged();
        steps += 1;
        assert!(steps <= all.len() + notes + 2, "it comes to an end");
    }
    assert_eq!(known, there, "who hears everything knows what there is");
}
