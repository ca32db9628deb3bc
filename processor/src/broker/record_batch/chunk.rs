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
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The bytes the records point into.
    pub buffer: Bytes,
    /// The records, by offset.
    pub records: Vec<RawRecord>,
}

impl Chunk {
    fn bytes(&self, span: Span) -> Option<&[u8]> {
        if span == Span::NULL {
            return None;
        }
        let start = span.start as usize;
        self.buffer.get(start..start + span.len as usize)
    }

    /// The record's key.
    pub fn key(&self, record: &RawRecord) -> Option<&[u8]> {
        self.bytes(record.key)
    }

    /// The record's value.
    pub fn value(&self, record: &RawRecord) -> Option<&[u8]> {
        self.bytes(record.value)
    }
}
