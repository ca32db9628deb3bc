//! Bytes and text as they are.

use super::{Codec, DecodeError, Raw};
use crate::text::Str;
use bytes::Bytes;

/// Any bytes, kept as a handle on the fetch buffer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BytesCodec;

impl Codec<Bytes> for BytesCodec {
    #[inline]
    fn encode(&self, value: &Bytes, out: &mut Vec<u8>) {
        out.extend_from_slice(value);
    }

    #[inline]
    fn decode(&self, raw: Raw<'_>) -> Result<Bytes, DecodeError> {
        Ok(raw.share(raw.bytes()))
    }
}

impl Codec<Vec<u8>> for BytesCodec {
    #[inline]
    fn encode(&self, value: &Vec<u8>, out: &mut Vec<u8>) {
        out.extend_from_slice(value);
    }

    #[inline]
    fn decode(&self, raw: Raw<'_>) -> Result<Vec<u8>, DecodeError> {
        Ok(raw.bytes().to_vec())
    }
}

/// UTF-8 text, as Kafka's `StringSerializer` writes it by default. Other bytes are refused, never replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Utf8;

impl Codec<Str> for Utf8 {
    #[inline]
    fn encode(&self, value: &Str, out: &mut Vec<u8>) {
        out.extend_from_slice(value.as_bytes());
    }

    #[inline]
    fn decode(&self, raw: Raw<'_>) -> Result<Str, DecodeError> {
        Str::from_raw(raw)
    }
}

impl Codec<String> for Utf8 {
    #[inline]
    fn encode(&self, value: &String, out: &mut Vec<u8>) {
        out.extend_from_slice(value.as_bytes());
    }

    #[inline]
    fn decode(&self, raw: Raw<'_>) -> Result<String, DecodeError> {
        Str::from_raw(raw).map(|text| text.as_str().to_owned())
    }
}

/// Any bytes, read as nothing: for values that no step looks at. Cheaper than [`BytesCodec`], which keeps a handle. Written
/// as no bytes, so a repartition topic carries none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ignored;

impl Codec<()> for Ignored {
    #[inline]
    fn encode(&self, (): &(), _out: &mut Vec<u8>) {}

    #[inline]
    fn decode(&self, _raw: Raw<'_>) -> Result<(), DecodeError> {
        Ok(())
    }
}

/// The unit value as no bytes: for streams whose key or value says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Empty;

impl Codec<()> for Empty {
    #[inline]
    fn encode(&self, (): &(), _out: &mut Vec<u8>) {}

    #[inline]
    fn decode(&self, raw: Raw<'_>) -> Result<(), DecodeError> {
        match raw.bytes().len() {
            0 => Ok(()),
            n => Err(DecodeError::Malformed(format!("expected no bytes, found {n}"))),
        }
    }

    fn decode_null(&self) -> Result<(), DecodeError> {
        Ok(())
    }
}
