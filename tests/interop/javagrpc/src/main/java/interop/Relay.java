package interop;

import com.alibaba.nacos.api.grpc.auto.BiRequestStreamGrpc;
import com.alibaba.nacos.api.grpc.auto.Payload;
import com.alibaba.nacos.api.grpc.auto.RequestGrpc;
import com.alibaba.nacos.shaded.com.google.protobuf.ByteString;
import com.alibaba.nacos.shaded.io.grpc.Attributes;
import com.alibaba.nacos.shaded.io.grpc.CallOptions;
import com.alibaba.nacos.shaded.io.grpc.ClientCall;
import com.alibaba.nacos.shaded.io.grpc.Grpc;
import com.alibaba.nacos.shaded.io.grpc.ManagedChannel;
import com.alibaba.nacos.shaded.io.grpc.Metadata;
import com.alibaba.nacos.shaded.io.grpc.MethodDescriptor;
import com.alibaba.nacos.shaded.io.grpc.Server;
import com.alibaba.nacos.shaded.io.grpc.ServerCall;
import com.alibaba.nacos.shaded.io.grpc.ServerServiceDefinition;
import com.alibaba.nacos.shaded.io.grpc.ServerTransportFilter;
import com.alibaba.nacos.shaded.io.grpc.Status;
import com.alibaba.nacos.shaded.io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import com.alibaba.nacos.shaded.io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;

/** Stands between a client and a server, for HTTP and gRPC, and makes an older server of it. */
final class Relay implements AutoCloseable {
    private static final int MESSAGE_BYTES_MAX = 16 << 20;

    /** Paths of HTTP requests that came by. */
    final List<String> paths = new CopyOnWriteArrayList<>();
    /** Answers to a check of the server that were changed. */
    final AtomicInteger changed = new AtomicInteger();

    private final String server;
    private final boolean negotiates;
    private final String missing;
    private final HttpClient http = HttpClient.newHttpClient();
    private final ExecutorService threads = Executors.newCachedThreadPool();
    /** A connection to the server for each one from a client, which is what the server knows it by. */
    private final Map<SocketAddress, ManagedChannel> channels = new ConcurrentHashMap<>();
    private HttpServer httpServer;
    private Server grpcServer;

    /**
     * Relays to the first of {@code servers}, which seems to answer 404 for the path {@code missing},
     * and to know nothing of abilities unless {@code negotiates}.
     */
    Relay(String servers, boolean negotiates, String missing) throws IOException {
        this.server = servers.split(",")[0];
        this.negotiates = negotiates;
        this.missing = missing;
        IOException taken = null;
        for (int attempt = 0; attempt < 20 && grpcServer == null; attempt++) {
            httpServer = HttpServer.create(local(0), 0);
            try {
                // Where clients look for it.
                grpcServer = listen(httpServer.getAddress().getPort() + 1000);
            } catch (IOException | IllegalArgumentException error) {
                httpServer.stop(0);
                taken = new IOException(error);
            }
        }
        if (grpcServer == null) {
            throw taken;
        }
        httpServer.setExecutor(threads);
        httpServer.createContext("/", this::pass);
        httpServer.start();
    }

    String address() {
        return "127.0.0.1:" + httpServer.getAddress().getPort();
    }

    @Override
    public void close() {
        httpServer.stop(0);
        grpcServer.shutdownNow();
        channels.values().forEach(ManagedChannel::shutdownNow);
        threads.shutdownNow();
    }

    private static InetSocketAddress local(int port) {
        return new InetSocketAddress(InetAddress.getLoopbackAddress(), port);
    }

    private void pass(HttpExchange exchange) throws IOException {
        try {
            String path = exchange.getRequestURI().getPath();
            paths.add(path);
            if (path.equals(missing)) {
                // The library is not prepared for an answer without a body.
                byte[] body = "Not Found".getBytes(StandardCharsets.UTF_8);
                exchange.sendResponseHeaders(404, body.length);
                exchange.getResponseBody().write(body);
                return;
            }
            HttpRequest.Builder request = HttpRequest
                    .newBuilder(URI.create("http://" + server + exchange.getRequestURI()))
                    .method(exchange.getRequestMethod(), HttpRequest.BodyPublishers
                            .ofByteArray(exchange.getRequestBody().readAllBytes()));
            for (String name : List.of("Content-Type", "User-Agent", "accessToken")) {
                String value = exchange.getRequestHeaders().getFirst(name);
                if (value != null) {
                    request.header(name, value);
                }
            }
            HttpResponse<byte[]> answer =
                    http.send(request.build(), HttpResponse.BodyHandlers.ofByteArray());
            answer.headers().firstValue("Content-Type").ifPresent(
                    value -> exchange.getResponseHeaders().set("Content-Type", value));
            byte[] body = answer.body();
            exchange.sendResponseHeaders(answer.statusCode(), body.length == 0 ? -1 : body.length);
            exchange.getResponseBody().write(body);
        } catch (InterruptedException closed) {
            throw new IOException(closed);
        } finally {
            exchange.close();
        }
    }

    private Server listen(int port) throws IOException {
        return NettyServerBuilder.forAddress(local(port))
                .maxInboundMessageSize(MESSAGE_BYTES_MAX)
                .addService(service(RequestGrpc.SERVICE_NAME, RequestGrpc.getRequestMethod()))
                .addService(service(BiRequestStreamGrpc.SERVICE_NAME,
                        BiRequestStreamGrpc.getRequestBiStreamMethod()))
                .addTransportFilter(new ServerTransportFilter() {
                    @Override
                    public void transportTerminated(Attributes attributes) {
                        ManagedChannel channel =
                                channels.remove(attributes.get(Grpc.TRANSPORT_ATTR_REMOTE_ADDR));
                        if (channel != null) {
                            channel.shutdownNow();
                        }
                    }
                })
                .build().start();
    }

    private ServerServiceDefinition service(String name, MethodDescriptor<Payload, Payload> method) {
        return ServerServiceDefinition.builder(name).addMethod(method, this::start).build();
    }

    private ManagedChannel channel(SocketAddress client) {
        int colon = server.lastIndexOf(':');
        int port = Integer.parseInt(server.substring(colon + 1)) + 1000;
        return channels.computeIfAbsent(client,
                ignored -> NettyChannelBuilder.forAddress(server.substring(0, colon), port)
                        .usePlaintext().maxInboundMessageSize(MESSAGE_BYTES_MAX).build());
    }

    private ServerCall.Listener<Payload> start(ServerCall<Payload, Payload> call, Metadata headers) {
        SocketAddress client = call.getAttributes().get(Grpc.TRANSPORT_ATTR_REMOTE_ADDR);
        ClientCall<Payload, Payload> onward =
                channel(client).newCall(call.getMethodDescriptor(), CallOptions.DEFAULT);
        onward.start(new ClientCall.Listener<>() {
            @Override
            public void onHeaders(Metadata headers) {
                call.sendHeaders(headers);
            }

            @Override
            public void onMessage(Payload message) {
                if (negotiates || !"SetupAckRequest".equals(message.getMetadata().getType())) {
                    call.sendMessage(answered(message));
                }
                onward.request(1);
            }

            @Override
            public void onClose(Status status, Metadata trailers) {
                call.close(status, trailers);
            }
        }, headers);
        onward.request(1);
        call.request(1);
        return new ServerCall.Listener<>() {
            @Override
            public void onMessage(Payload message) {
                onward.sendMessage(message);
                call.request(1);
            }

            @Override
            public void onHalfClose() {
                onward.halfClose();
            }

            @Override
            public void onCancel() {
                onward.cancel("the client has gone", null);
            }
        };
    }

    private Payload answered(Payload message) {
        if (negotiates || !"ServerCheckResponse".equals(message.getMetadata().getType())) {
            return message;
        }
        String before = message.getBody().getValue().toStringUtf8();
        String after = before.replace("\"supportAbilityNegotiation\":true",
                "\"supportAbilityNegotiation\":false");
        if (!after.equals(before)) {
            changed.incrementAndGet();
        }
        return message.toBuilder()
                .setBody(message.getBody().toBuilder().setValue(ByteString.copyFromUtf8(after)))
                .build();
    }
}
