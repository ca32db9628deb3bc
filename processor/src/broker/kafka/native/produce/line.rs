//! The batches of one partition on their way, in order.
//!
//! What keeps them each once and in order, however requests fail, is Kafka's own check: the leader takes a batch only if
//! its sequence number follows the last one, and recognises the last [`MOST`] batches. Our part of it:
//!
//! - a batch keeps its sequence number for good;
//! - from the first batch that is not acknowledged to the last that was sent there are at most [`MOST`];
//! - a leader that has nothing of a producer takes any sequence number: until a first batch is acknowledged there is one;
//! - when one comes back, nothing more is sent until nothing is under way; then all that came back is sent again in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::broker::kafka::wire::{BrokerId, Pause};

/// How many batches of a producer a leader remembers.
pub(super) const MOST: usize = 5;

/// A sealed batch.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) bytes: Bytes,
    /// The sequence number of its first record.
    pub(super) sequence: i32,
    /// How many records it has.
    pub(super) count: i32,
    /// What it is counted as in memory.
    pub(super) held: usize,
    /// When its first record was handed over.
    pub(super) since: Duration,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// To be sent, for the first time or again.
    Waiting {
        again: bool,
    },
    UnderWay {
        again: bool,
    },
    /// Written; the offset of its last record, -1 when that was not told.
    Written(i64),
}

impl Batch {
    pub(super) fn new(bytes: Bytes, count: i32, held: usize, since: Duration) -> Self {
        Self {
            bytes,
            sequence: 0,
            count,
            held,
            since,
            state: State::Waiting { again: false },
        }
    }
}

/// What a leader, or the loss of the connection to it, says about a batch.
#[derive(Debug, Clone)]
pub(super) enum Verdict {
    /// It is written, now or before; the offset of its first record, or -1.
    Written(i64),
    /// It may or may not be written: to be sent again, after a pause or at once.
    Again { why: Arc<str>, pause: bool },
    /// Its sequence number does not follow the last one.
    OutOfOrder,
    /// It is not written, and will not be.
    Refused { code: i16, message: Option<Arc<str>> },
}

/// Why a partition cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The leader refuses a batch.
    Refused { code: i16, message: Option<Arc<str>> },
    /// The leader does not have what it acknowledged: it was lost.
    Lost,
    /// Whether a batch that was sent again is written cannot be known: the leader has forgotten what it was sent last.
    Forgotten,
    /// A batch was not acknowledged in time.
    Late { why: Option<Arc<str>> },
}

/// A partition's batches.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// From the first that is not acknowledged on.
    batches: VecDeque<Batch>,
    next_sequence: i32,
    /// A batch is acknowledged: the leaders know this producer.
    known: bool,
    under_way: usize,
    /// Whom those under way were sent to.
    broker: Option<BrokerId>,
    /// One of them has come back: the others are waited for.
    returning: bool,
    /// So many times in a row.
    failures: u32,
    /// Nothing is sent again before.
    not_before: Duration,
    /// Why the last one came back.
    trouble: Option<Arc<str>>,
}

/// What an answer brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Acked {
    /// The last offset, if anything is written for good; -1 when it was not told.
    pub(super) last: Option<i64>,
    /// Memory that is free now.
    pub(super) freed: usize,
}

impl Line {
    /// How many further batches could be sent now.
    pub(super) fn room(&self) -> usize {
        if self.returning || self.waits() {
            return 0;
        }
        let most = if self.known { MOST } else { 1 };
        most.saturating_sub(self.batches.len())
    }

    /// Whether anything is not acknowledged.
    pub(super) fn is_busy(&self) -> bool {
        !self.batches.is_empty()
    }

    /// Whether something is to be sent, now or later.
    pub(super) fn waits(&self) -> bool {
        self.batches.iter().any(Batch::waits)
    }

    /// The sequence number of the next batch.
    pub(super) fn next_sequence(&self) -> i32 {
        self.next_sequence
    }

    /// Takes a batch, sealed with the next sequence number; to be called while there is room.
    pub(super) fn push(&mut self, mut batch: Batch) {
        batch.sequence = self.next_sequence;
        // From 2^31 - 1 it goes on at 0.
        self.next_sequence = self.next_sequence.wrapping_add(batch.count) & i32::MAX;
        self.batches.push_back(batch);
    }

    /// The batch that is to be sent to `broker` now, if any.
    pub(super) fn due(&mut self, broker: BrokerId, now: Duration) -> Option<&mut Batch> {
        let elsewhere = self.under_way > 0 && self.broker != Some(broker);
        if self.returning || elsewhere || now < self.not_before {
            return None;
        }
        self.batches.iter_mut().find(|batch| batch.waits())
    }

    /// The batch that was due is sent.
    pub(super) fn sent(&mut self, broker: BrokerId) {
        if let Some(batch) = self.batches.iter_mut().find(|batch| batch.waits()) {
            let again = matches!(batch.state, State::Waiting { again: true });
            batch.state = State::UnderWay { again };
            (self.under_way, self.broker) = (self.under_way + 1, Some(broker));
        }
    }

    /// When [`Line::due`] may have something that it has not now; nothing when an answer comes first.
    pub(super) fn next_time(&self) -> Option<Duration> {
        (!self.returning && self.waits()).then_some(self.not_before)
    }

    /// Takes what was said about the batch of this sequence number.
    pub(super) fn answered(
        &mut self,
        sequence: i32,
        verdict: Verdict,
        pause: Pause,
        now: Duration,
    ) -> Result<Acked, Failure> {
        let is_it = |batch: &Batch| batch.sequence == sequence && matches!(batch.state, State::UnderWay { .. });
        let Some(at) = self.batches.iter().position(is_it) else {
            return Ok(Acked::default());
        };
        let first = self.batches.iter().take(at).all(Batch::is_written);
        let Some(batch) = self.batches.get_mut(at) else {
            return Ok(Acked::default());
        };
        let was_again = matches!(batch.state, State::UnderWay { again: true });
        match verdict {
            Verdict::Written(base) => {
                let last = if base < 0 {
                    -1
                } else {
                    base + i64::from(batch.count) - 1
                };
                batch.state = State::Written(last);
            }
            Verdict::Again { why, pause } => self.comes_back(at, Some(why), pause),
            // Those before it are not there: it comes after them, again.
            Verdict::OutOfOrder if !first => self.comes_back(at, None, false),
            Verdict::OutOfOrder if was_again => return Err(Failure::Forgotten),
            Verdict::OutOfOrder => return Err(Failure::Lost),
            Verdict::Refused { code, message } => return Err(Failure::Refused { code, message }),
        }
        self.under_way -= 1;
        if self.returning && self.under_way == 0 {
            self.returning = false;
            if self.not_before == Duration::MAX {
                self.failures = self.failures.saturating_add(1);
                self.not_before = now + pause.doubled(self.failures);
            }
        }
        Ok(self.take_written())
    }

    fn comes_back(&mut self, at: usize, why: Option<Arc<str>>, pause: bool) {
        if let Some(batch) = self.batches.get_mut(at) {
            batch.state = State::Waiting { again: true };
        }
        self.returning = true;
        if pause {
            // Begins when all have come back.
            self.not_before = Duration::MAX;
        }
        self.trouble = why.or(self.trouble.take());
    }

    /// Lets go of what is written from the front on.
    fn take_written(&mut self) -> Acked {
        let mut acked = Acked::default();
        while let Some(State::Written(last)) = self.batches.front().map(|batch| batch.state) {
            if let Some(batch) = self.batches.pop_front() {
                acked.freed += batch.held;
                acked.last = Some(last);
            }
            (self.known, self.failures, self.trouble) = (true, 0, None);
        }
        acked
    }

    /// When the oldest batch was handed over.
    pub(super) fn oldest(&self) -> Option<Duration> {
        self.batches.front().map(|batch| batch.since)
    }

    /// Why the last batch came back, if any has since one was written.
    pub(super) fn trouble(&self) -> Option<&Arc<str>> {
        self.trouble.as_ref()
    }

    /// How many batches are under way.
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }
}

impl Batch {
    fn waits(&self) -> bool {
        matches!(self.state, State::Waiting { .. })
    }

    fn is_written(&self) -> bool {
        matches!(self.state, State::Written(_))
    }
}
