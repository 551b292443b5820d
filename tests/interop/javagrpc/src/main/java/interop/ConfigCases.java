package interop;

import static interop.Harness.check;
import static interop.Harness.equal;
import static interop.Harness.eventually;
import static interop.Harness.unique;

import com.alibaba.nacos.api.NacosFactory;
import com.alibaba.nacos.api.config.ConfigService;
import com.alibaba.nacos.api.config.listener.AbstractListener;
import java.math.BigInteger;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
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
        harness.add("publish-non-ascii", this::publishNonAscii);
        harness.add("compare-and-set", this::compareAndSet);
        harness.add("watch-a-missing-config", this::watchMissing);
        harness.add("both-spellings-of-the-default-namespace", this::bothSpellings);
        harness.add("many-listeners", this::manyListeners);
        harness.add("log-in-with-a-user", this::logInWithUser);
        harness.add("find-the-server-by-endpoint", this::findByEndpoint);
        harness.add("publish-almost-10-mib", this::publishLarge);
        harness.addAlone("configs-after-a-restart", this::afterRestart);
    }

    private ConfigService connect() throws Exception {
        return NacosFactory.createConfigService(Harness.properties(server));
    }

    /** Collects what a listener is told. */
    static final class Watcher extends AbstractListener {
        final List<String> contents = new CopyOnWriteArrayList<>();

        @Override
        public void receiveConfigInfo(String content) {
            contents.add(String.valueOf(content));
        }

        void expect(String content, long millis) throws Exception {
            eventually(millis, "told of " + content + ", but of " + contents,
                    () -> contents.contains(content));
        }
    }

    private static String md5(String text) throws Exception {
        byte[] digest = MessageDigest.getInstance("MD5").digest(text.getBytes(StandardCharsets.UTF_8));
        return String.format("%032x", new BigInteger(1, digest));
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
        client.shutDown();
    }

    private void publishNonAscii() throws Exception {
        ConfigService client = connect();
        String dataId = unique("text");
        String content = "\u540d\u79f0: \u914d\u7f6e \u043a\u043b\u044e\u0447 + & = % \\ \"\n".repeat(50);
        check(client.publishConfig(dataId, GROUP, content), "publish");
        equal(client.getConfig(dataId, GROUP, WAIT), content, "content");
        client.shutDown();
    }

    private void publishLarge() throws Exception {
        ConfigService client = connect();
        String dataId = unique("large");
        // The client escapes it in a message of at most 10 MiB.
        String content = "0123456789abcdef".repeat((10 << 16) - 64);
        // Over several nodes it may take longer than the three seconds that the client waits.
        eventually(20_000, "publish 10 MiB", () -> client.publishConfig(dataId, GROUP, content));
        check(content.equals(client.getConfig(dataId, GROUP, 10_000)), "10 MiB of content");
        client.shutDown();
    }

    private void compareAndSet() throws Exception {
        ConfigService client = connect();
        String dataId = unique("cas");
        check(client.publishConfig(dataId, GROUP, "one"), "publish");
        check(!client.publishConfigCas(dataId, GROUP, "two", md5("other")), "a wrong md5 is refused");
        equal(client.getConfig(dataId, GROUP, WAIT), "one", "read");
        check(client.publishConfigCas(dataId, GROUP, "two", md5("one")), "the right md5 is taken");
        equal(client.getConfig(dataId, GROUP, WAIT), "two", "read");
        check(client.publishConfigCas(unique("cas"), GROUP, "x", md5("x")), "nothing is there to compare");
        client.shutDown();
    }

    private void watchMissing() throws Exception {
        ConfigService client = connect();
        ConfigService other = connect();
        String dataId = unique("watch");
        Watcher watcher = new Watcher();
        client.addListener(dataId, GROUP, watcher);
        Thread.sleep(1000);
        for (String content : List.of("1", "2", "3")) {
            check(other.publishConfig(dataId, GROUP, content), "publish");
            watcher.expect(content, 5000);
        }
        check(other.removeConfig(dataId, GROUP), "remove");
        watcher.expect("null", 5000);
        equal(watcher.contents, List.of("1", "2", "3", "null"), "each change once");
        client.shutDown();
        other.shutDown();
    }

    private void bothSpellings() throws Exception {
        Properties properties = Harness.properties(server);
        properties.put("namespace", "public");
        ConfigService named = NacosFactory.createConfigService(properties);
        properties = Harness.properties(server);
        properties.put("namespace", unique("ns"));
        ConfigService apart = NacosFactory.createConfigService(properties);
        ConfigService none = connect();
        String dataId = unique("spelling");
        Watcher[] watchers = {new Watcher(), new Watcher(), new Watcher()};
        named.addListener(dataId, GROUP, watchers[0]);
        none.addListener(dataId, GROUP, watchers[1]);
        apart.addListener(dataId, GROUP, watchers[2]);
        Thread.sleep(500);
        check(none.publishConfig(dataId, GROUP, "one"), "publish");
        watchers[0].expect("one", 5000);
        watchers[1].expect("one", 5000);
        check(named.publishConfig(dataId, GROUP, "two"), "publish");
        watchers[0].expect("two", 5000);
        watchers[1].expect("two", 5000);
        equal(apart.getConfig(dataId, GROUP, WAIT), null, "in another namespace");
        equal(watchers[2].contents, List.of(), "what the other namespace was told");
        named.shutDown();
        apart.shutDown();
        none.shutDown();
    }

    private void manyListeners() throws Exception {
        ConfigService client = connect();
        String dataId = unique("many");
        // More than one connection's worth: the client takes 3,000 for each.
        int count = 3100;
        Watcher watcher = new Watcher();
        for (int number = 0; number < count; number++) {
            client.addListener(dataId + "-" + number, GROUP, watcher);
        }
        Thread.sleep(2000);
        check(client.publishConfig(dataId + "-" + 5, GROUP, "first"), "publish");
        check(client.publishConfig(dataId + "-" + (count - 1), GROUP, "last"), "publish");
        watcher.expect("first", 10_000);
        watcher.expect("last", 10_000);
        client.shutDown();
    }

    private void logInWithUser() throws Exception {
        Properties properties = Harness.properties(server);
        properties.putIfAbsent("username", "nacos");
        properties.putIfAbsent("password", "nacos");
        ConfigService client = NacosFactory.createConfigService(properties);
        String dataId = unique("user");
        check(client.publishConfig(dataId, GROUP, "1"), "publish");
        equal(client.getConfig(dataId, GROUP, WAIT), "1", "read");
        client.shutDown();
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
        client.shutDown();
    }

    private void afterRestart() throws Exception {
        ConfigService client = connect();
        String dataId = unique("restart");
        check(client.publishConfig(dataId, GROUP, "before"), "publish");
        Watcher watcher = new Watcher();
        client.addListener(dataId, GROUP, watcher);
        watcher.expect("before", 10_000);
        Harness.restartServer();
        eventually(20_000, "read after the restart",
                () -> "before".equals(client.getConfig(dataId, GROUP, WAIT)));
        ConfigService other = connect();
        // The node that was killed may have been the leader.
        eventually(20_000, "publish after the restart",
                () -> other.publishConfig(dataId, GROUP, "after"));
        watcher.expect("after", 20_000);
    }
}
