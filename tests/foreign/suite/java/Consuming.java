import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** The ways to consume. */
final class Consuming {
    private final Clients clients;

    Consuming(Clients clients) {
        this.clients = clients;
    }

    void addTo(Map<String, Suite.Scenario> all) {
        all.put("push", this::push);
        all.put("ordered", this::ordered);
        all.put("broadcast", this::broadcast);
        all.put("tags", this::tags);
        all.put("sql92", this::sql92);
        all.put("pop", this::pop);
        all.put("lite_pull", this::litePull);
        all.put("lite_pull_assigned", this::litePullAssigned);
        all.put("pull", this::pull);
    }

    private void send(String scenario, int count) throws Exception {
        DefaultMQProducer producer = clients.producer(scenario);
        for (String body : Clients.numbered(count)) {
            Clients.stored(producer.send(clients.message(scenario, body)));
        }
    }

    /** What a listener refuses once comes again. */
    private void push() throws Exception {
        DefaultMQPushConsumer consumer = clients.consumer("push");
        consumer.subscribe(clients.topic("push"), "*");
        Clients.Inbox inbox = new Clients.Inbox();
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            context.setDelayLevelWhenNextConsume(1);
            if (Clients.text(messages.get(0)).equals("m3") && messages.get(0).getReconsumeTimes() == 0) {
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            inbox.messages.addAll(messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        clients.begin(consumer);
        send("push", 10);
        for (MessageExt message : inbox.expect(Clients.numbered(10))) {
            Clients.check(message.getReconsumeTimes() == (Clients.text(message).equals("m3") ? 1 : 0), "tries of " + message);
            Clients.check(message.getTopic().equals(clients.topic("push")), "topic of " + message);
        }
    }

    private void ordered() throws Exception {
        DefaultMQProducer producer = clients.producer("ordered");
        for (int number = 0; number < 60; number++) {
            producer.send(clients.message("ordered", "m" + number), (queues, sent, key) -> queues.get((Integer) key % queues.size()), number % 6);
        }
        DefaultMQPushConsumer consumer = clients.consumer("ordered");
        consumer.subscribe(clients.topic("ordered"), "*");
        consumer.setSuspendCurrentQueueTimeMillis(50);
        Clients.Inbox inbox = new Clients.Inbox();
        AtomicInteger refused = new AtomicInteger();
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            if (refused.getAndIncrement() < 3) {
                return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
            }
            inbox.messages.addAll(messages);
            return ConsumeOrderlyStatus.SUCCESS;
        });
        clients.begin(consumer);
        Map<Integer, Integer> last = new HashMap<>();
        for (MessageExt message : inbox.expect(Clients.numbered(60))) {
            int number = Integer.parseInt(Clients.text(message).substring(1));
            Clients.check(last.getOrDefault(number % 6, -1) < number, "out of order: " + message);
            last.put(number % 6, number);
        }
    }

    private void broadcast() throws Exception {
        List<Clients.Inbox> inboxes = new ArrayList<>();
        for (int number = 0; number < 2; number++) {
            DefaultMQPushConsumer consumer = clients.consumer("broadcast");
            Clients.call(consumer, "setMessageModel", "BROADCASTING");
            consumer.subscribe(clients.topic("broadcast"), "*");
            inboxes.add(clients.start(consumer));
        }
        send("broadcast", 10);
        for (Clients.Inbox inbox : inboxes) {
            inbox.expect(Clients.numbered(10));
        }
    }

    private void tags() throws Exception {
        DefaultMQPushConsumer consumer = clients.consumer("tags");
        consumer.subscribe(clients.topic("tags"), "TagA || TagC");
        Clients.Inbox inbox = clients.start(consumer);
        DefaultMQProducer producer = clients.producer("tags");
        for (String tag : Arrays.asList("TagB", "TagA", "TagB", "TagC")) {
            Message message = clients.message("tags", tag);
            message.setTags(tag);
            producer.send(message);
        }
        inbox.expect(Arrays.asList("TagA", "TagC"));
    }

    private void sql92() throws Exception {
        DefaultMQPushConsumer consumer = clients.consumer("sql92");
        consumer.subscribe(clients.topic("sql92"), MessageSelector.bySql("price BETWEEN 10 AND 20 AND region IN ('eu', 'us')"));
        Clients.Inbox inbox = clients.start(consumer);
        DefaultMQProducer producer = clients.producer("sql92");
        for (String body : Arrays.asList("5 eu", "10 eu", "15 asia", "20 us", "21 us")) {
            Message message = clients.message("sql92", body);
            message.putUserProperty("price", body.split(" ")[0]);
            message.putUserProperty("region", body.split(" ")[1]);
            producer.send(message);
        }
        inbox.expect(Arrays.asList("10 eu", "20 us"));
    }

    /** The group is made to pop before. */
    private void pop() throws Exception {
        DefaultMQPushConsumer consumer = clients.consumer("pop");
        Clients.call(consumer, "setClientRebalance", false);
        consumer.subscribe(clients.topic("pop"), "*");
        Clients.Inbox inbox = clients.start(consumer);
        send("pop", 20);
        for (MessageExt message : inbox.expect(Clients.numbered(20))) {
            Clients.check(message.getProperty("POP_CK") != null, "it was pulled: " + message);
        }
    }

    private DefaultLitePullConsumer litePuller(String scenario) throws Exception {
        DefaultLitePullConsumer consumer = clients.prepared(new DefaultLitePullConsumer(clients.group(scenario)), clients.nameServers);
        Clients.call(consumer, "setConsumeFromWhere", "CONSUME_FROM_FIRST_OFFSET");
        consumer.setAutoCommit(false);
        return consumer;
    }

    private static void poll(DefaultLitePullConsumer consumer, Clients.Inbox inbox, int count) throws Exception {
        Clients.waitFor(() -> {
            inbox.messages.addAll(consumer.poll(200));
            return inbox.messages.size() >= count;
        }, count + " messages");
    }

    private void litePull() throws Exception {
        send("lite_pull", 20);
        Clients.Inbox inbox = new Clients.Inbox();
        DefaultLitePullConsumer consumer = litePuller("lite_pull");
        consumer.subscribe(clients.topic("lite_pull"), "*");
        consumer.start();
        poll(consumer, inbox, 20);
        inbox.expect(Clients.numbered(20));
        consumer.commitSync();
        consumer.shutdown();
        DefaultLitePullConsumer next = litePuller("lite_pull");
        next.subscribe(clients.topic("lite_pull"), "*");
        next.start();
        clients.endWith(next::shutdown);
        DefaultMQProducer producer = clients.producer("lite_pull_2");
        producer.send(clients.message("lite_pull", "new"));
        Clients.Inbox rest = new Clients.Inbox();
        poll(next, rest, 1);
        rest.expect(Arrays.asList("new"));
    }

    private void litePullAssigned() throws Exception {
        send("lite_pull_assigned", 20);
        DefaultLitePullConsumer consumer = litePuller("lite_pull_assigned");
        consumer.start();
        clients.endWith(consumer::shutdown);
        Collection<MessageQueue> queues = consumer.fetchMessageQueues(clients.topic("lite_pull_assigned"));
        consumer.assign(queues);
        Clients.Inbox inbox = new Clients.Inbox();
        poll(consumer, inbox, 20);
        inbox.expect(Clients.numbered(20));
        for (MessageQueue queue : queues) {
            consumer.seek(queue, consumer.offsetForTimestamp(queue, 0L) + 3);
        }
        Clients.Inbox tail = new Clients.Inbox();
        poll(consumer, tail, 8);
        Clients.check(tail.messages.size() == 8 && tail.messages.stream().allMatch(message -> message.getQueueOffset() >= 3), "after seek");
    }

    @SuppressWarnings("deprecation")
    private void pull() throws Exception {
        send("pull", 20);
        DefaultMQPullConsumer consumer = clients.prepared(new DefaultMQPullConsumer(clients.group("pull")), clients.nameServers);
        consumer.start();
        clients.endWith(consumer::shutdown);
        Clients.Inbox inbox = new Clients.Inbox();
        for (MessageQueue queue : consumer.fetchSubscribeMessageQueues(clients.topic("pull"))) {
            Clients.check(consumer.minOffset(queue) == 0 && consumer.maxOffset(queue) == 5, "offsets of " + queue);
            org.apache.rocketmq.client.consumer.PullResult result = consumer.pull(queue, "*", 0, 32);
            Clients.check(result.getPullStatus() == PullStatus.FOUND && result.getNextBeginOffset() == 5, "pulled " + result);
            inbox.messages.addAll(result.getMsgFoundList());
            consumer.updateConsumeOffset(queue, 5);
            Clients.check(consumer.pull(queue, "*", 5, 32).getPullStatus() == PullStatus.NO_NEW_MSG, "at the end of " + queue);
        }
        inbox.expect(Clients.numbered(20));
    }
}
