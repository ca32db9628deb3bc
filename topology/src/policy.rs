//! The doors for bad data: why a record may be refused, and what happens to it then.
//!
//! Door 1 is reading (null where the type has none, bytes a codec or parser refuses, impossible timestamps), door 2 is
//! processing (a step that says no), door 3 is sending, which belongs to the processor. Whatever the policy, every refused record
//! is counted by node and reason (BA-1).

use std::{fmt, sync::Arc};

use millstream_state::Timestamp;

/// Why a record does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reason {
    /// A null key where the type has no null.
    NullKey,
    /// A null value where the type has no null.
    NullValue,
    /// The key's codec refused its bytes.
    BadKey,
    /// The value's codec refused its bytes.
    BadValue,
    /// The parser refused the message.
    Parse,
    /// The timestamp is negative: the producer gave none, or nonsense.
    NegativeTimestamp,
    /// The timestamp lies beyond the configured future bound (TI-2).
    FutureTimestamp,
    /// A processing step refused the record.
    Process,
    /// Too late for a window; counted once for each window missed.
    Late,
    /// A key that an operator cannot use (null in a join or a grouping).
    UnusableKey,
    /// A value that an operator cannot use (null in an aggregation).
    UnusableValue,
    /// An output's topic does not exist.
    NoTopic,
    /// An output's topic has no partition of the number that was chosen.
    NoPartition,
    /// The log did not take an output (it is too large, ...).
    RefusedByLog,
}

impl Reason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Reason; 14] = [
        Reason::NullKey,
        Reason::NullValue,
        Reason::BadKey,
        Reason::BadValue,
        Reason::Parse,
        Reason::NegativeTimestamp,
        Reason::FutureTimestamp,
        Reason::Process,
        Reason::Late,
        Reason::UnusableKey,
        Reason::UnusableValue,
        Reason::NoTopic,
        Reason::NoPartition,
        Reason::RefusedByLog,
    ];

    /// The reason as it appears in counters and dead letters.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::NullKey => "null_key",
            Reason::NullValue => "null_value",
            Reason::BadKey => "bad_key",
            Reason::BadValue => "bad_value",
            Reason::Parse => "parse",
            Reason::NegativeTimestamp => "negative_timestamp",
            Reason::FutureTimestamp => "future_timestamp",
            Reason::Process => "process",
            Reason::Late => "late",
            Reason::UnusableKey => "unusable_key",
            Reason::UnusableValue => "unusable_value",
            Reason::NoTopic => "no_topic",
            Reason::NoPartition => "no_partition",
            Reason::RefusedByLog => "refused_by_log",
        }
    }

    /// The name of the counter of refused records: `dropped.<reason>`.
    pub fn counter(self) -> &'static str {
        match self {
            Reason::NullKey => "dropped.null_key",
            Reason::NullValue => "dropped.null_value",
            Reason::BadKey => "dropped.bad_key",
            Reason::BadValue => "dropped.bad_value",
            Reason::Parse => "dropped.parse",
            Reason::NegativeTimestamp => "dropped.negative_timestamp",
            Reason::FutureTimestamp => "dropped.future_timestamp",
            Reason::Process => "dropped.process",
            Reason::Late => "dropped.late",
            Reason::UnusableKey => "dropped.unusable_key",
            Reason::UnusableValue => "dropped.unusable_value",
            Reason::NoTopic => "dropped.no_topic",
            Reason::NoPartition => "dropped.no_partition",
            Reason::RefusedByLog => "dropped.refused_by_log",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happens to a record that a door refuses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Policy {
    /// What the configuration says for this door ([`Doors`]).
    #[default]
    Configured,
    /// Stop: nothing is lost, somebody looks.
    Fail,
    /// Count it and go on.
    Skip,
    /// Count it, write its raw bytes and headers to the configured dead-letter topic, and go on.
    DeadLetter,
    /// As [`Policy::DeadLetter`], to this topic.
    DeadLetterTo(Arc<str>),
}

/// What a task does with refused records where a node does not say so itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doors {
    /// Door 1: reading.
    pub read: Policy,
    /// Door 2: processing.
    pub process: Policy,
    /// `errors.dead.letter.queue.topic.name`: where [`Policy::DeadLetter`] writes.
    pub dead_letter_topic: Option<Arc<str>>,
}

impl Default for Doors {
    /// Fail at both doors, as Kafka Streams does.
    fn default() -> Self {
        Doors {
            read: Policy::Fail,
            process: Policy::Fail,
            dead_letter_topic: None,
        }
    }
}

/// Which door a node's refusals pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Reading: sources and parsers.
    Read,
    /// Processing: everything after them.
    Process,
}

/// TI-2: a timestamp far in the future never moves stream time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FutureGuard {
    /// How far a timestamp may lie beyond `now`, in ms.
    pub bound_ms: i64,
    /// What happens to one that lies beyond.
    pub action: FutureAction,
}

/// What happens to a record from the future.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FutureAction {
    /// It is dropped and counted.
    Drop,
    /// It goes on with the latest permitted timestamp, and is counted.
    Clamp,
    /// It is dead-lettered (to the node's dead-letter topic, else the configured one) and counted.
    DeadLetter,
}

impl FutureGuard {
    /// The latest permitted timestamp.
    pub fn limit(&self, now: Timestamp) -> Timestamp {
        now.saturating_add(self.bound_ms)
    }
}
