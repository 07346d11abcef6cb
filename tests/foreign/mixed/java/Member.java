import java.io.FileOutputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * One consumer of a group, until SIGTERM. Each line that it writes begins with the milliseconds since the epoch: "got" and "did" around each
 * message, "own" and queue ids when they change.
 * Arguments: name servers, group, topic, "plain", "ordered" or "pop", milliseconds that a message takes, file.
 */
public final class Member {
    private static OutputStream file;

    public static void main(String[] arguments) throws Exception {
        String topic = arguments[2];
        String kind = arguments[3];
        long works = Long.parseLong(arguments[4]);
        file = new FileOutputStream(arguments[5], true);
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(arguments[1]);
        consumer.setNamesrvAddr(arguments[0]);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setAwaitTerminationMillisWhenShutdown(5_000);
        if (kind.equals("pop")) {
            // Releases before 5.0 have neither.
            consumer.getClass().getMethod("setClientRebalance", boolean.class).invoke(consumer, false);
            consumer.getClass().getMethod("setPopInvisibleTime", long.class).invoke(consumer, 10_000L);
        }
        consumer.subscribe(topic, "*");
        if (kind.equals("ordered")) {
            consumer.setMessageListener((MessageListenerOrderly) (messages, context) -> {
                consume(messages, works);
                return ConsumeOrderlyStatus.SUCCESS;
            });
        } else {
            consumer.setMessageListener((MessageListenerConcurrently) (messages, context) -> {
                consume(messages, works);
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
        }
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            consumer.shutdown();
            note("end");
        }));
        consumer.start();
        note("start");
        Set<Integer> known = new TreeSet<>();
        while (true) {
            Set<Integer> queues = new TreeSet<>();
            for (MessageQueue queue : consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet()) {
                if (queue.getTopic().equals(topic)) {
                    queues.add(queue.getQueueId());
                }
            }
            if (!queues.equals(known)) {
                known = queues;
                StringBuilder line = new StringBuilder("own");
                queues.forEach(queue -> line.append(' ').append(queue));
                note(line.toString());
            }
            Thread.sleep(50);
        }
    }

    private static void consume(List<MessageExt> messages, long works) {
        for (MessageExt message : messages) {
            String what = new String(message.getBody(), StandardCharsets.UTF_8)
                + " " + message.getQueueId() + " " + message.getQueueOffset() + " " + message.getReconsumeTimes();
            note("got " + what);
            try {
                Thread.sleep(works);
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt();
            }
            note("did " + what);
        }
    }

    /** In one write, so that a killed process leaves whole lines. */
    private static synchronized void note(String what) {
        try {
            file.write((System.currentTimeMillis() + " " + what + "\n").getBytes(StandardCharsets.UTF_8));
        } catch (java.io.IOException error) {
            throw new IllegalStateException(error);
        }
    }
}
