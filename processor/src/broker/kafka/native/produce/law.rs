//! The law of writing: whatever becomes of requests, answers, connections and leaders, each record is on the log once and
//! in order, and its offset is told right.
//!
//! Brokers here check sequences as Kafka's do: a batch must follow the last one; the last five are recognised; with nothing
//! of a producer any sequence is taken. What is not replicated is lost when the leader changes. A connection that the
//! client has given up may still have requests in it, which are worked on later, or never.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::core::{Core, Limits, Place, RequestId};
use super::line::{Batch, Failure, MOST, Verdict};
use super::verdict::verdict;
use crate::broker::dice::Dice;
use crate::broker::kafka::wire::{BrokerId, Pause};

const BROKERS: usize = 3;
const PARTITIONS: usize = 3;
const STEPS: usize = 400;
const NOT_LEADER: i16 = 6;
const TIMED_OUT: i16 = 7;
const NOT_ENOUGH_REPLICAS: i16 = 19;
const OUT_OF_ORDER: i16 = 45;
const DUPLICATE: i16 = 46;

/// A batch as its bytes say: sequence number, records, number of the first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Content {
    sequence: i32,
    count: i32,
    first: u32,
}

impl Content {
    fn write(self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_i32(self.sequence);
        out.put_i32(self.count);
        out.put_u32(self.first);
        out.freeze()
    }

    fn read(mut bytes: Bytes) -> Self {
        Self {
            sequence: bytes.get_i32(),
            count: bytes.get_i32(),
            first: bytes.get_u32(),
        }
    }
}

/// A partition's log with its leader.
struct Log {
    leader: usize,
    batches: Vec<Content>,
    /// So many of them survive a change of the leader.
    replicated: usize,
    /// How many of the last batches the leader recognises.
    remembers: usize,
}

impl Log {
    fn offset(&self, at: usize) -> i64 {
        self.batches[..at].iter().map(|batch| i64::from(batch.count)).sum()
    }

    /// Error code and base offset, as a leader answers.
    fn take(&mut self, batch: Content, dice: &mut Dice, troubled: bool) -> (i16, i64) {
        if troubled && dice.one_in(12) {
            return (NOT_ENOUGH_REPLICAS, -1);
        }
        let recent = self.batches.len().saturating_sub(self.remembers);
        let known = (recent..self.batches.len()).find(|at| self.batches[*at].sequence == batch.sequence);
        let at = match (known, self.batches.last()) {
            (Some(known), _) => {
                assert_eq!(self.batches[known], batch, "a sequence number has changed its batch");
                known
            }
            (None, Some(last)) if last.sequence.wrapping_add(last.count) & i32::MAX != batch.sequence => {
                return (OUT_OF_ORDER, -1);
            }
            (None, _) => {
                self.batches.push(batch);
                self.remembers = MOST.min(self.remembers + 1);
                self.batches.len() - 1
            }
        };
        if troubled && dice.one_in(12) {
            return (TIMED_OUT, -1);
        }
        self.replicated = self.replicated.max(at + 1);
        if known.is_some() && dice.one_in(3) {
            return (DUPLICATE, -1);
        }
        (0, self.offset(at))
    }
}

/// Requests in the order they were sent, and answers in the order they come. A client that has given it up hears nothing.
struct Connection {
    broker: usize,
    lost: bool,
    requests: VecDeque<(RequestId, Vec<(Place, Content)>)>,
    answers: VecDeque<(RequestId, Vec<Verdict>)>,
    /// What the client waits for.
    owed: Vec<(RequestId, usize)>,
}

struct World {
    dice: Dice,
    now: Duration,
    core: Core,
    logs: Vec<Log>,
    connections: Vec<Connection>,
    /// Whom the client takes for the leaders.
    view: Vec<usize>,
    /// The number of the next record of each partition.
    next: Vec<u32>,
    /// The last offset that was told; -1 when the last batch's was not.
    told: BTreeMap<Place, i64>,
    troubled: bool,
    forgetful: bool,
    failed: Option<(Place, Failure)>,
}

impl World {
    fn new(seed: u64, forgetful: bool) -> Self {
        let mut dice = Dice::new(seed);
        let mut core = Core::new(Limits {
            requests: 1 + dice.below(5),
            request_bytes: 12 * (1 + dice.below(3)),
            pause: Pause {
                first: Duration::from_millis(100),
                longest: Duration::from_millis(1000),
            },
            delivery: Duration::MAX / 4,
        });
        let mut logs = Vec::new();
        for _ in 0..PARTITIONS {
            core.open();
            logs.push(Log {
                leader: dice.below(BROKERS),
                batches: Vec::new(),
                replicated: 0,
                remembers: 0,
            });
        }
        Self {
            view: (0..PARTITIONS).map(|_| dice.below(BROKERS)).collect(),
            dice,
            now: Duration::ZERO,
            core,
            logs,
            connections: Vec::new(),
            next: vec![0; PARTITIONS],
            told: BTreeMap::new(),
            troubled: true,
            forgetful,
            failed: None,
        }
    }

    fn step(&mut self) {
        match self.dice.below(if self.troubled { 24 } else { 15 }) {
            0..5 => self.write(),
            5..8 => self.send(),
            8..11 => self.work(),
            11..14 => self.hear(),
            14 => self.now += Duration::from_millis(self.dice.below(300) as u64),
            15 | 16 => self.look_up(),
            17 => self.cut(),
            18 => self.elect(),
            19 if self.forgetful => {
                let at = self.dice.below(PARTITIONS);
                self.logs[at].remembers = self.logs[at].remembers.min(1);
            }
            _ => (),
        }
    }

    fn write(&mut self) {
        let at = self.dice.below(PARTITIONS);
        let place = at as Place;
        if self.core.room(place, BrokerId(self.view[at] as i32)) == 0 {
            return;
        }
        let content = Content {
            sequence: self.core.line(place).unwrap().next_sequence(),
            count: 1 + self.dice.below(3) as i32,
            first: self.next[at],
        };
        self.next[at] += content.count as u32;
        let batch = Batch::new(content.write(), content.count, 1, self.now);
        self.core.push(place, batch);
    }

    fn send(&mut self) {
        let broker = self.dice.below(BROKERS);
        let view = &self.view;
        let leads = |place: Place| view[place as usize] == broker;
        while let Some(request) = self.core.request(BrokerId(broker as i32), self.now, leads) {
            let open = |line: &Connection| line.broker == broker && !line.lost;
            let at = match self.connections.iter().position(open) {
                Some(at) => at,
                None => {
                    self.connections.push(Connection {
                        broker,
                        lost: false,
                        requests: VecDeque::new(),
                        answers: VecDeque::new(),
                        owed: Vec::new(),
                    });
                    self.connections.len() - 1
                }
            };
            let line = &mut self.connections[at];
            line.owed.push((request.id, request.parts.len()));
            let parts = request.parts.into_iter();
            let parts = parts.map(|(place, bytes)| (place, Content::read(bytes))).collect();
            line.requests.push_back((request.id, parts));
        }
    }

    /// A broker takes the next request of a connection.
    fn work(&mut self) {
        if self.connections.is_empty() {
            return;
        }
        let at = self.dice.below(self.connections.len());
        let line = &mut self.connections[at];
        let Some((id, parts)) = line.requests.pop_front() else {
            return;
        };
        let mut verdicts = Vec::new();
        for (place, content) in parts {
            let log = &mut self.logs[place as usize];
            let (code, offset) = if log.leader == line.broker {
                log.take(content, &mut self.dice, self.troubled)
            } else {
                (NOT_LEADER, -1)
            };
            verdicts.push(verdict(code, offset, None));
        }
        line.answers.push_back((id, verdicts));
    }

    /// The client takes the next answer of a connection.
    fn hear(&mut self) {
        let with_answers = self
            .connections
            .iter_mut()
            .filter(|line| !line.lost && !line.answers.is_empty());
        let mut with_answers: Vec<&mut Connection> = with_answers.collect();
        if with_answers.is_empty() {
            return;
        }
        let at = self.dice.below(with_answers.len());
        let line = &mut with_answers[at];
        let (id, verdicts) = line.answers.pop_front().unwrap();
        line.owed.retain(|(owed, _)| *owed != id);
        self.answered(id, verdicts);
    }

    fn answered(&mut self, id: RequestId, verdicts: Vec<Verdict>) {
        let mut acked = Vec::new();
        let done = self.core.answered(id, verdicts, self.now, &mut acked);
        for (place, acked) in acked {
            if let Some(last) = acked.last {
                self.told.insert(place, last);
            }
        }
        if let Err(failure) = done {
            self.failed.get_or_insert(failure);
        }
    }

    /// The client hears who leads.
    fn look_up(&mut self) {
        let at = self.dice.below(PARTITIONS);
        self.view[at] = self.logs[at].leader;
    }

    /// A connection is gone for the client. What is in it may still reach the broker, or not.
    fn cut(&mut self) {
        if self.connections.is_empty() {
            return;
        }
        let at = self.dice.below(self.connections.len());
        let line = &mut self.connections[at];
        if line.lost {
            // The other side notices at last.
            line.requests.clear();
            return;
        }
        line.lost = true;
        if self.dice.one_in(2) {
            let keep = self.dice.below(line.requests.len() + 1);
            line.requests.truncate(keep);
        }
        let why: Arc<str> = "the connection is lost".into();
        for (id, parts) in std::mem::take(&mut self.connections[at].owed) {
            let pause = self.dice.one_in(2);
            let again = Verdict::Again {
                why: why.clone(),
                pause,
            };
            self.answered(id, vec![again; parts]);
        }
    }

    /// Somebody else leads, with all that is replicated and perhaps more.
    fn elect(&mut self) {
        let at = self.dice.below(PARTITIONS);
        let log = &mut self.logs[at];
        log.leader = self.dice.below(BROKERS);
        let keep = log.replicated + self.dice.below(log.batches.len() - log.replicated + 1);
        log.batches.truncate(keep);
    }

    /// All is well from now on; goes on until everything is acknowledged.
    fn end(&mut self) {
        self.troubled = false;
        for _ in 0..20_000 {
            if !self.core.is_busy() || self.failed.is_some() {
                return;
            }
            self.now += Duration::from_millis(50);
            self.look_up();
            self.send();
            self.work();
            self.hear();
        }
        panic!("it does not come to an end");
    }

    fn check(&self) {
        for (at, log) in self.logs.iter().enumerate() {
            let records = log.batches.iter();
            let records: Vec<u32> = records
                .flat_map(|batch| batch.first..batch.first + batch.count as u32)
                .collect();
            let expected: Vec<u32> = (0..self.next[at]).collect();
            assert_eq!(records, expected, "partition {at}: not each once and in order");
            let told = self.told.get(&(at as Place)).copied();
            let last = records.len().checked_sub(1).map(|last| last as i64);
            assert!(
                told == last || told == Some(-1),
                "partition {at}: {told:?} was told, not {last:?}"
            );
        }
    }
}

#[test]
fn each_record_is_written_once_and_in_order() {
    let mut written = 0;
    for seed in 0..4_000 {
        let mut world = World::new(seed, false);
        (0..STEPS).for_each(|_| world.step());
        world.end();
        // No broker has lost or forgotten anything that would excuse a failure.
        assert_eq!(world.failed, None, "seed {seed}");
        world.check();
        written += world.next.iter().sum::<u32>();
    }
    assert!(written > 50_000, "only {written} records were written");
}

/// A leader that was restarted may recognise the last batch only. Then it is not known what was written: that is told, and
/// nothing else goes wrong.
#[test]
fn a_leader_that_forgets_is_found_out() {
    let mut found_out = 0;
    for seed in 0..4_000 {
        let mut world = World::new(seed, true);
        (0..STEPS).for_each(|_| world.step());
        world.end();
        match &world.failed {
            None => world.check(),
            Some((_, Failure::Forgotten)) => found_out += 1,
            Some(other) => panic!("seed {seed}: {other:?}"),
        }
    }
    assert!((1..3_000).contains(&found_out), "{found_out} of 4000 histories");
}
