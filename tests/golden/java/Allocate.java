import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import org.apache.rocketmq.client.consumer.AllocateMessageQueueStrategy;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMachineRoomNearby;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragelyByCircle;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueByConfig;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueByMachineRoom;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueConsistentHash;
import org.apache.rocketmq.common.message.MessageQueue;

/** Shares of queues, a JSON line for each line of `strategy;argument;topic;member;members;queues`. */
public class Allocate {
    static List<MessageQueue> queues(String topic, String text) {
        List<MessageQueue> queues = new ArrayList<>();
        for (String part : text.isEmpty() ? new String[0] : text.split(",")) {
            int colon = part.lastIndexOf(':');
            queues.add(new MessageQueue(topic, part.substring(0, colon), Integer.parseInt(part.substring(colon + 1))));
        }
        return queues;
    }

    static AllocateMessageQueueStrategy strategy(String name, String argument, String topic) {
        switch (name) {
            case "AVG":
                return new AllocateMessageQueueAveragely();
            case "AVG_BY_CIRCLE":
                return new AllocateMessageQueueAveragelyByCircle();
            case "CONFIG":
                AllocateMessageQueueByConfig config = new AllocateMessageQueueByConfig();
                config.setMessageQueueList(queues(topic, argument));
                return config;
            case "MACHINE_ROOM":
                AllocateMessageQueueByMachineRoom room = new AllocateMessageQueueByMachineRoom();
                room.setConsumeridcs(new HashSet<>(Arrays.asList(argument.split(","))));
                return room;
            case "CONSISTENT_HASH":
                return new AllocateMessageQueueConsistentHash(Integer.parseInt(argument));
            default:
                return new AllocateMachineRoomNearby(strategy(argument, "", topic), new AllocateMachineRoomNearby.MachineRoomResolver() {
                    public String brokerDeployIn(MessageQueue queue) {
                        return queue.getBrokerName().split("@")[0];
                    }

                    public String consumerDeployIn(String clientId) {
                        return clientId.split("-")[0];
                    }
                });
        }
    }

    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] parts = line.split(";", -1);
            AllocateMessageQueueStrategy strategy = strategy(parts[0], parts[1], parts[2]);
            List<String> share = new ArrayList<>();
            for (MessageQueue queue : strategy.allocate("g", parts[3], queues(parts[2], parts[5]), Arrays.asList(parts[4].split(",")))) {
                share.add("\"" + queue.getBrokerName() + ":" + queue.getQueueId() + "\"");
            }
            System.out.println("{\"name\": \"" + strategy.getName() + "\", \"share\": [" + String.join(", ", share) + "]}");
        }
    }
}
