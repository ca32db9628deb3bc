//! The loop: leaders, requests, answers, chunks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use uuid::Uuid;

use super::call::{Asked, FetchCall};
use super::cursor::{Cursor, CursorId, Cursors, Need};
use super::questions::Question;
use super::session::Session;
use super::settings::Settings;
use super::topics::{ByName, TOPIC_IDS, TopicRef};
use super::waits::Waits;
use crate::broker::fault::{Fault, Result};
use crate::broker::kafka::wire::{self, BrokerId, Call, Cluster, Reply, Ticket, TopicState, Unsupported};
use crate::broker::record_batch::{Opened, Opener};
use crate::broker::{Chunk, Fetch, FetchConfig, FetchEvent, TopicPartition, Waker};

/// How often topics that are missing are looked at.
const MISSING_INTERVAL: Duration = Duration::from_millis(500);

/// A reader of a cluster.
pub(in crate::broker::kafka) struct NativeFetch {
    pub(super) cluster: Cluster,
    pub(super) settings: Settings,
    pub(super) cursors: Cursors,
    pub(super) sessions: BTreeMap<BrokerId, Session>,
    /// What is under way.
    pub(super) tickets: HashMap<Ticket, Under>,
    /// Brokers that lead what is assigned.
    leaders: BTreeSet<BrokerId>,
    /// Brokers with a Fetch request under way.
    pub(super) busy: BTreeSet<BrokerId>,
    pub(super) waits: Waits,
    opener: Opener,
    /// The cursor that was served last.
    served: CursorId,
    /// The state of the leaders that the cursors know.
    pub(super) generation: u64,
    /// Assignments have changed since the cluster was told the topics.
    pub(super) topics_changed: bool,
    woken: Arc<AtomicBool>,
    replies: Vec<Reply>,
}

/// Settings that can be served.
pub(in crate::broker::kafka) struct Served {
    connections: wire::Settings,
    settings: Settings,
}

/// Whether these settings of a consumer can be served; else why librdkafka has to.
pub(in crate::broker::kafka) fn serves(config: &ClientConfig, fetch: &FetchConfig) -> Result<Served, Unsupported> {
    Ok(Served {
        connections: wire::Settings::read(config)?,
        settings: Settings::read(config, fetch)?,
    })
}

/// A request that is not answered.
#[derive(Debug, Clone, Copy)]
pub(super) enum Under {
    Fetch,
    Question(CursorId, Question),
}

impl NativeFetch {
    /// A reader for these settings of a consumer, which [`serves`] said can be served. Does not wait for a connection.
    pub(in crate::broker::kafka) fn new(settings: Served) -> Result<Self> {
        let Served { connections, settings } = settings;
        Ok(Self {
            cluster: Cluster::new(connections)?,
            cursors: Cursors::default(),
            sessions: BTreeMap::new(),
            tickets: HashMap::new(),
            leaders: BTreeSet::new(),
            busy: BTreeSet::new(),
            waits: Waits::default(),
            opener: Opener::new(settings.poll_partition_bytes, settings.batch_bytes),
            served: CursorId::FIRST,
            generation: 0,
            topics_changed: false,
            woken: Arc::default(),
            replies: Vec::new(),
            settings,
        })
    }

    /// Moves what there is to move, after waiting for it at most this long.
    fn turn(&mut self, wait: Duration, out: &mut Vec<FetchEvent>) -> Result<()> {
        self.ask(out)?;
        self.exchange(wait, out)?;
        // What has come makes room for the next request, which leaves before the records are worked on.
        self.ask(out)
    }

    fn exchange(&mut self, wait: Duration, out: &mut Vec<FetchEvent>) -> Result<()> {
        let mut replies = std::mem::take(&mut self.replies);
        let mut done = self.cluster.poll(wait, &mut replies);
        // All of them, whatever is wrong with one: what is not taken is never asked for again.
        for reply in replies.drain(..) {
            done = done.and(self.take(reply, out));
        }
        self.replies = replies;
        done
    }

    /// Sends what can be sent.
    fn ask(&mut self, out: &mut Vec<FetchEvent>) -> Result<()> {
        if std::mem::take(&mut self.topics_changed) {
            let topics: BTreeSet<Arc<str>> = self
                .cursors
                .iter()
                .map(|(_, cursor)| cursor.partition.topic.clone())
                .collect();
            self.cluster.want_topics(topics);
            self.learn_leaders(out);
        } else if self.cluster.generation() != self.generation {
            self.learn_leaders(out);
        }
        self.ask_questions()?;
        let idle: Vec<BrokerId> = self.leaders.difference(&self.busy).copied().collect();
        idle.into_iter().try_for_each(|broker| self.ask_for_records(broker))
    }

    /// Sends the next Fetch request to a broker that has none.
    fn ask_for_records(&mut self, broker: BrokerId) -> Result<()> {
        let held: usize = self.cursors.iter().map(|(_, cursor)| cursor.held_bytes()).sum();
        let most = self.settings.bounds.partition_max_bytes as usize;
        let generation = self.generation;
        let readable = |cursor: &Cursor| {
            cursor.need == Need::Records
                && !cursor.doubtful
                && cursor.is_free(generation)
                && cursor.leader.is_some_and(|leader| leader.broker == broker)
        };
        let wanted = |cursor: &Cursor| readable(cursor) && !cursor.paused && cursor.held_bytes() <= most;
        let any = |is: &dyn Fn(&Cursor) -> bool| self.cursors.iter().any(|(_, cursor)| is(cursor));
        if held > self.settings.queue_bytes || !any(&wanted) {
            return Ok(());
        }
        let held_back = any(&|cursor| readable(cursor) && !wanted(cursor));
        let has_news = any(&|cursor| wanted(cursor) && cursor.fetch_at < cursor.end);
        let mut bounds = self.settings.bounds;
        if held_back {
            if !has_news && !self.waits.look(broker, self.cluster.now()) {
                return Ok(());
            }
            bounds.wait = Duration::ZERO;
        } else if bounds.min_bytes <= 1 {
            bounds.wait = self.waits.of(broker, bounds.wait);
        }
        let by_name = any(&|cursor| wanted(cursor) && !cursor.has_topic_id());
        let api = if by_name {
            ByName::<FetchCall>::API
        } else {
            FetchCall::API
        };
        let Some(version) = self.cluster.version(broker, api)? else {
            return Ok(());
        };
        let session = self.sessions.entry(broker).or_default();
        let cursors = self.cursors.iter().filter(|(_, cursor)| wanted(cursor));
        let call = session.request(bounds, cursors.map(|(id, cursor)| (id, asked(cursor, version))));
        let sent = match by_name {
            true => self.cluster.send(broker, &ByName(call))?,
            false => self.cluster.send(broker, &call)?,
        };
        match sent {
            Some(ticket) => {
                self.tickets.insert(ticket, Under::Fetch);
                self.busy.insert(broker);
                Ok(())
            }
            None => {
                session.lost();
                Ok(())
            }
        }
    }

    fn take(&mut self, reply: Reply, out: &mut Vec<FetchEvent>) -> Result<()> {
        match self.tickets.remove(&reply.ticket) {
            Some(Under::Fetch) => self.take_records(reply, out),
            Some(Under::Question(cursor, question)) => {
                self.take_answer(cursor, question, reply, out);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Brings the cursors up to what is known of leaders and topics.
    pub(super) fn learn_leaders(&mut self, out: &mut Vec<FetchEvent>) {
        self.generation = self.cluster.generation();
        let (now, propagation) = (self.cluster.now(), self.settings.propagation);
        let mut lost = Vec::new();
        let mut absent = false;
        self.leaders.clear();
        for (_, cursor) in self.cursors.iter_mut() {
            let state = self.cluster.topic(&cursor.partition.topic);
            if let Err(reason) = learn(cursor, state, now, propagation) {
                lost.push((cursor.partition.clone(), reason));
            }
            absent |= cursor.absent.is_some();
            self.leaders.extend(cursor.leader.map(|leader| leader.broker));
        }
        if absent {
            self.cluster.refresh();
        }
        for (partition, reason) in lost {
            self.lose(&partition, reason, out);
        }
    }

    /// Gives a partition up and tells why.
    pub(super) fn lose(&mut self, partition: &TopicPartition, reason: String, out: &mut Vec<FetchEvent>) {
        if let Some(cursor) = self.cursors.remove(partition) {
            self.topics_changed = true;
            out.push(FetchEvent::Lost {
                partition: cursor.partition,
                reason,
            });
        }
    }

    /// Opens what waits, each partition in its turn, up to the bounds of one poll.
    fn hand_out(&mut self, out: &mut Vec<FetchEvent>) -> Result<()> {
        let mut room = self.settings.poll_bytes;
        for id in self.cursors.with_held(self.served) {
            let Some(cursor) = self.cursors.get(id) else { continue };
            let mut of_partition = self.settings.poll_partition_bytes.min(room);
            while of_partition > 0 {
                let Some((event, bytes)) = open(cursor, &mut self.opener)? else {
                    break;
                };
                out.push(event);
                of_partition = of_partition.saturating_sub(bytes);
                room = room.saturating_sub(bytes);
            }
            self.served = id;
            if room == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Whether topics are missing, which are looked at again from time to time.
    fn is_missing(&self) -> bool {
        self.cursors.iter().any(|(_, cursor)| cursor.absent.is_some())
    }

    fn set_paused(&mut self, partitions: &[TopicPartition], paused: bool) {
        for partition in partitions {
            if let Some(cursor) = self.cursors.find(partition) {
                cursor.paused = paused;
            }
        }
    }
}

fn asked(cursor: &Cursor, version: i16) -> Asked {
    let id = cursor.topic_id.filter(|_| version >= TOPIC_IDS).unwrap_or(Uuid::nil());
    Asked {
        topic: TopicRef {
            name: cursor.partition.topic.clone(),
            id,
        },
        partition: cursor.partition.partition,
        offset: cursor.fetch_at,
        leader_epoch: cursor.leader.map_or(-1, |leader| leader.epoch),
        last_epoch: cursor.epoch,
    }
}

/// Takes over what is known of a topic. `Err`: why the partition cannot be read any more.
fn learn(cursor: &mut Cursor, state: TopicState<'_>, now: Duration, propagation: Duration) -> Result<(), String> {
    let name = &cursor.partition.topic;
    let before = cursor.absent.take();
    // Brokers learn of a topic, and of further partitions, one after the other: what is absent may be on its way.
    let mut absent = |since: Duration, reason: String| {
        cursor.leader = None;
        cursor.absent = Some(since);
        let late = now.saturating_sub(since) >= propagation;
        if late { Err(reason) } else { Ok(()) }
    };
    match state {
        TopicState::Unknown => {}
        TopicState::Missing { since } => {
            let reason = format!("there is no topic {name} (any more): create it, or correct its name");
            return absent(since, reason);
        }
        TopicState::Refused { code } => {
            return Err(format!(
                "the brokers refuse topic {name} (error {code}): give this user the right to read it, or correct its name"
            ));
        }
        TopicState::There(topic) => {
            let place = usize::try_from(cursor.partition.partition).ok();
            let Some(leader) = place.and_then(|place| topic.leaders.get(place)) else {
                let count = topic.leaders.len();
                return absent(before.unwrap_or(now), format!("topic {name} has {count} partitions"));
            };
            let known = cursor.topic_id.replace(topic.id);
            if known.is_some_and(|known| known != topic.id && !known.is_nil() && !topic.id.is_nil()) {
                return Err(format!(
                    "topic {name} was deleted and made anew: its records are others"
                ));
            }
            let epoch_before = cursor.leader.map_or(-1, |leader| leader.epoch);
            if let Some(leader) = leader
                && leader.epoch > epoch_before
                && epoch_before >= 0
                && cursor.epoch >= 0
            {
                cursor.doubtful = true;
            }
            // While there is an election the last leader is kept: it answers with an error, or still leads.
            cursor.leader = leader.or(cursor.leader);
        }
    }
    Ok(())
}

/// Opens the next chunk of a partition; says how many bytes its records take.
fn open(cursor: &mut Cursor, opener: &mut Opener) -> Result<Option<(FetchEvent, usize)>> {
    let position = cursor.position;
    let Some(held) = cursor.first_held() else {
        return Ok(None);
    };
    let before = held.bytes.len();
    let opened = opener.open(&mut held.bytes, position, &mut held.aborted);
    let took = before - held.bytes.len();
    let opened: Opened = opened.map_err(|fault| fault.at(&cursor.partition))?;
    let Some(next) = opened.next else {
        let at = cursor.position;
        return Err(Fault::corrupt(format!(
            "{}: no batch behind offset {at}",
            cursor.partition
        )));
    };
    cursor.took(took);
    cursor.position = cursor.position.max(next);
    let partition = cursor.partition.clone();
    let chunk = Chunk::new(
        partition.topic.clone(),
        partition.partition,
        opened.buffer,
        opened.records,
    );
    let bytes = chunk.memory();
    let event = FetchEvent::Chunk {
        partition,
        chunk: Arc::new(chunk),
        next: cursor.position,
        high_watermark: cursor.end.max(cursor.position),
    };
    Ok(Some((event, bytes)))
}

impl Fetch for NativeFetch {
    fn assign(&mut self, diff: &[(TopicPartition, Option<i64>)]) -> Result<()> {
        if let Some((tp, Some(position))) = diff.iter().find(|(_, position)| position.is_some_and(|at| at < 0)) {
            return Err(Fault::misuse(format!("{tp} cannot be read from offset {position}")));
        }
        for (tp, position) in diff {
            match position {
                Some(position) => self.cursors.insert(tp.clone(), *position),
                None => drop(self.cursors.remove(tp)),
            }
        }
        self.topics_changed = true;
        self.waits.forget();
        Ok(())
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.set_paused(partitions, true);
        Ok(())
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.set_paused(partitions, false);
        Ok(())
    }

    fn poll(&mut self, timeout: Duration, out: &mut Vec<FetchEvent>) -> Result<()> {
        let before = out.len();
        let deadline = self.cluster.now().saturating_add(timeout);
        let mut wait = Duration::ZERO;
        loop {
            self.turn(wait, out)?;
            self.hand_out(out)?;
            if self.woken.swap(false, Ordering::AcqRel) || out.len() > before {
                return Ok(());
            }
            let now = self.cluster.now();
            if now >= deadline {
                return Ok(());
            }
            wait = self.waits.rest(now).min(deadline - now);
            if self.is_missing() {
                self.learn_leaders(out);
                wait = wait.min(MISSING_INTERVAL);
            }
        }
    }

    fn waker(&self) -> Waker {
        let (wake, woken) = (self.cluster.waker(), self.woken.clone());
        Arc::new(move || {
            woken.store(true, Ordering::Release);
            wake();
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::kafka::wire::{Leader, Topic};

    const LATER: Duration = Duration::from_secs(10);

    fn cursor(test: impl FnOnce(&mut Cursor)) {
        let mut cursors = Cursors::default();
        cursors.insert(TopicPartition::new("t", 1), 5);
        let (_, cursor) = cursors.iter_mut().next().unwrap();
        cursor.epoch = 2;
        test(cursor);
    }

    fn topic(id: u128, leaders: &[Option<i32>]) -> Topic {
        let leader = |epoch| Leader {
            broker: BrokerId(1),
            epoch,
        };
        Topic {
            id: Uuid::from_u128(id),
            leaders: leaders.iter().map(|epoch| epoch.map(leader)).collect(),
        }
    }

    fn there(cursor: &mut Cursor, topic: &Topic) -> Result<(), String> {
        learn(cursor, TopicState::There(topic), LATER, Duration::ZERO)
    }

    #[test]
    fn a_topic_is_missing_when_it_stays_so() {
        cursor(|cursor| {
            let missing = TopicState::Missing { since: Duration::ZERO };
            assert!(learn(cursor, missing, LATER, LATER * 2).is_ok());
            let reason = learn(cursor, missing, LATER, LATER).unwrap_err();
            assert!(reason.contains("no topic t"), "{reason}");
        });
    }

    #[test]
    fn another_id_is_another_topic_and_fewer_partitions_are_said() {
        cursor(|cursor| {
            assert!(there(cursor, &topic(0, &[Some(1), Some(1)])).is_ok());
            assert!(
                there(cursor, &topic(7, &[Some(1), Some(1)])).is_ok(),
                "an id where there was none"
            );
            assert!(
                there(cursor, &topic(8, &[Some(1), Some(1)]))
                    .unwrap_err()
                    .contains("made anew")
            );
        });
        cursor(|cursor| {
            assert!(
                there(cursor, &topic(7, &[Some(1)]))
                    .unwrap_err()
                    .contains("1 partitions")
            )
        });
    }

    #[test]
    fn a_new_leader_is_in_doubt_and_an_election_keeps_the_old_one() {
        cursor(|cursor| {
            assert!(there(cursor, &topic(7, &[None, Some(3)])).is_ok());
            assert!(!cursor.doubtful, "the first leader we know");
            assert!(there(cursor, &topic(7, &[None, None])).is_ok());
            assert_eq!(cursor.leader.map(|leader| leader.epoch), Some(3));
            assert!(there(cursor, &topic(7, &[None, Some(4)])).is_ok());
            assert!(cursor.doubtful);
        });
    }
}
