package millstream.peer;

import java.nio.ByteBuffer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/** What a sensor sends, 16 bytes: when it measured, and what. */
record Reading(long time, double value) {
    static Serde<Reading> serde() {
        return Serdes.serdeFrom(
                (topic, reading) -> ByteBuffer.allocate(16)
                        .putLong(reading.time)
                        .putDouble(reading.value)
                        .array(),
                (topic, bytes) -> {
                    ByteBuffer buffer = ByteBuffer.wrap(bytes);
                    return new Reading(buffer.getLong(), buffer.getDouble());
                });
    }
}
