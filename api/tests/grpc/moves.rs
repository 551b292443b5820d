//! gRPC connections are sent to another member.

use std::time::Duration;

use nacolet_api::Call;
use serde_json::{Value, json};

use crate::client::{Client, run};
use crate::world::World;

const QUIET: Duration = Duration::from_millis(400);
const CURRENT: &str = "/nacos/v3/admin/core/loader/reloadCurrent";
const CLIENT: &str = "/nacos/v3/admin/core/loader/reloadClient";

async fn ask(world: &World, method: &str, target: &str) -> (u16, Value) {
    let method = method.parse().expect("a method");
    let call = Call { method, uri: target.parse().expect("a target"), ..Call::default() };
    let answer = world.server.call(call).await;
    let status = answer.status.as_u16();
    let text = String::from_utf8(answer.body.to_vec()).expect("text");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// The id by which the server calls a client.
async fn id_of(client: &mut Client) -> String {
    let check = client.done("ServerCheckRequest", json!({}), "ServerCheckResponse").await;
    check["connectionId"].as_str().expect("an id").to_owned()
}

#[test]
fn all_but_so_many_clients_are_told_which_member_to_go_to() {
    let world = World::new();
    run(async {
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(Client::set_up(world.address).await);
        }
        let (status, told) = ask(&world, "POST", &format!("{CURRENT}?count=1")).await;
        assert_eq!((status, &told["code"]), (200, &json!(0)), "{told}");
        let mut told = 0;
        for client in &mut clients {
            let id = id_of(client).await;
            let Some(order) = client.heard_within(QUIET).await else { continue };
            told += 1;
            assert_eq!(order.kind, "ConnectResetRequest");
            let [host, port] = ["serverIp", "serverPort"].map(|name| order.body[name].clone());
            assert_eq!((host, port), (json!("10.0.0.8"), json!("8848")), "the other member");
            assert_eq!(order.body["connectionId"], json!(id));
        }
        assert_eq!(told, 2, "one may stay");
        // Those that are on their way are not told again at once, and nobody else is.
        ask(&world, "POST", &format!("{CURRENT}?count=1")).await;
        for client in &mut clients {
            assert!(client.hears_nothing(QUIET).await);
        }
    });
}

#[test]
fn one_client_goes_and_only_to_a_member() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        let mut other = Client::set_up(world.address).await;
        let id = id_of(&mut client).await;
        for nowhere in ["10.0.0.77:8848", "evil.example:80", "127.0.0.1:8848", "x"] {
            let target = format!("{CLIENT}?connectionId={id}&redirectAddress={nowhere}");
            let (status, told) = ask(&world, "POST", &target).await;
            assert_eq!((status, &told["code"]), (400, &json!(20002)), "{nowhere}");
        }
        let (status, told) = ask(&world, "POST", CLIENT).await;
        assert_eq!((status, &told["code"]), (400, &json!(10000)), "which one?");
        let (status, _) = ask(&world, "POST", &format!("{CLIENT}?connectionId=nobody")).await;
        assert_eq!(status, 200);
        assert!(client.hears_nothing(QUIET).await);
        let target = format!("{CLIENT}?connectionId={id}&redirectAddress=10.0.0.8:8848");
        let (status, told) = ask(&world, "POST", &target).await;
        assert_eq!((status, told), (200, json!({"code": 0, "message": "success", "data": null})));
        let order = client.heard().await.expect("the stream lives");
        assert_eq!(
            (order.kind.as_str(), &order.body["serverPort"]),
            ("ConnectResetRequest", &json!("8848"))
        );
        assert!(other.hears_nothing(QUIET).await);
    });
}

#[test]
fn the_second_version_changes_by_get_but_for_no_page_of_another_site() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        let path = "/nacos/v2/core/loader/reloadCurrent?count=0";
        let mut call = Call { uri: path.parse().expect("a target"), ..Call::default() };
        call.headers.insert("sec-fetch-site", "cross-site".parse().expect("a value"));
        assert_eq!(world.server.call(call).await.status.as_u16(), 403);
        assert!(client.hears_nothing(QUIET).await);
        assert_eq!(ask(&world, "GET", path).await, (200, json!("success")));
        assert_eq!(client.heard().await.expect("the stream lives").kind, "ConnectResetRequest");
        let (status, _) = ask(&world, "GET", "/nacos/v2/core/loader/reloadCurrent").await;
        assert_eq!(status, 400, "how many may stay?");
    });
}

#[test]
fn the_connections_of_a_node_are_shown_by_their_ids() {
    let world = World::new();
    run(async {
        let current = "/nacos/v3/admin/core/loader/current";
        let (_, none) = ask(&world, "GET", current).await;
        assert_eq!(none["data"], json!({}));
        let mut client = Client::set_up(world.address).await;
        let id = id_of(&mut client).await;
        let (_, one) = ask(&world, "GET", current).await;
        let info = &one["data"][&id]["metaInfo"];
        assert_eq!((&info["connectionId"], &info["connectType"]), (&json!(id), &json!("GRPC")));
        assert_eq!((&info["clientIp"], &info["sdkSource"]), (&json!("127.0.0.1"), &json!(true)));
        let (_, old) = ask(&world, "GET", "/nacos/v2/core/loader/current").await;
        assert_eq!(old[&id]["metaInfo"]["connectionId"], json!(id), "without an envelope");
    });
}

#[test]
fn the_loads_of_all_members_are_told_and_brought_together() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        id_of(&mut client).await;
        let (_, loads) = ask(&world, "GET", "/nacos/v3/admin/core/loader/cluster").await;
        let loads = &loads["data"];
        // The other has five.
        let sums = ["total", "max", "min", "avg", "memberCount", "metricsCount"]
            .map(|name| loads[name].as_u64().expect("a number"));
        assert_eq!((sums, &loads["completed"]), ([6, 5, 1, 3, 2, 2], &json!(true)), "{loads}");
        let counts: Vec<&Value> = loads["detail"].as_array().expect("a list").iter().collect();
        assert_eq!(counts.len(), 2);
        assert_eq!(loads["threshold"], json!("3.3"));
        let (_, old) = ask(&world, "GET", "/nacos/v2/core/loader/cluster").await;
        assert_eq!((&old["total"], &old["threshold"]), (&json!(6), &json!(3.3)));
        assert!(old["detail"][0]["metric"]["sdkConCount"].is_string(), "{old}");
        let smart = "/nacos/v3/admin/core/loader/smartReloadCluster";
        let (status, told) = ask(&world, "POST", smart).await;
        assert_eq!((status, &told["code"]), (200, &json!(0)), "{told}");
        assert_eq!(world.shifts(), [(2, 3, 1)], "the other keeps three, the rest comes here");
        assert!(client.hears_nothing(QUIET).await, "the emptier one sends nobody away");
        let (status, _) = ask(&world, "POST", &format!("{smart}?loaderFactor=7")).await;
        assert_eq!(status, 400);
    });
}
