import org.apache.rocketmq.common.utils.NameServerAddressUtils;
import @PKG@.NamespaceUtil;

/** What Java makes of names in a namespace, and of endpoints, as JSON lines. */
public class Names {
    static String quoted(String text) {
        return text == null ? "null" : "\"" + text + "\"";
    }

    public static void main(String[] arguments) {
        String[] namespaces = {"", "ns", "MQ_INST_1234_BXabc", "a-b|c", "orders"};
        String[] names = {
            "", "orders", "g", "%RETRY%g", "%DLQ%g", "ns%orders", "%RETRY%ns%g", "%DLQ%ns%g", "other%orders", "%RETRY%other%g",
            "MQ_INST_1234_BXabc%orders", "%RETRY%MQ_INST_1234_BXabc%g", "nsx%orders", "ns%", "%ns%orders", "ns%a%b", "TBW102",
            "BenchmarkTest", "SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC", "RMQ_SYS_TRACE_TOPIC", "RMQ_SYS_TRANS_OP_HALF_TOPIC",
            "TRANS_CHECK_MAX_TIME_TOPIC", "SELF_TEST_TOPIC", "OFFSET_MOVED_EVENT", "rmq_sys_x", "RMQ_SYS_x", "CID_RMQ_SYS_x",
            "%RETRY%CID_RMQ_SYS_x", "DEFAULT_PRODUCER", "a-b|c%orders", "orders%orders", "%RETRY%orders",
        };
        for (String namespace : namespaces) {
            for (String name : names) {
                System.out.println("{\"namespace\": " + quoted(namespace) + ", \"name\": " + quoted(name)
                    + ", \"wrapped\": " + quoted(NamespaceUtil.wrapNamespace(namespace, name))
                    + ", \"unwrapped\": " + quoted(NamespaceUtil.withoutNamespace(name, namespace)) + "}");
            }
        }
        String[] endpoints = {
            "http://MQ_INST_1234_BXabc.mq.example.com:80", "MQ_INST_1234_BXabc.mq.example.com:80", "http://mq.example.com:8080",
            "http://MQ_INST_1234.mq.example.com:80", "http://mq_inst_1_a.example.com:80", "127.0.0.1:9876", "mq.MQ_INST_1_a.com:80",
            "http://MQ_INST_1_a_b.x:80", "http://MQ_INST_1-a.x:80", "http://MQ_INST__a.x:80", "http://MQ_INST_1_.x:80",
        };
        for (String endpoint : endpoints) {
            boolean instance = NameServerAddressUtils.validateInstanceEndpoint(endpoint);
            boolean http = NameServerAddressUtils.NAMESRV_ENDPOINT_PATTERN.matcher(endpoint).matches();
            System.out.println("{\"endpoint\": " + quoted(endpoint)
                + ", \"address\": " + quoted(http ? NameServerAddressUtils.getNameSrvAddrFromNamesrvEndpoint(endpoint) : endpoint)
                + ", \"instance\": " + quoted(instance ? NameServerAddressUtils.parseInstanceIdFromEndpoint(endpoint) : "") + "}");
        }
    }
}
