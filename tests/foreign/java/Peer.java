import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONArray;
import com.alibaba.fastjson2.JSONObject;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.rocketmq.acl.common.AclClientRPCHook;
import org.apache.rocketmq.acl.common.SessionCredentials;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.compression.CompressionType;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;
import org.apache.rocketmq.remoting.RPCHook;

/**
 * The Java client on a string: one JSON request per line on standard input, one JSON answer per line on standard output.
 * Clients are named by the "id" of the request that made them. End of input shuts them all down.
 */
public final class Peer {
    private static final Base64.Encoder ENCODER = Base64.getEncoder();
    private static final Base64.Decoder DECODER = Base64.getDecoder();

    private final Map<String, DefaultMQProducer> producers = new HashMap<>();
    private final Map<String, Inbox> consumers = new HashMap<>();
    private final Transactions transactions = new Transactions();

    /** A push consumer and what it has received. */
    private static final class Inbox {
        final DefaultMQPushConsumer consumer;
        final ConcurrentLinkedQueue<JSONObject> received = new ConcurrentLinkedQueue<>();
        volatile int failuresLeft;

        Inbox(DefaultMQPushConsumer consumer) {
            this.consumer = consumer;
        }

        JSONObject drain() {
            JSONArray messages = new JSONArray();
            for (JSONObject next = received.poll(); next != null; next = received.poll()) {
                messages.add(next);
            }
            JSONObject answer = new JSONObject();
            answer.put("messages", messages);
            return answer;
        }

        boolean take(List<MessageExt> messages) {
            if (failuresLeft > 0) {
                failuresLeft--;
                return false;
            }
            for (MessageExt message : messages) {
                received.add(describe(message));
            }
            return true;
        }
    }

    public static void main(String[] arguments) throws Exception {
        PrintStream answers = new PrintStream(System.out, true, "UTF-8");
        System.setOut(System.err);
        Peer peer = new Peer();
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
        peer.close();
        System.exit(0);
    }

    private JSONObject handle(JSONObject request) throws Exception {
        switch (request.getString("cmd")) {
            case "producer":
                return startProducer(request);
            case "send":
                return send(request);
            case "recall":
                return recall(request);
            case "send_numbers":
                return sendNumbers(request);
            case "send_batch":
                return sendBatch(request);
            case "request":
                return ask(request);
            case "responder":
                return startResponder(request);
            case "transaction_producer":
                return transactions.start(request);
            case "send_in_transaction":
                return transactions.send(request);
            case "asked":
                return transactions.asked(request);
            case "consumer":
                return startConsumer(request);
            case "pop":
                return popping(request).pop(request);
            case "acknowledge":
                return popping(request).acknowledge(request);
            case "change_invisible":
                return popping(request).change(request);
            case "received":
                return received(request);
            case "assignment":
                return assignment(request);
            case "stop":
                return stop(request.getString("id"));
            case "stop_all":
                close();
                return new JSONObject();
            default:
                throw new IllegalArgumentException("unknown command " + request.getString("cmd"));
        }
    }

    private JSONObject startProducer(JSONObject request) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(request.getString("group"), signing(request));
        producer.setUseTLS(request.getBooleanValue("tls"));
        producer.setNamesrvAddr(request.getString("name_servers"));
        producer.setInstanceName("java-producer-" + request.getString("id"));
        producer.setSendMsgTimeout(10_000);
        bePatient(producer, request);
        if (request.containsKey("compress_from")) {
            producer.setCompressMsgBodyOverHowmuch(request.getIntValue("compress_from"));
        }
        if (request.containsKey("compress_type")) {
            producer.setCompressType(CompressionType.valueOf(request.getString("compress_type")));
        }
        producer.start();
        producers.put(request.getString("id"), producer);
        return new JSONObject();
    }

    /** Signs what the client asks, when the request names keys; null otherwise. */
    private static RPCHook signing(JSONObject request) {
        if (!request.containsKey("access_key")) {
            return null;
        }
        return new AclClientRPCHook(new SessionCredentials(request.getString("access_key"), request.getString("secret_key")));
    }

    /**
     * On a busy machine a cold JVM takes longer than the default time-out for its first requests, and a heartbeat that another thread
     * holds up (the broker then answers "subscription not latest") is only repeated after the interval, 30 s by default.
     */
    private static void bePatient(ClientConfig client, JSONObject request) {
        if (request.containsKey("namespace")) {
            client.setNamespace(request.getString("namespace"));
        }
        client.setMqClientApiTimeout(20_000);
        client.setHeartbeatBrokerInterval(1_000);
    }

    private static Message message(JSONObject request) {
        Message message = new Message(request.getString("topic"), DECODER.decode(request.getString("body")));
        if (request.containsKey("tag")) {
            message.setTags(request.getString("tag"));
        }
        if (request.containsKey("keys")) {
            message.setKeys(request.getList("keys", String.class));
        }
        if (request.containsKey("flag")) {
            message.setFlag(request.getIntValue("flag"));
        }
        if (request.containsKey("delay_level")) {
            message.setDelayTimeLevel(request.getIntValue("delay_level"));
        }
        if (request.containsKey("delay_ms")) {
            message.setDelayTimeMs(request.getLongValue("delay_ms"));
        }
        if (request.containsKey("priority")) {
            message.setPriority(request.getIntValue("priority"));
        }
        JSONObject properties = request.getJSONObject("properties");
        if (properties != null) {
            properties.forEach((name, value) -> message.putUserProperty(name, (String) value));
        }
        return message;
    }

    private JSONObject send(JSONObject request) throws Exception {
        DefaultMQProducer producer = producers.get(request.getString("id"));
        Message message = message(request);
        SendResult result;
        if (request.containsKey("queue_id")) {
            int wanted = request.getIntValue("queue_id");
            result = producer.send(message, (queues, sent, argument) -> queues.get(wanted), null);
        } else {
            result = producer.send(message);
        }
        return describe(result);
    }

    private JSONObject recall(JSONObject request) throws Exception {
        JSONObject answer = new JSONObject();
        String handle = request.getString("handle");
        answer.put("message_id", producers.get(request.getString("id")).recallMessage(request.getString("topic"), handle));
        return answer;
    }

    private JSONObject sendNumbers(JSONObject request) throws Exception {
        DefaultMQProducer producer = producers.get(request.getString("id"));
        int from = request.getIntValue("from");
        int count = request.getIntValue("count");
        for (int number = from; number < from + count; number++) {
            producer.send(new Message(request.getString("topic"), Integer.toString(number).getBytes(StandardCharsets.UTF_8)));
        }
        return new JSONObject();
    }

    private JSONObject sendBatch(JSONObject request) throws Exception {
        List<Message> messages = new ArrayList<>();
        JSONArray parts = request.getJSONArray("messages");
        for (int index = 0; index < parts.size(); index++) {
            messages.add(message(parts.getJSONObject(index)));
        }
        return describe(producers.get(request.getString("id")).send(messages));
    }

    private static JSONObject describe(SendResult result) {
        JSONObject answer = new JSONObject();
        answer.put("status", result.getSendStatus().name());
        answer.put("message_id", result.getMsgId());
        answer.put("offset_message_id", result.getOffsetMsgId());
        answer.put("queue_id", result.getMessageQueue().getQueueId());
        answer.put("broker", result.getMessageQueue().getBrokerName());
        answer.put("queue_offset", result.getQueueOffset());
        answer.put("recall_handle", result.getRecallHandle());
        return answer;
    }

    private JSONObject startConsumer(JSONObject request) throws Exception {
        DefaultMQPushConsumer consumer =
            new DefaultMQPushConsumer(request.getString("group"), signing(request), new AllocateMessageQueueAveragely());
        consumer.setUseTLS(request.getBooleanValue("tls"));
        consumer.setNamesrvAddr(request.getString("name_servers"));
        consumer.setInstanceName("java-consumer-" + request.getString("id"));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        bePatient(consumer, request);
        if (request.containsKey("client_rebalance")) {
            consumer.setClientRebalance(request.getBooleanValue("client_rebalance"));
        }
        if (request.containsKey("pop_invisible")) {
            consumer.setPopInvisibleTime(request.getLongValue("pop_invisible"));
        }
        if (request.getBooleanValue("broadcasting")) {
            consumer.setMessageModel(MessageModel.BROADCASTING);
        }
        Inbox inbox = new Inbox(consumer);
        inbox.failuresLeft = request.getIntValue("failures");
        if (request.containsKey("sql")) {
            consumer.subscribe(request.getString("topic"), MessageSelector.bySql(request.getString("sql")));
        } else {
            consumer.subscribe(request.getString("topic"), request.getString("expression"));
        }
        if (request.getBooleanValue("ordered")) {
            consumer.setMessageListener((MessageListenerOrderly) (messages, context) ->
                inbox.take(messages) ? ConsumeOrderlyStatus.SUCCESS : ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT);
        } else {
            consumer.setMessageListener((MessageListenerConcurrently) (messages, context) -> {
                context.setDelayLevelWhenNextConsume(1);
                return inbox.take(messages) ? ConsumeConcurrentlyStatus.CONSUME_SUCCESS : ConsumeConcurrentlyStatus.RECONSUME_LATER;
            });
        }
        consumer.start();
        consumers.put(request.getString("id"), inbox);
        JSONObject answer = new JSONObject();
        answer.put("client_id", consumer.buildMQClientId());
        return answer;
    }

    /** Sends a request and answers with its reply. */
    private JSONObject ask(JSONObject request) throws Exception {
        DefaultMQProducer producer = producers.get(request.getString("id"));
        Message reply = producer.request(message(request), request.getLongValue("ttl"));
        JSONObject answer = new JSONObject();
        answer.put("body", ENCODER.encodeToString(reply.getBody()));
        answer.put("topic", reply.getTopic());
        answer.put("properties", reply.getProperties());
        return answer;
    }

    /** A consumer that replies to each request with "re: " and the request's body; its producer has the same id. */
    private JSONObject startResponder(JSONObject request) throws Exception {
        startProducer(request);
        DefaultMQProducer producer = producers.get(request.getString("id"));
        byte[] prefix = "re: ".getBytes(StandardCharsets.UTF_8);
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(request.getString("group"));
        consumer.setNamesrvAddr(request.getString("name_servers"));
        consumer.setInstanceName("java-responder-" + request.getString("id"));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        bePatient(consumer, request);
        consumer.subscribe(request.getString("topic"), "*");
        consumer.setMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                byte[] body = Arrays.copyOf(prefix, prefix.length + message.getBody().length);
                System.arraycopy(message.getBody(), 0, body, prefix.length, message.getBody().length);
                try {
                    producer.send(MessageUtil.createReplyMessage(message, body));
                } catch (Exception error) {
                    error.printStackTrace();
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        consumers.put(request.getString("id"), new Inbox(consumer));
        return new JSONObject();
    }

    /** What pops by the connections of a producer. */
    private Popping popping(JSONObject request) {
        DefaultMQProducer producer = producers.get(request.getString("id"));
        return new Popping(producer.getDefaultMQProducerImpl().getMqClientFactory().getMQClientAPIImpl(), request);
    }

    private JSONObject received(JSONObject request) {
        return consumers.get(request.getString("id")).drain();
    }

    static JSONObject describe(MessageExt message) {
        JSONObject told = new JSONObject();
        told.put("at", System.currentTimeMillis());
        told.put("topic", message.getTopic());
        told.put("body", ENCODER.encodeToString(message.getBody()));
        told.put("tag", message.getTags());
        told.put("keys", message.getKeys());
        told.put("flag", message.getFlag());
        told.put("message_id", message.getMsgId());
        told.put("queue_id", message.getQueueId());
        told.put("queue_offset", message.getQueueOffset());
        told.put("reconsume_times", message.getReconsumeTimes());
        told.put("born_host", message.getBornHostString());
        told.put("properties", message.getProperties());
        return told;
    }

    private JSONObject assignment(JSONObject request) {
        JSONArray queues = new JSONArray();
        String topic = request.getString("topic");
        consumers.get(request.getString("id")).consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable()
            .forEach((MessageQueue queue, Object work) -> {
                if (queue.getTopic().equals(topic)) {
                    queues.add(queue.getQueueId());
                }
            });
        JSONObject answer = new JSONObject();
        answer.put("queues", queues);
        return answer;
    }

    /** Answers with what a consumer received since it was last asked. */
    private JSONObject stop(String id) {
        DefaultMQProducer producer = producers.remove(id);
        if (producer != null) {
            producer.shutdown();
        }
        transactions.stop(id);
        Inbox inbox = consumers.remove(id);
        if (inbox != null) {
            inbox.consumer.shutdown();
            return inbox.drain();
        }
        return new JSONObject();
    }

    private void close() {
        new ArrayList<>(producers.keySet()).forEach(this::stop);
        new ArrayList<>(consumers.keySet()).forEach(this::stop);
        transactions.close();
    }
}
