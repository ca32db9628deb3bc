//! Topics of the embedded log, and its committed offsets.

use millstream_state::engine::{RowRef, WriteSet};

use super::layout::{self, BATCHES, META, OFFSETS, PartitionRow, TopicRow};
use super::shared::{Topic, View};
use super::{LocalLog, retention};
use crate::broker::fault::{Fault, Result};
use crate::broker::{Admin, Committed, TopicInfo, TopicPartition, TopicSpec};

impl Admin for LocalLog {
    fn topics(&self) -> Result<Vec<TopicInfo>> {
        let view = self.shared.fresh_view()?;
        Ok(view.topics.iter().map(|(name, topic)| info(name, &topic.row)).collect())
    }

    fn describe(&self, topic: &str) -> Result<Option<TopicInfo>> {
        let view = self.shared.fresh_view()?;
        Ok(view
            .topics
            .get_key_value(topic)
            .map(|(name, topic)| info(name, &topic.row)))
    }

    fn create(&self, spec: &TopicSpec) -> Result<()> {
        check(spec)?;
        let _writing = self.shared.writing()?;
        let mut view = self.shared.view()?;
        if view.topics.contains_key(&spec.name) {
            return Err(Fault::misuse(format!(
                "topic {} exists already in {}",
                spec.name, self.shared.name
            )));
        }
        let id = view.next_id;
        let row = TopicRow::new(id, spec)?;
        let partitions = vec![PartitionRow::default(); spec.partitions as usize];
        let (key, value) = (layout::topic_key(&spec.name), row.encode()?);
        let next_id = (id + 1).to_be_bytes();
        let rows: Vec<(_, RowRef<'_>)> = vec![
            (META, (&layout::NEXT_ID_KEY, Some(&next_id))),
            (META, (&key, Some(&value))),
        ];
        view.engine.write(&WriteSet {
            rows,
            ..WriteSet::default()
        })?;
        view.next_id = id + 1;
        view.topics.insert(spec.name.clone(), Topic { row, partitions });
        Ok(())
    }

    fn delete(&self, topic: &str) -> Result<()> {
        let _writing = self.shared.writing()?;
        let mut view = self.shared.view()?;
        let Some(found) = view.topics.get(topic) else {
            return Ok(());
        };
        let id = found.row.id;
        let mut keys: Vec<_> = vec![(META, layout::topic_key(topic))];
        keys.extend((0..found.row.partitions).map(|index| (META, layout::partition_key(id, index).to_vec())));
        view.engine.scan(OFFSETS, &[], None, &mut |key, _| {
            if layout::topic_of_offset_key(key) == Some(id) {
                keys.push((OFFSETS, key.to_vec()));
            }
            true
        })?;
        let (first, behind) = (layout::batch_key(id, 0, 0), layout::batch_key(id, -1, i64::MAX));
        let rows = keys
            .iter()
            .map(|(family, key)| (*family, (key.as_slice(), None)))
            .collect();
        view.engine.write(&WriteSet {
            rows,
            delete_ranges: vec![(BATCHES, &first, &behind)],
        })?;
        view.topics.remove(topic);
        drop(view);
        self.shared.signal.raise();
        Ok(())
    }

    fn start_offsets(&self, partitions: &[TopicPartition]) -> Result<Vec<i64>> {
        let view = self.shared.fresh_view()?;
        partitions.iter().map(|tp| Ok(known(&view, tp)?.1.start)).collect()
    }

    fn end_offsets(&self, partitions: &[TopicPartition]) -> Result<Vec<i64>> {
        let view = self.shared.fresh_view()?;
        partitions.iter().map(|tp| Ok(known(&view, tp)?.1.end)).collect()
    }

    fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Option<Committed>>> {
        let view = self.shared.fresh_view()?;
        let committed = |tp: &TopicPartition| {
            let Some((topic, _)) = view.partition(&tp.topic, tp.partition) else {
                return Ok(None);
            };
            let row = view.get(OFFSETS, &layout::offset_key(group, topic.id, tp.partition))?;
            row.map(|row| open_committed(group, tp, &row)).transpose()
        };
        partitions.iter().map(committed).collect()
    }

    fn delete_records(&self, before: &[(TopicPartition, i64)]) -> Result<()> {
        let _writing = self.shared.writing()?;
        let mut view = self.shared.view()?;
        for (tp, offset) in before {
            let (_, row) = known(&view, tp)?;
            if *offset > row.end {
                let text = format!("cannot delete records of {tp} before {offset}: it ends at {}", row.end);
                return Err(Fault::misuse(text));
            }
        }
        for (tp, offset) in before {
            retention::cut(&mut view, tp, *offset)?;
        }
        Ok(())
    }
}

/// The partition, or a `Misuse` that says what is missing.
pub(super) fn known<'a>(view: &'a View, tp: &TopicPartition) -> Result<(&'a TopicRow, &'a PartitionRow)> {
    view.partition(&tp.topic, tp.partition)
        .ok_or_else(|| match view.topics.get(&tp.topic) {
            None => Fault::misuse(format!("there is no topic {}: create it first", tp.topic)),
            Some(topic) => Fault::misuse(format!(
                "there is no {tp}: the topic has {} partitions",
                topic.row.partitions
            )),
        })
}

fn open_committed(group: &str, tp: &TopicPartition, row: &[u8]) -> Result<Committed> {
    let unreadable = || {
        Fault::corrupt(format!(
            "local log: the offset group {group} committed for {tp} cannot be read"
        ))
    };
    let (offset, metadata) = row.split_first_chunk::<8>().ok_or_else(unreadable)?;
    let metadata = String::from_utf8(metadata.to_vec()).map_err(|_| unreadable())?;
    Ok(Committed {
        offset: i64::from_be_bytes(*offset),
        metadata,
    })
}

fn info(name: &std::sync::Arc<str>, row: &TopicRow) -> TopicInfo {
    TopicInfo {
        name: name.clone(),
        partitions: row.partitions,
        cleanup: row.cleanup(),
        retention_ms: row.retention_ms,
        max_message_bytes: row.max_message_bytes,
    }
}

/// Kafka's rules for names, so that what works here works there.
fn check(spec: &TopicSpec) -> Result<()> {
    let name = &*spec.name;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > 249 || name == "." || name == ".." || !name.chars().all(legal) {
        let rule = "1 to 249 letters, digits, dots, underscores and hyphens, and not `.` or `..`";
        return Err(Fault::misuse(format!(
            "{name:?} cannot be a topic's name: it takes {rule}"
        )));
    }
    if !(1..=10_000).contains(&spec.partitions) {
        return Err(Fault::misuse(format!(
            "topic {name}: {} partitions; it takes 1 to 10000",
            spec.partitions
        )));
    }
    Ok(())
}
