//! Builds a batch record by record, without an allocation per record.

use super::compression::Compression;
use super::deflate::Deflater;
use super::{
    ATTRIBUTES_AT, BASE_TIMESTAMP_AT, COUNT_AT, CRC_AT, HEADER_LEN, LAST_DELTA_AT, LENGTH_END, MAGIC_AT,
    MAX_TIMESTAMP_AT, PRODUCER_AT, set_base_offset, varint,
};
use crate::broker::fault::Result;

/// An open batch. Append, then [`BatchBuilder::seal`]; afterwards it is empty and can be used anew.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    /// The header's place and the records so far; empty before the first record.
    buffer: Vec<u8>,
    count: i32,
    last_delta: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

/// Who writes a batch, and its place among what they write to its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// The producer's id; -1: nobody in particular.
    pub id: i64,
    /// The producer's epoch.
    pub epoch: i16,
    /// The sequence number of the batch's first record.
    pub sequence: i32,
}

impl Sender {
    /// Writes neither idempotently nor in transactions.
    pub const NOBODY: Self = Self {
        id: -1,
        epoch: -1,
        sequence: -1,
    };
}

/// A batch as it is sent.
#[derive(Debug)]
pub struct Sealed {
    /// Its bytes.
    pub batch: Vec<u8>,
    /// A buffer that is not used any more, if it was compressed into another one.
    pub free: Option<Vec<u8>>,
}

/// Varints and attributes before a record's key: length, attributes, timestamp, offset, key length.
const MAX_RECORD_HEAD: usize = 4 * varint::MAX_LEN + 1;

impl BatchBuilder {
    /// An empty batch that grows into `buffer`, which is cleared: its capacity is what is wanted.
    pub fn with_buffer(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Self {
            buffer,
            ..Self::default()
        }
    }

    /// Appends a record at the next offset. `headers` is a header block (see [`super::headers`]) or empty.
    ///
    /// The caller keeps the batch below 2 GiB; see [`BatchBuilder::len_with`].
    #[inline]
    pub fn append(&mut self, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[u8]) {
        let delta = if self.count == 0 { 0 } else { self.last_delta + 1 };
        self.append_at(delta, timestamp, key, value, headers);
    }

    /// Appends a record `delta` offsets behind the batch's base: compaction keeps the offsets of the records it keeps.
    pub fn append_at(&mut self, delta: i32, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[u8]) {
        if self.count == 0 {
            self.buffer.resize(HEADER_LEN, 0);
            self.base_timestamp = timestamp;
            self.max_timestamp = timestamp;
        }
        let age = timestamp.wrapping_sub(self.base_timestamp);
        let headers: &[u8] = if headers.is_empty() { &[0] } else { headers };
        let key_len = key.map_or(-1, |key| key.len() as i64);
        let value_len = value.map_or(-1, |value| value.len() as i64);
        let body = 1
            + varint::len(age)
            + varint::len(i64::from(delta))
            + varint::len(key_len)
            + key.map_or(0, <[u8]>::len)
            + varint::len(value_len)
            + value.map_or(0, <[u8]>::len)
            + headers.len();

        let (mut head, end) = record_head(body, age, delta);
        let end = varint::put(&mut head, end, key_len);
        let mut middle = [0u8; varint::MAX_LEN];
        let middle_end = varint::put(&mut middle, 0, value_len);

        self.buffer.reserve(end + body);
        self.buffer.extend_from_slice(&head[..end]);
        self.buffer.extend_from_slice(key.unwrap_or_default());
        self.buffer.extend_from_slice(&middle[..middle_end]);
        self.buffer.extend_from_slice(value.unwrap_or_default());
        self.buffer.extend_from_slice(headers);
        self.count += 1;
        self.last_delta = delta;
        self.max_timestamp = self.max_timestamp.max(timestamp);
    }

    /// How many records it holds.
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// Whether it holds no record.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Its size in bytes, as it would be sealed now.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Its size at most, with one further record of this content.
    pub fn len_with(&self, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[u8]) -> usize {
        let content = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + headers.len();
        self.len().max(HEADER_LEN) + MAX_RECORD_HEAD + varint::MAX_LEN + 1 + content
    }

    /// Appends all records of `other` behind those of this batch. `other` stays as it is.
    pub fn absorb(&mut self, other: &Self) {
        if self.is_empty() {
            self.buffer.clear();
            self.buffer.extend_from_slice(&other.buffer);
            (self.count, self.last_delta) = (other.count, other.last_delta);
            (self.base_timestamp, self.max_timestamp) = (other.base_timestamp, other.max_timestamp);
            return;
        }
        if other.is_empty() {
            return;
        }
        self.buffer.reserve(other.buffer.len() + other.count as usize);
        let first = self.last_delta + 1;
        let (bytes, mut at) = (other.buffer.as_slice(), HEADER_LEN);
        while let Some(record) = Framed::take(bytes, &mut at) {
            let timestamp = other.base_timestamp.wrapping_add(record.age);
            let age = timestamp.wrapping_sub(self.base_timestamp);
            let delta = first + record.delta as i32;
            let body = 1 + varint::len(age) + varint::len(i64::from(delta)) + record.rest.len();
            let (head, end) = record_head(body, age, delta);
            self.buffer.extend_from_slice(&head[..end]);
            self.buffer.extend_from_slice(record.rest);
        }
        self.count += other.count;
        self.last_delta = first + other.last_delta;
        self.max_timestamp = self.max_timestamp.max(other.max_timestamp);
    }

    /// Closes the batch and returns its bytes, with base offset 0 and the checksum in place; `None` when it is empty.
    /// The builder is empty afterwards.
    pub fn seal(&mut self) -> Option<Vec<u8>> {
        if self.is_empty() {
            return None;
        }
        let mut done = std::mem::take(self);
        done.close(&Sender::NOBODY, Compression::None);
        Some(done.buffer)
    }

    /// As [`BatchBuilder::seal`], as `sender`'s, and compressed unless that would make it larger.
    pub fn seal_as(&mut self, sender: &Sender, deflater: &mut Deflater) -> Result<Option<Sealed>> {
        if self.is_empty() {
            return Ok(None);
        }
        let mut done = std::mem::take(self);
        let records = &done.buffer[HEADER_LEN..];
        let Some(compressed) = deflater.deflate(records, HEADER_LEN)? else {
            done.close(sender, Compression::None);
            return Ok(Some(Sealed {
                batch: done.buffer,
                free: None,
            }));
        };
        let plain = std::mem::replace(&mut done.buffer, compressed);
        done.close(sender, deflater.compression());
        Ok(Some(Sealed {
            batch: done.buffer,
            free: Some(plain),
        }))
    }

    /// Fills in the header.
    fn close(&mut self, sender: &Sender, compression: Compression) {
        let batch = &mut self.buffer;
        let rest = (batch.len() - LENGTH_END) as i32;
        set_base_offset(batch, 0);
        put(batch, 8, &rest.to_be_bytes());
        put(batch, LENGTH_END, &0i32.to_be_bytes());
        put(batch, MAGIC_AT, &[2]);
        put(batch, ATTRIBUTES_AT, &compression.bits().to_be_bytes());
        put(batch, LAST_DELTA_AT, &self.last_delta.to_be_bytes());
        put(batch, BASE_TIMESTAMP_AT, &self.base_timestamp.to_be_bytes());
        put(batch, MAX_TIMESTAMP_AT, &self.max_timestamp.to_be_bytes());
        put(batch, PRODUCER_AT, &sender.id.to_be_bytes());
        put(batch, PRODUCER_AT + 8, &sender.epoch.to_be_bytes());
        put(batch, PRODUCER_AT + 10, &sender.sequence.to_be_bytes());
        put(batch, COUNT_AT, &self.count.to_be_bytes());
        let crc = crc32c::crc32c(&batch[CRC_AT + 4..]);
        put(batch, CRC_AT, &crc.to_be_bytes());
    }

    /// Drops the records and keeps the memory.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.count = 0;
        self.last_delta = 0;
    }
}

/// A record as this builder has written it.
struct Framed<'a> {
    age: i64,
    delta: i64,
    /// From its key on.
    rest: &'a [u8],
}

impl<'a> Framed<'a> {
    fn take(bytes: &'a [u8], at: &mut usize) -> Option<Self> {
        let len = varint::take(bytes, at)?;
        let end = *at + usize::try_from(len).ok()?;
        *at += 1; // attributes
        let age = varint::take(bytes, at)?;
        let delta = varint::take(bytes, at)?;
        let rest = bytes.get(*at..end)?;
        *at = end;
        Some(Self { age, delta, rest })
    }
}

/// What stands before a record's key, but its length: the length of what follows, attributes, timestamp, offset. With where
/// that ends.
#[inline(always)]
fn record_head(body: usize, age: i64, delta: i32) -> ([u8; MAX_RECORD_HEAD], usize) {
    let mut head = [0u8; MAX_RECORD_HEAD];
    let mut end = varint::put(&mut head, 0, body as i64);
    end += 1; // attributes: 0
    end = varint::put(&mut head, end, age);
    end = varint::put(&mut head, end, i64::from(delta));
    (head, end)
}

fn put(batch: &mut [u8], at: usize, bytes: &[u8]) {
    batch[at..at + bytes.len()].copy_from_slice(bytes);
}
