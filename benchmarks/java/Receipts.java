import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLongArray;

/**
 * What a listener got: verifies every message and counts each number once. Damaged messages, duplicates and numbers that nobody sent
 * are failures. Measures from the first message to the last; safe to use from all threads of a listener.
 */
final class Receipts {
    static final long PATIENCE_SECONDS = 120;
    /** Numbers that are told apart when the request does not say how many there are: 8 MiB of bits. */
    private static final int UNKNOWN = 1 << 26;

    private final Bodies bodies;
    private final int expected;
    private final long numbers;
    private final AtomicLongArray seen;
    private final AtomicInteger received = new AtomicInteger();
    private final AtomicInteger counted = new AtomicInteger();
    private final AtomicInteger failed = new AtomicInteger();
    private final Meter meter = new Meter();
    private final CountDownLatch done = new CountDownLatch(1);

    Receipts(Request request) {
        bodies = new Bodies(request.size());
        expected = request.distinct() > 0 && bodies.numbered() ? request.distinct() : request.count();
        numbers = request.distinct() > 0 ? request.distinct() : UNKNOWN;
        seen = bodies.numbered() ? new AtomicLongArray((int) ((numbers + 63) / 64)) : null;
    }

    void accept(byte[] body) {
        if (received.getAndIncrement() == 0) {
            meter.begin();
        }
        boolean intact = bodies.intact(body);
        boolean fresh = seen == null || isNew(Bodies.number(body));
        if (!intact || !fresh) {
            failed.incrementAndGet();
        }
        if (fresh && counted.incrementAndGet() == expected) {
            meter.end();
            done.countDown();
        }
    }

    private boolean isNew(long number) {
        if (number < 0 || number >= numbers) {
            return false;
        }
        long bit = 1L << number;
        int word = (int) (number >>> 6);
        return (seen.getAndAccumulate(word, bit, (was, add) -> was | add) & bit) == 0;
    }

    /** Wait for the last message. */
    Meter await() throws InterruptedException {
        if (!done.await(PATIENCE_SECONDS, TimeUnit.SECONDS)) {
            throw new IllegalStateException(String.format(
                "received %d of %d messages within %d s, %d wrong", counted.get(), expected, PATIENCE_SECONDS, failed.get()));
        }
        return meter;
    }

    boolean complete() {
        return done.getCount() == 0;
    }

    int expected() {
        return expected;
    }

    int failed() {
        return failed.get();
    }
}
