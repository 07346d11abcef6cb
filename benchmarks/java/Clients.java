import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Producers that live as long as the process, and new consumers. What is not said here is the client's default. */
final class Clients {
    /** What becomes of a message; the message counts as consumed. */
    interface Listener {
        void accept(MessageExt message);
    }

    private static final int SEND_TIMEOUT_MS = 10_000;

    private final String nameServers;
    private DefaultMQProducer producer;
    private DefaultMQProducer batchingProducer;
    private DefaultMQProducer securedProducer;
    private TransactionMQProducer transactionProducer;

    Clients(String nameServers) {
        this.nameServers = nameServers;
    }

    DefaultMQProducer producer() throws MQClientException {
        if (producer == null) {
            producer = started("bench_java", false);
        }
        return producer;
    }

    /** The producer that collects single sends into batches. */
    DefaultMQProducer batchingProducer() throws MQClientException {
        if (batchingProducer == null) {
            batchingProducer = started("bench_java_auto_batch", true);
        }
        return batchingProducer;
    }

    /** The producer whose connections are TLS; like every client that is told no more, it takes any certificate. */
    DefaultMQProducer securedProducer() throws MQClientException {
        if (securedProducer == null) {
            securedProducer = new DefaultMQProducer("bench_java_tls");
            securedProducer.setUseTLS(true);
            start(securedProducer);
        }
        return securedProducer;
    }

    /** The producer whose local transactions all succeed. */
    TransactionMQProducer transactionProducer() throws MQClientException {
        if (transactionProducer == null) {
            transactionProducer = new TransactionMQProducer("bench_java_transactions");
            transactionProducer.setTransactionListener(new TransactionListener() {
                @Override
                public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
                    return LocalTransactionState.COMMIT_MESSAGE;
                }

                @Override
                public LocalTransactionState checkLocalTransaction(MessageExt message) {
                    return LocalTransactionState.COMMIT_MESSAGE;
                }
            });
            start(transactionProducer);
        }
        return transactionProducer;
    }

    private DefaultMQProducer started(String group, boolean autoBatch) throws MQClientException {
        DefaultMQProducer made = new DefaultMQProducer(group);
        made.setAutoBatch(autoBatch);
        start(made);
        return made;
    }

    private void start(DefaultMQProducer made) throws MQClientException {
        made.setNamesrvAddr(nameServers);
        made.setSendMsgTimeout(SEND_TIMEOUT_MS);
        made.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE); // bodies that are all 'x' would measure zlib
        made.start();
    }

    /** A consumer that was not started yet, of a group that reads the topic from its beginning. */
    DefaultMQPushConsumer consumer(String group, String topic, boolean ordered, Listener listener) throws MQClientException {
        DefaultMQPushConsumer made = new DefaultMQPushConsumer(group);
        made.setNamesrvAddr(nameServers);
        made.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        made.subscribe(topic, "*");
        if (ordered) {
            made.setMessageListener((MessageListenerOrderly) (messages, context) -> {
                messages.forEach(listener::accept);
                return ConsumeOrderlyStatus.SUCCESS;
            });
        } else {
            made.setMessageListener((MessageListenerConcurrently) (messages, context) -> {
                messages.forEach(listener::accept);
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
        }
        return made;
    }

    /** A consumer to be polled that was not started yet, of a group that reads the topic from its beginning. */
    DefaultLitePullConsumer pollingConsumer(String group, String topic) throws MQClientException {
        DefaultLitePullConsumer made = new DefaultLitePullConsumer(group);
        made.setNamesrvAddr(nameServers);
        made.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        made.subscribe(topic, "*");
        return made;
    }

    void shutdown() {
        for (DefaultMQProducer each : new DefaultMQProducer[] {producer, batchingProducer, securedProducer, transactionProducer}) {
            if (each != null) {
                each.shutdown();
            }
        }
    }
}
