package interop;

import static interop.ConfigCases.GROUP;
import static interop.ConfigCases.PUBLIC;
import static interop.CoreCases.refused;
import static interop.Harness.check;
import static interop.Harness.equal;
import static interop.Harness.eventually;
import static interop.Harness.unique;

import com.alibaba.nacos.api.NacosFactory;
import com.alibaba.nacos.api.model.Page;
import com.alibaba.nacos.api.naming.NamingService;
import com.alibaba.nacos.api.naming.pojo.Instance;
import com.alibaba.nacos.api.naming.pojo.Service;
import com.alibaba.nacos.api.naming.pojo.healthcheck.impl.Http;
import com.alibaba.nacos.api.naming.pojo.maintainer.ClientPublisherInfo;
import com.alibaba.nacos.api.naming.pojo.maintainer.ClientServiceInfo;
import com.alibaba.nacos.api.naming.pojo.maintainer.ClientSubscriberInfo;
import com.alibaba.nacos.api.naming.pojo.maintainer.ClientSummaryInfo;
import com.alibaba.nacos.api.naming.pojo.maintainer.ClusterInfo;
import com.alibaba.nacos.api.naming.pojo.maintainer.MetricsInfo;
import com.alibaba.nacos.api.naming.pojo.maintainer.ServiceDetailInfo;
import com.alibaba.nacos.api.naming.pojo.maintainer.ServiceView;
import com.alibaba.nacos.api.naming.pojo.maintainer.SubscriberInfo;
import com.alibaba.nacos.api.selector.NoneSelector;
import com.alibaba.nacos.maintainer.client.naming.NamingMaintainerService;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.stream.Collectors;

/** Services, who publishes and who subscribes, and what the registry tells of itself. */
final class ServiceCases {
    private final String server;

    ServiceCases(String server) {
        this.server = server;
    }

    void addTo(Calls<NamingMaintainerService> calls) {
        addCreations(calls);
        addUpdates(calls);
        addRemovals(calls);
        addDetails(calls);
        addLists(calls);
        addSubscribers(calls);
        addClients(calls);
        addRest(calls);
    }

    static Service service(String space, String group, String name) {
        Service service = new Service();
        service.setNamespaceId(space);
        service.setGroupName(group);
        service.setName(name);
        return service;
    }

    private static void detail(ServiceDetailInfo found, String space, String group, String name) {
        equal(found.getNamespaceId(), space, "namespace");
        equal(found.getGroupName(), group, "group");
        equal(found.getServiceName(), name, "name");
        check(found.getSelector() != null, "no selector");
        equal(found.getSelector().getType(), "none", "selector");
    }

    private static void addCreations(Calls<NamingMaintainerService> calls) {
        calls.call("createService(String)", service -> {
            String name = unique("make");
            equal(service.createService(name), "ok", "answer");
            detail(service.getServiceDetail(name), PUBLIC, GROUP, name);
            refused(400, () -> service.createService(name));
        });
        calls.call("createService(String,String)", service -> {
            String name = unique("make");
            equal(service.createService("G2", name), "ok", "answer");
            detail(service.getServiceDetail("G2", name), PUBLIC, "G2", name);
        });
        calls.call("createService(String,String,String)", service -> {
            String name = unique("make");
            equal(service.createService("made", "G3", name), "ok", "answer");
            ServiceDetailInfo found = service.getServiceDetail("made", "G3", name);
            detail(found, "made", "G3", name);
            equal(found.isEphemeral(), false, "ephemeral");
        });
        calls.call("createService(String,String,String,boolean)", service -> {
            String name = unique("make");
            equal(service.createService("made", GROUP, name, true), "ok", "answer");
            equal(service.getServiceDetail("made", GROUP, name).isEphemeral(), true, "ephemeral");
        });
        calls.call("createService(String,String,String,boolean,float)", service -> {
            String name = unique("make");
            equal(service.createService("made", GROUP, name, false, 0.5f), "ok", "answer");
            equal(service.getServiceDetail("made", GROUP, name).getProtectThreshold(), 0.5f, "");
        });
        calls.call("createService(Service)", service -> {
            Service wanted = service("made", GROUP, unique("make"));
            wanted.setMetadata(Map.of("k", "v"));
            wanted.setProtectThreshold(0.25f);
            wanted.setSelector(new NoneSelector());
            equal(service.createService(wanted), "ok", "answer");
            ServiceDetailInfo found = service.getServiceDetail("made", GROUP, wanted.getName());
            detail(found, "made", GROUP, wanted.getName());
            equal(found.getMetadata(), Map.of("k", "v"), "metadata");
            equal(found.getProtectThreshold(), 0.25f, "threshold");
        });
    }

    private static void updated(ServiceDetailInfo found) {
        equal(found.getMetadata(), Map.of("new", "value"), "metadata");
        equal(found.getProtectThreshold(), 0.75f, "threshold");
        equal(found.getSelector().getType(), "none", "selector");
    }

    private static void addUpdates(Calls<NamingMaintainerService> calls) {
        Map<String, String> value = Map.of("new", "value");
        calls.call("updateService(String,Map,float,Selector)", service -> {
            String name = unique("update");
            service.createService(name);
            equal(service.updateService(name, value, 0.75f, new NoneSelector()), "ok", "answer");
            updated(service.getServiceDetail(name));
        });
        calls.call("updateService(String,String,Map,float,Selector)", service -> {
            String name = unique("update");
            service.createService("G2", name);
            equal(service.updateService("G2", name, value, 0.75f, new NoneSelector()), "ok", "");
            updated(service.getServiceDetail("G2", name));
        });
        calls.call("updateService(String,String,String,Map,float,Selector)", service -> {
            String name = unique("update");
            service.createService("changed", "G2", name);
            equal(service.updateService("changed", "G2", name, value, 0.75f, new NoneSelector()),
                    "ok", "answer");
            updated(service.getServiceDetail("changed", "G2", name));
        });
        calls.call("updateService(String,String,String,boolean,Map,float,Selector)", service -> {
            String name = unique("update");
            service.createService("changed", "G2", name, true);
            equal(service.updateService("changed", "G2", name, true, value, 0.75f,
                    new NoneSelector()), "ok", "answer");
            updated(service.getServiceDetail("changed", "G2", name));
        });
        calls.call("updateService(Service)", service -> {
            Service wanted = service("changed", GROUP, unique("update"));
            refused(400, () -> service.updateService(wanted));
            service.createService(wanted);
            wanted.setMetadata(value);
            wanted.setProtectThreshold(0.75f);
            equal(service.updateService(wanted), "ok", "answer");
            updated(service.getServiceDetail(wanted));
        });
    }

    private static void addRemovals(Calls<NamingMaintainerService> calls) {
        calls.call("removeService(String)", service -> {
            String name = unique("remove");
            service.createService(name);
            equal(service.removeService(name), "ok", "answer");
            refused(400, () -> service.getServiceDetail(name));
        });
        calls.call("removeService(String,String)", service -> {
            String name = unique("remove");
            service.createService("G2", name);
            equal(service.removeService("G2", name), "ok", "answer");
            refused(400, () -> service.getServiceDetail("G2", name));
        });
        calls.call("removeService(String,String,String)", service -> {
            String name = unique("remove");
            service.createService("removed", "G2", name);
            equal(service.removeService("removed", "G2", name), "ok", "answer");
            refused(400, () -> service.getServiceDetail("removed", "G2", name));
        });
        calls.call("removeService(Service)", service -> {
            Service wanted = service("removed", GROUP, unique("remove"));
            service.createService(wanted);
            service.registerInstance(wanted, InstanceCases.instance("10.3.0.1"));
            refused(400, () -> service.removeService(wanted));
            service.deregisterInstance(wanted, InstanceCases.instance("10.3.0.1"));
            equal(service.removeService(wanted), "ok", "answer");
            refused(400, () -> service.getServiceDetail(wanted));
        });
    }

    private static void addDetails(Calls<NamingMaintainerService> calls) {
        calls.call("getServiceDetail(String)", service -> {
            String name = unique("detail");
            service.registerInstance(name, "10.3.1.1", 80);
            ServiceDetailInfo found = service.getServiceDetail(name);
            detail(found, PUBLIC, GROUP, name);
            equal(found.getClusterMap().keySet(), java.util.Set.of("DEFAULT"), "clusters");
        });
        calls.call("getServiceDetail(String,String)", service -> {
            String name = unique("detail");
            service.createService("G2", name);
            detail(service.getServiceDetail("G2", name), PUBLIC, "G2", name);
            refused(400, () -> service.getServiceDetail(GROUP, name));
        });
        calls.call("getServiceDetail(String,String,String)", service -> {
            String name = unique("detail");
            service.createService("told", "G2", name);
            detail(service.getServiceDetail("told", "G2", name), "told", "G2", name);
        });
        calls.call("getServiceDetail(Service)", service -> {
            Service wanted = service("told", GROUP, unique("detail"));
            service.registerInstance(wanted, InstanceCases.instance("10.3.1.2"));
            ServiceDetailInfo found = service.getServiceDetail(wanted);
            detail(found, "told", GROUP, wanted.getName());
            ClusterInfo cluster = found.getClusterMap().get("DEFAULT");
            equal(cluster.getClusterName(), "DEFAULT", "cluster");
            equal(cluster.getHealthChecker().getType(), "TCP", "checker");
            equal(cluster.getHealthyCheckPort(), 80, "port of the check");
            equal(cluster.isUseInstancePortForCheck(), true, "instance's port");
        });
    }

    /** A namespace of its own: one service with an instance, one without, one in another group. */
    private static String filled(NamingMaintainerService service) throws Exception {
        String space = unique("ns");
        service.registerInstance(space, GROUP, "full", "10.3.2.1", 80);
        service.createService(space, GROUP, "empty");
        service.registerInstance(space, "OTHER", "full", "10.3.2.2", 80);
        return space;
    }

    private static String views(Page<ServiceView> page) {
        return page.getPageItems().stream().map(one -> one.getGroupName() + "/" + one.getName())
                .sorted().collect(Collectors.joining(" "));
    }

    private static String details(Page<ServiceDetailInfo> page) {
        return page.getPageItems().stream()
                .map(one -> one.getGroupName() + "/" + one.getServiceName() + "="
                        + one.getClusterMap().values().stream()
                                .flatMap(cluster -> cluster.getHosts().stream())
                                .map(Instance::getIp).collect(Collectors.joining(",")))
                .sorted().collect(Collectors.joining(" "));
    }

    private static void addLists(Calls<NamingMaintainerService> calls) {
        calls.call("listServices(String)", service -> {
            String space = filled(service);
            Page<ServiceView> page = service.listServices(space);
            equal(views(page), "DEFAULT_GROUP/full OTHER/full", "those with instances");
            equal(page.getTotalCount(), 2, "total");
            ServiceView one = page.getPageItems().get(0);
            equal(one.getClusterCount(), 1, "clusters");
            equal(one.getIpCount(), 1, "instances");
            equal(one.getHealthyInstanceCount(), 1, "healthy");
            equal(one.getTriggerFlag(), "false", "protection");
        });
        calls.call("listServices(String,String,String)", service -> {
            String space = filled(service);
            equal(views(service.listServices(space, "OTH", "ul")), "OTHER/full", "by parts");
        });
        calls.call("listServices(String,String,String,boolean,int,int)", service -> {
            String space = filled(service);
            equal(views(service.listServices(space, "", "", false, 1, 10)),
                    "DEFAULT_GROUP/empty DEFAULT_GROUP/full OTHER/full", "with empty ones");
            Page<ServiceView> second = service.listServices(space, "", "", false, 2, 2);
            equal(second.getPageItems().size(), 1, "second page");
            equal(second.getPagesAvailable(), 2, "pages");
            equal(second.getPageNumber(), 2, "page");
        });
        calls.call("listServicesWithDetail(String)", service -> equal(
                details(service.listServicesWithDetail(filled(service))),
                "DEFAULT_GROUP/empty= DEFAULT_GROUP/full=10.3.2.1 OTHER/full=10.3.2.2", "all"));
        calls.call("listServicesWithDetail(String,String,String)", service -> equal(
                details(service.listServicesWithDetail(filled(service), "OTHER", "full")),
                "OTHER/full=10.3.2.2", "one"));
        calls.call("listServicesWithDetail(String,String,String,int,int)", service -> {
            Page<ServiceDetailInfo> page =
                    service.listServicesWithDetail(filled(service), "", "", 3, 1);
            equal(page.getTotalCount(), 3, "total");
            equal(page.getPageItems().size(), 1, "third page");
        });
    }

    private interface Using {
        void run(String name, NamingService client) throws Exception;
    }

    /** Runs a body while a gRPC client publishes and subscribes to a service of this namespace. */
    private void using(String space, String group, Using body) throws Exception {
        String name = unique("used");
        Properties properties = Harness.properties(server);
        properties.put("namespace", space);
        NamingService client = NacosFactory.createNamingService(properties);
        try {
            client.registerInstance(name, group, "10.3.3.1", 8080, "c1");
            client.subscribe(name, group, event -> { });
            body.run(name, client);
        } finally {
            client.shutDown();
        }
    }

    private interface Question {
        Page<SubscriberInfo> ask(String name) throws Exception;
    }

    private void subscribed(String space, String group, Question question) throws Exception {
        using(space, group, (name, client) -> {
            eventually(5000, "a subscriber", () -> question.ask(name).getTotalCount() == 1);
            SubscriberInfo found = question.ask(name).getPageItems().get(0);
            equal(found.getNamespaceId(), space, "namespace");
            equal(found.getGroupName(), group, "group");
            equal(found.getServiceName(), name, "service");
            equal(found.getIp(), "127.0.0.1", "address");
            check(found.getAgent().startsWith("Nacos-Java-Client"), "agent " + found.getAgent());
        });
    }

    private void addSubscribers(Calls<NamingMaintainerService> calls) {
        calls.call("getSubscribers(String)",
                service -> subscribed(PUBLIC, GROUP, service::getSubscribers));
        calls.call("getSubscribers(String,String)", service -> subscribed(PUBLIC, "G2",
                name -> service.getSubscribers("G2", name)));
        calls.call("getSubscribers(String,String,String)", service -> subscribed("heard", "G2",
                name -> service.getSubscribers("heard", "G2", name)));
        calls.call("getSubscribers(String,String,String,int,int)", service -> subscribed("heard",
                GROUP, name -> service.getSubscribers("heard", GROUP, name, 1, 5)));
        calls.call("getSubscribers(String,String,String,int,int,boolean)", service -> subscribed(
                "heard", GROUP, name -> service.getSubscribers("heard", GROUP, name, 1, 5, true)));
        calls.call("getSubscribers(Service,int,int,boolean)", service -> subscribed("heard", GROUP,
                name -> service.getSubscribers(service("heard", GROUP, name), 1, 5, true)));
        calls.skip("listSelectorTypes()", "the client takes the whole answer for a list");
    }

    /** The id of the one client that publishes the service. */
    private static String clientOf(NamingMaintainerService service, String space, String name)
            throws Exception {
        // Without a port the client would send the word "null" for one.
        List<ClientPublisherInfo> found =
                service.getPublishedClientList(space, GROUP, name, "10.3.3.1", 8080);
        equal(found.size(), 1, "publishers");
        return found.get(0).getClientId();
    }

    private void addClients(Calls<NamingMaintainerService> calls) {
        calls.skip("getClientList()", "the client takes the whole answer for a list");
        calls.call("getClientDetail(String)", service -> using("who", GROUP, (name, client) -> {
            String id = clientOf(service, "who", name);
            ClientSummaryInfo found = service.getClientDetail(id);
            equal(found.getClientId(), id, "id");
            equal(found.isEphemeral(), true, "ephemeral");
            equal(found.getClientType(), "connection", "type");
            equal(found.getConnectType(), "GRPC", "connection");
            equal(found.getClientIp(), "127.0.0.1", "address");
            check(found.getVersion().contains("3.2.1"), "version " + found.getVersion());
            check(found.getLastUpdatedTime() > 1_600_000_000_000L, "time");
            refused(404, () -> service.getClientDetail("absent"));
        }));
        calls.call("getPublishedServiceList(String)", service -> using("who", GROUP,
                (name, client) -> {
                    ClientServiceInfo found = service
                            .getPublishedServiceList(clientOf(service, "who", name)).get(0);
                    equal(found.getNamespaceId(), "who", "namespace");
                    equal(found.getGroupName(), GROUP, "group");
                    equal(found.getServiceName(), name, "service");
                    equal(found.getPublisherInfo().getIp(), "10.3.3.1", "address");
                    equal(found.getPublisherInfo().getPort(), 8080, "port");
                    equal(found.getPublisherInfo().getClusterName(), "c1", "cluster");
                }));
        calls.call("getSubscribeServiceList(String)", service -> using("who", GROUP,
                (name, client) -> {
                    String id = clientOf(service, "who", name);
                    eventually(5000, "subscription",
                            () -> !service.getSubscribeServiceList(id).isEmpty());
                    ClientServiceInfo found = service.getSubscribeServiceList(id).get(0);
                    equal(found.getNamespaceId(), "who", "namespace");
                    equal(found.getGroupName(), GROUP, "group");
                    equal(found.getServiceName(), name, "service");
                    check(found.getSubscriberInfo().getAgent().startsWith("Nacos-Java-Client"),
                            "agent " + found.getSubscriberInfo().getAgent());
                }));
        calls.call("getPublishedClientList(String,String,String,String,Integer)",
                service -> using("who", GROUP, (name, client) -> {
                    ClientPublisherInfo found = service.getPublishedClientList("who", GROUP, name,
                            "10.3.3.1", 8080).get(0);
                    equal(found.getIp(), "10.3.3.1", "address");
                    equal(found.getPort(), 8080, "port");
                    equal(found.getClusterName(), "c1", "cluster");
                    equal(service.getPublishedClientList("who", GROUP, name, "10.9.9.9", 1),
                            List.of(), "another address");
                }));
        calls.call("getSubscribeClientList(String,String,String,String,Integer)",
                service -> using("who", GROUP, (name, client) -> {
                    eventually(5000, "subscriber",
                            () -> service.getSubscribers("who", GROUP, name).getTotalCount() == 1);
                    SubscriberInfo who =
                            service.getSubscribers("who", GROUP, name).getPageItems().get(0);
                    ClientSubscriberInfo found = service.getSubscribeClientList("who", GROUP, name,
                            who.getIp(), who.getPort()).get(0);
                    equal(found.getClientId(), clientOf(service, "who", name), "client");
                    check(found.getAgent().startsWith("Nacos-Java-Client"), found.getAgent());
                    check(found.getAddress().startsWith("127.0.0.1"), found.getAddress());
                }));
    }

    private void addRest(Calls<NamingMaintainerService> calls) {
        calls.call("getMetrics(boolean)", service -> {
            String name = unique("counted");
            service.registerInstance(name, "10.3.4.1", 80);
            MetricsInfo all = service.getMetrics(false);
            equal(all.getStatus(), "UP", "status");
            check(all.getServiceCount() >= 1, "services " + all.getServiceCount());
            check(all.getInstanceCount() >= 1, "instances " + all.getInstanceCount());
            check(all.getClientCount() >= 1, "clients " + all.getClientCount());
            check(all.getPersistentIpPortClientCount() >= 1, "persistent clients");
            check(all.getSubscribeCount() != null && all.getResponsibleClientCount() != null
                    && all.getConnectionBasedClientCount() != null
                    && all.getEphemeralIpPortClientCount() != null, "a count is missing");
            MetricsInfo status = service.getMetrics(true);
            equal(status.getStatus(), "UP", "status alone");
            equal(status.getServiceCount(), null, "services");
        });
        calls.call("setLogLevel(String,String)",
                service -> equal(service.setLogLevel("naming-main", "INFO"), "ok", "answer"));
        calls.call("updateInstanceHealthStatus(Service,Instance)", service -> {
            Service wanted = service("ill", GROUP, unique("health"));
            Instance instance = InstanceCases.instance("10.3.4.2");
            service.registerInstance(wanted, instance);
            instance.setHealthy(false);
            refused(400, () -> service.updateInstanceHealthStatus(wanted, instance));
            ClusterInfo cluster = new ClusterInfo();
            cluster.setClusterName("DEFAULT");
            cluster.setHealthChecker(new com.alibaba.nacos.api.naming.pojo.healthcheck
                    .AbstractHealthChecker.None());
            service.updateCluster(wanted, cluster);
            equal(service.updateInstanceHealthStatus(wanted, instance), "ok", "answer");
            equal(service.getInstanceDetail(wanted, instance).isHealthy(), false, "healthy");
        });
        calls.skip("getHealthCheckers()", "the client takes the whole answer for a map");
        calls.call("updateCluster(Service,ClusterInfo)", service -> {
            Service wanted = service("checked", GROUP, unique("cluster"));
            service.registerInstance(wanted, InstanceCases.instance("10.3.4.3"));
            ClusterInfo cluster = new ClusterInfo();
            cluster.setClusterName("DEFAULT");
            Http http = new Http();
            http.setPath("/health");
            http.setHeaders("A:b");
            cluster.setHealthChecker(http);
            cluster.setHealthyCheckPort(8081);
            cluster.setUseInstancePortForCheck(false);
            cluster.setMetadata(Map.of("zone", "z1"));
            equal(service.updateCluster(wanted, cluster), "ok", "answer");
            ClusterInfo found = service.getServiceDetail(wanted).getClusterMap().get("DEFAULT");
            equal(found.getHealthChecker(), http, "checker");
            equal(found.getHealthyCheckPort(), 8081, "port");
            equal(found.isUseInstancePortForCheck(), false, "instance's port");
            equal(found.getMetadata(), Map.of("zone", "z1"), "metadata");
        });
    }
}
