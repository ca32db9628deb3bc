//! The plan: a checked topology, split into sub-topologies, from which every stream thread makes its own tasks.
//!
//! [`Plan`] is shared and immutable. `validate` finds all problems at once; `split` cuts the graph where records pass
//! through a topic; `partitions` says how many partitions internal topics get; `describe` prints Kafka Streams' text.

mod describe;
mod partitions;
mod split;
mod validate;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    rc::Rc,
    sync::Arc,
};

use millstream_state::{
    engine::Engine,
    spec::StoreSpec,
    stores::{META_NAME, StoreSet},
};

use crate::{
    error::{Result, TaskError},
    graph::{Graph, LogicalNode, NodeKind, OffsetReset, Problem, SourceKind, TopicName},
    node::Env,
    outbox::Outbox,
    record::RawBatch,
    task::{SourceRef, Task, TaskConfig, TaskId},
    wiring::{Inbox, Maker, Reader, Ready, Wiring},
};

/// A topic a sub-topology reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSpec {
    /// Full name.
    pub topic: String,
    /// What it is for. [`SourceKind::Repartition`] topics are internal.
    pub kind: SourceKind,
    /// Where reading starts when nothing was committed.
    pub reset: OffsetReset,
}

/// A topic a sub-topology writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkSpec {
    /// Full name.
    pub topic: String,
    /// Whether it is ours: created and verified by the processor.
    pub internal: bool,
    /// Number of partitions asked for, of an internal topic.
    pub partitions: Option<i32>,
}

/// What runs together over one partition number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subtopology {
    /// Its number: the first half of a [`TaskId`].
    pub id: u32,
    /// What it reads; a [`SourceRef`] is a place in this list.
    pub sources: Vec<SourceSpec>,
    /// What it writes: sinks, dead letters and late records with a fixed topic.
    pub sinks: Vec<SinkSpec>,
    /// Its stores.
    pub stores: Vec<StoreSpec>,
    /// Sets of source topics (full names) that must have the same number of partitions.
    pub copartitioned: Vec<BTreeSet<String>>,
    /// Its nodes, as indexes into [`Plan::nodes`], in topological order.
    pub nodes: Vec<u32>,
}

impl Subtopology {
    /// The source that reads this topic (full name).
    pub fn source(&self, topic: &str) -> Option<SourceRef> {
        self.sources.iter().position(|s| s.topic == topic).map(SourceRef::new)
    }
}

/// Everything wrong with a topology, at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopologyErrors(pub Vec<Problem>);

impl fmt::Display for TopologyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.0.len() == 1 { "" } else { "s" };
        write!(f, "the topology has {} problem{s}:", self.0.len())?;
        for Problem { at, what, fix } in &self.0 {
            write!(f, "\n  {at}: {what}\n    fix: {fix}")?;
        }
        Ok(())
    }
}

impl std::error::Error for TopologyErrors {}

/// A checked topology. Cheap to clone and to send to other threads.
#[derive(Clone)]
pub struct Plan(Arc<Inner>);

struct Inner {
    application: String,
    nodes: Vec<LogicalNode>,
    makers: Vec<Maker>,
    subtopologies: Vec<Subtopology>,
}

impl Plan {
    pub(crate) fn new(application: &str, graph: &Graph) -> Result<Plan, TopologyErrors> {
        let problems = validate::problems(application, graph);
        if !problems.is_empty() {
            return Err(TopologyErrors(problems));
        }
        Ok(Plan(Arc::new(Inner {
            application: application.to_owned(),
            nodes: graph.nodes.clone(),
            makers: graph.makers.clone(),
            subtopologies: split::subtopologies(application, graph),
        })))
    }

    /// The `application.id`: prefix of all internal names.
    pub fn application(&self) -> &str {
        &self.0.application
    }

    /// The logical graph, in topological order: plain data.
    pub fn nodes(&self) -> &[LogicalNode] {
        &self.0.nodes
    }

    /// What runs together.
    pub fn subtopologies(&self) -> &[Subtopology] {
        &self.0.subtopologies
    }

    /// The changelog topic of a store.
    pub fn changelog(&self, store: &str) -> String {
        format!("{}-{store}-changelog", self.0.application)
    }

    /// The families an engine of this sub-topology's tasks is opened with, meta first.
    pub fn families(&self, subtopology: u32) -> Vec<String> {
        let stores = self
            .0
            .subtopologies
            .get(subtopology as usize)
            .map_or(&[][..], |s| &s.stores);
        std::iter::once(META_NAME.to_owned())
            .chain(stores.iter().map(|s| s.name.clone()))
            .collect()
    }

    /// The topology in Kafka Streams' text form, which existing viewers can draw.
    pub fn describe(&self) -> String {
        describe::describe(&self.0.nodes, &self.0.subtopologies)
    }

    /// Makes a task over an engine that was opened with [`Plan::families`]. Notes are read from the engine.
    pub fn task(&self, id: TaskId, engine: Box<dyn Engine>, config: &TaskConfig) -> Result<Task> {
        let Some(sub) = self.0.subtopologies.get(id.subtopology as usize) else {
            return Err(TaskError::Misuse(format!(
                "there is no sub-topology {}",
                id.subtopology
            )));
        };
        let stores = StoreSet::new(engine, &self.families(id.subtopology)).map_err(|source| TaskError::State {
            node: format!("task {id}"),
            source,
        })?;
        let node = |at: &u32| &self.0.nodes[*at as usize];
        let mut env = Env::new(Arc::new(config.clone()));
        env.names = sub.nodes.iter().map(|at| node(at).name.as_str().into()).collect();
        env.outbox = Outbox::new(env.names.clone());
        env.refused = vec![Default::default(); sub.nodes.len()];
        let readers = self.readers(sub);
        let ready = Rc::new(Ready::new(sub.nodes.len()));
        let mut wiring = Wiring {
            node: 0,
            application: &self.0.application,
            readers: &readers,
            mail: BTreeMap::new(),
            taken: BTreeMap::new(),
            raw: Vec::new(),
            shared: BTreeMap::new(),
            ready: ready.clone(),
            specs: &sub.stores,
            stores,
            env,
        };
        let mut nodes = Vec::with_capacity(sub.nodes.len());
        for (local, at) in sub.nodes.iter().enumerate() {
            wiring.node = local as u32;
            nodes.push(self.0.makers[*at as usize](&mut wiring)?);
        }
        let sources = self.sources(sub, &wiring.raw);
        let Wiring { stores, env, .. } = wiring;
        let mut task = Task {
            id,
            nodes,
            sources,
            ready,
            env,
            stores,
            started: false,
            flushing: None,
        };
        task.load_notes()?;
        Ok(task)
    }

    /// Who reads which edge, by numbers local to the task.
    fn readers(&self, sub: &Subtopology) -> BTreeMap<u32, Vec<Reader>> {
        let mut readers: BTreeMap<u32, Vec<Reader>> = BTreeMap::new();
        for (local, at) in sub.nodes.iter().enumerate() {
            for edge in &self.0.nodes[*at as usize].inputs {
                let list = readers.entry(*edge).or_default();
                let nth = list.iter().filter(|(node, _)| *node == local as u32).count();
                list.push((local as u32, nth as u32));
            }
        }
        readers
    }

    /// The inboxes behind each source topic.
    fn sources(&self, sub: &Subtopology, raw: &[(u32, Inbox<RawBatch>)]) -> Vec<Vec<(Inbox<RawBatch>, u32)>> {
        let reads = |local: u32, topic: &str| {
            let at = sub.nodes.get(local as usize).map(|at| &self.0.nodes[*at as usize].kind);
            let Some(NodeKind::Source { topics, .. }) = at else {
                return false;
            };
            topics.iter().any(|t| t.full(&self.0.application) == topic)
        };
        let inboxes = |source: &SourceSpec| {
            let readers = raw.iter().filter(|(local, _)| reads(*local, &source.topic));
            readers.map(|(local, inbox)| (inbox.clone(), *local)).collect()
        };
        sub.sources.iter().map(inboxes).collect()
    }
}

/// Whether this topic is one of ours.
fn is_internal(topic: &TopicName) -> bool {
    matches!(topic, TopicName::Internal(_))
}
