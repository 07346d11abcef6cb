// What the broker's own evaluator says of SQL92 filters. Input, one line each: the expression in hex, then for every message its properties
// as name=value in hex, joined by commas, after a tab. Output, one JSON line each: "refused", or a list of "true", "false", "null", "error".

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import org.apache.rocketmq.broker.filter.MessageEvaluationContext;
import org.apache.rocketmq.filter.FilterFactory;
import org.apache.rocketmq.filter.expression.Expression;

public class SqlFilter {
    static String text(String hex) {
        byte[] data = new byte[hex.length() / 2];
        for (int i = 0; i < data.length; i++) data[i] = (byte) Integer.parseInt(hex.substring(2 * i, 2 * i + 2), 16);
        return new String(data, StandardCharsets.UTF_8);
    }

    static Map<String, String> properties(String field) {
        Map<String, String> made = new HashMap<>();
        for (String pair : field.split(",")) {
            if (!pair.isEmpty()) made.put(text(pair.split("=")[0]), text(pair.split("=")[1]));
        }
        return made;
    }

    static String evaluate(Expression expression, Map<String, String> properties) {
        try {
            return String.valueOf(expression.evaluate(new MessageEvaluationContext(properties)));
        } catch (Throwable error) {
            return "error";
        }
    }

    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] fields = line.split("\t");
            Expression expression;
            try {
                expression = FilterFactory.INSTANCE.get("SQL92").compile(text(fields[0]));
            } catch (Throwable error) {
                System.out.println("{\"expression\": \"" + fields[0] + "\", \"results\": \"refused\"}");
                continue;
            }
            StringBuilder out = new StringBuilder();
            for (int index = 1; index < fields.length; index++) {
                out.append(index > 1 ? ", \"" : "\"").append(evaluate(expression, properties(fields[index]))).append('"');
            }
            System.out.println("{\"expression\": \"" + fields[0] + "\", \"results\": [" + out + "]}");
        }
    }
}
