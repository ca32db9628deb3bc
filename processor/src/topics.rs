//! The topics an application needs: outside ones must exist, internal ones are created, and found ones are checked.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_state::spec::StoreSpec;
use millstream_topology::plan::{Plan, Subtopology};

use crate::broker::{Admin, Cleanup, TopicInfo, TopicSpec};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::events::{Event, Events};

/// How many tasks each sub-topology has: the greatest number of partitions of what it reads.
pub type TaskCounts = BTreeMap<u32, i32>;

/// Partitions of every topic that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Partitions by topic (full name).
    pub partitions: BTreeMap<String, i32>,
    /// Tasks by sub-topology.
    pub tasks: TaskCounts,
}

/// Checks outside topics, creates or verifies internal ones.
///
/// # Errors
/// `Misuse` with all missing topics, all mismatched numbers of partitions and all wrong settings at once.
pub fn prepare(plan: &Plan, config: &Config, admin: &dyn Admin, events: &Events) -> Result<Layout> {
    let known = admin.partition_counts()?;
    let mut problems = missing_outputs(plan, config, &known);
    let partitions = match plan.partitions(|topic| known.get(topic).copied()) {
        Ok(partitions) => partitions,
        Err(errors) => {
            problems.extend(
                errors
                    .0
                    .iter()
                    .map(|problem| format!("{}: {}: {}", problem.at, problem.what, problem.fix)),
            );
            return Err(refusal(&problems));
        }
    };
    let tasks: TaskCounts = plan
        .subtopologies()
        .iter()
        .map(|sub| (sub.id, task_count(sub, &partitions)))
        .collect();
    let wanted = internal_topics(plan, config, &partitions, &tasks);
    let (there, missing): (Vec<TopicSpec>, Vec<TopicSpec>) =
        wanted.into_iter().partition(|spec| known.contains_key(&spec.name));
    problems.extend(mismatches(&there, admin)?);
    if !problems.is_empty() {
        return Err(refusal(&problems));
    }
    if !missing.is_empty() {
        admin.create_all(&missing)?;
    }
    for spec in &missing {
        events.emit(&Event::TopicCreated {
            topic: &spec.name,
            partitions: spec.partitions,
        });
    }
    Ok(Layout { partitions, tasks })
}

fn refusal(problems: &[String]) -> Error {
    let many = if problems.len() == 1 { "problem" } else { "problems" };
    Error::misuse(format!(
        "{} {many} with topics:\n  {}",
        problems.len(),
        problems.join("\n  ")
    ))
}

fn task_count(sub: &Subtopology, partitions: &BTreeMap<String, i32>) -> i32 {
    sub.sources
        .iter()
        .filter_map(|source| partitions.get(&source.topic))
        .max()
        .copied()
        .unwrap_or(0)
}

/// Fixed output topics that do not exist. (Topics chosen record by record are met at door 3.)
fn missing_outputs(plan: &Plan, config: &Config, known: &BTreeMap<Arc<str>, i32>) -> Vec<String> {
    let sinks = plan
        .subtopologies()
        .iter()
        .flat_map(|sub| &sub.sinks)
        .filter(|sink| !sink.internal);
    let mut topics: Vec<&str> = sinks
        .map(|sink| sink.topic.as_str())
        .chain(config.dead_letter_topic.as_deref())
        .collect();
    topics.sort_unstable();
    topics.dedup();
    let missing = topics.into_iter().filter(|topic| !known.contains_key(*topic));
    missing
        .map(|topic| format!("{topic}: the application writes this topic, but it does not exist: create it"))
        .collect()
}

fn internal_topics(
    plan: &Plan,
    config: &Config,
    partitions: &BTreeMap<String, i32>,
    tasks: &TaskCounts,
) -> Vec<TopicSpec> {
    let mut specs: BTreeMap<String, TopicSpec> = BTreeMap::new();
    for sub in plan.subtopologies() {
        for sink in sub.sinks.iter().filter(|sink| sink.internal) {
            // A repartition topic keeps what is not consumed yet, however old its event time is.
            if let Some(count) = partitions.get(&sink.topic) {
                specs.insert(sink.topic.clone(), TopicSpec::new(sink.topic.as_str(), *count));
            }
        }
        for store in sub.stores.iter().filter(|store| store.logged) {
            let name = plan.changelog(&store.name);
            let count = tasks.get(&sub.id).copied().unwrap_or(0);
            specs.insert(name.clone(), changelog(&name, count, store, config));
        }
    }
    let replication = config.replication_factor.and_then(|factor| i16::try_from(factor).ok());
    specs
        .into_values()
        .map(|spec| TopicSpec { replication, ..spec })
        .collect()
}

/// A changelog keeps the last record of each key; that of a window store also forgets expired windows.
fn changelog(name: &str, partitions: i32, store: &StoreSpec, config: &Config) -> TopicSpec {
    let spec = TopicSpec::new(name, partitions).cleanup(Cleanup::Compact);
    match store.retention_ms {
        None => spec,
        Some(retention) => TopicSpec {
            cleanup: Cleanup::CompactDelete,
            retention_ms: Some(retention.saturating_add(config.changelog_additional_retention_ms)),
            ..spec
        },
    }
}

/// What is wrong with internal topics that exist.
fn mismatches(wanted: &[TopicSpec], admin: &dyn Admin) -> Result<Vec<String>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = wanted.iter().map(|spec| &*spec.name).collect();
    let found = admin.describe_all(&names)?;
    let found: BTreeMap<&str, &TopicInfo> = found.iter().map(|info| (&*info.name, info)).collect();
    let of = |spec: &TopicSpec| mismatch(spec, found.get(&*spec.name)?);
    Ok(wanted.iter().filter_map(of).collect())
}

fn mismatch(wanted: &TopicSpec, found: &TopicInfo) -> Option<String> {
    let name = &wanted.name;
    if found.partitions != wanted.partitions {
        return Some(format!(
            "{name}: has {} partitions, but {} are needed: its sources were given more or fewer partitions; reset the application",
            found.partitions, wanted.partitions
        ));
    }
    let changelog = wanted.cleanup.compacts();
    if changelog && !found.cleanup.compacts() {
        return Some(format!(
            "{name}: is a changelog, but its cleanup.policy is {}: set it to {}",
            found.cleanup.as_str(),
            wanted.cleanup.as_str()
        ));
    }
    if !changelog && found.cleanup.compacts() {
        return Some(format!(
            "{name}: is a repartition topic, but its cleanup.policy is {}: set it to delete",
            found.cleanup.as_str()
        ));
    }
    None
}
