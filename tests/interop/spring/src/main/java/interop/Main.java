package interop;

import static interop.Harness.check;
import static interop.Harness.equal;
import static interop.Harness.eventually;
import static interop.Harness.unique;

import com.alibaba.nacos.api.NacosFactory;
import com.alibaba.nacos.api.config.ConfigService;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.cloud.client.discovery.DiscoveryClient;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.web.client.RestTemplate;

/** Two Spring Cloud Alibaba services, as people write them, against a running server. */
public final class Main {
    private static final String GROUP = "DEFAULT_GROUP";

    private final String server;

    private Main(String server) {
        this.server = server;
    }

    /** Takes the server's address and, to run only some cases, their names. */
    public static void main(String[] arguments) throws Exception {
        String base = arguments.length > 0 ? arguments[0] : "http://127.0.0.1:8848";
        Main main = new Main(base.replaceAll("http://", "").replaceFirst("/+$", ""));
        List<String> wanted = Arrays.asList(arguments).subList(Math.min(1, arguments.length),
                arguments.length);
        Harness harness = new Harness();
        harness.addAlone("a-pair-finds-each-other-and-reloads", main::pair);
        boolean passed = harness.run(wanted);
        // The library's threads have no end of their own.
        Runtime.getRuntime().halt(passed ? 0 : 1);
    }

    private ConfigurableApplicationContext start(Class<?> service, String name, String config) {
        List<String> settings = new ArrayList<>(List.of(
                "--server.port=0",
                "--spring.main.banner-mode=off",
                "--logging.level.root=ERROR",
                "--spring.application.name=" + name,
                "--spring.cloud.nacos.server-addr=" + server,
                "--spring.cloud.nacos.discovery.ip=127.0.0.1",
                "--spring.config.import=nacos:" + config));
        Harness.user().forEach((key, value) ->
                settings.add("--spring.cloud.nacos." + key + "=" + value));
        return new SpringApplicationBuilder(service).run(settings.toArray(new String[0]));
    }

    private void pair() throws Exception {
        ConfigService configs = NacosFactory.createConfigService(Harness.properties(server));
        String config = unique("pair") + ".properties";
        check(configs.publishConfig(config, GROUP, "greeting=hello\n", "properties"), "publish");
        String name = unique("provider");
        ConfigurableApplicationContext provider = start(Provider.class, name, config);
        ConfigurableApplicationContext consumer =
                start(Consumer.class, unique("consumer"), config);
        RestTemplate rest = consumer.getBean(RestTemplate.class);
        String url = "http://" + name + "/greeting";
        equal(rest.getForObject(url, String.class), "hello", "the consumer calls the provider");
        check(configs.publishConfig(config, GROUP, "greeting=bonjour\n", "properties"), "publish");
        eventually(10_000, "the provider has reloaded",
                () -> "bonjour".equals(rest.getForObject(url, String.class)));
        DiscoveryClient discovery = consumer.getBean(DiscoveryClient.class);
        equal(discovery.getInstances(name).size(), 1, "instances");
        provider.close();
        eventually(10_000, "the provider has gone", () -> discovery.getInstances(name).isEmpty());
        consumer.close();
    }
}
