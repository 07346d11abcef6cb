import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** The ways to send. */
final class Sending {
    private final Clients clients;

    Sending(Clients clients) {
        this.clients = clients;
    }

    void addTo(Map<String, Suite.Scenario> all) {
        all.put("plain", this::plain);
        all.put("async", this::async);
        all.put("oneway", this::oneway);
        all.put("batch", this::batch);
        all.put("auto_batch", this::autoBatch);
        all.put("large", this::large);
        all.put("delay_level", this::delayLevel);
        all.put("timer", this::timer);
        all.put("recall", this::recall);
        all.put("transaction", this::transaction);
        all.put("request_reply", this::requestReply);
        all.put("queries", this::queries);
        all.put("trace", this::trace);
    }

    private void plain() throws Exception {
        DefaultMQProducer producer = clients.producer("plain");
        for (String body : Clients.numbered(20)) {
            Message message = clients.message("plain", body);
            message.setTags("TagA");
            message.setKeys("key-" + body);
            message.putUserProperty("größe", "☃ " + body);
            Clients.stored(producer.send(message));
        }
        for (MessageExt message : clients.consume("plain").expect(Clients.numbered(20))) {
            String body = Clients.text(message);
            Clients.check(message.getTags().equals("TagA") && message.getKeys().equals("key-" + body), "tag or key of " + message);
            Clients.check(message.getUserProperty("größe").equals("☃ " + body), "property of " + message);
        }
    }

    /** Remembers outcomes. */
    private static final class Outcomes implements SendCallback {
        final CountDownLatch left;
        final ConcurrentLinkedQueue<Object> bad = new ConcurrentLinkedQueue<>();

        Outcomes(int count) {
            left = new CountDownLatch(count);
        }

        @Override
        public void onSuccess(SendResult result) {
            left.countDown();
        }

        @Override
        public void onException(Throwable error) {
            bad.add(error);
            left.countDown();
        }

        void expectGood() throws Exception {
            Clients.check(left.await(60, TimeUnit.SECONDS) && bad.isEmpty(), "sends failed or are open: " + bad + " " + left);
        }
    }

    private void async() throws Exception {
        DefaultMQProducer producer = clients.producer("async");
        Outcomes outcomes = new Outcomes(50);
        for (String body : Clients.numbered(50)) {
            producer.send(clients.message("async", body), outcomes);
        }
        outcomes.expectGood();
        clients.consume("async").expect(Clients.numbered(50));
    }

    private void oneway() throws Exception {
        DefaultMQProducer producer = clients.producer("oneway");
        for (String body : Clients.numbered(20)) {
            producer.sendOneway(clients.message("oneway", body));
        }
        clients.consume("oneway").expect(Clients.numbered(20));
    }

    private void batch() throws Exception {
        List<Message> messages = new ArrayList<>();
        Clients.numbered(10).forEach(body -> messages.add(clients.message("batch", body)));
        SendResult result = clients.producer("batch").send(messages);
        Clients.stored(result);
        Clients.check(result.getMsgId().split(",").length == 10, "ids: " + result);
        clients.consume("batch").expect(Clients.numbered(10));
    }

    private void autoBatch() throws Exception {
        DefaultMQProducer producer = clients.producer("auto_batch");
        Clients.call(producer, "setAutoBatch", true);
        Outcomes outcomes = new Outcomes(100);
        for (String body : Clients.numbered(100)) {
            producer.send(clients.message("auto_batch", body), outcomes);
        }
        outcomes.expectGood();
        clients.consume("auto_batch").expect(Clients.numbered(100));
    }

    private void large() throws Exception {
        byte[] body = new byte[1 << 20];
        for (int index = 0; index < body.length; index++) {
            body[index] = (byte) (index * 31 >> 5);
        }
        Clients.stored(clients.producer("large").send(new Message(clients.topic("large"), body)));
        Clients.check(Arrays.equals(clients.consume("large").await(1).get(0).getBody(), body), "another body");
    }

    private void delayLevel() throws Exception {
        Message message = clients.message("delay_level", "later");
        message.setDelayTimeLevel(1);
        expectLater("delay_level", message, 1_000);
    }

    private void timer() throws Exception {
        Message message = clients.message("timer", "later");
        Clients.call(message, "setDelayTimeMs", 1_500L);
        expectLater("timer", message, 1_500);
    }

    private void expectLater(String scenario, Message later, long delay) throws Exception {
        DefaultMQProducer producer = clients.producer(scenario);
        Clients.Inbox inbox = clients.consume(scenario);
        long sent = System.currentTimeMillis();
        Clients.stored(producer.send(later));
        Clients.stored(producer.send(clients.message(scenario, "now")));
        for (MessageExt message : inbox.expect(Arrays.asList("now", "later"))) {
            long waited = message.getStoreTimestamp() - sent;
            Clients.check(Clients.text(message).equals("now") || waited >= delay - 10, "it came after " + waited + " ms");
        }
    }

    private void recall() throws Exception {
        DefaultMQProducer producer = clients.producer("recall");
        Message taken = clients.message("recall", "taken back");
        Clients.call(taken, "setDelayTimeMs", 3_000L);
        Message kept = clients.message("recall", "kept");
        Clients.call(kept, "setDelayTimeMs", 4_000L);
        SendResult result = producer.send(taken);
        producer.send(kept);
        Object recalled = Clients.call(producer, "recallMessage", clients.topic("recall"), Clients.call(result, "getRecallHandle"));
        Clients.check(result.getMsgId().equals(recalled), "recalled " + recalled + " instead of " + result);
        clients.consume("recall").expect(Arrays.asList("kept"));
    }

    private void transaction() throws Exception {
        TransactionMQProducer producer =
            clients.prepared(new TransactionMQProducer(clients.group("transaction") + "_p"), clients.nameServers);
        ConcurrentLinkedQueue<String> asked = new ConcurrentLinkedQueue<>();
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object state) {
                return (LocalTransactionState) state;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                asked.add(Clients.text(message));
                boolean commit = Clients.text(message).endsWith("commit");
                return commit ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE;
            }
        });
        clients.started(producer);
        producer.sendMessageInTransaction(clients.message("transaction", "commit"), LocalTransactionState.COMMIT_MESSAGE);
        producer.sendMessageInTransaction(clients.message("transaction", "rollback"), LocalTransactionState.ROLLBACK_MESSAGE);
        producer.sendMessageInTransaction(clients.message("transaction", "asked, rollback"), LocalTransactionState.UNKNOW);
        producer.sendMessageInTransaction(clients.message("transaction", "asked, commit"), LocalTransactionState.UNKNOW);
        clients.consume("transaction").expect(Arrays.asList("commit", "asked, commit"));
        Clients.waitFor(() -> asked.contains("asked, rollback"), "the second check");
        Clients.check(!asked.contains("commit") && !asked.contains("rollback"), "asked for decided ones: " + asked);
    }

    private void requestReply() throws Exception {
        DefaultMQProducer replies = clients.producer("request_reply_answers");
        DefaultMQPushConsumer consumer = clients.consumer("request_reply");
        consumer.subscribe(clients.topic("request_reply"), "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            try {
                for (MessageExt message : messages) {
                    byte[] answer = ("re: " + Clients.text(message)).getBytes(StandardCharsets.UTF_8);
                    replies.send(MessageUtil.createReplyMessage(message, answer));
                }
            } catch (Exception error) {
                // The first heartbeat of who asks may have been held up by another thread: brokers do not know it then.
                error.printStackTrace();
                context.setDelayLevelWhenNextConsume(1);
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        clients.begin(consumer);
        DefaultMQProducer producer = clients.producer("request_reply");
        for (String body : Clients.numbered(5)) {
            Message reply = producer.request(clients.message("request_reply", body), 40_000);
            Clients.check(Clients.text(reply).equals("re: " + body), "reply " + reply);
        }
    }

    private void queries() throws Exception {
        DefaultMQProducer producer = clients.producer("queries");
        Message message = clients.message("queries", "found");
        message.setKeys("needle");
        SendResult result = producer.send(message);
        String topic = clients.topic("queries");
        List<MessageExt> found = producer.queryMessage(topic, "needle", 10, 0, System.currentTimeMillis() + 60_000).getMessageList();
        Clients.check(found.size() == 1 && Clients.text(found.get(0)).equals("found"), "by key: " + found);
        Clients.check(Clients.text(producer.viewMessage(topic, result.getMsgId())).equals("found"), "by unique id");
        Clients.check(Clients.text(producer.viewMessage(topic, result.getOffsetMsgId())).equals("found"), "by offset id");
        Clients.check(producer.maxOffset(result.getMessageQueue()) == 1 && producer.minOffset(result.getMessageQueue()) == 0, "offsets");
        Clients.check(producer.searchOffset(result.getMessageQueue(), System.currentTimeMillis() + 60_000) == 1, "offset by time");
        Clients.check(producer.fetchPublishMessageQueues(topic).size() == 4, "queues");
    }

    private void trace() throws Exception {
        DefaultMQPushConsumer reader = clients.consumer("trace_reader");
        reader.subscribe("RMQ_SYS_TRACE_TOPIC", "*");
        Clients.Inbox traces = clients.start(reader);
        DefaultMQProducer producer = clients.prepared(new DefaultMQProducer(clients.group("trace") + "_p", null, true, null), clients.nameServers);
        SendResult result = clients.started(producer).send(clients.message("trace", "traced"));
        DefaultMQPushConsumer consumer = clients.prepared(
            new DefaultMQPushConsumer(clients.group("trace"), null, new AllocateMessageQueueAveragely(), true, null), clients.nameServers);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(clients.topic("trace"), "*");
        clients.start(consumer).await(1);
        for (String kind : Arrays.asList("Pub", "SubBefore", "SubAfter")) {
            Clients.waitFor(() -> traces.messages.stream().anyMatch(message ->
                Clients.text(message).contains(result.getMsgId()) && Clients.text(message).contains(kind)), "the trace record " + kind);
        }
    }
}
