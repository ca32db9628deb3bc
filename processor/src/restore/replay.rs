//! Reads the changelogs of many tasks together, and gives each record to the store it belongs to.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use millstream_state::restore::{Restored, Restorer};
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
/// Memory for the run of each of them: not less, or fewer are read at once; more gains nothing.
const RUN_BYTES: (usize, usize) = (4 << 20, 16 << 20);

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
    at_once: usize,
    run_bytes: usize,
}

impl<'a> Replays<'a> {
    /// For about `total` changelogs. Until the tasks run, the share of memory that their rows will have is the runs': a
    /// quarter, the same for each thread (ME-1).
    pub(super) fn new(config: &'a Config, control: &'a Control, fetch: &'a mut dyn Fetch, total: usize) -> Self {
        let share = config.memory_max_bytes / 4 / config.threads.max(1);
        let at_once = total.min(AT_ONCE).min(share / RUN_BYTES.0).max(1);
        Replays {
            config,
            control,
            fetch,
            reading: BTreeMap::new(),
            at_once,
            run_bytes: (share / at_once).min(RUN_BYTES.1),
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
            self.fetch.poll(self.config.poll, &mut events)?;
            for event in events.drain(..) {
                self.take(event, tasks)?;
            }
            self.tell(tasks);
        }
    }

    /// Stops reading for a task.
    pub(super) fn forget(&mut self, at: usize) -> Result<()> {
        let of_task = self.reading.extract_if(.., |_, reading| reading.at == at);
        let stop: Vec<_> = of_task.map(|(partition, _)| (partition, None)).collect();
        self.fetch.assign(&stop)
    }

    /// Starts on as many changelogs as may be read at once.
    fn begin(&mut self, tasks: &mut [Making<'_>], lacking: &mut VecDeque<(usize, Replay)>) -> Result<(), Failed> {
        let mut assign = Vec::new();
        while self.reading.len() < self.at_once {
            let Some((at, replay)) = lacking.pop_front() else { break };
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
            assign.push((partition.clone(), Some(reading.position)));
            self.reading.insert(partition, reading);
        }
        if !assign.is_empty() {
            self.fetch.assign(&assign)?;
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
        let restorer = stores.restore(replay.store)?.with_run_bytes(self.run_bytes);
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
        let partition = match &event {
            FetchEvent::Chunk { partition, .. }
            | FetchEvent::OutOfRange { partition, .. }
            | FetchEvent::Truncated { partition, .. }
            | FetchEvent::Lost { partition, .. } => partition,
        };
        // Else it is what was still under way of a changelog that is done with.
        let Some(reading) = self.reading.get_mut(partition) else {
            return Ok(());
        };
        let at = reading.at;
        let Some(task) = tasks.get_mut(at).and_then(|making| making.task.as_mut()) else {
            return Ok(());
        };
        let taken = match event {
            FetchEvent::Chunk { chunk, next, .. } => reading.take(&chunk, next, task),
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
        for (partition, reading) in done {
            self.fetch.assign(&[(partition, None)])?;
            self.finish(reading, task)?;
        }
        Ok(())
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
