//! Where each partition stands, and what of it waits to be polled.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::broker::TopicPartition;
use crate::broker::kafka::wire::Leader;
use crate::broker::record_batch::{Aborted, opener};

/// One assignment of a partition. A new one gets a new number, so that what was asked for an old one cannot reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct CursorId(u64);

/// An assigned partition.
#[derive(Debug)]
pub(super) struct Cursor {
    pub(super) partition: TopicPartition,
    /// The position as told to the caller.
    pub(super) position: i64,
    /// The next offset to ask for: behind what is held.
    pub(super) fetch_at: i64,
    /// The leader epoch of the last batch before `fetch_at`; -1 while none has been read.
    pub(super) epoch: i32,
    /// The end of the partition as far as known.
    pub(super) end: i64,
    pub(super) paused: bool,
    pub(super) need: Need,
    /// Questions about it that are not answered.
    pub(super) asked: u32,
    /// Left alone until the leaders are known in a later state than this.
    pub(super) wait: Option<u64>,
    /// The topic's id when it was first seen: another one is another topic.
    pub(super) topic_id: Option<Uuid>,
    pub(super) leader: Option<Leader>,
    /// Since when the brokers know no such partition.
    pub(super) absent: Option<Duration>,
    /// The leader has changed and may have another history.
    pub(super) doubtful: bool,
    /// Answers in a row that brought bytes but not one whole batch.
    pub(super) fruitless: u32,
    held: VecDeque<Held>,
    held_bytes: usize,
}

/// What is to be got from the leader next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Records,
    /// Where the partition begins and ends.
    Range {
        start: Option<i64>,
        end: Option<i64>,
    },
    /// Nothing: the position does not exist, and the caller knows.
    Nothing,
}

/// Fetched bytes of one partition that are not handed out yet.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bytes: Bytes,
    pub(super) aborted: Aborted,
}

impl Cursor {
    fn new(partition: TopicPartition, position: i64) -> Self {
        Self {
            partition,
            position,
            fetch_at: position,
            epoch: -1,
            end: 0,
            paused: false,
            need: Need::Records,
            asked: 0,
            wait: None,
            topic_id: None,
            leader: None,
            absent: None,
            doubtful: false,
            fruitless: 0,
            held: VecDeque::new(),
            held_bytes: 0,
        }
    }

    /// Keeps what an answer has brought. False: not one whole batch.
    pub(super) fn hold(&mut self, bytes: Bytes, aborted: Aborted) -> bool {
        let whole = opener::whole_batches(&bytes);
        let fruitful = whole.next.is_none_or(|next| next > self.fetch_at) && whole.bytes > 0;
        if let Some(next) = whole.next.filter(|next| *next > self.fetch_at) {
            self.fetch_at = next;
            self.epoch = whole.leader_epoch;
        }
        if fruitful {
            self.held_bytes += whole.bytes;
            let bytes = bytes.slice(..whole.bytes);
            self.held.push_back(Held { bytes, aborted });
        }
        fruitful
    }

    /// Bytes that wait.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// What waits longest.
    pub(super) fn first_held(&mut self) -> Option<&mut Held> {
        self.held.front_mut()
    }

    /// Notes that `bytes` of what waits longest have been handed out.
    pub(super) fn took(&mut self, bytes: usize) {
        self.held_bytes = self.held_bytes.saturating_sub(bytes);
        if self.held.front().is_some_and(|held| held.bytes.is_empty()) {
            self.held.pop_front();
        }
    }

    /// Forgets what waits: it is asked for again.
    pub(super) fn drop_held(&mut self) {
        self.held.clear();
        self.held_bytes = 0;
        self.fetch_at = self.position;
    }

    /// Whether requests can name its topic by id.
    pub(super) fn has_topic_id(&self) -> bool {
        self.topic_id.is_some_and(|id| !id.is_nil())
    }

    /// Whether a question or a request about it may be sent in this state of the leaders.
    pub(super) fn is_free(&self, generation: u64) -> bool {
        self.asked == 0 && self.wait.is_none_or(|seen| generation > seen)
    }
}

/// The assigned partitions.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    all: BTreeMap<CursorId, Cursor>,
    by_name: HashMap<TopicPartition, CursorId>,
    next: u64,
}

impl Cursors {
    pub(super) fn insert(&mut self, partition: TopicPartition, position: i64) {
        self.remove(&partition);
        let id = CursorId(self.next);
        self.next += 1;
        self.by_name.insert(partition.clone(), id);
        self.all.insert(id, Cursor::new(partition, position));
    }

    pub(super) fn remove(&mut self, partition: &TopicPartition) -> Option<Cursor> {
        let id = self.by_name.remove(partition)?;
        self.all.remove(&id)
    }

    pub(super) fn get(&mut self, id: CursorId) -> Option<&mut Cursor> {
        self.all.get_mut(&id)
    }

    pub(super) fn find(&mut self, partition: &TopicPartition) -> Option<&mut Cursor> {
        let id = self.by_name.get(partition)?;
        self.all.get_mut(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (CursorId, &Cursor)> {
        self.all.iter().map(|(id, cursor)| (*id, cursor))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (CursorId, &mut Cursor)> {
        self.all.iter_mut().map(|(id, cursor)| (*id, cursor))
    }

    /// The cursors that have something to hand out, beginning behind the one that was served last.
    pub(super) fn with_held(&self, served: CursorId) -> Vec<CursorId> {
        let ready = |(id, cursor): (&CursorId, &Cursor)| (!cursor.paused && !cursor.held.is_empty()).then_some(*id);
        let (before, behind) = (
            self.all.range(..=served),
            self.all.range(served..).skip_while(|(id, _)| **id == served),
        );
        behind.chain(before).filter_map(ready).collect()
    }
}

impl CursorId {
    /// Before all others.
    pub(super) const FIRST: Self = Self(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_assignment_is_another_cursor() {
        let tp = TopicPartition::new("t", 0);
        let mut cursors = Cursors::default();
        cursors.insert(tp.clone(), 5);
        let before: Vec<_> = cursors.iter().map(|(id, _)| id).collect();
        cursors.insert(tp.clone(), 7);
        assert!(cursors.get(before[0]).is_none());
        assert_eq!(cursors.find(&tp).map(|cursor| cursor.position), Some(7));
        assert_eq!(cursors.iter().count(), 1);
        cursors.remove(&tp);
        assert!(cursors.find(&tp).is_none());
    }

    #[test]
    fn each_gets_its_turn() {
        let mut cursors = Cursors::default();
        for partition in 0..3 {
            cursors.insert(TopicPartition::new("t", partition), 0);
        }
        for (_, cursor) in cursors.iter_mut() {
            cursor.held.push_back(Held {
                bytes: Bytes::from_static(b"x"),
                aborted: Aborted::default(),
            });
        }
        let ids: Vec<_> = cursors.iter().map(|(id, _)| id).collect();
        assert_eq!(cursors.with_held(ids[1]), [ids[2], ids[0], ids[1]]);
        cursors.get(ids[0]).unwrap().paused = true;
        assert_eq!(cursors.with_held(ids[2]), [ids[1], ids[2]]);
    }
}
