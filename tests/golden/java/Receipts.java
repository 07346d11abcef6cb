// Receipts of popped messages in RocketMQ 5.x: what it makes of their parts, and what it reads from them. Prints one JSON line each.

import com.alibaba.fastjson.JSON;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.common.KeyBuilder;
import org.apache.rocketmq.remoting.protocol.body.BatchAck;
import org.apache.rocketmq.remoting.protocol.body.BatchAckMessageRequestBody;
import org.apache.rocketmq.remoting.protocol.header.ExtraInfoUtil;

public class Receipts {
    static String quoted(String text) {
        return text == null ? "null" : JSON.toJSONString(text);
    }

    static void print(String kind, String input, String output) {
        System.out.println("{\"kind\": " + quoted(kind) + ", \"input\": " + input + ", \"output\": " + output + "}");
    }

    interface Reader {
        String read();
    }

    static String orNull(Reader reader) {
        try {
            return reader.read();
        } catch (RuntimeException error) {
            return "null";
        }
    }

    static void made() {
        String[] topics = {"orders", "%RETRY%g_orders", "%RETRY%g+orders", "%RETRY%g", "a+b"};
        long[][] numbers = {{0, 1700000000001L, 60000, 3, 0, 0}, {17, 1700000000001L, 5000, 999, 7, 19}, {Long.MAX_VALUE, 0, 0, -1, 65535, Long.MAX_VALUE}};
        for (String topic : topics) {
            for (long[] each : numbers) {
                String text = ExtraInfoUtil.buildExtraInfo(each[0], each[1], each[2], (int) each[3], topic, "broker-a", (int) each[4], each[5]);
                String input = "[" + quoted(topic) + ", " + each[0] + ", " + each[1] + ", " + each[2] + ", " + each[3] + ", " + each[4] + ", " + each[5] + "]";
                print("made", input, quoted(text));
                read(text);
                read(text + " 4711");
            }
        }
    }

    static void read(String text) {
        print("read", quoted(text), orNull(() -> {
            String[] parts = ExtraInfoUtil.split(text);
            return "[" + ExtraInfoUtil.getCkQueueOffset(parts) + ", " + ExtraInfoUtil.getPopTime(parts) + ", " + ExtraInfoUtil.getInvisibleTime(parts) + ", "
                + ExtraInfoUtil.getReviveQid(parts) + ", " + quoted(ExtraInfoUtil.getRetry(parts)) + ", " + quoted(ExtraInfoUtil.getBrokerName(parts)) + ", "
                + ExtraInfoUtil.getQueueId(parts) + ", " + ExtraInfoUtil.getQueueOffset(parts) + ", " + quoted(ExtraInfoUtil.getRealTopic(parts, "orders", "g")) + ", "
                + ExtraInfoUtil.isOrder(parts) + "]";
        }));
    }

    static String sorted(Map<String, ?> table) {
        return table == null ? "{}" : JSON.toJSONString(new TreeMap<>(table));
    }

    static void tables() {
        StringBuilder starts = new StringBuilder(), offsets = new StringBuilder(), counts = new StringBuilder();
        ExtraInfoUtil.buildStartOffsetInfo(starts, "orders", 0, 17);
        ExtraInfoUtil.buildMsgOffsetInfo(offsets, "orders", 0, new ArrayList<>(Arrays.asList(17L, 19L, 20L)));
        ExtraInfoUtil.buildQueueIdOrderCountInfo(counts, "orders", 0, 2);
        ExtraInfoUtil.buildStartOffsetInfo(starts, "orders", 3, 0);
        ExtraInfoUtil.buildMsgOffsetInfo(offsets, "orders", 3, new ArrayList<>(Arrays.asList(0L)));
        ExtraInfoUtil.buildQueueOffsetOrderCountInfo(counts, "orders", 0, 19, 5);
        ExtraInfoUtil.buildStartOffsetInfo(starts, "%RETRY%g_orders", 0, 5);
        ExtraInfoUtil.buildMsgOffsetInfo(offsets, "%RETRY%g_orders", 0, new ArrayList<>(Arrays.asList(5L, 6L)));
        ExtraInfoUtil.buildStartOffsetInfo(starts, "%RETRY%g+orders", 0, 1);
        ExtraInfoUtil.buildMsgOffsetInfo(offsets, "%RETRY%g+orders", 0, new ArrayList<>(Arrays.asList(1L)));
        for (String text : new String[] {starts.toString(), "", "0 0 17", "0 0", "0 0 17;0 0 18", "0 0 x", "0 0 1;"}) {
            print("starts", quoted(text), orNull(() -> sorted(ExtraInfoUtil.parseStartOffsetInfo(text))));
        }
        for (String text : new String[] {offsets.toString(), "", "0 0 17,18", "0 0 17,", "0 0 ,", "0 0 1 2"}) {
            print("offsets", quoted(text), orNull(() -> sorted(ExtraInfoUtil.parseMsgOffsetInfo(text))));
        }
        for (String text : new String[] {counts.toString(), "", "0 qo0%19 5"}) {
            print("counts", quoted(text), orNull(() -> sorted(ExtraInfoUtil.parseOrderCountInfo(text))));
        }
    }

    static void topics() {
        for (String topic : new String[] {"orders", "a_b", "a+b"}) {
            for (String group : new String[] {"g", "g_h"}) {
                String v1 = KeyBuilder.buildPopRetryTopicV1(topic, group), v2 = KeyBuilder.buildPopRetryTopicV2(topic, group);
                String normal = "[" + quoted(v1) + ", " + quoted(v2) + ", " + quoted(KeyBuilder.parseNormalTopic(v1, group)) + ", " + quoted(KeyBuilder.parseNormalTopic(v2, group)) + "]";
                print("topics", "[" + quoted(topic) + ", " + quoted(group) + "]", normal);
            }
        }
    }

    static void batches() {
        for (int[] bits : new int[][] {{0}, {0, 9}, {1, 2, 3}, {7}, {8}, {0, 31, 64, 200}}) {
            BatchAck ack = new BatchAck();
            ack.setConsumerGroup("g");
            ack.setTopic("orders");
            ack.setRetry("0");
            ack.setStartOffset(100);
            ack.setQueueId(2);
            ack.setReviveQueueId(3);
            ack.setPopTime(1700000000001L);
            ack.setInvisibleTime(60000);
            ack.setBitSet(new BitSet());
            for (int bit : bits) ack.getBitSet().set(bit);
            BatchAckMessageRequestBody body = new BatchAckMessageRequestBody();
            body.setBrokerName("broker-a");
            List<BatchAck> acks = new ArrayList<>();
            acks.add(ack);
            body.setAcks(acks);
            print("batch", Arrays.toString(bits), new String(body.encode()));
        }
    }

    public static void main(String[] arguments) {
        made();
        for (String text : new String[] {"", "1 2 3", "1 2 3 4 0 b 6", "x 2 3 4 0 b 6 7", "1 2 3 4 0 b 6 y", "1 2 3 4 0 b 6 7", " 1 2 3 4 0 b 6 7", "1 2 3 4 1 b 6 7"}) read(text);
        tables();
        topics();
        batches();
    }
}
