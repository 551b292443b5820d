package interop;

import static interop.ConfigCases.GROUP;
import static interop.Harness.check;
import static interop.Harness.eventually;
import static interop.Harness.unique;

import com.alibaba.nacos.api.NacosFactory;
import com.alibaba.nacos.api.exception.NacosException;
import com.alibaba.nacos.api.naming.NamingMaintainService;
import com.alibaba.nacos.api.naming.NamingService;
import com.alibaba.nacos.api.naming.pojo.Instance;
import com.alibaba.nacos.api.naming.pojo.Service;
import com.alibaba.nacos.api.selector.ExpressionSelector;
import com.alibaba.nacos.api.selector.NoneSelector;
import java.util.Map;
import java.util.function.Predicate;

/** The older way to administer services, which every client of 3.x still brings: over HTTP v1. */
final class MaintainCases {
    private final String server;

    MaintainCases(String server) {
        this.server = server;
    }

    private interface Body {
        void run(NamingMaintainService maintain, String name) throws Exception;
    }

    void addTo(Harness harness) {
        add(harness, "maintain-a-service-by-name", this::byName);
        add(harness, "maintain-a-service-in-a-group", this::inGroup);
        add(harness, "maintain-a-service-with-a-threshold", this::withThreshold);
        add(harness, "maintain-a-service-with-an-expression", this::withExpression);
        add(harness, "maintain-a-service-as-a-whole", this::asWhole);
        add(harness, "maintain-an-instance", this::anInstance);
    }

    private void add(Harness harness, String name, Body body) {
        harness.add(name, () -> {
            NamingMaintainService maintain =
                    NacosFactory.createMaintainService(Harness.properties(server));
            body.run(maintain, unique("maintained"));
            maintain.shutDown();
        });
    }

    /** Each call may go to another member, which hears of a write a moment later. */
    private static void absent(NamingMaintainService maintain, String name, String group)
            throws Exception {
        eventually(2000, "gone", () -> {
            try {
                maintain.queryService(name, group);
                return false;
            } catch (NacosException refused) {
                String message = refused.getErrMsg();
                check(message.contains("not found") || message.contains("exist"), message);
                return true;
            }
        });
    }

    /** Waits as {@link #absent} does. */
    private static void shows(NamingMaintainService maintain, String name, String group,
            Predicate<Service> wanted) throws Exception {
        eventually(2000, "the service as it was written", () -> {
            try {
                return wanted.test(maintain.queryService(name, group));
            } catch (NacosException refused) {
                check(refused.getErrMsg().contains("not found"), refused.getErrMsg());
                return false;
            }
        });
    }

    private void byName(NamingMaintainService maintain, String name) throws Exception {
        maintain.createService(name);
        shows(maintain, name, GROUP, found ->
                found.getName().equals(name) && found.getGroupName().equals(GROUP));
        check(maintain.deleteService(name), "deleted");
        absent(maintain, name, GROUP);
    }

    private void inGroup(NamingMaintainService maintain, String name) throws Exception {
        maintain.createService(name, "G2");
        shows(maintain, name, "G2", found -> found.getGroupName().equals("G2"));
        absent(maintain, name, GROUP);
        maintain.updateService(name, "G2", 0.5f);
        shows(maintain, name, "G2", found -> found.getProtectThreshold() == 0.5f);
        check(maintain.deleteService(name, "G2"), "deleted");
        absent(maintain, name, "G2");
    }

    private void withThreshold(NamingMaintainService maintain, String name) throws Exception {
        maintain.createService(name, GROUP, 0.25f);
        shows(maintain, name, GROUP, found -> found.getProtectThreshold() == 0.25f);
        maintain.updateService(name, GROUP, 0.75f, Map.of("k", "v"));
        shows(maintain, name, GROUP, found -> found.getProtectThreshold() == 0.75f
                && found.getMetadata().equals(Map.of("k", "v")));
    }

    private void withExpression(NamingMaintainService maintain, String name) throws Exception {
        maintain.createService(name, GROUP, 0.25f, "CONSUMER.label.a = PROVIDER.label.a");
        shows(maintain, name, GROUP, found -> found.getProtectThreshold() == 0.25f);
    }

    private void asWhole(NamingMaintainService maintain, String name) throws Exception {
        Service wanted = new Service();
        wanted.setName(name);
        wanted.setGroupName("G3");
        wanted.setProtectThreshold(0.5f);
        wanted.setMetadata(Map.of("a", "b"));
        maintain.createService(wanted, new NoneSelector());
        shows(maintain, name, "G3", found -> found.getMetadata().equals(Map.of("a", "b")));
        ExpressionSelector selector = new ExpressionSelector();
        selector.setExpression("CONSUMER.label.x = PROVIDER.label.x");
        wanted.setMetadata(Map.of("c", "d"));
        maintain.updateService(wanted, selector);
        shows(maintain, name, "G3", found -> found.getMetadata().equals(Map.of("c", "d")));
    }

    private void anInstance(NamingMaintainService maintain, String name) throws Exception {
        NamingService naming = NacosFactory.createNamingService(Harness.properties(server));
        Instance instance = new Instance();
        instance.setIp("10.6.1.1");
        instance.setPort(80);
        naming.registerInstance(name, instance);
        instance.setWeight(3);
        instance.setMetadata(Map.of("k", "v"));
        maintain.updateInstance(name, instance);
        eventually(5000, "the new weight", () -> naming.getAllInstances(name, false).stream()
                .anyMatch(one -> one.getWeight() == 3 && "v".equals(one.getMetadata().get("k"))));
        instance.setEnabled(false);
        maintain.updateInstance(name, GROUP, instance);
        eventually(5000, "nobody any more", () -> naming.getAllInstances(name, false).isEmpty());
        naming.shutDown();
    }
}
