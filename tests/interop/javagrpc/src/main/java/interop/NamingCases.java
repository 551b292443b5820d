package interop;

import static interop.ConfigCases.GROUP;
import static interop.Harness.check;
import static interop.Harness.equal;
import static interop.Harness.eventually;
import static interop.Harness.settle;
import static interop.Harness.unique;

import com.alibaba.nacos.api.NacosFactory;
import com.alibaba.nacos.api.naming.NamingService;
import com.alibaba.nacos.api.naming.listener.EventListener;
import com.alibaba.nacos.api.naming.listener.NamingEvent;
import com.alibaba.nacos.api.naming.pojo.Instance;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Collectors;

/** Services and instances through the Java client. */
final class NamingCases {
    private final String server;

    NamingCases(String server) {
        this.server = server;
    }

    void addTo(Harness harness) {
        harness.add("register-list-and-deregister", this::registerListAndDeregister);
        harness.add("a-second-instance-replaces-the-first", this::secondReplaces);
        harness.add("a-batch-replaces-the-one-before", this::batchReplaces);
        harness.add("subscribers-hear-of-what-comes-and-goes", this::subscribersHear);
        harness.add("groups-and-namespaces", this::groupsAndNamespaces);
        harness.add("a-persistent-instance-stays", this::persistentStays);
        harness.add("services-are-listed", this::servicesAreListed);
        harness.add("a-killed-client-is-gone-in-a-second", this::killedIsGone);
        harness.addAlone("instances-after-a-restart", this::afterRestart);
    }

    private NamingService connect() throws Exception {
        return NacosFactory.createNamingService(Harness.properties(server));
    }

    static Instance instance(int port) {
        Instance instance = new Instance();
        instance.setIp("10.6.0.1");
        instance.setPort(port);
        return instance;
    }

    static List<Integer> ports(List<Instance> instances) {
        return instances.stream().map(Instance::getPort).sorted().collect(Collectors.toList());
    }

    /** Reads from the server, past the client's cache. */
    private static List<Instance> list(NamingService client, String service) throws Exception {
        return client.getAllInstances(service, GROUP, false);
    }

    /** The last list that a subscription brought. */
    static final class Ear {
        private final AtomicReference<List<Integer>> last = new AtomicReference<>();
        private final EventListener listener =
                event -> last.set(ports(((NamingEvent) event).getInstances()));

        static Ear on(NamingService client, String service) throws Exception {
            Ear ear = new Ear();
            client.subscribe(service, ear.listener);
            return ear;
        }

        void expect(long millis, Integer... ports) throws Exception {
            eventually(millis, List.of(ports) + " was pushed", () -> List.of(ports).equals(last.get()));
        }
    }

    private void registerListAndDeregister() throws Exception {
        NamingService client = connect();
        NamingService other = connect();
        String service = unique("service");
        Instance first = instance(1);
        first.setClusterName("C1");
        first.setWeight(2.5);
        first.setMetadata(Map.of("zone", "a"));
        client.registerInstance(service, first);
        other.registerInstance(service, "10.6.0.1", 2);
        settle(server);
        equal(ports(list(client, service)), List.of(1, 2), "list");
        List<Instance> found = client.getAllInstances(service, GROUP, List.of("C1"), false);
        equal(ports(found), List.of(1), "list of a cluster");
        Instance only = found.get(0);
        equal(only.getWeight(), 2.5, "weight");
        equal(only.getMetadata(), Map.of("zone", "a"), "metadata");
        equal(only.getServiceName(), GROUP + "@@" + service, "service name");
        check(only.isHealthy() && only.isEnabled() && only.isEphemeral(), "flags");
        check(client.selectOneHealthyInstance(service).getPort() > 0, "select one");
        equal(client.getServerStatus(), "UP", "status");
        client.deregisterInstance(service, "10.6.0.1", 1, "C1");
        equal(ports(list(client, service)), List.of(2), "list after deregistering");
        client.shutDown();
        other.shutDown();
    }

    private void secondReplaces() throws Exception {
        NamingService client = connect();
        String service = unique("second");
        client.registerInstance(service, "10.6.0.1", 1);
        client.registerInstance(service, "10.6.0.1", 2);
        equal(ports(list(client, service)), List.of(2), "one record per client and service");
        client.shutDown();
    }

    private void batchReplaces() throws Exception {
        NamingService client = connect();
        NamingService watcher = connect();
        String service = unique("batch");
        Ear ear = Ear.on(watcher, service);
        List<Instance> three = List.of(instance(1), instance(2), instance(3));
        client.batchRegisterInstance(service, GROUP, three);
        ear.expect(5000, 1, 2, 3);
        client.batchRegisterInstance(service, GROUP, three.subList(0, 2));
        ear.expect(5000, 1, 2);
        client.batchDeregisterInstance(service, GROUP, new ArrayList<>(List.of(instance(1))));
        ear.expect(5000, 2);
        client.shutDown();
        watcher.shutDown();
    }

    private void subscribersHear() throws Exception {
        NamingService watcher = connect();
        NamingService provider = connect();
        NamingService other = connect();
        String service = unique("subscribe");
        Ear ear = Ear.on(watcher, service);
        provider.registerInstance(service, "10.6.0.1", 80);
        ear.expect(5000, 80);
        other.registerInstance(service, "10.6.0.1", 81);
        ear.expect(5000, 80, 81);
        other.shutDown();
        ear.expect(5000, 80);
        provider.deregisterInstance(service, "10.6.0.1", 80);
        ear.expect(5000);
        watcher.unsubscribe(service, ear.listener);
        provider.registerInstance(service, "10.6.0.1", 82);
        Thread.sleep(1000);
        equal(ear.last.get(), List.of(), "nothing after unsubscribing");
        watcher.shutDown();
        provider.shutDown();
    }

    private void groupsAndNamespaces() throws Exception {
        Properties properties = Harness.properties(server);
        properties.put("namespace", unique("ns"));
        NamingService client = NacosFactory.createNamingService(properties);
        String service = unique("service");
        client.registerInstance(service, "G1", "10.6.0.1", 1);
        equal(ports(client.getAllInstances(service, "G1", false)), List.of(1), "in its group");
        equal(ports(list(client, service)), List.of(), "in another group");
        equal(ports(connect().getAllInstances(service, "G1", false)), List.of(), "elsewhere");
        equal(client.getServicesOfServer(1, 10, "G1").getData(), List.of(service), "services");
        client.deregisterInstance(service, "G1", "10.6.0.1", 1);
        equal(ports(client.getAllInstances(service, "G1", false)), List.of(), "afterwards");
        client.shutDown();
    }

    private void persistentStays() throws Exception {
        NamingService client = connect();
        String service = unique("persistent");
        Instance instance = instance(1);
        instance.setEphemeral(false);
        client.registerInstance(service, instance);
        client.shutDown();
        NamingService again = connect();
        Thread.sleep(1000);
        equal(ports(list(again, service)), List.of(1), "after its client has gone");
        check(!list(again, service).get(0).isEphemeral(), "it is not ephemeral");
        again.deregisterInstance(service, instance);
        equal(ports(list(again, service)), List.of(), "afterwards");
        again.shutDown();
    }

    private void servicesAreListed() throws Exception {
        NamingService client = connect();
        String service = unique("listed");
        String group = unique("group");
        client.registerInstance(service, group, "10.6.0.1", 1);
        equal(client.getServicesOfServer(1, 10, group).getCount(), 1, "count");
        equal(client.getServicesOfServer(1, 10, group).getData(), List.of(service), "names");
        client.shutDown();
    }

    private void killedIsGone() throws Exception {
        NamingService watcher = connect();
        String service = unique("killed");
        Ear ear = Ear.on(watcher, service);
        Process victim = Victim.start(server, service);
        try {
            ear.expect(30_000, 9);
        } finally {
            victim.destroyForcibly().waitFor();
        }
        ear.expect(1500);
        watcher.shutDown();
    }

    private void afterRestart() throws Exception {
        NamingService client = connect();
        NamingService watcher = connect();
        String service = unique("restart");
        String batch = unique("restart-batch");
        Ear ear = Ear.on(watcher, service);
        Instance instance = instance(1);
        instance.setMetadata(Map.of("zone", "a"));
        client.registerInstance(service, instance);
        client.batchRegisterInstance(batch, GROUP, List.of(instance(1), instance(2)));
        ear.expect(5000, 1);
        Harness.restartServer();
        NamingService fresh = connect();
        eventually(30_000, "registered again", () -> {
            List<Instance> found = list(fresh, service);
            return found.size() == 1 && found.get(0).getMetadata().equals(Map.of("zone", "a"));
        });
        eventually(30_000, "the batch again", () -> ports(list(fresh, batch)).equals(List.of(1, 2)));
        eventually(30_000, "subscribed again", () -> {
            fresh.registerInstance(service, "10.6.0.1", 2);
            return List.of(1, 2).equals(ear.last.get());
        });
    }
}
