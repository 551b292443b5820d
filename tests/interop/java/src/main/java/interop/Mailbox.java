package interop;

import java.io.IOException;
import java.lang.reflect.Field;
import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;

/** Takes the place of a client's socket for pushes: keeps what comes in, and loses what goes out. */
final class Mailbox extends DatagramSocket {
    /** One push, as it was sent. */
    static final class Push {
        final long nanos = System.nanoTime();
        final byte[] data;

        Push(byte[] data) {
            this.data = data;
        }

        boolean isCompressed() {
            return (data[0] & 0xff) == 0x1f && (data[1] & 0xff) == 0x8b;
        }
    }

    final List<Push> pushes = new CopyOnWriteArrayList<>();
    private final boolean loses;

    private Mailbox(boolean loses) throws IOException {
        this.loses = loses;
    }

    /** Puts one into a client that has not subscribed to anything yet. */
    static Mailbox in(Object client, boolean loses) throws Exception {
        Object receiver = client;
        for (String name : List.of("hostReactor", "pushReceiver")) {
            receiver = field(receiver, name).get(receiver);
        }
        Field socket = field(receiver, "udpSocket");
        Mailbox mailbox = new Mailbox(loses);
        DatagramSocket before = (DatagramSocket) socket.get(receiver);
        socket.set(receiver, mailbox);
        // The receiver waits on it; it tells of the error and goes on with what it finds then.
        before.close();
        return mailbox;
    }

    private static Field field(Object object, String name) throws NoSuchFieldException {
        Field field = object.getClass().getDeclaredField(name);
        field.setAccessible(true);
        return field;
    }

    @Override
    public void receive(DatagramPacket packet) throws IOException {
        super.receive(packet);
        pushes.add(new Push(Arrays.copyOf(packet.getData(), packet.getLength())));
    }

    @Override
    public void send(DatagramPacket packet) throws IOException {
        if (!loses) {
            super.send(packet);
        }
    }
}
