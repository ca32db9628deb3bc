//! The seam to the log: topics with partitions, read and written as record batches.
//!
//! One trait family, three rooms of code behind it. `record_batch` is the unit both ways (Kafka's RecordBatch v2);
//! `local` is the embedded durable log; `kafka` is the only folder that names the Kafka client. Every implementation
//! passes one suite, `contract`.
//!
//! What holds for all of them:
//! - a fetched [`Chunk`] holds records of one partition in offset order, all pointing into one buffer;
//! - positions are explicit: nothing here picks a starting offset or commits on its own;
//! - a [`Sink::commit`] returns after every appended record is durable, and only then are the offsets committed (CO-1);
//! - a call that fails says what to do next by its [`FaultKind`].

mod alone;
#[cfg(any(test, feature = "testing"))]
pub mod contract;
#[cfg(any(test, feature = "testing"))]
pub mod dice;
pub mod fault;
pub mod kafka;
pub mod local;
mod partitions;
mod pending_offsets;
pub mod record_batch;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use fault::{Fault, FaultKind, Result};
pub use pending_offsets::PendingOffsets;

pub use millstream_topology::record::{Chunk, RawRecord, Span};

/// One partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition, counted from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A log and everything that is done with it. Cheap to share between threads; each thread takes its own handles.
pub trait Broker: Send + Sync {
    /// Names the log for people: `local log in ./data`, `Kafka at localhost:9092`.
    fn describe(&self) -> String;

    /// Questions about topics and offsets, and changes to topics.
    fn admin(&self) -> &dyn Admin;

    /// A new reader without any partition.
    fn fetch(&self, config: &FetchConfig) -> Result<Box<dyn Fetch>>;

    /// A new writer.
    fn sink(&self, config: &SinkConfig) -> Result<Box<dyn Sink>>;

    /// A new member of a consumer group.
    fn membership(&self, config: &MembershipConfig) -> Result<Box<dyn Membership>>;
}

/// Settings of a reader.
#[derive(Debug, Clone)]
pub struct FetchConfig {
    /// Shown in logs and to the broker as the client's name.
    pub name: String,
    /// About how many bytes of records one poll hands out for one partition. A record that is larger comes alone.
    pub max_partition_bytes: usize,
    /// About how many bytes of records one poll hands out in all.
    pub max_poll_bytes: usize,
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self {
            name: "millstream-fetch".into(),
            max_partition_bytes: 1 << 20,
            max_poll_bytes: 4 << 20,
        }
    }
}

/// Settings of a writer.
#[derive(Debug, Clone)]
pub struct SinkConfig {
    /// Shown in logs and to the broker as the client's name.
    pub name: String,
    /// How long a commit waits for acknowledgements before it gives up with [`FaultKind::Retry`].
    pub delivery_timeout: Duration,
}

impl Default for SinkConfig {
    fn default() -> Self {
        Self {
            name: "millstream-sink".into(),
            delivery_timeout: Duration::from_secs(120),
        }
    }
}

/// Settings of a group member.
#[derive(Debug, Clone)]
pub struct MembershipConfig {
    /// The consumer group, which is the application's id.
    pub group: Arc<str>,
    /// Kafka's `group.instance.id`: keeps its tasks over a quick restart.
    pub instance_id: Option<String>,
}

/// Topics and offsets, asked and changed.
pub trait Admin: Send + Sync {
    /// All topics, sorted by name; without the log's own internal ones.
    fn topics(&self) -> Result<Vec<TopicInfo>>;

    /// One topic, or `None` when it does not exist.
    fn describe(&self, topic: &str) -> Result<Option<TopicInfo>>;

    /// How many partitions each topic has, of all that [`Admin::topics`] would name; asks for nothing else.
    fn partition_counts(&self) -> Result<BTreeMap<Arc<str>, i32>> {
        let topics = self.topics()?;
        Ok(topics.into_iter().map(|info| (info.name, info.partitions)).collect())
    }

    /// How many partitions a topic has, or `None` when it does not exist; asks for nothing else.
    fn partition_count(&self, topic: &str) -> Result<Option<i32>> {
        Ok(self.describe(topic)?.map(|info| info.partitions))
    }

    /// As [`Admin::describe`], for several topics: those that exist.
    fn describe_all(&self, topics: &[&str]) -> Result<Vec<TopicInfo>> {
        topics
            .iter()
            .filter_map(|topic| self.describe(topic).transpose())
            .collect()
    }

    /// Creates a topic. `Misuse` when one of that name exists.
    fn create(&self, spec: &TopicSpec) -> Result<()>;

    /// Creates topics. After an error some may be there.
    fn create_all(&self, specs: &[TopicSpec]) -> Result<()> {
        specs.iter().try_for_each(|spec| self.create(spec))
    }

    /// Deletes a topic with its records and committed offsets. A topic that does not exist is no error.
    fn delete(&self, topic: &str) -> Result<()>;

    /// The offset of the first record that can be read, for each partition asked.
    fn start_offsets(&self, partitions: &[TopicPartition]) -> Result<Vec<i64>>;

    /// The offset after the last record that can be read, for each partition asked.
    fn end_offsets(&self, partitions: &[TopicPartition]) -> Result<Vec<i64>>;

    /// Both of these: the first offset that can be read, and the one after the last.
    fn bounds(&self, partitions: &[TopicPartition]) -> Result<Vec<(i64, i64)>> {
        let starts = self.start_offsets(partitions)?;
        Ok(starts.into_iter().zip(self.end_offsets(partitions)?).collect())
    }

    /// What a group has committed, for each partition asked.
    fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Option<Committed>>>;

    /// Deletes all records before the given offsets (a repartition topic's consumed part).
    fn delete_records(&self, before: &[(TopicPartition, i64)]) -> Result<()>;
}

/// A topic as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: Arc<str>,
    /// How many partitions it has.
    pub partitions: i32,
    /// What becomes of old records.
    pub cleanup: Cleanup,
    /// Records older than this may be deleted; `None` keeps them for ever.
    pub retention_ms: Option<i64>,
    /// The largest batch it takes, in bytes.
    pub max_message_bytes: usize,
}

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name: letters, digits, `.`, `_` and `-`, at most 249.
    pub name: Arc<str>,
    /// How many partitions; at least 1.
    pub partitions: i32,
    /// Copies of each partition; `None` leaves it to the broker.
    pub replication: Option<i16>,
    /// What becomes of old records.
    pub cleanup: Cleanup,
    /// Records older than this may be deleted; `None` keeps them for ever.
    pub retention_ms: Option<i64>,
    /// Oldest batches go when a partition has grown beyond this; `None` sets no bound.
    pub retention_bytes: Option<u64>,
    /// The largest batch it takes, in bytes; `None` leaves it to the broker.
    pub max_message_bytes: Option<usize>,
    /// Further settings by Kafka's names. A log that has no use for one ignores it.
    pub extra: Vec<(String, String)>,
}

impl TopicSpec {
    /// A topic that keeps every record for ever.
    pub fn new(name: impl Into<Arc<str>>, partitions: i32) -> Self {
        Self {
            name: name.into(),
            partitions,
            replication: None,
            cleanup: Cleanup::Delete,
            retention_ms: None,
            retention_bytes: None,
            max_message_bytes: None,
            extra: Vec::new(),
        }
    }

    /// The same topic with another clean-up.
    pub fn cleanup(mut self, cleanup: Cleanup) -> Self {
        self.cleanup = cleanup;
        self
    }
}

/// What becomes of a topic's old records; Kafka's `cleanup.policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cleanup {
    /// They go by age and size.
    Delete,
    /// The last one of each key stays.
    Compact,
    /// Both.
    CompactDelete,
}

impl Cleanup {
    /// As the setting is written: `delete`, `compact`, `compact,delete`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Compact => "compact",
            Self::CompactDelete => "compact,delete",
        }
    }

    /// Reads the setting; the order of the words is free.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words: Vec<&str> = text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
        words.sort_unstable();
        match words.as_slice() {
            ["delete"] => Some(Self::Delete),
            ["compact"] => Some(Self::Compact),
            ["compact", "delete"] => Some(Self::CompactDelete),
            _ => None,
        }
    }

    /// Whether only the last record of each key is kept.
    pub fn compacts(self) -> bool {
        self != Self::Delete
    }

    /// Whether records go by age and size.
    pub fn deletes(self) -> bool {
        self != Self::Compact
    }
}

/// What a group committed for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to read.
    pub offset: i64,
    /// The text that was committed with it.
    pub metadata: String,
}

/// A reader of assigned partitions. Used by one thread.
pub trait Fetch: Send {
    /// Changes what is read: `Some(offset)` starts a partition there or moves it (records of the old position are not
    /// handed out any more), `None` stops reading it. Partitions not named stay as they are.
    fn assign(&mut self, diff: &[(TopicPartition, Option<i64>)]) -> Result<()>;

    /// Hands out nothing from these partitions until [`Fetch::resume`]. Positions stay.
    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<()>;

    /// Undoes [`Fetch::pause`].
    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<()>;

    /// Appends what has arrived to `out`; waits up to `timeout` when nothing has. Ends early when woken.
    fn poll(&mut self, timeout: Duration, out: &mut Vec<FetchEvent>) -> Result<()>;

    /// A handle that ends a waiting [`Fetch::poll`] from another thread.
    fn waker(&self) -> Waker;
}

/// Ends a waiting poll; to be called from any thread.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// What a poll brings.
#[derive(Debug, Clone)]
pub enum FetchEvent {
    /// Records of one partition. `chunk` has no records when only the position has moved (over transaction markers).
    Chunk {
        /// Where they come from.
        partition: TopicPartition,
        /// The records.
        chunk: Arc<Chunk>,
        /// The position after them: at least the last offset + 1.
        next: i64,
        /// The end of the partition as far as the reader knows; never below `next`.
        high_watermark: i64,
    },
    /// The position does not exist (any more). Nothing is read from the partition until it is assigned anew.
    OutOfRange {
        /// The partition.
        partition: TopicPartition,
        /// Its first offset.
        start: i64,
        /// The offset after its last record.
        end: i64,
    },
    /// The log was cut back: a leader took over that lacks records which were handed out, and writes others in their place.
    /// Nothing is read from the partition until it is assigned anew.
    Truncated {
        /// The partition.
        partition: TopicPartition,
        /// The offset after the last record that is still what it was.
        end: i64,
    },
    /// The partition cannot be read any more: it was deleted, or access was refused. It is not assigned any more.
    Lost {
        /// The partition.
        partition: TopicPartition,
        /// Why, and what to do.
        reason: String,
    },
}

/// A partition of one sink, as [`Sink::open`] numbers it. It means nothing to another sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PartitionRef(pub u32);

/// A record's headers as RecordBatch v2 has them: varint count, then (varint length, name, varint length or -1, value)*.
/// The empty slice means no headers.
pub type RawHeaders<'a> = &'a [u8];

/// A writer. Used by one thread.
pub trait Sink: Send {
    /// Names a partition to append to. The same partition always gets the same reference. `Misuse` when there is no
    /// such topic or partition.
    fn open(&mut self, partition: &TopicPartition) -> Result<PartitionRef>;

    /// Appends a record to the partition's batch. Nothing is visible to readers before [`Sink::commit`] (local log),
    /// or at the latest then (Kafka). `Misuse` when the partition cannot take a record this large; the record is then
    /// left out and the sink can be used on.
    fn append(
        &mut self,
        to: PartitionRef,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: RawHeaders<'_>,
    ) -> Result<()>;

    /// Hands on what is full, without waiting: called between batches of work so that a commit finds little left to do, and
    /// when the sink asks for it ([`Sink::wake_by`]).
    fn send(&mut self) -> Result<()>;

    /// A sink that holds records back until others are written calls this, from any thread, when [`Sink::send`] is to be
    /// called again.
    fn wake_by(&mut self, _waker: Waker) {}

    /// Makes everything appended since the last commit durable, then commits the offsets that `offsets` names; it is
    /// told the last offset of every partition written since the last commit, which may travel in the metadata (CO-4).
    ///
    /// Local log: records and offsets in one atomic write. Kafka: all acknowledgements first, then the offsets.
    /// After an error nothing is known to be durable and the offsets are not committed: [`Sink::abort`], rewind, go on.
    fn commit(&mut self, group: &GroupToken, offsets: &mut dyn FnMut(&Acked) -> Vec<OffsetCommit>) -> Result<()> {
        self.begin_commit(group, offsets)?.commit()
    }

    /// As [`Sink::commit`], up to where the records are durable. The offsets are the caller's to commit; meanwhile records
    /// may be appended, which belong to the next commit. A log that writes offsets with the records leaves none.
    fn begin_commit(
        &mut self,
        group: &GroupToken,
        offsets: &mut dyn FnMut(&Acked) -> Vec<OffsetCommit>,
    ) -> Result<PendingOffsets>;

    /// Drops what was appended since the last commit, as far as it has not left (on the local log: all of it).
    fn abort(&mut self) -> Result<()>;

    /// Memory held by records that are not yet acknowledged.
    fn buffered_bytes(&self) -> usize;
}

/// The last offset of each partition that was written since the last commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acked {
    /// Partition and the offset of its last acknowledged record; in the order the sink opened them.
    pub last: Vec<(TopicPartition, i64)>,
}

impl Acked {
    /// The last offset written to `topic`'s `partition`, if any was.
    pub fn last_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        let found = self
            .last
            .iter()
            .find(|(tp, _)| tp.partition == partition && &*tp.topic == topic)?;
        Some(found.1)
    }
}

/// An offset to commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetCommit {
    /// The partition read.
    pub partition: TopicPartition,
    /// The next offset to read.
    pub offset: i64,
    /// Text that comes back with it from [`Admin::committed`]. Kafka takes 4096 bytes unless told otherwise.
    pub metadata: String,
}

/// A process's place in a consumer group.
///
/// Today there is one process per group, which has every task. Membership over several processes (one internal topic
/// with a partition per task) comes behind this same trait: tasks are then told by [`Membership::poll`].
pub trait Membership: Send {
    /// Keeps the membership alive and tells whether the set of tasks has changed.
    fn poll(&mut self, timeout: Duration) -> Result<MembershipEvent>;

    /// What a commit carries so that the log can refuse a process that has lost its place. To be asked anew each time.
    fn token(&self) -> Result<GroupToken>;

    /// Leaves the group at once instead of by time-out.
    fn leave(&mut self) -> Result<()>;
}

/// What became of the membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MembershipEvent {
    /// This process is the only one: it has all tasks.
    Alone,
}

/// Proof of membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupToken {
    /// The group.
    pub group: Arc<str>,
    /// The member id the broker gave; empty for a process that is alone by arrangement.
    pub member_id: String,
    /// The group's generation; -1 for a process that is alone by arrangement.
    pub generation: i32,
}

impl GroupToken {
    /// The token of a process that is alone by arrangement. It does not fence anybody.
    pub fn alone(group: impl Into<Arc<str>>) -> Self {
        Self {
            group: group.into(),
            member_id: String::new(),
            generation: -1,
        }
    }

    /// Whether the broker can tell this member from one that lost its place. A Kafka transaction must not carry
    /// offsets with a token that is not fenced: the broker would accept them unchecked (CO-3).
    pub fn is_fenced(&self) -> bool {
        self.generation >= 0 && !self.member_id.is_empty()
    }
}
