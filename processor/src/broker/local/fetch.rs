//! Reads the embedded log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::shared::{Read, Shared};
use crate::broker::fault::{Fault, Result};
use crate::broker::record_batch::reader;
use crate::broker::{Chunk, Fetch, FetchConfig, FetchEvent, TopicPartition, Waker};

/// How often a follower asks whether the owning process has written.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(50);

/// A reader of the embedded log.
pub(super) struct LocalFetch {
    shared: Arc<Shared>,
    config: FetchConfig,
    cursors: Vec<Cursor>,
    /// The cursor to begin the next poll with, so that each gets its turn.
    turn: usize,
    woken: Arc<AtomicBool>,
}

struct Cursor {
    partition: TopicPartition,
    position: i64,
    /// The position was reached by reading, so a batch likely begins there.
    aligned: bool,
    paused: bool,
    /// The position does not exist; waits to be assigned anew.
    stuck: bool,
}

impl LocalFetch {
    pub(super) fn new(shared: Arc<Shared>, config: FetchConfig) -> Self {
        Self {
            shared,
            config,
            cursors: Vec::new(),
            turn: 0,
            woken: Arc::default(),
        }
    }

    fn set_paused(&mut self, partitions: &[TopicPartition], paused: bool) {
        for cursor in self
            .cursors
            .iter_mut()
            .filter(|cursor| partitions.contains(&cursor.partition))
        {
            cursor.paused = paused;
        }
    }

    /// Looks at every partition once.
    fn collect(&mut self, out: &mut Vec<FetchEvent>) -> Result<()> {
        let count = self.cursors.len();
        let first = self.turn;
        let mut room = self.config.max_poll_bytes;
        let mut lost = None;
        for step in 0..count {
            let index = (first + step) % count;
            let cursor = &mut self.cursors[index];
            if cursor.paused || cursor.stuck {
                continue;
            }
            let most = self.config.max_partition_bytes.min(room);
            room -= most.min(look(&self.shared, cursor, most, out)?);
            if let Some(FetchEvent::Lost { .. }) = out.last() {
                lost = Some(index);
                break;
            }
            self.turn = index + 1;
            if room == 0 {
                break;
            }
        }
        if let Some(index) = lost {
            self.cursors.remove(index);
        }
        Ok(())
    }
}

/// Reads what is there for one partition; returns the bytes it took.
fn look(shared: &Shared, cursor: &mut Cursor, most: usize, out: &mut Vec<FetchEvent>) -> Result<usize> {
    let tp = &cursor.partition;
    let read = shared
        .view()?
        .read(&tp.topic, tp.partition, cursor.position, cursor.aligned, most)?;
    let partition = tp.clone();
    match read {
        Read::AtEnd => Ok(0),
        Read::OutOfRange { start, end } => {
            cursor.stuck = true;
            out.push(FetchEvent::OutOfRange { partition, start, end });
            Ok(0)
        }
        Read::Gone => {
            let reason = format!("there is no {partition} in {} (any more)", shared.name);
            out.push(FetchEvent::Lost { partition, reason });
            Ok(0)
        }
        Read::Batches { bytes, end } => {
            let mut records = Vec::new();
            let decoded =
                reader::decode(&bytes, cursor.position, &mut records).map_err(|fault| fault.at(&partition))?;
            let len = bytes.len();
            if decoded.bytes != len || decoded.next <= cursor.position {
                let at = cursor.position;
                return Err(Fault::corrupt(format!(
                    "{partition}: the batch behind offset {at} is cut off"
                )));
            }
            cursor.position = decoded.next;
            cursor.aligned = true;
            let chunk = Chunk::new(
                partition.topic.clone(),
                partition.partition,
                Bytes::from(bytes),
                records,
            );
            let chunk = Arc::new(chunk);
            out.push(FetchEvent::Chunk {
                partition,
                chunk,
                next: decoded.next,
                high_watermark: end.max(decoded.next),
            });
            Ok(len)
        }
    }
}

impl Fetch for LocalFetch {
    fn assign(&mut self, diff: &[(TopicPartition, Option<i64>)]) -> Result<()> {
        for (partition, position) in diff {
            let known = self.cursors.iter().position(|cursor| cursor.partition == *partition);
            match (known, *position) {
                (Some(index), None) => drop(self.cursors.remove(index)),
                (None, None) => (),
                (Some(index), Some(position)) => {
                    let cursor = &mut self.cursors[index];
                    (cursor.position, cursor.aligned, cursor.stuck) = (position, false, false);
                }
                (None, Some(position)) => {
                    let partition = partition.clone();
                    self.cursors.push(Cursor {
                        partition,
                        position,
                        aligned: false,
                        paused: false,
                        stuck: false,
                    });
                }
            }
        }
        Ok(())
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.set_paused(partitions, true);
        Ok(())
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.set_paused(partitions, false);
        Ok(())
    }

    fn poll(&mut self, timeout: Duration, out: &mut Vec<FetchEvent>) -> Result<()> {
        let before = out.len();
        let deadline = Instant::now() + timeout;
        loop {
            let seen = self.shared.signal.count();
            let follows = self.shared.fresh_view()?.follow.is_some();
            self.collect(out)?;
            if out.len() > before || self.woken.swap(false, Ordering::AcqRel) {
                return Ok(());
            }
            let until = if follows {
                deadline.min(Instant::now() + FOLLOW_INTERVAL)
            } else {
                deadline
            };
            if !self.shared.signal.wait(seen, until) && until >= deadline {
                return Ok(());
            }
        }
    }

    fn waker(&self) -> Waker {
        let (shared, woken) = (self.shared.clone(), self.woken.clone());
        Arc::new(move || {
            woken.store(true, Ordering::Release);
            shared.signal.raise();
        })
    }
}
