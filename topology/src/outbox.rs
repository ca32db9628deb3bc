//! What a task sends: encoded records in the order they were made, in one arena that is reused round after round.
//!
//! What one node writes is in the order of its input. Several nodes that write to one topic (two sinks, dead letters of two
//! sources) write one after the other, round by round.

use std::sync::Arc;

use millstream_state::Timestamp;

use crate::record::Span;

/// A topic the task writes to, resolved once. Numbers are the task's own: see [`Outbox::topic_name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicRef(u32);

impl TopicRef {
    /// A dense number from 0, for tables beside the outbox.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    topic: TopicRef,
    partition: i32,
    timestamp: Timestamp,
    key: Span,
    value: Span,
    headers: Span,
}

/// Encoded records on their way out. Drained by whoever drives the task after every run.
#[derive(Debug, Default)]
pub struct Outbox {
    topics: Vec<Arc<str>>,
    arena: Vec<u8>,
    entries: Vec<Entry>,
}

/// A record to send.
#[derive(Debug, Clone, Copy)]
pub struct OutRecord<'a> {
    /// The topic's name.
    pub topic: &'a Arc<str>,
    /// The topic's number in this task.
    pub topic_ref: TopicRef,
    /// The partition when the node chose one; else the default partitioner chooses by key bytes.
    pub partition: Option<i32>,
    /// Key bytes or null.
    pub key: Option<&'a [u8]>,
    /// Value bytes or null.
    pub value: Option<&'a [u8]>,
    /// Header block in RecordBatch v2 form; empty means none.
    pub headers: &'a [u8],
    /// Timestamp.
    pub timestamp: Timestamp,
}

impl Outbox {
    /// The number of `topic` in this task; the same name always gives the same number.
    pub fn topic(&mut self, topic: &str) -> TopicRef {
        // A task writes to a handful of topics and nodes keep the number, so a scan will do.
        let at = self.topics.iter().position(|t| &**t == topic).unwrap_or_else(|| {
            self.topics.push(topic.into());
            self.topics.len() - 1
        });
        TopicRef(at as u32)
    }

    /// The name behind a number.
    pub fn topic_name(&self, topic: TopicRef) -> Option<&Arc<str>> {
        self.topics.get(topic.index())
    }

    /// Adds a record whose bytes are at hand.
    pub fn push(
        &mut self,
        topic: TopicRef,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp: Timestamp,
        headers: &[u8],
    ) {
        let copy = |bytes: Option<&[u8]>, out: &mut Vec<u8>| {
            out.extend_from_slice(bytes.unwrap_or_default());
            bytes.is_some()
        };
        self.encode(topic, timestamp, headers, |out| copy(key, out), |out| copy(value, out));
    }

    /// Adds a record by encoding it in place: no copy. `key` and `value` append their bytes and say whether they are
    /// anything but null.
    #[inline]
    pub fn encode(
        &mut self,
        topic: TopicRef,
        timestamp: Timestamp,
        headers: &[u8],
        key: impl FnOnce(&mut Vec<u8>) -> bool,
        value: impl FnOnce(&mut Vec<u8>) -> bool,
    ) {
        let key = self.part(key);
        let value = self.part(value);
        let headers = match headers {
            [] => Span::EMPTY,
            block => self.part(|out| {
                out.extend_from_slice(block);
                true
            }),
        };
        self.entries.push(Entry {
            topic,
            partition: -1,
            timestamp,
            key,
            value,
            headers,
        });
    }

    #[inline]
    fn part(&mut self, write: impl FnOnce(&mut Vec<u8>) -> bool) -> Span {
        let start = self.arena.len();
        if !write(&mut self.arena) {
            self.arena.truncate(start);
            return Span::NULL;
        }
        // Spans hold 4 GiB; a run is drained long before, at a few hundred rows.
        Span {
            start: start as u32,
            len: (self.arena.len() - start) as u32,
        }
    }

    /// The records, in the order they were made.
    pub fn records(&self) -> impl ExactSizeIterator<Item = OutRecord<'_>> {
        self.entries.iter().map(|e| OutRecord {
            topic: &self.topics[e.topic.index()],
            topic_ref: e.topic,
            partition: (e.partition >= 0).then_some(e.partition),
            key: e.key.of(&self.arena),
            value: e.value.of(&self.arena),
            headers: e.headers.of(&self.arena).unwrap_or_default(),
            timestamp: e.timestamp,
        })
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of keys, values and headers.
    pub fn bytes(&self) -> usize {
        self.arena.len()
    }

    /// Forgets the records and keeps the memory.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.entries.clear();
    }
}
