package interop;

import java.util.Arrays;
import java.util.List;

/** nacos-client 1.4.8: HTTP for everything, UDP for pushes, light beats. */
public final class Main {
    private Main() {
    }

    /** Takes the server's address and, to run only some cases, their names. */
    public static void main(String[] arguments) throws Exception {
        String base = arguments.length > 0 ? arguments[0] : "http://127.0.0.1:8848";
        String server = base.replace("http://", "").replaceFirst("/+$", "");
        List<String> wanted = Arrays.asList(arguments).subList(Math.min(1, arguments.length),
                arguments.length);
        Harness harness = new Harness();
        new ConfigCases(server).addTo(harness);
        new NamingCases(server).addTo(harness);
        boolean passed = harness.run(wanted);
        // The library's threads have no end of their own.
        Runtime.getRuntime().halt(passed ? 0 : 1);
    }
}
