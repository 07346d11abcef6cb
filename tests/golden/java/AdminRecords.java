import com.alibaba.@JSON@.JSON;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.remoting.CommandCustomHeader;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RemotingSerializable;

/** Reads lines `header Name {"field":"value"}` and `body Name {...}`; prints what Java makes of them. */
public class AdminRecords {
    static final String[] PACKAGES = {
        "@PKG@.header.", "@PKG@.header.namesrv.", "@PKG@.header.controller.", "@PKG@.header.controller.admin.", "@PKG@.body.", "@ADMIN@.",
        "@PKG@.", "@SUBSCRIPTION@.", "@PKG@.statictopic.", "org.apache.rocketmq.common.", "org.apache.rocketmq.common.lite.",
        "org.apache.rocketmq.common.entity.", "org.apache.rocketmq.store.timer.", "org.apache.rocketmq.remoting.protocol.",
    };

    static Class<?> find(String name) {
        for (String each : PACKAGES) {
            try {
                return Class.forName(each + name);
            } catch (ClassNotFoundException | NoClassDefFoundError error) {
                continue;
            }
        }
        return null;
    }

    static Map<String, Field> fields(Class<?> type) {
        Map<String, Field> found = new TreeMap<>();
        for (Class<?> each = type; each != null && each != Object.class; each = each.getSuperclass())
            for (Field field : each.getDeclaredFields())
                if (!Modifier.isStatic(field.getModifiers()) && !field.getName().startsWith("this$")) found.putIfAbsent(field.getName(), field);
        return found;
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    static Object value(Class<?> type, String text) {
        if (type == String.class) return text;
        if (type == Integer.class || type == int.class) return Integer.valueOf(text);
        if (type == Long.class || type == long.class) return Long.valueOf(text);
        if (type == Boolean.class || type == boolean.class) return Boolean.valueOf(text);
        if (type.isEnum()) return Enum.valueOf((Class) type, text.toUpperCase());
        throw new IllegalArgumentException(type + " of a header");
    }

    static Object header(Class<?> type, Map<String, Object> given) throws Exception {
        CommandCustomHeader header = (CommandCustomHeader) type.getDeclaredConstructor().newInstance();
        Map<String, Field> fields = fields(type);
        for (Map.Entry<String, Object> each : given.entrySet()) {
            Field field = fields.get(each.getKey());
            if (field == null) continue;
            field.setAccessible(true);
            field.set(header, value(field.getType(), each.getValue().toString()));
        }
        RemotingCommand command = RemotingCommand.createRequestCommand(1, header);
        command.makeCustomHeaderToNet();
        return new TreeMap<>(command.getExtFields() == null ? new TreeMap<String, String>() : command.getExtFields());
    }

    public static void main(String[] arguments) throws Exception {
        BufferedReader reader = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = reader.readLine(); line != null; line = reader.readLine()) {
            String[] parts = line.split(" ", 3);
            Map<String, Object> out = new LinkedHashMap<>();
            out.put("kind", parts[0]);
            out.put("name", parts[1]);
            out.put("input", parts[2]);
            Class<?> type = find(parts[1]);
            if (type == null) {
                out.put("absent", true);
            } else if (parts[0].equals("header")) {
                out.put("fields", fields(type).keySet());
                out.put("ext", header(type, JSON.parseObject(parts[2])));
            } else {
                out.put("text", RemotingSerializable.toJson(RemotingSerializable.decode(parts[2].getBytes(StandardCharsets.UTF_8), type), false));
            }
            System.out.println(JSON.toJSONString(out));
        }
    }
}
