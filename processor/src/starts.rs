//! Where every task starts: what the group has committed, held against what the log still has.

use std::collections::BTreeSet;
use std::sync::Arc;

use millstream_topology::graph::{OffsetReset, SourceKind};
use millstream_topology::plan::{Plan, SourceSpec, Subtopology};
use millstream_topology::task::{SourceRef, TaskId};

use crate::broker::{Admin, Committed, TopicPartition};
use crate::config::Config;
use crate::error::Result;
use crate::events::{Event, Events};
use crate::gate::Gate;
use crate::inputs::{InputStart, Reset};
use crate::position::Position;
use crate::topics::Layout;

/// Where a task starts.
#[derive(Debug)]
pub struct TaskStart {
    /// The task.
    pub id: TaskId,
    /// Its inputs.
    pub inputs: Vec<InputStart>,
    /// Its state as of the last commit, when there was one that says so.
    pub position: Option<Position>,
}

/// What the answers depend on.
pub struct Starts<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The configuration.
    pub config: &'a Config,
    /// How many partitions there are.
    pub layout: &'a Layout,
    /// Whether the run ends with its input.
    pub bounded: bool,
}

/// A source partition and what the log says of it.
struct Found<'a> {
    source: &'a SourceSpec,
    partition: TopicPartition,
    committed: Option<Committed>,
    start: i64,
    end: i64,
}

impl Starts<'_> {
    /// The starts of all tasks, in the order of their ids. The log is asked about all of them together, not about each.
    ///
    /// # Errors
    /// What the log says, and `Fatal` for commit metadata that cannot be read.
    pub fn find(&self, admin: &dyn Admin, gate: &Gate, events: &Events) -> Result<Vec<TaskStart>> {
        let written = self.written();
        let tasks = self.tasks();
        let partitions: Vec<TopicPartition> = tasks
            .iter()
            .flat_map(|(id, sub)| self.sources(*id, sub))
            .map(|(_, partition)| partition)
            .collect();
        let committed = admin.committed(&self.config.application_id, &partitions)?;
        let mut answers = committed.into_iter().zip(admin.bounds(&partitions)?);
        let mut found = Vec::with_capacity(tasks.len());
        for (id, sub) in tasks {
            let sources = self.sources(id, sub).zip(&mut answers);
            let sources = sources.map(|((source, partition), (committed, (start, end)))| Found {
                source,
                partition,
                committed,
                start,
                end,
            });
            let mut task = TaskStart {
                id,
                inputs: Vec::new(),
                position: None,
            };
            for found in sources {
                // The first partition with an offset carries the task's position.
                if let (Some(committed), None) = (&found.committed, &task.position) {
                    task.position = Position::decode(&committed.metadata)?;
                }
                task.inputs.push(self.input(found, sub, &written, gate, events));
            }
            found.push(task);
        }
        Ok(found)
    }

    fn tasks(&self) -> Vec<(TaskId, &Subtopology)> {
        let partitions = |sub: &Subtopology| 0..self.layout.tasks.get(&sub.id).copied().unwrap_or(0);
        let task = |subtopology, partition| TaskId { subtopology, partition };
        self.plan
            .subtopologies()
            .iter()
            .flat_map(|sub| partitions(sub).map(move |partition| (task(sub.id, partition), sub)))
            .collect()
    }

    /// What a task reads: its partition of those sources that have so many.
    fn sources<'s>(
        &'s self,
        id: TaskId,
        sub: &'s Subtopology,
    ) -> impl Iterator<Item = (&'s SourceSpec, TopicPartition)> {
        let count = |source: &SourceSpec| self.layout.partitions.get(&source.topic).copied().unwrap_or(0);
        sub.sources
            .iter()
            .filter(move |source| id.partition < count(source))
            .map(move |source| (source, TopicPartition::new(source.topic.as_str(), id.partition)))
    }

    fn input(
        &self,
        found: Found<'_>,
        sub: &Subtopology,
        written: &BTreeSet<&str>,
        gate: &Gate,
        events: &Events,
    ) -> InputStart {
        let reset = self.reset(found.source);
        let wanted = found.committed.map(|committed| committed.offset);
        let position = reset.resume(wanted, found.start, found.end);
        if let Some(wanted) = wanted.filter(|wanted| *wanted != position) {
            events.emit(&Event::PositionLost {
                partition: &found.partition,
                wanted,
                instead: position,
            });
        }
        let own = written.contains(found.source.topic.as_str());
        InputStart {
            source: sub.source(&found.source.topic).unwrap_or(SourceRef::new(0)),
            slot: gate.slot(),
            position,
            reset,
            end: found.end,
            bounded: self.bounded && !own,
            own,
            partition: found.partition,
        }
    }

    /// Topics that tasks of this application write: their ends move while a bounded run goes on.
    fn written(&self) -> BTreeSet<&str> {
        let sinks = self.plan.subtopologies().iter().flat_map(|sub| &sub.sinks);
        sinks.map(|sink| sink.topic.as_str()).collect()
    }

    /// Repartition topics are always read from their first record: what is in there is the application's own work.
    fn reset(&self, source: &SourceSpec) -> Reset {
        match source.reset {
            _ if source.kind == SourceKind::Repartition => Reset::Earliest,
            OffsetReset::Earliest => Reset::Earliest,
            OffsetReset::Configured if self.config.start_at_earliest => Reset::Earliest,
            OffsetReset::Latest | OffsetReset::Configured => Reset::Latest,
        }
    }
}

/// The topics that the tasks read.
pub fn topics_read(starts: &[TaskStart]) -> BTreeSet<Arc<str>> {
    let inputs = starts.iter().flat_map(|start| &start.inputs);
    inputs.map(|input| input.partition.topic.clone()).collect()
}
