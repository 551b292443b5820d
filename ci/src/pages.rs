//! What a page of Markdown can be cited by: its headings, the anchors that links name them by, and
//! the numbered rows of its tables.

use std::collections::BTreeSet;

/// The places of one page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) headings: BTreeSet<String>,
    pub(crate) anchors: BTreeSet<String>,
    /// Rows whose first cell is a number.
    pub(crate) rows: BTreeSet<usize>,
}

impl Page {
    /// Reads a page.
    pub(crate) fn of(text: &str) -> Self {
        let mut page = Self::default();
        let mut is_fenced = false;
        for line in text.lines() {
            if line.trim_start().starts_with("```") {
                is_fenced = !is_fenced;
            } else if is_fenced {
                continue;
            } else if let Some(heading) = heading(line) {
                page.anchors.insert(anchor(heading));
                page.headings.insert(heading.replace('`', ""));
            } else if let Some(number) = row(line) {
                page.rows.insert(number);
            }
        }
        page
    }
}

fn heading(line: &str) -> Option<&str> {
    let words = line.trim_start_matches('#');
    let level = line.len() - words.len();
    ((1..=6).contains(&level)).then(|| words.strip_prefix(' ').map(str::trim)).flatten()
}

/// The name that a link gives a heading, as forges make it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

fn row(line: &str) -> Option<usize> {
    let cells = line.strip_prefix('|')?;
    cells.split('|').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_anchors_and_rows_are_found() {
        let page = Page::of(
            "# A `b`: c\n#no\n```\n## not\n```\n## Two words\n| 3 | x |\n| 4x | y |\n####### z\n",
        );
        let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let headings = set(&["A b: c", "Two words"]);
        let anchors = set(&["a-b-c", "two-words"]);
        assert_eq!(page, Page { headings, anchors, rows: [3].into() });
    }
}
