//! Text as a key or a field: 40 bytes, no allocation up to 38 bytes, a handle into the fetch buffer beyond.

use crate::codec::{DecodeError, Raw};
use bytes::Bytes;
use hashbrown::Equivalent;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// Longest text that lies inside the value itself. The handle needs 40 bytes with its tag, so 38 cost nothing more.
const INLINE: usize = 38;

/// Immutable UTF-8 text. Clones never allocate.
///
/// Long text may be a handle into the buffer it was fetched with; [`Str::detach`] makes a copy that does not keep that
/// buffer alive. Comparing, hashing and encoding work on the bytes; only [`Deref`] looks at them as `str`, which costs a
/// UTF-8 check (this crate has no `unsafe`), so keep the `&str` when it is used more than once.
#[derive(Clone)]
pub struct Str(Repr);

#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE] },
    Shared(Bytes),
}

impl Str {
    /// The empty text.
    pub const fn new() -> Self {
        Str(Repr::Inline {
            len: 0,
            bytes: [0; INLINE],
        })
    }

    /// Text from undecoded bytes: checked to be UTF-8; long text shares the fetch buffer where there is one.
    #[inline]
    pub fn from_raw(raw: Raw<'_>) -> Result<Str, DecodeError> {
        match std::str::from_utf8(raw.bytes()) {
            Ok(text) => {
                Ok(Str::inline(text.as_bytes()).unwrap_or_else(|| Str(Repr::Shared(raw.share(text.as_bytes())))))
            }
            Err(error) => Err(DecodeError::Malformed(format!(
                "expected UTF-8 text, found {} bytes that are not (first bad byte at {})",
                raw.bytes().len(),
                error.valid_up_to()
            ))),
        }
    }

    /// The same text without a handle on the buffer it was fetched with.
    #[inline]
    pub fn detach(&self) -> Str {
        match &self.0 {
            Repr::Inline { .. } => self.clone(),
            Repr::Shared(bytes) => Str(Repr::Shared(Bytes::copy_from_slice(bytes))),
        }
    }

    /// The text. Costs a UTF-8 check.
    #[inline]
    pub fn as_str(&self) -> &str {
        // Only checked text is ever stored, so the fallback is never taken.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The bytes of the text.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Repr::Shared(bytes) => bytes,
        }
    }

    /// Bytes kept outside the value itself.
    #[inline]
    pub(crate) fn heap_len(&self) -> usize {
        match &self.0 {
            Repr::Inline { .. } => 0,
            Repr::Shared(bytes) => bytes.len(),
        }
    }

    #[inline]
    fn inline(text: &[u8]) -> Option<Str> {
        let mut bytes = [0; INLINE];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        Some(Str(Repr::Inline {
            len: text.len() as u8,
            bytes,
        }))
    }
}

impl Default for Str {
    fn default() -> Self {
        Str::new()
    }
}

impl From<&str> for Str {
    #[inline]
    fn from(text: &str) -> Self {
        Str::inline(text.as_bytes()).unwrap_or_else(|| Str(Repr::Shared(Bytes::copy_from_slice(text.as_bytes()))))
    }
}

impl From<String> for Str {
    fn from(text: String) -> Self {
        Str::inline(text.as_bytes()).unwrap_or_else(|| Str(Repr::Shared(Bytes::from(text))))
    }
}

impl Deref for Str {
    type Target = str;
    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Str {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Str {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Str {}

impl PartialEq<str> for Str {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Str {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

/// Look-up by borrowed text without making a `Str` first.
impl Equivalent<Str> for str {
    #[inline]
    fn equivalent(&self, key: &Str) -> bool {
        self.as_bytes() == key.as_bytes()
    }
}

impl Hash for Str {
    /// As `str` does it, so that both find the same slot; a test holds them together.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.as_bytes());
        state.write_u8(0xff);
    }
}

impl PartialOrd for Str {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Str {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl Serialize for Str {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Str {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Str;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }
            fn visit_str<E>(self, text: &str) -> Result<Str, E> {
                Ok(text.into())
            }
            fn visit_string<E>(self, text: String) -> Result<Str, E> {
                Ok(text.into())
            }
        }
        // `str`, not `string`: escaped text is lent from a scratch buffer, so short text allocates nothing.
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hash::BuildHasher;

    #[test]
    fn is_forty_bytes() {
        assert_eq!(size_of::<Str>(), 40);
    }

    #[test]
    fn long_text_shares_its_buffer_until_detached() {
        let buffer = Bytes::from("x".repeat(100));
        let shared = Str::from_raw(Raw::new(&buffer[10..90], &buffer)).unwrap();
        assert_eq!(shared.as_bytes().as_ptr(), buffer[10..].as_ptr());
        let own = shared.detach();
        assert_eq!(own, shared);
        assert_ne!(own.as_bytes().as_ptr(), shared.as_bytes().as_ptr());
    }

    #[test]
    fn what_is_not_utf8_is_refused() {
        let error = Str::from_raw(Raw::plain(b"ab\xff")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "expected UTF-8 text, found 3 bytes that are not (first bad byte at 2)"
        );
    }

    proptest! {
        #[test]
        fn behaves_as_str(a in "\\PC{0,60}", b in "\\PC{0,60}") {
            let (x, y) = (Str::from(a.as_str()), Str::from(b.clone()));
            prop_assert_eq!(x.as_str(), &a);
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
            prop_assert_eq!(x == y, a == b);
            prop_assert!(a.as_str().equivalent(&x));
            let hasher = foldhash::fast::FixedState::with_seed(1);
            prop_assert_eq!(hasher.hash_one(&x), hasher.hash_one(a.as_str()));
            let json = serde_json::to_string(&x).unwrap();
            prop_assert_eq!(serde_json::from_str::<Str>(&json).unwrap(), x);
        }
    }
}
