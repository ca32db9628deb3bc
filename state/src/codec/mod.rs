//! Typed value <-> bytes, in Kafka's own formats where Kafka has one.
#![deny(clippy::indexing_slicing)] // reads what comes from outside

mod bincode_v2;
mod fixed;
mod json;
mod pair;
mod plain;
#[cfg(test)]
mod tests;

pub use bincode_v2::Bincode;
pub use fixed::{Bool, F64, I32, I64};
pub use json::Json;
pub use pair::Pair;
pub use plain::{BytesCodec, Empty, Ignored, Utf8};

use bytes::Bytes;

/// Bytes to decode, with the buffer that holds them, so that a codec may keep a handle instead of a copy.
#[derive(Debug, Clone, Copy)]
pub struct Raw<'a> {
    bytes: &'a [u8],
    owner: Option<&'a Bytes>,
}

impl<'a> Raw<'a> {
    /// Bytes that lie inside `owner` (a fetched batch). Bytes that do not are copied when shared.
    #[inline]
    pub fn new(bytes: &'a [u8], owner: &'a Bytes) -> Self {
        Raw {
            bytes,
            owner: Some(owner),
        }
    }

    /// Bytes without a shared buffer; [`Raw::share`] copies them.
    #[inline]
    pub fn plain(bytes: &'a [u8]) -> Self {
        Raw { bytes, owner: None }
    }

    /// The bytes themselves.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// A part of these bytes, in the same buffer.
    #[inline]
    pub fn part(&self, part: &'a [u8]) -> Raw<'a> {
        Raw {
            bytes: part,
            owner: self.owner,
        }
    }

    /// A handle on `part`, which should lie inside these bytes: no copy where the fetch buffer can be shared.
    pub fn share(&self, part: &[u8]) -> Bytes {
        match self.owner {
            Some(owner) if lies_inside(part, owner) => owner.slice_ref(part),
            _ => Bytes::copy_from_slice(part),
        }
    }
}

/// `Bytes::slice_ref` panics on foreign memory, so we look first.
fn lies_inside(part: &[u8], owner: &Bytes) -> bool {
    let (from, len) = (part.as_ptr() as usize, part.len());
    let (lo, hi) = (owner.as_ptr() as usize, owner.as_ptr() as usize + owner.len());
    from >= lo && from + len <= hi
}

/// Why bytes could not be decoded. The text names the expectation and what was found, never the whole payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Null where the type has no null. A null is a value only where the type says so: see [`Nullable`].
    #[error("is null, but the type has no null (use a nullable codec)")]
    Null,
    /// The bytes are not what the codec expects.
    #[error("{0}")]
    Malformed(String),
}

impl DecodeError {
    /// A parser's error, cut short: it may quote the payload.
    pub(crate) fn malformed(what: &str, error: &dyn std::fmt::Display) -> Self {
        let mut text = format!("expected {what}: {error}");
        if let Some((cut, _)) = text.char_indices().nth(200) {
            text.truncate(cut);
            text.push('…');
        }
        DecodeError::Malformed(text)
    }
}

/// How a type is written to and read from bytes. Pure: the same value gives the same bytes.
pub trait Codec<T>: Send + Sync + 'static {
    /// Appends the bytes of `value` to `out`.
    fn encode(&self, value: &T, out: &mut Vec<u8>);

    /// Reads a value; may keep a handle on the buffer through [`Raw::share`].
    fn decode(&self, raw: Raw<'_>) -> Result<T, DecodeError>;

    /// The part of a key's bytes that says which partition it belongs to: all of them, save for keys that carry more than
    /// the record's key (a window).
    #[inline]
    fn partition_part<'a>(&self, encoded: &'a [u8]) -> &'a [u8] {
        encoded
    }

    /// Whether `value` is written as Kafka's null (no bytes at all) rather than by [`Codec::encode`].
    #[inline]
    fn is_null(&self, _value: &T) -> bool {
        false
    }

    /// What Kafka's null reads as.
    fn decode_null(&self) -> Result<T, DecodeError> {
        Err(DecodeError::Null)
    }
}

/// Makes any codec nullable: `None` is Kafka's null.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nullable<C>(pub C);

impl<T: 'static, C: Codec<T>> Codec<Option<T>> for Nullable<C> {
    fn encode(&self, value: &Option<T>, out: &mut Vec<u8>) {
        if let Some(value) = value {
            self.0.encode(value, out);
        }
    }

    fn decode(&self, raw: Raw<'_>) -> Result<Option<T>, DecodeError> {
        self.0.decode(raw).map(Some)
    }

    #[inline]
    fn partition_part<'a>(&self, encoded: &'a [u8]) -> &'a [u8] {
        self.0.partition_part(encoded)
    }

    #[inline]
    fn is_null(&self, value: &Option<T>) -> bool {
        value.is_none()
    }

    fn decode_null(&self) -> Result<Option<T>, DecodeError> {
        Ok(None)
    }
}
