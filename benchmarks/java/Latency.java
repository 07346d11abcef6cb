import com.alibaba.fastjson2.JSONObject;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.locks.LockSupport;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;

/** Messages at a steady rate, from the call of send() to the listener of a consumer in the same process. */
final class Latency {
    private static final int WARM_UP = 100;

    private final Clients clients;

    Latency(Clients clients) {
        this.clients = clients;
    }

    JSONObject run(Request request) throws Exception {
        Round round = new Round(request);
        DefaultMQProducer producer = clients.producer();
        DefaultMQPushConsumer consumer =
            clients.consumer(request.group(), request.topic(), request.ordered(), message -> round.accept(message.getBody()));
        consumer.start();
        try {
            round.send(producer, 0, WARM_UP);
            round.await(round.warm, "warm-up");
            Meter meter = new Meter().begin();
            round.send(producer, WARM_UP, WARM_UP + request.count());
            round.await(round.done, "measured");
            return meter.end().answer(request.count(), round.failed(), round.latencies());
        } finally {
            consumer.shutdown();
        }
    }

    /** The messages of one round. Their numbers begin at the clock's time: those of earlier rounds in the topic are known as such. */
    private static final class Round {
        private final Request request;
        private final Bodies bodies;
        private final int total;
        private final long first = System.currentTimeMillis() << 20;
        private final long[] sent;
        private final long[] arrived;
        private final AtomicIntegerArray deliveries;
        private final AtomicIntegerArray damaged = new AtomicIntegerArray(1);
        final CountDownLatch warm = new CountDownLatch(WARM_UP);
        final CountDownLatch done;

        Round(Request request) {
            if (request.size() < Bodies.STAMP) {
                throw new IllegalArgumentException("latency needs bodies of " + Bodies.STAMP + " bytes or more, not " + request.size());
            }
            this.request = request;
            bodies = new Bodies(request.size());
            total = WARM_UP + request.count();
            sent = new long[total];
            arrived = new long[total];
            deliveries = new AtomicIntegerArray(total);
            done = new CountDownLatch(request.count());
        }

        /** Each message has its time in the schedule; one that is late does not move the others. */
        void send(DefaultMQProducer producer, int from, int to) throws Exception {
            long began = System.nanoTime();
            for (int number = from; number < to; number++) {
                long due = began + (number - from) * 1_000_000_000L / request.rate();
                for (long left = due - System.nanoTime(); left > 0; left = due - System.nanoTime()) {
                    LockSupport.parkNanos(left);
                }
                Message message = new Message(request.topic(), bodies.make(first + number));
                sent[number] = System.nanoTime();
                producer.send(message);
            }
        }

        void accept(byte[] body) {
            long now = System.nanoTime();
            long number = Bodies.number(body) - first;
            if (number < 0 || number >= total) {
                return;
            }
            int index = (int) number;
            if (!bodies.intact(body)) {
                damaged.incrementAndGet(0);
            }
            if (deliveries.getAndIncrement(index) == 0) {
                arrived[index] = now;
                (index < WARM_UP ? warm : done).countDown();
            }
        }

        void await(CountDownLatch latch, String what) throws InterruptedException {
            if (!latch.await(Receipts.PATIENCE_SECONDS, TimeUnit.SECONDS)) {
                throw new IllegalStateException(
                    latch.getCount() + " " + what + " messages did not arrive within " + Receipts.PATIENCE_SECONDS + " s");
            }
        }

        int failed() {
            int duplicates = 0;
            for (int number = 0; number < total; number++) {
                duplicates += Math.max(deliveries.get(number) - 1, 0);
            }
            return duplicates + damaged.get(0);
        }

        long[] latencies() {
            long[] latencies = new long[request.count()];
            for (int number = 0; number < latencies.length; number++) {
                latencies[number] = arrived[WARM_UP + number] - sent[WARM_UP + number];
            }
            return latencies;
        }
    }
}
