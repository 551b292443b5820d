//! Imports run down a floor: inside a crate, too. A folder's rooms are its files and its folders,
//! and `layers` has a table of what each may use where there are many; where there is no table, no
//! two rooms may need each other, however many lie between.
//!
//! Read from the source, outside tests: `use` lines and paths, those inside macros included. A name
//! that a folder's face only passes on counts for the room that it is from. A call of a method is
//! no import.

use crate::layers::{ROOMS, Rooms};
use crate::tree::{self, Problem};
use proc_macro2::{TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree};

/// Where a module is: names from the root of its crate down.
type Module = Vec<String>;

/// How often a name is followed that is passed on from face to face.
const FACES_MAX: usize = 8;

/// What one file says of others.
#[derive(Debug, Default)]
struct Imports {
    /// Paths from the root of the crate, with their lines.
    paths: Vec<(Module, usize)>,
    /// Names that it passes on, and where they are from.
    passed_on: BTreeMap<String, Module>,
    /// Modules of its own that are for tests alone.
    tests: BTreeSet<String>,
}

/// The files of one crate.
#[derive(Debug, Default)]
struct Crate {
    files: BTreeMap<Module, (String, Imports)>,
}

/// One room uses another of the same folder: `(folder, user, used)` and the line that says so.
type Uses = BTreeMap<(String, String, String), String>;

/// Every import of the workspace at `root` that climbs.
pub(crate) fn problems(root: &Path) -> Vec<Problem> {
    let mut by_source: BTreeMap<String, Crate> = BTreeMap::new();
    let mut problems = Vec::new();
    let files = match tree::files(root) {
        Ok(files) => files,
        Err(problem) => return vec![problem],
    };
    for path in files {
        let Some((source, inside)) = split(&path) else { continue };
        let parsed = fs::read_to_string(root.join(&path)).map_err(|error| error.to_string());
        match parsed.and_then(|text| syn::parse_file(&text).map_err(|error| error.to_string())) {
            Ok(file) => {
                let module = module_of(inside);
                let imports = imports_of(&file, &module);
                let files = &mut by_source.entry(source.into()).or_default().files;
                files.insert(module, (path.clone(), imports));
            }
            Err(error) => problems.push(Problem::new(&path, error)),
        }
    }
    for (source, of) in &mut by_source {
        of.forget_tests();
        problems.extend(judge(&uses(source, of), ROOMS));
    }
    for (folder, _) in ROOMS {
        if !root.join(folder).is_dir() {
            problems.push(Problem::new(folder, "has a table of rooms and is no folder"));
        }
    }
    problems
}

/// A Rust file below the `src` of a crate, apart: that folder, and the rest of the path.
fn split(path: &str) -> Option<(&str, &str)> {
    let at = path.find("/src/")?;
    let is_rust = path.ends_with(".rs") && !path.contains("/bin/");
    is_rust.then(|| (&path[..at + "/src".len()], &path[at + "/src/".len()..]))
}

fn module_of(inside: &str) -> Module {
    let inside = inside.trim_end_matches(".rs");
    let mut parts: Module = inside.split('/').map(str::to_owned).collect();
    let is_face = |last: &String| ["mod", "lib", "main"].contains(&last.as_str());
    if parts.last().is_some_and(is_face) {
        parts.pop();
    }
    parts
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let text = quote(attribute);
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && text.split(['(', ')', ' ', ',']).any(|word| word == "test")
    })
}

fn quote(attribute: &Attribute) -> String {
    match &attribute.meta {
        syn::Meta::List(list) => list.tokens.to_string(),
        syn::Meta::Path(_) | syn::Meta::NameValue(_) => String::new(),
    }
}

/// Reads one file.
struct Reader<'f> {
    /// The module that is being read, modules inside the file included.
    module: Module,
    /// Modules that this file declares.
    children: BTreeSet<String>,
    found: &'f mut Imports,
}

fn imports_of(file: &syn::File, module: &[String]) -> Imports {
    let mut found = Imports::default();
    let mut children = BTreeSet::new();
    for item in &file.items {
        let Item::Mod(child) = item else { continue };
        if is_test(&child.attrs) {
            found.tests.insert(child.ident.to_string());
        }
        children.insert(child.ident.to_string());
    }
    let mut reader = Reader { module: module.to_vec(), children, found: &mut found };
    reader.visit_file(file);
    found
}

impl Reader<'_> {
    /// A path from the root of the crate, if this one is of the crate.
    fn absolute(&self, path: &[String]) -> Option<Module> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([&self.module, rest].concat()),
            "super" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                let above = self.module.len().checked_sub(ups)?;
                Some([&self.module[..above], &path[ups..]].concat())
            }
            child if self.children.contains(child) && !rest.is_empty() => {
                Some([&self.module, path].concat())
            }
            _ => None,
        }
    }

    fn note(&mut self, path: &[String], line: usize) {
        // `pub(crate)` and its like name nothing.
        if path.len() < 2 {
            return;
        }
        if let Some(path) = self.absolute(path) {
            self.found.paths.push((path, line));
        }
    }

    fn use_tree(&mut self, tree: &UseTree, before: &[String], line: usize, is_public: bool) {
        match tree {
            UseTree::Path(path) => {
                let before = [before, &[path.ident.to_string()]].concat();
                self.use_tree(&path.tree, &before, line, is_public);
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.use_tree(tree, before, line, is_public));
            }
            UseTree::Glob(_) => self.note(before, line),
            UseTree::Name(_) | UseTree::Rename(_) => {
                let (name, known_as) = match tree {
                    UseTree::Rename(rename) => {
                        (rename.ident.to_string(), rename.rename.to_string())
                    }
                    UseTree::Name(name) => (name.ident.to_string(), name.ident.to_string()),
                    UseTree::Path(_) | UseTree::Glob(_) | UseTree::Group(_) => return,
                };
                let path =
                    if name == "self" { before.to_vec() } else { [before, &[name]].concat() };
                let Some(target) = self.absolute(&path) else { return };
                // A face that passes on what is inside of it uses nothing.
                if !is_public || !target.starts_with(&self.module) {
                    self.found.paths.push((target.clone(), line));
                }
                if is_public {
                    self.found.passed_on.insert(known_as, target);
                }
            }
        }
    }

    /// Paths of the crate in the tokens of a macro.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut colons, mut line) = (0, 0);
        for token in tokens {
            if path.is_empty() {
                line = token.span().start().line;
            }
            match token {
                TokenTree::Ident(name) if name == "crate" || colons == 2 && !path.is_empty() => {
                    if name == "crate" {
                        path.clear();
                    }
                    path.push(name.to_string());
                    colons = 0;
                    continue;
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' && !path.is_empty() => {
                    colons += 1;
                    continue;
                }
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            self.note(&std::mem::take(&mut path), line);
            colons = 0;
        }
        self.note(&path, line);
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes: &[Attribute] = if let Item::Mod(item) = item {
            &item.attrs
        } else if let Item::Fn(item) = item {
            &item.attrs
        } else if let Item::Use(item) = item {
            &item.attrs
        } else if let Item::Impl(item) = item {
            &item.attrs
        } else {
            &[]
        };
        if !is_test(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.content.is_some() {
            self.module.push(item.ident.to_string());
            visit::visit_item_mod(self, item);
            self.module.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let is_public = !matches!(item.vis, syn::Visibility::Inherited);
        self.use_tree(&item.tree, &[], item.use_token.span.start().line, is_public);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        let line = path.segments.first().map_or(0, |part| part.ident.span().start().line);
        self.note(&parts, line);
        visit::visit_path(self, path);
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.tokens(item.tokens.clone());
        visit::visit_macro(self, item);
    }
}

impl Crate {
    fn forget_tests(&mut self) {
        let tests = |(module, (_, imports)): (&Module, &(String, Imports))| {
            let inside = |name: &String| [&module[..], std::slice::from_ref(name)].concat();
            imports.tests.iter().map(inside).collect::<Vec<_>>()
        };
        let tests: Vec<Module> = self.files.iter().flat_map(tests).collect();
        self.files.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
    }

    /// The file that a path leads to: that of its longest beginning that is a module, or, where
    /// that one only passes the next name on, of where it is from.
    fn home<'c>(&'c self, path: &'c [String]) -> Option<&'c Module> {
        let mut path = path;
        for _ in 0..FACES_MAX {
            let length =
                (0..=path.len()).rev().find(|end| self.files.contains_key(&path[..*end]))?;
            let (module, (_, imports)) = self.files.get_key_value(&path[..length])?;
            match path.get(length).and_then(|name| imports.passed_on.get(name)) {
                Some(target) => path = target,
                None => return Some(module),
            }
        }
        None
    }
}

/// Who uses whom, in the lowest folder that has both.
fn uses(source: &str, of: &Crate) -> Uses {
    let mut uses = Uses::new();
    for (user, (file, imports)) in &of.files {
        for (path, line) in &imports.paths {
            let Some(used) = of.home(path) else { continue };
            if used == user {
                continue;
            }
            let shared = user.iter().zip(used).take_while(|(one, other)| one == other).count();
            let folder = [&[source.to_owned()], &user[..shared]].concat().join("/");
            let face = || "mod".to_owned();
            let room = |module: &Module| module.get(shared).cloned().unwrap_or_else(face);
            let edge = (folder, room(user), room(used));
            uses.entry(edge).or_insert_with(|| format!("{file}:{line}"));
        }
    }
    uses
}

fn judge(uses: &Uses, tables: &[(&str, Rooms)]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut free: BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for ((folder, user, used), line) in uses {
        let Some((_, rooms)) = tables.iter().find(|(name, _)| name == folder) else {
            free.entry(folder).or_default().entry(user).or_default().insert(used);
            continue;
        };
        let floor = |room: &str| rooms.iter().position(|(name, _)| *name == room);
        match (floor(user), floor(used)) {
            // A folder's face may use all of it, unless it has a floor itself.
            (None, Some(_)) if user == "mod" => {}
            (Some(above), Some(_)) if rooms[above].1.contains(&used.as_str()) => {}
            (Some(above), Some(below)) if below <= above => {
                let what =
                    format!("{user} climbs to {used}, which is a floor above it in {folder}");
                problems.push(Problem::new(line, what));
            }
            (Some(_), Some(_)) => {
                problems.push(Problem::new(line, format!("{user} may not use {used} in {folder}")));
            }
            (None, _) => problems.push(no_room(line, user, folder)),
            (_, None) => problems.push(no_room(line, used, folder)),
        }
    }
    for (folder, graph) in &free {
        if let Some(knot) = knot(graph) {
            let first = (folder.to_string(), knot[0].to_owned(), knot[1 % knot.len()].to_owned());
            let line = uses.get(&first).map_or(*folder, String::as_str);
            let what = format!("a knot in {folder}: {} -> {}", knot.join(" -> "), knot[0]);
            problems.push(Problem::new(line, what));
        }
    }
    problems
}

fn no_room(line: &str, room: &str, folder: &str) -> Problem {
    Problem::new(line, format!("{room} is not in the table of {folder} (ci/src/layers.rs)"))
}

/// Rooms that need each other in a circle, if there are any: the shortest such circle from the
/// first of them.
fn knot<'g>(graph: &BTreeMap<&'g str, BTreeSet<&'g str>>) -> Option<Vec<&'g str>> {
    for start in graph.keys() {
        let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
        let mut next = vec![*start];
        while !next.is_empty() {
            let mut found = Vec::new();
            for room in next {
                for used in graph.get(room).into_iter().flatten() {
                    if used == start {
                        let mut circle = vec![room];
                        while let Some(before) = came_from.get(circle[circle.len() - 1]) {
                            circle.push(before);
                        }
                        circle.reverse();
                        return Some(circle);
                    }
                    if !came_from.contains_key(used) {
                        came_from.insert(used, room);
                        found.push(*used);
                    }
                }
            }
            next = found;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_keeps_its_floors() {
        assert_eq!(problems(&tree::root()), []);
    }

    #[test]
    fn the_tables_themselves_point_down() {
        for (folder, rooms) in ROOMS {
            for (index, (room, used)) in rooms.iter().enumerate() {
                for other in *used {
                    let below = rooms.iter().position(|(name, _)| name == other);
                    assert!(
                        below.is_some_and(|below| below > index),
                        "{folder}: {room} -> {other}"
                    );
                }
            }
        }
    }

    fn told(files: &[(&str, &str)], tables: &[(&str, Rooms)]) -> Vec<String> {
        let mut of = Crate::default();
        for (path, text) in files {
            let module = module_of(path);
            let file = syn::parse_file(text).expect("Rust");
            let imports = imports_of(&file, &module);
            of.files.insert(module, (format!("a/src/{path}"), imports));
        }
        judge(&uses("a/src", &of), tables).iter().map(Problem::to_string).collect()
    }

    const LIB: (&str, &str) = ("lib.rs", "mod high; mod low; pub use low::Thing;");

    #[test]
    fn two_files_that_need_each_other_are_a_knot() {
        let high = ("high.rs", "use crate::low::Thing;\npub struct Up;");
        assert!(told(&[LIB, high, ("low.rs", "pub struct Thing;")], &[]).is_empty());
        let knot = "a/src/high.rs:1: a knot in a/src: high -> low -> high";
        for low in [
            "use crate::high::Up; pub struct Thing;",
            "pub struct Thing(super::high::Up);",
            "pub fn thing() { println!(\"{:?}\", crate::high::Up); }",
            "pub use super::high::{Up as Other}; use crate::high;",
        ] {
            assert_eq!(told(&[LIB, high, ("low.rs", low)], &[]), [knot], "{low}");
        }
        let through_the_face = ("high.rs", "use crate::Thing;\npub struct Up;");
        let low = ("low.rs", "use crate::high::Up; pub struct Thing;");
        assert_eq!(told(&[LIB, through_the_face, low], &[]), [knot]);
    }

    #[test]
    fn tests_may_use_what_they_like() {
        let high = ("high.rs", "use crate::low::Thing; pub struct Up;");
        for low in [
            "pub struct Thing; #[cfg(test)] mod tests { use crate::high::Up; }",
            "pub struct Thing; #[cfg(all(test, unix))] use crate::high::Up;",
            "pub struct Thing; #[test] fn it() { let _ = crate::high::Up; }",
        ] {
            assert!(told(&[LIB, high, ("low.rs", low)], &[]).is_empty(), "{low}");
        }
    }

    #[test]
    fn a_table_says_which_floor_an_import_climbs() {
        const TABLE: &[(&str, Rooms)] =
            &[("a/src", &[("high", &["low"]), ("middle", &[]), ("low", &[])])];
        let low = ("low.rs", "use crate::high::Up;");
        let high = ("high.rs", "pub struct Up;");
        let climbs = "a/src/low.rs:1: low climbs to high, which is a floor above it in a/src";
        assert_eq!(told(&[LIB, high, low], TABLE), [climbs]);
        let middle = ("middle.rs", "use crate::low::Thing;");
        let may_not = "a/src/middle.rs:1: middle may not use low in a/src";
        assert_eq!(told(&[LIB, high, middle, ("low.rs", "pub struct Thing;")], TABLE), [may_not]);
        let other = ("other.rs", "use crate::low::Thing;");
        let unknown = "a/src/other.rs:1: other is not in the table of a/src (ci/src/layers.rs)";
        assert_eq!(told(&[LIB, high, other, ("low.rs", "pub struct Thing;")], TABLE), [unknown]);
    }

    #[test]
    fn rooms_of_a_folder_are_judged_in_it() {
        let files = [
            ("lib.rs", "mod house;"),
            ("house/mod.rs", "mod roof; mod cellar; pub(crate) struct Door;"),
            ("house/roof.rs", "use crate::house::cellar::Coal;"),
            ("house/cellar/mod.rs", "use crate::house::Door; mod bin; pub(crate) struct Coal;"),
            ("house/cellar/bin.rs", "use crate::house::roof::Tile;"),
        ];
        let knot = "a/src/house/cellar/bin.rs:1: a knot in a/src/house: cellar -> roof -> cellar";
        assert_eq!(told(&files, &[]), [knot]);
    }
}
