import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.function.BooleanSupplier;
import java.nio.charset.StandardCharsets;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Makes clients, and ends them all; and what scenarios look at results with. */
final class Clients {
    private static final long PATIENCE = 60_000;

    final String nameServers;
    private final String suffix;
    private final List<Runnable> ends = new ArrayList<>();
    private int made;

    Clients(String nameServers, String suffix) {
        this.nameServers = nameServers;
        this.suffix = suffix;
    }

    /** What messages come to, until there are enough. */
    static final class Inbox {
        final ConcurrentLinkedQueue<MessageExt> messages = new ConcurrentLinkedQueue<>();

        List<MessageExt> await(int count) throws Exception {
            waitFor(() -> messages.size() >= count, count + " messages");
            return new ArrayList<>(messages);
        }

        /** Exactly these, in any order. */
        List<MessageExt> expect(Collection<String> bodies) throws Exception {
            List<MessageExt> all = await(bodies.size());
            List<String> found = new ArrayList<>();
            all.forEach(message -> found.add(text(message)));
            check(found.size() == bodies.size() && new TreeSet<>(found).equals(new TreeSet<>(bodies)), "expected " + bodies + ", got " + found);
            return all;
        }
    }

    /** The topic of a scenario. */
    String topic(String scenario) {
        return "foreign_" + scenario + "_" + suffix;
    }

    String group(String scenario) {
        return "foreign_group_" + scenario + "_" + suffix;
    }

    /** A retry topic that is made by the first heartbeat is found with the next look at the routes, after 30 s by default. */
    <C extends ClientConfig> C prepared(C client, String servers) {
        client.setNamesrvAddr(servers);
        client.setHeartbeatBrokerInterval(1_000);
        client.setPollNameServerInterval(1_000);
        synchronized (this) {
            client.setInstanceName("suite-" + suffix + "-" + made++);
        }
        return client;
    }

    <P extends DefaultMQProducer> P started(P producer) throws Exception {
        producer.setSendMsgTimeout(20_000);
        producer.start();
        endWith(producer::shutdown);
        return producer;
    }

    DefaultMQProducer producer(String scenario) throws Exception {
        return started(prepared(new DefaultMQProducer("foreign_producer_" + scenario + "_" + suffix), nameServers));
    }

    DefaultMQPushConsumer consumer(String scenario) throws Exception {
        DefaultMQPushConsumer consumer = prepared(new DefaultMQPushConsumer(group(scenario)), nameServers);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        return consumer;
    }

    Inbox start(DefaultMQPushConsumer consumer) throws Exception {
        Inbox inbox = new Inbox();
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            inbox.messages.addAll(messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        begin(consumer);
        return inbox;
    }

    void begin(DefaultMQPushConsumer consumer) throws Exception {
        consumer.start();
        endWith(consumer::shutdown);
    }

    /** A consumer of everything in the topic of a scenario. */
    Inbox consume(String scenario) throws Exception {
        DefaultMQPushConsumer consumer = consumer(scenario);
        consumer.subscribe(topic(scenario), "*");
        return start(consumer);
    }

    synchronized void endWith(Runnable end) {
        ends.add(end);
    }

    synchronized void close() {
        ends.forEach(Runnable::run);
    }

    Message message(String scenario, String body) {
        return new Message(topic(scenario), body.getBytes(StandardCharsets.UTF_8));
    }

    static String text(Message message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    static List<String> numbered(int count) {
        List<String> bodies = new ArrayList<>();
        for (int number = 0; number < count; number++) {
            bodies.add("m" + number);
        }
        return bodies;
    }

    static void stored(SendResult result) {
        check(result.getSendStatus() == SendStatus.SEND_OK, "not stored: " + result);
    }

    static void check(boolean right, String text) {
        if (!right) {
            throw new AssertionError(text);
        }
    }

    static void waitFor(BooleanSupplier condition, String what) throws Exception {
        long end = System.currentTimeMillis() + PATIENCE;
        while (!condition.getAsBoolean()) {
            check(System.currentTimeMillis() < end, "waited in vain for " + what);
            Thread.sleep(20);
        }
    }

    /** Calls what not every release has, or has with an enumeration in another package: those are given by name. */
    static Object call(Object target, String name, Object... arguments) throws Exception {
        for (Method method : target.getClass().getMethods()) {
            Class<?>[] types = method.getParameterTypes();
            if (!method.getName().equals(name) || types.length != arguments.length) {
                continue;
            }
            Object[] given = arguments.clone();
            for (int index = 0; index < given.length; index++) {
                if (types[index].isEnum()) {
                    given[index] = constant(types[index], (String) given[index]);
                }
            }
            try {
                return method.invoke(target, given);
            } catch (InvocationTargetException error) {
                throw error.getCause() instanceof Exception ? (Exception) error.getCause() : error;
            }
        }
        throw new NoSuchMethodException(target.getClass() + "." + name);
    }

    private static Object constant(Class<?> type, String name) {
        for (Object each : type.getEnumConstants()) {
            if (each.toString().equals(name) || ((Enum<?>) each).name().equals(name)) {
                return each;
            }
        }
        throw new IllegalArgumentException(name);
    }
}
