//! Keyed compaction: of a compact topic only the last record of each key stays.
//!
//! Offsets stay with their records, and the last batch is never touched, so a reader sees gaps but no other change.
//! Records are rewritten some batches at a time, each step one atomic write; a crash in between leaves a log that is
//! compacted in part, which is a log like any other. Tombstones go once every reader has had `delete.retention.ms` to
//! see them, counted by the clock and not by the records' own timestamps, which may lie years back.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

use bytes::Bytes;
use millstream_state::engine::{RowRef, WriteSet};

use super::layout::{self, BATCHES, META, PartitionRow, TopicRow};
use super::shared::{Shared, Writing};
use crate::broker::fault::Result;
use crate::broker::record_batch::{BatchBuilder, set_base_offset};
use crate::broker::record_batch::{BatchSummary, reader};
use crate::broker::{Chunk, RawRecord, TopicPartition};

/// Below this many new bytes compaction is not worth while.
const MIN_DIRTY_BYTES: u64 = 8 << 20;
/// How much is read and rewritten in one step.
const STEP_BYTES: usize = 1 << 20;
/// Size of the batches that are written.
const BATCH_BYTES: usize = 128 << 10;

/// Compacts every compact topic. The writers' lock is held, so nothing is appended meanwhile.
pub(super) fn compact_all(shared: &Shared, writing: &Writing) -> Result<()> {
    let partitions: Vec<TopicPartition> = {
        let view = shared.view()?;
        let all = view.topics.iter().filter(|(_, topic)| topic.row.cleanup().compacts());
        all.flat_map(|(name, topic)| (0..topic.row.partitions).map(|index| TopicPartition::new(name.clone(), index)))
            .collect()
    };
    partitions.iter().try_for_each(|tp| compact(shared, writing, tp))
}

/// Compacts the partition when at least half of it is new since the last time: each byte is then rewritten a bounded
/// number of times.
pub(super) fn compact_if_dirty(shared: &Shared, writing: &Writing, tp: &TopicPartition) -> Result<()> {
    let due = {
        let view = shared.view()?;
        view.partition(&tp.topic, tp.partition).is_some_and(|(topic, row)| {
            topic.cleanup().compacts() && row.dirty_bytes >= MIN_DIRTY_BYTES && row.dirty_bytes >= row.bytes / 2
        })
    };
    if due { compact(shared, writing, tp) } else { Ok(()) }
}

fn compact(shared: &Shared, _writing: &Writing, tp: &TopicPartition) -> Result<()> {
    let Some((topic, row)) = shared
        .view()?
        .partition(&tp.topic, tp.partition)
        .map(|(t, row)| (t.clone(), *row))
    else {
        return Ok(());
    };
    let last_batch = shared.view()?.base_of(topic.id, tp.partition, row.end)?;
    if row.start >= row.end {
        return Ok(());
    }
    let mut pass = Pass {
        shared,
        tp,
        topic: &topic,
        latest: HashMap::new(),
        drop_tombstones_below: 0,
        row,
    };
    pass.set_horizon();
    pass.find_latest()?;
    pass.rewrite(last_batch)
}

/// One compaction of one partition.
struct Pass<'a> {
    shared: &'a Shared,
    tp: &'a TopicPartition,
    topic: &'a TopicRow,
    /// For each key that was written since the last compaction: the offset of its last record.
    latest: HashMap<u128, i64>,
    drop_tombstones_below: i64,
    row: PartitionRow,
}

impl Pass<'_> {
    /// Tombstones below the horizon's offset were all written before the horizon's time.
    fn set_horizon(&mut self) {
        let now = (self.shared.clock)();
        let row = &mut self.row;
        let over = now.saturating_sub(row.horizon_time) >= self.topic.delete_retention_ms;
        if row.horizon_offset > 0 && over {
            self.drop_tombstones_below = row.horizon_offset;
        }
        if row.horizon_offset == 0 || over {
            (row.horizon_offset, row.horizon_time) = (row.end, now);
        }
    }

    fn find_latest(&mut self) -> Result<()> {
        let mut position = self.row.clean_end.max(self.row.start);
        while let Some((chunk, next)) = self.step(position, self.row.end)? {
            for record in chunk.records() {
                if let Some(key) = chunk.key(record) {
                    self.latest.insert(hash(key), record.offset);
                }
            }
            position = next;
        }
        Ok(())
    }

    fn rewrite(&mut self, last_batch: i64) -> Result<()> {
        let mut position = self.row.start;
        while let Some((chunk, next)) = self.step(position, last_batch)? {
            let kept: Vec<&RawRecord> = chunk
                .records()
                .iter()
                .filter(|record| self.keeps(&chunk, record))
                .collect();
            if kept.len() < chunk.records().len() {
                self.replace(position, next, chunk.buffer().len(), &batches(&chunk, &kept))?;
            }
            position = next;
        }
        self.row.clean_end = last_batch.max(self.row.clean_end);
        self.row.dirty_bytes = 0;
        self.replace(last_batch, last_batch, 0, &[])
    }

    fn keeps(&self, chunk: &Chunk, record: &RawRecord) -> bool {
        let Some(key) = chunk.key(record) else { return true };
        if self.latest.get(&hash(key)).is_some_and(|last| record.offset < *last) {
            return false;
        }
        chunk.value(record).is_some() || record.offset >= self.drop_tombstones_below
    }

    /// The batches that begin at or behind `position` and before `limit`, some at a time; and where the next begin.
    fn step(&self, position: i64, limit: i64) -> Result<Option<(Chunk, i64)>> {
        let view = self.shared.view()?;
        let (id, index) = (self.topic.id, self.tp.partition);
        // A first batch that begins before the start (records were deleted up to its middle) stays as it is.
        let first = layout::batch_key(id, index, position);
        let behind = layout::batch_key(id, index, limit);
        let mut bytes = Vec::new();
        view.engine.scan(BATCHES, &first, Some(&behind), &mut |_, batch| {
            bytes.extend_from_slice(batch);
            bytes.len() < STEP_BYTES
        })?;
        drop(view);
        if bytes.is_empty() {
            return Ok(None);
        }
        let mut records = Vec::new();
        let decoded = reader::decode(&bytes, position, &mut records).map_err(|fault| fault.at(self.tp))?;
        let chunk = Chunk::new(self.tp.topic.clone(), index, Bytes::from(bytes), records);
        Ok(Some((chunk, decoded.next)))
    }

    /// Puts `batches` in place of those from `from` up to `to`, which took `old` bytes, and stores the partition's row.
    fn replace(&mut self, from: i64, to: i64, old: usize, batches: &[(i64, Vec<u8>)]) -> Result<()> {
        let (id, index) = (self.topic.id, self.tp.partition);
        let new: usize = batches.iter().map(|(_, batch)| batch.len()).sum();
        self.row.bytes = self.row.bytes.saturating_sub(old as u64) + new as u64;
        let keys: Vec<_> = batches
            .iter()
            .map(|(base, _)| layout::batch_key(id, index, *base))
            .collect();
        let (key, value) = (layout::partition_key(id, index), self.row.encode());
        let mut rows: Vec<(_, RowRef<'_>)> = vec![(META, (&key, Some(&value)))];
        rows.extend(
            keys.iter()
                .zip(batches)
                .map(|(key, (_, batch))| (BATCHES, (&key[..], Some(&batch[..])))),
        );
        let (first, behind) = (layout::batch_key(id, index, from), layout::batch_key(id, index, to));
        let delete_ranges = if from < to {
            vec![(BATCHES, &first[..], &behind[..])]
        } else {
            Vec::new()
        };
        let mut view = self.shared.view()?;
        view.engine.write(&WriteSet { rows, delete_ranges })?;
        if let Some(place) = view
            .topics
            .get_mut(&self.tp.topic)
            .and_then(|t| t.partitions.get_mut(index as usize))
        {
            *place = self.row;
        }
        Ok(())
    }
}

/// New batches of the records that stay, each with its base offset.
fn batches(chunk: &Chunk, kept: &[&RawRecord]) -> Vec<(i64, Vec<u8>)> {
    let mut done = Vec::new();
    let mut builder = BatchBuilder::default();
    let mut base = 0;
    for record in kept {
        let (key, value, headers) = (chunk.key(record), chunk.value(record), chunk.header_block(record));
        let full = builder.len_with(key, value, headers) > BATCH_BYTES;
        let delta = i32::try_from(record.offset - base);
        if builder.is_empty() || full || delta.is_err() {
            done.extend(seal(&mut builder, base));
            base = record.offset;
        }
        builder.append_at((record.offset - base) as i32, record.timestamp, key, value, headers);
    }
    done.extend(seal(&mut builder, base));
    done
}

fn seal(builder: &mut BatchBuilder, base: i64) -> Option<(i64, Vec<u8>)> {
    let mut batch = builder.seal()?;
    set_base_offset(&mut batch, base);
    debug_assert!(BatchSummary::of(&batch).is_ok_and(|summary| summary.base_offset == base));
    Some((base, batch))
}

/// 128 bits of a key: two keys with one hash would lose a record, so 64 are not enough.
fn hash(key: &[u8]) -> u128 {
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(seed);
        hasher.write(key);
        u128::from(hasher.finish())
    };
    (half(0) << 64) | half(1)
}
