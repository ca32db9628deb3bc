//! Lets old records go, by age, by size, or because they were read.

use millstream_state::engine::WriteSet;

use super::layout::{self, BATCHES, META, PartitionRow};
use super::shared::{Shared, View, Writing};
use crate::broker::TopicPartition;
use crate::broker::fault::Result;
use crate::broker::record_batch::BatchSummary;

/// How often commits look for records to let go.
const INTERVAL_MS: i64 = 60_000;

/// As [`enforce`], but at most once a minute.
pub(super) fn enforce_if_due(shared: &Shared, writing: &mut Writing) -> Result<()> {
    let now = (shared.clock)();
    if writing
        .last_retention
        .is_some_and(|last| (0..INTERVAL_MS).contains(&now.saturating_sub(last)))
    {
        return Ok(());
    }
    enforce(shared, writing)
}

/// Deletes the batches at the head of each partition that are too old or one too many. As in Kafka, a batch goes only
/// when all before it go, and the last one stays.
///
/// Where a topic is compacted as well (the changelog of a window store), a batch is too old by the partition's own time if
/// that lies behind the clock: a job that works through last year's records still needs its newest windows.
pub(super) fn enforce(shared: &Shared, writing: &mut Writing) -> Result<()> {
    let now = (shared.clock)();
    writing.last_retention = Some(now);
    let mut view = shared.view()?;
    let mut cuts = Vec::new();
    for (name, topic) in &view.topics {
        if !topic.row.cleanup().deletes() {
            continue;
        }
        for (index, row) in (0..).zip(&topic.partitions) {
            let now = match topic.row.cleanup().compacts() {
                true => newest(&view, topic.row.id, index, row)?.map_or(now, |newest| newest.min(now)),
                false => now,
            };
            let oldest = topic.row.retention_ms.map(|ms| now.saturating_sub(ms.max(0)));
            let start = first_kept(&view, topic.row.id, index, row, oldest, topic.row.retention_bytes)?;
            if start > row.start {
                cuts.push((TopicPartition::new(name.clone(), index), start));
            }
        }
    }
    for (partition, start) in cuts {
        cut(&mut view, &partition, start)?;
    }
    Ok(())
}

/// The largest timestamp in the partition's last batch.
fn newest(view: &View, topic: u32, partition: i32, row: &PartitionRow) -> Result<Option<i64>> {
    let mut newest = None;
    let last = view.base_of(topic, partition, row.end.saturating_sub(1))?;
    visit_batches(view, topic, partition, last, &mut |summary| {
        newest = newest.max(Some(summary.max_timestamp));
        true
    })?;
    Ok(newest)
}

fn first_kept(
    view: &View,
    topic: u32,
    partition: i32,
    row: &PartitionRow,
    oldest: Option<i64>,
    most_bytes: Option<u64>,
) -> Result<i64> {
    let mut kept = row.start;
    let mut bytes = row.bytes;
    visit_batches(view, topic, partition, row.start, &mut |summary| {
        let too_old = oldest.is_some_and(|oldest| summary.max_timestamp < oldest);
        let one_too_many = most_bytes.is_some_and(|most| bytes > most);
        let is_last = summary.last_offset + 1 >= row.end;
        if is_last || !(too_old || one_too_many) {
            return false;
        }
        kept = summary.last_offset + 1;
        bytes = bytes.saturating_sub(summary.len as u64);
        true
    })?;
    Ok(kept)
}

/// Makes `offset` the first that can be read; deletes the batches that end before it.
pub(super) fn cut(view: &mut View, partition: &TopicPartition, offset: i64) -> Result<()> {
    let Some((topic, row)) = view.partition(&partition.topic, partition.partition) else {
        return Ok(());
    };
    let (id, index, mut row) = (topic.id, partition.partition, *row);
    if offset <= row.start {
        return Ok(());
    }
    let base = view.base_of(id, index, row.start)?;
    let mut behind = base;
    visit_batches(view, id, index, base, &mut |summary| {
        if summary.last_offset >= offset {
            return false;
        }
        behind = summary.last_offset + 1;
        row.bytes = row.bytes.saturating_sub(summary.len as u64);
        true
    })?;
    row.start = offset;
    row.dirty_bytes = row.dirty_bytes.min(row.bytes);
    row.clean_end = row.clean_end.max(offset.min(row.end));
    let (first, behind) = (layout::batch_key(id, index, 0), layout::batch_key(id, index, behind));
    let (key, value) = (layout::partition_key(id, index), row.encode());
    let rows = vec![(META, (&key[..], Some(&value[..])))];
    view.engine.write(&WriteSet {
        rows,
        delete_ranges: vec![(BATCHES, &first, &behind)],
    })?;
    if let Some(place) = view
        .topics
        .get_mut(&partition.topic)
        .and_then(|t| t.partitions.get_mut(index as usize))
    {
        *place = row;
    }
    Ok(())
}

/// Visits the headers of the batches that begin at `base` or later.
fn visit_batches(
    view: &View,
    topic: u32,
    partition: i32,
    base: i64,
    visit: &mut dyn FnMut(BatchSummary) -> bool,
) -> Result<()> {
    let mut damaged = None;
    let (first, behind) = (
        layout::batch_key(topic, partition, base),
        layout::batch_key(topic, partition, i64::MAX),
    );
    view.engine.scan(
        BATCHES,
        &first,
        Some(&behind),
        &mut |_, batch| match BatchSummary::of(batch) {
            Ok(summary) => visit(summary),
            Err(fault) => {
                damaged = Some(fault);
                false
            }
        },
    )?;
    damaged.map_or(Ok(()), Err)
}
