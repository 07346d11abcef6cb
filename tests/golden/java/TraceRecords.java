// Records of the message trace as RocketMQ writes them. Prints one JSON line each.

import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.AccessChannel;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.trace.TraceBean;
import org.apache.rocketmq.client.trace.TraceContext;
import org.apache.rocketmq.client.trace.TraceDataEncoder;
import org.apache.rocketmq.client.trace.TraceTransferBean;
import org.apache.rocketmq.client.trace.TraceType;
import org.apache.rocketmq.common.message.MessageType;

public class TraceRecords {
    static String escaped(String text) {
        StringBuilder made = new StringBuilder();
        for (char each : text.toCharArray()) {
            if (each == '"' || each == '\\') made.append('\\').append(each);
            else if (each < ' ' || each > '~') made.append(String.format("\\u%04x", (int) each));
            else made.append(each);
        }
        return made.toString();
    }

    static TraceBean bean(int number) {
        TraceBean made = new TraceBean();
        made.setTopic("orders");
        made.setMsgId("7F000001000051AF00000000ED31C7A" + number);
        made.setOffsetMsgId("7F00000100002A9F00000000000000" + number + "0");
        made.setTags(number == 1 ? null : "TagÄ" + number);
        made.setKeys(number == 1 ? null : "key" + number + " another");
        made.setStoreHost("127.0.0.1:10911");
        made.setBodyLength(1024 * number);
        made.setRetryTimes(number);
        made.setMsgType(MessageType.values()[number]);
        made.setTransactionId("7F000001000051AF00000000ED31C7A" + number);
        made.setTransactionState(LocalTransactionState.values()[number % 3]);
        made.setFromTransactionCheck(number % 2 == 1);
        return made;
    }

    static void print(TraceType type, int number, boolean success) {
        TraceContext context = new TraceContext();
        context.setAccessChannel(AccessChannel.LOCAL);
        context.setTraceType(type);
        context.setTimeStamp(1700000000000L + number);
        context.setRegionId(number == 3 ? null : "DefaultRegion");
        context.setGroupName("group" + number);
        context.setCostTime(number * 7);
        context.setSuccess(success);
        context.setRequestId("7F000001000051AF00000000ED31C7B" + number);
        context.setContextCode(number);
        List<TraceBean> beans = new ArrayList<>();
        beans.add(bean(number));
        context.setTraceBeans(beans);
        TraceTransferBean made = TraceDataEncoder.encoderFromContextBean(context);
        List<String> keys = new ArrayList<>(made.getTransKey());
        java.util.Collections.sort(keys);
        System.out.println("{\"type\": \"" + type + "\", \"number\": " + number + ", \"success\": " + success + ", \"text\": \""
            + escaped(made.getTransData()) + "\", \"keys\": \"" + escaped(String.join("|", keys)) + "\"}");
    }

    public static void main(String[] arguments) {
        for (TraceType type : TraceType.values())
            for (int number = 0; number < 4; number++) print(type, number, number % 2 == 0);
    }
}
