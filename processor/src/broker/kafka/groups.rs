//! Committed offsets, one client per group.
//!
//! When membership over several processes comes, the member's own consumer is put here under its group, and every commit
//! goes through it: that is what carries its member id and generation to the broker.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::errors;
use super::settings::KafkaSettings;
use super::turns::Turns;
use crate::broker::fault::{Fault, Result};
use crate::broker::{Committed, GroupToken, OffsetCommit, PendingOffsets, TopicPartition};

/// The clients that speak for groups.
pub(super) struct Groups {
    settings: Arc<KafkaSettings>,
    clients: Mutex<HashMap<String, Group>>,
}

/// A client of a group. A coordinator that does not answer may be elsewhere by now: the client asks again.
#[derive(Clone)]
pub(super) struct Group {
    client: Arc<BaseConsumer>,
    turns: Turns,
}

impl Groups {
    pub(super) fn new(settings: Arc<KafkaSettings>) -> Self {
        Self {
            settings,
            clients: Mutex::default(),
        }
    }

    /// The client of a group.
    pub(super) fn client(&self, group: &str) -> Result<Group> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(group) {
            return Ok(client.clone());
        }
        let mut config = self.settings.group(group);
        let turns = Turns::of(&mut config);
        let made = config.create();
        let made = made.map_err(|e| errors::fault(&format!("cannot make a client for group {group}"), e))?;
        let made: BaseConsumer = made;
        // A consumer rests for a second before it looks for its group's coordinator, unless it is asked something.
        let asked = made.subscription();
        asked.map_err(|e| errors::fault(&format!("cannot make a client for group {group}"), e))?;
        let client = Group {
            client: Arc::new(made),
            turns,
        };
        clients.insert(group.to_owned(), client.clone());
        Ok(client)
    }

    /// Offsets to commit when the time has come.
    pub(super) fn pending(self: &Arc<Self>, token: &GroupToken, offsets: Vec<OffsetCommit>) -> PendingOffsets {
        if offsets.is_empty() {
            return PendingOffsets::none();
        }
        let (groups, token) = (self.clone(), token.clone());
        PendingOffsets::new(move || groups.commit(&token, &offsets))
    }

    /// Commits offsets and waits for the answer.
    fn commit(&self, token: &GroupToken, offsets: &[OffsetCommit]) -> Result<()> {
        if token.generation >= 0 || !token.member_id.is_empty() {
            return Err(Fault::misuse(
                "commits of a member of a shared group are not built yet: use a token of a process alone",
            ));
        }
        let what = format!("cannot commit offsets of group {}", token.group);
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for commit in offsets {
            let tp = &commit.partition;
            let mut element = list.add_partition(&tp.topic, tp.partition);
            element
                .set_offset(Offset::Offset(commit.offset))
                .map_err(|e| errors::fault(&what, e))?;
            element.set_metadata(&commit.metadata);
        }
        // Committing the same again changes nothing.
        let Group { client, turns } = self.client(&token.group)?;
        turns
            .ask(|_| client.commit(&list, CommitMode::Sync))
            .map_err(|e| errors::fault(&what, e))
    }

    /// What the group has committed; waits out transactions that are still open.
    pub(super) fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Option<Committed>>> {
        let what = format!("cannot read the offsets of group {group}");
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for tp in partitions {
            list.add_partition(&tp.topic, tp.partition);
        }
        // A cluster that has just made its topic of offsets elects a coordinator for a moment.
        let Group { client, turns } = self.client(group)?;
        let answer = turns
            .ask(|turn| client.committed_offsets(list.clone(), Turns::with_scan(turn)))
            .map_err(|e| errors::fault(&what, e))?;
        let find = |tp: &TopicPartition| {
            let Some(element) = answer.find_partition(&tp.topic, tp.partition) else {
                return Ok(None);
            };
            element
                .error()
                .map_err(|e| errors::fault(&format!("{what} for {tp}"), e))?;
            Ok(match element.offset() {
                Offset::Offset(offset) => Some(Committed {
                    offset,
                    metadata: element.metadata().to_owned(),
                }),
                _ => None,
            })
        };
        partitions.iter().map(find).collect()
    }
}
