use super::*;
use crate::text::Str;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Debug;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Plane {
    tail: String,
    seats: Option<i32>,
    legs: Vec<i64>,
}

fn bytes_of<T: 'static>(codec: &dyn Codec<T>, value: &T) -> Vec<u8> {
    let mut out = vec![7]; // a codec appends
    codec.encode(value, &mut out);
    out.split_off(1)
}

#[track_caller]
fn round_trip<T: PartialEq + Debug + 'static>(codec: &dyn Codec<T>, value: T) {
    let bytes = bytes_of(codec, &value);
    assert_eq!(codec.decode(Raw::plain(&bytes)).unwrap(), value);
}

#[test]
fn what_is_ignored_is_read_as_nothing_whatever_it_is_but_null() {
    for bytes in [&b""[..], b"\xff\x00", b"{"] {
        assert_eq!(Ignored.decode(Raw::plain(bytes)), Ok(()));
    }
    assert_eq!(Ignored.decode_null(), Err(DecodeError::Null));
    assert_eq!(bytes_of(&Ignored, &()), b"");
}

#[test]
fn formats_are_those_of_kafka() {
    assert_eq!(bytes_of(&I32, &-2), [0xff, 0xff, 0xff, 0xfe]);
    assert_eq!(bytes_of(&I64, &258), [0, 0, 0, 0, 0, 0, 1, 2]);
    assert_eq!(bytes_of(&F64, &1.0), [0x3f, 0xf0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes_of(&Bool, &true), [1]);
    assert_eq!(bytes_of(&Utf8, &Str::from("é")), "é".as_bytes());
    assert_eq!(
        bytes_of(&Pair(Utf8, I32), &(Str::from("ab"), 1)),
        b"\0\0\0\x02ab\0\0\0\x01"
    );
}

#[test]
fn bincode_has_a_format_byte_and_refuses_what_it_does_not_know() {
    let bytes = bytes_of(&Bincode::<u32>::new(), &5);
    assert_eq!(bytes, [1, 5]);
    let read = |bytes: &[u8]| {
        Bincode::<u32>::new()
            .decode(Raw::plain(bytes))
            .map_err(|e| e.to_string())
    };
    assert_eq!(read(&[2, 5]), Err("expected format byte 1 (bincode), found 2".into()));
    assert_eq!(read(&[1, 5, 0]), Err("1 bytes too many after a bincode value".into()));
    assert_eq!(read(&[]), Err("expected a bincode value, found no bytes".into()));
}

#[test]
fn a_damaged_length_allocates_nothing() {
    let damaged = [1, 253, 255, 255, 255, 255, 255, 255, 255, 127];
    assert!(Bincode::<Vec<u64>>::new().decode(Raw::plain(&damaged)).is_err());
}

#[test]
fn null_is_a_value_only_where_the_type_says_so() {
    assert_eq!(I64.decode_null(), Err(DecodeError::Null));
    let codec = Nullable(I64);
    assert_eq!(codec.decode_null(), Ok(None));
    assert!(codec.is_null(&None) && !codec.is_null(&Some(0)));
}

#[test]
fn errors_name_the_expectation_and_stay_short() {
    let text = |e: DecodeError| e.to_string();
    assert_eq!(
        text(I64.decode(Raw::plain(b"abc")).unwrap_err()),
        "expected a 64-bit integer (8 bytes), found 3 bytes"
    );
    assert_eq!(
        text(Bool.decode(Raw::plain(&[9])).unwrap_err()),
        "expected a boolean (0 or 1), found 9"
    );
    let long = format!("\"{}\"", "x".repeat(10_000));
    assert!(text(Json::<i32>::new().decode(Raw::plain(long.as_bytes())).unwrap_err()).len() < 250);
}

#[test]
#[should_panic(expected = "cannot be written as JSON")]
fn a_type_without_json_form_is_a_defect() {
    bytes_of(
        &Json::<BTreeMap<(i32, i32), i32>>::new(),
        &BTreeMap::from([((1, 2), 3)]),
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read(n: i64, f in -1e300..1e300f64, text in "\\PC{0,60}", raw: Vec<u8>, legs: Vec<i64>, seats: Option<i32>) {
        round_trip(&I64, n);
        round_trip(&I32, n as i32);
        round_trip(&F64, f);
        round_trip(&Bool, n > 0);
        round_trip(&BytesCodec, raw.clone());
        round_trip(&BytesCodec, Bytes::from(raw.clone()));
        round_trip(&Utf8, Str::from(text.as_str()));
        round_trip(&Utf8, text.clone());
        round_trip(&Pair(BytesCodec, Utf8), (raw, text.clone()));
        let plane = Plane { tail: text, seats, legs };
        round_trip(&Json::new(), plane.clone());
        round_trip(&Bincode::new(), plane);
    }

    #[test]
    fn any_bytes_are_read_or_refused(raw: Vec<u8>) {
        let _ = (I32.decode(Raw::plain(&raw)), Bool.decode(Raw::plain(&raw)), Pair(Utf8, I64).decode(Raw::plain(&raw)) as Result<(Str, i64), _>);
        let _ = (Json::<Plane>::new().decode(Raw::plain(&raw)), Bincode::<Plane>::new().decode(Raw::plain(&raw)));
    }
}
