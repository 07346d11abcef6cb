import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONObject;
import com.sun.management.OperatingSystemMXBean;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;

/** The Java client's side of the benchmarks: the JVM stays up over all rounds, so that later rounds are warm. */
public final class BenchPeer {
    private static final OperatingSystemMXBean SYSTEM = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();

    private final String nameServers;
    private DefaultMQProducer producer;

    private BenchPeer(String nameServers) {
        this.nameServers = nameServers;
    }

    public static void main(String[] arguments) throws Exception {
        PrintStream answers = new PrintStream(System.out, true, "UTF-8");
        System.setOut(System.err);
        BenchPeer peer = new BenchPeer(arguments[0]);
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            JSONObject answer;
            try {
                answer = peer.handle(JSON.parseObject(line));
            } catch (Throwable error) {
                error.printStackTrace();
                answer = new JSONObject();
                answer.put("error", error.toString());
            }
            answers.println(answer.toJSONString());
        }
        if (peer.producer != null) {
            peer.producer.shutdown();
        }
        System.exit(0);
    }

    private JSONObject handle(JSONObject request) throws Exception {
        String topic = request.getString("topic");
        int count = request.getIntValue("count");
        byte[] body = new byte[request.getIntValue("size")];
        java.util.Arrays.fill(body, (byte) 'x');
        switch (request.getString("cmd")) {
            case "send_in_flight":
                return sendInFlight(topic, body, count, request.getIntValue("window"));
            case "send_one_at_a_time":
                return sendOneAtATime(topic, body, count);
            case "push_consume":
                return pushConsume(topic, count, request.getString("group"));
            default:
                throw new IllegalArgumentException("unknown command " + request.getString("cmd"));
        }
    }

    private DefaultMQProducer producer() throws Exception {
        if (producer == null) {
            producer = new DefaultMQProducer("bench_java");
            producer.setNamesrvAddr(nameServers);
            producer.setSendMsgTimeout(10_000);
            producer.start();
        }
        return producer;
    }

    private JSONObject sendInFlight(String topic, byte[] body, int count, int window) throws Exception {
        DefaultMQProducer sender = producer();
        Semaphore free = new Semaphore(window);
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
        long cpu = SYSTEM.getProcessCpuTime();
        long began = System.nanoTime();
        for (int sent = 0; sent < count; sent++) {
            free.acquire();
            sender.send(new Message(topic, body), callback);
        }
        free.acquire(window);
        return measured(count, failed.get(), System.nanoTime() - began, SYSTEM.getProcessCpuTime() - cpu);
    }

    private JSONObject sendOneAtATime(String topic, byte[] body, int count) throws Exception {
        DefaultMQProducer sender = producer();
        int failed = 0;
        long cpu = SYSTEM.getProcessCpuTime();
        long began = System.nanoTime();
        for (int sent = 0; sent < count; sent++) {
            if (sender.send(new Message(topic, body)).getSendStatus() != SendStatus.SEND_OK) {
                failed++;
            }
        }
        return measured(count, failed, System.nanoTime() - began, SYSTEM.getProcessCpuTime() - cpu);
    }

    private JSONObject pushConsume(String topic, int count, String group) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(nameServers);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        AtomicInteger received = new AtomicInteger();
        AtomicLong began = new AtomicLong();
        AtomicLong cpu = new AtomicLong();
        AtomicLong ended = new AtomicLong();
        AtomicLong cpuEnded = new AtomicLong();
        CountDownLatch done = new CountDownLatch(1);
        consumer.setMessageListener((MessageListenerConcurrently) (messages, context) -> {
            int now = received.addAndGet(messages.size());
            if (now == messages.size()) {
                cpu.set(SYSTEM.getProcessCpuTime());
                began.set(System.nanoTime());
            }
            if (now == count) {
                ended.set(System.nanoTime());
                cpuEnded.set(SYSTEM.getProcessCpuTime());
                done.countDown();
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        boolean complete = done.await(120, TimeUnit.SECONDS);
        consumer.shutdown();
        if (!complete) {
            throw new IllegalStateException("received " + received.get() + " of " + count + " messages within 120 s");
        }
        return measured(count, 0, ended.get() - began.get(), cpuEnded.get() - cpu.get());
    }

    private static JSONObject measured(int count, int failed, long nanoseconds, long cpuNanoseconds) {
        JSONObject answer = new JSONObject();
        answer.put("count", count);
        answer.put("failed", failed);
        answer.put("seconds", nanoseconds / 1e9);
        answer.put("cpu_seconds", cpuNanoseconds / 1e9);
        return answer;
    }
}
