//! The one shape of YAML that `.metadata.yml` has: a list under one key, whose items have known
//! names and texts for values. Texts are plain, quoted in either way, folded over several lines, or
//! blocks, as SnakeYAML writes what has line ends.

use nacolet_model::limits;

/// The names that an item may have.
pub(super) const NAMES: [&str; 7] =
    ["appName", "configTags", "dataId", "desc", "group", "type", "encryptedDataKey"];

/// The values of an item, in the order of [`NAMES`].
pub(super) type ItemFields = [Option<String>; 7];

/// Reads the list a line at a time, and keeps no more of it than the item that is open.
#[derive(Default)]
pub(super) struct Reader {
    /// The line `metadata:` was there.
    is_list: bool,
    list: List,
}

impl Reader {
    /// Reads a line without its end. An item that ended with it goes to `take`.
    ///
    /// None when it is no such list, has more items than an archive may have, or `take` says so.
    pub(super) fn line(
        &mut self,
        line: &str,
        take: &mut impl FnMut(ItemFields) -> Option<()>,
    ) -> Option<()> {
        if self.is_list {
            return self.list.read(line, take);
        }
        let line = line.trim_start_matches('\u{feff}');
        let head = line.trim();
        let is_head =
            !head.is_empty() && !head.starts_with('#') && head != "---" && !head.starts_with("!!");
        self.is_list = is_head && line.starts_with("metadata:");
        (self.is_list || !is_head).then_some(())
    }

    /// Bytes of the item that is open.
    pub(super) fn open_bytes(&self) -> usize {
        self.list.bytes
    }

    /// As [`Self::line`], where no more lines come.
    pub(super) fn end(mut self, take: &mut impl FnMut(ItemFields) -> Option<()>) -> Option<()> {
        if self.is_list { self.list.close(take) } else { None }
    }
}

/// The list as far as it is read.
#[derive(Default)]
struct List {
    /// How many items there were.
    count: usize,
    item: Option<[Option<YamlScalar>; 7]>,
    /// Of its lines.
    bytes: usize,
    /// The last value, and the column of its name: it may go on in the next line.
    open: Option<(usize, usize)>,
    /// Blank lines behind it.
    blanks: usize,
}

/// A value as it stands in the text.
enum YamlScalar {
    /// On one line, or folded from several, with its quotes.
    Flow(String),
    Block(Block),
}

impl List {
    fn read(&mut self, raw: &str, take: &mut impl FnMut(ItemFields) -> Option<()>) -> Option<()> {
        let line = raw.trim();
        self.bytes += raw.len() + 1;
        let indent = raw.len() - raw.trim_start_matches(' ').len();
        if let Some(block) = self.open_block(line, indent) {
            block.push(raw);
            return Some(());
        }
        if line.is_empty() {
            self.blanks += 1;
            return Some(());
        }
        let in_quotes = self.open_flow().is_some_and(|value| is_open(value));
        let item = line.strip_prefix("- ").map(str::trim_start);
        let first = item.filter(|rest| !in_quotes && field(rest).is_some());
        if first.is_some() {
            if self.count >= limits::IMPORT_ENTRIES_MAX {
                return None;
            }
            self.close(take)?;
            (self.count, self.bytes) = (self.count + 1, raw.len() + 1);
            self.item = Some([const { None }; 7]);
        }
        let text = first.unwrap_or(line);
        if let Some((index, value)) = field(text).filter(|_| !in_quotes) {
            let column = indent + (line.len() - text.len());
            *self.item.as_mut()?.get_mut(index)? = Some(YamlScalar::of(value, column));
            (self.open, self.blanks) = (Some((index, column)), 0);
        } else if in_quotes || !line.starts_with('#') {
            let blanks = std::mem::take(&mut self.blanks);
            fold(self.open_flow()?, line, blanks);
        }
        Some(())
    }

    /// The open item is whole.
    fn close(&mut self, take: &mut impl FnMut(ItemFields) -> Option<()>) -> Option<()> {
        self.bytes = 0;
        let Some(item) = self.item.take() else { return Some(()) };
        take(item.map(|value| value.map(YamlScalar::text)))
    }

    /// The block that a line goes on with, if it does.
    fn open_block(&mut self, line: &str, indent: usize) -> Option<&mut Block> {
        let (index, column) = self.open?;
        match self.item.as_mut()?.get_mut(index)?.as_mut()? {
            YamlScalar::Block(block) if line.is_empty() || indent > column => Some(block),
            YamlScalar::Block(_) | YamlScalar::Flow(_) => None,
        }
    }

    fn open_flow(&mut self) -> Option<&mut String> {
        let (index, _) = self.open?;
        match self.item.as_mut()?.get_mut(index)?.as_mut()? {
            YamlScalar::Flow(value) => Some(value),
            YamlScalar::Block(_) => None,
        }
    }
}

/// A line `name: value` with one of the known names.
fn field(line: &str) -> Option<(usize, &str)> {
    let (name, value) = line.split_once(':')?;
    let index = NAMES.iter().position(|known| *known == name.trim())?;
    if value.is_empty() || value.starts_with(' ') { Some((index, value.trim())) } else { None }
}

impl YamlScalar {
    fn of(value: &str, column: usize) -> Self {
        match Block::of(value, column) {
            Some(block) => Self::Block(block),
            None => Self::Flow(value.to_owned()),
        }
    }

    fn text(self) -> String {
        match self {
            Self::Flow(value) => flow(&value),
            Self::Block(block) => block.text(),
        }
    }
}

/// Whether a value began with a quote that did not end yet, judged by its end alone: texts of many
/// lines must not be read again with each.
fn is_open(value: &str) -> bool {
    let at_end = |of: char| value.len() - value.trim_end_matches(of).len();
    match value.chars().next() {
        Some('\'') => {
            let quotes = at_end('\'');
            // Two of them are one in the text; the first of all begins it.
            (if quotes == value.len() { quotes - 1 } else { quotes }).is_multiple_of(2)
        }
        Some('"') => match value.strip_suffix('"') {
            Some("") | None => true,
            Some(inside) => (inside.len() - inside.trim_end_matches('\\').len()) % 2 == 1,
        },
        _ => false,
    }
}

/// A long value is folded: its lines are joined by a space, or by nothing after a backslash, which
/// in turn keeps a leading space by another backslash. Blank lines between them are line ends.
fn fold(value: &mut String, line: &str, blanks: usize) {
    if value.starts_with('"') && value.ends_with('\\') {
        value.pop();
        value.push_str(line.strip_prefix('\\').unwrap_or(line));
        return;
    }
    if blanks == 0 {
        value.push(' ');
    } else {
        value.extend(std::iter::repeat_n('\n', blanks));
    }
    value.push_str(line);
}

/// A text whose lines stand as they are behind `|`, or are folded behind `>`.
struct Block {
    is_folded: bool,
    /// What becomes of the line ends behind the text: `-` none, `+` all, else one.
    end: Option<char>,
    /// Spaces in front of each line; the first line tells where the head does not.
    indent: Option<usize>,
    lines: String,
}

impl Block {
    /// The block that a value is the head of.
    fn of(value: &str, column: usize) -> Option<Self> {
        let head = value.split(" #").next().unwrap_or_default().trim_end();
        let marks = head.strip_prefix(['|', '>'])?;
        let is_folded = head.starts_with('>');
        let mut block = Self { is_folded, end: None, indent: None, lines: String::new() };
        for mark in marks.chars() {
            match mark {
                '-' | '+' if block.end.is_none() => block.end = Some(mark),
                '1'..='9' if block.indent.is_none() => {
                    let more = usize::try_from(mark.to_digit(10)?).ok()?;
                    block.indent = Some(column + more);
                }
                _ => return None,
            }
        }
        Some(block)
    }

    fn push(&mut self, raw: &str) {
        let spaces = raw.len() - raw.trim_start_matches(' ').len();
        if !raw.trim().is_empty() {
            self.indent.get_or_insert(spaces);
        }
        let cut = self.indent.unwrap_or(spaces).min(spaces);
        self.lines.push_str(raw.get(cut..).unwrap_or_default());
        self.lines.push('\n');
    }

    fn text(self) -> String {
        let inside = self.lines.trim_end_matches('\n');
        let mut text = if self.is_folded { unfolded(inside) } else { inside.to_owned() };
        match self.end {
            Some('-') => {}
            Some(_) => text.push_str(self.lines.get(inside.len()..).unwrap_or_default()),
            None if text.is_empty() => {}
            None => text.push('\n'),
        }
        text
    }
}

/// Lines of a folded block: one line end between two of them is a space, of more the first counts
/// for nothing. What is indented stays as it is.
fn unfolded(lines: &str) -> String {
    let mut text = String::with_capacity(lines.len());
    let (mut blanks, mut was_kept) = (0, false);
    for line in lines.split('\n') {
        if line.is_empty() {
            blanks += 1;
            continue;
        }
        let is_kept = line.starts_with([' ', '\t']);
        let ends = match (text.is_empty(), was_kept || is_kept) {
            (true, _) | (false, false) => blanks,
            (false, true) => blanks + 1,
        };
        if ends == 0 && !text.is_empty() {
            text.push(' ');
        }
        text.extend(std::iter::repeat_n('\n', ends));
        text.push_str(line);
        (blanks, was_kept) = (0, is_kept);
    }
    text
}

/// The text of a value that is no block.
fn flow(value: &str) -> String {
    if let Some(inner) = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        return inner.replace("''", "'");
    }
    if let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        return unescape(inner);
    }
    match value {
        "null" | "~" | "Null" | "NULL" => String::new(),
        plain => plain.to_owned(),
    }
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let digits = match chars.next() {
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some('0') => Ok('\0'),
            Some('e') => Ok('\u{1b}'),
            Some('x') => Err(2),
            Some('u') => Err(4),
            Some('U') => Err(8),
            Some(other) => Ok(other),
            None => break,
        };
        match digits {
            Ok(c) => out.push(c),
            Err(count) => {
                let hex: String = chars.by_ref().take(count).collect();
                let code = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
                out.push(code.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As SnakeYAML writes texts of several lines.
    #[test]
    fn blocks_and_folded_texts_keep_their_lines() {
        let check = |value: &str, expected: &str| {
            let text = format!(
                "metadata:\n- appName: a\n  dataId: d\n  desc: {value}\n  group: g\n  type: text\n"
            );
            for text in [text.clone(), text.replace('\n', "\r\n"), text.replace('\n', "\r")] {
                let mut items = Vec::new();
                let mut take = |item| {
                    items.push(item);
                    Some(())
                };
                let mut reader = Reader::default();
                let lines = text.split_terminator("\r\n").flat_map(|part| part.split(['\n', '\r']));
                let read = lines.map(|line| reader.line(line, &mut take)).collect::<Option<()>>();
                read.and_then(|()| reader.end(&mut take)).expect(value);
                assert_eq!(items.len(), 1, "{text:?}");
                assert_eq!(items[0][3].as_deref(), Some(expected), "{text:?}");
                assert_eq!(items[0][4].as_deref(), Some("g"), "{text:?}");
            }
        };
        check("|-\n    one\n    two: 'x'", "one\ntwo: 'x'");
        check("|\n    one\n      two", "one\n  two\n");
        check("|+\n    one\n\n", "one\n\n\n");
        check(
            "|-\n    group: no\n    # nor this\n\n    - dataId: x",
            "group: no\n# nor this\n\n- dataId: x",
        );
        check("|2-\n     one", " one");
        check("|-", "");
        check(
            ">-\n    one\n    two\n\n    three\n      four\n    five",
            "one two\nthree\n  four\nfive",
        );
        check("'one\n\n    group: no\n\n\n    it''s'", "one\ngroup: no\n\nit's");
        check("\"one\\n\\\n    \\ two\"", "one\n two");
        check("'it''s ''quoted'''", "it's 'quoted'");
        check("a\\b", "a\\b");
        check("| no block", "| no block");
        check("''", "");
    }

    #[test]
    fn hostile_values_never_panic() {
        for value in ["\"", "'", "\"\\u12", "\\"] {
            assert!(flow(value).len() <= 8);
        }
    }
}
