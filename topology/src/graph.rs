//! The logical graph: what the DSL wrote down, as plain data. Plans, descriptions and checks are made from it.
//!
//! Invariants: nodes are in topological order (a node's inputs exist before it), every edge has one producer, node ids are
//! indexes into `nodes`.

use std::collections::BTreeMap;

use millstream_state::spec::StoreSpec;
use serde::Serialize;

use crate::wiring::Maker;

/// A topic as the topology names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum TopicName {
    /// The user's topic.
    External(String),
    /// A topic of ours, without the application id in front.
    Internal(String),
}

impl TopicName {
    /// The name in the log: internal topics carry the application id in front.
    pub fn full(&self, application: &str) -> String {
        match self {
            TopicName::External(name) => name.clone(),
            TopicName::Internal(name) => format!("{application}-{name}"),
        }
    }

    /// The name as `describe` prints it.
    pub fn short(&self) -> &str {
        match self {
            TopicName::External(name) | TopicName::Internal(name) => name,
        }
    }
}

/// What a source topic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum SourceKind {
    /// A stream of events.
    Stream,
    /// Changes of a table.
    Table,
    /// An internal repartition topic.
    Repartition,
}

/// Where reading starts when nothing was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Default)]
pub enum OffsetReset {
    /// What the configuration says.
    #[default]
    Configured,
    /// From the first record at hand.
    Earliest,
    /// From the next record.
    Latest,
}

/// What a node is, as far as plans care.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum NodeKind {
    /// Reads topics.
    Source {
        /// The topics.
        topics: Vec<TopicName>,
        /// What they are for.
        kind: SourceKind,
        /// How bytes become rows, by type names: two sources of one topic must agree.
        codec: String,
        /// Where reading starts.
        reset: OffsetReset,
    },
    /// Everything between.
    Processor,
    /// Writes to a topic.
    Sink {
        /// The topic.
        topic: SinkTopic,
        /// Number of partitions asked for, of an internal topic.
        partitions: Option<i32>,
    },
}

/// Where a sink writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum SinkTopic {
    /// Always here.
    Fixed(TopicName),
    /// Chosen record by record.
    ByRecord,
}

/// A node of the logical graph.
#[derive(Debug, Clone, Serialize)]
pub struct LogicalNode {
    /// Index into the graph's nodes.
    pub id: u32,
    /// Unique name, generated as Kafka Streams does unless the user gave one.
    pub name: String,
    /// Source, processor or sink.
    pub kind: NodeKind,
    /// Edges read.
    pub inputs: Vec<u32>,
    /// Edges written.
    pub outputs: Vec<u32>,
    /// Names of the stores used.
    pub stores: Vec<String>,
    /// Topics this node writes to beside being a sink: dead letters, late records.
    pub side_topics: Vec<String>,
    /// Whether all source topics upstream must have the same number of partitions (joins).
    pub copartition: bool,
    /// Parameters, for people and diffs.
    pub params: BTreeMap<&'static str, String>,
}

/// What a caller of [`crate::StreamBuilder::add_node`] says about a node. Build it with [`NodeSpec::new`] and the `with_` methods.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    pub(crate) name: String,
    pub(crate) kind: NodeKind,
    pub(crate) inputs: Vec<u32>,
    pub(crate) stores: Vec<String>,
    pub(crate) side_topics: Vec<String>,
    pub(crate) copartition: bool,
    pub(crate) params: BTreeMap<&'static str, String>,
}

impl NodeSpec {
    /// A processor with this name (from [`crate::StreamBuilder::name`]) that reads the edges with these ids.
    pub fn new(name: impl Into<String>, inputs: impl IntoIterator<Item = u32>) -> Self {
        NodeSpec {
            name: name.into(),
            kind: NodeKind::Processor,
            inputs: inputs.into_iter().collect(),
            stores: Vec::new(),
            side_topics: Vec::new(),
            copartition: false,
            params: BTreeMap::new(),
        }
    }

    /// Another kind than processor.
    pub fn with_kind(mut self, kind: NodeKind) -> Self {
        self.kind = kind;
        self
    }

    /// Uses this store.
    pub fn with_store(mut self, name: impl Into<String>) -> Self {
        self.stores.push(name.into());
        self
    }

    /// Also writes to this topic (dead letters, late records).
    pub fn with_side_topic(mut self, topic: impl Into<String>) -> Self {
        self.side_topics.push(topic.into());
        self
    }

    /// All source topics upstream must have the same number of partitions.
    pub fn with_copartition(mut self) -> Self {
        self.copartition = true;
        self
    }

    /// A parameter, for people and diffs.
    pub fn with_param(mut self, name: &'static str, value: impl ToString) -> Self {
        self.params.insert(name, value.to_string());
        self
    }
}

/// Something wrong with a topology.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The node, store or topic it is about.
    pub at: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub fix: String,
}

/// The graph under construction.
#[derive(Default)]
pub(crate) struct Graph {
    pub nodes: Vec<LogicalNode>,
    pub makers: Vec<Maker>,
    pub stores: Vec<StoreSpec>,
    pub problems: Vec<Problem>,
    pub edges: u32,
    pub names: u32,
}
