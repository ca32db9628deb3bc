//! Finds all problems of a topology at once, each with where it is and what to do.

use std::collections::{BTreeMap, BTreeSet};

use super::is_internal;
use crate::graph::{Graph, LogicalNode, NodeKind, Problem, SinkTopic, TopicName};

pub(super) fn problems(application: &str, graph: &Graph) -> Vec<Problem> {
    let mut found = Found(graph.problems.clone());
    check_application(application, &mut found);
    check_names(graph, &mut found);
    check_stores(graph, &mut found);
    check_sources(graph, &mut found);
    check_sinks(application, graph, &mut found);
    found.0
}

struct Found(Vec<Problem>);

impl Found {
    fn add(&mut self, at: &str, what: impl Into<String>, fix: impl Into<String>) {
        let problem = Problem {
            at: at.to_owned(),
            what: what.into(),
            fix: fix.into(),
        };
        if !self.0.contains(&problem) {
            self.0.push(problem);
        }
    }
}

/// Kafka's rule for topic names, which application ids become part of.
fn is_legal(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= 249 && name != "." && name != ".." && name.chars().all(legal)
}

const LEGAL: &str = "use 1 to 249 of the characters a-z, A-Z, 0-9, '.', '_' and '-'";

fn check_application(application: &str, found: &mut Found) {
    if !is_legal(application) {
        found.add(
            "application.id",
            format!("{application:?} cannot be part of a topic name"),
            LEGAL,
        );
    }
}

fn check_names(graph: &Graph, found: &mut Found) {
    if !graph.nodes.iter().any(|n| matches!(n.kind, NodeKind::Source { .. })) {
        found.add(
            "topology",
            "it reads no topic",
            "add a source with stream, raw_stream or table",
        );
    }
    let mut seen = BTreeSet::new();
    for node in &graph.nodes {
        // Of two repartition topics with one name all three nodes clash; that is said once, by topic.
        if !seen.insert(&node.name) && !is_repartition_node(&node.name) {
            found.add(&node.name, "two nodes have this name", "name one of them differently");
        }
        if node.name.is_empty() {
            found.add(
                "a node",
                format!("it has an empty name ({:?})", node.kind),
                "give it a name, or none at all",
            );
        }
    }
}

fn is_repartition_node(name: &str) -> bool {
    ["filter", "sink", "source"]
        .iter()
        .any(|part| name.strip_suffix(part).is_some_and(|n| n.ends_with("-repartition-")))
}

/// Type names without their paths.
fn short(types: &str) -> String {
    let parts = types.split_inclusive(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
    parts.map(|part| part.rsplit("::").next().unwrap_or(part)).collect()
}

fn check_stores(graph: &Graph, found: &mut Found) {
    let mut seen = BTreeSet::new();
    for store in &graph.stores {
        if !seen.insert(store.name.as_str()) {
            found.add(
                &store.name,
                "two stores have this name",
                "name one of them differently in its Materialized",
            );
        }
        if !is_legal(&store.name) {
            let what = format!("store name {:?} cannot be part of a topic name", store.name);
            found.add(&store.name, what, LEGAL);
        }
    }
    for node in &graph.nodes {
        for store in node.stores.iter().filter(|s| !seen.contains(s.as_str())) {
            let known: Vec<&str> = seen.iter().copied().collect();
            let known = if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            };
            found.add(
                &node.name,
                format!("it uses store {store}, which nobody declared"),
                format!("declare it with add_store, or use one of those there are: {known}"),
            );
        }
    }
}

fn check_sources(graph: &Graph, found: &mut Found) {
    let mut readers: BTreeMap<&TopicName, &LogicalNode> = BTreeMap::new();
    for node in &graph.nodes {
        let NodeKind::Source { topics, codec, .. } = &node.kind else {
            continue;
        };
        for topic in topics {
            check_topic(&node.name, topic, found);
            let Some(first) = readers.insert(topic, node) else {
                continue;
            };
            let NodeKind::Source { codec: before, .. } = &first.kind else {
                continue;
            };
            if is_internal(topic) {
                let what = format!("two repartition topics are called {}", topic.short());
                found.add(
                    &node.name,
                    what,
                    "give one of the groupings, joins or repartitionings another name",
                );
            } else if before != codec {
                found.add(
                    &node.name,
                    format!(
                        "topic {} is already read by {} as {}, here as {}",
                        topic.short(),
                        first.name,
                        short(before),
                        short(codec)
                    ),
                    "read it once and use the stream twice, or read it with the same types and codecs",
                );
            }
        }
    }
}

fn check_topic(at: &str, topic: &TopicName, found: &mut Found) {
    if !is_legal(topic.short()) {
        found.add(at, format!("{:?} is not a legal topic name", topic.short()), LEGAL);
    }
}

fn check_sinks(application: &str, graph: &Graph, found: &mut Found) {
    let internal: BTreeSet<String> = graph
        .nodes
        .iter()
        .flat_map(|n| match &n.kind {
            NodeKind::Source { topics, .. } => topics.as_slice(),
            _ => &[],
        })
        .filter(|t| is_internal(t))
        .map(|t| t.full(application))
        .collect();
    let sources: BTreeSet<&str> = graph
        .nodes
        .iter()
        .flat_map(|n| match &n.kind {
            NodeKind::Source { topics, .. } => topics.as_slice(),
            _ => &[],
        })
        .map(TopicName::short)
        .collect();
    for node in &graph.nodes {
        if let NodeKind::Sink {
            topic: SinkTopic::Fixed(topic),
            ..
        } = &node.kind
        {
            check_topic(&node.name, topic, found);
            if !is_internal(topic) && internal.contains(topic.short()) {
                found.add(
                    &node.name,
                    format!("it writes to {}, an internal topic of this application", topic.short()),
                    "write to a topic of your own; what others write there breaks grouping and joining",
                );
            }
        }
        for topic in &node.side_topics {
            check_topic(&node.name, &TopicName::External(topic.clone()), found);
            if sources.contains(topic.as_str()) {
                found.add(
                    &node.name,
                    format!("its dead letters or late records go to {topic}, which this topology reads"),
                    "send them to another topic, or they come round again and again",
                );
            }
        }
    }
}
