package interop;

import java.util.Arrays;
import java.util.List;
import java.util.logging.Level;
import java.util.logging.Logger;

/** Two Dubbo applications, as people write them, against a running server. */
public final class Main {
    private Main() {
    }

    /** Takes the server's address and, to run only some cases, their names. */
    public static void main(String[] arguments) throws Exception {
        // The gRPC library tells of every stream that both sides close at once.
        Logger.getLogger("").setLevel(Level.WARNING);
        String base = arguments.length > 0 ? arguments[0] : "http://127.0.0.1:8848";
        String server = base.replaceAll("http://", "").replaceFirst("/+$", "");
        List<String> wanted = Arrays.asList(arguments).subList(Math.min(1, arguments.length),
                arguments.length);
        Harness harness = new Harness();
        new PairCases(server).addTo(harness);
        boolean passed = harness.run(wanted);
        // The library's threads have no end of their own.
        Runtime.getRuntime().halt(passed ? 0 : 1);
    }
}
