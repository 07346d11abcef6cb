import com.alibaba.fastjson2.JSONObject;
import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;

/** Wall clock and CPU of this process between two moments, and the answers that are made of them. */
final class Meter {
    private static final OperatingSystemMXBean SYSTEM = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    private static final Path STATUS = Path.of("/proc/self/status");

    private volatile long cpu;
    private volatile long wall;

    Meter begin() {
        cpu = SYSTEM.getProcessCpuTime();
        wall = System.nanoTime();
        return this;
    }

    Meter end() {
        wall = System.nanoTime() - wall;
        cpu = SYSTEM.getProcessCpuTime() - cpu;
        return this;
    }

    /** The answer of a round between {@link #begin} and {@link #end}. */
    JSONObject answer(int count, int failed) throws IOException {
        return new JSONObject()
            .fluentPut("count", count)
            .fluentPut("failed", failed)
            .fluentPut("seconds", wall / 1e9)
            .fluentPut("cpu_seconds", cpu / 1e9)
            .fluentPut("rss_bytes", residentBytes());
    }

    JSONObject answer(int count, int failed, long[] nanoseconds) throws IOException {
        return answer(count, failed).fluentPut("latency_us", percentiles(nanoseconds));
    }

    /** Percentiles in microseconds; sorts the array. The value at or below which that part of all values lies. */
    private static JSONObject percentiles(long[] nanoseconds) {
        Arrays.sort(nanoseconds);
        return new JSONObject()
            .fluentPut("p50", percentile(nanoseconds, 0.5))
            .fluentPut("p90", percentile(nanoseconds, 0.9))
            .fluentPut("p99", percentile(nanoseconds, 0.99))
            .fluentPut("p999", percentile(nanoseconds, 0.999))
            .fluentPut("max", percentile(nanoseconds, 1));
    }

    private static double percentile(long[] sorted, double part) {
        int rank = (int) Math.ceil(part * sorted.length);
        return sorted[Math.max(rank, 1) - 1] / 1e3;
    }

    private static long residentBytes() throws IOException {
        for (String line : Files.readAllLines(STATUS)) {
            if (line.startsWith("VmRSS:")) {
                return Long.parseLong(line.replaceAll("\\D", "")) * 1024;
            }
        }
        throw new IOException("no VmRSS in " + STATUS);
    }
}
