//! Stand-in for the topology's `Chunk` until it has landed there.

use std::sync::Arc;

use bytes::Bytes;

/// A place in a chunk's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Number of bytes; `u32::MAX` means null.
    pub len: u32,
}

impl Span {
    /// No value.
    pub const NULL: Span = Span {
        start: 0,
        len: u32::MAX,
    };
    /// No bytes.
    pub const EMPTY: Span = Span { start: 0, len: 0 };
}

/// One record of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawRecord {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp in ms.
    pub timestamp: i64,
    /// Its key.
    pub key: Span,
    /// Its value.
    pub value: Span,
    /// Its headers in RecordBatch v2 form; empty when it has none.
    pub headers: Span,
}

/// Records of one partition that point into one buffer.
#[derive(Debug)]
pub struct Chunk {
    topic: Arc<str>,
    partition: i32,
    buffer: Bytes,
    records: Vec<RawRecord>,
}

impl Chunk {
    /// A chunk of `records`, whose offsets must ascend.
    pub fn new(topic: Arc<str>, partition: i32, buffer: Bytes, records: Vec<RawRecord>) -> Self {
        Self {
            topic,
            partition,
            buffer,
            records,
        }
    }

    /// The topic these records were fetched from.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// The partition these records were fetched from.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// All records, in offset order.
    pub fn records(&self) -> &[RawRecord] {
        &self.records
    }

    fn bytes(&self, span: Span) -> Option<&[u8]> {
        if span == Span::NULL {
            return None;
        }
        let start = span.start as usize;
        self.buffer.get(start..start + span.len as usize)
    }

    /// Key bytes, `None` for null.
    pub fn key(&self, record: &RawRecord) -> Option<&[u8]> {
        self.bytes(record.key)
    }

    /// Value bytes, `None` for null.
    pub fn value(&self, record: &RawRecord) -> Option<&[u8]> {
        self.bytes(record.value)
    }

    /// The header block as fetched; empty when there are none.
    pub fn header_block(&self, record: &RawRecord) -> &[u8] {
        self.bytes(record.headers).unwrap_or_default()
    }
}
