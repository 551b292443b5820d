//! Imports point one way: the allowed edges between crates, and where heavy dependencies may live.
//!
//! Read from the manifests, so a forbidden edge fails before anything is compiled. An optional,
//! target-specific, build or development dependency is an edge like any other.

use crate::tree::{self, Problem};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use toml::{Table, Value};

/// The pure crates, which are also built for bare metal. `model` is the words they share.
pub(crate) const CORES: [&str; 6] = ["model", "raft", "config", "registry", "lock", "auth"];

/// For each folder, the folders it may depend on.
const EDGES: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("raft", &["model"]),
    ("config", &["model"]),
    ("registry", &["model"]),
    ("lock", &["model"]),
    ("auth", &["model"]),
    ("machine", &["model", "config", "registry", "lock", "auth"]),
    ("storage", &["model", "raft", "config", "registry"]),
    ("transport", &["model", "raft", "config", "registry"]),
    // An application of the library that is not Nacos.
    ("raft/examples/kv", &["model", "raft", "storage", "transport"]),
    ("api", &["model", "raft", "config", "registry", "lock", "auth"]),
    (
        "node",
        &[
            "model",
            "raft",
            "config",
            "registry",
            "lock",
            "auth",
            "machine",
            "storage",
            "transport",
            "api",
        ],
    ),
    (
        "tests",
        &[
            "model",
            "raft",
            "config",
            "registry",
            "lock",
            "auth",
            "machine",
            "storage",
            "transport",
            "api",
            "node",
        ],
    ),
    // Targets are functions over the public faces of the others, and no part of the product.
    (
        "fuzz",
        &["model", "raft", "config", "registry", "lock", "auth", "storage", "transport", "api"],
    ),
    // The program that libFuzzer drives, in a package of its own.
    ("fuzz/targets", &["fuzz"]),
    ("ci", &[]),
];

/// For each folder with many rooms, its files and folders from the top floor down, each with those
/// that it may use (`floors`). In a folder without a table no two rooms may need each other.
pub(crate) const ROOMS: &[(&str, Rooms)] = &[
    (
        "api/src",
        &[
            ("fuzzing", &["grpc", "naming", "config", "connection", "access", "http"]),
            ("server", &["routes", "grpc", "connection", "route", "state", "http", "port"]),
            ("routes", &["naming", "config", "node", "route"]),
            ("grpc", &["naming", "config", "net", "state", "access", "http", "bounds", "port"]),
            ("naming", &["node", "route", "state", "access", "http", "port"]),
            ("config", &["route", "state", "access", "http", "port"]),
            ("node", &["route", "state", "access", "http", "port"]),
            ("connection", &["net", "route", "state", "http", "bounds"]),
            ("route", &["state", "access", "http"]),
            ("net", &["state"]),
            ("state", &["access", "http", "bounds", "port"]),
            ("access", &["http", "port"]),
            ("http", &["bounds", "port"]),
            ("bounds", &[]),
            ("port", &[]),
        ],
    ),
    (
        "api/src/grpc",
        &[
            ("fuzzing", &["client"]),
            ("connection", &["calls", "tell", "socket", "zone", "message", "client"]),
            ("calls", &["tell", "zone", "message", "client"]),
            ("tell", &["socket", "zone", "message", "client"]),
            ("socket", &["zone", "message", "client"]),
            ("zone", &["client"]),
            ("message", &["client"]),
            ("client", &[]),
        ],
    ),
    (
        "registry/src",
        &[
            ("step", &["distro", "probe", "query", "snapshot", "state", "words"]),
            ("distro", &["state", "words"]),
            ("probe", &["state", "words"]),
            ("query", &["state", "words"]),
            ("snapshot", &["state", "words"]),
            ("state", &["words"]),
            ("words", &[]),
        ],
    ),
];

/// A folder's rooms from the top floor down, each with those that it may use.
pub(crate) type Rooms = &'static [(&'static str, &'static [&'static str])];

/// What a core may use outside its tests: small crates that build without `std`.
const CORE_DEPENDENCIES: [&str; 10] = [
    "async-channel",
    "async-lock",
    "atomic-waker",
    "concurrent-queue",
    "futures-channel",
    "futures-lite",
    "md-5",
    "postcard",
    "serde",
    "thiserror",
];

/// Heavy dependencies and the only folders that may name them, tests included.
const HOMES: &[(&str, &[&str])] = &[
    // In the core `raft` for its benchmark.
    ("async-executor", &["raft", "node", "api", "transport", "storage", "tests"]),
    ("async-io", &["node", "api", "transport", "storage", "tests"]),
    // Arrives with tide and surf; a second executor, so nobody calls it.
    ("async-std", &[]),
    ("blocking", &["node", "api", "transport", "storage", "tests"]),
    ("clap", &["node"]),
    ("h2", &["api", "tests"]),
    ("http-types", &["api"]),
    ("hyper", &["api"]),
    ("prost", &["api", "tests"]),
    ("protobuf", &["storage"]),
    // The other Raft, as an oracle in tests.
    ("raft", &["raft", "tests"]),
    ("raft-engine", &["storage"]),
    ("smol", &["node", "api", "transport", "storage", "raft/examples/kv", "tests"]),
    ("socket2", &["api", "transport", "node", "tests"]),
    ("surf", &["node", "tests"]),
    ("tide", &["api"]),
    // Only the crate of traits that h2 and hyper need; its runtime is never started.
    ("tokio", &["api"]),
    ("tracing-subscriber", &["node"]),
];

/// One line under a manifest's dependencies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Dependency {
    /// The package that is depended on, whatever name it is given locally.
    package: String,
    /// True for `[dev-dependencies]`.
    only_tests: bool,
}

/// Every edge in the workspace at `root` that is not allowed.
pub(crate) fn problems(root: &Path) -> Vec<Problem> {
    let workspace = match read(root, "Cargo.toml") {
        Ok(manifest) => manifest,
        Err(problem) => return vec![problem],
    };
    let members = workspace.get("workspace").and_then(|table| table.get("members"));
    let Some(members) = members.and_then(Value::as_array) else {
        return vec![Problem::new("Cargo.toml", "has no list of workspace members")];
    };
    let mut problems = Vec::new();
    for member in members.iter().filter_map(Value::as_str) {
        match read(root, &format!("{member}/Cargo.toml")) {
            Ok(manifest) => problems.extend(check(member, &dependencies(&manifest))),
            Err(problem) => problems.push(problem),
        }
    }
    match tree::files(root) {
        Ok(files) => {
            let locks = files.iter().filter(|path| path.ends_with("/Cargo.lock"));
            problems.extend(locks.flat_map(|path| stale(root, path)));
        }
        Err(problem) => problems.push(problem),
    }
    problems
}

/// What a lock file below the root does not know of our packages. What it belongs to is built
/// apart, and nothing else would notice before that is.
fn stale(root: &Path, path: &str) -> Vec<Problem> {
    let lock = match read(root, path) {
        Ok(lock) => lock,
        Err(problem) => return vec![problem],
    };
    let packages = lock.get("package").and_then(Value::as_array).into_iter().flatten();
    let mut problems = Vec::new();
    for package in packages.filter_map(Value::as_table) {
        let name = package.get("name").and_then(Value::as_str).unwrap_or_default();
        let Some(folder) = own_folder(name).filter(|folder| root.join(folder).is_dir()) else {
            continue;
        };
        match read(root, &format!("{folder}/Cargo.toml")) {
            Ok(manifest) => problems.extend(unknown(path, package, &dependencies(&manifest))),
            Err(problem) => problems.push(problem),
        }
    }
    problems
}

fn unknown(path: &str, package: &Table, needed: &BTreeSet<Dependency>) -> Vec<Problem> {
    let known = package.get("dependencies").and_then(Value::as_array).into_iter().flatten();
    let known = known.filter_map(|line| line.as_str()?.split(' ').next());
    let known: BTreeSet<&str> = known.collect();
    let name = package.get("name").and_then(Value::as_str).unwrap_or_default();
    let lacking = needed.iter().filter(|one| !one.only_tests && !known.contains(&*one.package));
    let what = |one: &Dependency| format!("does not know that {name} needs {}", one.package);
    lacking.map(|one| Problem::new(path, what(one))).collect()
}

fn read(root: &Path, path: &str) -> Result<Table, Problem> {
    let text = fs::read_to_string(root.join(path)).map_err(|error| Problem::new(path, error))?;
    text.parse().map_err(|error| Problem::new(path, error))
}

/// All dependencies a manifest names, in every table that can hold them.
fn dependencies(manifest: &Table) -> BTreeSet<Dependency> {
    let no_targets = Table::new();
    let targets = manifest.get("target").and_then(Value::as_table).unwrap_or(&no_targets);
    let targets = targets.values().filter_map(Value::as_table);
    let mut found = BTreeSet::new();
    for holder in targets.chain([manifest]) {
        for kind in ["dependencies", "build-dependencies", "dev-dependencies"] {
            let Some(table) = holder.get(kind).and_then(Value::as_table) else { continue };
            for (name, value) in table {
                let renamed = value.get("package").and_then(Value::as_str);
                let package = renamed.unwrap_or(name).into();
                found.insert(Dependency { package, only_tests: kind == "dev-dependencies" });
            }
        }
    }
    found
}

/// The folder of one of our own packages; the binary package carries the product's name.
fn own_folder(package: &str) -> Option<&str> {
    match package {
        "nacolet" => Some("node"),
        other => other.strip_prefix("nacolet-"),
    }
}

fn check(folder: &str, dependencies: &BTreeSet<Dependency>) -> Vec<Problem> {
    let Some((_, allowed)) = EDGES.iter().find(|(from, _)| *from == folder) else {
        return vec![Problem::new(folder, "is not in the table of layers (ci/src/layers.rs)")];
    };
    let mut problems = Vec::new();
    for dependency in dependencies {
        let package = dependency.package.as_str();
        if let Some(to) = own_folder(package) {
            // A development dependency on oneself is how a crate turns on its own test features.
            let itself = to == folder && dependency.only_tests;
            if !itself && !allowed.contains(&to) {
                problems.push(Problem::new(folder, format!("may not depend on {to}")));
            }
            continue;
        }
        if let Some((_, homes)) = HOMES.iter().find(|(name, _)| *name == package)
            && !homes.contains(&folder)
        {
            let homes = if homes.is_empty() { "nowhere".into() } else { homes.join(", ") };
            problems.push(Problem::new(folder, format!("may not use {package}: allowed {homes}")));
        } else if CORES.contains(&folder)
            && !dependency.only_tests
            && !CORE_DEPENDENCIES.contains(&package)
        {
            problems.push(Problem::new(folder, format!("is a core and may not use {package}")));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_keeps_its_layers() {
        assert_eq!(problems(&tree::root()), []);
    }

    #[test]
    fn the_table_itself_points_one_way() {
        for (index, (folder, allowed)) in EDGES.iter().enumerate() {
            for to in *allowed {
                let position = EDGES.iter().position(|(name, _)| name == to);
                assert!(position.is_some_and(|position| position < index), "{folder} -> {to}");
            }
        }
        for folder in HOMES.iter().flat_map(|(_, homes)| *homes) {
            assert!(EDGES.iter().any(|(name, _)| name == folder), "{folder} is not a folder");
        }
    }

    #[test]
    fn edges_are_judged_by_the_table() {
        verdict("raft", "[dependencies]\nnacolet-model = {}\nserde = {}", &[]);
        verdict("raft", "[dependencies]\nnacolet-config = {}", &["raft: may not depend on config"]);
        verdict("config", "[dev-dependencies]\nproptest = {}", &[]);
        verdict("api", "[dependencies]\nnacolet-storage = {}", &["api: may not depend on storage"]);
        verdict("api", "[dependencies]\nnacolet = {}", &["api: may not depend on node"]);
        verdict("tests", "[dev-dependencies]\nnacolet = {}\nnacolet-api = {}", &[]);
        verdict("ci", "[dependencies]\nnacolet-model = {}", &["ci: may not depend on model"]);
        verdict("raft", "[dev-dependencies]\nnacolet-raft = {}", &[]);
        let stranger = "utils: is not in the table of layers (ci/src/layers.rs)";
        verdict("utils", "", &[stranger]);
    }

    #[test]
    fn heavy_dependencies_stay_at_home() {
        verdict("api", "[dependencies]\ntide = {}\nhyper = {}", &[]);
        verdict("node", "[dependencies]\ntide = {}", &["node: may not use tide: allowed api"]);
        let nowhere = "node: may not use async-std: allowed nowhere";
        verdict("node", "[dependencies]\nasync-std = {}", &[nowhere]);
        let engine = "raft: may not use raft-engine: allowed storage";
        verdict("raft", "[dependencies]\nraft-engine = {}", &[engine]);
        verdict("raft", "[dependencies]\nrand = {}", &["raft: is a core and may not use rand"]);
        let smol = "raft: may not use smol: allowed node, api, transport, storage, raft/examples/kv, tests";
        verdict("raft", "[dev-dependencies]\nsmol = {}", &[smol]);
    }

    #[test]
    fn no_spelling_of_a_dependency_escapes() {
        let expected = &["model: is a core and may not use libc"];
        verdict("model", "[target.'cfg(unix)'.dependencies]\nlibc = \"1\"", expected);
        verdict("model", "[build-dependencies]\nlibc = \"1\"", expected);
        verdict("model", "[dependencies.libc]\nversion = \"1\"", expected);
        verdict("model", "[dependencies]\nc = { package = \"libc\", version = \"1\" }", expected);
        verdict("model", "[dependencies]\nlibc = { optional = true }", expected);
    }

    #[test]
    fn a_lock_file_apart_knows_what_our_packages_need() {
        let manifest: Table =
            "[dependencies]\nserde = {}\npostcard = {}\n[dev-dependencies]\nx = {}"
                .parse()
                .unwrap();
        let told = |lock: &str| -> Vec<String> {
            let package: Table = lock.parse().unwrap();
            let found = unknown("a/Cargo.lock", &package, &dependencies(&manifest));
            found.iter().map(Problem::to_string).collect()
        };
        let whole = "name = \"nacolet-model\"\ndependencies = [\"postcard\", \"serde 1.0.0\"]";
        assert!(told(whole).is_empty());
        let stale = "name = \"nacolet-model\"\ndependencies = [\"serde\"]";
        assert_eq!(told(stale), ["a/Cargo.lock: does not know that nacolet-model needs postcard"]);
    }

    fn verdict(folder: &str, manifest: &str, expected: &[&str]) {
        let manifest: Table = manifest.parse().unwrap();
        let found: Vec<String> =
            check(folder, &dependencies(&manifest)).iter().map(Problem::to_string).collect();
        assert_eq!(found, expected, "{folder}: {manifest:?}");
    }
}
