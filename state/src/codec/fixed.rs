//! Numbers and booleans as Kafka's own serializers write them: big-endian, fixed width.

use super::{Codec, DecodeError, Raw};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $t:ty, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $name;

        impl Codec<$t> for $name {
            #[inline]
            fn encode(&self, value: &$t, out: &mut Vec<u8>) {
                out.extend_from_slice(&value.to_be_bytes());
            }

            #[inline]
            fn decode(&self, raw: Raw<'_>) -> Result<$t, DecodeError> {
                match raw.bytes().try_into() {
                    Ok(bytes) => Ok(<$t>::from_be_bytes(bytes)),
                    Err(_) => Err(wrong_length($what, size_of::<$t>(), raw)),
                }
            }
        }
    };
}

number!(
    /// `i32` in 4 bytes, as Kafka's `IntegerSerializer`.
    I32, i32, "32-bit integer");
number!(
    /// `i64` in 8 bytes, as Kafka's `LongSerializer`.
    I64, i64, "64-bit integer");
number!(
    /// `f64` in 8 bytes, as Kafka's `DoubleSerializer`.
    F64, f64, "64-bit float");

/// `bool` in one byte, 0 or 1, as Kafka's `BooleanSerializer`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bool;

impl Codec<bool> for Bool {
    fn encode(&self, value: &bool, out: &mut Vec<u8>) {
        out.push(u8::from(*value));
    }

    fn decode(&self, raw: Raw<'_>) -> Result<bool, DecodeError> {
        match raw.bytes() {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(DecodeError::Malformed(format!(
                "expected a boolean (0 or 1), found {other}"
            ))),
            _ => Err(wrong_length("boolean", 1, raw)),
        }
    }
}

#[cold]
fn wrong_length(what: &str, expected: usize, raw: Raw<'_>) -> DecodeError {
    DecodeError::Malformed(format!(
        "expected a {what} ({expected} bytes), found {} bytes",
        raw.bytes().len()
    ))
}
