//! Users on real processes: the first administrator, and what members and starts agree on.

#[expect(dead_code, reason = "each test binary uses its part")]
mod support;

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use support::site::{CONFIGS, Member, Site};

const CONFIG: &str = "dataId=k&group=g&content=x";

fn login(member: &Member, user: &str, password: &str) -> Option<String> {
    let form = format!("username={user}&password={password}");
    let (status, body) = member.http().post("/nacos/v1/auth/login", &form);
    let body: Value = serde_json::from_str(&body).ok()?;
    (status == 200).then(|| body["accessToken"].as_str().expect("a token").to_owned())
}

fn post(member: &Member, path: &str, form: &str, token: &str) -> (u16, String) {
    member.http().post(&format!("{path}?accessToken={token}"), form)
}

#[test]
fn all_members_know_the_same_users_and_take_each_others_tokens() {
    let site = Site::new("users");
    let a = site.start("a", &["--auth", "--snapshot-entries", "10"]);
    let file = site.path("a").join("admin-password");
    let password = std::fs::read_to_string(&file).expect("it is there");
    let token = login(&a, "nacos", password.trim()).expect("the first user");
    // The others hear of the users by a snapshot, and so does `a` when it starts again.
    for _ in 0..25 {
        assert_eq!(post(&a, CONFIGS, CONFIG, &token).0, 200);
    }
    let [b, c] = ["b", "c"].map(|name| site.start(name, &["--auth", "--join", &a.peer_address()]));
    let mode = file.metadata().expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for name in ["b", "c"] {
        assert!(!site.path(name).join("admin-password").exists(), "{name} made one of its own");
    }
    assert!(site.path("a").join("snapshots").read_dir().expect("a folder").next().is_some());
    for member in [&a, &b, &c] {
        assert_eq!(member.http().post(CONFIGS, CONFIG).0, 403);
        let (status, body) = post(member, CONFIGS, CONFIG, &token);
        assert_eq!(status, 200, "{body}");
    }

    let user = "username=u&password=battery+staple";
    assert_eq!(post(&b, "/nacos/v3/auth/user", user, &token).0, 200);
    // Whoever wrote reads what it wrote; the others a moment later.
    let theirs = login(&b, "u", "battery+staple").expect("just made");
    assert_eq!(post(&b, CONFIGS, CONFIG, &theirs).0, 403, "no role, no permission");

    let peer = a.peer;
    a.kill();
    let a = site.start_at("a", peer, &["--auth"]);
    assert!(login(&a, "u", "battery+staple").is_some());
    assert_eq!(post(&a, CONFIGS, CONFIG, &token).0, 200, "tokens outlive a start");
    assert!(file.exists(), "the password stays where it was told");
}

#[test]
fn the_log_tells_who_changed_users_and_who_failed_to_log_in() {
    let site = Site::new("told");
    let a = site.start("a", &["--auth"]);
    let password = std::fs::read_to_string(site.path("a").join("admin-password"));
    let password = password.expect("it is there");
    let token = login(&a, "nacos", password.trim()).expect("the first user");
    for _ in 0..3 {
        assert!(login(&a, "nacos", "wrong+horse").is_none());
    }
    assert!(login(&a, "a%0Ab", "wrong+horse").is_none());
    let user = "username=u&password=battery+staple";
    assert_eq!(post(&a, "/nacos/v3/auth/user", user, &token).0, 200);
    assert_eq!(post(&a, "/nacos/v3/auth/role", "role=r&username=u", &token).0, 200);
    let log = a.terminate();
    let lines = |part: &str| log.lines().filter(|line| line.contains(part)).count();
    for (part, times) in [
        (r#"a login failed: user "nacos" from 127.0.0.1"#, 1),
        (r#"a login failed: user "a\nb" from 127.0.0.1"#, 1),
        (r#"the user u is made by="nacos" address=127.0.0.1"#, 1),
        ("the user u gets the role r", 1),
        ("horse", 0),
        ("battery", 0),
        (password.trim(), 0),
    ] {
        assert_eq!(lines(part), times, "{part}: {log}");
    }
}

#[test]
fn the_password_of_the_first_user_may_be_given() {
    let site = Site::new("given");
    let file = site.path("password");
    let path = file.to_str().expect("text");
    let given = ["--auth", "--admin-password-file", path];
    assert!(site.refused("a", &given).contains("cannot read the password"));
    std::fs::write(&file, "short\n").expect("writable");
    assert!(site.refused("a", &given).contains("8 to 72 bytes"));
    std::fs::write(&file, "battery staple\n").expect("writable");
    let a = site.start("a", &given);
    assert!(!site.path("a").join("admin-password").exists());
    assert!(login(&a, "nacos", "battery+staple").is_some());
    // It is of the first start alone.
    let peer = a.peer;
    drop(a);
    std::fs::write(&file, "another one\n").expect("writable");
    let a = site.start_at("a", peer, &given);
    assert!(login(&a, "nacos", "battery+staple").is_some());
    assert!(login(&a, "nacos", "another+one").is_none());
}
