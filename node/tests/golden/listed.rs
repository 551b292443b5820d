//! Which lines differ on purpose: the lists in `differences/`, whose headings say why.

use std::collections::BTreeMap;

const LISTS: [&str; 5] = [
    include_str!("differences/config.txt"),
    include_str!("differences/console.txt"),
    include_str!("differences/grpc.txt"),
    include_str!("differences/naming.txt"),
    include_str!("differences/users.txt"),
];

/// The lines, each with the heading it stands under.
pub(crate) fn read() -> BTreeMap<(String, u32), &'static str> {
    let mut listed = BTreeMap::new();
    let mut heading = "";
    for line in LISTS.iter().flat_map(|list| list.lines()).filter(|line| !line.is_empty()) {
        if let Some(text) = line.strip_prefix("# ") {
            heading = text;
            continue;
        }
        let (scenario, numbers) = line.split_once(' ').expect("a scenario and its lines");
        for range in numbers.split_whitespace() {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str| text.parse::<u32>().expect("the number of a line");
            for n in number(first)..=number(last) {
                assert!(!heading.is_empty(), "{scenario} {n} has no reason");
                let twice = listed.insert((scenario.to_owned(), n), heading);
                assert!(twice.is_none(), "{scenario} {n} is listed twice");
            }
        }
    }
    listed
}
