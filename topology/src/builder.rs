//! The entry to the DSL: sources, tables, stores, and the door for operators of other rooms and files.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use millstream_state::spec::StoreSpec;

use crate::{
    codecs::Codecs,
    error::Result,
    graph::{Graph, LogicalNode, NodeKind, NodeSpec, OffsetReset, Problem, SourceKind, TopicName},
    node::Node,
    operators::{raw_source, source},
    options::{Consumed, Named},
    plan::{Plan, TopologyErrors},
    policy::Policy,
    record::{Batch, Data},
    stream::{RawStream, Stream},
    wiring::{Edge, Wiring},
};

/// Builds a topology. Handles ([`Stream`], tables) share it, so it is cheap to clone.
#[derive(Clone, Default)]
pub struct StreamBuilder(Rc<RefCell<Graph>>);

impl StreamBuilder {
    /// An empty topology.
    pub fn new() -> Self {
        StreamBuilder::default()
    }

    /// Reads a topic as a stream of events.
    pub fn stream<K: Data, V: Data>(&self, topic: &str, consumed: Consumed<K, V>) -> Stream<K, V> {
        let topics = vec![TopicName::External(topic.to_owned())];
        let name = self.name("KSTREAM-SOURCE-", &consumed.named);
        let Consumed {
            codecs, reset, on_bad, ..
        } = consumed;
        let edge = self.add_source(name.clone(), topics, SourceKind::Stream, &codecs, reset, on_bad);
        Stream::from_edge(self.clone(), edge, &name, false)
    }

    /// Reads a topic as raw messages, to be [parsed](RawStream::parse).
    pub fn raw_stream(&self, topic: &str, named: impl Into<Named>) -> RawStream {
        let name = self.name("KSTREAM-SOURCE-", &named.into());
        let kind = NodeKind::Source {
            topics: vec![TopicName::External(topic.to_owned())],
            kind: SourceKind::Stream,
            codec: "raw".to_owned(),
            reset: OffsetReset::default(),
        };
        let edge = self.add_node(NodeSpec::new(name, []).with_kind(kind), raw_source::make);
        RawStream::new(self.clone(), edge)
    }

    /// A source node of any kind: decodes and guards timestamps. Tables and repartitioning are built on it.
    pub fn add_source<K: Data, V: Data>(
        &self,
        name: String,
        topics: Vec<TopicName>,
        kind: SourceKind,
        codecs: &Codecs<K, V>,
        reset: OffsetReset,
        on_bad: Policy,
    ) -> Edge<Batch<K, V>> {
        let node = NodeKind::Source {
            topics,
            kind,
            codec: codecs.name.to_owned(),
            reset,
        };
        let mut spec = NodeSpec::new(name, []).with_kind(node);
        if let Policy::DeadLetterTo(topic) = &on_bad {
            spec = spec.with_side_topic(&**topic);
        }
        let rows = codecs.rows.clone();
        self.add_node(spec, move |w, out| source::make(w, out, rows.clone(), &on_bad))
    }

    /// The name a node or store gets: the user's, else `<prefix><number>` as Kafka Streams counts. Numbers are given in
    /// the order of calls, and only where no name was given.
    pub fn name(&self, prefix: &str, named: &Named) -> String {
        named.get().map_or_else(|| self.next_name(prefix), str::to_owned)
    }

    /// The next generated name with this prefix.
    pub fn next_name(&self, prefix: &str) -> String {
        let mut graph = self.0.borrow_mut();
        let number = graph.names;
        graph.names += 1;
        format!("{prefix}{number:010}")
    }

    /// Adds a node with one output. This is how every operator gets into the graph.
    ///
    /// `make` runs once per task, on the task's thread: it takes the inboxes of the node's inputs ([`Wiring::input`]), the
    /// sending end of its own edge ([`Wiring::output`]) and its stores ([`Wiring::store`]).
    pub fn add_node<T: 'static, N: Node + 'static>(
        &self,
        spec: NodeSpec,
        make: impl Fn(&mut Wiring<'_>, Edge<T>) -> Result<N> + Send + Sync + 'static,
    ) -> Edge<T> {
        let edge = Edge::new(self.0.borrow().edges);
        self.add(spec, 1, move |w| Ok(Box::new(make(w, edge)?) as Box<dyn Node>));
        edge
    }

    /// Adds a node with any number of outputs of one type (a split), or with none (a sink).
    pub fn add_fan<T: 'static, N: Node + 'static>(
        &self,
        spec: NodeSpec,
        outputs: u32,
        make: impl Fn(&mut Wiring<'_>, &[Edge<T>]) -> Result<N> + Send + Sync + 'static,
    ) -> Vec<Edge<T>> {
        let first = self.0.borrow().edges;
        let edges: Vec<Edge<T>> = (first..first + outputs).map(Edge::new).collect();
        let own = edges.clone();
        self.add(spec, outputs, move |w| Ok(Box::new(make(w, &own)?) as Box<dyn Node>));
        edges
    }

    fn add(
        &self,
        spec: NodeSpec,
        outputs: u32,
        make: impl Fn(&mut Wiring<'_>) -> Result<Box<dyn Node>> + Send + Sync + 'static,
    ) {
        let mut graph = self.0.borrow_mut();
        let (id, first) = (graph.nodes.len() as u32, graph.edges);
        graph.edges += outputs;
        graph.nodes.push(LogicalNode {
            id,
            name: spec.name,
            kind: spec.kind,
            inputs: spec.inputs,
            outputs: (first..first + outputs).collect(),
            stores: spec.stores,
            side_topics: spec.side_topics,
            copartition: spec.copartition,
            params: spec.params,
        });
        graph.makers.push(Arc::new(make));
    }

    /// Declares a store. Nodes use it by name ([`NodeSpec::with_store`]); its schema is given by the node that makes it.
    pub fn add_store(&self, store: StoreSpec) {
        self.0.borrow_mut().stores.push(store);
    }

    /// Notes something wrong with the topology, to be reported with everything else by [`StreamBuilder::build`].
    pub fn problem(&self, at: impl Into<String>, what: impl Into<String>, fix: impl Into<String>) {
        self.0.borrow_mut().problems.push(Problem {
            at: at.into(),
            what: what.into(),
            fix: fix.into(),
        });
    }

    /// Checks the topology and makes the plan for this `application.id`. All problems are reported at once.
    pub fn build(&self, application: &str) -> Result<Plan, TopologyErrors> {
        Plan::new(application, &self.0.borrow())
    }
}
