//! Who is connected, subscribes and listens over gRPC, as the paths of HTTP tell it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use nacolet_api::who::{Connected, Found, UdpSubscribed, Watcher};
use nacolet_config::Md5;
use nacolet_model::{ConfigKey, DataId, Group, Namespace, ServiceKey, ServiceName, WallTime};
use nacolet_registry::{ClientId, Life, Subscriber};
use serde_json::{Value, json};

use crate::client::{Client, run};
use crate::instances::register;
use crate::world::World;

/// The body of a `GET`.
async fn get(address: SocketAddr, target: &str) -> Value {
    over_http(address, "GET", target).await
}

/// The body of the answer to a call without one.
pub(crate) async fn over_http(address: SocketAddr, method: &str, target: &str) -> Value {
    let request = format!(
        "{method} /nacos{target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\
         Connection: close\r\n\r\n"
    );
    smol::unblock(move || {
        let mut stream = TcpStream::connect(address).expect("connects");
        stream.write_all(request.as_bytes()).expect("is taken");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
    })
    .await
}

async fn connect(world: &World) -> (Client, String) {
    let mut client = Client::connect(world.address).await;
    client.open_stream().await;
    let setup = json!({
        "clientVersion": "Nacos-Java-Client:v3.1.0",
        "labels": {"AppName": "shop", "module": "naming"},
    });
    client.say("ConnectionSetupRequest", setup);
    client.until_registered().await;
    let check = client.ask("ServerCheckRequest", json!({})).await;
    let id = check.body["connectionId"].as_str().expect("an id").to_owned();
    (client, id)
}

#[test]
fn subscribers_over_grpc_are_shown() {
    let world = World::new();
    run(async {
        let (mut client, id) = connect(&world).await;
        for clusters in ["", "a,b"] {
            let subscribe = json!({"serviceName": "s", "subscribe": true, "clusters": clusters});
            client.done("SubscribeServiceRequest", subscribe, "SubscribeServiceResponse").await;
        }
        let v1 = get(world.http, "/v1/ns/service/subscribers?serviceName=s").await;
        assert_eq!(v1["count"], 2);
        let expected = json!({
            "addrStr": "127.0.0.1", "agent": "Nacos-Java-Client:v3.1.0", "app": "shop",
            "ip": "127.0.0.1", "port": 0, "namespaceId": "public",
            "serviceName": "DEFAULT_GROUP@@s", "cluster": "a,b",
        });
        assert_eq!(v1["subscribers"][1], expected);
        let page = get(world.http, "/v1/ns/service/subscribers?serviceName=s&pageSize=1").await;
        assert_eq!(page["subscribers"].as_array().map(Vec::len), Some(1));
        let v3 = get(world.http, "/v3/admin/ns/service/subscribers?serviceName=s").await;
        assert_eq!(v3["data"]["totalCount"], 2);
        assert_eq!(v3["data"]["pageItems"][0]["appName"], "shop");
        assert_eq!(v3["data"]["pageItems"][0]["address"], "127.0.0.1:0", "as Nacos joins the two");
        for path in ["/v2/ns", "/v3/admin/ns"] {
            let target = format!("{path}/client/service/subscriber/list?serviceName=s");
            let list = get(world.http, &target).await["data"].clone();
            assert_eq!(list[0]["clientId"], json!(id), "{list}");
        }
        let other = get(world.http, "/v1/ns/service/subscribers?serviceName=other").await;
        assert_eq!(other, json!({"count": 0, "subscribers": []}));
        client.vanish().await;
        while get(world.http, "/v1/ns/service/subscribers?serviceName=s").await["count"] != 0 {}
    });
}

#[test]
fn a_connection_is_a_client_with_what_it_publishes_and_subscribes_to() {
    let world = World::new();
    run(async {
        let (mut client, id) = connect(&world).await;
        register(&mut client, 80).await;
        let subscribe = json!({"serviceName": "t", "subscribe": true});
        client.done("SubscribeServiceRequest", subscribe, "SubscribeServiceResponse").await;
        // One that is there for configs alone is none of naming's clients.
        let mut configs = Client::connect(world.address).await;
        configs.open_stream().await;
        configs.say("ConnectionSetupRequest", json!({"labels": {"module": "config"}}));
        configs.until_registered().await;
        for path in ["/v2/ns", "/v3/admin/ns"] {
            let list = get(world.http, &format!("{path}/client/list")).await;
            assert_eq!(list["data"], json!([id]), "{path}");
            let of = format!("clientId={id}");
            let one = get(world.http, &format!("{path}/client?{of}")).await["data"].clone();
            for (name, expected) in [
                ("clientId", json!(id)),
                ("ephemeral", json!(true)),
                ("clientType", json!("connection")),
                ("connectType", json!("GRPC")),
                ("appName", json!("shop")),
                ("version", json!("Nacos-Java-Client:v3.1.0")),
                ("clientIp", json!("127.0.0.1")),
                ("clientPort", json!(id.rsplit('_').next())),
            ] {
                assert_eq!(one[name], expected, "{path} {one}");
            }
            let list = get(world.http, &format!("{path}/client/publish/list?{of}")).await;
            assert_eq!(list["data"][0]["serviceName"], "s", "{path} {list}");
            let list = get(world.http, &format!("{path}/client/subscribe/list?{of}")).await;
            assert_eq!(list["data"][0]["serviceName"], "t", "{path} {list}");
            let target = format!("{path}/client/service/publisher/list?serviceName=s");
            let list = get(world.http, &target).await;
            assert_eq!(list["data"][0]["clientId"], json!(id), "{path} {list}");
            let gone = get(world.http, &format!("{path}/client?clientId=1_127.0.0.1_2")).await;
            assert_eq!(gone["code"], 20004, "{path} {gone}");
        }
    });
}

#[test]
fn listeners_over_grpc_are_shown() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        let publish = json!({"dataId": "d", "group": "g", "content": "x"});
        client.done("ConfigPublishRequest", publish, "ConfigPublishResponse").await;
        let context = json!([
            {"dataId": "d", "group": "g", "tenant": "", "md5": "x"},
            {"dataId": "e", "group": "g", "tenant": "dev", "md5": ""},
        ]);
        let listen = json!({"listen": true, "configListenContexts": context});
        client.ask("ConfigBatchListenRequest", listen).await;
        let md5 = "9dd4e461268c8034f5c8564e155c67a6";
        let of_key = get(world.http, "/v1/cs/configs/listener?dataId=d&group=g").await;
        assert_eq!(of_key["lisentersGroupkeyStatus"], json!({"127.0.0.1": md5}));
        let of_ip = get(world.http, "/v1/cs/listener?ip=127.0.0.1&all=true").await;
        let expected = json!({"d+g": md5, "e+g+dev": ""});
        assert_eq!(of_ip["lisentersGroupkeyStatus"], expected);
        let elsewhere = get(world.http, "/v1/cs/listener?ip=10.0.0.1&all=true").await;
        assert_eq!(elsewhere["lisentersGroupkeyStatus"], json!({}));
    });
}

fn service(name: &str) -> ServiceKey {
    let (group, name) = (Group::new(Group::DEFAULT), ServiceName::new(name));
    let (group, name) = (group.expect("a group"), name.expect("a name"));
    ServiceKey { namespace: Namespace::public(), group, name }
}

fn config(data_id: &str) -> ConfigKey {
    let (group, data_id) = (Group::new("g"), DataId::new(data_id));
    let (group, data_id) = (group.expect("a group"), data_id.expect("a name"));
    ConfigKey { namespace: Namespace::public(), group, data_id }
}

/// A connection to the other member.
fn connected_elsewhere() -> Connected {
    Connected {
        client: ClientId::new(Life(2), 7),
        id: "5_10.0.0.8_6".into(),
        ip: "10.0.0.8".into(),
        port: 6,
        version: "Nacos-Go-Client:v2.3.5".into(),
        app: "cart".into(),
        heard: WallTime(5),
        subscriptions: vec![(service("s"), "".into())],
        listens: vec![(config("d"), Some(Md5([1; 16])))],
        subscribed: 1,
    }
}

#[test]
fn subscribers_of_all_members_are_gathered() {
    let world = World::new();
    let subscriber = Subscriber {
        ip: "10.0.0.9".into(),
        port: 55,
        agent: "Nacos-Java-Client:v1.4.2".into(),
        app: "".into(),
        by: None,
    };
    let udp = UdpSubscribed { subscriber, service: service("s"), clusters: "".into() };
    // Some clients ask one member after the other, and are subscribed at each.
    let found =
        Found { connected: vec![connected_elsewhere()], udp: vec![udp; 2], ..Found::default() };
    *world.elsewhere.lock().expect("no panic before") = found;
    run(async {
        let (mut client, id) = connect(&world).await;
        let subscribe = json!({"serviceName": "s", "subscribe": true, "clusters": ""});
        client.done("SubscribeServiceRequest", subscribe, "SubscribeServiceResponse").await;
        let ips = ["10.0.0.9", "127.0.0.1", "10.0.0.8"];
        for (more, expected) in
            [("", &ips[..]), ("&aggregation=true", &ips), ("&aggregation=false", &ips[1..2])]
        {
            let target = format!("/v1/ns/service/subscribers?serviceName=s{more}");
            let v1 = get(world.http, &target).await;
            let found: Vec<_> = v1["subscribers"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|one| &one["ip"])
                .collect();
            assert_eq!(
                (&v1["count"], found),
                (
                    &json!(expected.len()),
                    expected.iter().map(|ip| json!(ip)).collect::<Vec<_>>().iter().collect()
                ),
                "{more}"
            );
            for who in ["admin", "console"] {
                let target = format!("/v3/{who}/ns/service/subscribers?serviceName=s{more}");
                let v3 = get(world.http, &target).await;
                assert_eq!(v3["data"]["totalCount"], expected.len(), "{target} {v3}");
            }
        }
        for path in ["/v2/ns", "/v3/admin/ns"] {
            let target = format!("{path}/client/service/subscriber/list?serviceName=s");
            let list = get(world.http, &target).await["data"].clone();
            let ids: Vec<_> =
                list.as_array().expect("a list").iter().map(|one| &one["clientId"]).collect();
            assert_eq!(
                ids,
                [&json!("10.0.0.9:55#true"), &json!(id), &json!("5_10.0.0.8_6")],
                "{path}"
            );
        }
    });
}

#[test]
fn clients_of_all_members_are_shown() {
    let world = World::new();
    let found = Found { connected: vec![connected_elsewhere()], ..Found::default() };
    *world.elsewhere.lock().expect("no panic before") = found;
    run(async {
        let (_client, id) = connect(&world).await;
        for path in ["/v2/ns", "/v3/admin/ns"] {
            let list = get(world.http, &format!("{path}/client/list")).await;
            assert_eq!(list["data"], json!([id, "5_10.0.0.8_6"]), "{path}");
            let of = "clientId=5_10.0.0.8_6";
            let one = get(world.http, &format!("{path}/client?{of}")).await["data"].clone();
            assert_eq!((&one["clientIp"], &one["appName"]), (&json!("10.0.0.8"), &json!("cart")));
            let list = get(world.http, &format!("{path}/client/subscribe/list?{of}")).await;
            assert_eq!(list["data"][0]["serviceName"], "s", "{path} {list}");
        }
    });
}

#[test]
fn listeners_of_all_members_are_gathered() {
    let world = World::new();
    let poll = Watcher { key: config("d"), ip: "10.0.0.9".into(), md5: None };
    let found =
        Found { connected: vec![connected_elsewhere()], polls: vec![poll], ..Found::default() };
    *world.elsewhere.lock().expect("no panic before") = found;
    run(async {
        let md5 = "01".repeat(16);
        let expected = json!({"10.0.0.8": md5, "10.0.0.9": ""});
        let v1 = get(world.http, "/v1/cs/configs/listener?dataId=d&group=g").await;
        assert_eq!(v1["lisentersGroupkeyStatus"], expected);
        let target = "/v3/admin/cs/config/listener?dataId=d&groupName=g";
        let v3 = get(world.http, target).await;
        assert_eq!(v3["data"]["listenersStatus"], expected, "{v3}");
        let of_ip = get(world.http, "/v1/cs/listener?ip=10.0.0.8").await;
        assert_eq!(of_ip["lisentersGroupkeyStatus"], json!({"d+g": md5}));
    });
}

#[test]
fn connections_are_counted_among_the_clients() {
    let world = World::new();
    run(async {
        let (mut client, _) = connect(&world).await;
        let (_other, _) = connect(&world).await;
        register(&mut client, 80).await;
        let subscribe = json!({"serviceName": "s", "subscribe": true});
        client.done("SubscribeServiceRequest", subscribe, "SubscribeServiceResponse").await;
        for path in ["/v1/ns/operator", "/v2/ns/operator", "/v3/admin/ns/ops"] {
            let told = get(world.http, &format!("{path}/metrics?onlyStatus=false")).await;
            let told = if path.starts_with("/v1") { &told } else { &told["data"] };
            for (name, expected) in [
                ("subscribeCount", 1),
                ("clientCount", 2),
                ("connectionBasedClientCount", 2),
                ("ephemeralIpPortClientCount", 0),
                ("persistentIpPortClientCount", 0),
                ("responsibleClientCount", 2),
            ] {
                assert_eq!(told[name], expected, "{path} {name} {told}");
            }
        }
    });
}

#[test]
fn every_connection_is_shown_to_who_moves_them() {
    let world = World::new();
    run(async {
        let (mut naming, id) = connect(&world).await;
        let mut configs = Client::connect(world.address).await;
        configs.open_stream().await;
        configs.say("ConnectionSetupRequest", json!({"labels": {"module": "config"}}));
        configs.until_registered().await;
        let check = configs.ask("ServerCheckRequest", json!({})).await;
        let other = check.body["connectionId"].as_str().expect("an id").to_owned();
        let v2 = get(world.http, "/v2/core/loader/current").await;
        let v3 = get(world.http, "/v3/admin/core/loader/current").await;
        for shown in [&v2, &v3["data"]] {
            let shown = shown.as_object().expect("an object");
            assert_eq!(shown.len(), 2, "{shown:?}");
            assert!(shown.contains_key(&id) && shown.contains_key(&other), "{shown:?}");
        }
        let loads = get(world.http, "/v3/admin/core/loader/cluster").await;
        let mut loads = loads["data"]["detail"].as_array().expect("a list").iter();
        let own = loads.find(|load| load["address"] == "127.0.0.1:8848").expect("it is a member");
        assert_eq!(own["sdkConCount"], 2);
        over_http(world.http, "POST", "/v3/admin/core/loader/reloadCurrent?count=0").await;
        for client in [&mut naming, &mut configs] {
            assert_eq!(client.heard().await.expect("it is told").kind, "ConnectResetRequest");
        }
    });
}
