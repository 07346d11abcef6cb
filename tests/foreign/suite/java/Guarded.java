import java.util.Map;
import org.apache.rocketmq.acl.common.AclClientRPCHook;
import org.apache.rocketmq.acl.common.SessionCredentials;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.remoting.RPCHook;

/** At a server that wants to know who asks, plain and over TLS. The user may use what begins with "allowed". */
final class Guarded {
    private static final String USER = "user-of-tests";
    private static final String SECRET = "secret-of-the-user";

    private final Clients clients;
    private final String plain;
    private final String secure;

    Guarded(Clients clients, String plain, String secure) {
        this.clients = clients;
        this.plain = plain;
        this.secure = secure;
    }

    void addTo(Map<String, Suite.Scenario> all) {
        all.put("acl", () -> exchange("acl", false));
        all.put("tls", () -> exchange("tls", true));
    }

    private static RPCHook signing(String secret) {
        return new AclClientRPCHook(new SessionCredentials(USER, secret));
    }

    private DefaultMQProducer producer(String group, RPCHook hook, boolean tls) throws Exception {
        DefaultMQProducer producer = clients.prepared(new DefaultMQProducer("allowed_" + group, hook), tls ? secure : plain);
        producer.setUseTLS(tls);
        return clients.started(producer);
    }

    private void exchange(String scenario, boolean tls) throws Exception {
        String topic = "allowed_" + clients.topic(scenario);
        String group = clients.group(scenario);
        DefaultMQPushConsumer consumer =
            clients.prepared(new DefaultMQPushConsumer("allowed_" + group, signing(SECRET), new AllocateMessageQueueAveragely()), tls ? secure : plain);
        consumer.setUseTLS(tls);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        Clients.Inbox inbox = clients.start(consumer);
        DefaultMQProducer producer = producer(group + "_p", signing(SECRET), tls);
        for (String body : Clients.numbered(10)) {
            Clients.stored(producer.send(new Message(topic, body.getBytes())));
        }
        inbox.expect(Clients.numbered(10));
        expectRefused(producer, "forbidden", "has no permission");
        expectRefused(producer(group + "_w", signing("wrong-secret"), tls), topic, "check signature failed");
    }

    private static void expectRefused(DefaultMQProducer producer, String topic, String text) throws Exception {
        try {
            producer.send(new Message(topic, new byte[1]));
        } catch (Exception error) {
            Clients.check((error + " " + error.getCause()).contains(text), "refused in another way: " + error + " " + error.getCause());
            return;
        }
        throw new AssertionError("not refused: " + topic);
    }
}
