//! From a directory and a committed position to a running task.
//!
//! 1. The task's engine is opened. Damaged state is deleted and rebuilt from the changelogs, never used.
//! 2. Each logged store is brought from the position it holds to the position in the commit metadata (or, without any, to
//!    the end of its changelog) by replaying the changelog in bulk.
//! 3. Keys found beyond that position, whose input was not committed, are marked to be written again (CO-4).
//! 4. Notes of the commit are given back to the operators, so that time is not forgotten (TI-1).

use std::sync::Arc;
use std::time::Duration;

use millstream_state::engine::Engine;
use millstream_state::restore::Restored;
use millstream_topology::plan::Plan;
use millstream_topology::task::{Task, TaskConfig, TaskId};

use crate::broker::{Broker, Chunk, Fetch, FetchEvent, TopicPartition};
use crate::config::Config;
use crate::control::Control;
use crate::engines::Engines;
use crate::error::{Error, ErrorKind, Result};
use crate::events::Event;
use crate::position::Position;
use crate::task_runner::{Changelog, changelog};

/// How often a long restore says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Makes and restores tasks on their thread.
pub struct TaskMaker {
    /// The plan.
    pub plan: Plan,
    /// The configuration.
    pub config: Arc<Config>,
    /// What tasks are told of it.
    pub task_config: TaskConfig,
    /// The log.
    pub broker: Arc<dyn Broker>,
    /// Where state is kept.
    pub engines: Arc<dyn Engines>,
    /// Shared by all threads.
    pub control: Arc<Control>,
}

/// A changelog to bring a store up to date with.
struct Replay {
    store: usize,
    name: String,
    partition: TopicPartition,
    /// First offset to read.
    from: i64,
    /// Offset after the last record that belongs to the commit.
    to: i64,
    /// End of the changelog.
    end: i64,
}

impl TaskMaker {
    /// Makes a task with its state as of its last commit. Changelogs are read through `fetch`, which reads nothing else yet.
    pub fn make(
        &self,
        id: TaskId,
        committed: Option<&Position>,
        fetch: &mut dyn Fetch,
    ) -> Result<(Task, Vec<Changelog>)> {
        match self.attempt(id, committed, fetch) {
            Err(error) if error.kind == ErrorKind::Corrupt => {
                self.wipe(id, &error.to_string())?;
                self.attempt(id, committed, fetch)
            }
            done => done,
        }
    }

    fn wipe(&self, id: TaskId, reason: &str) -> Result<()> {
        self.control.events.emit(&Event::StoresWiped { task: id, reason });
        self.engines.wipe(id)
    }

    fn attempt(
        &self,
        id: TaskId,
        committed: Option<&Position>,
        fetch: &mut dyn Fetch,
    ) -> Result<(Task, Vec<Changelog>)> {
        let engine = self.engines.open(id, &self.plan.families(id.subtopology))?;
        let mut task = self.task(id, engine)?;
        let mut changelogs = Vec::new();
        for replay in self.replays(&mut task, committed)? {
            self.replay(&mut task, &replay, fetch)?;
            let Replay {
                name, partition, to, ..
            } = replay;
            changelogs.push(changelog(name, partition, to, &mut self.control.outputs())?);
        }
        if let Some(position) = committed {
            let notes: Vec<(String, Vec<u8>)> = position.notes.clone().into_iter().collect();
            task.restore_notes(&notes)?;
        }
        Ok((task, changelogs))
    }

    fn task(&self, id: TaskId, engine: Box<dyn Engine>) -> Result<Task> {
        Ok(self.plan.task(id, engine, &self.task_config)?)
    }

    /// What has to be replayed for each logged store.
    fn replays(&self, task: &mut Task, committed: Option<&Position>) -> Result<Vec<Replay>> {
        let id = task.id();
        let stores = task.stores();
        let logged: Vec<(usize, String)> = stores
            .specs()
            .enumerate()
            .filter(|(_, spec)| spec.logged)
            .map(|(index, spec)| (index, spec.name.clone()))
            .collect();
        let partition = |name: &str| TopicPartition::new(self.plan.changelog(name), id.partition);
        let partitions: Vec<TopicPartition> = logged.iter().map(|(_, name)| partition(name)).collect();
        let bounds = self.broker.admin().bounds(&partitions)?;
        let mut replays = Vec::new();
        for ((store, name), (partition, (start, end))) in logged.into_iter().zip(partitions.into_iter().zip(bounds)) {
            let stands = stores.position(&name)?;
            // No metadata: the group's offsets expired or were reset. The changelog is all we know, so all of it counts.
            let to = committed
                .and_then(|position| position.stores.get(&name).copied())
                .unwrap_or(end);
            if to > end {
                return Err(Error::misuse(format!(
                    "changelog {partition} of store {name} ends at offset {end}, before the committed {to}: it was deleted, \
                     truncated or made anew, and the state it held cannot be trusted. Bring the topic back, or start the \
                     application afresh: delete its committed offsets, its internal topics and its state directory"
                )));
            }
            if stands.is_some_and(|stands| stands > to) {
                return Err(Error::corrupt(format!(
                    "store {name} of task {id} stands at changelog offset {}, beyond the committed {to}: it belongs to another log",
                    stands.unwrap_or_default()
                )));
            }
            let from = stands.unwrap_or(0).max(start).min(to);
            replays.push(Replay {
                store,
                name,
                partition,
                from,
                to,
                end,
            });
        }
        Ok(replays)
    }

    fn replay(&self, task: &mut Task, replay: &Replay, fetch: &mut dyn Fetch) -> Result<()> {
        let started = self.control.clock.monotonic();
        let stores = task.stores();
        if replay.from >= replay.end && stores.position(&replay.name)? == Some(replay.to) {
            return Ok(());
        }
        let mut restorer = stores.restore(replay.store)?;
        self.control.events.emit(&Event::RestoreStarted {
            task: task.id(),
            store: &replay.name,
            left: (replay.end - replay.from).max(0),
        });
        self.read(task.id(), replay, fetch, &mut |chunk| {
            for record in chunk.records() {
                let Some(key) = chunk.key(record) else { continue };
                if record.offset < replay.to {
                    restorer.push(task.stores(), record.offset, record.timestamp, key, chunk.value(record))?;
                } else {
                    restorer.beyond(record.offset, key)?;
                }
            }
            Ok(())
        })?;
        let Restored {
            records: restored,
            beyond,
            ..
        } = restorer.finish(task.stores(), replay.to)?;
        let (id, store) = (task.id(), replay.name.as_str());
        if beyond > 0 {
            self.control.events.emit(&Event::UncommittedKeys {
                task: id,
                store,
                keys: beyond,
            });
        }
        if restored > 0 {
            let took = self.control.clock.monotonic().saturating_sub(started);
            self.control.events.emit(&Event::Restored {
                task: id,
                store,
                records: restored,
                took,
            });
        }
        Ok(())
    }

    /// Reads a changelog partition from `from` to its end.
    fn read(
        &self,
        task: TaskId,
        replay: &Replay,
        fetch: &mut dyn Fetch,
        take: &mut dyn FnMut(&Chunk) -> Result<()>,
    ) -> Result<()> {
        if replay.from >= replay.end {
            return Ok(());
        }
        fetch.assign(&[(replay.partition.clone(), Some(replay.from))])?;
        let (mut position, mut records) = (replay.from, 0);
        let mut told = self.control.clock.monotonic();
        let mut events = Vec::new();
        while position < replay.end {
            if self.control.meeting.is_halted() {
                return Err(Error::retry(format!("restore of task {task} was interrupted")));
            }
            fetch.poll(self.config.poll, &mut events)?;
            for event in events.drain(..) {
                match event {
                    FetchEvent::Chunk {
                        partition, chunk, next, ..
                    } if partition == replay.partition => {
                        records += chunk.records().len() as u64;
                        take(&chunk)?;
                        position = next;
                    }
                    FetchEvent::OutOfRange { partition, start, .. } if partition == replay.partition => {
                        // Retention has moved the start on since we asked.
                        position = position.max(start);
                        fetch.assign(&[(partition, Some(position))])?;
                    }
                    FetchEvent::Truncated { partition, end } if partition == replay.partition => {
                        return Err(Error::retry(format!(
                            "changelog {partition} was cut back to offset {end} while it was read: a broker that lacked its \
                             newest records leads it now"
                        )));
                    }
                    FetchEvent::Lost { partition, reason } if partition == replay.partition => {
                        return Err(Error::misuse(format!("changelog {partition} cannot be read: {reason}")));
                    }
                    // What was still under way of a changelog that is done with.
                    _ => {}
                }
            }
            let now = self.control.clock.monotonic();
            if now.saturating_sub(told) >= PROGRESS_EVERY {
                told = now;
                let left = (replay.end - position).max(0);
                self.control.events.emit(&Event::RestoreProgress {
                    task,
                    store: &replay.name,
                    records,
                    left,
                });
            }
        }
        fetch.assign(&[(replay.partition.clone(), None)])
    }
}
