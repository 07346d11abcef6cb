// Reads lines "kind name hex" that this library wrote and prints as JSON lines what Java makes of them.

import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.*;
import org.apache.rocketmq.common.*;
import org.apache.rocketmq.common.message.*;
import org.apache.rocketmq.remoting.protocol.*;
import @PKG@.header.*;

public class JavaView {
    static byte[] unhex(String text) {
        byte[] data = new byte[text.length() / 2];
        for (int i = 0; i < data.length; i++) data[i] = (byte) Integer.parseInt(text.substring(2 * i, 2 * i + 2), 16);
        return data;
    }

    static String hex(byte[] data) {
        StringBuilder text = new StringBuilder();
        if (data != null) for (byte b : data) text.append(String.format("%02x", b));
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
        if (item instanceof Map) {
            StringBuilder out = new StringBuilder("{");
            for (Map.Entry<?, ?> entry : new TreeMap<Object, Object>((Map<?, ?>) item).entrySet()) {
                if (out.length() > 1) out.append(", ");
                out.append(quote(String.valueOf(entry.getKey()))).append(": ").append(value(entry.getValue()));
            }
            return out.append("}").toString();
        }
        return quote(item.toString());
    }

    static void put(String kind, String name, String data, Object... fields) throws Exception {
        String digest = hex(java.security.MessageDigest.getInstance("SHA-256").digest(unhex(data)));
        StringBuilder line = new StringBuilder("{\"kind\": " + quote(kind) + ", \"name\": " + quote(name) + ", \"sha256\": " + quote(digest));
        for (int i = 0; i < fields.length; i += 2) line.append(", ").append(quote((String) fields[i])).append(": ").append(value(fields[i + 1]));
        System.out.println(line.append("}"));
    }

    static Class<?> bean(String name) throws ClassNotFoundException {
        for (String parent : new String[] {"@PKG@.body", "@PKG@.heartbeat", "@PKG@.route", "@ADMIN@", "@SUBSCRIPTION@", "org.apache.rocketmq.common"}) {
            try {
                return Class.forName(parent + "." + name);
            } catch (ClassNotFoundException absent) {
                continue;
            }
        }
        throw new ClassNotFoundException(name);
    }

    static void frame(String name, String data) throws Exception {
        ByteBuffer buffer = ByteBuffer.wrap(unhex(data));
        int total = buffer.getInt();
        if (total != buffer.remaining()) throw new IllegalStateException("length " + total);
        RemotingCommand command = RemotingCommand.decode(buffer);
        String properties = null;
        if (command.getCode() == 310 || command.getCode() == 320) {
            SendMessageRequestHeaderV2 header = (SendMessageRequestHeaderV2) command.decodeCommandCustomHeader(SendMessageRequestHeaderV2.class);
            properties = SendMessageRequestHeaderV2.createSendMessageRequestHeaderV1(header).getProperties();
        }
        Map<String, String> ext = new HashMap<>(command.getExtFields() == null ? new HashMap<>() : command.getExtFields());
        ext.remove("i"); // the properties, which are shown parsed
        put("frame", name, data, "code", command.getCode(), "language", command.getLanguage(), "version", command.getVersion(),
            "opaque", command.getOpaque(), "flag", command.getFlag(), "remark", command.getRemark(), "type", command.getSerializeTypeCurrentRPC(),
            "ext", ext, "body", hex(command.getBody()),
            "properties", properties == null ? new HashMap<>() : MessageDecoder.string2messageProperties(properties),
            "propertiesBytes", properties == null ? 0 : properties.getBytes(StandardCharsets.UTF_8).length);
    }

    static void body(String name, String data) throws Exception {
        Object bean = RemotingSerializable.decode(unhex(data), bean(name.split("-")[0]));
        put("body", name, data, "text", new String(RemotingSerializable.encode(bean), StandardCharsets.UTF_8));
    }

    static void record(String name, String data) throws Exception {
        MessageExt read = MessageDecoder.decode(ByteBuffer.wrap(unhex(data)), true, true);
        if (read == null) throw new IllegalStateException(name + " does not decode");
        put("record", name, data, "topic", read.getTopic(), "body", hex(read.getBody()), "flag", read.getFlag(), "queueId", read.getQueueId(),
            "queueOffset", read.getQueueOffset(), "commitLogOffset", read.getCommitLogOffset(), "bornTimestamp", read.getBornTimestamp(),
            "storeTimestamp", read.getStoreTimestamp(), "reconsumeTimes", read.getReconsumeTimes(), "bodyCRC", read.getBodyCRC(),
            "preparedTransactionOffset", read.getPreparedTransactionOffset(), "properties", read.getProperties(), "storeSize", read.getStoreSize(),
            "bornHost", read.getBornHostString(), "bornPort", ((InetSocketAddress) read.getBornHost()).getPort(),
            "storePort", ((InetSocketAddress) read.getStoreHost()).getPort());
    }

    static void batch(String name, String data) throws Exception {
        Map<String, Object> items = new HashMap<>();
        int index = 0;
        for (Message message : MessageDecoder.decodeMessages(ByteBuffer.wrap(unhex(data)))) {
            Map<String, Object> item = new HashMap<>();
            item.put("flag", message.getFlag());
            item.put("body", hex(message.getBody()));
            item.put("properties", message.getProperties());
            items.put(String.valueOf(index++), item);
        }
        put("batch", name, data, "items", items);
    }

    public static void main(String[] args) throws Exception {
        Scanner scanner = new Scanner(System.in, "UTF-8");
        while (scanner.hasNextLine()) {
            String[] words = scanner.nextLine().split(" ");
            if (words[0].equals("frame")) frame(words[1], words[2]);
            else if (words[0].equals("body")) body(words[1], words[2]);
            else if (words[0].equals("record")) record(words[1], words[2]);
            else batch(words[1], words[2]);
        }
    }
}
