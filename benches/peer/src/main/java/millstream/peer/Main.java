package millstream.peer;

import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.StateRestoreListener;

/**
 * One workload as a Kafka Streams application. The command line is the same as that of {@code millstream-workloads}:
 * {@code --workload W --bootstrap HOST:PORT --app-id A --in T[,T2] --out T --state-dir D --mode expert|defaults
 * [-- key=value ...]}.
 */
public final class Main {
    private Main() {}

    public static void main(String[] args) throws InterruptedException {
        mark("main");
        Map<String, String> options = new HashMap<>();
        Properties given = new Properties();
        read(args, options, given);

        Properties settings = settings(options);
        settings.putAll(given);
        String[] inputs = need(options, "in").split(",");
        var topology = Workloads.topology(need(options, "workload"), inputs, need(options, "out"), settings);

        KafkaStreams streams = new KafkaStreams(topology, settings);
        CountDownLatch failed = new CountDownLatch(1);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            failed.countDown();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.RUNNING) {
                mark("RUNNING");
            }
        });
        streams.setGlobalStateRestoreListener(new RestoreMarks());
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            // Leaving tells the group at once that nobody is in it: the next run need not wait for a session to end.
            var leave = CloseOptions.groupMembershipOperation(CloseOptions.GroupMembershipOperation.LEAVE_GROUP);
            streams.close(leave.withTimeout(Duration.ofSeconds(20)));
        }));
        streams.start();
        failed.await();
        System.exit(1);
    }

    /** {@code MARK name epoch_ms}, at once. */
    static void mark(String name) {
        System.out.println("MARK " + name + " " + System.currentTimeMillis());
        System.out.flush();
    }

    private static void read(String[] args, Map<String, String> options, Properties given) {
        int at = 0;
        while (at < args.length && !args[at].equals("--")) {
            if (!args[at].startsWith("--") || at + 1 == args.length) {
                throw new IllegalArgumentException("expected --name value, found " + args[at]);
            }
            options.put(args[at].substring(2), args[at + 1]);
            at += 2;
        }
        for (int i = at + 1; i < args.length; i++) {
            String[] pair = args[i].split("=", 2);
            if (pair.length != 2) {
                throw new IllegalArgumentException("expected key=value, found " + args[i]);
            }
            given.setProperty(pair[0], pair[1]);
        }
    }

    private static String need(Map<String, String> options, String name) {
        String value = options.get(name);
        if (value == null) {
            throw new IllegalArgumentException("--" + name + " is missing");
        }
        return value;
    }

    /** What both modes need, and, for "expert", what a good Kafka Streams engineer sets for throughput. */
    private static Properties settings(Map<String, String> options) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, need(options, "app-id"));
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, need(options, "bootstrap"));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, need(options, "state-dir"));
        // Not tuning: without it the figures would be about the 30 s default, and the driver sees progress by commits.
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, "1000");
        settings.put(StreamsConfig.producerPrefix("acks"), "all");
        settings.put(StreamsConfig.producerPrefix("enable.idempotence"), "true");
        if (need(options, "mode").equals("expert")) {
            settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, "1");
            settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, Long.toString(10 << 20));
            settings.put(StreamsConfig.TOPOLOGY_OPTIMIZATION_CONFIG, StreamsConfig.OPTIMIZE);
            settings.put(StreamsConfig.METRICS_RECORDING_LEVEL_CONFIG, "INFO");
            settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.AT_LEAST_ONCE);
            settings.put(StreamsConfig.consumerPrefix("max.poll.records"), "10000");
            settings.put(StreamsConfig.consumerPrefix("fetch.max.bytes"), Integer.toString(50 << 20));
            settings.put(StreamsConfig.producerPrefix("batch.size"), Integer.toString(512 << 10));
        }
        return settings;
    }

    /** Says when each partition's store is restored, and how many records that took. */
    private static final class RestoreMarks implements StateRestoreListener {
        @Override
        public void onRestoreStart(TopicPartition partition, String store, long start, long end) {
            mark("RESTORE_START_" + partition.partition());
        }

        @Override
        public void onBatchRestored(TopicPartition partition, String store, long end, long records) {}

        @Override
        public void onRestoreEnd(TopicPartition partition, String store, long records) {
            mark("RESTORE_END_" + partition.partition() + "_n" + records);
        }
    }
}
