//! The crate `nacos_rust_client` 0.3.3 in its HTTP mode: form bodies with DELETE and PUT, `?&` in
//! URLs, a long poll that allows the server only 1.5 s more than its hold.

mod harness;
mod wire;

use harness::{Case, eventually, restart_server, settle, unique};
use nacos_rust_client::client::config_client::api_model::ConfigQueryParams;
use nacos_rust_client::client::config_client::{ConfigClient, ConfigDefaultListener, ConfigKey};
use nacos_rust_client::client::naming_client::{
    Instance, InstanceDefaultListener, NamingClient, QueryInstanceListParams, ServiceInstanceKey,
};
use nacos_rust_client::client::{AuthInfo, ClientBuilder};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::sleep;
use wire::{Counter, ports, server};

const GROUP: &str = "DEFAULT_GROUP";

fn builder(address: &str) -> ClientBuilder {
    let user = wire::user().map(|(name, password)| AuthInfo::new(&name, &password));
    ClientBuilder::new().set_endpoint_addrs(address).set_use_grpc(false).set_auth_info(user)
}

/// The library logs in beside its first calls, which then carry no token, and does not tell when it
/// has one.
async fn logged_in<T>(client: T) -> T {
    if wire::user().is_some() {
        sleep(seconds(1)).await;
    }
    client
}

async fn config_client(address: &str, namespace: &str) -> Arc<ConfigClient> {
    logged_in(builder(address).set_tenant(namespace.into()).build_config_client()).await
}

async fn naming_client(namespace: &str) -> Arc<NamingClient> {
    logged_in(builder(&server()).set_tenant(namespace.into()).build_naming_client()).await
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Subscribes to a config; what is told last can be read from the listener.
async fn watch(client: &ConfigClient, key: &ConfigKey) -> Box<ConfigDefaultListener<String>> {
    let listener =
        ConfigDefaultListener::new(key.clone(), Arc::new(|text: &str| Some(text.to_owned())));
    let listener = Box::new(listener);
    client.subscribe(listener.clone()).await.expect("subscribe");
    listener
}

async fn told(listener: &ConfigDefaultListener<String>, content: &str, within: u64) -> Duration {
    let look = async || listener.get_value().is_some_and(|value| *value == content);
    eventually(seconds(within), &format!("told of {content:?}"), look).await
}

async fn publish_read_and_remove() {
    let client = config_client(&server(), "").await;
    let key = ConfigKey::new(&unique("rust"), GROUP, "");
    assert!(client.get_config(&key).await.is_err(), "a config that is not there");
    client.set_config(&key, "a=1\n").await.expect("publish");
    settle().await;
    assert_eq!(client.get_config(&key).await.expect("read"), "a=1\n");
    client.set_config(&key, "a=2\n").await.expect("publish again");
    settle().await;
    assert_eq!(client.get_config(&key).await.expect("read again"), "a=2\n");
    client.del_config(&key).await.expect("remove");
    settle().await;
    assert!(client.get_config(&key).await.is_err(), "a config that was removed");
}

async fn publish_non_ascii_and_large() {
    let client = config_client(&server(), "").await;
    let key = ConfigKey::new(&unique("text"), GROUP, "");
    let content = "名称: 配置 ключ ñ 🦀 + & = % \\ \"\n".repeat(50);
    client.set_config(&key, &content).await.expect("publish");
    settle().await;
    assert_eq!(client.get_config(&key).await.expect("read"), content);
    let content = "0123456789abcde\n".repeat(32768);
    client.set_config(&key, &content).await.expect("publish 512 KiB");
    settle().await;
    assert!(client.get_config(&key).await.expect("read") == content, "512 KiB of content");
}

async fn search_pages() {
    let namespace = unique("ns");
    let client = config_client(&server(), &namespace).await;
    for index in 0..3 {
        let key = ConfigKey::new(&format!("search.{index}"), GROUP, &namespace);
        client.set_config(&key, &format!("content {index}")).await.expect("publish");
    }
    settle().await;
    let params = |data_id: &str| ConfigQueryParams {
        data_id: data_id.into(),
        page_no: Some(1),
        page_size: Some(2),
        ..Default::default()
    };
    let page = client.query_blur_config_page(params("*search*")).await.expect("blur");
    assert_eq!((page.total_count, page.pages_available), (Some(3), Some(2)));
    assert_eq!(page.page_items.map(|items| items.len()), Some(2));
    let page = client.query_accurate_config_page(params("search.1")).await.expect("accurate");
    let items = page.page_items.expect("items");
    assert_eq!(items[0].content.as_deref(), Some("content 1"));
    assert_eq!(page.total_count, Some(1));
}

async fn list_namespaces() {
    let found = config_client(&server(), "").await.get_namespace_list().await.expect("namespaces");
    let items = found.data.expect("data");
    assert!(!items.is_empty(), "the public namespace is listed");
}

async fn watch_a_missing_config_without_spinning() {
    let counter = Counter::start().await;
    let client = config_client(&counter.address.to_string(), "public").await;
    let key = ConfigKey::new(&unique("watch"), GROUP, "public");
    let listener = watch(&client, &key).await;
    sleep(seconds(4)).await;
    let polls = counter.polls();
    assert!((1..=2).contains(&polls), "{polls} polls in 4 s before there is a change");
    client.set_config(&key, "1").await.expect("publish");
    assert!(told(&listener, "1", 10).await < seconds(3), "told late");
    client.set_config(&key, "2").await.expect("publish");
    assert!(told(&listener, "2", 10).await < seconds(3), "told late");
    let polls = counter.polls();
    sleep(seconds(4)).await;
    let more = counter.polls() - polls;
    assert!(more <= 2, "{more} polls in 4 s after the change");
}

async fn watch_through_a_hold() {
    let counter = Counter::start().await;
    let client = config_client(&counter.address.to_string(), "").await;
    let key = ConfigKey::new(&unique("hold"), GROUP, "");
    client.set_config(&key, "1").await.expect("publish");
    let listener = watch(&client, &key).await;
    told(&listener, "1", 5).await;
    sleep(seconds(32)).await;
    assert_eq!(counter.polls(), 2, "polls in 32 s: the hold ended before the client lost patience");
    client.set_config(&key, "2").await.expect("publish");
    assert!(told(&listener, "2", 10).await < seconds(3), "told late");
}

async fn two_spellings_of_the_public_namespace() {
    let (none, public) =
        (config_client(&server(), "").await, config_client(&server(), "public").await);
    let data_id = unique("spelling");
    let keys = [ConfigKey::new(&data_id, GROUP, ""), ConfigKey::new(&data_id, GROUP, "public")];
    let listeners = [watch(&none, &keys[0]).await, watch(&public, &keys[1]).await];
    sleep(seconds(1)).await;
    for (index, client) in [&none, &public].into_iter().enumerate() {
        let content = index.to_string();
        client.set_config(&keys[index], &content).await.expect("publish");
        for listener in &listeners {
            told(listener, &content, 10).await;
        }
    }
}

async fn log_in_with_a_user() {
    let (name, password) = wire::user().unwrap_or_else(|| ("nacos".into(), "nacos".into()));
    let client = builder(&server())
        .set_auth_info(Some(AuthInfo::new(&name, &password)))
        .build_config_client();
    let (client, key) = (logged_in(client).await, ConfigKey::new(&unique("user"), GROUP, "public"));
    client.set_config(&key, "1").await.expect("publish");
    settle().await;
    assert_eq!(client.get_config(&key).await.expect("read"), "1");
}

async fn register_list_and_deregister() {
    let client = naming_client("public").await;
    let (service, group) = (unique("service"), "G1");
    let metadata = HashMap::from([("zone".to_owned(), "a".to_owned())]);
    let first = Instance::new("10.3.0.1", 1, &service, group, "C1", "", Some(metadata.clone()));
    let second = Instance::new_simple("10.3.0.1", 2, &service, group);
    client.register(first.clone());
    client.register(second);
    let both = async || ports(group, &service).await == [1, 2];
    eventually(seconds(5), "both are registered", both).await;
    settle().await;
    let params = QueryInstanceListParams::new("", group, &service, None, true);
    let found = client.query_instances(params).await.expect("list");
    let found = found.iter().find(|instance| instance.port == 1).expect("the first");
    assert_eq!(found.metadata.as_ref(), Some(&metadata));
    assert_eq!((found.cluster_name.as_str(), found.group_name.as_str()), ("C1", group));
    let clusters = Some(vec!["C1".to_owned()]);
    let params = QueryInstanceListParams::new("", group, &service, clusters, true);
    assert_eq!(client.select_instance(params).await.expect("select").port, 1);
    client.unregister(first);
    let one = async || ports(group, &service).await == [2];
    eventually(seconds(5), "one is deregistered", one).await;
}

async fn subscriber_hears_of_changes() {
    let (client, other) = (naming_client("public").await, naming_client("public").await);
    let service = unique("subscribe");
    other.register(Instance::new_simple("10.3.0.1", 1, &service, GROUP));
    let one = async || ports(GROUP, &service).await == [1];
    eventually(seconds(5), "registered", one).await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = heard.clone();
    let listener = InstanceDefaultListener::new(
        ServiceInstanceKey::new(&service, GROUP),
        Some(Arc::new(move |all, _, _| {
            let mut ports: Vec<u32> = all.iter().map(|instance| instance.port).collect();
            ports.sort_unstable();
            *ear.lock().expect("no panic under this lock") = ports;
        })),
    );
    client.subscribe(Box::new(listener)).await.expect("subscribe");
    let second = Instance::new_simple("10.3.0.1", 2, &service, GROUP);
    other.register(second.clone());
    let hears = async |ports: &[u32]| *heard.lock().expect("as above") == ports;
    eventually(seconds(15), "told of the second", || hears(&[1, 2])).await;
    other.unregister(second);
    eventually(seconds(15), "told of its end", || hears(&[1])).await;
}

async fn beats_keep_healthy() {
    let client = naming_client("public").await;
    let service = unique("beat");
    client.register(Instance::new_simple("10.3.0.1", 1, &service, GROUP));
    sleep(seconds(18)).await;
    let target = format!("/nacos/v1/ns/instance/list?healthyOnly=true&serviceName={service}");
    let answer = wire::get(&target).await;
    assert!(answer.contains("\"port\":1"), "not healthy after 18 s of beats: {answer}");
}

async fn life_goes_on_after_a_restart() {
    let (config, naming) = (config_client(&server(), "").await, naming_client("public").await);
    let (key, service) = (ConfigKey::new(&unique("restart"), GROUP, ""), unique("restart"));
    config.set_config(&key, "before").await.expect("publish");
    let listener = watch(&config, &key).await;
    told(&listener, "before", 5).await;
    naming.register(Instance::new_simple("10.3.0.1", 1, &service, GROUP));
    let one = async || ports(GROUP, &service).await == [1];
    eventually(seconds(5), "registered", one).await;
    restart_server();
    let back = async || config.get_config(&key).await.is_ok_and(|content| content == "before");
    eventually(seconds(10), "the config is back", back).await;
    config.set_config(&key, "after").await.expect("publish");
    told(&listener, "after", 15).await;
    eventually(seconds(15), "the beats bring the instance back", one).await;
}

#[tokio::main]
async fn main() {
    macro_rules! cases {
        ($($name:literal => $function:ident),* $(,)?) => {
            [$(Case::new($name, || Box::pin($function()))),*]
        };
    }
    let together = cases![
        "publish-read-and-remove" => publish_read_and_remove,
        "publish-non-ascii-and-large" => publish_non_ascii_and_large,
        "search-pages" => search_pages,
        "list-namespaces" => list_namespaces,
        "watch-a-missing-config-without-spinning" => watch_a_missing_config_without_spinning,
        "watch-through-a-hold" => watch_through_a_hold,
        "two-spellings-of-the-public-namespace" => two_spellings_of_the_public_namespace,
        "log-in-with-a-user" => log_in_with_a_user,
        "register-list-and-deregister" => register_list_and_deregister,
        "subscriber-hears-of-changes" => subscriber_hears_of_changes,
        "beats-keep-healthy" => beats_keep_healthy,
    ];
    let alone = cases!["life-goes-on-after-a-restart" => life_goes_on_after_a_restart];
    let passed = harness::run(&together, &alone).await;
    // The library's threads have no end of their own.
    std::process::exit(if passed { 0 } else { 1 });
}
