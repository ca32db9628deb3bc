//! What the cluster has told: its brokers, and who leads which partition.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::metadata::{Address, MetadataAnswer, TopicAnswer};
use crate::broker::TopicPartition;

/// A broker's number in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BrokerId(pub i32);

impl fmt::Display for BrokerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who leads a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// The broker.
    pub broker: BrokerId,
    /// Which of the partition's leaders in a row it is; -1 when the broker does not tell.
    pub epoch: i32,
}

/// A topic that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its id; nil when the brokers are too old to have any.
    pub id: Uuid,
    /// The leader of each partition; `None` while there is an election.
    pub leaders: Vec<Option<Leader>>,
}

/// What is known about a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicState<'a> {
    /// Nothing yet.
    Unknown,
    /// It exists.
    There(&'a Topic),
    /// The brokers do not know it. They learn of a new topic one after the other: only what stays missing is missing.
    Missing {
        /// Since when, by the cluster's clock.
        since: Duration,
    },
    /// The brokers do not tell about it: Kafka's error code, 29 for lack of rights.
    Refused {
        /// The code.
        code: i16,
    },
}

/// The topics of interest and the brokers, as of the last answers.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    pub(super) brokers: BTreeMap<BrokerId, Address>,
    topics: HashMap<Arc<str>, Known>,
    /// Counts the changes.
    pub(super) generation: u64,
}

#[derive(Debug, Clone, Default)]
enum Known {
    #[default]
    Nothing,
    There(Topic),
    Missing(Duration),
    Refused(i16),
}

const UNKNOWN_TOPIC: i16 = 3;
const TOPIC_REFUSED: i16 = 29;
const INVALID_TOPIC: i16 = 17;

impl Catalog {
    /// Forgets the topics that are not among `names`; true when one is new.
    pub(super) fn want(&mut self, names: impl IntoIterator<Item = Arc<str>>) -> bool {
        let mut before = std::mem::take(&mut self.topics);
        let mut new = false;
        for name in names {
            let known = before.remove(&name);
            new |= known.is_none() && !self.topics.contains_key(&name);
            self.topics.entry(name).or_insert_with(|| known.unwrap_or_default());
        }
        new
    }

    /// The topics of interest, sorted.
    pub(super) fn names(&self) -> Vec<Arc<str>> {
        let mut names: Vec<Arc<str>> = self.topics.keys().cloned().collect();
        names.sort();
        names
    }

    /// Is something missing that a further question may bring?
    pub(super) fn is_complete(&self) -> bool {
        self.topics.values().all(|known| match known {
            Known::There(topic) => topic.leaders.iter().all(Option::is_some),
            Known::Refused(_) => true,
            Known::Nothing | Known::Missing(_) => false,
        })
    }

    pub(super) fn topic(&self, name: &str) -> TopicState<'_> {
        match self.topics.get(name) {
            None | Some(Known::Nothing) => TopicState::Unknown,
            Some(Known::There(topic)) => TopicState::There(topic),
            Some(Known::Missing(since)) => TopicState::Missing { since: *since },
            Some(Known::Refused(code)) => TopicState::Refused { code: *code },
        }
    }

    pub(super) fn leader(&self, partition: &TopicPartition) -> Option<Leader> {
        let TopicState::There(topic) = self.topic(&partition.topic) else {
            return None;
        };
        *topic.leaders.get(usize::try_from(partition.partition).ok()?)?
    }

    /// Takes over an answer.
    pub(super) fn learn(&mut self, answer: MetadataAnswer, now: Duration) {
        self.generation += 1;
        self.brokers = answer.brokers;
        for topic in answer.topics {
            if let Some(known) = self.topics.get_mut(&*topic.name) {
                known.learn(topic, now);
            }
        }
    }

    /// Takes over what another answer said about a leader, unless it is older than what is known. True when it is news.
    pub(super) fn learn_leader(&mut self, partition: &TopicPartition, leader: Leader) -> bool {
        let Some(Known::There(topic)) = self.topics.get_mut(&partition.topic) else {
            return false;
        };
        let place = usize::try_from(partition.partition).ok();
        let Some(known) = place.and_then(|place| topic.leaders.get_mut(place)) else {
            return false;
        };
        let news = known.is_none_or(|known| leader.epoch > known.epoch);
        if news {
            *known = Some(leader);
            self.generation += 1;
        }
        news
    }
}

impl Known {
    fn learn(&mut self, answer: TopicAnswer, now: Duration) {
        match answer.error {
            UNKNOWN_TOPIC => {
                if !matches!(self, Self::Missing(_)) {
                    *self = Self::Missing(now);
                }
            }
            TOPIC_REFUSED | INVALID_TOPIC => *self = Self::Refused(answer.error),
            _ => {
                let mut topic = Topic {
                    id: answer.id,
                    leaders: answer.leaders,
                };
                // A broker that lags behind must not take us back to a leader that is none any more.
                if let Self::There(before) = self
                    && before.id == topic.id
                {
                    topic.keep_newer(before);
                }
                // An error that goes away by itself (leaders being elected): what was known may still hold.
                if !topic.leaders.is_empty() || matches!(self, Self::Nothing | Self::Refused(_)) {
                    *self = if topic.leaders.is_empty() {
                        Self::Nothing
                    } else {
                        Self::There(topic)
                    };
                }
            }
        }
    }
}

impl Topic {
    fn keep_newer(&mut self, before: &Self) {
        for (now, before) in self.leaders.iter_mut().zip(&before.leaders) {
            if let (Some(new), Some(old)) = (&now, before)
                && old.epoch > new.epoch
                && new.epoch >= 0
            {
                *now = Some(*old);
            }
        }
    }
}
