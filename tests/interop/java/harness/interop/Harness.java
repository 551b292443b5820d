package interop;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;

/** Cases, how they are told, and the word with {@code cargo ci interop}. */
final class Harness {
    private static final BufferedReader INPUT =
            new BufferedReader(new InputStreamReader(System.in));
    private static final AtomicInteger NEXT = new AtomicInteger();

    static {
        if (System.getenv("NACOS_USERNAME") != null) {
            // By itself the library lets a process send five HTTP requests a second, logins
            // included, and a client that could not log in goes on without a token.
            System.setProperty("limitTime", "1000");
        }
    }

    private final Map<String, Case> together = new LinkedHashMap<>();
    private final Map<String, Case> alone = new LinkedHashMap<>();

    interface Case {
        void run() throws Exception;
    }

    interface Look {
        boolean done() throws Exception;
    }

    /** A case that cannot be tried here. */
    static final class Skip extends Exception {
        Skip(String why) {
            super(why);
        }
    }

    /** Adds a case that runs beside others, because most of them wait. */
    void add(String name, Case body) {
        together.put(name, body);
    }

    /** Adds a case that runs by itself, after the others. */
    void addAlone(String name, Case body) {
        alone.put(name, body);
    }

    /** Runs the cases, or only the named ones; true if none failed. */
    boolean run(List<String> wanted) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(
                Integer.getInteger("interop.threads", 12));
        List<Future<Boolean>> results = new ArrayList<>();
        for (Map.Entry<String, Case> entry : together.entrySet()) {
            if (wanted.isEmpty() || wanted.contains(entry.getKey())) {
                results.add(threads.submit(() -> tell(entry.getKey(), entry.getValue())));
            }
        }
        boolean passed = true;
        for (Future<Boolean> result : results) {
            passed &= result.get();
        }
        for (Map.Entry<String, Case> entry : alone.entrySet()) {
            if (wanted.isEmpty() || wanted.contains(entry.getKey())) {
                passed &= tell(entry.getKey(), entry.getValue());
            }
        }
        return passed;
    }

    private static boolean tell(String name, Case body) {
        long start = System.nanoTime();
        try {
            body.run();
        } catch (Skip skip) {
            say("skip " + name + " " + skip.getMessage());
            return true;
        } catch (Throwable failure) {
            int line = Arrays.stream(failure.getStackTrace())
                    .filter(frame -> frame.getFileName() != null
                            && frame.getFileName().endsWith("Cases.java"))
                    .mapToInt(StackTraceElement::getLineNumber)
                    .findFirst().orElse(0);
            String why = String.valueOf(failure).replaceAll("\\s+", " ");
            why = why.substring(0, Math.min(why.length(), 500));
            say("FAIL " + name + " line " + line + ": " + why);
            return false;
        }
        say(String.format("ok %s (%.1f s)", name, (System.nanoTime() - start) / 1e9));
        return true;
    }

    static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    /** The properties of a client of this server, with a user where the server asks for one. */
    static Properties properties(String server) {
        Properties properties = user();
        properties.put("serverAddr", server);
        return properties;
    }

    /** The user alone, for a client that finds the server in another way. */
    static Properties user() {
        Properties properties = new Properties();
        for (String name : List.of("username", "password")) {
            String value = System.getenv("NACOS_" + name.toUpperCase(Locale.ROOT));
            if (value != null) {
                properties.put(name, value);
            }
        }
        return properties;
    }

    /** A name no earlier run has used, so that a server may be tried twice. */
    static String unique(String word) {
        return word + "-" + System.currentTimeMillis() + "-" + NEXT.incrementAndGet();
    }

    static void check(boolean condition, String what) {
        if (!condition) {
            throw new AssertionError(what);
        }
    }

    static void equal(Object found, Object expected, String what) {
        if (!Objects.equals(found, expected)) {
            throw new AssertionError(what + ": " + found + " instead of " + expected);
        }
    }

    /** Looks until it is done; returns the milliseconds it took. */
    static long eventually(long millis, String what, Look look) throws Exception {
        long start = System.nanoTime();
        while (!look.done()) {
            long passed = (System.nanoTime() - start) / 1_000_000;
            check(passed < millis, "not within " + millis + " ms: " + what);
            Thread.sleep(50);
        }
        return (System.nanoTime() - start) / 1_000_000;
    }

    /** Waits until every node has heard of what one of them took; one node has at once. */
    static void settle(String server) throws InterruptedException {
        if (server.contains(",")) {
            Thread.sleep(1000);
        }
    }

    /** Has the server killed and started again on the same data. */
    static void restartServer() throws IOException, Skip {
        say("RESTART");
        if (!"RESTARTED".equals(INPUT.readLine())) {
            throw new Skip("the server is not ours to restart");
        }
    }
}
