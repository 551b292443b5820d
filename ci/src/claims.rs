//! What the front pages claim about the tree, held against it: the crates, the threads, the table
//! "Where is what", the length of the README and of an example. Whether the files exist that they
//! name is the business of `citations`.

use std::collections::BTreeSet;

use toml::{Table, Value};

use crate::tree::Problem;

/// The README is a front door.
const README_LINES_MAX: usize = 120;

/// Fewer answers than this and the table is no map.
const WHERE_ROWS_MIN: usize = 40;

/// Threads that have no name in our sources: the main thread, and those of libraries.
const THREADS_OF_OTHERS: [&str; 3] = ["core", "async-io", "blocking-1..n"];

/// Where threads of tests are named, which are no part of the product.
const NO_PRODUCT: [&str; 5] = ["/tests/", "tests/", "ci/", "fuzz/", "/examples/"];

/// Lines that the example is off its claim, in either direction, before the claim is wrong.
const EXAMPLE_SLACK: usize = 20;

/// Every claim that does not hold.
pub(crate) fn problems(files: &[(String, String)]) -> Vec<Problem> {
    let text = |name: &str| files.iter().find(|(path, _)| path == name).map(|(_, text)| &**text);
    let (Some(architecture), Some(readme)) = (text("ARCHITECTURE.md"), text("README.md")) else {
        return vec![Problem::new("ARCHITECTURE.md", "or README.md is gone")];
    };
    let mut problems = crates(architecture, text("Cargo.toml").unwrap_or_default());
    problems.extend(threads(architecture, files));
    problems.extend(places(architecture));
    problems.extend(example(files));
    let lines = readme.lines().count();
    if lines > README_LINES_MAX {
        let what = format!("{lines} lines, at most {README_LINES_MAX}");
        problems.push(Problem::new("README.md", what));
    }
    problems
}

/// The cells of the tables below a heading, without the rows that head and underline them.
fn rows<'a>(page: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let mut lines = page.lines().skip_while(|line| *line != heading);
    lines.next();
    let section = lines.take_while(|line| !line.starts_with("## "));
    let cells = |line: &'a str| -> Option<Vec<&'a str>> {
        let row = line.strip_prefix('|')?.trim_end().trim_end_matches('|');
        Some(row.split('|').map(str::trim).collect())
    };
    let rows = section.filter_map(cells).filter(|row| !row[0].starts_with("---"));
    rows.skip(1).collect()
}

/// What stands between the first two backticks.
fn quoted(cell: &str) -> Option<&str> {
    cell.split('`').nth(1)
}

/// The table of crates has every member of the workspace, and nothing else.
fn crates(architecture: &str, manifest: &str) -> Vec<Problem> {
    let table = rows(architecture, "## The crates");
    let named: BTreeSet<&str> = table.iter().filter_map(|row| quoted(row[0])).collect();
    let manifest: Table = manifest.parse().unwrap_or_default();
    let members = manifest.get("workspace").and_then(|workspace| workspace.get("members"));
    let members = members.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let members: Vec<&str> = members.iter().filter_map(Value::as_str).collect();
    let is_of = |member: &str, row: &str| {
        member == row || member.strip_prefix(row).is_some_and(|rest| rest.starts_with('/'))
    };
    let mut problems = Vec::new();
    for member in &members {
        if !named.iter().any(|row| is_of(member, row)) {
            let what = format!("the table of crates lacks `{member}`");
            problems.push(Problem::new("ARCHITECTURE.md", what));
        }
    }
    for row in named {
        if !members.iter().any(|member| is_of(member, row)) {
            let what = format!("the table of crates has `{row}`, which is no member");
            problems.push(Problem::new("ARCHITECTURE.md", what));
        }
    }
    problems
}

/// The table of threads has every thread that the product names, and nothing else.
fn threads(architecture: &str, files: &[(String, String)]) -> Vec<Problem> {
    let table = rows(architecture, "## Threads");
    let told: BTreeSet<&str> = table.iter().filter_map(|row| quoted(row[0])).collect();
    let is_product = |path: &str| {
        path.ends_with(".rs")
            && !NO_PRODUCT.iter().any(|part| match part.strip_prefix('/') {
                Some(_) => path.contains(part),
                None => path.starts_with(part),
            })
    };
    let mut found = BTreeSet::new();
    for (_, text) in files.iter().filter(|(path, _)| is_product(path)) {
        found.extend(text.split(".name(\"").skip(1).filter_map(|rest| {
            let (name, rest) = rest.split_once('"')?;
            rest.starts_with(".to_owned()").then(|| name.to_owned())
        }));
        // One of several: its number is put behind a prefix.
        let is_numbered = text.contains("Builder::new().name(name)");
        let numbered = text.split("let name = format!(\"").skip(1).filter(|_| is_numbered);
        found.extend(numbered.filter_map(|rest| Some(format!("{}0..n", rest.split_once('{')?.0))));
    }
    let mut problems = Vec::new();
    for name in found.iter().filter(|name| !told.contains(name.as_str())) {
        problems.push(Problem::new("ARCHITECTURE.md", format!("lacks the thread `{name}`")));
    }
    for name in told {
        if !found.contains(name) && !THREADS_OF_OTHERS.contains(&name) {
            let what = format!("has the thread `{name}`, which nobody starts");
            problems.push(Problem::new("ARCHITECTURE.md", what));
        }
    }
    problems
}

/// Every row of "Where is what" names a file or a folder.
fn places(architecture: &str) -> Vec<Problem> {
    let table = rows(architecture, "## Where is what");
    let mut problems = Vec::new();
    if table.len() < WHERE_ROWS_MIN {
        let what = format!("tells where {} things are, at least {WHERE_ROWS_MIN}", table.len());
        problems.push(Problem::new("ARCHITECTURE.md", what));
    }
    for row in table {
        let place = row.get(1).copied().and_then(quoted).unwrap_or_default();
        if !place.contains('/') && !place.contains('.') {
            let what = format!("does not tell where this is: {}", row[0]);
            problems.push(Problem::new("ARCHITECTURE.md", what));
        }
    }
    problems
}

/// Who says that the key-value store has N lines is about right.
fn example(files: &[(String, String)]) -> Vec<Problem> {
    let is_part =
        |path: &str| path.starts_with("raft/examples/kv/src/") && !path.ends_with("_tests.rs");
    let parts = files.iter().filter(|(path, _)| is_part(path));
    let lines: usize = parts.map(|(_, text)| text.lines().count()).sum();
    let mut problems = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| path.ends_with(".md")) {
        for (index, line) in text.lines().enumerate() {
            let claim = line.split("key-value store").nth(1).and_then(|rest| {
                rest.split_once(" lines")?.0.rsplit(' ').next()?.parse::<usize>().ok()
            });
            if let Some(claim) = claim.filter(|claim| claim.abs_diff(lines) > EXAMPLE_SLACK) {
                let what = format!("the key-value store has {lines} lines, not {claim}");
                problems.push(Problem::new(format!("{path}:{}", index + 1), what));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(problems: Vec<Problem>) -> Vec<String> {
        problems.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn rows_are_those_below_the_heading() {
        let page = "## A\n| x | y |\n|---|---|\n| `a` b | c |\n\n## B\n| x |\n|---|\n| `d` |\n";
        assert_eq!(rows(page, "## A"), [["`a` b", "c"]]);
        assert_eq!(rows(page, "## B"), [["`d`"]]);
        assert_eq!(rows(page, "## C"), [[""; 0]; 0]);
        assert_eq!(quoted("`a` b"), Some("a"));
    }

    #[test]
    fn crates_are_those_of_the_workspace() {
        let page =
            "## The crates\n| A | B |\n|---|---|\n| `a` | |\n| `b/examples` | |\n| `c` | |\n";
        let manifest = "[workspace]\nmembers = [\"a\", \"b\", \"b/examples/kv\"]\n";
        let expected = [
            "ARCHITECTURE.md: the table of crates lacks `b`",
            "ARCHITECTURE.md: the table of crates has `c`, which is no member",
        ];
        assert_eq!(told(crates(page, manifest)), expected);
    }

    #[test]
    fn threads_are_those_that_are_started() {
        let page = "## Threads\n| T | R |\n|---|---|\n| `core` | |\n| `log` | |\n| `gone` | |\n";
        let files = [
            ("a/src/x.rs", "t.name(\"log\".to_owned()); u.name(\"new\".to_owned()); f.name(\"x\")"),
            ("a/src/y.rs", "let name = format!(\"api-{number}\"); Builder::new().name(name)"),
            ("a/src/z.rs", "let name = format!(\"s{number}\");"),
            ("a/tests/x.rs", "t.name(\"mine\".to_owned())"),
        ];
        let files = files.map(|(path, text)| (path.to_owned(), text.to_owned()));
        let expected = [
            "ARCHITECTURE.md: lacks the thread `api-0..n`",
            "ARCHITECTURE.md: lacks the thread `new`",
            "ARCHITECTURE.md: has the thread `gone`, which nobody starts",
        ];
        assert_eq!(told(threads(page, &files)), expected);
    }

    #[test]
    fn where_is_what_tells_where() {
        let row = "| a | `b/c.rs` |\n";
        let page = |rest: &str| format!("## Where is what\n| W | F |\n|---|---|\n{rest}");
        assert_eq!(told(places(&page(&row.repeat(WHERE_ROWS_MIN)))), [""; 0]);
        let expected = [
            format!("ARCHITECTURE.md: tells where 2 things are, at least {WHERE_ROWS_MIN}"),
            "ARCHITECTURE.md: does not tell where this is: d".to_owned(),
        ];
        assert_eq!(told(places(&page(&format!("{row}| d | `e` |\n")))), expected);
    }

    #[test]
    fn the_example_is_as_long_as_they_say() {
        let files = [
            ("raft/examples/kv/src/a.rs", "x\n".repeat(50)),
            ("raft/examples/kv/src/a_tests.rs", "x\n".repeat(90)),
            (
                "A.md",
                "a key-value store in 60 lines\na key-value store for all in 80 lines\n".into(),
            ),
        ];
        let files = files.map(|(path, text)| (path.to_owned(), text));
        let expected = ["A.md:2: the key-value store has 50 lines, not 80"];
        assert_eq!(told(example(&files)), expected);
    }
}
