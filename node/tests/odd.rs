//! A member that loses a command while it applies the log: it notices, stops, and gets what the
//! others have when it is started again.
#![cfg(feature = "failpoints")]

#[expect(dead_code, reason = "each test binary uses its part")]
mod support;

use nacolet_model::limits;
use support::site::{CONFIGS, Site, free_port, roles};

#[test]
fn a_member_with_another_state_than_the_majority_stops_and_begins_anew() {
    let site = Site::new("odd");
    let a = site.start("a", &[]);
    let b = site.join("b", &a);
    let peer = free_port();
    let mut command = site.command("c", peer, &["--join", &a.peer_address()]);
    let lost = limits::STATE_DIGEST_EVERY / 2;
    command.env("NACOLET_LOSES_ENTRY", lost.to_string());
    let c = Site::launch("c", peer, &mut command);
    a.until(|status| roles(status) == ["follower", "follower", "leader"]);
    let id = c.id();
    let mut http = a.http();
    for number in 0..=limits::STATE_DIGEST_EVERY {
        let form = format!("dataId=k{number}&group=g&content=v{number}");
        assert_eq!(http.post(CONFIGS, &form).0, 200);
    }
    let words = c.last_words();
    assert!(words.contains("agrees on another state at log index 1000"), "{words}");

    let c = site.start_at("c", peer, &[]);
    c.until(|status| roles(status) == ["follower", "follower", "leader"]);
    assert_ne!(c.id(), id, "what the old one promised is void");
    let mut http = c.http();
    for number in 0..=limits::STATE_DIGEST_EVERY {
        let read = http.get(&format!("{CONFIGS}?dataId=k{number}&group=g"));
        assert_eq!(read, (200, format!("v{number}")));
    }
    for member in [&a, &b] {
        let (_, page) = member.http().get("/nacos/metrics");
        assert!(page.contains("states_differing_total"), "{page}");
    }
}
