//! Cuts the graph into sub-topologies: what is connected by edges, shared stores or a shared source topic runs together.

use std::collections::{BTreeMap, BTreeSet};

use super::{SinkSpec, SourceSpec, Subtopology, is_internal};
use crate::graph::{Graph, LogicalNode, NodeKind, SinkTopic};

pub(super) fn subtopologies(application: &str, graph: &Graph) -> Vec<Subtopology> {
    let groups = groups(graph);
    let make = |(id, nodes): (usize, Vec<u32>)| subtopology(id as u32, nodes, application, graph);
    groups.into_iter().enumerate().map(make).collect()
}

/// Node numbers by sub-topology, numbered as Kafka Streams does: by the names of their source nodes.
fn groups(graph: &Graph) -> Vec<Vec<u32>> {
    let mut sets = UnionFind::new(graph.nodes.len());
    let mut producers: BTreeMap<u32, u32> = BTreeMap::new();
    let mut users: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for node in &graph.nodes {
        producers.extend(node.outputs.iter().map(|edge| (*edge, node.id)));
        for edge in &node.inputs {
            if let Some(producer) = producers.get(edge) {
                sets.join(*producer, node.id);
            }
        }
        let topics = source_topics(node).into_iter().map(|t| ("topic", t));
        for shared in node.stores.iter().map(|s| ("store", s.as_str())).chain(topics) {
            let first = *users.entry(shared).or_insert(node.id);
            sets.join(first, node.id);
        }
    }
    let mut order: Vec<&LogicalNode> = graph.nodes.iter().collect();
    order.sort_by_key(|n| (!matches!(n.kind, NodeKind::Source { .. }), &n.name));
    let mut groups: Vec<(u32, Vec<u32>)> = Vec::new();
    for node in order {
        let root = sets.find(node.id);
        match groups.iter_mut().find(|(r, _)| *r == root) {
            Some((_, members)) => members.push(node.id),
            None => groups.push((root, vec![node.id])),
        }
    }
    let sorted = |(_, mut members): (u32, Vec<u32>)| {
        members.sort_unstable();
        members
    };
    groups.into_iter().map(sorted).collect()
}

fn source_topics(node: &LogicalNode) -> Vec<&str> {
    match &node.kind {
        NodeKind::Source { topics, .. } => topics.iter().map(|t| t.short()).collect(),
        _ => Vec::new(),
    }
}

fn subtopology(id: u32, nodes: Vec<u32>, application: &str, graph: &Graph) -> Subtopology {
    let mut sub = Subtopology {
        id,
        sources: Vec::new(),
        sinks: Vec::new(),
        stores: Vec::new(),
        copartitioned: Vec::new(),
        nodes,
    };
    for at in &sub.nodes {
        let node = &graph.nodes[*at as usize];
        match &node.kind {
            NodeKind::Source {
                topics, kind, reset, ..
            } => {
                let spec = |t: &crate::graph::TopicName| SourceSpec {
                    topic: t.full(application),
                    kind: *kind,
                    reset: *reset,
                };
                sub.sources.extend(topics.iter().map(spec));
            }
            NodeKind::Sink {
                topic: SinkTopic::Fixed(topic),
                partitions,
            } => sub.sinks.push(SinkSpec {
                topic: topic.full(application),
                internal: is_internal(topic),
                partitions: *partitions,
            }),
            NodeKind::Sink { .. } | NodeKind::Processor => {}
        }
        let side = |t: &String| SinkSpec {
            topic: t.clone(),
            internal: false,
            partitions: None,
        };
        sub.sinks.extend(node.side_topics.iter().map(side));
        for name in &node.stores {
            if let Some(spec) = graph.stores.iter().find(|s| s.name == *name)
                && !sub.stores.iter().any(|s| s.name == *name)
            {
                sub.stores.push(spec.clone());
            }
        }
        if node.copartition {
            sub.copartitioned.push(upstream_topics(node, application, graph));
        }
    }
    sub.sources.sort_by(|a, b| a.topic.cmp(&b.topic));
    sub.sources.dedup_by(|a, b| a.topic == b.topic);
    sub.sinks.sort_by(|a, b| a.topic.cmp(&b.topic));
    sub.sinks.dedup_by(|a, b| a.topic == b.topic);
    sub
}

/// Full names of all source topics above a node, also above the nodes it shares a store with.
fn upstream_topics(node: &LogicalNode, application: &str, graph: &Graph) -> BTreeSet<String> {
    let mut topics = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut todo = vec![node.id];
    while let Some(at) = todo.pop() {
        if !seen.insert(at) {
            continue;
        }
        let node = &graph.nodes[at as usize];
        if let NodeKind::Source { topics: own, .. } = &node.kind {
            topics.extend(own.iter().map(|t| t.full(application)));
        }
        let feeds = |other: &&LogicalNode| {
            other.outputs.iter().any(|edge| node.inputs.contains(edge))
                || other.id < node.id && other.stores.iter().any(|s| node.stores.contains(s))
        };
        todo.extend(graph.nodes.iter().filter(feeds).map(|n| n.id));
    }
    topics
}

struct UnionFind(Vec<u32>);

impl UnionFind {
    fn new(n: usize) -> Self {
        UnionFind((0..n as u32).collect())
    }

    fn find(&mut self, mut at: u32) -> u32 {
        while self.0[at as usize] != at {
            let parent = self.0[at as usize];
            self.0[at as usize] = self.0[parent as usize];
            at = parent;
        }
        at
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.find(a), self.find(b));
        self.0[a.max(b) as usize] = a.min(b);
    }
}
