package interop;

import static interop.Harness.check;
import static interop.Harness.equal;
import static interop.Harness.eventually;
import static interop.Harness.restartServer;
import static interop.Harness.unique;

import com.alibaba.nacos.api.NacosFactory;
import com.alibaba.nacos.api.config.ConfigService;
import com.alibaba.nacos.api.naming.NamingService;
import com.alibaba.nacos.api.naming.pojo.Instance;
import java.io.IOException;
import java.net.ServerSocket;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.ConfigCenterConfig;
import org.apache.dubbo.config.MetadataReportConfig;
import org.apache.dubbo.config.ProtocolConfig;
import org.apache.dubbo.config.ReferenceConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.ServiceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;
import org.apache.dubbo.rpc.RpcException;
import org.apache.dubbo.rpc.model.FrameworkModel;

/** Dubbo applications that register as instances, with the server as registry, metadata and config. */
final class PairCases {
    private static final String MAPPING = "mapping";

    private final String server;
    private final ConfigService configs;
    private final NamingService naming;

    PairCases(String server) throws Exception {
        this.server = server;
        configs = NacosFactory.createConfigService(Harness.properties(server));
        naming = NacosFactory.createNamingService(Harness.properties(server));
    }

    void addTo(Harness harness) {
        harness.addAlone("applications-register-as-instances-and-call", this::instances);
        harness.addAlone("settings-come-from-the-config-centre", this::settings);
        harness.addAlone("a-call-after-a-restart", this::afterRestart);
    }

    private String address() {
        String[] all = server.split(",");
        String rest = String.join(",", Arrays.asList(all).subList(1, all.length));
        return "nacos://" + all[0] + (rest.isEmpty() ? "" : "?backup=" + rest);
    }

    /** An application alone in its own world, as if it had a process of its own. */
    private DubboBootstrap application(String name) {
        ApplicationConfig application = new ApplicationConfig(name);
        application.setQosEnable(false);
        application.setEnableFileCache(false);
        application.setRegisterMode("instance");
        application.setMetadataType("remote");
        RegistryConfig registry = new RegistryConfig(address());
        MetadataReportConfig metadata = new MetadataReportConfig(address());
        ConfigCenterConfig centre = new ConfigCenterConfig();
        centre.setAddress(address());
        String user = System.getenv("NACOS_USERNAME");
        String password = System.getenv("NACOS_PASSWORD");
        if (user != null) {
            registry.setUsername(user);
            registry.setPassword(password);
            metadata.setUsername(user);
            metadata.setPassword(password);
            centre.setUsername(user);
            centre.setPassword(password);
        }
        return DubboBootstrap.newInstance(new FrameworkModel()).application(application)
                .registry(registry).metadataReport(metadata).configCenter(centre);
    }

    private static int freePort() throws IOException {
        try (ServerSocket listener = new ServerSocket(0)) {
            return listener.getLocalPort();
        }
    }

    private DubboBootstrap provider(String name, String version) throws IOException {
        ServiceConfig<Greeter> service = new ServiceConfig<>();
        service.setInterface(Greeter.class);
        service.setVersion(version);
        service.setRef(who -> "hello " + who + " from " + name);
        ProtocolConfig protocol = new ProtocolConfig("dubbo", freePort());
        protocol.setHost("127.0.0.1");
        return application(name).protocol(protocol).service(service).start();
    }

    private static ReferenceConfig<Greeter> reference(String version) {
        ReferenceConfig<Greeter> reference = new ReferenceConfig<>();
        reference.setInterface(Greeter.class);
        reference.setVersion(version);
        reference.setScope("remote");
        reference.setCheck(false);
        return reference;
    }

    private static String greeting(Greeter greeter) {
        try {
            return greeter.greet("you");
        } catch (RpcException nobody) {
            return String.valueOf(nobody.getMessage());
        }
    }

    private void knows(String interfaceName, String application) throws Exception {
        String mapping = configs.getConfig(interfaceName, MAPPING, 3000);
        check(mapping != null && Arrays.asList(mapping.split(",")).contains(application),
                "the mapping " + mapping + " lacks " + application);
    }

    private void instances() throws Exception {
        String version = unique("v");
        String first = unique("first");
        String second = unique("second");
        DubboBootstrap one = provider(first, version);
        // Which applications offer an interface is a config that grows by compare-and-set.
        String interfaceName = Greeter.class.getName();
        knows(interfaceName, first);
        List<Instance> registered = naming.getAllInstances(first);
        equal(registered.size(), 1, "instances of the first");
        Map<String, String> told = registered.get(0).getMetadata();
        check(told.containsKey("dubbo.metadata.revision"), "metadata " + told);
        equal(told.get("dubbo.metadata.storage-type"), "remote", "where the metadata are");
        equal(naming.getAllInstances("providers:" + interfaceName + ":" + version + ":").size(), 0,
                "nobody registers as an interface");
        ReferenceConfig<Greeter> wanted = reference(version);
        DubboBootstrap consumer = application(unique("consumer")).reference(wanted).start();
        Greeter greeter = wanted.get();
        eventually(10_000, "a call is answered, but " + greeting(greeter),
                () -> ("hello you from " + first).equals(greeting(greeter)));
        DubboBootstrap two = provider(second, version);
        Set<String> seen = Collections.synchronizedSet(new TreeSet<>());
        eventually(15_000, "both answer, but " + seen, () -> {
            seen.add(greeting(greeter));
            return seen.containsAll(List.of("hello you from " + first, "hello you from " + second));
        });
        knows(interfaceName, first);
        knows(interfaceName, second);
        one.stop();
        eventually(10_000, "the first has gone", () -> naming.getAllInstances(first).isEmpty());
        for (int call = 0; call < 20; call++) {
            equal(greeting(greeter), "hello you from " + second, "who is left");
        }
        two.stop();
        consumer.stop();
    }

    private void settings() throws Exception {
        String version = unique("v");
        String name = unique("configured");
        check(configs.publishConfig("dubbo.properties", "dubbo", "dubbo.consumer.timeout=4321\n"),
                "publish");
        DubboBootstrap provider = provider(name, version);
        ReferenceConfig<Greeter> wanted = reference(version);
        DubboBootstrap consumer = application(unique("consumer")).reference(wanted).start();
        Greeter greeter = wanted.get();
        eventually(10_000, "a call is answered",
                () -> ("hello you from " + name).equals(greeting(greeter)));
        equal(wanted.getConsumer().getTimeout(), 4321, "the timeout that the centre says");
        configs.removeConfig("dubbo.properties", "dubbo");
        provider.stop();
        consumer.stop();
    }

    private void afterRestart() throws Exception {
        String version = unique("v");
        String first = unique("before");
        String second = unique("after");
        DubboBootstrap one = provider(first, version);
        ReferenceConfig<Greeter> wanted = reference(version);
        DubboBootstrap consumer = application(unique("consumer")).reference(wanted).start();
        Greeter greeter = wanted.get();
        eventually(10_000, "a call is answered",
                () -> ("hello you from " + first).equals(greeting(greeter)));
        restartServer();
        equal(greeting(greeter), "hello you from " + first, "a call without the server");
        eventually(20_000, "the first is back", () -> naming.getAllInstances(first).size() == 1);
        DubboBootstrap two = provider(second, version);
        eventually(20_000, "the new one is found",
                () -> ("hello you from " + second).equals(greeting(greeter)));
        one.stop();
        two.stop();
        consumer.stop();
    }
}
