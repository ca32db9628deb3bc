//! A record as one line of JSON: `{"partition","offset","timestamp","key","value","headers"}`.
//!
//! - **key**: text if it is UTF-8 without control characters; else a number if it has 4 or 8 bytes (a big-endian integer,
//!   as Kafka's own serializers write it); else `{"base64": ".."}`. Text comes first: most keys are text, and an integer
//!   whose bytes all happen to be letters is rare.
//! - **value**: the JSON it holds, unchanged; else text if it is UTF-8; else `{"base64": ".."}`.
//! - **headers**: an object; a value is text, or `{"base64": ".."}`, or null. A name that occurs more than once has a list.
//! - null stays null.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use millstream_topology::record::{Chunk, RawRecord};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

#[derive(Serialize)]
struct Line<'a> {
    partition: i32,
    offset: i64,
    timestamp: i64,
    key: Value,
    value: Content<'a>,
    headers: Map<String, Value>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    /// Text that is JSON goes through untouched: numbers keep their digits, objects their order.
    Json(&'a RawValue),
    Other(Value),
}

/// Appends the record's line, without line end.
pub fn json_line(chunk: &Chunk, record: &RawRecord, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let line = Line {
        partition: chunk.partition(),
        offset: record.offset,
        timestamp: record.timestamp,
        key: chunk.key(record).map_or(Value::Null, key),
        value: chunk.value(record).map_or(Content::Other(Value::Null), value),
        headers: headers(chunk.headers(record)),
    };
    serde_json::to_writer(out, &line)
}

fn key(bytes: &[u8]) -> Value {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.contains(char::is_control)
    {
        return text.into();
    }
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return i32::from_be_bytes(four).into();
    }
    if let Ok(eight) = <[u8; 8]>::try_from(bytes) {
        return i64::from_be_bytes(eight).into();
    }
    base64(bytes)
}

fn value(bytes: &[u8]) -> Content<'_> {
    match serde_json::from_slice::<&RawValue>(bytes) {
        Ok(json) if !json.get().contains(['\n', '\r']) => Content::Json(json),
        // JSON over several lines has to become one.
        Ok(json) => Content::Other(serde_json::from_str(json.get()).unwrap_or_else(|_| text(bytes))),
        Err(_) => Content::Other(text(bytes)),
    }
}

fn headers<'a>(all: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> Map<String, Value> {
    let mut object = Map::new();
    for (name, content) in all {
        let content = content.map_or(Value::Null, text);
        match object.entry(String::from_utf8_lossy(name)) {
            serde_json::map::Entry::Vacant(place) => {
                place.insert(content);
            }
            serde_json::map::Entry::Occupied(mut place) => match place.get_mut() {
                Value::Array(list) => list.push(content),
                first => *first = Value::Array(vec![first.take(), content]),
            },
        }
    }
    object
}

fn text(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| base64(bytes), Value::from)
}

fn base64(bytes: &[u8]) -> Value {
    json!({ "base64": BASE64_STANDARD.encode(bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value_text(bytes: &[u8]) -> String {
        serde_json::to_string(&value(bytes)).unwrap()
    }

    #[test]
    fn keys_are_text_then_numbers_then_base64() {
        assert_eq!(key(b"N14228"), json!("N14228"));
        assert_eq!(key("Zürich".as_bytes()), json!("Zürich"));
        assert_eq!(key(b""), json!(""));
        assert_eq!(key(&7i32.to_be_bytes()), json!(7));
        assert_eq!(key(&1_357_035_420_000i64.to_be_bytes()), json!(1_357_035_420_000i64));
        assert_eq!(key(&(-1i64).to_be_bytes()), json!(-1));
        assert_eq!(key(b"\x00\x01\x02"), json!({"base64": "AAEC"}));
        assert_eq!(key(b"ABCD"), json!("ABCD"));
    }

    #[test]
    fn json_goes_through_untouched() {
        assert_eq!(
            value_text(br#"{"z":1.50,"a":12345678901234567890123}"#),
            r#"{"z":1.50,"a":12345678901234567890123}"#
        );
        assert_eq!(value_text(b"{\"a\":\n1}"), r#"{"a":1}"#);
        assert_eq!(value_text(b"2013,1,1,NA"), r#""2013,1,1,NA""#);
        assert_eq!(value_text(b""), r#""""#);
        assert_eq!(value_text(&[0xff]), r#"{"base64":"/w=="}"#);
    }

    #[test]
    fn repeated_header_names_have_a_list() {
        let all: [(&[u8], Option<&[u8]>); 4] = [
            (b"a", Some(b"1")),
            (b"b", None),
            (b"a", Some(b"2")),
            (b"a", Some(&[0xff])),
        ];
        assert_eq!(
            Value::Object(headers(all.into_iter())),
            json!({"a": ["1", "2", {"base64": "/w=="}], "b": null})
        );
    }
}
