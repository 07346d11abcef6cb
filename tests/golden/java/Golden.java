// Prints the golden values of one RocketMQ version as JSON lines: {"kind": ..., "name": ..., ...}.
// regenerate.py fills the placeholders (packages moved between 4.x and 5.x) and turns the comments that start with //5 into code on 5.x.

import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.*;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.common.*;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.*;
import org.apache.rocketmq.remoting.protocol.*;
import @ADMIN@.*;
import @PKG@.body.*;
import @PKG@.header.*;
import @PKG@.heartbeat.*;
import @PKG@.heartbeat.MessageModel;
import @PKG@.route.*;
import @SUBSCRIPTION@.*;

public class Golden {
    static final StringBuilder OUT = new StringBuilder();

    static String hex(byte[] data) {
        StringBuilder text = new StringBuilder();
        for (byte b : data) text.append(String.format("%02x", b));
        return text.toString();
    }

    static String quote(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\' || c < 0x20 || c > 0x7e) out.append(String.format("\\u%04x", (int) c));
            else out.append(c);
        }
        return out.append('"').toString();
    }

    static String value(Object item) {
        if (item == null || item instanceof Number || item instanceof Boolean) return String.valueOf(item);
        if (item instanceof byte[]) return quote(hex((byte[]) item));
        if (item instanceof Map) {
            StringBuilder out = new StringBuilder("{");
            for (Map.Entry<?, ?> entry : new TreeMap<Object, Object>((Map<?, ?>) item).entrySet()) {
                if (out.length() > 1) out.append(", ");
                out.append(quote(String.valueOf(entry.getKey()))).append(": ").append(value(entry.getValue()));
            }
            return out.append("}").toString();
        }
        if (item instanceof List) {
            StringBuilder out = new StringBuilder("[");
            for (Object each : (List<?>) item) {
                if (out.length() > 1) out.append(", ");
                out.append(value(each));
            }
            return out.append("]").toString();
        }
        return quote(item.toString());
    }

    static void put(String kind, String name, Object... fields) {
        StringBuilder line = new StringBuilder("{\"kind\": " + quote(kind) + ", \"name\": " + quote(name));
        for (int i = 0; i < fields.length; i += 2) line.append(", ").append(quote((String) fields[i])).append(": ").append(value(fields[i + 1]));
        System.out.println(line.append("}"));
    }

    static byte[] bytes(ByteBuffer buffer) {
        byte[] data = new byte[buffer.remaining()];
        buffer.get(data);
        return data;
    }

    // --- frames

    static void frame(String name, RemotingCommand command, int opaque, SerializeType type) throws Exception {
        command.setOpaque(opaque);
        command.setSerializeTypeCurrentRPC(type);
        command.setVersion(479);
        command.setLanguage(LanguageCode.JAVA);
        byte[] frame = bytes(command.encode());
        put("frame", name + "-" + type, "frame", frame, "type", type, "code", command.getCode(), "language", command.getLanguage().getCode(),
            "version", command.getVersion(), "opaque", command.getOpaque(), "flag", command.getFlag(), "remark", command.getRemark(),
            "ext", command.getExtFields() == null ? new HashMap<>() : command.getExtFields(),
            "body", command.getBody() == null ? new byte[0] : command.getBody());
    }

    static SendMessageRequestHeader sendHeader() {
        SendMessageRequestHeader header = new SendMessageRequestHeader();
        header.setProducerGroup("orders");
        header.setTopic("%RETRY%orders");
        header.setDefaultTopic("TBW102");
        header.setDefaultTopicQueueNums(4);
        header.setQueueId(3);
        header.setSysFlag(0x301);
        header.setBornTimestamp(1700000000123L);
        header.setFlag(-7);
        Map<String, String> properties = new LinkedHashMap<>();
        properties.put("KEYS", "k1 k2");
        properties.put("unicode", "\u4e2d\u6587 \ud83d\ude80 \u00e9");
        properties.put("quotes", "a\"b\\c/d\te");
        header.setProperties(MessageDecoder.messageProperties2String(properties));
        header.setReconsumeTimes(1);
        header.setUnitMode(false);
        header.setMaxReconsumeTimes(16);
        header.setBatch(false);
        return header;
    }

    static void frames(SerializeType type) throws Exception {
        RemotingCommand send = RemotingCommand.createRequestCommand(310, SendMessageRequestHeaderV2.createSendMessageRequestHeaderV2(sendHeader()));
        send.setBody("body \u4e2d\u6587".getBytes(StandardCharsets.UTF_8));
        frame("send-v2", send, 17, type);
        RemotingCommand old = RemotingCommand.createRequestCommand(10, sendHeader());
        old.setBody(new byte[] {0, 1, 2, (byte) 0xff});
        frame("send-v1", old, 18, type);

        PullMessageRequestHeader pull = new PullMessageRequestHeader();
        pull.setConsumerGroup("workers");
        pull.setTopic("orders");
        pull.setQueueId(2);
        pull.setQueueOffset(123456789012L);
        pull.setMaxMsgNums(32);
        pull.setSysFlag(7);
        pull.setCommitOffset(99L);
        pull.setSuspendTimeoutMillis(15000L);
        pull.setSubscription("TagA || \u4e2d\u6587");
        pull.setSubVersion(1700000000000L);
        pull.setExpressionType("TAG");
        frame("pull", RemotingCommand.createRequestCommand(11, pull), 2147483647, type);

        RemotingCommand found = RemotingCommand.createResponseCommand(PullMessageResponseHeader.class);
        PullMessageResponseHeader header = (PullMessageResponseHeader) found.readCustomHeader();
        header.setSuggestWhichBrokerId(0L);
        header.setNextBeginOffset(33L);
        header.setMinOffset(0L);
        header.setMaxOffset(100L);
        found.setCode(0);
        found.setRemark("FOUND");
        found.setBody(new byte[] {1, 2, 3});
        frame("pull-response", found, -5, type);

        RemotingCommand stored = RemotingCommand.createResponseCommand(SendMessageResponseHeader.class);
        SendMessageResponseHeader sent = (SendMessageResponseHeader) stored.readCustomHeader();
        sent.setMsgId("7F000001000051AF00000000ED31C7AB");
        sent.setQueueId(1);
        sent.setQueueOffset(7L);
        sent.setTransactionId("7F0000010001000000000000ABCD0001");
        stored.setCode(0);
        stored.addExtField("MSG_REGION", "DefaultRegion");
        stored.addExtField("TRACE_ON", "true");
        frame("send-response", stored, 20, type);

        RemotingCommand refused = RemotingCommand.createResponseCommand(17, "topic[\u4e2d\u6587] not exist, apply first please!\nSee \"here\"");
        frame("error-response", refused, 21, type);

        UpdateConsumerOffsetRequestHeader commit = new UpdateConsumerOffsetRequestHeader();
        commit.setConsumerGroup("workers");
        commit.setTopic("orders");
        commit.setQueueId(0);
        commit.setCommitOffset(-1L);
        RemotingCommand oneway = RemotingCommand.createRequestCommand(15, commit);
        oneway.markOnewayRPC();
        frame("oneway", oneway, 22, type);

        RemotingCommand bare = RemotingCommand.createRequestCommand(34, null);
        bare.setBody(heartbeat().encode());
        frame("heartbeat", bare, 0, type);

        ConsumerSendMsgBackRequestHeader back = new ConsumerSendMsgBackRequestHeader();
        back.setOffset(4711L);
        back.setGroup("workers");
        back.setDelayLevel(-1);
        back.setOriginMsgId("7F000001000051AF00000000ED31C7AB");
        back.setOriginTopic("orders");
        back.setMaxReconsumeTimes(16);
        frame("send-back", RemotingCommand.createRequestCommand(36, back), 23, type);

        EndTransactionRequestHeader end = new EndTransactionRequestHeader();
        //5 end.setTopic("orders");
        end.setProducerGroup("pay");
        end.setTranStateTableOffset(5L);
        end.setCommitLogOffset(9876543210L);
        end.setCommitOrRollback(org.apache.rocketmq.common.sysflag.MessageSysFlag.TRANSACTION_COMMIT_TYPE);
        end.setMsgId("7F0000010001000000000000ABCD0001");
        end.setTransactionId("7F0000010001000000000000ABCD0001");
        //5 end.setBrokerName("broker-a");
        RemotingCommand ended = RemotingCommand.createRequestCommand(37, end);
        ended.markOnewayRPC();
        frame("end-transaction", ended, 24, type);
        end.setFromTransactionCheck(true);
        end.setCommitOrRollback(org.apache.rocketmq.common.sysflag.MessageSysFlag.TRANSACTION_ROLLBACK_TYPE);
        RemotingCommand answered = RemotingCommand.createRequestCommand(37, end);
        answered.markOnewayRPC();
        answered.setRemark("checkLocalTransactionState Exception: x");
        frame("end-transaction-check", answered, 25, type);

        CheckTransactionStateRequestHeader check = new CheckTransactionStateRequestHeader();
        //5 check.setTopic("RMQ_SYS_TRANS_HALF_TOPIC");
        check.setTranStateTableOffset(5L);
        check.setCommitLogOffset(9876543210L);
        check.setMsgId("7F0000010001000000000000ABCD0001");
        check.setTransactionId("7F0000010001000000000000ABCD0001");
        check.setOffsetMsgId("7F000001000051AF00000000ED31C7AB");
        //5 check.setBrokerName("broker-a");
        RemotingCommand asked = RemotingCommand.createRequestCommand(39, check);
        asked.markOnewayRPC();
        frame("check-transaction", asked, 26, type);
    }

    // --- messages

    static MessageExt message(String name, String born, String store, byte[] body, int sysFlag) throws Exception {
        MessageExt message = new MessageExt();
        message.setTopic("orders");
        message.setBody(body);
        message.setFlag(42);
        message.setQueueId(3);
        message.setQueueOffset(1234567890123L);
        message.setCommitLogOffset(9876543210L);
        message.setSysFlag(sysFlag);
        message.setBornTimestamp(1700000000123L);
        message.setStoreTimestamp(1700000000456L);
        InetSocketAddress bornHost = new InetSocketAddress(InetAddress.getByName(born), 54321);
        InetSocketAddress storeHost = new InetSocketAddress(InetAddress.getByName(store), 10911);
        message.setBornHost(bornHost);
        message.setStoreHost(storeHost);
        if (bornHost.getAddress().getAddress().length == 16) message.setBornHostV6Flag();
        if (storeHost.getAddress().getAddress().length == 16) message.setStoreHostAddressV6Flag();
        message.setReconsumeTimes(2);
        message.setPreparedTransactionOffset(77L);
        message.setBodyCRC(UtilAll.crc32(body));
        MessageAccessor.putProperty(message, "UNIQ_KEY", "7F0000010001000000000000ABCD0001");
        MessageAccessor.putProperty(message, "TAGS", "TagA");
        MessageAccessor.putProperty(message, "unicode", "\u4e2d\u6587 \ud83d\ude80");
        return message;
    }

    static void stored(String name, MessageExt message, byte[] record) throws Exception {
        MessageExt read = MessageDecoder.decode(ByteBuffer.wrap(record), true, true);
        put("stored", name, "record", record, "topic", read.getTopic(), "body", read.getBody(), "flag", read.getFlag(), "queueId", read.getQueueId(),
            "queueOffset", read.getQueueOffset(), "commitLogOffset", read.getCommitLogOffset(), "sysFlag", message.getSysFlag(),
            "bornTimestamp", read.getBornTimestamp(), "storeTimestamp", read.getStoreTimestamp(), "reconsumeTimes", read.getReconsumeTimes(),
            "preparedTransactionOffset", read.getPreparedTransactionOffset(), "bodyCRC", read.getBodyCRC(), "storeSize", read.getStoreSize(),
            "bornHost", read.getBornHostString(), "bornPort", ((InetSocketAddress) read.getBornHost()).getPort(),
            "storePort", ((InetSocketAddress) read.getStoreHost()).getPort(), "properties", read.getProperties(), "tags", read.getTags(),
            "msgId", read.getMsgId(), "offsetMsgId", MessageDecoder.createMessageId(message.getStoreHost(), read.getCommitLogOffset()));
    }

    static void messages() throws Exception {
        byte[] body = "hello \u4e2d\u6587".getBytes(StandardCharsets.UTF_8);
        MessageExt plain = message("v4", "127.0.0.1", "10.1.2.3", body, 0);
        stored("v4", plain, MessageDecoder.encode(plain, false));
        MessageExt both = message("v6", "2001:db8::1", "2001:db8::ffff:2", body, 0);
        stored("v6-both", both, MessageDecoder.encode(both, false));
        MessageExt born = message("v6-born", "::1", "10.1.2.3", body, 0);
        stored("v6-born", born, MessageDecoder.encode(born, false));
        MessageExt store = message("v6-store", "10.1.2.3", "fe80::1", body, 0);
        stored("v6-store", store, MessageDecoder.encode(store, false));
        byte[] large = new byte[4097];
        for (int i = 0; i < large.length; i++) large[i] = (byte) (i % 251);
        byte[] small = @COMPRESS@;
        MessageExt typed = message("zlib", "127.0.0.1", "127.0.0.1", small, @ZLIB_FLAG@);
        stored("zlib", typed, MessageDecoder.encode(typed, false));
        MessageExt old = message("zlib-old-flag", "127.0.0.1", "127.0.0.1", small, 0x1);
        stored("zlib-old-flag", old, MessageDecoder.encode(old, false));
        //5 MessageExtBrokerInner inner = new MessageExtBrokerInner();
        //5 MessageExt source = message("v2", "127.0.0.1", "10.1.2.3", body, 0);
        //5 inner.setTopic("%RETRY%" + "g".repeat(200)); inner.setBody(body); inner.setFlag(42); inner.setQueueId(3);
        //5 inner.setQueueOffset(5); inner.setSysFlag(0); inner.setBornTimestamp(1700000000123L); inner.setStoreTimestamp(1700000000456L);
        //5 inner.setBornHost(source.getBornHost()); inner.setStoreHost(source.getStoreHost()); inner.setBodyCRC(source.getBodyCRC());
        //5 inner.setPropertiesString(MessageDecoder.messageProperties2String(source.getProperties()));
        //5 inner.setVersion(MessageVersion.MESSAGE_VERSION_V2);
        //5 org.apache.rocketmq.store.config.MessageStoreConfig config = new org.apache.rocketmq.store.config.MessageStoreConfig();
        //5 org.apache.rocketmq.store.MessageExtEncoder encoder = new org.apache.rocketmq.store.MessageExtEncoder(config);
        //5 Object failed = encoder.encode(inner);
        //5 if (failed != null) throw new IllegalStateException(failed.toString());
        //5 ByteBuffer record = encoder.getEncoderBuffer().duplicate(); record.position(0); record.limit(record.getInt(0));
        //5 // The store fills offsets and the store time when it appends, at these fixed places.
        //5 record.putLong(20, 5L); record.putLong(28, 4096L); record.putLong(56, 1700000000456L);
        //5 stored("magic-v2", inner, bytes(record));
    }

    static void batches() throws Exception {
        List<Message> messages = new ArrayList<>();
        List<Object> expected = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            byte[] body = ("item " + i).getBytes(StandardCharsets.UTF_8);
            Message message = new Message("orders", body);
            message.setFlag(i - 1);
            message.putUserProperty("index", String.valueOf(i));
            if (i == 2) message.putUserProperty("unicode", "\u4e2d\u6587");
            messages.add(message);
            Map<String, Object> item = new HashMap<>();
            item.put("flag", message.getFlag());
            item.put("body", body);
            item.put("properties", MessageDecoder.messageProperties2String(message.getProperties()));
            expected.add(item);
        }
        put("batch", "three", "data", MessageDecoder.encodeMessages(messages), "items", expected);
    }

    static void texts() throws Exception {
        Map<String, String> map = new LinkedHashMap<>();
        map.put("a", "1");
        map.put("unicode", "\u4e2d\u6587 \ud83d\ude80");
        map.put("blank", " ");
        String written = MessageDecoder.messageProperties2String(map);
        put("properties", "round-trip", "text", written, "parsed", MessageDecoder.string2messageProperties(written));
        String[] odd = {"", "a\u0001b", "a\u0001\u0002", "\u0001b\u0002", "a\u0002", "a\u0001b\u0002a\u0001c\u0002", "a\u0001b\u0001c\u0002", "a\u0001b\u0002\u0002\u0002d\u0001e", "ab\u0002c\u0001d"};
        for (int i = 0; i < odd.length; i++) put("properties", "odd-" + i, "text", odd[i], "parsed", MessageDecoder.string2messageProperties(odd[i]));
        String[] words = {"", "a", "TagA", "\u4e2d\u6587", "\ud83d\ude80", "Aa", "BB", "order-4711", "z".repeat(40)};
        for (String word : words) put("hash", word, "hash", word.hashCode());
        String[][] hosts = {{"127.0.0.1", "20911", "3979429803"}, {"255.255.255.255", "65535", "9223372036854775807"}, {"2001:db8::ffff:2", "10911", "0"}};
        for (String[] host : hosts) {
            InetSocketAddress address = new InetSocketAddress(InetAddress.getByName(host[0]), Integer.parseInt(host[1]));
            put("message-id", host[0], "port", address.getPort(), "offset", Long.parseLong(host[2]), "id", MessageDecoder.createMessageId(address, Long.parseLong(host[2])));
        }
    }

    // --- bodies

    static SubscriptionData subscription() throws Exception {
        SubscriptionData data = new SubscriptionData();
        data.setTopic("orders");
        data.setSubString("TagA || \u4e2d\u6587");
        data.setTagsSet(new TreeSet<>(Arrays.asList("TagA", "\u4e2d\u6587")));
        data.setCodeSet(new TreeSet<>(Arrays.asList("TagA".hashCode(), "\u4e2d\u6587".hashCode())));
        data.setSubVersion(1700000000000L);
        return data;
    }

    static HeartbeatData heartbeat() throws Exception {
        HeartbeatData data = new HeartbeatData();
        data.setClientID("10.1.2.3@4711#1");
        ProducerData producer = new ProducerData();
        producer.setGroupName("orders");
        data.getProducerDataSet().add(producer);
        ConsumerData consumer = new ConsumerData();
        consumer.setGroupName("workers");
        consumer.setConsumeType(ConsumeType.CONSUME_PASSIVELY);
        consumer.setMessageModel(MessageModel.CLUSTERING);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.getSubscriptionDataSet().add(subscription());
        data.getConsumerDataSet().add(consumer);
        return data;
    }

    static TopicRouteData route() {
        TopicRouteData route = new TopicRouteData();
        QueueData queue = new QueueData();
        queue.setBrokerName("broker-a");
        queue.setReadQueueNums(8);
        queue.setWriteQueueNums(4);
        queue.setPerm(6);
        route.setQueueDatas(new ArrayList<>(Collections.singletonList(queue)));
        HashMap<Long, String> addresses = new HashMap<>();
        addresses.put(0L, "10.1.2.3:10911");
        addresses.put(1L, "10.1.2.4:10911");
        BrokerData broker = new BrokerData("DefaultCluster", "broker-a", addresses);
        route.setBrokerDatas(new ArrayList<>(Collections.singletonList(broker)));
        route.setFilterServerTable(new HashMap<>());
        route.setOrderTopicConf("broker-a:4");
        return route;
    }

    static void body(String name, RemotingSerializable object) {
        put("body", name, "data", object.encode(), "text", new String(object.encode(), StandardCharsets.UTF_8));
    }

    static void bodies() throws Exception {
        MessageQueue first = new MessageQueue("orders", "broker-a", 0);
        MessageQueue second = new MessageQueue("orders", "broker-a", 1);
        body("HeartbeatData", heartbeat());
        body("TopicRouteData", route());
        ClusterInfo cluster = new ClusterInfo();
        HashMap<String, BrokerData> brokers = new HashMap<>();
        brokers.put("broker-a", route().getBrokerDatas().get(0));
        cluster.setBrokerAddrTable(brokers);
        HashMap<String, Set<String>> clusters = new HashMap<>();
        clusters.put("DefaultCluster", new TreeSet<>(Arrays.asList("broker-a")));
        cluster.setClusterAddrTable(clusters);
        body("ClusterInfo", cluster);
        LockBatchRequestBody lock = new LockBatchRequestBody();
        lock.setConsumerGroup("workers");
        lock.setClientId("10.1.2.3@4711#1");
        lock.setMqSet(new LinkedHashSet<>(Arrays.asList(first, second)));
        body("LockBatchRequestBody", lock);
        LockBatchResponseBody locked = new LockBatchResponseBody();
        locked.setLockOKMQSet(new LinkedHashSet<>(Arrays.asList(first)));
        body("LockBatchResponseBody", locked);
        TopicStatsTable stats = new TopicStatsTable();
        TopicOffset offset = new TopicOffset();
        offset.setMinOffset(1);
        offset.setMaxOffset(4);
        offset.setLastUpdateTimestamp(1700000000000L);
        stats.getOffsetTable().put(first, offset);
        stats.getOffsetTable().put(second, offset);
        body("TopicStatsTable", stats);
        ConsumeStats progress = new ConsumeStats();
        OffsetWrapper wrapper = new OffsetWrapper();
        wrapper.setBrokerOffset(10);
        wrapper.setConsumerOffset(7);
        wrapper.setLastTimestamp(1700000000000L);
        progress.getOffsetTable().put(first, wrapper);
        progress.setConsumeTps(1.5);
        body("ConsumeStats", progress);
        ResetOffsetBody reset = new ResetOffsetBody();
        HashMap<MessageQueue, Long> offsets = new HashMap<>();
        offsets.put(first, 5L);
        reset.setOffsetTable(offsets);
        body("ResetOffsetBody", reset);
        ConsumerRunningInfo info = new ConsumerRunningInfo();
        ProcessQueueInfo queue = new ProcessQueueInfo();
        queue.setCommitOffset(3);
        queue.setLocked(true);
        info.getMqTable().put(first, queue);
        info.getMqTable().put(second, queue);
        //5 PopProcessQueueInfo pop = new PopProcessQueueInfo();
        //5 pop.setWaitAckCount(2);
        //5 info.getMqPopTable().put(second, pop);
        info.getProperties().put("PROP_CONSUMER_START_TIMESTAMP", "1700000000000");
        info.getSubscriptionSet().add(subscription());
        ConsumeStatus status = new ConsumeStatus();
        status.setPullTPS(2.5);
        status.setConsumeFailedMsgs(3);
        info.getStatusTable().put("orders", status);
        body("ConsumerRunningInfo", info);
        ConsumerConnection connection = new ConsumerConnection();
        Connection client = new Connection();
        client.setClientId("10.1.2.3@4711#1");
        client.setClientAddr("10.1.2.3:54321");
        client.setLanguage(LanguageCode.PYTHON);
        client.setVersion(479);
        connection.getConnectionSet().add(client);
        connection.getSubscriptionTable().put("orders", subscription());
        connection.setConsumeType(ConsumeType.CONSUME_PASSIVELY);
        connection.setMessageModel(MessageModel.CLUSTERING);
        connection.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
        body("ConsumerConnection", connection);
        SubscriptionGroupConfig group = new SubscriptionGroupConfig();
        group.setGroupName("workers");
        body("SubscriptionGroupConfig", new Wrapped(group));
        body("TopicConfig", new Wrapped(new TopicConfig("orders", 8, 4, 6)));
        QueryCorrectionOffsetBody correction = new QueryCorrectionOffsetBody();
        HashMap<Integer, Long> corrections = new HashMap<>();
        corrections.put(0, 2L);
        corrections.put(1, 3L);
        correction.setCorrectionOffsets(corrections);
        body("QueryCorrectionOffsetBody", correction);
    }

    // Beans that are no RemotingSerializable themselves are encoded by the same code.
    static class Wrapped extends RemotingSerializable {
        private final Object bean;

        Wrapped(Object bean) {
            this.bean = bean;
        }

        @Override
        public byte[] encode() {
            return RemotingSerializable.encode(bean);
        }
    }

    public static void main(String[] args) throws Exception {
        frames(SerializeType.JSON);
        frames(SerializeType.ROCKETMQ);
        messages();
        batches();
        texts();
        bodies();
    }
}
