import com.alibaba.fastjson2.JSONObject;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;

/** The workloads of consumers: through a backlog, to its first message, and at rest. */
final class Consumes {
    private static final long IDLE_MS = 3_000;
    private static final long POLL_MS = 1_000;

    private final Clients clients;

    Consumes(Clients clients) {
        this.clients = clients;
    }

    /** From the first message that the listener gets to the last. */
    JSONObject push(Request request, boolean ordered) throws Exception {
        Receipts receipts = new Receipts(request);
        DefaultMQPushConsumer consumer =
            clients.consumer(request.group(), request.topic(), ordered, message -> receipts.accept(message.getBody()));
        consumer.start();
        try {
            Meter meter = receipts.await();
            return meter.answer(receipts.expected(), receipts.failed());
        } finally {
            consumer.shutdown();
        }
    }

    /** The same through poll(), by one thread. */
    JSONObject litePull(Request request) throws Exception {
        Receipts receipts = new Receipts(request);
        DefaultLitePullConsumer consumer = clients.pollingConsumer(request.group(), request.topic());
        consumer.start();
        try {
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(Receipts.PATIENCE_SECONDS);
            while (!receipts.complete() && System.nanoTime() < deadline) {
                consumer.poll(POLL_MS).forEach(message -> receipts.accept(message.getBody()));
            }
            return receipts.await().answer(receipts.expected(), receipts.failed());
        } finally {
            consumer.shutdown();
        }
    }

    /** From the call of start() to the first message in the listener. */
    JSONObject firstMessage(Request request) throws Exception {
        Meter meter = new Meter();
        CountDownLatch first = new CountDownLatch(1);
        DefaultMQPushConsumer consumer = clients.consumer(request.group(), request.topic(), request.ordered(), message -> {
            synchronized (meter) {
                if (first.getCount() > 0) {
                    meter.end();
                    first.countDown();
                }
            }
        });
        meter.begin();
        consumer.start();
        try {
            if (!first.await(Receipts.PATIENCE_SECONDS, TimeUnit.SECONDS)) {
                throw new IllegalStateException("no message within " + Receipts.PATIENCE_SECONDS + " s");
            }
            return meter.answer(1, 0);
        } finally {
            consumer.shutdown();
        }
    }

    /** A started producer and a started consumer with nothing to do. */
    JSONObject idleMemory(Request request) throws Exception {
        clients.producer();
        DefaultMQPushConsumer consumer = clients.consumer(request.group(), request.topic(), request.ordered(), message -> { });
        consumer.start();
        try {
            Meter meter = new Meter().begin();
            Thread.sleep(IDLE_MS);
            return meter.end().answer(0, 0);
        } finally {
            consumer.shutdown();
        }
    }
}
