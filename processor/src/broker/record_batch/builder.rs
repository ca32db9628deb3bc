//! Builds a batch record by record, without an allocation per record.

use super::{
    BASE_TIMESTAMP_AT, COUNT_AT, CRC_AT, HEADER_LEN, LAST_DELTA_AT, LENGTH_END, MAGIC_AT, MAX_TIMESTAMP_AT,
    PRODUCER_AT, set_base_offset, varint,
};

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

        let mut head = [0u8; MAX_RECORD_HEAD];
        let mut end = varint::put(&mut head, 0, body as i64);
        end += 1; // attributes: 0
        end = varint::put(&mut head, end, age);
        end = varint::put(&mut head, end, i64::from(delta));
        end = varint::put(&mut head, end, key_len);
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

    /// Closes the batch and returns its bytes, with base offset 0 and the checksum in place; `None` when it is empty.
    /// The builder is empty afterwards.
    pub fn seal(&mut self) -> Option<Vec<u8>> {
        if self.is_empty() {
            return None;
        }
        let done = std::mem::take(self);
        let mut batch = done.buffer;
        let rest = (batch.len() - LENGTH_END) as i32;
        set_base_offset(&mut batch, 0);
        put(&mut batch, 8, &rest.to_be_bytes());
        put(&mut batch, LENGTH_END, &0i32.to_be_bytes());
        put(&mut batch, MAGIC_AT, &[2]);
        put(&mut batch, LAST_DELTA_AT, &done.last_delta.to_be_bytes());
        put(&mut batch, BASE_TIMESTAMP_AT, &done.base_timestamp.to_be_bytes());
        put(&mut batch, MAX_TIMESTAMP_AT, &done.max_timestamp.to_be_bytes());
        // No producer: id -1, epoch -1, sequence -1.
        put(&mut batch, PRODUCER_AT, &[0xff; COUNT_AT - PRODUCER_AT]);
        put(&mut batch, COUNT_AT, &done.count.to_be_bytes());
        let crc = crc32c::crc32c(&batch[CRC_AT + 4..]);
        put(&mut batch, CRC_AT, &crc.to_be_bytes());
        Some(batch)
    }

    /// Drops the records and keeps the memory.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.count = 0;
        self.last_delta = 0;
    }
}

fn put(batch: &mut [u8], at: usize, bytes: &[u8]) {
    batch[at..at + bytes.len()].copy_from_slice(bytes);
}
