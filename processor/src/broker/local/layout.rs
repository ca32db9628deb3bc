//! How the log lies in its engine.
//!
//! ```text
//! meta     [0]                                -> format version, u32
//!          [1]                                -> id of the next topic, u32
//!          [2][topic name]                    -> topic as JSON
//!          [3][topic id 4][partition 4]       -> partition row, 56 bytes
//! batches  [topic id 4][partition 4][base offset 8]  -> RecordBatch v2, base offset in place
//! offsets  [group length 2][group][topic id 4][partition 4] -> [offset 8][metadata]
//! ```
//!
//! All numbers big-endian, so that keys sort as numbers do. Topic ids are never used twice: what is left of a deleted
//! topic can never be taken for a new one of the same name.

use millstream_state::engine::Family;
use serde::{Deserialize, Serialize};

use crate::broker::fault::{Fault, Result};
use crate::broker::{Cleanup, TopicSpec};

/// Topics and where their partitions begin and end.
pub(super) const META: Family = Family(0);
/// Records.
pub(super) const BATCHES: Family = Family(1);
/// Committed offsets.
pub(super) const OFFSETS: Family = Family(2);
/// Names of the families, in their order.
pub(super) const FAMILIES: [&str; 3] = ["meta", "batches", "offsets"];

/// The only format there is.
pub(super) const FORMAT: u32 = 1;
pub(super) const FORMAT_KEY: [u8; 1] = [0];
pub(super) const NEXT_ID_KEY: [u8; 1] = [1];
pub(super) const TOPIC_TAG: u8 = 2;
const PARTITION_TAG: u8 = 3;

/// A topic as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TopicRow {
    pub(super) id: u32,
    pub(super) partitions: i32,
    cleanup: String,
    pub(super) retention_ms: Option<i64>,
    pub(super) retention_bytes: Option<u64>,
    pub(super) max_message_bytes: usize,
    pub(super) delete_retention_ms: i64,
}

/// What a topic takes when its specification does not say: larger than Kafka's 1 MiB, since no network is loaded.
const DEFAULT_MAX_MESSAGE_BYTES: usize = 64 << 20;
/// How long compaction keeps a tombstone, by default; as in Kafka.
const DEFAULT_DELETE_RETENTION_MS: i64 = 24 * 3_600_000;

impl TopicRow {
    pub(super) fn new(id: u32, spec: &TopicSpec) -> Result<Self> {
        let mut delete_retention_ms = DEFAULT_DELETE_RETENTION_MS;
        for (name, value) in &spec.extra {
            if name == "delete.retention.ms" {
                let wrong = |_| Fault::misuse(format!("topic {}: {name}={value} is not a number of ms", spec.name));
                delete_retention_ms = value.trim().parse().map_err(wrong)?;
            }
        }
        Ok(Self {
            id,
            partitions: spec.partitions,
            cleanup: spec.cleanup.as_str().to_owned(),
            retention_ms: spec.retention_ms,
            retention_bytes: spec.retention_bytes,
            max_message_bytes: spec.max_message_bytes.unwrap_or(DEFAULT_MAX_MESSAGE_BYTES).min(1 << 30),
            delete_retention_ms,
        })
    }

    pub(super) fn cleanup(&self) -> Cleanup {
        Cleanup::parse(&self.cleanup).unwrap_or(Cleanup::Delete)
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Fault::fatal("cannot write a topic as JSON").caused_by(error))
    }

    pub(super) fn decode(name: &str, bytes: &[u8]) -> Result<Self> {
        let wrong =
            |error| Fault::corrupt(format!("local log: the row of topic {name} cannot be read")).caused_by(error);
        let row: Self = serde_json::from_slice(bytes).map_err(wrong)?;
        if row.partitions < 1 {
            return Err(Fault::corrupt(format!(
                "local log: topic {name} has {} partitions",
                row.partitions
            )));
        }
        Ok(row)
    }
}

/// Where a partition begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct PartitionRow {
    /// Offset of the first record that can be read.
    pub(super) start: i64,
    /// Offset after the last record.
    pub(super) end: i64,
    /// Bytes of all batches.
    pub(super) bytes: u64,
    /// Bytes appended since the last compaction.
    pub(super) dirty_bytes: u64,
    /// Records below were compacted; those behind it may repeat keys.
    pub(super) clean_end: i64,
    /// Tombstones below this offset were written before `horizon_time`; 0 until the first compaction.
    pub(super) horizon_offset: i64,
    /// See `horizon_offset`.
    pub(super) horizon_time: i64,
}

impl PartitionRow {
    pub(super) fn encode(&self) -> [u8; 56] {
        let [start, end, clean_end] = [self.start, self.end, self.clean_end].map(|offset| offset as u64);
        let [horizon_offset, horizon_time] = [self.horizon_offset, self.horizon_time].map(|number| number as u64);
        let fields = [
            start,
            end,
            self.bytes,
            self.dirty_bytes,
            clean_end,
            horizon_offset,
            horizon_time,
        ];
        let mut out = [0; 56];
        for (place, field) in out.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_be_bytes());
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = bytes.chunks_exact(8).map(u64_of);
        let mut next = || fields.next().flatten();
        let row = Self {
            start: next()? as i64,
            end: next()? as i64,
            bytes: next()?,
            dirty_bytes: next()?,
            clean_end: next()? as i64,
            horizon_offset: next()? as i64,
            horizon_time: next()? as i64,
        };
        (bytes.len() == 56 && 0 <= row.start && row.start <= row.end).then_some(row)
    }
}

/// Key of a topic's row.
pub(super) fn topic_key(name: &str) -> Vec<u8> {
    [&[TOPIC_TAG], name.as_bytes()].concat()
}

/// Key of a partition's row.
pub(super) fn partition_key(topic: u32, partition: i32) -> [u8; 9] {
    let mut key = [PARTITION_TAG; 9];
    key[1..].copy_from_slice(&place(topic, partition));
    key
}

/// Key of the batch that begins at `base`.
pub(super) fn batch_key(topic: u32, partition: i32, base: i64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&place(topic, partition));
    key[8..].copy_from_slice(&base.to_be_bytes());
    key
}

/// Key of what `group` has committed for a partition.
pub(super) fn offset_key(group: &str, topic: u32, partition: i32) -> Vec<u8> {
    let group = group.as_bytes();
    // Longer names are refused where a group is taken.
    [&(group.len() as u16).to_be_bytes()[..], group, &place(topic, partition)].concat()
}

/// The topic a key of the offsets family belongs to.
pub(super) fn topic_of_offset_key(key: &[u8]) -> Option<u32> {
    let at = key.len().checked_sub(8)?;
    Some(u32::from_be_bytes(key.get(at..at + 4)?.try_into().ok()?))
}

fn place(topic: u32, partition: i32) -> [u8; 8] {
    ((u64::from(topic) << 32) | u64::from(partition as u32)).to_be_bytes()
}

fn u64_of(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}
