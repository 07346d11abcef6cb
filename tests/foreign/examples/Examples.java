import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONObject;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Runs the main methods of Apache's examples, each with classes of its own, as if in a JVM of its own; tells what each has printed.
 * One JSON request per line on standard input, one JSON answer per line on standard output.
 */
public final class Examples {
    private static final class Run {
        final StringBuffer output = new StringBuffer();
        final String nameServers;
        volatile boolean returned;
        volatile String error;

        Run(String nameServers) {
            this.nameServers = nameServers;
        }
    }

    private static final InheritableThreadLocal<Run> CURRENT = new InheritableThreadLocal<>();
    private static final Map<String, Run> RUNS = new ConcurrentHashMap<>();

    /** Gives what a thread prints to the example that it belongs to. */
    private static final class Sorter extends OutputStream {
        private final ThreadLocal<ByteArrayOutputStream> pending = ThreadLocal.withInitial(ByteArrayOutputStream::new);

        @Override
        public void write(int octet) {
            pending.get().write(octet);
        }

        @Override
        public void write(byte[] data, int start, int length) {
            pending.get().write(data, start, length);
        }

        @Override
        public void flush() {
            ByteArrayOutputStream own = pending.get();
            Run run = CURRENT.get();
            if (run != null) {
                run.output.append(own.toString(StandardCharsets.UTF_8));
            }
            own.reset();
        }
    }

    /** Tells each example its own name servers, by the property that the Java client looks at. */
    private static final class OwnNameServers extends Properties {
        @Override
        public String getProperty(String name) {
            Run run = "rocketmq.namesrv.addr".equals(name) ? CURRENT.get() : null;
            return run != null ? run.nameServers : super.getProperty(name);
        }

        @Override
        public String getProperty(String name, String otherwise) {
            String found = getProperty(name);
            return found != null ? found : otherwise;
        }
    }

    private static URL[] classpath() throws Exception {
        List<URL> urls = new ArrayList<>();
        for (String entry : System.getProperty("java.class.path").split(File.pathSeparator)) {
            urls.add(new File(entry).toURI().toURL());
        }
        return urls.toArray(new URL[0]);
    }

    private static void start(String name, String main, String nameServers) throws Exception {
        Run run = new Run(nameServers);
        RUNS.put(name, run);
        ClassLoader own = new URLClassLoader(classpath(), ClassLoader.getPlatformClassLoader());
        Thread thread = new Thread(() -> {
            CURRENT.set(run);
            try {
                Method method = own.loadClass("org.apache.rocketmq.example." + main).getMethod("main", String[].class);
                method.invoke(null, (Object) new String[0]);
            } catch (InvocationTargetException error) {
                run.error = String.valueOf(error.getCause());
            } catch (ReflectiveOperationException | LinkageError error) {
                run.error = String.valueOf(error);
            }
            run.returned = true;
        }, name);
        thread.setContextClassLoader(own);
        thread.setDaemon(true);
        thread.start();
    }

    public static void main(String[] arguments) throws Exception {
        PrintStream answers = System.out;
        System.setOut(new PrintStream(new Sorter(), true, StandardCharsets.UTF_8));
        Properties own = new OwnNameServers();
        own.putAll(System.getProperties());
        System.setProperties(own);
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            JSONObject request = JSON.parseObject(line);
            JSONObject answer = new JSONObject();
            try {
                if ("run".equals(request.getString("cmd"))) {
                    start(request.getString("id"), request.getString("main"), request.getString("name_servers"));
                } else {
                    Run run = RUNS.get(request.getString("id"));
                    answer.put("output", run.output.toString());
                    answer.put("returned", run.returned);
                    answer.put("failure", run.error);
                }
            } catch (Exception error) {
                answer.put("error", String.valueOf(error));
            }
            answers.println(answer.toJSONString());
        }
        System.exit(0);
    }
}
