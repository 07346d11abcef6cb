import com.alibaba.fastjson2.JSONObject;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.exception.RemotingException;

/** The workloads that send. A send that the broker or the client refuses counts as failed; the round goes on. */
final class Sends {
    /** One blocking call. */
    private interface Send {
        SendResult run() throws MQClientException, RemotingException, MQBrokerException, InterruptedException;
    }

    private final Clients clients;

    Sends(Clients clients) {
        this.clients = clients;
    }

    JSONObject oneAtATime(Request request) throws Exception {
        DefaultMQProducer producer = clients.producer();
        Bodies bodies = new Bodies(request.size());
        long[] latencies = new long[request.count()];
        Meter meter = new Meter().begin();
        int failed = sendRange(producer, request.topic(), bodies, latencies, 0, request.count());
        return meter.end().answer(request.count(), failed, latencies);
    }

    /** Half message, local transaction, commit; the commit is a one-way request. */
    JSONObject inTransactions(Request request) throws Exception {
        TransactionMQProducer producer = clients.transactionProducer();
        Bodies bodies = new Bodies(request.size());
        long[] latencies = new long[request.count()];
        int failed = 0;
        Meter meter = new Meter().begin();
        for (int number = 0; number < request.count(); number++) {
            Message message = new Message(request.topic(), bodies.make(number));
            long began = System.nanoTime();
            if (!succeeds(() -> producer.sendMessageInTransaction(message, null))) {
                failed++;
            }
            latencies[number] = System.nanoTime() - began;
        }
        return meter.end().answer(request.count(), failed, latencies);
    }

    JSONObject threads(Request request) throws Exception {
        DefaultMQProducer producer = clients.producer();
        Bodies bodies = new Bodies(request.size());
        long[] latencies = new long[request.count()];
        int threads = request.threads();
        List<Callable<Integer>> shares = new ArrayList<>();
        for (int thread = 0; thread < threads; thread++) {
            int from = (int) ((long) request.count() * thread / threads);
            int to = (int) ((long) request.count() * (thread + 1) / threads);
            shares.add(() -> sendRange(producer, request.topic(), bodies, latencies, from, to));
        }
        ExecutorService pool = Executors.newFixedThreadPool(threads);
        try {
            int failed = 0;
            Meter meter = new Meter().begin();
            for (Future<Integer> share : pool.invokeAll(shares)) {
                failed += share.get();
            }
            return meter.end().answer(request.count(), failed, latencies);
        } finally {
            pool.shutdown();
        }
    }

    private static int sendRange(DefaultMQProducer producer, String topic, Bodies bodies, long[] latencies, int from, int to)
        throws InterruptedException {
        int failed = 0;
        for (int number = from; number < to; number++) {
            Message message = new Message(topic, bodies.make(number));
            long began = System.nanoTime();
            if (!succeeds(() -> producer.send(message))) {
                failed++;
            }
            latencies[number] = System.nanoTime() - began;
        }
        return failed;
    }

    JSONObject batches(Request request) throws Exception {
        DefaultMQProducer producer = clients.producer();
        Bodies bodies = new Bodies(request.size());
        int failed = 0;
        Meter meter = new Meter().begin();
        for (int number = 0; number < request.count(); ) {
            int end = Math.min(number + request.batch(), request.count());
            List<Message> batch = new ArrayList<>(end - number);
            for (; number < end; number++) {
                batch.add(new Message(request.topic(), bodies.make(number)));
            }
            if (!succeeds(() -> producer.send(batch))) {
                failed += batch.size();
            }
        }
        return meter.end().answer(request.count(), failed);
    }

    private static boolean succeeds(Send send) throws InterruptedException {
        try {
            return send.run().getSendStatus() == SendStatus.SEND_OK;
        } catch (MQClientException | RemotingException | MQBrokerException | IllegalStateException error) { // the last: no route in time
            System.err.println(error);
            return false;
        }
    }

    JSONObject inFlight(Request request) throws Exception {
        return asynchronously(clients.producer(), request);
    }

    JSONObject secured(Request request) throws Exception {
        return asynchronously(clients.securedProducer(), request);
    }

    JSONObject autoBatched(Request request) throws Exception {
        return asynchronously(clients.batchingProducer(), request);
    }

    private static JSONObject asynchronously(DefaultMQProducer producer, Request request) throws Exception {
        Bodies bodies = new Bodies(request.size());
        Semaphore free = new Semaphore(request.window());
        AtomicInteger failed = new AtomicInteger();
        SendCallback callback = new SendCallback() {
            @Override
            public void onSuccess(SendResult result) {
                if (result.getSendStatus() != SendStatus.SEND_OK) {
                    failed.incrementAndGet();
                }
                free.release();
            }

            @Override
            public void onException(Throwable error) {
                failed.incrementAndGet();
                free.release();
            }
        };
        Meter meter = new Meter().begin();
        for (int number = 0; number < request.count(); number++) {
            free.acquire();
            producer.send(new Message(request.topic(), bodies.make(number)), callback);
        }
        free.acquire(request.window());
        return meter.end().answer(request.count(), failed.get());
    }

    /**
     * Ends when the broker has answered a question that was asked after the last message: only then has everything left this process.
     * What the client refuses is missing in the broker, where these messages are counted.
     */
    JSONObject oneway(Request request) throws Exception {
        DefaultMQProducer producer = clients.producer();
        Bodies bodies = new Bodies(request.size());
        MessageQueue queue = producer.fetchPublishMessageQueues(request.topic()).get(0);
        producer.maxOffset(queue);
        Meter meter = new Meter().begin();
        for (int number = 0; number < request.count(); number++) {
            try {
                producer.sendOneway(new Message(request.topic(), bodies.make(number)));
            } catch (MQClientException | RemotingException error) {
                System.err.println(error);
            }
        }
        producer.maxOffset(queue);
        return meter.end().answer(request.count(), 0);
    }
}
