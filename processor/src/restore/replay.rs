//! Reads the changelogs of many tasks together, and gives each record to the store it belongs to.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use millstream_state::restore::{Memory, Restored, Restorer};
use millstream_topology::task::Task;

use super::Making;
use crate::broker::{Chunk, Fetch, FetchEvent, TopicPartition};
use crate::config::Config;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::events::Event;

/// How often a long restore says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// Changelogs read at once by a thread, at most: enough that one is always on its way, few enough for long runs.
const AT_ONCE: usize = 16;
/// Memory for each of them: not less, or fewer are read at once.
const LEAST_BYTES: usize = 4 << 20;
/// What a record is taken for until some have been seen.
const RECORD_BYTES: u64 = 256;

/// A changelog to bring a store up to date with.
pub(super) struct Replay {
    pub(super) store: usize,
    pub(super) name: String,
    pub(super) partition: TopicPartition,
    /// First offset to read.
    pub(super) from: i64,
    /// Offset after the last record that belongs to the commit.
    pub(super) to: i64,
    /// End of the changelog.
    pub(super) end: i64,
}

/// A changelog that is being read.
struct Reading {
    /// Number of the task.
    at: usize,
    replay: Replay,
    restorer: Restorer,
    /// The next offset.
    position: i64,
    records: u64,
    started: Duration,
    told: Duration,
}

/// What went wrong.
pub(super) struct Failed {
    /// The number of the task for which it did, if it was one.
    pub(super) at: Option<usize>,
    pub(super) error: Error,
}

impl Failed {
    fn of(at: usize) -> impl FnOnce(Error) -> Failed {
        move |error| Failed { at: Some(at), error }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed { at: None, error }
    }
}

/// The changelogs a thread reads.
pub(super) struct Replays<'a> {
    config: &'a Config,
    control: &'a Control,
    fetch: &'a mut dyn Fetch,
    reading: BTreeMap<TopicPartition, Reading>,
    /// What has come and is not worked on. It outlives a failure: it is not fetched again.
    events: VecDeque<FetchEvent>,
    at_once: usize,
    /// For the records of all that are being read.
    memory: Memory,
    /// Bytes of changelogs that are read at once.
    small: u64,
    /// Records so far of all changelogs, and the memory they came in.
    seen: (u64, u64),
}

impl<'a> Replays<'a> {
    /// For about `total` changelogs. Until the tasks of a thread run, their rows, queues and sends take nothing of its share
    /// of the memory of the process: half of it is the restore's (ME-1).
    pub(super) fn new(config: &'a Config, control: &'a Control, fetch: &'a mut dyn Fetch, total: usize) -> Self {
        let share = config.memory_max_bytes / 2 / config.threads.max(1);
        let at_once = total.min(AT_ONCE).min(share / LEAST_BYTES).max(1);
        Replays {
            config,
            control,
            fetch,
            reading: BTreeMap::new(),
            events: VecDeque::new(),
            at_once,
            memory: Memory::new(share),
            small: share as u64 / 4,
            seen: (0, 0),
        }
    }

    /// Reads until nothing is lacking. After an error `lacking` and the changelogs that are being read are as they were,
    /// but for those of the task that failed: [`Replays::forget`] them.
    pub(super) fn run(
        &mut self,
        tasks: &mut [Making<'_>],
        lacking: &mut VecDeque<(usize, Replay)>,
    ) -> Result<(), Failed> {
        let mut events = Vec::new();
        loop {
            self.begin(tasks, lacking)?;
            if self.reading.is_empty() {
                return Ok(());
            }
            if self.control.meeting.is_halted() {
                return Err(Error::retry("the restore of stores was interrupted").into());
            }
            if self.events.is_empty() {
                self.fetch.poll(self.config.poll, &mut events)?;
                self.events.extend(events.drain(..));
            }
            while let Some(event) = self.events.pop_front() {
                self.take(event, tasks)?;
            }
            self.tell(tasks);
        }
    }

    /// Stops reading for a task.
    pub(super) fn forget(&mut self, at: usize) -> Result<()> {
        let of_task = self.reading.extract_if(.., |_, reading| reading.at == at);
        let stop: Vec<_> = of_task.map(|(partition, _)| (partition, None)).collect();
        self.events
            .retain(|event| self.reading.contains_key(partition_of(event)));
        self.fetch.assign(&stop)
    }

    /// Starts on as many changelogs as may be read at once: one, and others while all of them together are small. A large one
    /// is better read alone, for what fits into memory is not put aside on disk, and memory that the one before has used is
    /// cheaper than new.
    fn begin(&mut self, tasks: &mut [Making<'_>], lacking: &mut VecDeque<(usize, Replay)>) -> Result<(), Failed> {
        while self.reading.len() < self.at_once {
            let of = |replay: &Replay| (replay.end - replay.from).max(0) as u64;
            let (records, bytes) = self.seen;
            let each = bytes.checked_div(records).unwrap_or(RECORD_BYTES);
            let all = |next| self.reading.values().map(|reading| of(&reading.replay)).sum::<u64>() + next;
            let fits = |(_, next): &mut (usize, Replay)| {
                self.reading.is_empty() || all(of(next)).saturating_mul(each) <= self.small
            };
            let Some((at, replay)) = lacking.pop_front_if(fits) else {
                break;
            };
            let Some(task) = tasks.get_mut(at).and_then(|making| making.task.as_mut()) else {
                continue;
            };
            let Some(reading) = self.restorer(at, replay, task).map_err(Failed::of(at))? else {
                continue;
            };
            if reading.position >= reading.replay.end {
                self.finish(reading, task).map_err(Failed::of(at))?;
                continue;
            }
            let partition = reading.replay.partition.clone();
            // At once: the next one may fail, and this one is to be read all the same.
            self.fetch.assign(&[(partition.clone(), Some(reading.position))])?;
            self.reading.insert(partition, reading);
        }
        Ok(())
    }

    /// `None` when the store has all there is.
    fn restorer(&self, at: usize, replay: Replay, task: &mut Task) -> Result<Option<Reading>> {
        let id = task.id();
        let stores = task.stores();
        if replay.from >= replay.end && stores.position(&replay.name)? == Some(replay.to) {
            return Ok(None);
        }
        let restorer = stores.restore(replay.store)?.with_memory(&self.memory);
        self.control.events.emit(&Event::RestoreStarted {
            task: id,
            store: &replay.name,
            left: (replay.end - replay.from).max(0),
        });
        let now = self.control.clock.monotonic();
        Ok(Some(Reading {
            at,
            position: replay.from,
            replay,
            restorer,
            records: 0,
            started: now,
            told: now,
        }))
    }

    fn take(&mut self, event: FetchEvent, tasks: &mut [Making<'_>]) -> Result<(), Failed> {
        let partition = partition_of(&event);
        // Else it is what was still under way of a changelog that is done with.
        let Some(reading) = self.reading.get_mut(partition) else {
            return Ok(());
        };
        let at = reading.at;
        let Some(task) = tasks.get_mut(at).and_then(|making| making.task.as_mut()) else {
            return Ok(());
        };
        let taken = match event {
            FetchEvent::Chunk { chunk, next, .. } => {
                let (records, bytes) = &mut self.seen;
                *records += chunk.records().len() as u64;
                *bytes += chunk.memory() as u64;
                reading.take(&chunk, next, task)
            }
            FetchEvent::OutOfRange { partition, start, .. } => {
                // Retention has moved the start on since we asked.
                reading.position = reading.position.max(start);
                let assign = [(partition, Some(reading.position))];
                self.fetch.assign(&assign)
            }
            FetchEvent::Truncated { partition, end } => Err(Error::retry(format!(
                "changelog {partition} was cut back to offset {end} while it was read: a broker that lacked its newest \
                 records leads it now"
            ))),
            FetchEvent::Lost { partition, reason } => {
                Err(Error::misuse(format!("changelog {partition} cannot be read: {reason}")))
            }
        };
        taken.and_then(|()| self.end(at, task)).map_err(Failed::of(at))
    }

    /// Ends those changelogs of a task that were read to their end.
    fn end(&mut self, at: usize, task: &mut Task) -> Result<()> {
        let is_done = |reading: &Reading| reading.at == at && reading.position >= reading.replay.end;
        let done: Vec<_> = self.reading.extract_if(.., |_, reading| is_done(reading)).collect();
        let stop: Vec<_> = done.iter().map(|(partition, _)| (partition.clone(), None)).collect();
        if !stop.is_empty() {
            self.fetch.assign(&stop)?;
        }
        done.into_iter().try_for_each(|(_, reading)| self.finish(reading, task))
    }

    fn finish(&self, reading: Reading, task: &mut Task) -> Result<()> {
        let id = task.id();
        let Reading {
            replay,
            restorer,
            started,
            ..
        } = reading;
        let Restored { records, beyond, .. } = restorer.finish(task.stores(), replay.to)?;
        let store = replay.name.as_str();
        if beyond > 0 {
            self.control.events.emit(&Event::UncommittedKeys {
                task: id,
                store,
                keys: beyond,
            });
        }
        if records > 0 {
            let took = self.control.clock.monotonic().saturating_sub(started);
            self.control.events.emit(&Event::Restored {
                task: id,
                store,
                records,
                took,
            });
        }
        Ok(())
    }

    /// Says how far those are that take long.
    fn tell(&mut self, tasks: &[Making<'_>]) {
        let now = self.control.clock.monotonic();
        for reading in self.reading.values_mut() {
            if now.saturating_sub(reading.told) < PROGRESS_EVERY {
                continue;
            }
            reading.told = now;
            let Some(task) = tasks.get(reading.at) else { continue };
            self.control.events.emit(&Event::RestoreProgress {
                task: task.id,
                store: &reading.replay.name,
                records: reading.records,
                left: (reading.replay.end - reading.position).max(0),
            });
        }
    }
}

fn partition_of(event: &FetchEvent) -> &TopicPartition {
    match event {
        FetchEvent::Chunk { partition, .. }
        | FetchEvent::OutOfRange { partition, .. }
        | FetchEvent::Truncated { partition, .. }
        | FetchEvent::Lost { partition, .. } => partition,
    }
}

impl Reading {
    fn take(&mut self, chunk: &Chunk, next: i64, task: &mut Task) -> Result<()> {
        let stores = task.stores();
        for record in chunk.records() {
            let Some(key) = chunk.key(record) else { continue };
            if record.offset < self.replay.to {
                let value = chunk.value(record);
                self.restorer
                    .push(stores, record.offset, record.timestamp, key, value)?;
            } else {
                self.restorer.beyond(record.offset, key)?;
            }
        }
        self.records += chunk.records().len() as u64;
        self.position = next;
        Ok(())
    }
}
