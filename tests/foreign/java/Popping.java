import com.alibaba.fastjson2.JSONArray;
import com.alibaba.fastjson2.JSONObject;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.AckCallback;
import org.apache.rocketmq.client.consumer.AckResult;
import org.apache.rocketmq.client.consumer.PopCallback;
import org.apache.rocketmq.client.consumer.PopResult;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.header.AckMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.ChangeInvisibleTimeRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.ExtraInfoUtil;
import org.apache.rocketmq.remoting.protocol.header.PopMessageRequestHeader;

/** Pops, acknowledgements and changes of the invisible time by the calls that the Java client itself makes. */
class Popping {
    private final MQClientAPIImpl api;
    private final String address;
    private final String broker;
    private final String group;
    private final String topic;

    Popping(MQClientAPIImpl api, JSONObject request) {
        this.api = api;
        address = request.getString("address");
        broker = request.getString("broker");
        group = request.getString("group");
        topic = request.getString("topic");
    }

    JSONObject pop(JSONObject request) throws Exception {
        PopMessageRequestHeader header = new PopMessageRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(topic);
        header.setQueueId(request.getIntValue("queue_id", -1));
        header.setMaxMsgNums(request.getIntValue("count", 32));
        header.setInvisibleTime(request.getLongValue("invisible"));
        header.setPollTime(request.getLongValue("poll"));
        header.setBornTime(System.currentTimeMillis());
        header.setInitMode(0);
        header.setExpType("TAG");
        header.setExp(request.containsKey("expression") ? request.getString("expression") : "*");
        header.setOrder(request.getBooleanValue("ordered"));
        header.setAttemptId(request.getString("attempt"));
        CompletableFuture<PopResult> future = new CompletableFuture<>();
        api.popMessageAsync(broker, address, header, 30000, new PopCallback() {
            @Override
            public void onSuccess(PopResult result) {
                future.complete(result);
            }

            @Override
            public void onException(Throwable error) {
                future.completeExceptionally(error);
            }
        });
        PopResult result = future.get(40, TimeUnit.SECONDS);
        JSONObject answer = new JSONObject();
        answer.put("status", result.getPopStatus().name());
        answer.put("rest", result.getRestNum());
        JSONArray messages = new JSONArray();
        if (result.getMsgFoundList() != null) {
            for (MessageExt message : result.getMsgFoundList()) {
                messages.add(Peer.describe(message));
            }
        }
        answer.put("messages", messages);
        return answer;
    }

    JSONObject acknowledge(JSONObject request) throws Exception {
        Waiting waiting = new Waiting();
        JSONArray receipts = request.getJSONArray("receipts");
        if (receipts.size() > 1) {
            List<String> all = new ArrayList<>();
            for (int index = 0; index < receipts.size(); index++) {
                all.add(receipts.getString(index));
            }
            api.batchAckMessageAsync(address, 10000, waiting, topic, group, all);
        } else {
            String receipt = receipts.getString(0);
            String[] words = ExtraInfoUtil.split(receipt);
            AckMessageRequestHeader header = new AckMessageRequestHeader();
            header.setConsumerGroup(group);
            header.setTopic(ExtraInfoUtil.getRealTopic(words, topic, group));
            header.setQueueId(ExtraInfoUtil.getQueueId(words));
            header.setOffset(ExtraInfoUtil.getQueueOffset(words));
            header.setExtraInfo(receipt);
            header.setBrokerName(broker);
            api.ackMessageAsync(address, 10000, waiting, header);
        }
        return waiting.answer();
    }

    JSONObject change(JSONObject request) throws Exception {
        String receipt = request.getString("receipt");
        String[] words = ExtraInfoUtil.split(receipt);
        ChangeInvisibleTimeRequestHeader header = new ChangeInvisibleTimeRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(ExtraInfoUtil.getRealTopic(words, topic, group));
        header.setQueueId(ExtraInfoUtil.getQueueId(words));
        header.setOffset(ExtraInfoUtil.getQueueOffset(words));
        header.setExtraInfo(receipt);
        header.setInvisibleTime(request.getLongValue("invisible"));
        header.setBrokerName(broker);
        Waiting waiting = new Waiting();
        api.changeInvisibleTimeAsync(broker, address, header, 10000, waiting);
        return waiting.answer();
    }

    private static class Waiting implements AckCallback {
        private final CompletableFuture<AckResult> future = new CompletableFuture<>();

        @Override
        public void onSuccess(AckResult result) {
            future.complete(result);
        }

        @Override
        public void onException(Throwable error) {
            future.completeExceptionally(error);
        }

        JSONObject answer() throws Exception {
            AckResult result = future.get(20, TimeUnit.SECONDS);
            JSONObject answer = new JSONObject();
            answer.put("status", result.getStatus().name());
            answer.put("receipt", result.getExtraInfo());
            return answer;
        }
    }
}
