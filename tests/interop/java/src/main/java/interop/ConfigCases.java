package interop;

import static interop.Harness.check;
import static interop.Harness.equal;
import static interop.Harness.eventually;
import static interop.Harness.properties;
import static interop.Harness.settle;
import static interop.Harness.unique;

import com.alibaba.nacos.api.NacosFactory;
import com.alibaba.nacos.api.config.ConfigChangeEvent;
import com.alibaba.nacos.api.config.ConfigChangeItem;
import com.alibaba.nacos.api.config.ConfigService;
import com.alibaba.nacos.api.config.listener.AbstractListener;
import com.alibaba.nacos.client.config.listener.impl.AbstractConfigChangeListener;
import java.net.URI;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CopyOnWriteArrayList;

/** Configs through the Java client. */
final class ConfigCases {
    static final String GROUP = "DEFAULT_GROUP";
    private static final long WAIT = 5000;

    private final String server;

    ConfigCases(String server) {
        this.server = server;
    }

    void addTo(Harness harness) {
        harness.add("publish-read-and-remove", this::publishReadAndRemove);
        harness.add("publish-non-ascii-and-large", this::publishNonAsciiAndLarge);
        harness.add("watch-a-missing-config-without-spinning", this::watchMissing);
        harness.add("watch-through-a-hold", this::watchThroughHold);
        harness.add("listener-knows-the-type", this::listenerKnowsTheType);
        harness.add("namespaces-are-apart", this::namespacesAreApart);
        harness.add("log-in-with-a-user", this::logInWithUser);
        harness.add("find-the-server-by-endpoint", this::findByEndpoint);
        harness.addAlone("configs-after-a-restart", this::afterRestart);
    }

    private ConfigService connect() throws Exception {
        return NacosFactory.createConfigService(properties(server));
    }

    /** Collects what a listener is told. */
    private static final class Watcher extends AbstractListener {
        final List<String> contents = new CopyOnWriteArrayList<>();

        @Override
        public void receiveConfigInfo(String content) {
            contents.add(String.valueOf(content));
        }

        long expect(String content, long millis) throws Exception {
            return eventually(millis, "told of " + content + ", but of " + contents,
                    () -> contents.contains(content));
        }
    }

    private void publishReadAndRemove() throws Exception {
        ConfigService client = connect();
        String dataId = unique("java");
        equal(client.getConfig(dataId, GROUP, WAIT), null, "a config that is not there");
        check(client.publishConfig(dataId, GROUP, "a: 1", "yaml"), "publish");
        equal(client.getConfig(dataId, GROUP, WAIT), "a: 1", "read");
        check(client.publishConfig(dataId, GROUP, "a: 2"), "publish again");
        equal(client.getConfig(dataId, GROUP, WAIT), "a: 2", "read again");
        check(client.removeConfig(dataId, GROUP), "remove");
        equal(client.getConfig(dataId, GROUP, WAIT), null, "a config that was removed");
        equal(client.getServerStatus(), "UP", "status");
    }

    private void publishNonAsciiAndLarge() throws Exception {
        ConfigService client = connect();
        String dataId = unique("text");
        String content = "\u540d\u79f0: \u914d\u7f6e \u043a\u043b\u044e\u0447 + & = % \\ \"\n".repeat(50);
        check(client.publishConfig(dataId, GROUP, content), "publish");
        equal(client.getConfig(dataId, GROUP, WAIT), content, "content");
        content = "0123456789abcde\n".repeat(32768);
        check(client.publishConfig(dataId, GROUP, content), "publish 512 KiB");
        check(content.equals(client.getConfig(dataId, GROUP, WAIT)), "512 KiB of content");
    }

    private void watchMissing() throws Exception {
        Counter counter = new Counter(server, "/cs/configs/listener");
        ConfigService client = NacosFactory.createConfigService(properties(counter.address()));
        String dataId = unique("watch");
        Watcher watcher = new Watcher();
        client.addListener(dataId, GROUP, watcher);
        Thread.sleep(4000);
        int polls = counter.count();
        check(polls >= 1 && polls <= 3, polls + " polls in 4 s before there is a change");
        client.publishConfig(dataId, GROUP, "1");
        check(watcher.expect("1", 10000) < 3000, "told late");
        client.publishConfig(dataId, GROUP, "2");
        check(watcher.expect("2", 10000) < 3000, "told late");
        polls = counter.count();
        Thread.sleep(4000);
        check(counter.count() - polls <= 2, counter.count() - polls + " polls after a change");
        client.removeConfig(dataId, GROUP);
        watcher.expect("null", 10000);
        polls = counter.count();
        Thread.sleep(4000);
        check(counter.count() - polls <= 2, counter.count() - polls + " polls after the removal");
    }

    private void watchThroughHold() throws Exception {
        Counter counter = new Counter(server, "/cs/configs/listener");
        ConfigService client = NacosFactory.createConfigService(properties(counter.address()));
        String dataId = unique("hold");
        client.publishConfig(dataId, GROUP, "1");
        Watcher watcher = new Watcher();
        equal(client.getConfigAndSignListener(dataId, GROUP, WAIT, watcher), "1", "read");
        Thread.sleep(32000);
        int polls = counter.count();
        check(polls >= 2 && polls <= 4, polls + " polls in 32 s");
        client.publishConfig(dataId, GROUP, "2");
        check(watcher.expect("2", 10000) < 3000, "told late");
    }

    private void listenerKnowsTheType() throws Exception {
        ConfigService client = connect();
        String dataId = unique("typed");
        List<String> changes = new CopyOnWriteArrayList<>();
        client.publishConfig(dataId, GROUP, "a=1\nb=1\n", "properties");
        client.addListener(dataId, GROUP, new AbstractConfigChangeListener() {
            @Override
            public void receiveConfigChange(ConfigChangeEvent event) {
                for (ConfigChangeItem item : event.getChangeItems()) {
                    changes.add(item.getKey() + ":" + item.getOldValue() + ">" + item.getNewValue());
                }
            }
        });
        eventually(10000, "the first content", () -> changes.contains("a:null>1"));
        client.publishConfig(dataId, GROUP, "a=1\nb=2\n", "properties");
        eventually(10000, "the changed key: " + changes, () -> changes.contains("b:1>2"));
    }

    private void namespacesAreApart() throws Exception {
        Properties properties = properties(server);
        properties.put("namespace", unique("ns"));
        ConfigService one = NacosFactory.createConfigService(properties);
        properties.put("namespace", "public");
        ConfigService named = NacosFactory.createConfigService(properties);
        ConfigService none = connect();
        String dataId = unique("apart");
        Watcher[] watchers = {new Watcher(), new Watcher(), new Watcher()};
        one.addListener(dataId, GROUP, watchers[0]);
        named.addListener(dataId, GROUP, watchers[1]);
        none.addListener(dataId, GROUP, watchers[2]);
        check(one.publishConfig(dataId, GROUP, "one"), "publish");
        equal(none.getConfig(dataId, GROUP, WAIT), null, "in another namespace");
        watchers[0].expect("one", 10000);
        check(named.publishConfig(dataId, GROUP, "public"), "publish");
        settle(server);
        equal(none.getConfig(dataId, GROUP, WAIT), "public", "read under the other spelling");
        watchers[1].expect("public", 10000);
        watchers[2].expect("public", 10000);
        equal(watchers[0].contents, List.of("one"), "what the other namespace was told");
    }

    private void logInWithUser() throws Exception {
        Properties properties = properties(server);
        properties.putIfAbsent("username", "nacos");
        properties.putIfAbsent("password", "nacos");
        ConfigService client = NacosFactory.createConfigService(properties);
        String dataId = unique("user");
        check(client.publishConfig(dataId, GROUP, "1"), "publish");
        equal(client.getConfig(dataId, GROUP, WAIT), "1", "read");
    }

    private void findByEndpoint() throws Exception {
        URI uri = URI.create("http://" + server.split(",")[0]);
        Properties properties = Harness.user();
        properties.put("endpoint", uri.getHost());
        properties.put("endpointPort", String.valueOf(uri.getPort()));
        ConfigService client = NacosFactory.createConfigService(properties);
        String dataId = unique("endpoint");
        check(client.publishConfig(dataId, GROUP, "1"), "publish");
        equal(client.getConfig(dataId, GROUP, WAIT), "1", "read");
    }

    private void afterRestart() throws Exception {
        ConfigService client = connect();
        String dataId = unique("restart");
        check(client.publishConfig(dataId, GROUP, "before"), "publish");
        Watcher watcher = new Watcher();
        client.addListener(dataId, GROUP, watcher);
        watcher.expect("before", 10000);
        Harness.restartServer();
        eventually(20000, "read after the restart",
                () -> "before".equals(client.getConfig(dataId, GROUP, WAIT)));
        // The node that was killed may have been the leader.
        eventually(20000, "publish after the restart",
                () -> client.publishConfig(dataId, GROUP, "after"));
        watcher.expect("after", 20000);
    }
}
