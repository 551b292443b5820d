package interop;

import com.alibaba.nacos.maintainer.client.config.ConfigMaintainerFactory;
import com.alibaba.nacos.maintainer.client.config.ConfigMaintainerService;
import com.alibaba.nacos.maintainer.client.naming.NamingMaintainerFactory;
import com.alibaba.nacos.maintainer.client.naming.NamingMaintainerService;
import java.util.Arrays;
import java.util.List;
import java.util.logging.Level;
import java.util.logging.Logger;

/** nacos-maintainer-client: every public method of what it offers, each in a case of its own. */
public final class Main {
    private Main() {
    }

    /** Takes the server's address and, to run only some cases, their names. */
    public static void main(String[] arguments) throws Exception {
        Logger.getLogger("").setLevel(Level.WARNING);
        String base = arguments.length > 0 ? arguments[0] : "http://127.0.0.1:8848";
        String server = base.replaceAll("http://", "").replaceFirst("/+$", "");
        List<String> wanted = Arrays.asList(arguments).subList(Math.min(1, arguments.length),
                arguments.length);
        Harness harness = new Harness();
        CoreCases core = new CoreCases(server);
        Calls<ConfigMaintainerService> configs = new Calls<>(harness, "config.",
                ConfigMaintainerService.class,
                ConfigMaintainerFactory.createConfigMaintainerService(Harness.properties(server)));
        core.addTo(configs);
        new ConfigCases(server).addTo(configs);
        core.addEnd(configs);
        configs.complete();
        Calls<NamingMaintainerService> naming = new Calls<>(harness, "naming.",
                NamingMaintainerService.class,
                NamingMaintainerFactory.createNamingMaintainerService(Harness.properties(server)));
        core.addTo(naming);
        new ServiceCases(server).addTo(naming);
        new InstanceCases().addTo(naming);
        core.addEnd(naming);
        naming.complete();
        new AiCases(server).addTo(harness);
        boolean passed = harness.run(wanted);
        // The library's threads have no end of their own.
        Runtime.getRuntime().halt(passed ? 0 : 1);
    }
}
