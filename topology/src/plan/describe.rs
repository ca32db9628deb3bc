//! The topology in Kafka Streams' text form.

use std::collections::BTreeMap;

use super::Subtopology;
use crate::graph::{LogicalNode, NodeKind, SinkTopic, TopicName};

pub(super) fn describe(nodes: &[LogicalNode], subtopologies: &[Subtopology]) -> String {
    let mut out = "Topologies:\n ".to_owned();
    for sub in subtopologies {
        out += &format!("  Sub-topology: {}\n", sub.id);
        let members: Vec<&LogicalNode> = sub.nodes.iter().map(|at| &nodes[*at as usize]).collect();
        let sizes = sizes(&members);
        for node in in_order(members.iter().copied(), &sizes) {
            out += &describe_node(node, &members, &sizes);
        }
        out.push('\n');
    }
    out
}

/// How many nodes lie below each, counted along every path: Kafka Streams' measure.
fn sizes(members: &[&LogicalNode]) -> BTreeMap<u32, u64> {
    let mut sizes: BTreeMap<u32, u64> = BTreeMap::new();
    for node in members.iter().rev() {
        let below = successors(node, members).map(|s| sizes.get(&s.id).copied().unwrap_or(0));
        let size = below.fold(1u64, u64::saturating_add);
        sizes.insert(node.id, size);
    }
    sizes
}

/// Nodes with more below them come first; equals by name.
fn in_order<'a>(nodes: impl Iterator<Item = &'a LogicalNode>, sizes: &BTreeMap<u32, u64>) -> Vec<&'a LogicalNode> {
    let mut order: Vec<&LogicalNode> = nodes.collect();
    order.sort_by_key(|n| (std::cmp::Reverse(sizes.get(&n.id).copied()), &n.name));
    order
}

fn successors<'a>(node: &'a LogicalNode, members: &'a [&'a LogicalNode]) -> impl Iterator<Item = &'a LogicalNode> + 'a {
    members
        .iter()
        .copied()
        .filter(|other| other.inputs.iter().any(|edge| node.outputs.contains(edge)))
}

fn describe_node(node: &LogicalNode, members: &[&LogicalNode], sizes: &BTreeMap<u32, u64>) -> String {
    let name = &node.name;
    let above = members
        .iter()
        .copied()
        .filter(|o| o.outputs.iter().any(|edge| node.inputs.contains(edge)));
    let up = names(in_order(above, sizes));
    let down = names(in_order(successors(node, members), sizes));
    match &node.kind {
        NodeKind::Source { topics, .. } => {
            let mut topics: Vec<&str> = topics.iter().map(TopicName::short).collect();
            topics.sort_unstable();
            format!(
                "    Source: {name} (topics: [{}])\n      --> {down}\n",
                topics.join(", ")
            )
        }
        NodeKind::Processor => {
            let mut stores = node.stores.clone();
            stores.sort_unstable();
            let stores = stores.join(", ");
            format!("    Processor: {name} (stores: [{stores}])\n      --> {down}\n      <-- {up}\n")
        }
        NodeKind::Sink {
            topic: SinkTopic::Fixed(topic),
            ..
        } => {
            format!("    Sink: {name} (topic: {})\n      <-- {up}\n", topic.short())
        }
        NodeKind::Sink {
            topic: SinkTopic::ByRecord,
            ..
        } => {
            format!("    Sink: {name} (extractor class: by record)\n      <-- {up}\n")
        }
    }
}

fn names(nodes: Vec<&LogicalNode>) -> String {
    if nodes.is_empty() {
        return "none".to_owned();
    }
    nodes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join(", ")
}
