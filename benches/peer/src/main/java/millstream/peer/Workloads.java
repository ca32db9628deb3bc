package millstream.peer;

import static org.apache.kafka.common.serialization.Serdes.ByteArray;
import static org.apache.kafka.common.serialization.Serdes.Integer;
import static org.apache.kafka.common.serialization.Serdes.Long;

import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Joined;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.WindowStore;

/** The topologies; what they write must be what {@code millstream-workloads} writes, byte by byte. */
final class Workloads {
    private static final long LEAST_PRICE = 1_000_000;

    private Workloads() {}

    static Topology topology(String name, String[] in, String out, Properties settings) {
        StreamsBuilder builder = new StreamsBuilder();
        switch (name) {
            case "W1", "S1" -> passThrough(builder, in[0], out);
            case "W2", "L1" -> filterAndProject(builder, in[0], out);
            case "W3", "W3b" -> count(builder, in[0], out);
            case "W4" -> statistics(builder, in[0], out);
            case "W5a" -> hop(builder, in[0], out, Long(), 10, 2);
            case "W5b" -> hop(builder, in[0], out, Long(), 60, 1);
            case "W5i" -> hop(builder, in[0], out, Integer(), 10, 2);
            case "W8" -> join(builder, in[0], in[1], out);
            case "W8r" -> joinAndRekey(builder, in[0], in[1], out);
            case "R1" -> latest(builder, in[0], out);
            default -> throw new IllegalArgumentException("no workload " + name);
        }
        return builder.build(settings);
    }

    private static void passThrough(StreamsBuilder builder, String in, String out) {
        builder.stream(in, Consumed.with(ByteArray(), ByteArray())).to(out, Produced.with(ByteArray(), ByteArray()));
    }

    private static void filterAndProject(StreamsBuilder builder, String in, String out) {
        builder.stream(in, Consumed.with(Long(), Bid.serde()))
                .filter((auction, bid) -> bid.price() >= LEAST_PRICE)
                .to(out, Produced.with(Long(), Bid.serde()));
    }

    private static void count(StreamsBuilder builder, String in, String out) {
        builder.stream(in, Consumed.with(Integer(), ByteArray()))
                .groupByKey(Grouped.with(Integer(), ByteArray()))
                .count(Materialized.<Integer, Long, KeyValueStore<Bytes, byte[]>>as("counts")
                        .withKeySerde(Integer())
                        .withValueSerde(Long()))
                .toStream()
                .to(out, Produced.with(Integer(), Long()));
    }

    private static void statistics(StreamsBuilder builder, String in, String out) {
        KTable<Windowed<Integer>, Statistics> minutes = builder.stream(in, Consumed.with(Integer(), Reading.serde()))
                .groupByKey(Grouped.with(Integer(), Reading.serde()))
                .windowedBy(TimeWindows.ofSizeWithNoGrace(Duration.ofMinutes(1)))
                .aggregate(
                        () -> Statistics.NONE,
                        (sensor, reading, statistics) -> statistics.and(reading.value()),
                        Materialized.<Integer, Statistics, WindowStore<Bytes, byte[]>>as("minutes")
                                .withKeySerde(Integer())
                                .withValueSerde(Statistics.serde()));
        write(minutes, out, Integer(), Statistics.serde());
    }

    private static <K> void hop(
            StreamsBuilder builder, String in, String out, Serde<K> key, long size, long advance) {
        var windows = TimeWindows.ofSizeWithNoGrace(Duration.ofSeconds(size)).advanceBy(Duration.ofSeconds(advance));
        var counts = builder.stream(in, Consumed.with(key, ByteArray()))
                .groupByKey(Grouped.with(key, ByteArray()))
                .windowedBy(windows)
                .count(Materialized.<K, Long, WindowStore<Bytes, byte[]>>as("windows")
                        .withKeySerde(key)
                        .withValueSerde(Long()));
        write(counts, out, key, Long());
    }

    private static void join(StreamsBuilder builder, String in, String table, String out) {
        var views = withCampaign(builder, in, table)
                .groupByKey(Grouped.with(Integer(), Integer()))
                .windowedBy(TimeWindows.ofSizeWithNoGrace(Duration.ofSeconds(10)))
                .count(views());
        write(views, out, Integer(), Long());
    }

    private static void joinAndRekey(StreamsBuilder builder, String in, String table, String out) {
        var views = withCampaign(builder, in, table)
                .groupBy((ad, campaign) -> campaign, Grouped.with("by-campaign", Integer(), Integer()))
                // What is late behind a repartition topic differs from run to run: with a day of grace nothing is.
                .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofSeconds(10), Duration.ofDays(1)))
                .count(views());
        write(views, out, Integer(), Long());
    }

    private static KStream<Integer, Integer> withCampaign(StreamsBuilder builder, String in, String table) {
        KTable<Integer, Campaign> campaigns = builder.table(
                table,
                Consumed.with(Integer(), Campaign.serde()),
                Materialized.<Integer, Campaign, KeyValueStore<Bytes, byte[]>>as("campaigns")
                        .withKeySerde(Integer())
                        .withValueSerde(Campaign.serde()));
        return builder.stream(in, Consumed.with(Integer(), ByteArray()))
                .join(
                        campaigns,
                        (view, found) -> found.campaign(),
                        Joined.with(Integer(), ByteArray(), Campaign.serde()));
    }

    private static Materialized<Integer, Long, WindowStore<Bytes, byte[]>> views() {
        return Materialized.<Integer, Long, WindowStore<Bytes, byte[]>>as("views")
                .withKeySerde(Integer())
                .withValueSerde(Long());
    }

    private static void latest(StreamsBuilder builder, String in, String out) {
        builder.stream(in, Consumed.with(ByteArray(), ByteArray()))
                .groupByKey(Grouped.with(ByteArray(), ByteArray()))
                .reduce(
                        (before, latest) -> latest,
                        Materialized.<byte[], byte[], KeyValueStore<Bytes, byte[]>>as("st")
                                .withKeySerde(ByteArray())
                                .withValueSerde(ByteArray()))
                .toStream()
                .to(out, Produced.with(ByteArray(), ByteArray()));
    }

    /** Windows go out under their key and their start. */
    private static <K, V> void write(KTable<Windowed<K>, V> windows, String out, Serde<K> key, Serde<V> value) {
        windows.toStream().to(out, Produced.with(StartSerializer.serde(key), value));
    }
}
