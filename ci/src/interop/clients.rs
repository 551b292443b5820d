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
    pub(super) runs: Runs,
    pub(super) prepare: fn(&Path) -> bool,
    pub(super) command: fn(&Path) -> Command,
}

/// In which runs a client takes part that nobody named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runs {
    /// In each.
    Always,
    /// Where there is one node: it knows one address only, of which a killed node would rob it.
    OneNode,
    /// In none: it takes longer than its share of a build. `cargo ci nightly` names these.
    Nightly,
}

pub(super) const CLIENTS: [Client; 16] = [
    Client {
        name: "plain",
        library: "urllib",
        runs: Runs::OneNode,
        prepare: |_| true,
        command: plain_command,
    },
    Client {
        name: "python",
        library: "nacos-sdk-python 1.0.0",
        runs: Runs::Always,
        prepare: prepare_python,
        command: python_command,
    },
    Client {
        name: "python3",
        library: "nacos-sdk-python 3.2.0",
        runs: Runs::Always,
        prepare: prepare_python3,
        command: python3_command,
    },
    Client {
        name: "go",
        library: "nacos-sdk-go 2.3.5",
        runs: Runs::Always,
        prepare: prepare_go,
        command: go_command,
    },
    Client {
        name: "node",
        library: "nacos 2.6.3",
        runs: Runs::Always,
        prepare: prepare_node,
        command: node_command,
    },
    Client {
        name: "rust",
        library: "nacos_rust_client 0.3.3",
        runs: Runs::Always,
        prepare: prepare_rust,
        command: rust_command,
    },
    Client {
        name: "rustgrpc",
        library: "nacos-sdk 0.8.3 and others",
        runs: Runs::Always,
        prepare: prepare_rustgrpc,
        command: rustgrpc_command,
    },
    Client {
        name: "java",
        library: "nacos-client 1.4.8",
        runs: Runs::Always,
        prepare: |root| prepare_java(root, "java", "java", &[]),
        command: |root| java_command(root, "java"),
    },
    // The last that knows nothing of abilities: it sets its connections up without a table of them.
    Client {
        name: "java22",
        library: "nacos-client 2.2.4",
        runs: Runs::Always,
        prepare: |root| prepare_java(root, "javagrpc", "java22", &["-Dnacos.version=2.2.4"]),
        command: |root| java_command(root, "java22"),
    },
    Client {
        name: "java2",
        library: "nacos-client 2.5.1",
        runs: Runs::Always,
        prepare: |root| prepare_java(root, "javagrpc", "java2", &["-Dnacos.version=2.5.1"]),
        command: |root| java_command(root, "java2"),
    },
    Client {
        name: "java3",
        library: "nacos-client 3.2.1",
        runs: Runs::Always,
        prepare: |root| {
            let three = ["-Dnacos.version=3.2.1-2026.03.30", "-Dinterop.extras=three"];
            prepare_java(root, "javagrpc", "java3", &three)
        },
        command: |root| java_command(root, "java3"),
    },
    Client {
        name: "maintainer",
        library: "nacos-maintainer-client 3.2.1",
        runs: Runs::Nightly,
        prepare: |root| prepare_java(root, "maintainer", "maintainer", &[]),
        command: |root| java_command(root, "maintainer"),
    },
    Client {
        name: "prometheus",
        library: "prometheus of Debian",
        runs: Runs::Nightly,
        prepare: prepare_prometheus,
        command: prometheus_command,
    },
    Client {
        name: "cli",
        library: "@nacos-group/cli 1.1.4",
        runs: Runs::Nightly,
        prepare: prepare_cli,
        command: cli_command,
    },
    Client {
        name: "dubbo",
        library: "dubbo 3.3.6",
        runs: Runs::Nightly,
        prepare: |root| prepare_java(root, "dubbo", "dubbo", &[]),
        command: |root| java_command(root, "dubbo"),
    },
    Client {
        name: "spring",
        library: "spring-cloud 2023.0.3.2",
        runs: Runs::Nightly,
        prepare: |root| prepare_java(root, "spring", "spring", &[]),
        command: |root| java_command(root, "spring"),
    },
];

fn plain_command(root: &Path) -> Command {
    script(root, "plain")
}

/// A Python program that needs no package.
fn script(root: &Path, name: &str) -> Command {
    let mut command = Command::new("python3");
    command.args(["-u", "-B"]).arg(root.join("tests/interop").join(name).join("main.py"));
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

/// The command line of Nacos: its package for Node brings one program per processor.
fn prepare_cli(root: &Path) -> bool {
    let folder = root.join("target/interop/cli");
    let package = "@nacos-group/cli@1.1.4";
    once(&folder, package, || {
        let quiet = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
        step("npm", Command::new("npm").args(quiet).arg(package).current_dir(&folder))
    })
}

fn cli_command(root: &Path) -> Command {
    let folder = root.join("target/interop/cli");
    let mut command = script(root, "cli");
    command.env("NACOS_CLI", folder.join("node_modules/.bin/nacos-cli"));
    // Profiles go below the home folder.
    command.env("HOME", &folder).current_dir(folder);
    command
}

/// Debian's package is unpacked and not installed: that would start it as a service.
fn prepare_prometheus(root: &Path) -> bool {
    let folder = root.join("target/interop/prometheus");
    once(&folder, "prometheus", || {
        let apt = |words: &[&str]| {
            step("apt-get", Command::new("apt-get").args(words).current_dir(&folder))
        };
        // Where no list of packages is there yet it is fetched first, which wants root.
        let fetched = apt(&["-qq", "download", "prometheus"])
            || (apt(&["-qq", "update"]) && apt(&["-qq", "download", "prometheus"]));
        let unpack = "dpkg -x prometheus_*.deb unpacked && rm prometheus_*.deb";
        fetched && step("dpkg", Command::new("sh").args(["-c", unpack]).current_dir(&folder))
    })
}

fn prometheus_command(root: &Path) -> Command {
    let folder = root.join("target/interop/prometheus");
    let mut command = script(root, "prometheus");
    command.env("PROMETHEUS", folder.join("unpacked/usr/bin/prometheus")).current_dir(folder);
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
