import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * What users do with the Java client, as scenarios that look at their results themselves. All begin at once, some at a time; a line
 * {"cmd": "plain"} asks for the outcome of one, an answer with "error" says what was wrong.
 * Arguments: name servers, those with access control, those with access control and TLS, what names of topics and groups end with, scenarios.
 * Compiled against 5.5.0 and 4.9.7: neither JSON library is in both, and what only 5.x has is called by name.
 */
public final class Suite {
    private static final Pattern COMMAND = Pattern.compile("\"cmd\": \"(\\w+)\"");

    interface Scenario {
        void run() throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        PrintStream answers = new PrintStream(System.out, true, "UTF-8");
        System.setOut(System.err);
        Clients clients = new Clients(arguments[0], arguments[3]);
        Map<String, Scenario> all = new LinkedHashMap<>();
        new Sending(clients).addTo(all);
        new Consuming(clients).addTo(all);
        new Guarded(clients, arguments[1], arguments[2]).addTo(all);
        ExecutorService threads = Executors.newFixedThreadPool(8);
        Map<String, Future<?>> outcomes = new LinkedHashMap<>();
        for (String name : arguments[4].split(",")) {
            outcomes.put(name, threads.submit(() -> {
                all.get(name).run();
                return null;
            }));
        }
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            Matcher command = COMMAND.matcher(line);
            command.find();
            String answer = "{}";
            try {
                outcomes.get(command.group(1)).get();
            } catch (ExecutionException failed) {
                failed.getCause().printStackTrace();
                answer = "{\"error\": \"" + failed.getCause().toString().replaceAll("[^ -~]", " ").replace('\\', '/').replace('"', '\'') + "\"}";
            }
            answers.println(answer);
        }
        clients.close();
        System.exit(0);
    }
}
