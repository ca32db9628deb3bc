package millstream.peer;

import java.nio.ByteBuffer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/** What is known of a sensor's minute: 32 bytes. */
record Statistics(long count, double sum, double min, double max) {
    static final Statistics NONE = new Statistics(0, 0, Double.POSITIVE_INFINITY, Double.NEGATIVE_INFINITY);

    Statistics and(double value) {
        return new Statistics(count + 1, sum + value, Math.min(min, value), Math.max(max, value));
    }

    static Serde<Statistics> serde() {
        return Serdes.serdeFrom(
                (topic, s) -> s == null
                        ? null
                        : ByteBuffer.allocate(32)
                                .putLong(s.count)
                                .putDouble(s.sum)
                                .putDouble(s.min)
                                .putDouble(s.max)
                                .array(),
                (topic, bytes) -> {
                    if (bytes == null) {
                        return null;
                    }
                    ByteBuffer buffer = ByteBuffer.wrap(bytes);
                    return new Statistics(
                            buffer.getLong(), buffer.getDouble(), buffer.getDouble(), buffer.getDouble());
                });
    }
}
