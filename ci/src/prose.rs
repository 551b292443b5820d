//! Prose of the tree: the paragraphs of documents and of comments, with the line of each word.
//!
//! What a compiler never reads is read here: Markdown whole, of a program its comment lines. A
//! paragraph is one text although it stands on several lines, because a reference may be broken
//! between two of them. What a paragraph says is the business of `citations`.

/// The widest line of a comment, columns; rustfmt holds the code around it to the same.
pub(crate) const COLUMNS_MAX: usize = 100;

/// What a paragraph is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Sentences, a list item, a row of a table.
    Text,
    /// A line between two fences, or of a file that a shell runs.
    Code,
}

/// Consecutive lines that belong together, joined by spaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Paragraph {
    pub(crate) kind: Kind,
    pub(crate) text: String,
    /// Whether it stands before the first line that is no comment; of a page the first one does.
    pub(crate) is_head: bool,
    /// Where each line begins in `text`, and its number in the file.
    lines: Vec<(usize, usize)>,
}

impl Paragraph {
    /// The line of the file that the byte at `offset` of the text stands on.
    pub(crate) fn line(&self, offset: usize) -> usize {
        let last = self.lines.iter().rfind(|(start, _)| *start <= offset);
        last.map_or(0, |(_, line)| *line)
    }

    /// Whether the byte at `offset` stands between two backticks.
    pub(crate) fn is_quoted(&self, offset: usize) -> bool {
        self.text[..offset].matches('`').count() % 2 == 1
    }
}

/// How comments begin in a file of this name; `None` for what has no prose.
fn marker(path: &str) -> Option<&'static str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "rs" | "js" | "java" | "go" => Some("//"),
        "py" | "sh" | "toml" | "yml" => Some("#"),
        // Other texts are what something wrote.
        "txt" if path.contains("scenarios/") || name == "mutants.txt" => Some("#"),
        "" if path == ".ci/run" => Some("#"),
        _ => None,
    }
}

/// The text of a comment line without what makes it one, or `None` for any other line.
fn comment<'a>(line: &'a str, marker: &str) -> Option<&'a str> {
    let rest = line.trim_start().strip_prefix(marker)?;
    if marker == "//" {
        return Some(rest.trim_start_matches(['/', '!']));
    }
    // `#!/bin/sh`, `#[cfg]` and `#1` are no comments; `##` is one.
    rest.is_empty().then_some(rest).or_else(|| rest.trim_start_matches('#').strip_prefix(' '))
}

/// The lines of comments that are wider than [`COLUMNS_MAX`], with their widths.
pub(crate) fn wide_comments(path: &str, text: &str) -> Vec<(usize, usize)> {
    let Some(marker) = marker(path) else { return Vec::new() };
    let wide = |(index, line): (usize, &str)| {
        let columns = line.chars().count();
        let is_wide = columns > COLUMNS_MAX && comment(line, marker).is_some();
        // Neither an address nor the row of a table can be broken.
        let is_whole = line.contains("://") || comment(line, marker).is_some_and(is_row);
        (is_wide && !is_whole).then_some((index + 1, columns))
    };
    text.lines().enumerate().filter_map(wide).collect()
}

/// The paragraphs of a file.
pub(crate) fn paragraphs(path: &str, text: &str) -> Vec<Paragraph> {
    let is_page = path.ends_with(".md");
    let marker = marker(path);
    let mut reader = ProseReader::default();
    for (index, line) in text.lines().enumerate() {
        let prose = if is_page { Some(line) } else { marker.and_then(|mark| comment(line, mark)) };
        match prose {
            Some(prose) => reader.line(index + 1, prose),
            None => reader.code_around(line),
        }
    }
    reader.end();
    reader.done
}

#[derive(Default)]
struct ProseReader {
    done: Vec<Paragraph>,
    open: Option<Paragraph>,
    is_fenced: bool,
    has_begun: bool,
}

impl ProseReader {
    fn line(&mut self, number: usize, line: &str) {
        let words = line.trim();
        if words.starts_with("```") {
            self.end();
            self.is_fenced = !self.is_fenced;
        } else if self.is_fenced {
            self.begin(Kind::Code, number, words);
            self.end();
        } else if words.is_empty() {
            self.end();
        } else if begins_anew(words) {
            self.end();
            self.begin(Kind::Text, number, words);
        } else if let Some(open) = &mut self.open {
            open.text.push(' ');
            open.lines.push((open.text.len(), number));
            open.text.push_str(words);
        } else {
            self.begin(Kind::Text, number, words);
        }
    }

    /// A line that is no prose: a comment ends there, and so does a fence that nobody closed.
    fn code_around(&mut self, line: &str) {
        self.end();
        self.is_fenced = false;
        // Attributes of the whole file stand between the comments of its head.
        self.has_begun |= !line.trim().is_empty() && !line.starts_with("#!");
    }

    fn begin(&mut self, kind: Kind, number: usize, words: &str) {
        let (text, lines) = (words.to_owned(), vec![(0, number)]);
        self.open = Some(Paragraph { kind, text, lines, is_head: !self.has_begun });
    }

    fn end(&mut self) {
        self.done.extend(self.open.take());
    }
}

fn is_row(words: &str) -> bool {
    words.trim_start().starts_with('|')
}

/// Headings, items and rows of tables are paragraphs of their own.
fn begins_anew(words: &str) -> bool {
    words.starts_with(['#', '|'])
        || words.starts_with("- ")
        || words.split_once(". ").is_some_and(|(number, _)| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
}

/// The words between which paths and names are found, each with its offset: whatever has no space,
/// quote, bracket or comma in it, without the marks that end a sentence.
pub(crate) fn tokens(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let inside = |c: char| c.is_alphanumeric() || "_./-{}*<>$@~:=%?&#+\\§".contains(c);
    let mut offset = 0;
    text.split(move |c: char| !inside(c)).filter_map(move |piece| {
        let start = offset;
        // What ends a piece may be longer than a byte.
        offset = start + piece.len();
        offset += text[offset..].chars().next().map_or(0, char::len_utf8);
        let token = piece.trim_end_matches(['.', ':', '?']);
        (!token.is_empty()).then_some((start, token))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(path: &str, text: &str) -> Vec<(Kind, String, usize)> {
        let paragraphs = paragraphs(path, text).into_iter();
        paragraphs.map(|p| (p.kind, p.text.clone(), p.line(0))).collect()
    }

    #[test]
    fn a_page_is_cut_at_headings_items_rows_and_fences() {
        let page = "# A\nb\nc\n\n- d\n  e\n- f\n1. g\n| h |\n```sh\ni\n\nj\n```\nk\n";
        let expected = [
            (Kind::Text, "# A b c", 1),
            (Kind::Text, "- d e", 5),
            (Kind::Text, "- f", 7),
            (Kind::Text, "1. g", 8),
            (Kind::Text, "| h |", 9),
            (Kind::Code, "i", 11),
            (Kind::Code, "", 12),
            (Kind::Code, "j", 13),
            (Kind::Text, "k", 15),
        ];
        let expected = expected.map(|(kind, text, line)| (kind, text.to_owned(), line));
        assert_eq!(texts("a.md", page), expected);
    }

    #[test]
    fn of_a_program_only_comments_are_read() {
        let program = "//! A\n//! b.\n#![x]\n//! c\nfn d() {} // e\n    // f\n    /// g\nlet h;\n";
        let expected = [("A b.", 1), ("c", 4), ("f g", 6)];
        let expected = expected.map(|(text, line)| (Kind::Text, text.to_owned(), line));
        assert_eq!(texts("a.rs", program), expected);
        let script = "#!/bin/sh\n# a\nb # c\n#d\n";
        assert_eq!(texts("a.sh", script), [(Kind::Text, "a".to_owned(), 2)]);
        assert_eq!(texts("a.json", "// a\n"), []);
        assert_eq!(texts("a/answers.txt", "# a\n"), []);
        let heads: Vec<_> = paragraphs("a.rs", program).iter().map(|p| p.is_head).collect();
        assert_eq!(heads, [true, true, false]);
    }

    #[test]
    fn a_word_is_found_on_its_line() {
        let paragraph = &paragraphs("a.rs", "// one\n// two `three\n// four` five\n")[0];
        let line = |word: &str| paragraph.line(paragraph.text.find(word).unwrap());
        assert_eq!(["one", "two", "three", "four", "five"].map(line), [1, 2, 2, 3, 3]);
        assert!(paragraph.is_head);
        let quoted = |word: &str| paragraph.is_quoted(paragraph.text.find(word).unwrap());
        assert_eq!(["two", "three", "four", "five"].map(quoted), [false, true, true, false]);
    }

    #[test]
    fn tokens_are_words_without_the_marks_around_them() {
        let found: Vec<_> = tokens("See `a/b.rs`, (c.md) und «d»: e. x—y/z!").collect();
        let words: Vec<_> = found.iter().map(|(_, word)| *word).collect();
        assert_eq!(words, ["See", "a/b.rs", "c.md", "und", "d", "e", "x", "y/z"]);
        assert_eq!(found[1].0, 5);
    }

    #[test]
    fn wide_comments_are_found_and_wide_code_is_not() {
        let words = "x".repeat(98);
        assert_eq!(wide_comments("a.rs", &format!("// {}\n", &words[1..])), []);
        assert_eq!(wide_comments("a.rs", &format!("a\n// {words}\n")), [(2, 101)]);
        assert_eq!(wide_comments("a.rs", &format!("// ü{}\n", &words[2..])), []);
        assert_eq!(wide_comments("a.rs", &format!("//! https://{words}\n")), []);
        assert_eq!(wide_comments("a.rs", &format!("//! | {words} |\n")), []);
        assert_eq!(wide_comments("a.rs", &format!("let {words};\n")), []);
        assert_eq!(wide_comments("a.md", &format!("// {words}\n")), []);
    }
}
