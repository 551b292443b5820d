//! Goes one beyond every limit of the registry.

use nacolet_model::{ClusterName, Instant, RequestId, WallTime, limits};
use nacolet_registry::{
    Command, HealthChecker, Input, InstanceSpec, Metadata, MetadataChange, Output, PutOverrides,
    Registry, RegistryError, RegistrySettings, Reply, Request, Selector,
};

use crate::testing::service_key;

struct Node {
    registry: Registry,
    now_ms: u64,
    index: u64,
}

impl Node {
    fn new() -> Self {
        Self { registry: Registry::new(RegistrySettings::default()), now_ms: 0, index: 0 }
    }

    fn ask(&mut self, body: Request) -> Result<Reply, RegistryError> {
        let (request, at) = (RequestId(7), WallTime(1));
        self.step(Input::Request { request, at, body }).expect("every request is answered")
    }

    fn step(&mut self, input: Input) -> Option<Result<Reply, RegistryError>> {
        let mut out = Vec::new();
        let now = Instant::from_millis(self.now_ms);
        self.registry.step(now, input, &mut out);
        let mut answer = None;
        for output in out {
            match output {
                Output::Reply { result, .. } => answer = Some(result),
                Output::Propose { command, .. } => {
                    self.index += 1;
                    answer = Some(self.registry.apply(now, self.index, command, &mut Vec::new()));
                }
                Output::Push { .. } | Output::ReserveRefTime { .. } | Output::Send { .. } => {}
            }
        }
        answer
    }
}

fn spec(number: usize) -> InstanceSpec {
    InstanceSpec::new(&format!("10.0.{}.{}", number / 250, number % 250), 80)
}

fn register(service: &str, number: usize, ephemeral: bool) -> Request {
    let instance = InstanceSpec { ephemeral, ..spec(number) };
    Request::Register { service: service_key(service), instance }
}

#[test]
fn a_service_and_a_node_hold_so_many_instances_and_no_more() {
    for ephemeral in [true, false] {
        let mut node = Node::new();
        let per_service = limits::INSTANCES_PER_SERVICE_MAX;
        for number in 0..limits::INSTANCES_MAX {
            let service = format!("s{}", number / per_service);
            assert_eq!(
                node.ask(register(&service, number % per_service, ephemeral)),
                Ok(Reply::Done)
            );
        }
        node.registry.invariants();
        let beyond = node.ask(register("s0", per_service, ephemeral));
        assert_eq!(beyond, Err(RegistryError::TooManyInstances));
        let beyond = node.ask(register("other", 0, ephemeral));
        assert_eq!(beyond, Err(RegistryError::NodeFull));
        let (service, full) = (service_key("other"), Some(spec(1)));
        let beat = Request::Beat { service, ip: spec(1).ip, port: 80, cluster: None, full };
        assert_eq!(node.ask(beat), Err(RegistryError::NodeFull));
        // Who is there may still change.
        assert_eq!(node.ask(register("s0", 0, ephemeral)), Ok(Reply::Done));
        while let Some(deadline) = node.registry.next_deadline() {
            node.now_ms = deadline.as_millis();
            node.step(Input::Wake);
        }
        let left = if ephemeral { 0 } else { limits::INSTANCES_MAX };
        assert_eq!(node.registry.counts().instances, left);
        assert_eq!(node.registry.counts().services, left / per_service);
        node.registry.invariants();
    }
}

#[test]
fn apply_bounds_what_the_door_could_not_see() {
    let mut node = Node::new();
    let mut out = Vec::new();
    for number in 0..=limits::INSTANCES_PER_SERVICE_MAX {
        let at = (RequestId(1), WallTime(1));
        let body = register("s", number, false);
        let input = Input::Request { request: at.0, at: at.1, body };
        node.registry.step(Instant::ZERO, input, &mut out);
    }
    let commands: Vec<Command> = out
        .into_iter()
        .filter_map(|output| match output {
            Output::Propose { command, .. } => Some(command),
            Output::Reply { .. }
            | Output::Push { .. }
            | Output::ReserveRefTime { .. }
            | Output::Send { .. } => None,
        })
        .collect();
    assert_eq!(commands.len(), limits::INSTANCES_PER_SERVICE_MAX + 1, "the door saw none of them");
    let results = commands
        .into_iter()
        .map(|command| node.registry.apply(Instant::ZERO, 1, command, &mut Vec::new()));
    let refused: Vec<RegistryError> = results.filter_map(Result::err).collect();
    assert_eq!(refused, [RegistryError::TooManyInstances]);
}

#[test]
fn a_service_has_so_many_overrides_and_no_more() {
    let mut node = Node::new();
    let mut put = |numbers: std::ops::Range<usize>| {
        let instances = numbers.map(|number| (spec(number).key(), true)).collect();
        let command = Command::Override(Box::new(PutOverrides {
            service: service_key("s"),
            instances,
            weight: Some(2.0),
            enabled: None,
            healthy: None,
            metadata: MetadataChange::Keep,
        }));
        node.registry.apply(Instant::ZERO, 1, command, &mut Vec::new())
    };
    let max = limits::INSTANCES_PER_SERVICE_MAX;
    assert_eq!(put(0..max + 1), Err(RegistryError::TooManyInstances));
    assert!(put(0..max).is_ok());
    assert!(put(0..max).is_ok(), "those that are there may change");
    assert_eq!(put(max..max + 1), Err(RegistryError::TooManyInstances));
    node.registry.invariants();
}

#[test]
fn a_node_holds_so_many_services_and_no_more() {
    let mut node = Node::new();
    let create = |number: usize| Request::CreateService {
        service: service_key(&format!("s{number}")),
        protect_threshold: 0.5,
        metadata: Metadata::default(),
        selector: Selector::None,
        ephemeral: None,
    };
    for number in 0..limits::SERVICES_MAX {
        assert_eq!(node.ask(create(number)), Ok(Reply::Done));
    }
    assert_eq!(node.ask(create(limits::SERVICES_MAX)), Err(RegistryError::TooManyServices));
    let beyond = node.ask(register("other", 0, true));
    assert_eq!(beyond, Err(RegistryError::TooManyServices));
    assert_eq!(node.ask(Request::RemoveService { service: service_key("s0") }), Ok(Reply::Done));
    assert_eq!(node.ask(register("other", 0, true)), Ok(Reply::Done));
    node.registry.invariants();
}

#[test]
fn a_service_has_so_many_clusters_and_no_longer_texts() {
    let mut node = Node::new();
    assert_eq!(node.ask(register("s", 0, false)), Ok(Reply::Done));
    let put = |number: usize, health_checker| Request::PutCluster {
        service: service_key("s"),
        cluster: ClusterName::new(&format!("c{number}")).expect("valid"),
        health_checker,
        check_port: 80,
        use_instance_port: true,
        metadata: Metadata::default(),
    };
    for number in 0..limits::CLUSTERS_PER_SERVICE_MAX {
        assert_eq!(node.ask(put(number, HealthChecker::None)), Ok(Reply::Done));
    }
    let last = limits::CLUSTERS_PER_SERVICE_MAX;
    assert_eq!(node.ask(put(last, HealthChecker::None)), Err(RegistryError::TooManyClusters));
    assert_eq!(node.ask(put(0, HealthChecker::Tcp)), Ok(Reply::Done));
    let http = |bytes: usize| HealthChecker::Http {
        path: "p".repeat(bytes).into(),
        headers: "".into(),
        expected_code: 200,
    };
    assert_eq!(node.ask(put(0, http(limits::METADATA_BYTES_MAX))), Ok(Reply::Done));
    let beyond = node.ask(put(0, http(limits::METADATA_BYTES_MAX + 1)));
    assert_eq!(beyond, Err(RegistryError::TooLong));
    let expression = "e".repeat(limits::METADATA_BYTES_MAX + 1).into();
    let update = Request::UpdateService {
        service: service_key("s"),
        protect_threshold: 0.5,
        metadata: Metadata::default(),
        selector: Selector::Label { expression },
        ephemeral: None,
    };
    assert_eq!(node.ask(update), Err(RegistryError::TooLong));
}

#[test]
fn an_override_may_not_push_metadata_over_its_limit() {
    let mut node = Node::new();
    let half = "v".repeat(limits::METADATA_BYTES_MAX / 2);
    let mut instance = spec(0);
    instance.metadata = Metadata::new([("a", half.as_str())]).expect("half");
    let service = service_key("s");
    let registered = node.ask(Request::Register { service, instance: instance.clone() });
    assert_eq!(registered, Ok(Reply::Done));
    instance.metadata = Metadata::new([("b", half.as_str())]).expect("half");
    let update = Request::Update { service: service_key("s"), instance };
    let beyond = node.ask(update);
    assert!(matches!(beyond, Err(RegistryError::Spec(_))), "{beyond:?}");
}

#[test]
fn a_node_holds_so_many_bytes_of_text_and_no_more() {
    let mut node = Node::new();
    let metadata =
        Metadata::new([("k", "v".repeat(limits::METADATA_BYTES_MAX - 1))]).expect("fits");
    let greedy = |number: usize| Request::Register {
        service: service_key(&format!("s{}", number % 10)),
        instance: InstanceSpec { metadata: metadata.clone(), ..spec(number) },
    };
    let room = limits::REGISTRY_TEXT_BYTES_MAX / limits::METADATA_BYTES_MAX;
    let taken = (0..room + 10).take_while(|number| node.ask(greedy(*number)).is_ok()).count();
    // Addresses are texts too, so it is somewhat less than there is room for metadata.
    assert!((room - 20..room).contains(&taken), "{taken} of {room}");
    assert!(node.registry.counts().text_bytes <= limits::REGISTRY_TEXT_BYTES_MAX);
    assert_eq!(node.ask(greedy(taken)), Err(RegistryError::NodeFull));
    let update = Request::UpdateService {
        service: service_key("s0"),
        protect_threshold: 0.5,
        metadata: metadata.clone(),
        selector: Selector::None,
        ephemeral: None,
    };
    assert_eq!(node.ask(update), Err(RegistryError::NodeFull));
    let deregister = Request::Deregister {
        service: service_key("s0"),
        ip: spec(0).ip,
        port: 80,
        cluster: None,
        ephemeral: None,
    };
    assert_eq!(node.ask(deregister), Ok(Reply::Done));
    assert_eq!(node.ask(greedy(taken)), Ok(Reply::Done));
    node.registry.invariants();
}

#[test]
fn where_a_member_has_little_memory_the_door_takes_no_more_and_the_log_as_much_as_before() {
    let mut node = Node::new();
    node.registry.set_room(Some(1 << 20));
    let most = (1 << 20) / limits::INSTANCE_BYTES;
    let taken =
        (0..most).take_while(|number| node.ask(register("s", *number, true)).is_ok()).count();
    assert!((most - most / 10..most).contains(&taken), "{taken} of {most}");
    let full = Err(RegistryError::NodeFull);
    assert_eq!(node.ask(register("s", taken, true)), full);
    assert_eq!(node.ask(register("other", 0, false)), full);
    // Who is there comes again.
    assert_eq!(node.ask(register("s", 0, true)), Ok(Reply::Done));
    // A member with more memory, or one of before, took it: so does everybody.
    let mut other = Node::new();
    let mut out = Vec::new();
    let (now, at) = (Instant::from_millis(0), WallTime(1));
    let body = register("other", 0, false);
    let asked = Input::Request { request: RequestId(1), at, body };
    other.registry.step(now, asked, &mut out);
    let proposed = out.into_iter().find_map(|output| match output {
        Output::Propose { command, .. } => Some(command),
        Output::Reply { .. }
        | Output::Push { .. }
        | Output::ReserveRefTime { .. }
        | Output::Send { .. } => None,
    });
    let command = proposed.expect("it goes through the log");
    assert_eq!(node.registry.apply(now, 1, command, &mut Vec::new()), Ok(Reply::Done));
    node.registry.set_room(None);
    assert_eq!(node.ask(register("s", taken, true)), Ok(Reply::Done));
}
