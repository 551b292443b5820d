//! The client libraries of `interop`: how each is fetched, and how its program is started.

use crate::process::{cargo, step};
use std::fs;
use std::path::Path;
use std::process::Command;

/// One client library and how to get and run its program.
pub(super) struct Client {
    pub(super) name: &'static str,
    /// Library and version, as its registry names it.
    pub(super) library: &'static str,
    pub(super) prepare: fn(&Path) -> bool,
    pub(super) command: fn(&Path) -> Command,
}

/// No client library and knows one address only: not for a cluster of which a node goes missing.
pub(super) const ONE_NODE: &str = "plain";

/// Takes longer than its share of a build and is run by name: a pair of real services.
pub(super) const ONLY_BY_NAME: &str = "spring";

pub(super) const CLIENTS: [Client; 12] = [
    Client { name: ONE_NODE, library: "urllib", prepare: |_| true, command: plain_command },
    Client {
        name: "python",
        library: "nacos-sdk-python 1.0.0",
        prepare: prepare_python,
        command: python_command,
    },
    Client {
        name: "python3",
        library: "nacos-sdk-python 3.2.0",
        prepare: prepare_python3,
        command: python3_command,
    },
    Client { name: "go", library: "nacos-sdk-go 2.3.5", prepare: prepare_go, command: go_command },
    Client { name: "node", library: "nacos 2.6.3", prepare: prepare_node, command: node_command },
    Client {
        name: "rust",
        library: "nacos_rust_client 0.3.3",
        prepare: prepare_rust,
        command: rust_command,
    },
    Client {
        name: "rustgrpc",
        library: "nacos-sdk 0.8.0 and others",
        prepare: prepare_rustgrpc,
        command: rustgrpc_command,
    },
    Client {
        name: "java",
        library: "nacos-client 1.4.8",
        prepare: |root| prepare_java(root, "java", "java", &[]),
        command: |root| java_command(root, "java"),
    },
    // The last that knows nothing of abilities: it sets its connections up without a table of them.
    Client {
        name: "java22",
        library: "nacos-client 2.2.4",
        prepare: |root| prepare_java(root, "javagrpc", "java22", &["-Dnacos.version=2.2.4"]),
        command: |root| java_command(root, "java22"),
    },
    Client {
        name: "java2",
        library: "nacos-client 2.5.1",
        prepare: |root| prepare_java(root, "javagrpc", "java2", &["-Dnacos.version=2.5.1"]),
        command: |root| java_command(root, "java2"),
    },
    Client {
        name: "java3",
        library: "nacos-client 3.2.1",
        prepare: |root| {
            let three = ["-Dnacos.version=3.2.1-2026.03.30", "-Dinterop.extras=three"];
            prepare_java(root, "javagrpc", "java3", &three)
        },
        command: |root| java_command(root, "java3"),
    },
    Client {
        name: ONLY_BY_NAME,
        library: "spring-cloud 2023.0.3.2",
        prepare: |root| prepare_java(root, "spring", ONLY_BY_NAME, &[]),
        command: |root| java_command(root, ONLY_BY_NAME),
    },
];

fn plain_command(root: &Path) -> Command {
    let mut command = Command::new("python3");
    command.args(["-u", "-B"]).arg(root.join("tests/interop/plain/main.py"));
    command
}

/// Runs `install` unless the same version was installed before.
fn once(folder: &Path, version: &str, install: impl FnOnce() -> bool) -> bool {
    let mark = folder.join("installed");
    if fs::read_to_string(&mark).is_ok_and(|installed| installed == version) {
        return true;
    }
    if !install() {
        return false;
    }
    match fs::write(&mark, version) {
        Ok(()) => true,
        Err(error) => {
            println!("{}: {error}", mark.display());
            false
        }
    }
}

fn prepare_python(root: &Path) -> bool {
    prepare_pip(root, "python", "nacos-sdk-python==1.0.0")
}

fn prepare_python3(root: &Path) -> bool {
    prepare_pip(root, "python3", "nacos-sdk-python==3.2.0")
}

/// A virtual environment with one package.
fn prepare_pip(root: &Path, name: &str, package: &str) -> bool {
    let folder = root.join("target/interop").join(name);
    let venv = folder.join("venv");
    once(&folder, package, || {
        let pip = venv.join("bin/pip");
        step("venv", Command::new("python3").args(["-m", "venv"]).arg(&venv))
            && step("pip", Command::new(pip).args(["install", "--quiet", package]))
    })
}

fn python_command(root: &Path) -> Command {
    pip_command(root, "python")
}

fn python3_command(root: &Path) -> Command {
    pip_command(root, "python3")
}

fn pip_command(root: &Path, name: &str) -> Command {
    let folder = root.join("target/interop").join(name);
    let mut command = Command::new(folder.join("venv/bin/python"));
    command.args(["-u", "-B"]).arg(root.join("tests/interop").join(name).join("main.py"));
    // Snapshots of contents and logs go to the working directory, and below the home folder.
    command.env("HOME", &folder).current_dir(&folder);
    command
}

fn prepare_node(root: &Path) -> bool {
    let (source, folder) = (root.join("tests/interop/node"), root.join("target/interop/node"));
    once(&folder, "nacos@2.6.3", || {
        for file in ["package.json", "package-lock.json"] {
            if let Err(error) = fs::copy(source.join(file), folder.join(file)) {
                println!("{file}: {error}");
                return false;
            }
        }
        let quiet = ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
        step("npm", Command::new("npm").args(quiet).current_dir(&folder))
    })
}

fn node_command(root: &Path) -> Command {
    let folder = root.join("target/interop/node");
    let mut command = Command::new("node");
    command.arg(root.join("tests/interop/node/main.js"));
    // The library keeps its cache below the home folder.
    command.env("NODE_PATH", folder.join("node_modules")).env("HOME", &folder);
    command.current_dir(folder);
    command
}

fn prepare_rust(root: &Path) -> bool {
    build_rust(root, "rust")
}

fn prepare_rustgrpc(root: &Path) -> bool {
    build_rust(root, "rustgrpc")
}

fn build_rust(root: &Path, name: &str) -> bool {
    let mut build = cargo();
    build.current_dir(root.join("tests/interop").join(name));
    build.args(["build", "--locked", "--quiet", "--target-dir"]);
    step("rust client", build.arg(root.join("target/interop").join(name)))
}

fn rust_command(root: &Path) -> Command {
    built_command(root, "rust", "nacolet-interop")
}

fn rustgrpc_command(root: &Path) -> Command {
    built_command(root, "rustgrpc", "nacolet-interop-grpc")
}

fn built_command(root: &Path, name: &str, program: &str) -> Command {
    let folder = root.join("target/interop").join(name);
    let mut command = Command::new(folder.join("debug").join(program));
    // Logs and snapshots of contents go below the home folder.
    command.env("HOME", &folder).current_dir(folder);
    command
}

fn prepare_go(root: &Path) -> bool {
    let mut build = Command::new("go");
    build.current_dir(root.join("tests/interop/go"));
    build.args(["build", "-mod=readonly", "-o"]);
    step("go client", build.arg(root.join("target/interop/go/client")).arg("."))
}

fn go_command(root: &Path) -> Command {
    let folder = root.join("target/interop/go");
    let mut command = Command::new(folder.join("client"));
    // Snapshots of contents and logs go to the temporary folder.
    command.env("TMPDIR", &folder).current_dir(folder);
    command
}

/// Builds the program in `folder` as `name`, with `settings` of Maven.
fn prepare_java(root: &Path, folder: &str, name: &str, settings: &[&str]) -> bool {
    let mut maven = Command::new("mvn");
    maven.current_dir(root.join("tests/interop").join(folder));
    maven.args(["--batch-mode", "--quiet", "-Dstyle.color=never", "process-classes"]);
    let target = root.join("target/interop").join(name);
    maven.arg(format!("-Dinterop.target={}", target.display())).args(settings);
    step("maven", &mut maven)
}

fn java_command(root: &Path, name: &str) -> Command {
    let folder = root.join("target/interop").join(name);
    let mut command = Command::new("java");
    command.arg("-cp").arg(format!("{0}/classes:{0}/libraries/*", folder.display()));
    // Snapshots of contents and the library's log go below these.
    command.arg(format!("-Duser.home={}", folder.display()));
    command.arg(format!("-DJM.LOG.PATH={}", folder.display()));
    command.arg("interop.Main");
    command.current_dir(folder);
    command
}
