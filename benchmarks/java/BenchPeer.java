import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONObject;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;

/**
 * The Java client's side of the benchmarks: one JSON request per line on standard input, one JSON answer per line on standard output.
 * The JVM and its producers stay up over all rounds, so that later rounds are warm. The only argument is the name server's address.
 */
public final class BenchPeer {
    /** One thing to measure. */
    private interface Workload {
        JSONObject run(Request request) throws Exception;
    }

    private final Map<String, Workload> workloads;

    private BenchPeer(Clients clients) {
        Sends sends = new Sends(clients);
        Consumes consumes = new Consumes(clients);
        workloads = Map.ofEntries(
            Map.entry("send_one_at_a_time", sends::oneAtATime),
            Map.entry("send_threads", sends::threads),
            Map.entry("send_in_flight", sends::inFlight),
            Map.entry("send_batches", sends::batches),
            Map.entry("send_auto_batched", sends::autoBatched),
            Map.entry("send_tls", sends::secured),
            Map.entry("send_oneway", sends::oneway),
            Map.entry("send_in_transaction", sends::inTransactions),
            Map.entry("request_reply", new Asks(clients)::run),
            Map.entry("push_concurrent", request -> consumes.push(request, false)),
            Map.entry("push_ordered", request -> consumes.push(request, true)),
            Map.entry("lite_pull", consumes::litePull),
            Map.entry("first_message", consumes::firstMessage),
            Map.entry("latency", new Latency(clients)::run),
            Map.entry("idle_memory", consumes::idleMemory));
    }

    public static void main(String[] arguments) throws Exception {
        PrintStream answers = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        System.setOut(System.err); // whatever a library prints is no answer
        Clients clients = new Clients(arguments[0]);
        BenchPeer peer = new BenchPeer(clients);
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            answers.println(peer.answer(line).toJSONString());
        }
        clients.shutdown();
        System.exit(0);
    }

    private JSONObject answer(String line) {
        try {
            Request request = Request.of(JSON.parseObject(line));
            Workload workload = workloads.get(request.command());
            return workload == null ? error("unsupported") : workload.run(request);
        } catch (Throwable error) { // a peer that ends would take the whole run with it
            error.printStackTrace();
            return error(error.toString());
        }
    }

    private static JSONObject error(String text) {
        return new JSONObject().fluentPut("error", text);
    }
}
