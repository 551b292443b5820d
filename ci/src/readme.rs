//! The commands of the README's first section, run as they stand there: `nacolet ...` with a
//! binary, under an emulator where one is needed, and `curl ...` as the request that it is. A
//! command that is not expected here fails, and so does one that is gone from the README.

use crate::process::now;
use crate::server::Server;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

/// A command answers in milliseconds, an emulated one on a busy machine in seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Pause between two looks at a command.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a command does when it has said what it has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Ends,
    Stays,
}

/// How each command begins, in the README's order, what it prints, and what it does then.
const EXPECTED: [(&str, &str, Then); 11] = [
    ("curl -X POST http://127.0.0.1:8848/nacos/v1/cs/configs ", "true", Then::Ends),
    ("curl http://127.0.0.1:8848/nacos/v1/cs/configs?", "greeting: hello", Then::Ends),
    ("curl -X POST http://127.0.0.1:8848/nacos/v1/ns/instance ", "ok", Then::Ends),
    ("curl http://127.0.0.1:8848/nacos/v1/ns/instance/list?", "127.0.0.1", Then::Ends),
    ("nacolet config set app.yaml ", "", Then::Ends),
    ("nacolet config get app.yaml", "greeting: hello", Then::Ends),
    ("nacolet config watch app.yaml", "greeting: hello", Then::Stays),
    ("nacolet service register web ", "registered", Then::Stays),
    // Two instances: that of `curl`, and that of `register`, which beats.
    ("nacolet service ls", "DEFAULT_GROUP  web      2          2", Then::Ends),
    ("nacolet config export ", "", Then::Ends),
    ("nacolet settings", "127.0.0.1:8848", Then::Ends),
];

/// Runs everything, kills the node without warning, and looks for what must be there after it.
///
/// # Errors
///
/// Which command did something else.
pub(crate) fn follow(
    emulator: Option<&'static str>,
    binary: &Path,
    folder: &Path,
    readme: &str,
) -> Result<(), String> {
    let said = |error: std::io::Error| error.to_string();
    let lines = commands(readme);
    let mut server = Server::start_under(emulator, binary, folder).map_err(said)?;
    let user = User { emulator, binary, folder, server: server.base() };
    let mut staying = Vec::new();
    for (line, (start, part, then)) in lines.iter().zip(EXPECTED) {
        if !line.join(" ").starts_with(start) {
            return Err(format!("the README says {line:?}, where {start:?} is expected"));
        }
        match (line[0].as_str(), then) {
            ("curl", _) => request(&server, line, part)?,
            (_, Then::Ends) => user.start(line)?.ends(part)?,
            (_, Then::Stays) => staying.push(user.start(line)?.says(part)?),
        }
    }
    if lines.len() != EXPECTED.len() {
        return Err(format!("{} commands in the README, not {}", lines.len(), EXPECTED.len()));
    }
    let archive = fs::read(folder.join("backup.zip")).map_err(said)?;
    if !archive.starts_with(b"PK") {
        return Err("the export is no archive".to_owned());
    }
    user.start(&words("nacolet config set app.yaml 'greeting: again'"))?.ends("")?;
    let mut staying = staying.into_iter();
    let (watch, register) = (staying.next(), staying.next());
    watch.ok_or("nobody watches")?.says("greeting: again")?;
    drop(register);
    server.restart().map_err(said)?;
    // What was published is there; who beats is gone with its beats, and comes again.
    let again = |start: &str| match lines.iter().find(|line| line.join(" ").starts_with(start)) {
        Some(line) => user.start(line),
        None => Err(format!("the README does not say {start:?}")),
    };
    again("nacolet config get ")?.ends("greeting: again")?;
    let _registered = again("nacolet service register ")?.says("registered")?;
    again("nacolet service ls")?.ends("DEFAULT_GROUP  web      1          1")
}

/// Sends what `curl` would.
fn request(server: &Server, line: &[String], part: &str) -> Result<(), String> {
    let option = |name: &str| {
        let at = line.iter().position(|word| word == name)?;
        line.get(at + 1).map(String::as_str)
    };
    let url = line.iter().find_map(|word| word.strip_prefix("http://127.0.0.1:8848"));
    let path = url.ok_or("curl without an address of the node")?;
    let (method, body) = (option("-X").unwrap_or("GET"), option("-d").unwrap_or_default());
    let answer = server.ask(method, path, body).map_err(|error| error.to_string())?;
    let good = answer.starts_with("HTTP/1.1 200") && answer.contains(part);
    if good { Ok(()) } else { Err(format!("{method} {path}: {answer}")) }
}

/// Somebody at a command line.
struct User<'a> {
    emulator: Option<&'static str>,
    binary: &'a Path,
    folder: &'a Path,
    server: String,
}

impl User<'_> {
    fn start(&self, line: &[String]) -> Result<Running, String> {
        let said = |error: std::io::Error| format!("{line:?}: {error}");
        let printed = self.folder.join(format!("{}.out", line[1..].join("-").replace('/', "-")));
        let out = File::create(&printed).map_err(said)?;
        let mut command = Command::new(self.emulator.map_or(self.binary, Path::new));
        command.args(self.emulator.map(|_| self.binary)).args(&line[1..]);
        command.current_dir(self.folder).env("NACOLET_SERVER", &self.server);
        command.stdin(Stdio::null()).stderr(out.try_clone().map_err(said)?).stdout(out);
        let child = command.spawn().map_err(said)?;
        Ok(Running { line: line.join(" "), child, printed })
    }
}

/// A command under way; it is killed when nobody looks at it any more.
struct Running {
    line: String,
    child: Child,
    printed: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, which was looked at where it matters.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Running {
    /// Waits until it has printed `part`; it has to go on.
    fn says(mut self, part: &str) -> Result<Self, String> {
        let start = now();
        while start.elapsed() < PATIENCE {
            let ended = self.ended()?;
            if ended.is_none() && self.printed()?.contains(part) {
                return Ok(self);
            }
            if let Some(status) = ended {
                return Err(self.failure(&format!("it ended: {status}")));
            }
            thread::sleep(LOOK_EVERY);
        }
        Err(self.failure(&format!("it does not say {part:?}")))
    }

    /// Waits until it has ended well; it must have printed `part`.
    fn ends(mut self, part: &str) -> Result<(), String> {
        let start = now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.ended()? {
                let good = status.success() && self.printed()?.contains(part);
                let why = format!("{status}, where {part:?} is expected");
                return if good { Ok(()) } else { Err(self.failure(&why)) };
            }
            thread::sleep(LOOK_EVERY);
        }
        Err(self.failure("it does not end"))
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, String> {
        self.child.try_wait().map_err(|error| format!("{}: {error}", self.line))
    }

    fn printed(&self) -> Result<String, String> {
        fs::read_to_string(&self.printed).map_err(|error| format!("{}: {error}", self.line))
    }

    fn failure(&self, why: &str) -> String {
        format!("`{}`: {why}; it said {:?}", self.line, self.printed().unwrap_or_default())
    }
}

/// The words of each `curl` and `nacolet` of the section "Start".
fn commands(readme: &str) -> Vec<Vec<String>> {
    let start = readme.split("\n## ").find(|section| section.starts_with("Start\n"));
    let blocks = start.unwrap_or_default().split("```sh\n").skip(1);
    let block = |text: &str| text.split("```").next().unwrap_or_default().replace("\\\n", "");
    let lines = blocks.map(block).collect::<String>();
    let is_command =
        |line: &Vec<String>| line[..].first().is_some_and(|w| w == "curl" || w == "nacolet");
    lines.lines().map(words).filter(is_command).collect()
}

/// What a shell makes of a line: words with single quotes, and a comment at the end.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() && !rest.starts_with('#') {
        let mut word = String::new();
        while let Some(next) = rest.chars().next().filter(|next| !next.is_whitespace()) {
            let (piece, after) = if next == '\'' {
                rest[1..].split_once('\'').unwrap_or((&rest[1..], ""))
            } else {
                let end = rest.find(|c: char| c == '\'' || c.is_whitespace());
                rest.split_at(end.unwrap_or(rest.len()))
            };
            word.push_str(piece);
            rest = after;
        }
        words.push(word);
        rest = rest.trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_as_a_shell_does() {
        let readme = "# A\n```sh\ncurl no\n```\n## Start\n```sh\ncargo run\n```\nwords\n```sh\n\
                      curl 'a b' \\\n  -d 'c=d'e\n# none\nnacolet ls # all\n```\n\
                      ## B\n```sh\nnacolet no\n```\n";
        assert_eq!(commands(readme), [vec!["curl", "a b", "-d", "c=de"], vec!["nacolet", "ls"]]);
    }

    #[test]
    fn every_command_of_the_readme_is_expected() {
        let readme = fs::read_to_string(crate::tree::root().join("README.md")).unwrap();
        let lines: Vec<String> = commands(&readme).iter().map(|line| line.join(" ")).collect();
        assert_eq!(lines.len(), EXPECTED.len(), "{lines:#?}");
        for (line, (start, ..)) in lines.iter().zip(EXPECTED) {
            assert!(line.starts_with(start), "{line:?} where {start:?} is expected");
        }
    }
}
