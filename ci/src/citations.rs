//! Whatever a comment or a page sends its reader to is there: files and folders, headings and
//! numbered rows of pages, anchors of links, verbs and options of `cargo ci`, packages, limits.
//!
//! A book outside the tree is cited by its name (Raft paper §5.2, RFC 9113 §6), once in the head of
//! a file that cites it often; a page of `docs/` by its path and a heading, as in docs/glossary.md,
//! "The house". A short name for such a page holds in a file whose comments name the page once.

use std::collections::{BTreeMap, BTreeSet};

use crate::pages::Page;
use crate::prose::{Kind, Paragraph, paragraphs, tokens};
use crate::tree::Problem;

/// What is a file when it stands at the end of a word with a `/` in it, or between backticks.
const EXTENSIONS: [&str; 12] =
    ["rs", "md", "py", "js", "java", "toml", "txt", "html", "css", "sh", "go", "lock"];

/// Files of users, of builds and of others, which are not in the tree.
const ELSEWHERE: [&str; 4] = ["target/", "nacolet-data/", "DATA_DIR/", "damaged/"];

/// Short names of pages, and the page that a file has to name once where it uses them.
const SHORT_NAMES: [(&str, &str); 2] =
    [("reliability", "docs/reliability.md"), ("trap", "docs/raft-traps.md")];

/// Books that have sections and are not in the tree.
const BOOKS: [&str; 3] = ["Raft paper", "dissertation", "RFC "];

/// Where a citation has to name a heading, not only the page.
const PAGES: &str = "docs/";

/// The tree as citations see it.
#[derive(Debug, Default)]
pub(crate) struct Library {
    files: BTreeSet<String>,
    folders: BTreeSet<String>,
    pages: BTreeMap<String, Page>,
    packages: BTreeSet<String>,
    /// Constants of programs whose names end like those of limits.
    limits: BTreeSet<String>,
    /// The options of each verb of `cargo ci`.
    verbs: BTreeMap<String, BTreeSet<String>>,
}

impl Library {
    /// What can be cited in a tree of these files, whose `cargo ci` is used as `usage` says.
    pub(crate) fn new(files: &[(String, String)], usage: &str) -> Self {
        let mut library = Self { verbs: verbs(usage), ..Self::default() };
        for (path, text) in files {
            for (slash, _) in path.match_indices('/') {
                library.folders.insert(path[..slash].to_owned());
            }
            if path.ends_with(".md") {
                library.pages.insert(path.clone(), Page::of(text));
            }
            if path.ends_with("Cargo.toml") {
                let name = text.lines().find_map(|line| line.strip_prefix("name = \""));
                library.packages.extend(name.map(|name| name.trim_end_matches('"').to_owned()));
            }
            if path.ends_with(".rs") {
                let words = text.lines().filter_map(|line| line.split("const ").nth(1));
                let names = words.filter_map(|words| words.split(':').next());
                library.limits.extend(names.filter(|name| is_limit(name)).map(str::to_owned));
            }
            library.files.insert(path.clone());
        }
        library
    }

    /// What the prose of one file cites that does not exist.
    pub(crate) fn problems(&self, path: &str, text: &str) -> Vec<Problem> {
        let paragraphs = paragraphs(path, text);
        let mut found = Vec::new();
        for paragraph in &paragraphs {
            let reader = Reading { library: self, path, paragraph, whole: &paragraphs };
            reader.read(&mut found);
        }
        found.dedup();
        found
    }

    /// The file or folder that `cited` means in the prose of `path`.
    fn find(&self, path: &str, cited: &str, crate_of_row: Option<&str>) -> Option<String> {
        let cited = cited.strip_suffix('/').unwrap_or(cited);
        let exists = |path: &String| self.files.contains(path) || self.folders.contains(path);
        let mut bases = vec![String::new()];
        let bases_of = |folder: &str| [format!("{folder}/"), format!("{folder}/src/")];
        for (slash, _) in path.match_indices('/') {
            bases.extend(bases_of(&path[..slash]));
        }
        bases.extend(crate_of_row.into_iter().flat_map(bases_of));
        if let Some(found) = bases.iter().map(|base| format!("{base}{cited}")).find(exists) {
            return Some(found);
        }
        // Inside a crate a file is known by the end of its path; pages speak of all of them, but
        // for rows that begin with one.
        let home = match crate_of_row.filter(|folder| self.folders.contains(*folder)) {
            Some(folder) => format!("{folder}/"),
            None if path.ends_with(".md") => String::new(),
            None => path.find('/').map_or(String::new(), |slash| path[..=slash].to_owned()),
        };
        let is_meant = |other: &&String| {
            other.starts_with(&home)
                && other.strip_suffix(cited).is_some_and(|before| before.ends_with('/'))
        };
        let mut meant = self.files.iter().chain(&self.folders).filter(is_meant);
        meant.next().cloned()
    }
}

/// The verbs that `usage` has a line for, each with the options named there and in what follows.
fn verbs(usage: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut verbs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut verb = "";
    for line in usage.lines() {
        let words = line.trim_start();
        if line.len() - words.len() == 2 {
            verb = words.split(' ').next().unwrap_or_default();
            verbs.insert(verb.to_owned(), BTreeSet::new());
        }
        if let Some(options) = verbs.get_mut(verb) {
            let options_here = tokens(words).filter(|(_, word)| word.starts_with("--"));
            options.extend(options_here.map(|(_, word)| word.to_owned()));
        }
    }
    verbs
}

/// One paragraph being checked.
struct Reading<'a> {
    library: &'a Library,
    path: &'a str,
    paragraph: &'a Paragraph,
    whole: &'a [Paragraph],
}

impl Reading<'_> {
    fn read(&self, found: &mut Vec<Problem>) {
        self.commands(found);
        if self.paragraph.kind == Kind::Code {
            return;
        }
        self.links(found);
        self.paths(found);
        self.limits(found);
        self.sections(found);
        self.short_names(found);
    }

    fn text(&self) -> &str {
        &self.paragraph.text
    }

    fn is_page(&self) -> bool {
        self.path.ends_with(".md")
    }

    fn problem(&self, offset: usize, what: String) -> Problem {
        Problem::new(format!("{}:{}", self.path, self.paragraph.line(offset)), what)
    }

    /// Paths, and what is cited of the pages among them.
    fn paths(&self, found: &mut Vec<Problem>) {
        let crate_of_row = self.text().strip_prefix("| `").and_then(|row| row.split('`').next());
        for (offset, token) in tokens(self.text()) {
            if !is_path(token, self.paragraph.is_quoted(offset)) {
                continue;
            }
            let Some(page) = self.library.find(self.path, token, crate_of_row) else {
                found.push(self.problem(offset, format!("`{token}` is cited and does not exist")));
                continue;
            };
            if let Some(places) = self.library.pages.get(&page) {
                self.places(offset, token, places, found);
            }
        }
    }

    /// What follows the path of a page: `, "Heading" and "Another"`, or numbers of rows.
    fn places(&self, offset: usize, token: &str, page: &Page, found: &mut Vec<Problem>) {
        let after = &self.text()[offset + token.len()..];
        let mut rest = after.trim_start_matches('`');
        let mut named = 0;
        for lead in [", ", " and ", ", ", " and "] {
            let Some((heading, next)) =
                rest.strip_prefix(lead).and_then(|rest| rest.strip_prefix('"')?.split_once('"'))
            else {
                continue;
            };
            named += 1;
            rest = next;
            if !page.headings.contains(heading) {
                let what = format!("`{token}` has no heading \"{heading}\"");
                found.push(self.problem(offset, what));
            }
        }
        let is_row = rest.starts_with(", trap");
        if named == 0 && !is_row && !self.is_page() && token.starts_with(PAGES) {
            let what = format!("`{token}` is cited without a heading: `{token}, \"Heading\"`");
            found.push(self.problem(offset, what));
        }
    }

    /// Links of Markdown to files and headings of the tree.
    fn links(&self, found: &mut Vec<Problem>) {
        if !self.is_page() {
            return;
        }
        for (offset, _) in self.text().match_indices("](") {
            let target = self.text()[offset + 2..].split([')', ' ']).next().unwrap_or_default();
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) =
                target.split_once('#').map_or((target, None), |(f, a)| (f, Some(a)));
            let linked =
                if file.is_empty() { self.path.to_owned() } else { beside(self.path, file) };
            let page = self.library.pages.get(&linked);
            let is_there = self.library.files.contains(&linked)
                || self.library.folders.contains(linked.trim_end_matches('/'));
            if !is_there {
                let what = format!("the link to `{target}` leads to no file");
                found.push(self.problem(offset, what));
            } else if let (Some(page), Some(anchor)) = (page, anchor)
                && !page.anchors.contains(anchor)
            {
                let what = format!("the link to `{target}` leads to no heading");
                found.push(self.problem(offset, what));
            }
        }
    }

    /// Names of limits, which are between backticks.
    fn limits(&self, found: &mut Vec<Problem>) {
        for (offset, token) in tokens(self.text()) {
            let is_name = self.paragraph.is_quoted(offset) && is_limit(token);
            if is_name && !self.library.limits.contains(token) {
                found.push(self.problem(offset, format!("there is no limit `{token}`")));
            }
        }
    }

    /// Sections of books: which book must be said, there or in the head of the file.
    fn sections(&self, found: &mut Vec<Problem>) {
        let Some(offset) = self.text().find('§') else { return };
        let is_named = |paragraph: &Paragraph| BOOKS.iter().any(|b| paragraph.text.contains(b));
        let mut head = self.whole.iter().filter(|paragraph| paragraph.is_head && !self.is_page());
        if is_named(self.paragraph) || head.any(is_named) {
            return;
        }
        let section: String = self.text()[offset..].chars().take_while(|c| *c != ' ').collect();
        found.push(self.problem(offset, format!("`{section}`: of which book?")));
    }

    /// Short names of pages, and the rows that are cited by number.
    fn short_names(&self, found: &mut Vec<Problem>) {
        for (short, page) in SHORT_NAMES {
            if page == self.path {
                continue;
            }
            for (offset, numbers) in uses(self.text(), short) {
                if !self.whole.iter().any(|paragraph| paragraph.text.contains(page)) {
                    let what =
                        format!("`{short}` stands for a page that nothing here names: {page}");
                    found.push(self.problem(offset, what));
                    continue;
                }
                let rows = self.library.pages.get(page).map(|page| &page.rows);
                for number in numbers {
                    if !rows.is_some_and(|rows| rows.contains(&number)) {
                        let what = format!("{page} has no {short} {number}");
                        found.push(self.problem(offset, what));
                    }
                }
            }
        }
    }

    /// `cargo ci VERB --option`, and the packages that cargo is asked for.
    fn commands(&self, found: &mut Vec<Problem>) {
        let text = self.text();
        for (offset, start) in text.match_indices("cargo ci ") {
            let command = text[offset + start.len()..].split('`').next().unwrap_or_default();
            // A command in the middle of a sentence ends where nobody can tell.
            let is_alone = self.paragraph.is_quoted(offset) || self.paragraph.kind == Kind::Code;
            let mut words = command.split([' ', ',']).map(|word| word.trim_end_matches(['.', ')']));
            let verb = words.next().unwrap_or_default();
            if !verb.starts_with(|c: char| c.is_ascii_lowercase()) || !is_alone {
                continue;
            }
            let Some(options) = self.library.verbs.get(verb) else {
                found.push(self.problem(offset, format!("`cargo ci {verb}` is no verb")));
                continue;
            };
            let words = words.take_while(|word| !word.starts_with('#'));
            for option in words.filter(|word| word.starts_with("--") && !options.contains(*word)) {
                found.push(self.problem(offset, format!("`cargo ci {verb}` takes no {option}")));
            }
        }
        for flag in [" -p ", " --package "] {
            for (offset, _) in text.match_indices(flag) {
                let name = tokens(&text[offset + flag.len()..]).next().map_or("", |(_, name)| name);
                let is_ours = text[..offset].contains("cargo ") && name.starts_with("nacolet");
                if is_ours && !self.library.packages.contains(name) {
                    found.push(self.problem(offset, format!("there is no package `{name}`")));
                }
            }
        }
    }
}

/// Whether this is the name of a limit: `BODY_BYTES_MAX`.
fn is_limit(token: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    (token.ends_with("_MAX") || token.ends_with("_MIN")) && token.bytes().all(is_plain)
}

/// Whether a word is meant as a path of the tree.
fn is_path(token: &str, is_quoted: bool) -> bool {
    let name = token.trim_end_matches('/').rsplit('/').next().unwrap_or(token);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    let is_placeholder = |part: &str| part.bytes().all(|byte| byte.is_ascii_uppercase());
    let mut folders = token.split('/').take(token.matches('/').count());
    if !token.chars().all(is_plain)
        || token.starts_with('/')
        || token.starts_with("..")
        || token.starts_with("./")
        || token.contains("...")
        || folders.any(is_placeholder)
        || ELSEWHERE.iter().any(|other| token.starts_with(other))
    {
        return false;
    }
    let has_extension = name
        .rsplit_once('.')
        .is_some_and(|(stem, extension)| !stem.is_empty() && EXTENSIONS.contains(&extension));
    match token.contains('/') {
        true => has_extension || (is_quoted && token.ends_with('/')),
        false => has_extension && (is_quoted || name.ends_with(".rs") || name.ends_with(".md")),
    }
}

/// The path of `file` as it is seen from the folder of `page`.
fn beside(page: &str, file: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in file.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Where `short` stands as a name of its page, with the numbers behind it, as in "3, 5 and 7 to 9".
/// Without a number it counts in brackets, where it says from where something is, and before the
/// name of a rule, as in "M5".
fn uses(text: &str, short: &str) -> Vec<(usize, Vec<usize>)> {
    let lower = text.to_lowercase();
    let mut found = Vec::new();
    // Lower case of other scripts may be longer; what is cited is ASCII.
    for (offset, _) in lower.match_indices(short).filter(|_| lower.len() == text.len()) {
        let rest = &lower[offset + short.len()..];
        let rest = rest.strip_prefix('s').unwrap_or(rest);
        let numbers = numbers(rest);
        let is_bracketed = text[..offset].ends_with('(') && rest.starts_with([')', ' ', ':']);
        let mut next = rest.strip_prefix(' ').unwrap_or_default().chars();
        let is_rule = next.next().is_some_and(|c| c.is_ascii_alphabetic())
            && next.next().is_some_and(|c| c.is_ascii_digit());
        if !numbers.is_empty() || (short != "trap" && (is_bracketed || is_rule)) {
            found.push((offset, numbers));
        }
    }
    found
}

fn numbers(text: &str) -> Vec<usize> {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        let leads = [", ", " and ", " to ", " "];
        let Some(next) = leads.iter().find_map(|lead| rest.strip_prefix(lead)) else { break };
        let digits = next.len() - next.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let Ok(number) = next[..digits].parse() else { break };
        found.push(number);
        rest = &next[digits..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const USAGE: &str = "usage: x <verb>\n\n  sim [--seeds N]\n             --twice\n  tidy\n";

    fn tree() -> Library {
        let files = [
            ("README.md", "# A\n## Read `next`\n"),
            ("docs/raft-traps.md", "# Traps\n| 1 | a |\n| 2 | b |\n"),
            ("docs/reliability.md", "# Reliability\n## Limits\n## Must not\n"),
            ("a/Cargo.toml", "[package]\nname = \"nacolet-a\"\n"),
            ("a/src/deep/one.rs", "pub const WIDTH_MAX: u8 = 1;\n"),
            ("b/src/two.rs", ""),
            ("b/tests/suite/formats.rs", ""),
        ];
        Library::new(&files.map(|(path, text)| (path.to_owned(), text.to_owned())), USAGE)
    }

    #[track_caller]
    fn verdict(path: &str, text: &str, expected: &[&str]) {
        let problems = tree().problems(path, text);
        let found: Vec<String> = problems.iter().map(Problem::to_string).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_file_that_is_cited_exists() {
        let gone = ["b/src/two.rs:2: `tests/formats.rs` is cited and does not exist"];
        verdict("b/src/two.rs", "//! A\n//! (`tests/formats.rs`).\n", &gone);
        verdict(
            "b/src/two.rs",
            "//! `tests/suite/formats.rs`, `two.rs`, a/src/deep/one.rs.\n",
            &[],
        );
        verdict("a/src/deep/one.rs", "// `deep/one.rs`, `src/deep/`, README.md, b/tests/\n", &[]);
        let other = ["a/src/x.rs:1: `two.rs` is cited and does not exist"];
        verdict("a/src/x.rs", "// `two.rs`: of another crate, by its end\n", &other);
        let script = ["B.md:1: `bench.py` is cited and does not exist"];
        verdict(
            "B.md",
            "Run `bench.py`, `a/NAME/x.rs`, `target/x.rs`, /etc/x.rs, `y.z`.\n",
            &script,
        );
        verdict("B.md", "| `a` | `deep/one.rs` | `src/deep/` |\n", &[]);
        let row = ["B.md:1: `two.rs` is cited and does not exist"];
        verdict("B.md", "| `a` | `two.rs` |\n", &row);
        let folder = ["B.md:1: `deeper/` is cited and does not exist"];
        verdict("B.md", "In `deep/` and `deeper/`, either/or.\n", &folder);
    }

    #[test]
    fn a_page_is_cited_by_a_heading_that_it_has() {
        verdict("a/x.rs", "// docs/reliability.md, \"Limits\" and \"Must not\".\n", &[]);
        verdict("a/x.rs", "// A (docs/reliability.md,\n// \"Limits\": M5).\n", &[]);
        let other = ["a/x.rs:2: `docs/reliability.md` has no heading \"Gone\""];
        verdict("a/x.rs", "// A\n// docs/reliability.md, \"Limits\" and \"Gone\".\n", &other);
        let bare = "a/x.rs:1: `docs/reliability.md` is cited without a heading: \
                    `docs/reliability.md, \"Heading\"`";
        verdict("a/x.rs", "// See docs/reliability.md.\n", &[bare]);
        verdict("B.md", "See `docs/reliability.md`, or `README.md`, \"Read next\".\n", &[]);
    }

    #[test]
    fn a_link_leads_somewhere() {
        verdict(
            "docs/b.md",
            "[a](../README.md#read-next) [b](raft-traps.md) [c](#x)\n",
            &["docs/b.md:1: the link to `#x` leads to no file"],
        );
        verdict(
            "README.md",
            "[a](https://x/y.md) [b](docs) [c](docs/no.md) [d](#b)\n",
            &[
                "README.md:1: the link to `docs/no.md` leads to no file",
                "README.md:1: the link to `#b` leads to no heading",
                "README.md:1: `docs/no.md` is cited and does not exist",
            ],
        );
    }

    #[test]
    fn a_section_is_one_of_a_book_that_is_named() {
        verdict("a/x.rs", "// RFC 9113 §6.\n", &[]);
        verdict("a/x.rs", "//! By the Raft paper.\nlet x;\n// §5.2: terms.\n", &[]);
        let no_book = ["a/x.rs:3: `§2.1)`: of which book?"];
        verdict(
            "a/x.rs",
            "//! A\nlet x;\n// Search (http-v1 §2.1) is.\nlet y;\n// RFC 1.\n",
            &no_book,
        );
    }

    #[test]
    fn a_short_name_stands_for_a_page_that_is_named() {
        verdict("a/x.rs", "//! docs/raft-traps.md, traps 1 and 2.\nlet x;\n// Trap 2.\n", &[]);
        verdict(
            "a/x.rs",
            "// docs/raft-traps.md, trap 1 to 3.\n",
            &["a/x.rs:1: docs/raft-traps.md has no trap 3"],
        );
        let stands =
            |short, page| format!("`{short}` stands for a page that nothing here names: {page}");
        let trap = format!("a/x.rs:1: {}", stands("trap", "docs/raft-traps.md"));
        verdict("a/x.rs", "// A trap. Trap 2 is one.\n", &[&trap]);
        let page = format!("a/x.rs:1: {}", stands("reliability", "docs/reliability.md"));
        verdict("a/x.rs", "// Bytes (reliability).\n", &[&page]);
        verdict("a/x.rs", "// By reliability M5.\n", &[&page]);
        verdict("a/x.rs", "// For the reliability of boards.\n", &[]);
        verdict(
            "a/x.rs",
            "//! From docs/reliability.md, \"Limits\".\n// Bytes (reliability).\n",
            &[],
        );
    }

    #[test]
    fn a_command_has_its_verb_and_its_options() {
        verdict(
            "B.md",
            "`cargo ci sim --seeds 3 --twice`, `cargo ci <verb>`, a `cargo ci` verb\n",
            &[],
        );
        verdict("B.md", "`cargo ci fly`\n", &["B.md:1: `cargo ci fly` is no verb"]);
        verdict("a/x.rs", "// `cargo ci\n// fly` ends\n", &["a/x.rs:1: `cargo ci fly` is no verb"]);
        verdict(
            "B.md",
            "```\ncargo ci tidy --seeds 3 # --x\n```\n",
            &["B.md:2: `cargo ci tidy` takes no --seeds"],
        );
        verdict(
            "B.md",
            "`cargo test -p nacolet-a -p nacolet-b -p other`\n",
            &["B.md:1: there is no package `nacolet-b`"],
        );
    }

    #[test]
    fn a_limit_that_is_named_exists() {
        let none = ["B.md:1: there is no limit `HEIGHT_MAX`"];
        verdict("B.md", "`WIDTH_MAX` and `HEIGHT_MAX`, not A_MAX\n", &none);
    }
}
