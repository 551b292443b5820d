//! The binary as a stranger meets it: start, use from the command line, stop, start again; and
//! every way not to start, with its sentence.

#[expect(dead_code, reason = "each test binary uses its part")]
mod support;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, SystemTime};

use support::{Node, TempDir, nacolet};

const CONFIGS: &str = "/nacos/v1/cs/configs";

fn run(node: &Node, arguments: &[&str]) -> Output {
    let server = format!("http://{}", node.address);
    let mut command = nacolet();
    command.args(arguments).env("NACOLET_SERVER", server);
    command.output().expect("the binary runs")
}

fn ok(node: &Node, arguments: &[&str]) -> String {
    let output = run(node, arguments);
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
fn configs_are_published_read_searched_and_removed_from_the_command_line() {
    let data = TempDir::new("cli");
    let node = Node::start(data.path());
    ok(&node, &["config", "set", "app.yaml", "a: 1", "--type", "yaml", "--desc", "first"]);
    assert_eq!(ok(&node, &["config", "get", "app.yaml"]), "a: 1");
    let json = ok(&node, &["config", "get", "app.yaml", "--json"]);
    assert!(json.contains("\"type\": \"yaml\"") && json.contains("\"desc\": \"first\""), "{json}");
    let list = ok(&node, &["config", "ls", "app*"]);
    assert!(list.contains("app.yaml") && list.contains("DEFAULT_GROUP"), "{list}");
    let wrong = run(&node, &["config", "set", "app.yaml", "a: 2", "--cas-md5", "0123"]);
    fails(&wrong, "refused");
    ok(&node, &["config", "set", "app.yaml", "a: 2"]);
    let history = ok(&node, &["config", "history", "app.yaml"]);
    assert_eq!(history.lines().count(), 3, "{history}");
    let archive = data.path().join("configs.zip");
    let archive = archive.to_str().expect("the path is text");
    ok(&node, &["config", "export", archive]);
    ok(&node, &["config", "rm", "app.yaml"]);
    fails(&run(&node, &["config", "get", "app.yaml"]), "does not exist");
    let imported = ok(&node, &["config", "import", archive]);
    assert!(imported.starts_with("1 published"), "{imported}");
    assert_eq!(ok(&node, &["config", "get", "app.yaml"]), "a: 2");
}

/// More at once than Raft takes that is not agreed yet.
#[test]
fn an_archive_of_many_large_configs_is_imported_whole() {
    const CONFIGS_OF_A_MIB: usize = 24;
    let data = TempDir::new("cli-large");
    let node = Node::start(data.path());
    let content = "z".repeat(1 << 20);
    for number in 0..CONFIGS_OF_A_MIB {
        let form = format!("dataId=d{number}&group=g&content={content}");
        assert_eq!(node.http().post(CONFIGS, &form).0, 200);
    }
    let archive = data.path().join("configs.zip");
    let archive = archive.to_str().expect("the path is text");
    ok(&node, &["config", "export", archive, "--all-groups"]);
    let imported = ok(&node, &["config", "import", archive, "--policy", "OVERWRITE"]);
    assert!(imported.starts_with(&format!("{CONFIGS_OF_A_MIB} published")), "{imported}");
}

#[test]
fn services_are_registered_and_shown_from_the_command_line() {
    let data = TempDir::new("cli-service");
    let node = Node::start(data.path());
    let address = ["--ip", "10.0.0.7", "--port", "80", "--persistent"];
    let register = [["service", "register", "web", "-m", "zone=a"].as_slice(), &address].concat();
    ok(&node, &register);
    let shown = ok(&node, &["service", "show", "web"]);
    assert!(shown.contains("10.0.0.7") && shown.contains("zone"), "{shown}");
    assert!(shown.contains("raft") && shown.contains(&node.address), "{shown}");
    let listed = ok(&node, &["service", "ls"]);
    assert!(listed.contains("web"), "{listed}");
    ok(&node, &[["service", "deregister", "web"].as_slice(), &address].concat());
    assert!(!ok(&node, &["service", "show", "web"]).contains("10.0.0.7"));
}

#[test]
fn an_orderly_stop_keeps_everything_and_ends_well() {
    let data = TempDir::new("stop");
    let node = Node::start(data.path());
    let mut http = node.http();
    assert_eq!(http.post(CONFIGS, "dataId=a&group=g&content=x").0, 200);
    let persistent = "serviceName=s&ip=1.1.1.1&port=1&ephemeral=false";
    assert_eq!(http.post("/nacos/v1/ns/instance", persistent), (200, "ok".to_owned()));
    assert!(node.terminate().success());
    let node = Node::start(data.path());
    let mut http = node.http();
    assert_eq!(http.get(&format!("{CONFIGS}?dataId=a&group=g")), (200, "x".to_owned()));
    let (_, list) = http.get("/nacos/v1/ns/instance/list?serviceName=s");
    assert!(list.contains("1.1.1.1"), "{list}");
    assert_eq!(http.get("/nacos/v1/console/health/readiness"), (200, "OK".to_owned()));
}

#[test]
fn a_second_process_is_refused_the_same_directory() {
    let data = TempDir::new("twice");
    let _node = Node::start(data.path());
    let mut second = nacolet();
    let second = second.args(["--http-addr", "127.0.0.1:0", "--data-dir"]).arg(data.path());
    fails(&second.output().expect("the binary runs"), "another process");
}

#[test]
fn a_second_process_is_refused_the_same_address() {
    let (data, other) = (TempDir::new("port"), TempDir::new("port"));
    let node = Node::start(data.path());
    let mut second = nacolet();
    let second = second.args(["--http-addr", &node.address, "--data-dir"]).arg(other.path());
    fails(&second.output().expect("the binary runs"), "cannot listen on");
}

#[test]
fn settings_say_where_each_value_comes_from() {
    let mut command = nacolet();
    command.args(["settings", "--json", "--http-addr", "127.0.0.1:9"]).env("NACOLET_THREADS", "2");
    let output = command.output().expect("the binary runs");
    let text = String::from_utf8(output.stdout).expect("output is text");
    let json: serde_json::Value = serde_json::from_str(&text).expect("output is JSON");
    assert_eq!(json["http-addr"]["origin"], "flag");
    assert_eq!(json["threads"]["origin"], "environment");
    assert_eq!(json["data-dir"]["origin"], "default");
}

#[test]
fn one_thread_is_enough() {
    let data = TempDir::new("one-thread");
    let environment = [("NACOLET_THREADS", "0")];
    let node = Node::try_start(data.path(), &environment).expect("the node becomes ready");
    let mut http = node.http();
    assert_eq!(http.post(CONFIGS, "dataId=a&group=g&content=x").0, 200);
    assert_eq!(http.get(&format!("{CONFIGS}?dataId=a&group=g")), (200, "x".to_owned()));
    assert!(node.terminate().success());
}

/// Every file of a directory, and what tells whether it was written.
fn files(folder: &Path) -> Vec<(PathBuf, u64, SystemTime)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("it is there") {
        let entry = entry.expect("it is there");
        let facts = entry.metadata().expect("it is there");
        if facts.is_dir() {
            files.extend(self::files(&entry.path()));
        } else {
            files.push((entry.path(), facts.len(), facts.modified().expect("a time")));
        }
    }
    files.sort();
    files
}

/// Cards wear out by what is written.
#[test]
fn beats_and_reads_write_nothing() {
    let data = TempDir::new("wear");
    let node = Node::start(data.path());
    let mut http = node.http();
    let instance = "serviceName=s&ip=10.0.0.1&port=80";
    assert_eq!(http.post("/nacos/v1/ns/instance", instance).0, 200);
    let before = files(data.path());
    assert_eq!(http.post(CONFIGS, "dataId=a&group=g&content=x").0, 200);
    let published = files(data.path());
    assert_ne!(published, before, "a publish is seen");
    for _ in 0..20 {
        let beat = format!("/nacos/v1/ns/instance/beat?{instance}");
        assert_eq!(http.call("PUT", &beat, "").expect("an answer").0, 200);
        assert_eq!(http.get(&format!("{CONFIGS}?dataId=a&group=g")).0, 200);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(files(data.path()), published);
}

/// A request that was refused must not stand in the log and be refused by every start from then on.
#[test]
fn what_was_refused_does_not_stop_a_start() {
    let data = TempDir::new("poison");
    let node = Node::start(data.path());
    let mut http = node.http();
    assert_eq!(http.post(CONFIGS, "dataId=a&group=g&content=x").0, 200);
    let instance = "/nacos/v1/ns/instance";
    assert_eq!(http.post(instance, "serviceName=p&ip=10.0.0.1&port=80&ephemeral=false").0, 200);
    let long = "n".repeat(3_000);
    let checker = "%7B%22type%22:%22MYSQL%22,%22cmd%22:%22select%201%22%7D";
    let refused = [
        ("POST", CONFIGS, "dataId=a&group=g&content=".to_owned()),
        ("POST", CONFIGS, format!("dataId={long}&group=g&content=y")),
        ("POST", CONFIGS, "dataId=a%20b&group=g&content=y".to_owned()),
        ("POST", "/nacos/v2/cs/config", format!("dataId=a&group=g&namespaceId={long}&content=y")),
        ("POST", instance, "serviceName=p&ip=10.0.0.2&port=99999&ephemeral=false".to_owned()),
        ("POST", instance, format!("serviceName={long}&ip=10.0.0.2&port=80&ephemeral=false")),
        ("POST", instance, "serviceName=p&ip=10.0.0.1&port=80&ephemeral=true".to_owned()),
        ("POST", "/nacos/v1/ns/service", "serviceName=q&selector=x".to_owned()),
        ("POST", "/nacos/v1/ns/service", "serviceName=p".to_owned()),
        ("DELETE", "/nacos/v1/ns/service?serviceName=p", String::new()),
        (
            "PUT",
            "/nacos/v1/ns/cluster",
            format!("serviceName=p&clusterName=DEFAULT&healthChecker={checker}"),
        ),
        ("PUT", "/nacos/v1/ns/health/instance", "serviceName=p&ip=10.0.0.9&port=1".to_owned()),
        ("POST", "/nacos/v1/console/namespaces", "customNamespaceId=a%2Fb".to_owned()),
        ("PUT", "/nacos/v1/ns/operator/switches", "entry=pushCacheMillis&value=no".to_owned()),
    ];
    for (method, target, form) in refused {
        let (status, body) = http.call(method, target, &form).expect("an answer");
        let body = String::from_utf8_lossy(&body);
        let text = body.chars().take(200).collect::<String>();
        assert!(status >= 400, "{method} {target} {:.60}: {status} {text}", form);
    }
    node.kill();
    let node = Node::start(data.path());
    let mut http = node.http();
    assert_eq!(http.get(&format!("{CONFIGS}?dataId=a&group=g")), (200, "x".to_owned()));
    let (_, list) = http.get("/nacos/v1/ns/instance/list?serviceName=p");
    assert!(list.contains("10.0.0.1") && !list.contains("10.0.0.2"), "{list}");
}

/// A client that comes from another node would take no list that is older than what it has.
#[test]
fn reference_times_are_those_of_the_clock_however_a_node_ended() {
    const INSTANCE: &str = "/nacos/v1/ns/instance";
    let data = TempDir::new("ref-time");
    let mut last = 0;
    for life in 0..6 {
        let node = Node::start(data.path());
        for instance in 0..3 {
            let form = format!("serviceName=s&ip=10.0.0.{instance}&port=80");
            assert_eq!(node.http().post(INSTANCE, &form).0, 200);
            let (_, list) = node.http().get(&format!("{INSTANCE}/list?serviceName=s"));
            let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
            let shown = list["lastRefTime"].as_u64().expect("a number");
            let now = wall_ms();
            assert!(shown > last, "life {life}: {shown} after {last}");
            assert!(shown.abs_diff(now) < 2_000, "life {life}: {shown} at {now}");
            last = shown;
        }
        if life % 2 == 0 {
            node.kill();
        } else {
            assert!(node.terminate().success());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "what a client compares with its clock")]
fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_millis()).expect("not yet")
}
