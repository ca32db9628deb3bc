package millstream.peer;

import java.nio.ByteBuffer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.kstream.internals.WindowedSerializer;

/** A windowed key as its key and the start of its window, 8 bytes. */
final class StartSerializer<K> implements WindowedSerializer<K> {
    private final Serializer<K> key;

    private StartSerializer(Serializer<K> key) {
        this.key = key;
    }

    /** For output only. */
    static <K> Serde<Windowed<K>> serde(Serde<K> key) {
        return Serdes.serdeFrom(new StartSerializer<>(key.serializer()), (topic, bytes) -> {
            throw new UnsupportedOperationException("windowed keys are only written");
        });
    }

    @Override
    public byte[] serialize(String topic, Windowed<K> windowed) {
        byte[] bytes = serializeBaseKey(topic, windowed);
        return ByteBuffer.allocate(bytes.length + Long.BYTES)
                .put(bytes)
                .putLong(windowed.window().start())
                .array();
    }

    /** By this Kafka Streams partitions: by the key alone. */
    @Override
    public byte[] serializeBaseKey(String topic, Windowed<K> windowed) {
        return key.serialize(topic, windowed.key());
    }
}
