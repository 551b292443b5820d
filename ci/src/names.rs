//! A type's name says what the type is without its path: within one crate it serves once. Pure
//! cores may share words with each other (`config::Command`, `lock::Command`), because other
//! crates name them with the crate.

use std::collections::BTreeMap;

use crate::tree::Problem;

/// Crates of tests, and files that only tests and fuzzers compile.
const TEST_CRATES: [&str; 2] = ["tests", "fuzz"];
const TESTS: [&str; 5] = ["/tests/", "/testing/", "tests.rs", "fuzzing.rs", "testing.rs"];

/// The types of all crates that share a name with another one of the same crate. Tests stand last
/// in a file.
pub(crate) fn problems(files: &[(String, String)]) -> Vec<Problem> {
    let mut first: BTreeMap<(&str, &str), String> = BTreeMap::new();
    let mut problems = Vec::new();
    for (path, text) in files {
        let Some((of, inside)) = path.split_once("/src/") else { continue };
        let is_test = of.contains('/')
            || TEST_CRATES.contains(&of)
            || TESTS.iter().any(|test| path.contains(test));
        if is_test || !inside.ends_with(".rs") {
            continue;
        }
        let program = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for (index, line) in program.lines().enumerate() {
            let Some(name) = declared(line) else { continue };
            let place = format!("{path}:{}", index + 1);
            if let Some(other) = first.get(&(of, name)) {
                problems
                    .push(Problem::new(place, format!("`{name}` is a type of {other} already")));
            } else {
                first.insert((of, name), place);
            }
        }
    }
    problems
}

/// The type that a line of a module declares.
fn declared(line: &str) -> Option<&str> {
    let line = match line.strip_prefix("pub") {
        Some(rest) => rest.split_once(' ')?.1,
        None => line,
    };
    let rest =
        ["struct ", "enum ", "trait ", "type "].iter().find_map(|word| line.strip_prefix(word))?;
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_serves_once_in_a_crate() {
        let files = [
            ("api/src/a.rs", "struct Order;\npub(crate) enum Kind {}\n    type Item = u8;\n"),
            ("api/src/b.rs", "pub struct Order<T>(T);\n#[cfg(test)]\nmod tests {}\nstruct Kind;\n"),
            ("api/src/b/tests.rs", "struct Order;\n"),
            ("api/tests/c.rs", "struct Order;\n"),
            ("node/src/a.rs", "type Order = u8;\n"),
        ];
        let files = files.map(|(path, text)| (path.to_owned(), text.to_owned()));
        let found: Vec<_> = problems(&files).iter().map(Problem::to_string).collect();
        assert_eq!(found, ["api/src/b.rs:1: `Order` is a type of api/src/a.rs:1 already"]);
    }
}
