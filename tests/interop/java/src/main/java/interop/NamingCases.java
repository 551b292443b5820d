package interop;

import static interop.ConfigCases.GROUP;
import static interop.Harness.check;
import static interop.Harness.equal;
import static interop.Harness.eventually;
import static interop.Harness.properties;
import static interop.Harness.settle;
import static interop.Harness.unique;

import com.alibaba.nacos.api.NacosFactory;
import com.alibaba.nacos.api.naming.NamingMaintainFactory;
import com.alibaba.nacos.api.naming.NamingMaintainService;
import com.alibaba.nacos.api.naming.NamingService;
import com.alibaba.nacos.api.naming.listener.NamingEvent;
import com.alibaba.nacos.api.naming.pojo.Instance;
import com.alibaba.nacos.api.naming.pojo.Service;
import java.util.Arrays;
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
        harness.add("groups-and-namespaces", this::groupsAndNamespaces);
        harness.add("persistent-instance", this::persistentInstance);
        harness.add("subscriber-is-pushed-to", this::subscriberIsPushedTo);
        harness.add("pushes-small-and-large-come-once", this::pushesComeOnce);
        harness.add("unacknowledged-small-push-comes-once-more", () -> pushComesOnceMore(false));
        harness.add("unacknowledged-large-push-comes-once-more", () -> pushComesOnceMore(true));
        harness.add("light-beats-keep-healthy", this::lightBeatsKeepHealthy);
        harness.add("services-by-hand", this::servicesByHand);
        harness.addAlone("light-beat-registers-again-after-a-restart", this::afterRestart);
    }

    private NamingService connect() throws Exception {
        return NacosFactory.createNamingService(properties(server));
    }

    private static Instance instance(int port) {
        Instance instance = new Instance();
        instance.setIp("10.4.0.1");
        instance.setPort(port);
        return instance;
    }

    private static List<Integer> ports(List<Instance> instances) {
        return instances.stream().map(Instance::getPort).sorted().collect(Collectors.toList());
    }

    /** Reads from the server, past the client's cache. */
    private static List<Instance> list(NamingService client, String service) throws Exception {
        return client.getAllInstances(service, GROUP, false);
    }

    private void registerListAndDeregister() throws Exception {
        NamingService client = connect();
        String service = unique("service");
        Instance first = instance(1);
        first.setClusterName("C1");
        first.setWeight(2.5);
        first.setMetadata(Map.of("zone", "a"));
        client.registerInstance(service, first);
        client.registerInstance(service, "10.4.0.1", 2);
        settle(server);
        equal(ports(list(client, service)), List.of(1, 2), "list");
        List<Instance> found = client.getAllInstances(service, GROUP, List.of("C1"), false);
        equal(ports(found), List.of(1), "list of a cluster");
        Instance only = found.get(0);
        equal(only.getWeight(), 2.5, "weight");
        equal(only.getMetadata(), Map.of("zone", "a"), "metadata");
        equal(only.getServiceName(), GROUP + "@@" + service, "service name");
        check(only.isHealthy() && only.isEnabled() && only.isEphemeral(), "flags");
        equal(client.getAllInstances(service, GROUP, List.of("C1"), true).size(), 1, "cached list");
        check(client.selectOneHealthyInstance(service).getPort() > 0, "select one");
        equal(client.getServerStatus(), "UP", "status");
        client.deregisterInstance(service, "10.4.0.1", 1, "C1");
        settle(server);
        equal(ports(list(client, service)), List.of(2), "list after deregistering");
    }

    private void groupsAndNamespaces() throws Exception {
        Properties properties = properties(server);
        properties.put("namespace", unique("ns"));
        NamingService client = NacosFactory.createNamingService(properties);
        String service = unique("service");
        client.registerInstance(service, "G1", "10.4.0.1", 1);
        settle(server);
        equal(ports(client.getAllInstances(service, "G1", false)), List.of(1), "in its group");
        equal(ports(list(client, service)), List.of(), "in another group");
        equal(ports(connect().getAllInstances(service, "G1", false)), List.of(), "elsewhere");
        equal(client.getServicesOfServer(1, 10, "G1").getData(), List.of(service), "services");
        client.deregisterInstance(service, "G1", "10.4.0.1", 1);
        settle(server);
        equal(ports(client.getAllInstances(service, "G1", false)), List.of(), "afterwards");
    }

    private void persistentInstance() throws Exception {
        NamingService client = connect();
        String service = unique("persistent");
        Instance instance = instance(1);
        instance.setEphemeral(false);
        client.registerInstance(service, instance);
        settle(server);
        equal(ports(list(client, service)), List.of(1), "listed");
        check(!list(client, service).get(0).isEphemeral(), "it is not ephemeral");
        client.deregisterInstance(service, instance);
        eventually(5000, "gone", () -> list(client, service).isEmpty());
    }

    private void subscriberIsPushedTo() throws Exception {
        NamingService client = connect();
        NamingService other = connect();
        String service = unique("push");
        other.registerInstance(service, "10.4.0.1", 1);
        AtomicReference<List<Integer>> heard = new AtomicReference<>(List.of());
        client.subscribe(service, event -> heard.set(ports(((NamingEvent) event).getInstances())));
        eventually(5000, "the first list", () -> heard.get().equals(List.of(1)));
        // After its second list the client waits ten seconds for the next: only a push is faster.
        Thread.sleep(2500);
        other.registerInstance(service, "10.4.0.1", 2);
        eventually(4000, "a push of the new instance", () -> heard.get().equals(List.of(1, 2)));
        other.deregisterInstance(service, "10.4.0.1", 2);
        eventually(4000, "a push of the removed one", () -> heard.get().equals(List.of(1)));
        // More than 1 KiB, so that the push is compressed.
        Instance large = instance(3);
        large.setMetadata(Map.of("text", "x".repeat(900), "more", "y".repeat(100)));
        other.registerInstance(service, large);
        eventually(4000, "a compressed push", () -> heard.get().equals(List.of(1, 3)));
    }

    /** A service of which one client hears by pushes, which are counted, and what another does. */
    private final class Pushed {
        final NamingService other = connect();
        final String service = unique("push");
        final AtomicReference<Instance> heard = new AtomicReference<>();
        final Mailbox mailbox;

        Pushed(boolean losesAnswers) throws Exception {
            if (server.contains(",")) {
                throw new Harness.Skip("each node pushes to whoever has asked it");
            }
            NamingService client = connect();
            mailbox = Mailbox.in(client, losesAnswers);
            other.registerInstance(service, "10.4.0.1", 1);
            client.subscribe(service,
                    event -> heard.set(((NamingEvent) event).getInstances().get(0)));
            eventually(5000, "the first list", () -> heard.get() != null);
            Thread.sleep(2500);
            equal(mailbox.pushes.size(), 0, "pushes before there is a change");
        }

        /** Changes the one instance that there is: with two of them no push is small. */
        void tell(boolean isLarge) throws Exception {
            Instance instance = instance(1);
            Map<String, String> metadata = Map.of("text", "x".repeat(isLarge ? 1000 : 1));
            instance.setMetadata(metadata);
            other.registerInstance(service, instance);
            eventually(4000, "a push", () -> heard.get().getMetadata().equals(metadata));
        }
    }

    private void pushesComeOnce() throws Exception {
        Pushed pushed = new Pushed(false);
        pushed.tell(false);
        pushed.tell(true);
        Thread.sleep(13000);
        List<Boolean> compressed = pushed.mailbox.pushes.stream().map(Mailbox.Push::isCompressed)
                .collect(Collectors.toList());
        equal(compressed, List.of(false, true), "compressed pushes");
    }

    private void pushComesOnceMore(boolean isLarge) throws Exception {
        Pushed pushed = new Pushed(true);
        pushed.tell(isLarge);
        Thread.sleep(25000);
        List<Mailbox.Push> pushes = pushed.mailbox.pushes;
        List<Long> seconds = pushes.stream()
                .map(push -> Math.round((push.nanos - pushes.get(0).nanos) / 1e9))
                .collect(Collectors.toList());
        equal(seconds, List.of(0L, 10L), "seconds at which a push came");
        check(pushes.stream().allMatch(push -> push.isCompressed() == isLarge), "compression");
        check(Arrays.equals(pushes.get(0).data, pushes.get(1).data), "the same again");
    }

    private void lightBeatsKeepHealthy() throws Exception {
        NamingService client = connect();
        String service = unique("beat");
        client.registerInstance(service, "10.4.0.1", 1);
        Thread.sleep(20000);
        check(list(client, service).get(0).isHealthy(), "healthy after 20 s");
    }

    private void servicesByHand() throws Exception {
        NamingMaintainService client =
                NamingMaintainFactory.createMaintainService(properties(server));
        NamingService naming = connect();
        String service = unique("hand");
        client.createService(service, GROUP, 0.5f);
        settle(server);
        Service found = client.queryService(service);
        equal(found.getName(), service, "name");
        equal(found.getProtectThreshold(), 0.5f, "threshold");
        client.updateService(service, GROUP, 0.25f, Map.of("a", "b"));
        settle(server);
        found = client.queryService(service);
        equal(found.getProtectThreshold(), 0.25f, "threshold after the update");
        equal(found.getMetadata(), Map.of("a", "b"), "metadata after the update");
        // A service that was made by hand takes persistent instances.
        Instance changed = instance(1);
        changed.setEphemeral(false);
        naming.registerInstance(service, changed);
        settle(server);
        changed.setWeight(7);
        changed.setEnabled(false);
        client.updateInstance(service, changed);
        settle(server);
        equal(list(naming, service), List.of(), "a disabled instance");
        changed.setEnabled(true);
        client.updateInstance(service, changed);
        settle(server);
        equal(ports(list(naming, service)), List.of(1), "an enabled instance");
        equal(list(naming, service).get(0).getWeight(), 7.0, "weight after the update");
        naming.deregisterInstance(service, changed);
        settle(server);
        check(client.deleteService(service), "delete");
    }

    private void afterRestart() throws Exception {
        NamingService client = connect();
        String service = unique("restart");
        Instance instance = instance(1);
        // A light beat does not carry it: it comes back only with a registration.
        instance.setMetadata(Map.of("zone", "a"));
        client.registerInstance(service, instance);
        Thread.sleep(7000);
        Harness.restartServer();
        eventually(15000, "registered again", () -> {
            List<Instance> found = list(client, service);
            return found.size() == 1 && found.get(0).getMetadata().equals(Map.of("zone", "a"));
        });
    }
}
