package interop;

import static interop.ConfigCases.GROUP;
import static interop.Harness.check;
import static interop.Harness.equal;
import static interop.Harness.eventually;
import static interop.Harness.settle;
import static interop.Harness.unique;

import com.alibaba.nacos.api.NacosFactory;
import com.alibaba.nacos.api.config.ConfigService;
import com.alibaba.nacos.api.config.listener.AbstractFuzzyWatchEventWatcher;
import com.alibaba.nacos.api.config.listener.ConfigFuzzyWatchChangeEvent;
import com.alibaba.nacos.api.lock.LockService;
import com.alibaba.nacos.api.lock.NacosLockFactory;
import com.alibaba.nacos.api.naming.NamingService;
import com.alibaba.nacos.api.naming.listener.FuzzyWatchChangeEvent;
import com.alibaba.nacos.client.lock.core.NLockFactory;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.List;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** What came with 3.x: fuzzy watch and locks. */
final class Extras {
    private final String server;

    Extras(String server) {
        this.server = server;
    }

    void addTo(Harness harness) {
        harness.add("log-in-where-only-the-path-of-v1-is-known", this::logInOnTheOldPath);
        harness.add("fuzzy-watch-configs", this::fuzzyWatchConfigs);
        harness.add("fuzzy-watch-services", this::fuzzyWatchServices);
        harness.add("a-lock-is-held-by-one", this::lockIsHeldByOne);
        harness.add("a-lock-expires", this::lockExpires);
        harness.addAlone("fuzzy-watch-and-locks-after-a-restart", this::afterRestart);
        new MaintainCases(server).addTo(harness);
    }

    /** Collects what a config watcher is told. */
    private static final class Configs extends AbstractFuzzyWatchEventWatcher {
        final List<String> events = new CopyOnWriteArrayList<>();

        @Override
        public void onEvent(ConfigFuzzyWatchChangeEvent event) {
            events.add(event.getChangedType() + " " + event.getDataId());
        }

        void expect(long millis, String event) throws Exception {
            eventually(millis, event + ", but " + events, () -> events.contains(event));
        }
    }

    /** Collects what a service watcher is told. */
    private static final class Services
            extends com.alibaba.nacos.api.naming.listener.AbstractFuzzyWatchEventWatcher {
        final List<String> events = new CopyOnWriteArrayList<>();

        @Override
        public void onEvent(FuzzyWatchChangeEvent event) {
            events.add(event.getChangeType() + " " + event.getServiceName());
        }

        void expect(long millis, String event) throws Exception {
            eventually(millis, event + ", but " + events, () -> events.contains(event));
        }
    }

    private void logInOnTheOldPath() throws Exception {
        String path = "/nacos/v3/auth/user/login";
        try (Relay relay = new Relay(server, true, path)) {
            Properties properties = Harness.properties(relay.address());
            properties.putIfAbsent("username", "nacos");
            properties.putIfAbsent("password", "nacos");
            ConfigService configs = NacosFactory.createConfigService(properties);
            // Where it is too much at once, the library logs in later.
            eventually(10_000, "a login, but " + relay.paths,
                    () -> relay.paths.contains("/nacos/v1/auth/users/login"));
            equal(relay.paths.get(0), path, "what was tried first");
            String name = unique("login");
            check(configs.publishConfig(name, GROUP, "1"), "publish");
            equal(configs.getConfig(name, GROUP, 5000), "1", "read");
            NamingService naming = NacosFactory.createNamingService(properties);
            naming.registerInstance(name, "10.6.0.1", 80);
            eventually(5000, "an instance",
                    () -> naming.getAllInstances(name, GROUP, false).size() == 1);
            configs.shutDown();
            naming.shutDown();
        }
    }

    private void fuzzyWatchConfigs() throws Exception {
        ConfigService client = NacosFactory.createConfigService(Harness.properties(server));
        ConfigService other = NacosFactory.createConfigService(Harness.properties(server));
        String stem = unique("fuzzy");
        for (int number = 0; number < 60; number++) {
            check(other.publishConfig(stem + "." + number, GROUP, "x"), "publish");
        }
        settle(server);
        Configs watcher = new Configs();
        Set<String> keys = client.fuzzyWatchWithGroupKeys(stem + ".*", GROUP, watcher)
                .get(10, TimeUnit.SECONDS);
        equal(keys.size(), 60, "keys at the begin");
        watcher.expect(5000, "ADD_CONFIG " + stem + ".59");
        check(other.publishConfig(stem + ".new", GROUP, "x"), "publish");
        watcher.expect(5000, "ADD_CONFIG " + stem + ".new");
        check(other.publishConfig(unique("elsewhere"), GROUP, "x"), "publish");
        check(other.removeConfig(stem + ".7", GROUP), "remove");
        watcher.expect(5000, "DELETE_CONFIG " + stem + ".7");
        equal(watcher.events.size(), 62, "events: " + watcher.events);
        client.cancelFuzzyWatch(stem + ".*", GROUP, watcher);
        eventually(10_000, "nothing after the watch is cancelled", () -> {
            int before = watcher.events.size();
            check(other.publishConfig(stem + "." + unique("later"), GROUP, "x"), "publish");
            Thread.sleep(500);
            return watcher.events.size() == before;
        });
        client.shutDown();
        other.shutDown();
    }

    private void fuzzyWatchServices() throws Exception {
        NamingService client = NacosFactory.createNamingService(Harness.properties(server));
        NamingService other = NacosFactory.createNamingService(Harness.properties(server));
        String stem = unique("fuzzy");
        for (int number = 0; number < 25; number++) {
            other.registerInstance(stem + "-" + number, "10.6.0.1", 1);
        }
        Services watcher = new Services();
        client.fuzzyWatchWithServiceKeys(stem + "*", GROUP, watcher).get(10, TimeUnit.SECONDS);
        // Those of another node are not far.
        eventually(5000, "25 services, but " + watcher.events, () -> watcher.events.size() == 25);
        other.registerInstance(stem + "-new", "10.6.0.1", 1);
        watcher.expect(5000, "ADD_SERVICE " + stem + "-new");
        other.deregisterInstance(stem + "-new", "10.6.0.1", 1);
        // An empty service goes after a minute, or when somebody removes it.
        URI uri = URI.create("http://" + server.split(",")[0] + "/nacos/v1/ns/service?serviceName="
                + stem + "-new");
        HttpRequest.Builder remove = HttpRequest.newBuilder(uri).DELETE();
        token().ifPresent(token -> remove.header("accessToken", token));
        HttpClient http = HttpClient.newHttpClient();
        equal(http.send(remove.build(), BodyHandlers.ofString()).statusCode(), 200,
                "the service is removed");
        // A node that hears of the removal before it hears that the service is empty waits the
        // minute.
        watcher.expect(70_000, "DELETE_SERVICE " + stem + "-new");
        client.shutDown();
        other.shutDown();
    }

    /** What the server gives for user and password, where it asks for them. */
    private Optional<String> token() throws Exception {
        Properties user = Harness.user();
        if (user.isEmpty()) {
            return Optional.empty();
        }
        URI uri = URI.create("http://" + server.split(",")[0] + "/nacos/v1/auth/users/login");
        HttpRequest login = HttpRequest.newBuilder(uri)
                .header("Content-Type", "application/x-www-form-urlencoded")
                .POST(BodyPublishers.ofString("username=" + user.getProperty("username")
                        + "&password=" + user.getProperty("password")))
                .build();
        String answer = HttpClient.newHttpClient().send(login, BodyHandlers.ofString()).body();
        Matcher found = Pattern.compile("\"accessToken\":\"([^\"]+)\"").matcher(answer);
        check(found.find(), "login: " + answer);
        return Optional.of(found.group(1));
    }

    private void lockIsHeldByOne() throws Exception {
        LockService one = NacosLockFactory.createLockService(Harness.properties(server));
        LockService two = NacosLockFactory.createLockService(Harness.properties(server));
        String key = unique("lock");
        check(one.lock(NLockFactory.getLock(key)), "the first takes it");
        check(!two.lock(NLockFactory.getLock(key)), "the second does not");
        check(!one.lock(NLockFactory.getLock(key)), "it is not reentrant");
        check(one.unLock(NLockFactory.getLock(key)), "the first lets go");
        check(!one.unLock(NLockFactory.getLock(key)), "there is nothing to let go any more");
        check(two.lock(NLockFactory.getLock(key)), "now the second takes it");
        one.shutdown();
        two.shutdown();
    }

    private void lockExpires() throws Exception {
        LockService client = NacosLockFactory.createLockService(Harness.properties(server));
        String key = unique("expiring");
        long start = System.nanoTime();
        check(client.lock(NLockFactory.getLock(key, 1500L)), "taken");
        check(!client.lock(NLockFactory.getLock(key, 1500L)), "held");
        eventually(5000, "expired", () -> client.lock(NLockFactory.getLock(key, 60_000L)));
        long millis = (System.nanoTime() - start) / 1_000_000;
        check(millis >= 1500, "expired after " + millis + " ms");
        check(!client.lock(NLockFactory.getLock(key)), "held again");
        client.shutdown();
    }

    private void afterRestart() throws Exception {
        LockService locks = NacosLockFactory.createLockService(Harness.properties(server));
        ConfigService client = NacosFactory.createConfigService(Harness.properties(server));
        String stem = unique("restart");
        Configs watcher = new Configs();
        client.fuzzyWatch(stem + "*", GROUP, watcher);
        check(locks.lock(NLockFactory.getLock(stem, 600_000L)), "taken before the restart");
        Harness.restartServer();
        eventually(20_000, "held after the restart", () -> {
            LockService fresh = NacosLockFactory.createLockService(Harness.properties(server));
            boolean taken = fresh.lock(NLockFactory.getLock(stem, 600_000L));
            fresh.shutdown();
            check(!taken, "a lock was lost");
            return true;
        });
        ConfigService other = NacosFactory.createConfigService(Harness.properties(server));
        check(other.publishConfig(stem + "-after", GROUP, "x"), "publish");
        watcher.expect(30_000, "ADD_CONFIG " + stem + "-after");
    }
}
