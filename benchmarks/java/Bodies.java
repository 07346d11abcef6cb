import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.util.Arrays;

/** Bodies of one size: the message's number as eight bytes, big-endian, then only 'x'; bodies below eight bytes have no number. */
final class Bodies {
    static final int STAMP = Long.BYTES;
    private static final VarHandle NUMBER = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.BIG_ENDIAN);

    private final byte[] pattern;
    private final boolean numbered;

    Bodies(int size) {
        pattern = new byte[size];
        Arrays.fill(pattern, (byte) 'x');
        numbered = size >= STAMP;
    }

    boolean numbered() {
        return numbered;
    }

    byte[] make(long number) {
        byte[] body = pattern.clone();
        if (numbered) {
            NUMBER.set(body, 0, number);
        }
        return body;
    }

    /** The number in a body, -1 where none fits in. */
    static long number(byte[] body) {
        return body.length < STAMP ? -1 : (long) NUMBER.get(body, 0);
    }

    /** Whether a body has the size and content that it was sent with, whatever its number. */
    boolean intact(byte[] body) {
        int start = numbered ? STAMP : 0;
        return body.length == pattern.length && Arrays.equals(body, start, body.length, pattern, start, pattern.length);
    }
}
