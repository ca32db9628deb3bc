//! What all handles of one log share: the engine, where each partition ends, and the signal that records have arrived.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use millstream_state::engine::{Engine, WriteSet};

use super::layout::{self, BATCHES, META, PartitionRow, TopicRow};
use crate::broker::fault::{Fault, Result};
use crate::broker::record_batch::BatchSummary;

/// Reads the time in ms since 1970. Passed in, so that a test can turn the hands.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// One log, shared by its handles. Locks are taken in the order of the fields.
pub(super) struct Shared {
    /// For people: `local log in ./data`.
    pub(super) name: String,
    pub(super) clock: Clock,
    /// Held by whoever changes the log, from choosing offsets until they are written. Readers go on meanwhile.
    pub(super) writing: Mutex<Writing>,
    pub(super) view: Mutex<View>,
    pub(super) signal: Signal,
}

/// What only writers need.
#[derive(Debug, Default)]
pub(super) struct Writing {
    /// When retention was last looked at; `None` until then.
    pub(super) last_retention: Option<i64>,
}

/// The log as readers see it.
pub(super) struct View {
    pub(super) engine: Box<dyn Engine>,
    pub(super) topics: BTreeMap<Arc<str>, Topic>,
    pub(super) next_id: u32,
    /// Catches up with the process that owns the log; `None` when it is this process.
    pub(super) follow: Option<Follow>,
}

/// Brings a follower's engine up to date.
pub(super) type Follow = Box<dyn FnMut() -> Result<()> + Send>;

/// A topic and its partitions.
#[derive(Debug, Clone)]
pub(super) struct Topic {
    pub(super) row: TopicRow,
    pub(super) partitions: Vec<PartitionRow>,
}

/// What a read found.
pub(super) enum Read {
    /// Whole batches, the first of which may begin before the position asked for.
    Batches { bytes: Vec<u8>, end: i64 },
    /// Nothing behind the position yet.
    AtEnd,
    /// The position does not exist.
    OutOfRange { start: i64, end: i64 },
    /// There is no such partition.
    Gone,
}

impl Shared {
    /// Takes the writers' lock. A panic under it is survived: what it guards is only bookkeeping.
    pub(super) fn writing(&self) -> Result<MutexGuard<'_, Writing>> {
        if self.view()?.follow.is_some() {
            return Err(Fault::misuse(format!("{} is open for reading only", self.name)));
        }
        Ok(self.writing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the readers' lock.
    pub(super) fn view(&self) -> Result<MutexGuard<'_, View>> {
        let broken = |_| Fault::fatal(format!("{}: a thread panicked while it changed the log", self.name));
        self.view.lock().map_err(broken)
    }

    /// The view, brought up to date when another process owns the log.
    pub(super) fn fresh_view(&self) -> Result<MutexGuard<'_, View>> {
        let mut view = self.view()?;
        view.catch_up()?;
        Ok(view)
    }
}

impl View {
    /// Reads topics and partitions from the engine; a new log gets its format row.
    pub(super) fn open(engine: Box<dyn Engine>, follow: Option<Follow>, name: &str) -> Result<Self> {
        let mut view = Self {
            engine,
            topics: BTreeMap::new(),
            next_id: 0,
            follow,
        };
        match view.get(META, &layout::FORMAT_KEY)?.as_deref() {
            Some(bytes) if bytes == layout::FORMAT.to_be_bytes() => (),
            Some(bytes) => {
                let text = format!(
                    "{name} has format {bytes:?}; this version reads format {}",
                    layout::FORMAT
                );
                return Err(Fault::misuse(text));
            }
            None if view.follow.is_some() => return Err(Fault::misuse(format!("there is no log yet: {name}"))),
            None => {
                let format = layout::FORMAT.to_be_bytes();
                let rows = vec![(META, (&layout::FORMAT_KEY[..], Some(&format[..])))];
                view.engine.write(&WriteSet {
                    rows,
                    ..WriteSet::default()
                })?;
            }
        }
        view.load()?;
        Ok(view)
    }

    /// Does nothing when this process owns the log.
    fn catch_up(&mut self) -> Result<()> {
        if let Some(follow) = &mut self.follow {
            follow()?;
            self.load()?;
        }
        Ok(())
    }

    fn load(&mut self) -> Result<()> {
        self.next_id = match self
            .get(META, &layout::NEXT_ID_KEY)?
            .as_deref()
            .map(<[u8; 4]>::try_from)
        {
            None => 1,
            Some(Ok(bytes)) => u32::from_be_bytes(bytes),
            Some(Err(_)) => return Err(Fault::corrupt("local log: the id of the next topic cannot be read")),
        };
        let mut rows = Vec::new();
        self.engine.scan(
            META,
            &[layout::TOPIC_TAG],
            Some(&[layout::TOPIC_TAG + 1]),
            &mut |key, value| {
                rows.push((String::from_utf8_lossy(&key[1..]).into_owned(), value.to_vec()));
                true
            },
        )?;
        let mut topics = BTreeMap::new();
        for (name, bytes) in rows {
            let row = TopicRow::decode(&name, &bytes)?;
            let partitions = (0..row.partitions).map(|index| self.load_partition(&name, row.id, index));
            let partitions = partitions.collect::<Result<Vec<_>>>()?;
            topics.insert(Arc::from(name), Topic { row, partitions });
        }
        self.topics = topics;
        Ok(())
    }

    fn load_partition(&self, name: &str, topic: u32, partition: i32) -> Result<PartitionRow> {
        let Some(bytes) = self.get(META, &layout::partition_key(topic, partition))? else {
            return Ok(PartitionRow::default());
        };
        let unreadable = || {
            Fault::corrupt(format!(
                "local log: the row of partition {name}-{partition} cannot be read"
            ))
        };
        PartitionRow::decode(&bytes).ok_or_else(unreadable)
    }

    /// One value of the engine.
    pub(super) fn get(&self, family: millstream_state::engine::Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut found = None;
        self.engine
            .get_many(family, &[key], &mut |_, value| found = value.map(<[u8]>::to_vec))?;
        Ok(found)
    }

    /// The topic and the partition in it.
    pub(super) fn partition(&self, topic: &str, partition: i32) -> Option<(&TopicRow, &PartitionRow)> {
        let topic = self.topics.get(topic)?;
        let partition = topic.partitions.get(usize::try_from(partition).ok()?)?;
        Some((&topic.row, partition))
    }

    /// Reads whole batches from the one that holds `from` on, until `max_bytes` are reached; always one at least.
    ///
    /// `aligned` says that `from` is likely where a batch begins, which saves a search.
    pub(super) fn read(&self, topic: &str, partition: i32, from: i64, aligned: bool, max_bytes: usize) -> Result<Read> {
        let Some((row, &PartitionRow { start, end, .. })) = self.partition(topic, partition) else {
            return Ok(Read::Gone);
        };
        if from == end {
            return Ok(Read::AtEnd);
        }
        if from < start || from > end {
            return Ok(Read::OutOfRange { start, end });
        }
        if aligned {
            let bytes = self.collect(row.id, partition, from, from, max_bytes)?;
            let first = bytes
                .get(..8)
                .and_then(|base| base.try_into().ok())
                .map(i64::from_be_bytes);
            if first == Some(from) {
                return Ok(Read::Batches { bytes, end });
            }
        }
        let base = self.base_of(row.id, partition, from)?;
        let bytes = self.collect(row.id, partition, base, from, max_bytes)?;
        Ok(if bytes.is_empty() {
            Read::AtEnd
        } else {
            Read::Batches { bytes, end }
        })
    }

    /// Where the last batch that begins at or before `offset` begins; `offset` itself when there is none.
    pub(super) fn base_of(&self, topic: u32, partition: i32, offset: i64) -> Result<i64> {
        let mut base = offset;
        let first = layout::batch_key(topic, partition, 0);
        let behind = layout::batch_key(topic, partition, offset.saturating_add(1));
        self.engine.scan_back(BATCHES, &first, Some(&behind), &mut |key, _| {
            base = key
                .get(8..)
                .and_then(|base| base.try_into().ok())
                .map_or(offset, i64::from_be_bytes);
            false
        })?;
        Ok(base)
    }

    fn collect(&self, topic: u32, partition: i32, base: i64, from: i64, max_bytes: usize) -> Result<Vec<u8>> {
        let first = layout::batch_key(topic, partition, base);
        let behind = layout::batch_key(topic, partition, i64::MAX);
        let mut bytes = Vec::new();
        self.engine.scan(BATCHES, &first, Some(&behind), &mut |_, batch| {
            // A batch that compaction has shortened may end before the position. Damage is found when it is opened.
            let over = BatchSummary::of(batch).is_ok_and(|summary| summary.last_offset < from);
            if !over {
                if !bytes.is_empty() && bytes.len() + batch.len() > max_bytes {
                    return false;
                }
                bytes.extend_from_slice(batch);
            }
            bytes.len() < max_bytes
        })?;
        Ok(bytes)
    }
}

/// Counts arrivals; those who wait for one are woken.
#[derive(Default)]
pub(super) struct Signal {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Signal {
    /// The count now. Take it before looking, so that nothing that arrives after the look is missed.
    pub(super) fn count(&self) -> u64 {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something has arrived, or someone is to look up.
    pub(super) fn raise(&self) {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.changed.notify_all();
    }

    /// Waits until the count differs from `seen` or the time is over; tells which.
    pub(super) fn wait(&self, seen: u64, deadline: Instant) -> bool {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        while *count == seen {
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return false;
            }
            count = self
                .changed
                .wait_timeout(count, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }
}
