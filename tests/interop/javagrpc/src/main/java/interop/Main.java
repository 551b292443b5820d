package interop;

import com.alibaba.nacos.api.NacosFactory;
import java.util.Arrays;
import java.util.List;
import java.util.logging.Level;
import java.util.logging.Logger;

/** nacos-client 2.x and 3.x: gRPC for configs and naming, HTTP to log in. */
public final class Main {
    private Main() {
    }

    /** Takes the server's address and, to run only some cases, their names. */
    public static void main(String[] arguments) throws Exception {
        // The gRPC library tells of every stream that both sides close at once.
        Logger.getLogger("").setLevel(Level.WARNING);
        if (arguments.length == 3 && "victim".equals(arguments[0])) {
            Victim.live(arguments[1], arguments[2]);
            return;
        }
        String base = arguments.length > 0 ? arguments[0] : "http://127.0.0.1:8848";
        String server = base.replaceAll("http://", "").replaceFirst("/+$", "");
        List<String> wanted = Arrays.asList(arguments).subList(Math.min(1, arguments.length),
                arguments.length);
        // The library's first look for its plug-ins is not safe from several threads: one of them
        // may see half of what there is ("No server list provider found").
        NacosFactory.createConfigService(Harness.properties(server)).shutDown();
        NacosFactory.createNamingService(Harness.properties(server)).shutDown();
        Harness harness = new Harness();
        new ConfigCases(server).addTo(harness);
        new NamingCases(server).addTo(harness);
        new RelayCases(server).addTo(harness);
        new Extras(server).addTo(harness);
        boolean passed = harness.run(wanted);
        // The library's threads have no end of their own.
        Runtime.getRuntime().halt(passed ? 0 : 1);
    }
}
