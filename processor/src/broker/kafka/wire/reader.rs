//! Reads answers. Nothing in them is believed before it is held against the bytes at hand.

use std::fmt;

use bytes::{Buf as _, Bytes};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

/// An answer that does not follow its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(String);

impl Malformed {
    /// `what` says what was expected and what is there.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

type Result<T> = std::result::Result<T, Malformed>;

/// A place in an answer. Strings and byte fields that it gives out share the answer's buffer.
///
/// Kafka writes lengths in two ways: "flexible" versions of a request use variable-length integers and end each
/// structure with tagged fields, older ones use fixed integers and have no tags. The reader knows which it has before
/// it, so that a decoder is written once.
#[derive(Debug, Clone)]
pub struct Reader {
    bytes: Bytes,
    flexible: bool,
    length: usize,
}

impl Reader {
    /// At the beginning of `bytes`.
    pub fn new(bytes: Bytes, flexible: bool) -> Self {
        let length = bytes.len();
        Self {
            bytes,
            flexible,
            length,
        }
    }

    /// How many bytes are still to be read.
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Everything that is still to be read.
    pub fn rest(self) -> Bytes {
        self.bytes
    }

    fn short(&self, what: &str) -> Malformed {
        Malformed(format!("it ends at byte {} in the middle of {what}", self.length))
    }

    fn at(&self) -> usize {
        self.length - self.bytes.len()
    }

    /// A boolean; every byte but 0 is true, as for Kafka itself.
    pub fn bool(&mut self) -> Result<bool> {
        Ok(self.i8()? != 0)
    }

    /// One byte.
    pub fn i8(&mut self) -> Result<i8> {
        self.bytes.try_get_i8().map_err(|_| self.short("a number"))
    }

    /// Two bytes.
    pub fn i16(&mut self) -> Result<i16> {
        self.bytes.try_get_i16().map_err(|_| self.short("a number"))
    }

    /// Four bytes.
    pub fn i32(&mut self) -> Result<i32> {
        self.bytes.try_get_i32().map_err(|_| self.short("a number"))
    }

    /// Eight bytes.
    pub fn i64(&mut self) -> Result<i64> {
        self.bytes.try_get_i64().map_err(|_| self.short("a number"))
    }

    /// A topic's id.
    pub fn uuid(&mut self) -> Result<Uuid> {
        let id = self.bytes.try_get_u128().map_err(|_| self.short("an id"))?;
        Ok(Uuid::from_u128(id))
    }

    /// An unsigned integer of at most five bytes, seven bits in each.
    pub fn varint(&mut self) -> Result<u32> {
        let mut value = 0_u32;
        for shift in (0..35).step_by(7) {
            let byte = self.bytes.try_get_u8().map_err(|_| self.short("a number"))?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0xf {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed(format!("the number before byte {} is too large", self.at())))
    }

    /// A length or a count: `None` is Kafka's null.
    fn length(&mut self, fixed: fn(&mut Self) -> Result<i32>) -> Result<Option<usize>> {
        if self.flexible {
            return Ok((self.varint()? as usize).checked_sub(1));
        }
        match fixed(self)? {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length) => Ok(Some(length)),
                Err(_) => Err(Malformed(format!("the length before byte {} is {length}", self.at()))),
            },
        }
    }

    fn take(&mut self, length: usize, what: &str) -> Result<Bytes> {
        if length > self.bytes.len() {
            return Err(self.short(what));
        }
        Ok(self.bytes.split_to(length))
    }

    /// A string, or null.
    pub fn nullable_string(&mut self) -> Result<Option<StrBytes>> {
        let Some(length) = self.length(|reader| reader.i16().map(i32::from))? else {
            return Ok(None);
        };
        let text = StrBytes::from_utf8(self.take(length, "a string")?);
        match text {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(Malformed(format!("the string before byte {} is not UTF-8", self.at()))),
        }
    }

    /// A string.
    pub fn string(&mut self) -> Result<StrBytes> {
        let text = self.nullable_string()?;
        text.ok_or_else(|| Malformed(format!("a string is null at byte {}", self.at())))
    }

    /// Bytes, or null: a record set, for one.
    pub fn nullable_bytes(&mut self) -> Result<Option<Bytes>> {
        match self.length(Self::i32)? {
            None => Ok(None),
            Some(length) => Ok(Some(self.take(length, "bytes")?)),
        }
    }

    /// Calls `each` for each element of an array; null is taken for the empty array. The count decides only how often
    /// `each` is called, and no element may be empty: so not even a hostile count runs longer than the bytes last.
    pub fn each(&mut self, mut each: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        let count = self.length(Self::i32)?.unwrap_or(0);
        if count > self.bytes.len() {
            let (at, left) = (self.at(), self.bytes.len());
            return Err(Malformed(format!(
                "the array at byte {at} has {count} elements in {left} bytes"
            )));
        }
        (0..count).try_for_each(|_| each(self))
    }

    /// The elements of an array. Grows with what is read, not by the count.
    pub fn array<T>(&mut self, mut element: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut elements = Vec::new();
        self.each(|reader| {
            elements.push(element(reader)?);
            Ok(())
        })?;
        Ok(elements)
    }

    /// The tagged fields at the end of a structure: `field` reads those it knows, each from a reader of its own. Nothing
    /// in versions without tags.
    pub fn tags(&mut self, mut field: impl FnMut(u32, &mut Self) -> Result<()>) -> Result<()> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.varint()? {
            let tag = self.varint()?;
            let length = self.varint()? as usize;
            let value = self.take(length, "a tagged field")?;
            field(tag, &mut Self::new(value, true))?;
        }
        Ok(())
    }

    /// Steps over the tagged fields.
    pub fn skip_tags(&mut self) -> Result<()> {
        self.tags(|_, _| Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &'static [u8], flexible: bool) -> Reader {
        Reader::new(Bytes::from_static(bytes), flexible)
    }

    #[test]
    fn both_ways_of_writing_lengths_are_read() {
        let mut old = reader(b"\0\x02hi\xff\xff\0\0\0\x01x\xff\xff\xff\xff", false);
        assert_eq!(&*old.string().unwrap(), "hi");
        assert_eq!(old.nullable_string().unwrap(), None);
        assert_eq!(old.nullable_bytes().unwrap().unwrap(), "x");
        assert!(old.array(Reader::i8).unwrap().is_empty());
        old.skip_tags().unwrap();
        assert_eq!(old.remaining(), 0);

        let mut new = reader(b"\x03hi\0\x02x\x03\x07\x08\x01\x05\x02zz", true);
        assert_eq!(&*new.string().unwrap(), "hi");
        assert_eq!(new.nullable_string().unwrap(), None);
        assert_eq!(new.nullable_bytes().unwrap().unwrap(), "x");
        assert_eq!(new.array(Reader::i8).unwrap(), [7, 8]);
        let mut seen = Vec::new();
        new.tags(|tag, value| {
            seen.push((tag, value.remaining()));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, [(5, 2)]);
        assert_eq!(new.remaining(), 0);
    }

    #[test]
    fn what_is_not_there_is_an_error_and_takes_no_memory() {
        let huge = |flexible| {
            reader(
                if flexible {
                    b"\xff\xff\xff\xff\x0f\0\0"
                } else {
                    b"\x7f\xff\xff\xff\0\0"
                },
                flexible,
            )
        };
        for flexible in [false, true] {
            let error = huge(flexible).array(Reader::i8).unwrap_err().to_string();
            assert!(error.contains("elements in 2 bytes"), "{error}");
            assert!(huge(flexible).nullable_bytes().is_err());
            assert!(huge(flexible).string().is_err());
        }
        assert!(reader(b"\xff\xfe", false).string().is_err(), "a negative length");
        assert!(reader(b"\xff\xff\xff\xff\xff\x01", true).varint().is_err(), "36 bits");
        assert!(reader(b"\x02\xff", true).string().is_err(), "no UTF-8");
        assert!(reader(b"", true).skip_tags().is_err());
        assert!(reader(b"\0\0\0", false).i32().is_err());
    }

    #[test]
    fn the_largest_number_of_five_bytes_is_read() {
        assert_eq!(reader(b"\xff\xff\xff\xff\x0f", true).varint(), Ok(u32::MAX));
        assert!(reader(b"\xff\xff\xff\xff\x1f", true).varint().is_err());
    }
}
