//! Which record is next: merges the partitions a task reads into rounds, in event-time order.
//!
//! Within a partition records go in offset order; among partitions the one furthest behind in event time goes first, the
//! first of two equals (OR-1). "Behind" is the running maximum of its timestamps, not the bare timestamp of its next record:
//! one old record does not make a partition jump the queue, so nothing can lock up between the picker and a gate that makes
//! partitions wait for each other. A round ends
//! - at the gate's limit ([`Cut::limit`]): no partition goes beyond it,
//! - behind the record that makes a stream-time timer due ([`Cut::timer`]): the timer fires before the next record,
//! - when a partition has given its share of rows or bytes ([`Cut::rows`], [`Cut::bytes`]): a round of huge records stays
//!   small (ME-1).

use std::{collections::VecDeque, ops::Range, sync::Arc};

use millstream_state::Timestamp;

use crate::{
    record::Chunk,
    task::{SourceRef, Task},
};

/// Where a round ends.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// No partition goes beyond this event time.
    pub limit: Timestamp,
    /// Timestamps beyond this do not count as time (TI-2).
    pub future: Timestamp,
    /// When the task's next stream-time timer is due.
    pub timer: Option<Timestamp>,
    /// Rows one partition may give.
    pub rows: usize,
    /// Bytes of keys and values one partition may give; the record that reaches them still goes.
    pub bytes: usize,
}

/// Rows one partition gives to a round by default.
pub const ROWS: usize = 512;

/// Bytes one partition gives to a round by default.
pub const BYTES: usize = 8 << 20;

impl Default for Cut {
    fn default() -> Self {
        Cut {
            limit: Timestamp::MAX,
            future: Timestamp::MAX,
            timer: None,
            rows: ROWS,
            bytes: BYTES,
        }
    }
}

/// The partitions of one task, with what was fetched and waits.
#[derive(Debug, Default)]
pub struct Picker {
    queues: Vec<Queue>,
    seqs: Vec<u32>,
}

/// Rows of one partition that follow each other in the round.
#[derive(Debug, Clone)]
pub struct Run<'a> {
    /// The source they feed.
    pub source: SourceRef,
    /// Their chunk.
    pub chunk: &'a Arc<Chunk>,
    /// Which of the chunk's records.
    pub rows: Range<usize>,
    /// Their places in the round.
    pub seqs: &'a [u32],
}

/// A chunk, and which of its records are not picked yet.
type Waiting = (Arc<Chunk>, Range<usize>);

#[derive(Debug)]
struct Queue {
    source: SourceRef,
    waiting: VecDeque<Waiting>,
    running: Timestamp,
    given: usize,
    given_bytes: usize,
}

impl Picker {
    /// A picker over the sources of a sub-topology, by their places.
    pub fn new(sources: usize) -> Self {
        let queue = |i| Queue {
            source: SourceRef::new(i),
            waiting: VecDeque::new(),
            running: Timestamp::MIN,
            given: 0,
            given_bytes: 0,
        };
        Picker {
            queues: (0..sources).map(queue).collect(),
            seqs: Vec::new(),
        }
    }

    /// Takes in a fetched chunk.
    pub fn push(&mut self, source: SourceRef, chunk: Arc<Chunk>) {
        let rows = 0..chunk.records().len();
        self.push_rows(source, chunk, rows);
    }

    /// Takes in some records of a fetched chunk.
    pub fn push_rows(&mut self, source: SourceRef, chunk: Arc<Chunk>, rows: Range<usize>) {
        if let Some(queue) = self.queues.get_mut(source.index()).filter(|_| !rows.is_empty()) {
            queue.waiting.push_back((chunk, rows));
        }
    }

    /// Forgets what waits of a partition: it is read from elsewhere.
    pub fn clear(&mut self, source: SourceRef) {
        if let Some(queue) = self.queues.get_mut(source.index()) {
            queue.waiting.clear();
        }
    }

    /// How far a partition has come in event time, without its next record.
    pub fn time(&self, source: SourceRef) -> Timestamp {
        self.queues
            .get(source.index())
            .map_or(Timestamp::MIN, |queue| queue.running)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queues.iter().all(|q| q.waiting.is_empty())
    }

    /// Where a partition stands in event time, counting its next record; `None` when it has none at hand.
    pub fn standing(&self, source: SourceRef, cut: &Cut) -> Option<Timestamp> {
        self.queues.get(source.index())?.standing(cut)
    }

    /// Feeds one round to `task`; says how many rows.
    pub fn feed(&mut self, task: &mut Task, cut: &Cut) -> usize {
        self.round(cut, |run| task.feed(run.source, run.chunk, run.rows, run.seqs))
    }

    /// Picks one round and gives it away run by run, in processing order.
    pub fn round(&mut self, cut: &Cut, mut give: impl FnMut(Run<'_>)) -> usize {
        for queue in &mut self.queues {
            queue.given = 0;
            queue.given_bytes = 0;
        }
        let mut fed = 0;
        while let Some((next, until)) = self.next(cut) {
            let Some(queue) = self.queues.get_mut(next) else { break };
            let (run, ends) = queue.run(until, cut);
            let Some((chunk, rows)) = run else { break };
            self.seqs.clear();
            self.seqs.extend(fed..fed + rows.len() as u32);
            fed += rows.len() as u32;
            give(Run {
                source: queue.source,
                chunk: &chunk,
                rows,
                seqs: &self.seqs,
            });
            if ends {
                break;
            }
        }
        fed as usize
    }

    /// The partition furthest behind, and up to where it is: the standing of the next one, or the limit.
    fn next(&self, cut: &Cut) -> Option<(usize, Timestamp)> {
        let mut best: Option<(Timestamp, usize)> = None;
        let mut until = cut.limit;
        for (index, queue) in self.queues.iter().enumerate() {
            let Some(time) = queue.standing(cut) else { continue };
            match best {
                // Of two equals the first goes on.
                Some((least, _)) if time >= least => until = until.min(time),
                Some((least, _)) => {
                    until = until.min(least.saturating_sub(1));
                    best = Some((time, index));
                }
                None => best = Some((time, index)),
            }
        }
        best.filter(|(time, _)| *time <= cut.limit)
            .map(|(_, index)| (index, until))
    }
}

impl Queue {
    fn standing(&self, cut: &Cut) -> Option<Timestamp> {
        let (chunk, rows) = self.waiting.front()?;
        let head = chunk.records().get(rows.start)?;
        Some(if head.timestamp <= cut.future {
            self.running.max(head.timestamp)
        } else {
            self.running
        })
    }

    /// The next rows of the head chunk while this partition stands no later than `until`, and whether they
    /// end the round.
    fn run(&mut self, until: Timestamp, cut: &Cut) -> (Option<Waiting>, bool) {
        let Some((chunk, rows)) = self.waiting.front_mut() else {
            return (None, false);
        };
        let records = chunk.records().get(rows.clone()).unwrap_or_default();
        let (mut taken, mut ends) = (0, false);
        for record in records.iter().take(cut.rows - self.given) {
            let time = if record.timestamp <= cut.future {
                record.timestamp
            } else {
                self.running
            };
            if self.running.max(time) > until {
                break;
            }
            self.running = self.running.max(time);
            taken += 1;
            self.given_bytes += record.key.bytes() + record.value.bytes();
            ends = cut.timer.is_some_and(|timer| time >= timer) || self.given_bytes >= cut.bytes;
            if ends {
                break;
            }
        }
        self.given += taken;
        ends |= self.given >= cut.rows;
        let run = (chunk.clone(), rows.start..rows.start + taken);
        rows.start += taken;
        if rows.start >= rows.end {
            self.waiting.pop_front();
        }
        ((taken > 0).then_some(run), ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{RawRecord, Span};
    use bytes::Bytes;
    use proptest::prelude::*;

    fn chunk(partition: i32, first: i64, times: &[i64]) -> Arc<Chunk> {
        let record = |(i, &timestamp): (usize, &i64)| RawRecord {
            offset: first + i as i64,
            timestamp,
            key: Span::NULL,
            value: Span::NULL,
            headers: Span::EMPTY,
        };
        let records = times.iter().enumerate().map(record).collect();
        Arc::new(Chunk::new("t".into(), partition, Bytes::new(), records))
    }

    /// All rows in picking order: (partition, offset, timestamp), one inner list per round.
    fn drain(picker: &mut Picker, cut: &Cut) -> Vec<Vec<(i32, i64, i64)>> {
        let mut rounds = Vec::new();
        loop {
            let mut round = Vec::new();
            let mut last = None;
            picker.round(cut, |Run { chunk, rows, seqs, .. }| {
                for (record, seq) in chunk.records()[rows].iter().zip(seqs) {
                    assert!(last.is_none_or(|l| *seq == l + 1), "numbers have no gaps");
                    last = Some(*seq);
                    round.push((chunk.partition(), record.offset, record.timestamp));
                }
            });
            if round.is_empty() {
                return rounds;
            }
            rounds.push(round);
        }
    }

    /// The rule, one record at a time.
    fn naive(partitions: &[Vec<i64>]) -> Vec<(i32, i64, i64)> {
        let mut at = vec![0; partitions.len()];
        let mut running = vec![i64::MIN; partitions.len()];
        let mut out = Vec::new();
        loop {
            let head = |p: usize| partitions[p].get(at[p]).map(|t| (running[p].max(*t), p));
            let Some((time, p)) = (0..partitions.len()).filter_map(head).min() else {
                return out;
            };
            out.push((p as i32, at[p] as i64, partitions[p][at[p]]));
            running[p] = time;
            at[p] += 1;
        }
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_order_of_one_by_one(
            partitions in proptest::collection::vec(proptest::collection::vec(0i64..50, 0..40), 1..4),
            rows in 1usize..20,
            timer in proptest::option::of(0i64..50),
            pieces in 1usize..10,
        ) {
            let mut picker = Picker::new(partitions.len());
            for (p, times) in partitions.iter().enumerate() {
                for (i, piece) in times.chunks(pieces).enumerate() {
                    picker.push(SourceRef::new(p), chunk(p as i32, (i * pieces) as i64, piece));
                }
            }
            let rounds = drain(&mut picker, &Cut { rows, timer, ..Cut::default() });
            prop_assert!(picker.is_empty());
            for round in &rounds {
                let due = round.iter().position(|(_, _, t)| timer.is_some_and(|timer| *t >= timer));
                prop_assert!(due.is_none_or(|at| at + 1 == round.len()), "a due timer ends the round");
            }
            prop_assert_eq!(rounds.concat(), naive(&partitions));
        }

        #[test]
        fn the_gate_holds_back_what_is_later(
            partitions in proptest::collection::vec(proptest::collection::vec(0i64..50, 0..40), 1..4),
            limit in 0i64..50,
        ) {
            let mut picker = Picker::new(partitions.len());
            for (p, times) in partitions.iter().enumerate() {
                picker.push(SourceRef::new(p), chunk(p as i32, 0, times));
            }
            let taken = drain(&mut picker, &Cut { limit, ..Cut::default() }).concat();
            let may: usize = partitions.iter().map(|p| p.iter().take_while(|t| **t <= limit).count()).sum();
            prop_assert_eq!(taken.len(), may);
        }
    }

    #[test]
    fn a_round_of_huge_records_is_cut() {
        let record = |offset| RawRecord {
            offset,
            timestamp: offset,
            key: Span::NULL,
            value: Span { start: 0, len: 10 },
            headers: Span::EMPTY,
        };
        let huge = Chunk::new(
            "t".into(),
            0,
            Bytes::from_static(&[0; 10]),
            (0..7).map(record).collect(),
        );
        let mut picker = Picker::new(1);
        picker.push(SourceRef::new(0), Arc::new(huge));
        let cut = Cut {
            bytes: 25,
            ..Cut::default()
        };
        let sizes: Vec<usize> = drain(&mut picker, &cut).iter().map(Vec::len).collect();
        assert_eq!(sizes, [3, 3, 1]);
    }

    #[test]
    fn a_record_from_the_future_waits_for_nobody() {
        let mut picker = Picker::new(2);
        picker.push(SourceRef::new(0), chunk(0, 0, &[1, 1_000_000, 2]));
        picker.push(SourceRef::new(1), chunk(1, 0, &[3]));
        let order = drain(
            &mut picker,
            &Cut {
                future: 100,
                ..Cut::default()
            },
        )
        .concat();
        assert_eq!(order, [(0, 0, 1), (0, 1, 1_000_000), (0, 2, 2), (1, 0, 3)]);
    }
}
