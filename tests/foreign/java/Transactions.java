import com.alibaba.fastjson2.JSONArray;
import com.alibaba.fastjson2.JSONObject;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Transaction producers; a body says how its transaction ends, and the listener remembers what it was asked. */
final class Transactions {
    private final Map<String, TransactionMQProducer> producers = new HashMap<>();
    private final Map<String, Listener> listeners = new HashMap<>();

    private static final class Listener implements TransactionListener {
        final ConcurrentLinkedQueue<JSONObject> asked = new ConcurrentLinkedQueue<>();

        @Override
        public LocalTransactionState executeLocalTransaction(Message message, Object state) {
            return LocalTransactionState.valueOf((String) state);
        }

        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt message) {
            String body = new String(message.getBody(), StandardCharsets.UTF_8);
            JSONObject told = new JSONObject();
            told.put("body", body);
            told.put("topic", message.getTopic());
            told.put("queue_id", message.getQueueId());
            told.put("transaction_id", message.getTransactionId());
            told.put("properties", message.getProperties());
            asked.add(told);
            if (body.startsWith("commit")) {
                return LocalTransactionState.COMMIT_MESSAGE;
            }
            return body.startsWith("rollback") ? LocalTransactionState.ROLLBACK_MESSAGE : LocalTransactionState.UNKNOW;
        }
    }

    JSONObject start(JSONObject request) throws Exception {
        TransactionMQProducer producer = new TransactionMQProducer(request.getString("group"));
        producer.setNamesrvAddr(request.getString("name_servers"));
        producer.setInstanceName("java-transactions-" + request.getString("id"));
        producer.setSendMsgTimeout(10_000);
        producer.setMqClientApiTimeout(20_000);
        producer.setHeartbeatBrokerInterval(1_000);
        Listener listener = new Listener();
        producer.setTransactionListener(listener);
        producer.start();
        producers.put(request.getString("id"), producer);
        listeners.put(request.getString("id"), listener);
        return new JSONObject();
    }

    JSONObject send(JSONObject request) throws Exception {
        Message message = new Message(request.getString("topic"), request.getString("body").getBytes(StandardCharsets.UTF_8));
        TransactionMQProducer producer = producers.get(request.getString("id"));
        TransactionSendResult result = producer.sendMessageInTransaction(message, request.getString("state"));
        JSONObject answer = new JSONObject();
        answer.put("transaction_id", result.getTransactionId());
        answer.put("message_id", result.getMsgId());
        answer.put("state", result.getLocalTransactionState().name());
        return answer;
    }

    JSONObject asked(JSONObject request) {
        JSONArray told = new JSONArray();
        ConcurrentLinkedQueue<JSONObject> asked = listeners.get(request.getString("id")).asked;
        for (JSONObject next = asked.poll(); next != null; next = asked.poll()) {
            told.add(next);
        }
        JSONObject answer = new JSONObject();
        answer.put("messages", told);
        return answer;
    }

    void stop(String id) {
        TransactionMQProducer producer = producers.remove(id);
        if (producer != null) {
            producer.shutdown();
        }
    }

    void close() {
        for (String id : producers.keySet().toArray(new String[0])) {
            stop(id);
        }
    }
}
