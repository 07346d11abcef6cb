import com.alibaba.fastjson2.JSONObject;

/**
 * What one line asks for.
 *
 * @param size bytes of each body
 * @param count messages of the round
 * @param group a consumer group that nobody used before
 * @param window unanswered asynchronous sends at most
 * @param threads threads that share the producer
 * @param batch messages of a batch
 * @param rate messages per second
 * @param distinct how many numbers the topic's messages have, 0 when unknown
 * @param ordered whether the listener is the ordered one
 */
record Request(
    String command,
    String topic,
    int size,
    int count,
    String group,
    int window,
    int threads,
    int batch,
    int rate,
    int distinct,
    boolean ordered) {

    static Request of(JSONObject line) {
        return new Request(
            line.getString("cmd"),
            line.getString("topic"),
            line.getIntValue("size"),
            line.getIntValue("count"),
            line.getString("group"),
            line.getIntValue("window", 256),
            line.getIntValue("threads", 16),
            line.getIntValue("batch", 32),
            line.getIntValue("rate", 200),
            line.getIntValue("distinct", 0),
            line.getBooleanValue("ordered", false));
    }
}
