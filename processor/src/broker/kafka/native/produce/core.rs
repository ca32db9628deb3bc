//! All partitions of a producer: which batches leave in which request, and what becomes of them. No I/O, no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::line::{Acked, Batch, Failure, Line, Verdict};
use crate::broker::kafka::wire::{BrokerId, Pause};

/// A partition, by the order in which they were opened.
pub(super) type Place = u32;

/// Finds the answer's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RequestId(u64);

/// What the core may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// How many requests may be under way to a broker.
    pub(super) requests: usize,
    /// How many bytes of batches a request has, unless it has a single one.
    pub(super) request_bytes: usize,
    /// Between two attempts.
    pub(super) pause: Pause,
    /// How long a batch may stay without acknowledgement.
    pub(super) delivery: Duration,
}

/// A request that is to be sent now.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: RequestId,
    /// In the order of the places.
    pub(super) parts: Vec<(Place, Bytes)>,
}

#[derive(Debug)]
struct Sent {
    broker: BrokerId,
    /// Place and sequence number of each batch, in the order of the parts.
    batches: Vec<(Place, i32)>,
}

/// The partitions of a producer and the requests under way.
#[derive(Debug)]
pub(super) struct Core {
    limits: Limits,
    lines: Vec<Line>,
    /// Those with batches to be sent, now or later.
    waiting: BTreeSet<Place>,
    requests: BTreeMap<RequestId, Sent>,
    by_broker: BTreeMap<BrokerId, usize>,
    next_request: u64,
}

impl Core {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            lines: Vec::new(),
            waiting: BTreeSet::new(),
            requests: BTreeMap::new(),
            by_broker: BTreeMap::new(),
            next_request: 0,
        }
    }

    /// Adds a partition.
    pub(super) fn open(&mut self) -> Place {
        self.lines.push(Line::default());
        (self.lines.len() - 1) as Place
    }

    pub(super) fn line(&self, place: Place) -> Option<&Line> {
        self.lines.get(place as usize)
    }

    /// How many further batches of a partition could be sent to `broker` now.
    pub(super) fn room(&self, place: Place, broker: BrokerId) -> usize {
        if self.is_full(broker) {
            return 0;
        }
        self.line(place).map_or(0, Line::room)
    }

    fn is_full(&self, broker: BrokerId) -> bool {
        self.by_broker
            .get(&broker)
            .is_some_and(|count| *count >= self.limits.requests)
    }

    /// Takes a batch that was sealed with the line's next sequence number.
    pub(super) fn push(&mut self, place: Place, batch: Batch) {
        if let Some(line) = self.lines.get_mut(place as usize) {
            line.push(batch);
            self.waiting.insert(place);
        }
    }

    /// Partitions with batches to be sent, now or later.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Place> + '_ {
        self.waiting.iter().copied()
    }

    /// The next request to `broker`, of the partitions that it `leads`. It counts as sent.
    pub(super) fn request(
        &mut self,
        broker: BrokerId,
        now: Duration,
        leads: impl Fn(Place) -> bool,
    ) -> Option<Request> {
        if self.is_full(broker) {
            return None;
        }
        let (mut parts, mut batches, mut bytes) = (Vec::new(), Vec::new(), 0);
        for place in self.waiting.iter().copied().filter(|place| leads(*place)) {
            let Some(line) = self.lines.get_mut(place as usize) else {
                continue;
            };
            let Some(batch) = line.due(broker, now) else { continue };
            if bytes > 0 && bytes + batch.bytes.len() > self.limits.request_bytes {
                continue;
            }
            bytes += batch.bytes.len();
            parts.push((place, batch.bytes.clone()));
            batches.push((place, batch.sequence));
            line.sent(broker);
        }
        if parts.is_empty() {
            return None;
        }
        for (place, _) in &parts {
            self.settle(*place);
        }
        let id = RequestId(self.next_request);
        self.next_request += 1;
        self.requests.insert(id, Sent { broker, batches });
        *self.by_broker.entry(broker).or_default() += 1;
        Some(Request { id, parts })
    }

    /// Takes the answer to a request: what is said about each of its parts, in their order. Tells what is acknowledged by
    /// it. `Err`: a partition that cannot go on, and with it the producer.
    pub(super) fn answered(
        &mut self,
        id: RequestId,
        verdicts: impl IntoIterator<Item = Verdict>,
        now: Duration,
        acked: &mut Vec<(Place, Acked)>,
    ) -> Result<(), (Place, Failure)> {
        let Some(Sent { broker, batches }) = self.requests.remove(&id) else {
            return Ok(());
        };
        if let Some(count) = self.by_broker.get_mut(&broker) {
            *count = count.saturating_sub(1);
        }
        let mut done = Ok(());
        for ((place, sequence), verdict) in batches.into_iter().zip(verdicts) {
            let Some(line) = self.lines.get_mut(place as usize) else {
                continue;
            };
            match line.answered(sequence, verdict, self.limits.pause, now) {
                Ok(news) => acked.push((place, news)),
                Err(failure) => done = done.and(Err((place, failure))),
            }
            self.settle(place);
        }
        done
    }

    /// Notes whether a line has something to be sent.
    fn settle(&mut self, place: Place) {
        if self.line(place).is_some_and(Line::waits) {
            self.waiting.insert(place);
        } else {
            self.waiting.remove(&place);
        }
    }

    /// A partition whose oldest batch is overdue.
    pub(super) fn overdue(&self, now: Duration) -> Option<(Place, Failure)> {
        let late = |line: &Line| line.oldest().is_some_and(|since| now >= since + self.limits.delivery);
        let place = self.lines.iter().position(late)?;
        let why = self.lines.get(place).and_then(Line::trouble).cloned();
        Some((place as Place, Failure::Late { why }))
    }

    /// When batches are due that wait for their time and not for an answer.
    pub(super) fn times(&self) -> impl Iterator<Item = Duration> + '_ {
        self.waiting.iter().filter_map(|place| self.line(*place)?.next_time())
    }

    /// Whether any batch is not acknowledged.
    pub(super) fn is_busy(&self) -> bool {
        self.lines.iter().any(Line::is_busy)
    }

    /// The brokers that owe an answer.
    pub(super) fn owing(&self) -> impl Iterator<Item = BrokerId> + '_ {
        self.by_broker
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(id, _)| *id)
    }

    /// Forgets all batches, and whatever is still said about them; for a new producer, whose sequences begin anew.
    pub(super) fn start_anew(&mut self) {
        self.lines.iter_mut().for_each(|line| *line = Line::default());
        self.waiting.clear();
        self.requests.clear();
        self.by_broker.clear();
    }
}
