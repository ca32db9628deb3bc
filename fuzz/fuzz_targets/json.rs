//! Reads whatever comes as JSON: the codec answers as `serde_json` does, be it a value or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream_state::codec::{Codec, Json, Raw};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Debug;

#[derive(Debug, Serialize, Deserialize)]
struct Event {
    a: i64,
    #[serde(default)]
    b: Option<u8>,
    #[serde(default)]
    c: Vec<f64>,
    #[serde(default)]
    d: (f32, Option<char>),
    #[serde(default)]
    e: Option<Box<Kind>>,
    #[serde(default)]
    f: BTreeMap<i16, bool>,
    #[serde(default)]
    g: u128,
}

#[derive(Debug, Serialize, Deserialize)]
enum Kind {
    U,
    N(i64),
    P(u64, String),
    S { a: Event },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Any {
    Integer(i64),
    Text(String),
    Pair(u8, f64),
    Flat {
        a: u64,
        #[serde(flatten)]
        rest: BTreeMap<String, Value>,
    },
}

fuzz_target!(|data: &[u8]| {
    same::<Value>(data);
    same::<Event>(data);
    same::<Kind>(data);
    same::<Any>(data);
    same::<f64>(data);
    same::<f32>(data);
    same::<BTreeMap<bool, Vec<Any>>>(data);
});

/// Floats are told apart to the last bit by `Debug`.
fn same<T: Serialize + DeserializeOwned + Debug + 'static>(data: &[u8]) {
    let ours = Json::<T>::new().decode(Raw::plain(data)).map_err(|error| error.to_string());
    let theirs = serde_json::from_slice::<T>(data).map_err(|error| format!("expected JSON: {error}"));
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => assert_eq!(format!("{ours:?}"), format!("{theirs:?}")),
        // Long errors are cut.
        (Err(ours), Err(theirs)) => assert!(theirs.starts_with(ours.trim_end_matches('…'))),
        (ours, theirs) => panic!("{ours:?} is not {theirs:?}"),
    }
}
