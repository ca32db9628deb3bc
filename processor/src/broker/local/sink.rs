//! Writes the embedded log: a commit is one atomic write.

use std::sync::Arc;

use millstream_state::engine::{RowRef, WriteSet};

use super::layout::{self, BATCHES, META, OFFSETS, PartitionRow};
use super::shared::{Shared, View, Writing};
use super::{admin, compaction, retention};
use crate::broker::fault::{Fault, Result};
use crate::broker::partitions::Partitions;
use crate::broker::record_batch::BatchSummary;
use crate::broker::record_batch::{BatchBuilder, HEADER_LEN, headers, set_base_offset};
use crate::broker::{Acked, GroupToken, OffsetCommit, PartitionRef, PendingOffsets, RawHeaders, Sink, TopicPartition};

/// A batch is sealed when it has grown to about this many bytes. A larger record has a batch of its own.
const BATCH_BYTES: usize = 128 << 10;
/// How many emptied buffers are kept for the next batches.
const SPARE_BUFFERS: usize = 64;

/// A writer of the embedded log.
pub(super) struct LocalSink {
    shared: Arc<Shared>,
    partitions: Partitions<Open>,
    /// Bytes of sealed batches and of those being built.
    buffered: usize,
    spare: Vec<Vec<u8>>,
}

/// A partition that is written to.
struct Open {
    topic_id: u32,
    max_message_bytes: usize,
    /// Only the last record of each key is kept, so every record needs one.
    needs_key: bool,
    builder: BatchBuilder,
    sealed: Vec<Vec<u8>>,
}

/// The rows of a commit, before they go to the engine.
#[derive(Default)]
struct Plan {
    /// Key of each sealed batch, in the order of the partitions and their batches.
    batch_keys: Vec<[u8; 16]>,
    /// The partitions written, as they will be, with their keys; in the order of `acked`.
    partitions: Vec<([u8; 9], PartitionRow)>,
    acked: Acked,
}

impl LocalSink {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            partitions: Partitions::default(),
            buffered: 0,
            spare: Vec::new(),
        }
    }

    /// Gives every sealed batch its offset.
    fn plan(&mut self, view: &View) -> Result<Plan> {
        let mut plan = Plan::default();
        for (tp, open) in self.partitions.iter_mut() {
            open.seal();
            if open.sealed.is_empty() {
                continue;
            }
            let (topic, row) = admin::known(view, tp)?;
            if topic.id != open.topic_id {
                return Err(Fault::misuse(format!(
                    "topic {} was deleted and created anew while written to",
                    tp.topic
                )));
            }
            let mut row = *row;
            for batch in &mut open.sealed {
                set_base_offset(batch, row.end);
                plan.batch_keys.push(layout::batch_key(topic.id, tp.partition, row.end));
                row.end = BatchSummary::of(batch)?.last_offset + 1;
                row.bytes += batch.len() as u64;
                row.dirty_bytes += batch.len() as u64;
            }
            plan.acked.last.push((tp.clone(), row.end - 1));
            plan.partitions
                .push((layout::partition_key(topic.id, tp.partition), row));
        }
        Ok(plan)
    }

    /// Writes batches, the partitions' new ends and the offsets; all or nothing.
    fn write(&self, view: &mut View, plan: &Plan, group: &GroupToken, offsets: &[OffsetCommit]) -> Result<()> {
        let offset_rows = offset_rows(view, group, offsets)?;
        let batches = self.partitions.iter().flat_map(|(_, open)| &open.sealed);
        let ends: Vec<_> = plan.partitions.iter().map(|(key, row)| (key, row.encode())).collect();
        let batch_row = |(key, batch)| -> (_, RowRef<'_>) {
            let (key, batch): (&[u8; 16], &Vec<u8>) = (key, batch);
            (BATCHES, (&key[..], Some(&batch[..])))
        };
        let mut rows: Vec<(_, RowRef<'_>)> = plan.batch_keys.iter().zip(batches).map(batch_row).collect();
        rows.extend(ends.iter().map(|(key, row)| (META, (&key[..], Some(&row[..])))));
        rows.extend(
            offset_rows
                .iter()
                .map(|(key, row)| (OFFSETS, (&key[..], Some(&row[..])))),
        );
        if !rows.is_empty() {
            view.engine.write(&WriteSet {
                rows,
                ..WriteSet::default()
            })?;
        }
        for ((tp, _), (_, row)) in plan.acked.last.iter().zip(&plan.partitions) {
            let place = view
                .topics
                .get_mut(&tp.topic)
                .and_then(|t| t.partitions.get_mut(tp.partition as usize));
            if let Some(place) = place {
                *place = *row;
            }
        }
        Ok(())
    }

    /// Forgets the batches and keeps their memory.
    fn clear(&mut self) {
        for (_, open) in self.partitions.iter_mut() {
            open.builder.clear();
            let room = SPARE_BUFFERS.saturating_sub(self.spare.len());
            let most = 2 * BATCH_BYTES;
            self.spare.extend(
                open.sealed
                    .drain(..)
                    .filter(|buffer| buffer.capacity() <= most)
                    .take(room),
            );
        }
        self.buffered = 0;
    }
}

impl Open {
    fn seal(&mut self) {
        self.sealed.extend(self.builder.seal());
    }
}

fn offset_rows(view: &View, group: &GroupToken, offsets: &[OffsetCommit]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    if group.group.len() > usize::from(u16::MAX) || group.group.is_empty() {
        return Err(Fault::misuse("a group's name takes 1 to 65535 bytes"));
    }
    let row = |commit: &OffsetCommit| {
        let tp = &commit.partition;
        let (topic, _) = admin::known(view, tp).map_err(|fault| fault.at("cannot commit an offset"))?;
        let key = layout::offset_key(&group.group, topic.id, tp.partition);
        Ok((
            key,
            [&commit.offset.to_be_bytes()[..], commit.metadata.as_bytes()].concat(),
        ))
    };
    offsets.iter().map(row).collect()
}

impl Sink for LocalSink {
    fn open(&mut self, partition: &TopicPartition) -> Result<PartitionRef> {
        if let Some(known) = self.partitions.known(partition) {
            return Ok(known);
        }
        let view = self.shared.view()?;
        let (topic, _) = admin::known(&view, partition)?;
        let opened = Open {
            topic_id: topic.id,
            max_message_bytes: topic.max_message_bytes,
            needs_key: topic.cleanup().compacts(),
            builder: BatchBuilder::default(),
            sealed: Vec::new(),
        };
        Ok(self.partitions.add(partition.clone(), opened))
    }

    fn append(
        &mut self,
        to: PartitionRef,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: RawHeaders<'_>,
    ) -> Result<()> {
        let (tp, open) = self.partitions.get_mut(to)?;
        headers::check(headers, tp)?;
        if open.needs_key && key.is_none() {
            let topic = &tp.topic;
            return Err(Fault::misuse(format!(
                "topic {topic} is compacted: a record without a key cannot be written to it"
            )));
        }
        let mut len = open.builder.len_with(key, value, headers);
        if len > BATCH_BYTES.min(open.max_message_bytes) && !open.builder.is_empty() {
            open.seal();
            len = open.builder.len_with(key, value, headers);
        }
        if len > open.max_message_bytes {
            return Err(too_large(tp, open.max_message_bytes, len));
        }
        if open.builder.is_empty() {
            let buffer = self.spare.pop().unwrap_or_default();
            open.builder = BatchBuilder::with_buffer(buffer);
        }
        let before = open.builder.len();
        open.builder.append(timestamp, key, value, headers);
        self.buffered += open.builder.len() - before;
        Ok(())
    }

    /// Nothing leaves before the commit, which is one write.
    fn send(&mut self) -> Result<()> {
        Ok(())
    }

    fn begin_commit(
        &mut self,
        group: &GroupToken,
        offsets: &mut dyn FnMut(&Acked) -> Vec<OffsetCommit>,
    ) -> Result<PendingOffsets> {
        let shared = self.shared.clone();
        let mut writing = shared.writing()?;
        // The callback runs under the writers' lock, which keeps the offsets it is told true, but not under the
        // readers', so that it may ask the log.
        let plan = {
            let view = shared.view()?;
            self.plan(&view)?
        };
        let offsets = offsets(&plan.acked);
        self.write(&mut *shared.view()?, &plan, group, &offsets)?;
        self.clear();
        if !plan.partitions.is_empty() {
            shared.signal.raise();
        }
        // The commit is done, whatever becomes of the house-keeping: to fail here would make the caller repeat it. What is
        // wrong with the disk shows at the next write, what is wrong with a batch to its readers.
        if let Err(fault) = house_keeping(&shared, &mut writing, &plan.acked) {
            tracing::warn!("{}: retention or compaction failed: {fault}", shared.name);
        }
        Ok(PendingOffsets::none())
    }

    fn abort(&mut self) -> Result<()> {
        self.clear();
        Ok(())
    }

    fn buffered_bytes(&self) -> usize {
        self.buffered
    }
}

fn house_keeping(shared: &Shared, writing: &mut Writing, acked: &Acked) -> Result<()> {
    retention::enforce_if_due(shared, writing)?;
    acked
        .last
        .iter()
        .try_for_each(|(tp, _)| compaction::compact_if_dirty(shared, writing, tp))
}

fn too_large(tp: &TopicPartition, most: usize, len: usize) -> Fault {
    Fault::misuse(format!(
        "a record of about {} bytes is too large for {tp}, which takes batches of {most} bytes: raise the topic's \
         max.message.bytes or send less",
        len - HEADER_LEN
    ))
}
