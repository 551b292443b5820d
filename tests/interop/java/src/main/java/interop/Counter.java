package interop;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.atomic.AtomicInteger;

/** Stands between the client and the server and counts requests: a client that spins looks fine. */
final class Counter {
    private final ServerSocket listener;
    private final String host;
    private final int port;
    private final String mark;
    private final AtomicInteger count = new AtomicInteger();

    /** Counts the heads that contain {@code mark} on their way to {@code host:port}. */
    Counter(String servers, String mark) throws IOException {
        String server = servers.split(",")[0];
        this.host = server.substring(0, server.lastIndexOf(':'));
        this.port = Integer.parseInt(server.substring(server.lastIndexOf(':') + 1));
        this.mark = mark;
        this.listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        start(this::accept);
    }

    String address() {
        return "127.0.0.1:" + listener.getLocalPort();
    }

    int count() {
        return count.get();
    }

    private void accept() {
        while (true) {
            try {
                Socket client = listener.accept();
                Socket server = new Socket(host, port);
                start(() -> pass(client, server, true));
                start(() -> pass(server, client, false));
            } catch (IOException refused) {
                // The client sees a closed connection, as it would from the server itself.
                continue;
            }
        }
    }

    private void pass(Socket from, Socket to, boolean counted) {
        byte[] part = new byte[65536];
        try (from; to) {
            InputStream in = from.getInputStream();
            OutputStream out = to.getOutputStream();
            for (int size = in.read(part); size >= 0; size = in.read(part)) {
                out.write(part, 0, size);
                if (counted) {
                    String text = new String(part, 0, size, StandardCharsets.ISO_8859_1);
                    count.addAndGet(text.split(mark, -1).length - 1);
                }
            }
        } catch (IOException closed) {
            // Both ends are closed on the way out, which is all there is to do.
            return;
        }
    }

    private static void start(Runnable body) {
        Thread thread = new Thread(body, "counter");
        thread.setDaemon(true);
        thread.start();
    }
}
