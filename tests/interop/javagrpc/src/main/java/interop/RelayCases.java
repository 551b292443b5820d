package interop;

import static interop.ConfigCases.GROUP;
import static interop.Harness.check;
import static interop.Harness.eventually;
import static interop.Harness.unique;

import com.alibaba.nacos.api.NacosFactory;
import com.alibaba.nacos.api.config.ConfigService;
import com.alibaba.nacos.api.naming.NamingService;
import com.alibaba.nacos.api.naming.pojo.Instance;
import java.util.List;
import java.util.Properties;

/** The client where a server answers as older ones do. */
final class RelayCases {
    private final String server;

    RelayCases(String server) {
        this.server = server;
    }

    void addTo(Harness harness) {
        harness.add("a-server-that-negotiates-no-abilities", this::withoutNegotiation);
    }

    private void withoutNegotiation() throws Exception {
        try (Relay relay = new Relay(server, false, null)) {
            Properties properties = Harness.properties(relay.address());
            ConfigService configs = NacosFactory.createConfigService(properties);
            String name = unique("old");
            ConfigCases.Watcher watcher = new ConfigCases.Watcher();
            configs.addListener(name, GROUP, watcher);
            for (String content : List.of("1", "2")) {
                check(configs.publishConfig(name, GROUP, content), "publish");
                watcher.expect(content, 5000);
            }
            NamingService naming = NacosFactory.createNamingService(properties);
            NamingService other = NacosFactory.createNamingService(properties);
            NamingCases.Ear ear = NamingCases.Ear.on(naming, name);
            other.registerInstance(name, "10.6.0.1", 80);
            ear.expect(5000, 80);
            other.deregisterInstance(name, "10.6.0.1", 80);
            ear.expect(5000);
            check(relay.changed.get() >= 3, relay.changed + " answers without abilities");
            Instance persistent = NamingCases.instance(81);
            persistent.setEphemeral(false);
            String kept = unique("old-persistent");
            other.registerInstance(kept, persistent);
            eventually(5000, "a persistent instance",
                    () -> naming.getAllInstances(kept, GROUP, false).size() == 1);
            check(relay.paths.stream().anyMatch(path -> path.endsWith("/ns/instance")),
                    "it goes over HTTP where nothing better is known: " + relay.paths);
            other.deregisterInstance(kept, persistent);
            eventually(5000, "none any more",
                    () -> naming.getAllInstances(kept, GROUP, false).isEmpty());
            configs.shutDown();
            naming.shutDown();
            other.shutDown();
        }
    }
}
