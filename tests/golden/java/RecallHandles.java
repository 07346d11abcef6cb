// Recall handles of RocketMQ 5.x: what it makes of their parts, and what it reads from them. Prints one JSON line each.

import java.util.Base64;
import org.apache.rocketmq.common.producer.RecallMessageHandle;

public class RecallHandles {
    static String read(String handle) {
        try {
            RecallMessageHandle.HandleV1 made = (RecallMessageHandle.HandleV1) RecallMessageHandle.decodeHandle(handle);
            return "[\"" + String.join("\", \"", made.getTopic(), made.getBrokerName(), made.getTimestampStr(), made.getMessageId()) + "\"]";
        } catch (Exception error) {
            return "null";
        }
    }

    static void print(String handle) {
        System.out.println("{\"handle\": \"" + handle + "\", \"read\": " + read(handle) + "}");
    }

    static String encoded(String text) {
        return Base64.getUrlEncoder().encodeToString(text.getBytes());
    }

    public static void main(String[] arguments) {
        String[][] parts = {
            {"orders", "broker-a", "1700000000001", "7F000001000051AF00000000ED31C7AB"},
            {"t", "b", "1", "x"},
            {"%RETRY%g", "broker_1", "9223372036854775807", "0A"},
            {"topic??>>", "broker~", "-1", "id~~~"},
        };
        for (String[] each : parts) {
            String handle = RecallMessageHandle.HandleV1.buildHandle(each[0], each[1], each[2], each[3]);
            print(handle);
            print(handle.replace("=", ""));
        }
        for (String text : new String[] {"v1 a b 1", "v2 a b 1 c", "v1 a b 1 c d", "", "v1", "v1 a b 1 ", " v1 a b 1 c", "V1 a b 1 c"}) print(encoded(text));
        for (String handle : new String[] {"", "???", "v1", "djEg!", "djEgYSBiIDEgYw", "djEgYSBiIDEgYw==x", "djEgYSBiIDEgYw==\\n"}) print(handle);
    }
}
