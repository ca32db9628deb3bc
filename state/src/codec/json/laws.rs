//! The law of the fast reader: whatever bytes come and whatever type is asked for, the answer is that of `serde_json`, be it
//! a value (floats to the last bit) or an error (to the letter).

use super::documents::{damaged, document, number};
use super::reader::read;
use super::*;
use crate::text::Str;
use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// Fields of every kind; documents get these names, so that they often fit.
#[derive(Debug, Default, Serialize, serde::Deserialize)]
#[serde(default)]
struct Event {
    id: i64,
    #[serde(rename = "dateTime")]
    time: Option<u64>,
    small: (u8, i16, u32),
    f: f64,
    single: f32,
    huge: Option<(i128, u128)>,
    name: String,
    label: Str,
    initial: Option<char>,
    flag: bool,
    nothing: (),
    none: Unit,
    new: Wrapped,
    list: Vec<Option<f64>>,
    by_name: BTreeMap<String, i32>,
    by_number: BTreeMap<i64, f32>,
    by_flag: BTreeMap<bool, u8>,
    next: Option<Box<Event>>,
    kind: Option<Outside>,
}

#[derive(Debug, Default, Serialize, serde::Deserialize)]
struct Unit;

#[derive(Debug, Default, Serialize, serde::Deserialize)]
struct Wrapped(Vec<u8>);

#[derive(Debug, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Strict {
    id: i64,
    f: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
enum Outside {
    Unit,
    New(i64),
    Pair(i32, String),
    Fields { id: u8, name: Option<String> },
}

#[derive(Debug, Serialize, serde::Deserialize)]
#[serde(tag = "kind")]
enum Inside {
    Unit,
    Fields { id: i64, f: Option<f64> },
    Event(Box<Event>),
}

#[derive(Debug, Serialize, serde::Deserialize)]
#[serde(tag = "kind", content = "list")]
enum Beside {
    Unit,
    New(Vec<f64>),
    Pair(i32, String),
}

#[derive(Debug, Serialize, serde::Deserialize)]
#[serde(untagged)]
enum Untagged {
    Nothing,
    Number(i64),
    Float(f32),
    Text(String),
    Pair(bool, u64),
    Strict(Strict),
    Many(Vec<Untagged>),
}

#[derive(Debug, Serialize, serde::Deserialize)]
struct Flat {
    id: i64,
    #[serde(flatten)]
    strict: Option<Inside>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Debug, serde::Deserialize)]
#[allow(dead_code, reason = "is compared as text")]
struct Borrowed<'a> {
    name: &'a str,
    #[serde(borrow, default)]
    label: Cow<'a, str>,
    #[serde(default)]
    rest: BTreeMap<&'a str, IgnoredAny>,
}

/// What cannot be read is nothing: a type that hides errors.
#[derive(Debug, serde::Deserialize)]
#[allow(dead_code, reason = "is compared as text")]
struct Lenient {
    #[serde(default, deserialize_with = "or_nothing")]
    id: Option<i8>,
    #[serde(default, deserialize_with = "or_nothing")]
    list: Option<Vec<u8>>,
    #[serde(default, deserialize_with = "or_nothing")]
    small: Option<(u8, u8)>,
    #[serde(default, deserialize_with = "or_nothing")]
    kind: Option<Outside>,
    #[serde(default, deserialize_with = "or_nothing")]
    next: Option<Strict>,
}

fn or_nothing<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(T::deserialize(deserializer).ok())
}

/// Bytes, which JSON has as a string or as an array of numbers.
#[derive(Debug)]
struct Blob(#[allow(dead_code, reason = "is compared as text")] Vec<u8>);

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Blob;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut bytes: A) -> Result<Blob, A::Error> {
                let mut blob = Vec::new();
                while let Some(byte) = bytes.next_element()? {
                    blob.push(byte);
                }
                Ok(Blob(blob))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// Both answers, as text: Debug tells floats apart to the last bit, -0 from 0 too.
fn told<T: Debug>(answer: Result<T, impl fmt::Display>) -> Result<String, String> {
    answer
        .map(|value| format!("{value:?}"))
        .map_err(|error| error.to_string())
}

fn same_as_serde_json<T: serde::de::DeserializeOwned + Debug>(bytes: &[u8]) {
    let theirs = serde_json::from_slice::<T>(bytes).map_err(|error| DecodeError::malformed("JSON", &error));
    let ours = read::<T>(bytes).map_or_else(|| slow(bytes), Ok);
    let message = bytes.escape_ascii();
    assert_eq!(told(ours), told(theirs), "{} from {message}", type_name::<T>());
}

macro_rules! same_for {
    ($bytes:expr; $($type:ty),* $(,)?) => {$( same_as_serde_json::<$type>($bytes); )*};
}

/// The law, for types of every shape.
fn check(bytes: &[u8]) {
    same_for!(bytes; Event, Strict, Outside, Inside, Beside, Untagged, Flat, Lenient, Blob, Value, String, Str, char, bool, ());
    same_for!(bytes; Vec<Event>, Vec<Value>, Vec<Outside>, Vec<Untagged>, Vec<Blob>, (i64, String), [u8; 3], Option<Vec<bool>>);
    same_for!(bytes; BTreeMap<String, Value>, BTreeMap<i8, Value>, BTreeMap<char, Value>, BTreeMap<Outside, Value>);
    same_for!(bytes; BTreeMap<bool, Value>, BTreeMap<u128, Value>, BTreeMap<Option<i128>, Value>, BTreeMap<Str, IgnoredAny>);
    same_for!(bytes; Unit, Wrapped, IgnoredAny, Vec<IgnoredAny>, Box<Cow<'static, str>>);
    check_number(bytes);
    let Ok(message) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Some(ours) = read::<Borrowed<'_>>(bytes) {
        let theirs = serde_json::from_str::<Borrowed<'_>>(message);
        assert_eq!(told(Ok::<_, DecodeError>(ours)), told(theirs), "from {message}");
    }
}

fn check_number(bytes: &[u8]) {
    same_for!(bytes; f64, f32, i64, u64, i32, u32, i16, u16, i8, u8, i128, u128, Vec<f64>, Option<f32>);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn documents(text in document()) {
        check(text.as_bytes());
    }

    #[test]
    fn damaged_documents(bytes in damaged(document())) {
        check(&bytes);
    }

    #[test]
    fn numbers(bytes in damaged(number()), text in number()) {
        check_number(&bytes);
        check_number(text.as_bytes());
        check_number(format!("[{text} ,{text}]").as_bytes());
    }

    #[test]
    fn floats_are_read_back_to_the_last_bit(bits: u64) {
        let float = f64::from_bits(bits);
        prop_assume!(float.is_finite());
        let (mut bytes, codec) = (Vec::new(), Json::<(f64, f32)>::new());
        codec.encode(&(float, float as f32), &mut bytes);
        if (float as f32).is_finite() {
            let (double, single) = codec.decode(Raw::plain(&bytes)).unwrap();
            prop_assert_eq!((double.to_bits(), single.to_bits()), (bits, (float as f32).to_bits()));
        }
    }
}

#[test]
fn nesting() {
    for depth in [1, 2, 126, 127, 128, 129, 1000] {
        check(("[".repeat(depth) + &"]".repeat(depth)).as_bytes());
        check(("{\"next\":".repeat(depth) + "{}" + &"}".repeat(depth)).as_bytes());
        check(format!("{{\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth)).as_bytes());
    }
}

/// Whatever lies behind its quote: more quotes, at every distance.
#[test]
fn a_string_ends_at_its_own_quote() {
    for len in 0..400 {
        let text = format!("[\"{}\"{}]", "x".repeat(len), ",\"\"".repeat(150));
        same_as_serde_json::<Vec<String>>(text.as_bytes());
    }
}

/// Nobody looks at such a name, and yet it is refused.
#[test]
fn names_that_are_not_utf8_are_refused() {
    for bytes in [
        &b"{\"\x80\":1}"[..],
        b"{\"id\":1,\"a name of more than thirty-two bytes \xff\":1}",
    ] {
        check(bytes);
        assert!(read::<Event>(bytes).is_none());
    }
}

/// `serde_json` reads such a name from the middle of a character; `from_str` would tell of it in text that is none.
#[test]
fn a_name_that_is_no_boolean_is_refused() {
    let bytes = r#"{"😀":1}"#.as_bytes();
    check(bytes);
    let error = Json::<BTreeMap<bool, i32>>::new()
        .decode(Raw::plain(bytes))
        .unwrap_err()
        .to_string();
    assert!(std::str::from_utf8(error.as_bytes()).is_ok());
}

/// Else the law would hold because the reader reads nothing.
#[test]
fn ordinary_messages_are_read_by_the_reader_itself() {
    let event = r#" {"id":-7,"dateTime":18446744073709551615,"small":[1,-2,3],"f":-12.625,"single":1e-3,"huge":[-5,6],
        "name":"Zürich","label":"a name of more than thirty-two bytes","initial":"é","flag":true,"nothing":null,"none":null,
        "new":[1,2],"list":[0.1,null,1e300],"by_name":{"a":1},"by_number":{"-3":0.5},"by_flag":{"true":1},
        "next":{"kind":"Unit"},"kind":{"Fields":{"id":1,"x":[{},[],{"y":[1.5e3,false,true,null]}]}},"x":"y"} "#;
    assert!(read::<Event>(event.as_bytes()).is_some());
    assert!(read::<Value>(event.as_bytes()).is_some());
    assert!(read::<Flat>(br#"{"id":1,"kind":"Fields","f":2.5,"z":[true]}"#).is_some());
    assert!(read::<Vec<Untagged>>(br#"[null,1,"x",2.5,[true,1],{"id":1}]"#).is_some());
    assert!(read::<Vec<Beside>>(br#"[{"kind":"Unit"},{"list":[1,2.5],"kind":"New"}]"#).is_some());
    assert!(read::<Borrowed<'_>>(br#"{"name":"n","label":"l","rest":{"a":1}}"#).is_some());
    assert!(read::<Vec<Outside>>(br#"["Unit",{"New":1},{"Pair":[1,"x"]}]"#).is_some());
    let escapes = r#"{"na\u006de":"a\nb \ud83d\ude00","x":"\"\\ more than thirty-two bytes lie before this \u00e9"}"#;
    assert!(read::<Event>(escapes.as_bytes()).is_some_and(|event| event.name == "a\nb 😀"));
    assert!(read::<Blob>(b"\"bytes\"").is_some());
    assert!(read::<Blob>(b"[1,2]").is_some());
}

/// A raw value wants its text, which only `serde_json` can give it.
#[test]
fn types_of_serde_json_itself_are_left_to_it() {
    #[derive(Debug, serde::Deserialize)]
    #[serde(rename = "$serde_json::private::RawValue")]
    struct Raw(#[allow(dead_code, reason = "is never read")] i64);
    assert!(read::<Raw>(b"1").is_none());
    assert!(read::<BTreeMap<Str, Raw>>(br#"{"a":1}"#).is_none());
}
