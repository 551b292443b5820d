package interop;

import com.alibaba.nacos.api.NacosFactory;
import com.alibaba.nacos.api.naming.NamingService;
import java.io.File;
import java.io.IOException;
import java.nio.file.Paths;

/** A process with a registered instance, to be killed. */
final class Victim {
    private Victim() {
    }

    static Process start(String server, String service) throws IOException {
        String java = Paths.get(System.getProperty("java.home"), "bin", "java").toString();
        return new ProcessBuilder(java, "-cp", System.getProperty("java.class.path"),
                "-Duser.home=" + System.getProperty("user.home"),
                "-DJM.LOG.PATH=" + System.getProperty("JM.LOG.PATH"),
                "interop.Main", "victim", server, service)
                .redirectOutput(new File("/dev/null")).redirectErrorStream(true).start();
    }

    static void live(String server, String service) throws Exception {
        NamingService client = NacosFactory.createNamingService(Harness.properties(server));
        client.registerInstance(service, "10.6.0.9", 9);
        Thread.sleep(600_000);
    }
}
