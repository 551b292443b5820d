//! The crates `nacos-sdk` 0.8.0 and `nacos_rust_client` 0.3.3 over gRPC. Neither forgives a field
//! that is missing or null.

#[path = "../../rust/src/harness.rs"]
mod harness;

use harness::{Case, eventually, restart_server, settle, unique};
use nacos_rust_client::client::config_client::{ConfigDefaultListener, ConfigKey};
use nacos_rust_client::client::naming_client::{Instance, QueryInstanceListParams};
use nacos_rust_client::client::{AuthInfo, ClientBuilder};
use nacos_sdk::api::config::{
    ConfigChangeListener, ConfigResponse, ConfigService, ConfigServiceBuilder,
};
use nacos_sdk::api::naming::{
    NamingChangeEvent, NamingEventListener, NamingService, NamingServiceBuilder, ServiceInstance,
};
use nacos_sdk::api::props::ClientProps;
use std::env;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const GROUP: &str = "DEFAULT_GROUP";
const SOON: Duration = Duration::from_secs(5);
const LATER: Duration = Duration::from_secs(40);

fn server() -> String {
    let base = env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:8848".into());
    base.replace("http://", "").trim_end_matches('/').into()
}

/// Name and password of the user, where the server asks for one.
fn user() -> Option<(String, String)> {
    Some((env::var("NACOS_USERNAME").ok()?, env::var("NACOS_PASSWORD").ok()?))
}

fn props(namespace: &str) -> ClientProps {
    ClientProps::new().server_addr(server()).namespace(namespace).app_name("interop")
}

fn logging_in(props: ClientProps) -> ClientProps {
    let Some((name, password)) = user() else { return props };
    props.auth_username(name).auth_password(password)
}

fn config_builder(props: ClientProps) -> ConfigServiceBuilder {
    let builder = ConfigServiceBuilder::new(logging_in(props));
    if user().is_some() { builder.enable_auth_plugin_http() } else { builder }
}

fn naming_builder(props: ClientProps) -> NamingServiceBuilder {
    let builder = NamingServiceBuilder::new(logging_in(props));
    if user().is_some() { builder.enable_auth_plugin_http() } else { builder }
}

async fn configs() -> ConfigService {
    config_builder(props("")).build().await.expect("connect")
}

async fn naming() -> NamingService {
    naming_builder(props("public")).build().await.expect("connect")
}

/// The last thing a listener was told.
struct Told<T>(Arc<Mutex<Option<T>>>);

impl<T: PartialEq> Told<T> {
    fn is(&self, wanted: &T) -> bool {
        self.0.lock().expect("no panic before").as_ref() == Some(wanted)
    }
}

struct Hear<T>(Arc<Mutex<Option<T>>>);

impl ConfigChangeListener for Hear<String> {
    fn notify(&self, config: ConfigResponse) {
        *self.0.lock().expect("no panic before") = Some(config.content().clone());
    }
}

impl NamingEventListener for Hear<Vec<i32>> {
    fn event(&self, event: Arc<NamingChangeEvent>) {
        let instances = event.instances.iter().flatten();
        let mut ports: Vec<i32> = instances.map(|instance| instance.port).collect();
        ports.sort_unstable();
        *self.0.lock().expect("no panic before") = Some(ports);
    }
}

fn ear<T>() -> (Told<T>, Arc<Hear<T>>) {
    let last = Arc::new(Mutex::new(None));
    (Told(Arc::clone(&last)), Arc::new(Hear(last)))
}

fn instance(port: i32) -> ServiceInstance {
    ServiceInstance { ip: "10.5.0.1".into(), port, ..ServiceInstance::default() }
}

async fn sdk_publishes_reads_and_removes() {
    let (client, id, group) = (configs().await, unique("sdk"), GROUP.to_owned());
    assert!(client.get_config(id.clone(), group.clone()).await.is_err(), "not there yet");
    let publish = client.publish_config(id.clone(), group.clone(), "one".into(), None);
    assert!(publish.await.expect("publish"));
    let found = client.get_config(id.clone(), group.clone()).await.expect("read");
    assert_eq!(found.content(), "one");
    let wrong = "0".repeat(32);
    let cas = client.publish_config_cas(id.clone(), group.clone(), "two".into(), None, wrong);
    assert!(cas.await.is_err(), "a wrong md5 is refused");
    let right = found.md5().clone();
    let cas = client.publish_config_cas(id.clone(), group.clone(), "two".into(), None, right);
    assert!(cas.await.expect("the right md5 is taken"));
    assert!(client.remove_config(id.clone(), group.clone()).await.expect("remove"));
    assert!(client.get_config(id, group).await.is_err(), "removed");
}

async fn sdk_listener_hears_every_change() {
    let (client, id, (told, hear)) = (configs().await, unique("sdk"), ear::<String>());
    // The library swallows the first content of a config that was missing when it began to listen.
    let publish = client.publish_config(id.clone(), GROUP.into(), "zero".into(), None);
    assert!(publish.await.expect("publish"));
    client.add_listener(id.clone(), GROUP.into(), hear).await.expect("listen");
    tokio::time::sleep(Duration::from_secs(1)).await;
    for text in ["one", "two", "one"] {
        let publish = client.publish_config(id.clone(), GROUP.into(), text.into(), None);
        assert!(publish.await.expect("publish"));
        eventually(SOON, text, async || told.is(&text.to_owned())).await;
    }
}

async fn sdk_hears_in_both_spellings_of_the_default_namespace() {
    let (provider, id, mut ears) = (configs().await, unique("sdk"), Vec::new());
    let publish = provider.publish_config(id.clone(), GROUP.into(), "zero".into(), None);
    assert!(publish.await.expect("publish"));
    for namespace in ["", "public"] {
        let client = config_builder(props(namespace)).build().await.expect("connect");
        let (told, hear) = ear::<String>();
        client.add_listener(id.clone(), GROUP.into(), hear).await.expect("listen");
        ears.push((told, client));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    for text in ["one", "two"] {
        let publish = provider.publish_config(id.clone(), GROUP.into(), text.into(), None);
        assert!(publish.await.expect("publish"));
        for (told, _) in &ears {
            eventually(SOON, text, async || told.is(&text.to_owned())).await;
        }
    }
}

async fn sdk_finds_the_server_by_endpoint() {
    let server = server();
    let first = server.split(',').next().expect("an address");
    // Nobody listens at the address that would be taken without an endpoint.
    let props = ClientProps::new().server_addr("127.0.0.1:1").app_name("interop");
    let props = props.endpoint(format!("http://{first}/nacos/serverlist"));
    let client = config_builder(props).build().await.expect("connect");
    let publish = client.publish_config(unique("sdk"), GROUP.into(), "one".into(), None);
    assert!(publish.await.expect("publish"));
}

async fn sdk_batches_replace_and_subscribers_hear() {
    let (client, watcher) = (naming().await, naming().await);
    let (service, group) = (unique("sdk"), Some(GROUP.to_owned()));
    let (told, hear) = ear::<Vec<i32>>();
    let subscribe = watcher.subscribe(service.clone(), group.clone(), Vec::new(), hear);
    subscribe.await.expect("subscribe");
    for ports in [vec![1, 2, 3], vec![1, 2]] {
        let batch = ports.iter().map(|port| instance(*port)).collect();
        let publish = client.batch_register_instance(service.clone(), group.clone(), batch);
        publish.await.expect("batch");
        eventually(SOON, "the batch", async || told.is(&ports)).await;
    }
}

async fn sdk_persistent_instances_stay() {
    let (client, service, group) = (naming().await, unique("sdk"), Some(GROUP.to_owned()));
    let persistent = ServiceInstance { ephemeral: false, ..instance(9) };
    let register = client.register_instance(service.clone(), group.clone(), persistent);
    register.await.expect("register");
    settle().await;
    let look = naming().await.get_all_instances(service, group, Vec::new(), false).await;
    assert_eq!(look.expect("list").len(), 1);
}

fn builder(namespace: &str) -> ClientBuilder {
    let user = user().map(|(name, password)| AuthInfo::new(&name, &password));
    let builder = ClientBuilder::new().set_endpoint_addrs(&server()).set_use_grpc(true);
    builder.set_tenant(namespace.into()).set_auth_info(user)
}

async fn client_listener_hears_every_change() {
    let client = builder("").build_config_client();
    let key = ConfigKey::new(&unique("client"), GROUP, "");
    let listener =
        ConfigDefaultListener::new(key.clone(), Arc::new(|text: &str| Some(text.to_owned())));
    let listener = Box::new(listener);
    client.set_config(&key, "one").await.expect("publish");
    assert_eq!(client.get_config(&key).await.expect("read"), "one");
    client.subscribe(listener.clone()).await.expect("subscribe");
    for text in ["two", "three"] {
        tokio::time::sleep(Duration::from_millis(500)).await;
        client.set_config(&key, text).await.expect("publish");
        let told = async || listener.get_value().is_some_and(|value| *value == text);
        eventually(SOON, text, told).await;
    }
}

async fn client_registers_and_stays_while_it_is_idle() {
    let (provider, watcher) = (builder("public").build_naming_client(), naming().await);
    let (service, group) = (unique("client"), Some(GROUP.to_owned()));
    provider.register(Instance::new_simple("10.5.0.2", 80, &service, GROUP));
    let is_there = async || {
        let look = watcher.get_all_instances(service.clone(), group.clone(), Vec::new(), false);
        look.await.is_ok_and(|found| found.len() == 1)
    };
    eventually(SOON, "registered", is_there).await;
    // It never answers whether it lives; its heart-beat has to be enough.
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(is_there().await, "gone while it was idle");
    let query = QueryInstanceListParams::new_simple(&service, GROUP);
    assert_eq!(provider.query_instances(query).await.expect("list").len(), 1);
}

async fn life_goes_on_after_a_restart() {
    let (client, service, group) = (naming().await, unique("restart"), Some(GROUP.to_owned()));
    let register = client.register_instance(service.clone(), group.clone(), instance(80));
    register.await.expect("register");
    restart_server();
    // The library tries one node only, and that may be the one that is missing.
    let connect = || naming_builder(props("public")).build();
    let (mut watcher, end) = (connect().await, tokio::time::Instant::now() + LATER);
    while watcher.is_err() && tokio::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(500)).await;
        watcher = connect().await;
    }
    let watcher = watcher.expect("connect");
    let is_back = async || {
        let look = watcher.get_all_instances(service.clone(), group.clone(), Vec::new(), false);
        look.await.is_ok_and(|found| found.len() == 1)
    };
    eventually(LATER, "it registers again by itself", is_back).await;
}

#[tokio::main]
async fn main() {
    macro_rules! cases {
        ($($name:literal => $function:ident),* $(,)?) => {
            [$(Case::new($name, || Box::pin($function()))),*]
        };
    }
    let together = cases![
        "sdk-publishes-reads-and-removes" => sdk_publishes_reads_and_removes,
        "sdk-listener-hears-every-change" => sdk_listener_hears_every_change,
        "sdk-hears-in-both-spellings" => sdk_hears_in_both_spellings_of_the_default_namespace,
        "sdk-finds-the-server-by-endpoint" => sdk_finds_the_server_by_endpoint,
        "sdk-batches-replace-and-subscribers-hear" => sdk_batches_replace_and_subscribers_hear,
        "sdk-persistent-instances-stay" => sdk_persistent_instances_stay,
        "client-listener-hears-every-change" => client_listener_hears_every_change,
        "client-stays-while-it-is-idle" => client_registers_and_stays_while_it_is_idle,
    ];
    let alone = cases!["life-goes-on-after-a-restart" => life_goes_on_after_a_restart];
    let passed = harness::run(&together, &alone).await;
    // The libraries' threads have no end of their own.
    std::process::exit(if passed { 0 } else { 1 });
}
