//! A node that has little memory: what it takes, what it refuses and in which words, and that it
//! comes back within the same bound.

#[expect(dead_code, reason = "each test binary uses its part")]
mod support;

use support::site::{Site, eventually};
use support::{Http, Node, TempDir};

const CONFIGS: &str = "/nacos/v1/cs/configs";
const BYTES: usize = 20_000;
/// The least that there may be.
const LITTLE: (&str, &str) = ("NACOLET_MEMORY_MAX", "4194304");

fn start(data: &TempDir) -> Node {
    Node::try_start(data.path(), &[LITTLE]).expect("the node becomes ready")
}

fn publish(http: &mut Http, number: usize, letter: &str) -> (u16, String) {
    let content = letter.repeat(BYTES);
    http.post(CONFIGS, &format!("dataId=d{number}&group=g&content={content}"))
}

fn read(http: &mut Http, number: usize) -> (u16, String) {
    http.get(&format!("{CONFIGS}?dataId=d{number}&group=g"))
}

fn remove(http: &mut Http, number: usize) -> u16 {
    http.call("DELETE", &format!("{CONFIGS}?dataId=d{number}&group=g"), "").expect("an answer").0
}

/// Publishes new configs until one is refused; says how many there are then.
fn fill(http: &mut Http) -> usize {
    for number in 0..400 {
        let (status, words) = publish(http, number, "x");
        if status != 200 {
            assert_eq!(status, 409, "{words}");
            assert!(words.contains("4194304 bytes") && words.contains("memory-max"), "{words}");
            return number;
        }
    }
    panic!("nothing is refused");
}

#[test]
fn a_node_with_little_memory_refuses_before_it_is_full_and_comes_back_within_its_bound() {
    let data = TempDir::new("memory");
    let node = start(&data);
    let mut http = node.http();
    let count = fill(&mut http);
    assert!((180..210).contains(&count), "{count} configs of {BYTES} bytes in 4 MiB");
    // Any number of updates of what is there, and their past costs nothing more.
    for update in 0..1_500 {
        let letter = ["a", "b"][update % 2];
        assert_eq!(publish(&mut http, update % count, letter).0, 200);
    }
    assert_eq!(read(&mut http, 5).1.len(), BYTES);
    let (_, past) =
        http.get(&format!("{CONFIGS}?dataId=d5&group=g&search=accurate&pageNo=1&pageSize=5"));
    assert!(past.contains("d5"), "{past}");
    // Whoever deletes has room.
    assert_eq!(publish(&mut http, 999, "x").0, 409);
    assert_eq!(remove(&mut http, 7), 200);
    assert_eq!(publish(&mut http, 999, "x").0, 200);
    node.kill();

    let node = start(&data);
    let mut http = node.http();
    assert_eq!(read(&mut http, 7).0, 404);
    for number in (0..count).filter(|number| *number != 7).chain([999]) {
        assert_eq!(read(&mut http, number).1.len(), BYTES, "{number}");
    }
    assert_eq!(publish(&mut http, 1_000, "x").0, 409);
    assert_eq!(remove(&mut http, 999), 200);
    assert!(node.terminate().success());

    // Somebody gave it more.
    let node = Node::try_start(data.path(), &[("NACOLET_MEMORY_MAX", "8388608")]).expect("ready");
    assert_eq!(publish(&mut node.http(), 1_000, "x").0, 200);
    assert_eq!(publish(&mut node.http(), 1_001, "x").0, 200);
}

#[test]
fn a_node_with_little_memory_takes_no_more_instances_than_it_has_room_for() {
    let data = TempDir::new("memory-instances");
    let node = start(&data);
    let mut http = node.http();
    let metadata = format!("a={}", "m".repeat(5_000));
    let mut register = |number: usize| {
        let ip = format!("10.0.{}.{}", number / 200, number % 200);
        let form = format!("serviceName=s&ip={ip}&port=1&metadata={metadata}");
        http.post("/nacos/v1/ns/instance", &form).0
    };
    let taken = (0..400).take_while(|number| register(*number) == 200).count();
    assert!((80..105).contains(&taken), "{taken} instances of 5,000 bytes in 512 KiB");
    assert_eq!(register(0), 200, "one that is there may come again");
    let (status, list) = node.http().get("/nacos/v1/ns/instance/list?serviceName=s");
    assert!(status == 200 && list.contains("\"10.0.0.5\""), "{status}");
}

#[test]
fn the_member_with_the_least_memory_binds_all_until_it_is_removed() {
    let site = Site::new("memory-cluster");
    let a = site.start("a", &[]);
    let b = site.join("b", &a);
    let c = site.start("c", &["--join", &a.peer_address(), "--memory-max", LITTLE.1]);
    let count = fill(&mut b.http());
    assert!((180..210).contains(&count), "{count} configs of {BYTES} bytes in 4 MiB");
    assert_eq!(publish(&mut a.http(), 999, "x").0, 409);
    // Whoever leads by now takes back what the member said that is gone.
    let gone = c.id();
    c.kill();
    a.ok(&["remove", &gone]);
    eventually("its bound goes with it", || publish(&mut b.http(), 999, "x").0 == 200);
}
