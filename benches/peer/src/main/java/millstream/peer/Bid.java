package millstream.peer;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import org.apache.kafka.common.errors.SerializationException;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/** The four fields of a Nexmark bid that jobs want to know. */
record Bid(long auction, long bidder, long price, long dateTime) {
    private static final JsonFactory JSON = new JsonFactory();

    static Serde<Bid> serde() {
        return Serdes.serdeFrom((topic, bid) -> bid == null ? null : bid.write(), (topic, bytes) -> read(bytes));
    }

    /** By tokens; the other fields are skipped without being made into strings. */
    private static Bid read(byte[] bytes) {
        if (bytes == null) {
            return null;
        }
        long auction = 0;
        long bidder = 0;
        long price = 0;
        long dateTime = 0;
        try (JsonParser parser = JSON.createParser(bytes)) {
            parser.nextToken();
            for (String field = parser.nextFieldName(); field != null; field = parser.nextFieldName()) {
                JsonToken value = parser.nextToken();
                switch (field) {
                    case "auction" -> auction = parser.getLongValue();
                    case "bidder" -> bidder = parser.getLongValue();
                    case "price" -> price = parser.getLongValue();
                    case "dateTime" -> dateTime = parser.getLongValue();
                    default -> {
                        if (value.isStructStart()) {
                            parser.skipChildren();
                        }
                    }
                }
            }
        } catch (IOException e) {
            throw new SerializationException("not a bid", e);
        }
        return new Bid(auction, bidder, price, dateTime);
    }

    /** One string of numbers and ASCII: cheaper than a generator with its buffers. */
    private byte[] write() {
        String json = "{\"auction\":" + auction + ",\"bidder\":" + bidder + ",\"price\":" + price + ",\"dateTime\":"
                + dateTime + "}";
        return json.getBytes(StandardCharsets.ISO_8859_1);
    }
}
