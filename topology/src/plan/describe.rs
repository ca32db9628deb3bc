//! The topology in Kafka Streams' text form.

use std::collections::BTreeMap;

use super::Subtopology;
use crate::graph::{LogicalNode, NodeKind, SinkTopic, TopicName};

pub(super) fn describe(nodes: &[LogicalNode], subtopologies: &[Subtopology]) -> String {
    let mut out = "Topologies:\n ".to_owned();
    for sub in subtopologies {
        out += &format!("  Sub-topology: {}\n", sub.id);
        let members: Vec<&LogicalNode> = sub.nodes.iter().map(|at| &nodes[*at as usize]).collect();
        for node in in_order(&members) {
            out += &describe_node(node, &members);
        }
        out.push('\n');
    }
    out
}

/// Nodes with more below them come first; equals by name.
fn in_order<'a>(members: &[&'a LogicalNode]) -> Vec<&'a LogicalNode> {
    let mut sizes: BTreeMap<u32, u64> = BTreeMap::new();
    for node in members.iter().rev() {
        let below = successors(node, members).map(|s| sizes.get(&s.id).copied().unwrap_or(0));
        let size = below.fold(1u64, u64::saturating_add);
        sizes.insert(node.id, size);
    }
    let mut order = members.to_vec();
    order.sort_by_key(|n| (std::cmp::Reverse(sizes.get(&n.id).copied()), &n.name));
    order
}

fn successors<'a>(node: &'a LogicalNode, members: &'a [&'a LogicalNode]) -> impl Iterator<Item = &'a LogicalNode> + 'a {
    members
        .iter()
        .copied()
        .filter(|other| other.inputs.iter().any(|edge| node.outputs.contains(edge)))
}

fn describe_node(node: &LogicalNode, members: &[&LogicalNode]) -> String {
    let name = &node.name;
    let down = names(successors(node, members));
    let up = names(
        members
            .iter()
            .copied()
            .filter(|o| o.outputs.iter().any(|edge| node.inputs.contains(edge))),
    );
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

fn names<'a>(nodes: impl Iterator<Item = &'a LogicalNode>) -> String {
    let mut names: Vec<&str> = nodes.map(|n| n.name.as_str()).collect();
    names.sort_unstable();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
