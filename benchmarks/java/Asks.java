import com.alibaba.fastjson2.JSONObject;
import java.util.Arrays;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.exception.RequestTimeoutException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;

/** Requests, one at a time, that a consumer in the same process answers with their own bodies. */
final class Asks {
    private static final int WARM_UP = 50;
    private static final long TIMEOUT_MS = 10_000;

    private final Clients clients;

    Asks(Clients clients) {
        this.clients = clients;
    }

    JSONObject run(Request request) throws Exception {
        DefaultMQProducer producer = clients.producer();
        DefaultMQPushConsumer consumer = clients.consumer(request.group(), request.topic(), false, asked -> {
            try {
                producer.send(MessageUtil.createReplyMessage(asked, asked.getBody()));
            } catch (Exception error) { // whoever waits for the reply counts it
                System.err.println(error);
            }
        });
        consumer.start();
        try {
            Bodies bodies = new Bodies(request.size());
            for (int number = 0; number < WARM_UP; number++) {
                answered(producer, request.topic(), bodies.make(number));
            }
            long[] latencies = new long[request.count()];
            int failed = 0;
            Meter meter = new Meter().begin();
            for (int number = 0; number < request.count(); number++) {
                byte[] body = bodies.make(number);
                long began = System.nanoTime();
                if (!answered(producer, request.topic(), body)) {
                    failed++;
                }
                latencies[number] = System.nanoTime() - began;
            }
            return meter.end().answer(request.count(), failed, latencies);
        } finally {
            consumer.shutdown();
        }
    }

    private static boolean answered(DefaultMQProducer producer, String topic, byte[] body) throws Exception {
        try {
            return Arrays.equals(body, producer.request(new Message(topic, body), TIMEOUT_MS).getBody());
        } catch (MQClientException | RequestTimeoutException error) {
            System.err.println(error);
            return false;
        }
    }
}
