package millstream.peer;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonParser;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import org.apache.kafka.common.errors.SerializationException;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/** What is known of an advertisement. */
record Campaign(int campaign, String name) {
    private static final JsonFactory JSON = new JsonFactory();

    static Serde<Campaign> serde() {
        return Serdes.serdeFrom((topic, value) -> value == null ? null : value.write(), (topic, bytes) -> read(bytes));
    }

    private static Campaign read(byte[] bytes) {
        if (bytes == null) {
            return null;
        }
        int campaign = 0;
        String name = "";
        try (JsonParser parser = JSON.createParser(bytes)) {
            parser.nextToken();
            for (String field = parser.nextFieldName(); field != null; field = parser.nextFieldName()) {
                parser.nextToken();
                switch (field) {
                    case "campaign" -> campaign = parser.getIntValue();
                    case "name" -> name = parser.getText();
                    default -> parser.skipChildren();
                }
            }
        } catch (IOException e) {
            throw new SerializationException("not a campaign", e);
        }
        return new Campaign(campaign, name);
    }

    private byte[] write() {
        ByteArrayOutputStream out = new ByteArrayOutputStream(128);
        try (JsonGenerator json = JSON.createGenerator(out)) {
            json.writeStartObject();
            json.writeNumberField("campaign", campaign);
            json.writeStringField("name", name);
            json.writeEndObject();
        } catch (IOException e) {
            throw new SerializationException("a campaign cannot be written", e);
        }
        return out.toByteArray();
    }
}
