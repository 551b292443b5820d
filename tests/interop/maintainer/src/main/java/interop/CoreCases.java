package interop;

import static interop.Harness.check;
import static interop.Harness.equal;
import static interop.Harness.unique;

import com.alibaba.nacos.api.NacosFactory;
import com.alibaba.nacos.api.config.ConfigService;
import com.alibaba.nacos.api.exception.NacosException;
import com.alibaba.nacos.api.model.response.ConnectionInfo;
import com.alibaba.nacos.api.model.response.Namespace;
import com.alibaba.nacos.api.model.response.NacosMember;
import com.alibaba.nacos.api.model.response.ServerLoaderMetrics;
import com.alibaba.nacos.maintainer.client.core.CoreMaintainerService;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Map;

/** What every maintainer service brings: the node, its members, connections and namespaces. */
final class CoreCases {
    /** Routes of Nacos that make no sense here, as the server's answer to them. */
    static final int NOT_THERE = 501;

    private final List<String> addresses;
    private final boolean asksForUsers = System.getenv("NACOS_USERNAME") != null;

    CoreCases(String server) {
        addresses = Arrays.asList(server.split(","));
    }

    interface Throwing {
        void run() throws Exception;
    }

    /** A call that must be refused with this code, and a sentence that says why. */
    static void refused(int code, Throwing call) throws Exception {
        try {
            call.run();
        } catch (NacosException refusal) {
            equal(refusal.getErrCode(), code, "code of " + refusal.getErrMsg());
            check(refusal.getErrMsg() != null && !refusal.getErrMsg().isBlank(), "no sentence");
            return;
        }
        throw new AssertionError("not refused");
    }

    <T extends CoreMaintainerService> void addTo(Calls<T> calls) {
        addNode(calls);
        addConnections(calls);
        addNamespaces(calls);
        addPlugins(calls);
    }

    private <T extends CoreMaintainerService> void addNode(Calls<T> calls) {
        calls.call("getServerState()", service -> {
            Map<String, String> state = service.getServerState();
            check(!state.getOrDefault("version", "").isEmpty(), "no version: " + state);
            equal(state.get("startup_mode"), addresses.size() == 1 ? "standalone" : "cluster",
                    "startup_mode");
            equal(state.get("auth_enabled"), String.valueOf(asksForUsers), "auth_enabled");
            String port = state.get("server_port");
            check(addresses.stream().anyMatch(a -> a.endsWith(":" + port)), "port " + port);
        });
        calls.call("liveness()", service -> equal(service.liveness(), true, "liveness"));
        calls.skip("readiness()", "the client asks a path that no Nacos has");
        // Both are sent as a form, where Nacos 3.1 takes nothing but JSON.
        calls.call("raftOps(String,String,String)", service -> refused(400,
                () -> service.raftOps("doSnapshot", addresses.get(0), "naming_persistent_service_v2")));
        calls.call("getIdGenerators()", service -> service.getIdGenerators().forEach(one -> {
            check(!one.getResource().isEmpty(), "a generator without a name");
            check(one.getInfo() != null, "a generator without numbers");
        }));
        calls.call("updateLogLevel(String,String)",
                service -> refused(400, () -> service.updateLogLevel("core-auth", "INFO")));
        calls.call("listClusterNodes(String,String)", service -> {
            Collection<NacosMember> members = service.listClusterNodes(null, null);
            equal(members.size(), addresses.size(), "members");
            for (NacosMember member : members) {
                equal(member.getState().name(), "UP", "state");
                check(addresses.contains(member.getAddress()), member.getAddress());
                equal(member.getAddress(), member.getIp() + ":" + member.getPort(), "address");
            }
            equal(service.listClusterNodes(addresses.get(0), "UP").size(), 1, "by address");
            equal(service.listClusterNodes(null, "DOWN").size(), 0, "down");
            equal(service.listClusterNodes("10.1.1.1:1", null).size(), 0, "a stranger");
        });
        calls.call("updateLookupMode(String)",
                service -> refused(400, () -> service.updateLookupMode("tea-leaves")));
    }

    /** Runs a body while one gRPC client more is connected. */
    private void connected(Throwing body) throws Exception {
        ConfigService client = NacosFactory.createConfigService(
                Harness.properties(String.join(",", addresses)));
        try {
            client.getConfig(unique("absent"), "DEFAULT_GROUP", 3000);
            body.run();
        } finally {
            client.shutDown();
        }
    }

    private <T extends CoreMaintainerService> void addConnections(Calls<T> calls) {
        calls.callAlone("getCurrentClients()", service -> connected(() -> {
            Map<String, ConnectionInfo> clients = service.getCurrentClients();
            // Of several members each tells of its own.
            check(addresses.size() > 1 || !clients.isEmpty(), "nobody is connected");
            clients.forEach((id, client) -> {
                equal(client.getMetaInfo().getConnectionId(), id, "connection id");
                equal(client.getMetaInfo().getClientIp(), "127.0.0.1", "client");
                equal(client.getMetaInfo().getConnectType(), "GRPC", "type");
                check(client.getMetaInfo().getVersion().contains("3.2.1"), "version");
                check(client.getMetaInfo().getCreateTime() != null, "no time");
            });
        }));
        calls.callAlone("reloadConnectionCount(Integer,String)", service -> connected(
                () -> equal(service.reloadConnectionCount(1, addresses.get(0)), "success", "answer")));
        calls.callAlone("smartReloadCluster(String)",
                service -> equal(service.smartReloadCluster("0.1"), null, "nothing to even out"));
        calls.callAlone("reloadSingleClient(String,String)", service -> connected(() -> {
            for (String id : service.getCurrentClients().keySet()) {
                equal(service.reloadSingleClient(id, addresses.get(0)), "success", id);
            }
        }));
        calls.callAlone("getClusterLoaderMetrics()", service -> connected(() -> {
            ServerLoaderMetrics metrics = service.getClusterLoaderMetrics();
            equal(metrics.getMemberCount(), addresses.size(), "members");
            equal(metrics.getMetricsCount(), addresses.size(), "those who answered");
            equal(metrics.isCompleted(), true, "completed");
            check(metrics.getTotal() >= 1, "nobody is connected");
            check(metrics.getMax() >= metrics.getAvg() && metrics.getAvg() >= metrics.getMin(),
                    metrics.getMin() + " " + metrics.getAvg() + " " + metrics.getMax());
            metrics.getDetail().forEach(member -> {
                check(addresses.contains(member.getAddress()), member.getAddress());
                Float.parseFloat(member.getLoad());
                Float.parseFloat(member.getCpu());
            });
        }));
    }

    private <T extends CoreMaintainerService> void addNamespaces(Calls<T> calls) {
        calls.call("getNamespaceList()", service -> {
            String id = unique("listed");
            service.createNamespace(id, "Listed", "told by the list");
            List<Namespace> all = service.getNamespaceList();
            check(all.stream().anyMatch(one -> "public".equals(one.getNamespace())
                    && one.getType() == 0), "public is missing");
            Namespace found = all.stream().filter(one -> id.equals(one.getNamespace()))
                    .findFirst().orElseThrow();
            namespace(found, id, "Listed", "told by the list");
        });
        calls.call("getNamespace(String)", service -> {
            String id = unique("one");
            service.createNamespace(id, "One", "alone");
            namespace(service.getNamespace(id), id, "One", "alone");
            refused(404, () -> service.getNamespace(unique("absent")));
        });
        // The client leaves out the id that Nacos 3.1 insists on.
        calls.call("createNamespace(String,String)",
                service -> refused(400, () -> service.createNamespace(unique("Two"), "nameless")));
        calls.call("createNamespace(String,String,String)", service -> {
            String id = unique("three");
            equal(service.createNamespace(id, "Three", "described"), true, "created");
            namespace(service.getNamespace(id), id, "Three", "described");
            refused(400, () -> service.createNamespace(id, "Again", "twice"));
        });
        calls.call("updateNamespace(String,String,String)", service -> {
            String id = unique("before");
            service.createNamespace(id, "Before", "b");
            equal(service.updateNamespace(id, "After", "a"), true, "updated");
            namespace(service.getNamespace(id), id, "After", "a");
        });
        calls.call("deleteNamespace(String)", service -> {
            String id = unique("gone");
            service.createNamespace(id, "Gone", "");
            equal(service.deleteNamespace(id), true, "deleted");
            equal(service.checkNamespaceIdExist(id), false, "it is there");
        });
        calls.call("checkNamespaceIdExist(String)", service -> {
            String id = unique("checked");
            equal(service.checkNamespaceIdExist(id), false, "before");
            service.createNamespace(id, "Checked", "");
            equal(service.checkNamespaceIdExist(id), true, "after");
        });
    }

    private static void namespace(Namespace found, String id, String name, String description) {
        equal(found.getNamespace(), id, "id");
        equal(found.getNamespaceShowName(), name, "name");
        equal(found.getNamespaceDesc(), description, "description");
        equal(found.getType(), 1, "type");
        equal(found.getConfigCount(), 0, "configs");
        equal(found.getQuota(), 200, "quota");
    }

    /** There are no plug-ins here, so each of these says so. */
    private static <T extends CoreMaintainerService> void addPlugins(Calls<T> calls) {
        calls.call("listPlugins(String)",
                service -> refused(NOT_THERE, () -> service.listPlugins("auth")));
        calls.call("getPluginDetail(String,String)",
                service -> refused(NOT_THERE, () -> service.getPluginDetail("auth", "nacos")));
        calls.call("updatePluginStatus(String,String,boolean)", service -> refused(NOT_THERE,
                () -> service.updatePluginStatus("auth", "nacos", true)));
        calls.call("updatePluginStatus(String,String,boolean,boolean)", service -> refused(
                NOT_THERE, () -> service.updatePluginStatus("auth", "nacos", true, true)));
        calls.call("updatePluginConfig(String,String,Map)", service -> refused(NOT_THERE,
                () -> service.updatePluginConfig("auth", "nacos", Map.of("a", "b"))));
        calls.call("updatePluginConfig(String,String,Map,boolean)", service -> refused(NOT_THERE,
                () -> service.updatePluginConfig("auth", "nacos", Map.of("a", "b"), true)));
        calls.call("getPluginAvailability(String,String)", service -> refused(NOT_THERE,
                () -> service.getPluginAvailability("auth", "nacos")));
    }

    /** Ends the service; nothing of it works afterwards, so it is the last to be called. */
    <T extends CoreMaintainerService> void addEnd(Calls<T> calls) {
        calls.callAlone("shutdown()", CoreMaintainerService::shutdown);
    }
}
