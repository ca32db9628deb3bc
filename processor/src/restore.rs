//! From directories and committed positions to running tasks.
//!
//! 1. Each task's engine is opened. Damaged state is deleted and rebuilt from the changelogs, never used.
//! 2. Each logged store is brought from the position it holds to the position in the commit metadata (or, without any, to
//!    the end of its changelog) by replaying the changelog in bulk. A thread reads the changelogs of all its tasks together
//!    ([`replay`]), so that the log always has something on its way while rows are worked on.
//! 3. Keys found beyond that position, whose input was not committed, are marked to be written again (CO-4).
//! 4. Notes of the commit are given back to the operators, so that time is not forgotten (TI-1).

mod replay;

use std::collections::VecDeque;
use std::sync::Arc;

use millstream_topology::plan::Plan;
use millstream_topology::task::{Task, TaskConfig, TaskId};

use crate::broker::{Broker, Fetch, TopicPartition};
use crate::config::Config;
use crate::control::Control;
use crate::engines::Engines;
use crate::error::{Error, ErrorKind, Result};
use crate::events::Event;
use crate::position::Position;
use crate::task_runner::{Changelog, changelog};

use replay::{Failed, Replay, Replays};

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

/// A task on its way.
struct Making<'a> {
    id: TaskId,
    committed: Option<&'a Position>,
    /// Gone while its state is deleted.
    task: Option<Task>,
    changelogs: Vec<Changelog>,
    /// Its state was deleted once; it must not be needed again.
    wiped: bool,
}

impl TaskMaker {
    /// Makes tasks with their state as of their last commit. Changelogs are read through `fetch`, which reads nothing else
    /// yet.
    pub fn make(
        &self,
        starts: &[(TaskId, Option<&Position>)],
        fetch: &mut dyn Fetch,
    ) -> Result<Vec<(Task, Vec<Changelog>)>> {
        let mut tasks: Vec<Making<'_>> = starts
            .iter()
            .map(|&(id, committed)| Making {
                id,
                committed,
                task: None,
                changelogs: Vec::new(),
                wiped: false,
            })
            .collect();
        // What stores lack, with the number of their task.
        let mut lacking = VecDeque::new();
        for (at, task) in tasks.iter_mut().enumerate() {
            lacking.extend(self.open(task)?.into_iter().map(|replay| (at, replay)));
        }
        let mut replays = Replays::new(&self.config, &self.control, fetch, lacking.len());
        while let Err(Failed { at, error }) = replays.run(&mut tasks, &mut lacking) {
            let task = at.and_then(|at| Some((at, tasks.get_mut(at)?)));
            let Some((at, task)) = task.filter(|_| error.kind == ErrorKind::Corrupt) else {
                return Err(error);
            };
            replays.forget(at)?;
            lacking.retain(|(of, _)| *of != at);
            self.wipe(task, error)?;
            lacking.extend(self.open(task)?.into_iter().map(|replay| (at, replay)));
        }
        tasks.into_iter().map(|task| self.finish(task)).collect()
    }

    /// Opens a task's state, and says what it lacks.
    fn open(&self, making: &mut Making<'_>) -> Result<Vec<Replay>> {
        match self.attempt(making) {
            Err(error) if error.kind == ErrorKind::Corrupt => {
                self.wipe(making, error)?;
                self.attempt(making)
            }
            done => done,
        }
    }

    fn attempt(&self, making: &mut Making<'_>) -> Result<Vec<Replay>> {
        let id = making.id;
        let engine = self.engines.open(id, &self.plan.families(id.subtopology))?;
        let task = making.task.insert(self.plan.task(id, engine, &self.task_config)?);
        let replays = self.replays(task, making.committed)?;
        making.changelogs.clear();
        for replay in &replays {
            let Replay {
                name, partition, to, ..
            } = replay;
            let log = changelog(name.clone(), partition.clone(), *to, &mut self.control.outputs())?;
            making.changelogs.push(log);
        }
        Ok(replays)
    }

    fn wipe(&self, making: &mut Making<'_>, error: Error) -> Result<()> {
        // The engine must be closed before its files are deleted.
        making.task = None;
        if std::mem::replace(&mut making.wiped, true) {
            return Err(error);
        }
        let reason = error.to_string();
        self.control.events.emit(&Event::StoresWiped {
            task: making.id,
            reason: &reason,
        });
        self.engines.wipe(making.id)
    }

    fn finish(&self, making: Making<'_>) -> Result<(Task, Vec<Changelog>)> {
        let Some(mut task) = making.task else {
            return Err(Error::fatal(format!("task {} was not opened", making.id)));
        };
        if let Some(position) = making.committed {
            let notes: Vec<(String, Vec<u8>)> = position.notes.clone().into_iter().collect();
            task.restore_notes(&notes)?;
        }
        Ok((task, making.changelogs))
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
}
