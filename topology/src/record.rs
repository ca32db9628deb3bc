//! A record on its way: raw in a fetched chunk, then typed in batches of rows.
//!
//! A [`Batch`] holds the rows of one step in processing order. Its [`Origin`] keeps the fetched bytes alive, so that any
//! node can dead-letter a row, or forward its headers, without the rows carrying either.
#![deny(clippy::indexing_slicing)] // reads what comes from outside

use std::sync::Arc;

use bytes::Bytes;
pub use millstream_state::data::Data;
use millstream_state::{Timestamp, codec::Raw};

use crate::headers::Headers;

/// Part of a chunk's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Number of bytes; `u32::MAX` means null.
    pub len: u32,
}

impl Span {
    /// Kafka's null: no bytes at all, which is not the same as zero bytes.
    pub const NULL: Span = Span {
        start: 0,
        len: u32::MAX,
    };
    /// Zero bytes.
    pub const EMPTY: Span = Span { start: 0, len: 0 };

    /// Number of bytes; none for null.
    #[inline]
    pub fn bytes(self) -> usize {
        if self.len == u32::MAX { 0 } else { self.len as usize }
    }

    /// The bytes of `buffer` this span names; `None` for null, and for a span that does not fit.
    #[inline]
    pub fn of(self, buffer: &[u8]) -> Option<&[u8]> {
        if self.len == u32::MAX {
            return None;
        }
        let start = self.start as usize;
        buffer.get(start..start.checked_add(self.len as usize)?)
    }
}

/// One record as it was fetched; key, value and headers are spans of the chunk's buffer.
#[derive(Debug, Clone, Copy)]
pub struct RawRecord {
    /// Position in the partition.
    pub offset: i64,
    /// The record's own timestamp; -1 when the producer gave none.
    pub timestamp: Timestamp,
    /// Key bytes or null.
    pub key: Span,
    /// Value bytes or null.
    pub value: Span,
    /// Header block as in RecordBatch v2 (count, then name and value of each); zero bytes mean none.
    pub headers: Span,
}

/// Records of one partition, in offset order, that point into ONE buffer. What the seam to the log delivers.
#[derive(Debug)]
pub struct Chunk {
    topic: Arc<str>,
    partition: i32,
    buffer: Bytes,
    records: Vec<RawRecord>,
    has_headers: bool,
}

impl Chunk {
    /// A chunk of `records`, whose offsets must ascend.
    pub fn new(topic: Arc<str>, partition: i32, buffer: Bytes, records: Vec<RawRecord>) -> Self {
        debug_assert!(
            records.is_sorted_by(|a, b| a.offset < b.offset),
            "offsets of {topic}-{partition} must ascend"
        );
        // A lone zero is the count of an empty block.
        let has_headers = records.iter().any(|r| r.headers.len != u32::MAX && r.headers.len > 1);
        Chunk {
            topic,
            partition,
            buffer,
            records,
            has_headers,
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
    #[inline]
    pub fn records(&self) -> &[RawRecord] {
        &self.records
    }

    /// The bytes all records point into. A handle on it keeps the whole chunk in memory.
    #[inline]
    pub fn buffer(&self) -> &Bytes {
        &self.buffer
    }

    /// Whether any record has headers: most topics have none, and then nobody looks for them.
    #[inline]
    pub fn has_headers(&self) -> bool {
        self.has_headers
    }

    /// Key bytes, `None` for null.
    #[inline]
    pub fn key(&self, record: &RawRecord) -> Option<&[u8]> {
        record.key.of(&self.buffer)
    }

    /// Value bytes, `None` for null.
    #[inline]
    pub fn value(&self, record: &RawRecord) -> Option<&[u8]> {
        record.value.of(&self.buffer)
    }

    /// `bytes` of this chunk for a codec, which may keep a handle on the buffer.
    #[inline]
    pub fn raw<'a>(&'a self, bytes: &'a [u8]) -> Raw<'a> {
        Raw::new(bytes, &self.buffer)
    }

    /// The header block as fetched; empty when there are none.
    #[inline]
    pub fn header_block(&self, record: &RawRecord) -> &[u8] {
        record.headers.of(&self.buffer).unwrap_or_default()
    }

    /// Header names (bytes: they need not be UTF-8) and values.
    pub fn headers(&self, record: &RawRecord) -> Headers<'_> {
        Headers::new(self.header_block(record))
    }

    /// The record with this offset.
    pub fn by_offset(&self, offset: i64) -> Option<&RawRecord> {
        let first = self.records.first()?.offset;
        // Offsets are nearly always without gaps, so look where it should be first.
        let guess = usize::try_from(offset.checked_sub(first)?).ok()?;
        if let Some(record) = self.records.get(guess).filter(|r| r.offset == offset) {
            return Some(record);
        }
        let at = self.records.binary_search_by_key(&offset, |r| r.offset).ok()?;
        self.records.get(at)
    }

    /// Memory held: the buffer and the index into it.
    pub fn memory(&self) -> usize {
        self.buffer.len() + self.records.len() * size_of::<RawRecord>()
    }
}

/// Which record of its round a row comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// Offset of the record; -1 for a row that comes from state.
    pub offset: i64,
    /// The record's sequence number in this round.
    pub seq: u32,
}

/// A typed record.
#[derive(Debug, Clone, PartialEq)]
pub struct Row<K, V> {
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
    /// Event time.
    pub timestamp: Timestamp,
    /// Offset of the record this row comes from; -1 for a row that comes from state (a flush, a timer).
    pub offset: i64,
    /// Place in the round, given where the task picks records: one sequence over all its partitions. Rows made from one
    /// record share its number. Operators with two inputs replay rows by it, so that no cut into batches can be seen.
    pub seq: u32,
}

impl<K, V> Row<K, V> {
    /// The `seq` of rows that come from state: after every record of the round.
    pub const AFTER_ALL: u32 = u32::MAX;

    /// A row that comes from state rather than from a record.
    pub fn from_state(key: K, value: V, timestamp: Timestamp) -> Self {
        Row {
            key,
            value,
            timestamp,
            offset: -1,
            seq: Self::AFTER_ALL,
        }
    }

    /// Which record this row comes from.
    #[inline]
    pub fn at(&self) -> At {
        At {
            offset: self.offset,
            seq: self.seq,
        }
    }

    /// The same row with another value.
    #[inline]
    pub fn with_value<W>(&self, key: K, value: W) -> Row<K, W> {
        Row {
            key,
            value,
            timestamp: self.timestamp,
            offset: self.offset,
            seq: self.seq,
        }
    }
}

/// Rows in processing order (`seq` never falls).
#[derive(Debug, Clone)]
pub struct Batch<K, V> {
    /// Where the rows come from.
    pub origin: Origin,
    /// The rows.
    pub rows: Vec<Row<K, V>>,
}

impl<K, V> Batch<K, V> {
    /// Rows that come from state.
    pub fn from_state(rows: Vec<Row<K, V>>) -> Self {
        Batch {
            origin: Origin::state(),
            rows,
        }
    }
}

/// The fetched bytes behind the rows of a batch.
#[derive(Debug, Clone, Default)]
pub struct Origin(Source);

#[derive(Debug, Clone, Default)]
enum Source {
    #[default]
    State,
    One(Arc<Chunk>),
    Many(Arc<[Part]>),
}

/// The rows of a merged batch that come from one chunk.
#[derive(Debug, Clone)]
struct Part {
    chunk: Arc<Chunk>,
    seqs: Arc<[u32]>,
}

impl Origin {
    /// Rows that come from state: no fetched bytes.
    pub fn state() -> Self {
        Origin(Source::State)
    }

    /// Rows of one chunk.
    pub fn chunk(chunk: Arc<Chunk>) -> Self {
        Origin(Source::One(chunk))
    }

    /// Rows of several batches, each given with the ascending sequence numbers of its rows.
    pub fn merged(inputs: &[(&Origin, Vec<u32>)]) -> Self {
        let mut parts: Vec<Part> = Vec::with_capacity(inputs.len());
        for (origin, seqs) in inputs {
            match &origin.0 {
                Source::State => {}
                Source::One(chunk) => parts.push(Part {
                    chunk: chunk.clone(),
                    seqs: seqs.as_slice().into(),
                }),
                Source::Many(more) => parts.extend(more.iter().cloned()),
            }
        }
        let Some(first) = parts.first().map(|p| p.chunk.clone()) else {
            return Origin::state();
        };
        if parts.iter().all(|p| Arc::ptr_eq(&p.chunk, &first)) {
            return Origin::chunk(first);
        }
        Origin(Source::Many(parts.into()))
    }

    /// The record a row comes from; `None` for a row that comes from state.
    pub fn find(&self, at: At) -> Option<(&Arc<Chunk>, &RawRecord)> {
        if at.offset < 0 {
            return None;
        }
        let chunk = match &self.0 {
            Source::State => return None,
            Source::One(chunk) => chunk,
            Source::Many(parts) => &parts.iter().find(|p| p.seqs.binary_search(&at.seq).is_ok())?.chunk,
        };
        Some((chunk, chunk.by_offset(at.offset)?))
    }

    /// Whether any record behind these rows has headers.
    #[inline]
    pub fn has_headers(&self) -> bool {
        match &self.0 {
            Source::State => false,
            Source::One(chunk) => chunk.has_headers,
            Source::Many(parts) => parts.iter().any(|p| p.chunk.has_headers),
        }
    }
}

/// A record that was picked for this round and is not decoded yet.
#[derive(Debug, Clone, Copy)]
pub struct Pick {
    /// Index into the chunk's records.
    pub index: u32,
    /// Place in the round.
    pub seq: u32,
    /// Event time so far: the record's own timestamp, or what the future guard clamped it to.
    pub timestamp: Timestamp,
}

/// Picked records of one chunk: what flows from the task's head to sources and parsers.
#[derive(Debug, Clone)]
pub struct RawBatch {
    /// The chunk.
    pub chunk: Arc<Chunk>,
    /// The picked records, in offset order.
    pub picks: Vec<Pick>,
}
