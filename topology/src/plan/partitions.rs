//! How many partitions internal topics get, and whether what is joined has the same number.

use std::collections::BTreeMap;

use super::{Plan, TopologyErrors};
use crate::graph::{Problem, SourceKind};

impl Plan {
    /// The number of partitions of every topic the plan reads, by full name, given those of the user's topics. A
    /// repartition topic has what was asked for, else what it is joined with has, else the greatest number among the
    /// sources of those who write it. All missing topics and all mismatches are reported at once.
    pub fn partitions(&self, external: impl Fn(&str) -> Option<i32>) -> Result<BTreeMap<String, i32>, TopologyErrors> {
        let mut problems = Vec::new();
        let mut counts: BTreeMap<String, i32> = BTreeMap::new();
        for source in self.subtopologies().iter().flat_map(|s| &s.sources) {
            if source.kind == SourceKind::Repartition {
                continue;
            }
            match external(&source.topic) {
                Some(n) => drop(counts.insert(source.topic.clone(), n)),
                None => problems.push(Problem {
                    at: source.topic.clone(),
                    what: "the topology reads this topic, but it does not exist".to_owned(),
                    fix: "create it, or correct its name in the topology".to_owned(),
                }),
            }
        }
        if problems.is_empty() {
            self.asked_for(&mut counts);
            // Each round settles at least one topic, unless they wait for each other in a circle.
            while self.settle(&mut counts) {}
            self.mismatches(&counts, &mut problems);
        }
        if problems.is_empty() {
            Ok(counts)
        } else {
            Err(TopologyErrors(problems))
        }
    }

    fn asked_for(&self, counts: &mut BTreeMap<String, i32>) {
        for sink in self.subtopologies().iter().flat_map(|s| &s.sinks) {
            if let Some(n) = sink.partitions {
                counts.insert(sink.topic.clone(), n);
            }
        }
    }

    /// Settles what can be; says whether anything was.
    fn settle(&self, counts: &mut BTreeMap<String, i32>) -> bool {
        let mut settled = BTreeMap::new();
        for sub in self.subtopologies() {
            for source in sub.sources.iter().filter(|s| !counts.contains_key(&s.topic)) {
                let partners = sub
                    .copartitioned
                    .iter()
                    .filter(|set| set.contains(&source.topic))
                    .flatten();
                let partner = partners.filter_map(|t| counts.get(t)).max().copied();
                let writers = self
                    .subtopologies()
                    .iter()
                    .filter(|w| w.sinks.iter().any(|s| s.topic == source.topic));
                let above: Option<Vec<i32>> = writers
                    .flat_map(|w| &w.sources)
                    .map(|s| counts.get(&s.topic).copied())
                    .collect();
                if let Some(n) = partner.or_else(|| above?.into_iter().max()) {
                    settled.insert(source.topic.clone(), n);
                }
            }
        }
        let any = !settled.is_empty();
        counts.extend(settled);
        any
    }

    fn mismatches(&self, counts: &BTreeMap<String, i32>, problems: &mut Vec<Problem>) {
        for sub in self.subtopologies() {
            for source in sub.sources.iter().filter(|s| !counts.contains_key(&s.topic)) {
                problems.push(Problem {
                    at: source.topic.clone(),
                    what: "its number of partitions depends on itself".to_owned(),
                    fix: "give one repartitioning of the circle a number of partitions".to_owned(),
                });
            }
            for set in &sub.copartitioned {
                let found: Vec<String> = set
                    .iter()
                    .filter_map(|t| counts.get(t).map(|n| format!("{t} has {n}")))
                    .collect();
                let mut numbers = set.iter().filter_map(|t| counts.get(t));
                let first = numbers.next();
                if numbers.any(|n| Some(n) != first) {
                    problems.push(Problem {
                        at: format!("sub-topology {}", sub.id),
                        what: format!(
                            "topics that are joined must have the same number of partitions: {}",
                            found.join(", ")
                        ),
                        fix: "repartition one side to the number of the other".to_owned(),
                    });
                }
            }
        }
    }
}
