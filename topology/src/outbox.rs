//! What a task sends: encoded records in the order they were made, in one arena that is reused round after round.
//!
//! What one node writes is in the order of its input. Several nodes that write to one topic (two sinks, dead letters of two
//! sources) write one after the other, round by round.

use std::sync::Arc;

use millstream_state::Timestamp;

/// A topic the task writes to, resolved once. Numbers are the task's own: see [`Outbox::topic_name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicRef(u32);

impl TopicRef {
    /// A dense number from 0, for tables beside the outbox.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The node that made a record. Numbers are the task's own: see [`Outbox::node_name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeRef(pub(crate) u32);

/// Key, value and headers lie one after the other in the arena, from `start`.
#[derive(Debug, Clone, Copy)]
struct Entry {
    start: usize,
    topic: TopicRef,
    node: NodeRef,
    timestamp: Timestamp,
    key: Len,
    /// How much of the key says where it belongs.
    partition_part: u32,
    value: Len,
    headers: u32,
}

/// Length of a part; null is told apart from zero bytes.
#[derive(Debug, Clone, Copy)]
struct Len(u32);

impl Len {
    const NULL: Len = Len(u32::MAX);

    #[inline]
    fn bytes(self) -> usize {
        if self.0 == u32::MAX { 0 } else { self.0 as usize }
    }

    #[inline]
    fn part(self, bytes: &[u8]) -> Option<&[u8]> {
        (self.0 != u32::MAX).then_some(bytes)
    }
}

/// Encoded records on their way out. Drained by whoever drives the task after every run.
#[derive(Debug)]
pub struct Outbox {
    topics: Vec<Arc<str>>,
    nodes: Vec<Arc<str>>,
    /// Who writes now.
    node: NodeRef,
    arena: Vec<u8>,
    entries: Vec<Entry>,
}

impl Default for Outbox {
    /// The outbox of nobody in particular: records have a node's number, but no name behind it.
    fn default() -> Self {
        Outbox::new(Vec::new())
    }
}

/// A record to send.
#[derive(Debug, Clone, Copy)]
pub struct OutRecord<'a> {
    /// The topic's name.
    pub topic: &'a Arc<str>,
    /// The topic's number in this task.
    pub topic_ref: TopicRef,
    /// The node that made it.
    pub node: NodeRef,
    /// Key bytes or null.
    pub key: Option<&'a [u8]>,
    /// The part of the key the partitioner hashes: all of it, save for windowed keys, whose window does not count.
    pub partition_key: Option<&'a [u8]>,
    /// Value bytes or null.
    pub value: Option<&'a [u8]>,
    /// Header block in RecordBatch v2 form; empty means none.
    pub headers: &'a [u8],
    /// Timestamp.
    pub timestamp: Timestamp,
}

impl Outbox {
    /// The empty outbox of a task whose nodes have these names.
    pub fn new(nodes: Vec<Arc<str>>) -> Self {
        Outbox {
            topics: Vec::new(),
            nodes,
            node: NodeRef(0),
            arena: Vec::new(),
            entries: Vec::new(),
        }
    }

    /// What comes from now on is of this node.
    pub(crate) fn of_node(&mut self, node: u32) {
        self.node = NodeRef(node);
    }

    /// The name of the node behind a number.
    pub fn node_name(&self, node: NodeRef) -> &str {
        self.nodes.get(node.0 as usize).map_or("", |name| name)
    }

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
        self.encode(
            topic,
            timestamp,
            headers,
            |out| copy(key, out),
            <[u8]>::len,
            |out| copy(value, out),
        );
    }

    /// Adds a record by encoding it in place: no copy. `key` and `value` append their bytes and say whether they are
    /// anything but null; `partition_part` says how many of the key's bytes the partitioner hashes.
    #[inline]
    pub fn encode(
        &mut self,
        topic: TopicRef,
        timestamp: Timestamp,
        headers: &[u8],
        key: impl FnOnce(&mut Vec<u8>) -> bool,
        partition_part: impl FnOnce(&[u8]) -> usize,
        value: impl FnOnce(&mut Vec<u8>) -> bool,
    ) {
        let start = self.arena.len();
        let key = self.part(key);
        let partition_part = partition_part(&self.arena[start..]) as u32;
        let value = self.part(value);
        if !headers.is_empty() {
            self.arena.extend_from_slice(headers);
        }
        let headers = headers.len() as u32;
        self.entries.push(Entry {
            start,
            topic,
            node: self.node,
            timestamp,
            key,
            partition_part,
            value,
            headers,
        });
    }

    #[inline]
    fn part(&mut self, write: impl FnOnce(&mut Vec<u8>) -> bool) -> Len {
        let start = self.arena.len();
        if !write(&mut self.arena) {
            self.arena.truncate(start);
            return Len::NULL;
        }
        // Kafka's records hold less than 2 GiB; the sink refuses what is longer (door 3).
        Len((self.arena.len() - start).min(u32::MAX as usize - 1) as u32)
    }

    /// The records, in the order they were made.
    pub fn records(&self) -> impl ExactSizeIterator<Item = OutRecord<'_>> {
        self.entries.iter().map(|e| {
            let (key, rest) = self.arena[e.start..].split_at(e.key.bytes());
            let (value, rest) = rest.split_at(e.value.bytes());
            OutRecord {
                topic: &self.topics[e.topic.index()],
                topic_ref: e.topic,
                node: e.node,
                key: e.key.part(key),
                partition_key: e.key.part(&key[..e.partition_part as usize]),
                value: e.value.part(value),
                headers: &rest[..e.headers as usize],
                timestamp: e.timestamp,
            }
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
