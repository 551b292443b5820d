//! A node where everybody has to log in, from the command line: who is let in, who is not and with
//! which sentence, and what an administrator does.

#[expect(dead_code, reason = "each test binary uses its part")]
mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

use support::{Node, TempDir, nacolet};

const ADMIN: (&str, &str) = ("nacos", "correct horse");

fn start(data: &TempDir) -> Node {
    let file = data.path().join("first");
    std::fs::write(&file, format!("{}\n", ADMIN.1)).expect("the folder is writable");
    let file = file.to_str().expect("the path is text");
    let environment = [("NACOLET_AUTH", "true"), ("NACOLET_ADMIN_PASSWORD_FILE", file)];
    Node::try_start(&data.path().join("data"), &environment).expect("the node becomes ready")
}

fn command(node: &Node, arguments: &[&str]) -> Command {
    let mut command = nacolet();
    command.args(arguments).env("NACOLET_SERVER", format!("http://{}", node.address));
    command.env_remove("NACOLET_USERNAME").env_remove("NACOLET_PASSWORD");
    command
}

/// As a user, with a line of standard input.
fn run(node: &Node, (name, password): (&str, &str), arguments: &[&str], input: &str) -> Output {
    let mut command = command(node, arguments);
    command.env("NACOLET_USERNAME", name).env("NACOLET_PASSWORD", password);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    let mut pipe = child.stdin.take().expect("standard input is piped");
    // It may end without reading.
    let _ = pipe.write_all(input.as_bytes());
    drop(pipe);
    child.wait_with_output().expect("the binary ends")
}

fn ok(node: &Node, user: (&str, &str), arguments: &[&str], input: &str) -> String {
    let output = run(node, user, arguments, input);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?} failed: {errors}");
    String::from_utf8(output.stdout).expect("output is text")
}

fn fails(output: &Output, part: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it should have failed with {part:?}");
    assert!(errors.contains(part), "{errors:?} does not contain {part:?}");
}

#[test]
fn users_roles_and_permissions_are_administered_from_the_command_line() {
    let data = TempDir::new("users");
    let node = start(&data);
    let admin = |arguments: &[&str]| ok(&node, ADMIN, arguments, "");
    ok(&node, ADMIN, &["user", "add", "bob"], "first secret\n");
    let bob = ("bob", "first secret");
    fails(&run(&node, ADMIN, &["user", "add", "bob"], "other secret\n"), "exists already");
    let publish = ["config", "set", "app", "a: 1", "-n", "team"];
    fails(&run(&node, bob, &publish, ""), "authorization failed!");
    fails(&run(&node, ADMIN, &["role", "add", "dev", "eve"], ""), "no such user");
    let resource = "team:*:config/*";
    let permit = ["permission", "add", "dev", resource, "rw"];
    fails(&run(&node, ADMIN, &permit, ""), "no such role");
    admin(&["role", "add", "dev", "bob"]);
    admin(&permit);

    ok(&node, bob, &publish, "");
    assert_eq!(ok(&node, bob, &["config", "get", "app", "-n", "team"], ""), "a: 1");
    let elsewhere = ["config", "set", "app", "a: 1", "-n", "others"];
    fails(&run(&node, bob, &elsewhere, ""), "authorization failed!");
    fails(&run(&node, bob, &["user", "ls"], ""), "authorization failed!");

    assert_eq!(admin(&["user", "ls"]), "USER\nbob\nnacos\n");
    let names: serde_json::Value =
        serde_json::from_str(&admin(&["user", "ls", "--json"])).expect("it is JSON");
    assert_eq!(names, serde_json::json!([{ "username": "bob" }, { "username": "nacos" }]));
    assert!(admin(&["role", "ls"]).contains("dev         bob\n"));
    assert!(admin(&["permission", "ls"]).contains("dev   team:*:config/*  rw\n"));

    // Everybody may change the own password; what was valid before is not any more.
    let file = data.path().join("new");
    std::fs::write(&file, "second secret\n").expect("the folder is writable");
    let file = file.to_str().expect("the path is text");
    ok(&node, bob, &["user", "passwd", "bob", "--new-password-file", file], "");
    fails(&run(&node, bob, &publish, ""), "do not fit");
    let bob = ("bob", "second secret");
    ok(&node, bob, &publish, "");

    admin(&["permission", "rm", "dev", resource, "rw"]);
    fails(&run(&node, bob, &publish, ""), "authorization failed!");
    admin(&["role", "rm", "dev", "bob"]);
    admin(&["user", "rm", "bob"]);
    fails(&run(&node, bob, &publish, ""), "do not fit");
    fails(&run(&node, ADMIN, &["user", "rm", "nacos"], ""), "cannot delete admin");
    for gone in [
        &["permission", "rm", "dev", resource, "rw"][..],
        &["role", "rm", "dev", "bob"],
        &["user", "rm", "bob"],
    ] {
        fails(&run(&node, ADMIN, gone, ""), "does not exist");
    }
}

#[test]
fn who_is_not_let_in_is_told_why_and_no_password_is_told() {
    let data = TempDir::new("who");
    let node = start(&data);
    let get = ["config", "get", "app"];
    let nobody = |arguments: &[&str]| command(&node, arguments).output().expect("the binary runs");
    for arguments in [&get[..], &["service", "ls"], &["cluster", "status"], &["user", "ls"]] {
        fails(&nobody(arguments), "give --username NAME and --password-file FILE");
    }
    fails(&nobody(&["config", "get", "app", "--username", "nacos"]), "without a password");
    let file = data.path().join("first");
    let file = file.to_str().expect("the path is text");
    let with_file = ["--username", "nacos", "--password-file", file];
    fails(&nobody(&[&get[..], &with_file].concat()), "app does not exist");
    let without_user = "a password is given without a user: add --username NAME";
    fails(&nobody(&["config", "get", "app", "--password-file", file]), without_user);
    fails(&run(&node, ("", "lone secret"), &get, ""), without_user);
    fails(&run(&node, ("nacos", ""), &get, ""), "without a password");
    let wrong = run(&node, ("nacos", "wrong secret"), &get, "");
    fails(&wrong, "the user name nacos and the password do not fit");
    assert!(!String::from_utf8_lossy(&wrong.stderr).contains("wrong secret"));
    fails(&run(&node, ADMIN, &["user", "add", "bob"], ""), "no new password");
    fails(&run(&node, ADMIN, &["user", "add", "bob"], "x\n"), "a password has");
}

/// A new password ends all tokens, even if it is the same one.
#[test]
fn who_watches_logs_in_again_when_the_token_is_no_longer_good() {
    let data = TempDir::new("again");
    let node = start(&data);
    let line = format!("{}\n", ADMIN.1);
    ok(&node, ADMIN, &["config", "set", "app", "one"], "");
    let mut watch = command(&node, &["config", "watch", "app"]);
    watch.env("NACOLET_USERNAME", ADMIN.0).env("NACOLET_PASSWORD", ADMIN.1);
    let mut watch = watch.stdout(Stdio::piped()).spawn().expect("the binary runs");
    let mut seen = BufReader::new(watch.stdout.take().expect("it is piped")).lines();
    let mut next = || seen.next().expect("it goes on").expect("it is text");
    assert_eq!(next(), "one");
    ok(&node, ADMIN, &["user", "passwd", "nacos"], &line);
    ok(&node, ADMIN, &["config", "set", "app", "two"], "");
    assert_eq!(next(), "two");
    watch.kill().expect("it runs");
    watch.wait().expect("it ends");
}
