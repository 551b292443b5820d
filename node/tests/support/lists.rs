//! What long lists of services and instances take of a node.

use super::siege::{alone, one_answer_of};
use super::support::grpc::Grpc;
use super::support::{Node, TempDir};
use super::{KIB, MIB, answer_bytes};

/// A batch of instances of one service, each with so much metadata.
fn publish_many(node: &Node, service: &str, from: usize, count: usize, text: &str) -> Grpc {
    let instance = |number: usize| {
        let (high, low) = (number / 250, number % 250);
        format!(r#"{{"ip":"10.0.{high}.{low}","port":80,"metadata":{{"m":"{text}"}}}}"#)
    };
    let instances: Vec<String> = (from..from + count).map(instance).collect();
    let mut grpc = Grpc::connect(&node.address);
    let answer = grpc.ask(
        "BatchInstanceRequest",
        &format!(
            r#"{{"namespace":"public","groupName":"g","serviceName":"{service}",
                "type":"batchRegisterInstance","instances":[{}]}}"#,
            instances.join(",")
        ),
    );
    assert!(answer.json.contains("\"success\":true"), "{answer:?}");
    grpc
}

/// Each is counted like a body while it is made, and nothing is made beside it.
#[test]
fn a_list_takes_its_own_bytes_however_long_it_is() {
    let _alone = alone();
    let data = TempDir::new("greedy");
    let node = Node::try_start(data.path(), &[]).expect("the node becomes ready");
    let text = "x".repeat(2 * KIB);
    let mut clients = Vec::new();
    for service in ["big", "other"] {
        clients.extend((0..4).map(|n| publish_many(&node, service, n * 1_000, 1_000, &text)));
    }
    let long = "n".repeat(400);
    clients.extend((0..4).map(|_| Grpc::connect(&node.address)));
    let (count, each) = (clients.len(), 500);
    for (number, client) in clients[count - 4..].iter_mut().enumerate() {
        (0..each).for_each(|n| client.register(&format!("{long}{number}-{n}"), "10.0.0.9"));
    }
    let of = "serviceName=big&groupName=g&clusterName=DEFAULT&pageNo=1&pageSize=5000";
    for (what, target, least) in [
        ("v1 list", "/v1/ns/instance/list?serviceName=g@@big".to_owned(), 8),
        ("v2 list", format!("/v2/ns/instance/list?{of}"), 8),
        ("v3 list", format!("/v3/client/ns/instance/list?{of}"), 8),
        ("v3 admin list", format!("/v3/admin/ns/instance/list?{of}"), 8),
        ("v1 catalog", format!("/v1/ns/catalog/instances?{of}"), 1),
        ("v2 catalog", format!("/v2/ns/catalog/instances?{of}"), 1),
        (
            "v1 services with instances",
            "/v1/ns/catalog/services?withInstances=true&groupNameParam=g&pageNo=1&pageSize=500"
                .to_owned(),
            16,
        ),
        (
            "v3 services with instances",
            "/v3/admin/ns/service/list?withInstances=true&groupNameParam=g&pageNo=1&pageSize=500"
                .to_owned(),
            16,
        ),
        (
            "v1 names",
            "/v1/ns/service/list?pageNo=1&pageSize=20000&groupName=DEFAULT_GROUP".to_owned(),
            0,
        ),
        ("all names", "/v1/ns/service/names".to_owned(), 1),
    ] {
        one_answer_of(&node, what, |node| {
            let bytes = answer_bytes(node, &format!("/nacos{target}"));
            assert!(bytes > least * MIB, "{target}: {bytes}");
            bytes
        });
    }
    one_answer_of(&node, "gRPC list", |node| {
        let query = r#"{"namespace":"public","serviceName":"big","groupName":"g"}"#;
        let mut grpc = Grpc::open_wide(&node.address);
        grpc.set_up(r#"{"labels":{}}"#);
        while grpc.ask("HealthCheckRequest", "{}").kind != "HealthCheckResponse" {}
        let bytes = grpc.ask("ServiceQueryRequest", query).json.len();
        assert!(bytes > 8 * MIB, "{bytes}");
        bytes
    });
}
