//! What settings are taken for right, and where each came from.

use clap::{Command, FromArgMatches};

use super::*;

fn resolve(arguments: &[&str]) -> Result<(Settings, Vec<Line>), SettingsError> {
    let command = ServeArgs::augment_args(Command::new("serve").no_binary_name(true));
    let matches = command.get_matches_from(arguments);
    let args = ServeArgs::from_arg_matches(&matches).unwrap_or_default();
    args.resolve(&matches)
}

fn file(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("nacolet-{}-{name}.toml", std::process::id()));
    std::fs::write(&path, text).expect("the temporary folder is writable");
    path
}

#[test]
fn defaults_are_the_documented_ones() {
    let (settings, lines) = resolve(&[]).expect("defaults are right");
    assert_eq!(settings.data_dir, Path::new("nacolet-data"));
    assert_eq!(settings.http_addr, "127.0.0.1:8848".parse().expect("an address"));
    assert_eq!(settings.grpc_addr, "127.0.0.1:9848".parse().expect("an address"));
    assert!(lines.iter().all(|line| line.origin == Origin::Default));
}

#[test]
fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
    let path = file("merge", "threads = 1\nhttp-addr = \"127.0.0.1:9000\"\n");
    let path = path.to_str().expect("the path is text");
    let (settings, lines) =
        resolve(&["--settings", path, "--http-addr", "localhost:9001"]).expect("right");
    std::fs::remove_file(path).expect("the file is there");
    assert_eq!((settings.threads, settings.http_addr.port()), (1, 9001));
    let origin = |key| lines.iter().find(|l| l.key == key).map(|l| l.origin);
    assert_eq!(origin("threads"), Some(Origin::File));
    assert_eq!(origin("http-addr"), Some(Origin::Flag));
}

#[test]
fn how_many_connections_an_address_has_is_a_setting() {
    let (settings, _) = resolve(&[]).expect("right");
    assert_eq!((settings.connections_per_address, settings.trusted_proxies), (128, Vec::new()));
    let path = file("doors", "connections-per-address = 9\ntrusted-proxy = [\"10.0.0.7\"]\n");
    let path = path.to_str().expect("the path is text");
    let given = ["--settings", path, "--trusted-proxy", "10.0.0.0/8,2001:db8::/32"];
    let (settings, lines) = resolve(&given).expect("right");
    std::fs::remove_file(path).expect("the file is there");
    let networks: Vec<String> = settings.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!((settings.connections_per_address, networks.len()), (9, 2));
    assert_eq!(networks, ["10.0.0.0/8", "2001:db8::/32"]);
    let line = lines.iter().find(|line| line.key == "trusted-proxy").expect("it is listed");
    assert_eq!((line.value.as_str(), line.origin), ("10.0.0.0/8,2001:db8::/32", Origin::Flag));
}

#[test]
fn memory_is_a_setting_and_half_of_what_there_is() {
    let (settings, lines) = resolve(&[]).expect("right");
    let stated = limits::ROOM_BYTES_MIN..=limits::ROOM_BYTES_MAX;
    assert!(stated.contains(&settings.room.0), "{:?}", settings.room);
    assert!(lines.iter().any(|line| line.key == MEMORY_MAX && line.origin == Origin::Default));
    let path = file("memory", "memory-max = 16777216\n");
    let (settings, _) =
        resolve(&["--settings", path.to_str().expect("the path is text")]).expect("right");
    std::fs::remove_file(path).expect("the file is there");
    assert_eq!(settings.room.stated(), Some(16 << 20));
    let (settings, _) = resolve(&["--memory-max", "9000000000"]).expect("right");
    assert_eq!(settings.room.stated(), None);
}

#[test]
fn nothing_is_probed_unless_asked_for() {
    assert!(!resolve(&[]).expect("right").0.probe);
    let (settings, lines) = resolve(&["--probe"]).expect("right");
    let line = lines.iter().find(|line| line.key == "probe").expect("it is listed");
    assert!(settings.probe);
    assert_eq!((line.value.as_str(), line.origin), ("true", Origin::Flag));
    let path = file("probe", "probe = true\n");
    let (settings, _) =
        resolve(&["--settings", path.to_str().expect("the path is text")]).expect("right");
    std::fs::remove_file(path).expect("the file is there");
    assert!(settings.probe);
}

#[test]
fn a_cluster_key_makes_a_member_of_a_node() {
    let (alone, _) = resolve(&["--advertise-host", "box"]).expect("right");
    assert_eq!((alone.advertise_host.as_deref(), alone.cluster), (Some("box"), None));
    let key = ["--cluster-key-file", "k"];
    let (settings, _) = resolve(&key).expect("right");
    let cluster = settings.cluster.expect("a member");
    assert_eq!(cluster.peer_addr, "127.0.0.1:7848".parse().expect("an address"));
    assert_eq!((cluster.host.as_str(), cluster.learner), ("127.0.0.1", false));
    let more = ["--join", "a:1,b:2", "--learner", "--advertise-host", "::1"];
    let (settings, lines) = resolve(&[key.as_slice(), &more].concat()).expect("right");
    let cluster = settings.cluster.expect("a member");
    assert_eq!(cluster.join, ["a:1", "b:2"]);
    assert_eq!((cluster.host.as_str(), cluster.learner), ("[::1]", true));
    let line = lines.iter().find(|line| line.key == "join").expect("it is listed");
    assert_eq!((line.value.as_str(), line.origin), ("a:1,b:2", Origin::Flag));
}

#[test]
fn wrong_settings_are_refused_with_a_reason() {
    let unknown = file("unknown", "htp-addr = \"127.0.0.1:1\"\n");
    let unknown = unknown.to_str().expect("the path is text");
    let cases: [(&[&str], &str); 18] = [
        (&["--settings", unknown], "htp-addr"),
        (&["--settings", "/nonexistent/x.toml"], "cannot read"),
        (&["--http-addr", "8848"], "HOST:PORT"),
        (&["--http-addr", "0.0.0.0:8848"], "--allow-anonymous"),
        (&["--auth", "--allow-anonymous"], "opposites"),
        (&["--admin-password-file", "p"], "without auth"),
        (&["--threads", "5"], "0 to 4"),
        (&["--connections-per-address", "1"], "2 to"),
        (&["--trusted-proxy", "10.0.0.0/33"], "no address and no network"),
        (&["--log-file-bytes", "1"], "64 KiB"),
        (&["--memory-max", "4194303"], "4 MiB and more"),
        (&["--log-purge-bytes", "70000"], "log-file-bytes to"),
        (&["--join", "127.0.0.1:7848"], "join is given without cluster-key-file"),
        (&["--learner"], "learner is given without"),
        (&["--peer-addr", "127.0.0.1:7848"], "peer-addr is given without"),
        (&["--cluster-key-file", "k", "--peer-addr", "0.0.0.0:1"], "--advertise-host"),
        (&["--cluster-key-file", "k", "--http-addr", "127.0.0.1:900"], "give --peer-addr"),
        (&["--advertise-host", "a b"], "no host name"),
    ];
    for (arguments, part) in cases {
        let error = resolve(arguments).expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    }
    std::fs::remove_file(unknown).expect("the file is there");
    assert!(resolve(&["--http-addr", "0.0.0.0:8848", "--allow-anonymous"]).is_ok());
    let (settings, _) = resolve(&["--http-addr", "0.0.0.0:8848", "--auth"]).expect("right");
    assert_eq!(settings.auth, Some(AuthSettings { password_file: None }));
    let exposed = resolve(&["--grpc-addr", "0.0.0.0:9848"]).expect_err("exposed").to_string();
    assert!(exposed.starts_with("grpc-addr"), "{exposed}");
}
