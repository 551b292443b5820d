//! The scenarios of `raft/scenarios`, played by raft-rs. Its semantics are etcd raft's, and so are
//! ours: after every command each node of the story must be what it is in ours. Where it is not,
//! the story says so and why, behind the trace of the command:
//!
//! ```text
//! #~ 2 applied 0: why raft-rs has applied no more than that on node 2
//! #~ skipped: why raft-rs would do something else, and is not given this command
//! #~ parts: why the two are not comparable from here on
//! ```
//!
//! A difference that is not explained fails, and so does an explanation without a difference.
//! Nothing of the product is linked: what our engine did is read from the traces. Read `story`
//! first.
#![cfg(test)]

mod stage;
mod story;

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use stage::Stage;
use story::{Remark, Scene, State, scenes};

/// What raft-rs made of a command: the nodes, or nothing when it panicked.
type Played = Option<BTreeMap<u64, State>>;

fn play(stage: &mut Stage, scene: &Scene) -> Played {
    catch_unwind(AssertUnwindSafe(|| stage.command(scene))).ok()?;
    Some(stage.states())
}

/// The differences of a scene, as remarks without a reason: node, field and what raft-rs says.
fn differences(ours: &BTreeMap<u64, State>, theirs: &Played) -> Vec<String> {
    let Some(theirs) = theirs else { return vec!["raft-rs panics".into()] };
    let each = ours.iter().flat_map(|(node, ours)| {
        ours.differences(&theirs[node]).into_iter().map(move |what| format!("{node} {what}"))
    });
    each.collect()
}

/// Plays the story. Returns what is wrong with it.
fn check(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut stage = Stage::default();
    let story = scenes(text);
    for (at, scene) in story.iter().enumerate() {
        let mut note = |what: &str| wrong.push(format!("line {}: {what}", scene.line));
        let (mut explained, mut skipped, mut parts) = (Vec::new(), false, false);
        for Remark { what, reason } in &scene.remarks {
            if reason.is_empty() {
                note(&format!("`{what}` has no reason"));
            }
            match what.as_str() {
                "skipped" => skipped = true,
                "parts" => parts = true,
                what => explained.push(what.to_owned()),
            }
        }
        if skipped {
            // Another cast plays it up to here and on: it has to come to something else.
            let mut other = Stage::default();
            for earlier in story[..at].iter().filter(|scene| !scene.is_skipped()) {
                play(&mut other, earlier);
            }
            if differences(&scene.states, &play(&mut other, scene)).is_empty() {
                note("skipped, and yet raft-rs does the same");
            }
            continue;
        }
        let found = differences(&scene.states, &play(&mut stage, scene));
        if parts {
            if found.is_empty() {
                note("parts, and yet raft-rs is where we are");
            }
            return wrong;
        }
        for what in found.iter().filter(|what| !explained.contains(what)) {
            note(&format!("not explained: #~ {what}: ?"));
        }
        for what in explained.iter().filter(|what| !found.contains(what)) {
            note(&format!("explained, and yet no difference: {what}"));
        }
    }
    wrong
}

#[test]
fn raft_rs_tells_the_same_stories() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../raft/scenarios");
    std::panic::set_hook(Box::new(|_| {}));
    let (mut wrong, mut stories) = (Vec::new(), 0);
    for file in fs::read_dir(folder).expect("the folder of scenarios") {
        let path = file.expect("a file").path();
        let text = fs::read_to_string(&path).expect("a story");
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        wrong.extend(check(&text).into_iter().map(|what| format!("{name}, {what}")));
        stories += 1;
    }
    drop(std::panic::take_hook());
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(stories >= 10, "only {stories} stories found");
}

#[test]
fn differences_and_explanations_go_together() {
    let told = "> cluster 1\n> wake 1\n1: persist term 1 vote 1 commit 0\n1: Leader of term 1, (1)\n1: persist [1/1 blank]\n1: apply [1/1 blank]\n";
    assert_eq!(check(told), [""; 0]);
    let without = told.replace("1: apply [1/1 blank]\n", "");
    assert_eq!(check(&without), ["line 2: not explained: #~ 1 applied 1: ?"]);
    assert_eq!(check(&format!("{without}#~ 1 applied 1: a reason\n")), [""; 0]);
    assert_eq!(
        check(&format!("{without}#~ 1 applied 1:\n")),
        ["line 2: `1 applied 1` has no reason"]
    );
    let gone = "line 2: explained, and yet no difference: 1 applied 1";
    assert_eq!(check(&format!("{told}#~ 1 applied 1: a reason\n")), [gone]);
    assert_eq!(check(&format!("{without}#~ parts: a reason\n> wake 1\n")), [""; 0]);
    assert_eq!(check(&format!("{told}#~ parts: a reason\n")).len(), 1);
    let idle = "> cluster 1\n> wake 1\n#~ skipped: a reason\n";
    assert_eq!(check(idle), [""; 0]);
    assert_eq!(check(&format!("{told}#~ skipped: a reason\n")).len(), 1);
}
