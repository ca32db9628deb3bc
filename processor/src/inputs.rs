//! The partitions a task reads: what was fetched and waits, where each stands, how far it has been processed.
//!
//! - Which record is next is the business of the [`Picker`] (OR-1); here is what it needs to know of the log.
//! - A partition is *awaited* while the log is known to have records for it that were not fetched yet: taking from the
//!   others meanwhile would make the order a matter of luck.
//! - Offsets advance contiguously: a position is the next record not processed yet (OR-2).

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use millstream_topology::picker::{Cut, Picker};
use millstream_topology::record::Chunk;
use millstream_topology::task::{SourceRef, Task};

use crate::broker::{Acked, TopicPartition};
use crate::gate::{Slot, Standing};

/// Where reading begins in a partition whose position is not known, or is not in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// At the first record there is.
    Earliest,
    /// Behind the last one.
    Latest,
}

impl Reset {
    /// Where to go on in a log that holds `start..end`. A position before `start` was overtaken by retention, and what is
    /// left is read whatever the reset says; one beyond `end` says nothing about what is there.
    pub fn resume(self, wanted: Option<i64>, start: i64, end: i64) -> i64 {
        match (wanted, self) {
            (Some(wanted), _) if wanted < start => start,
            (Some(wanted), _) if wanted <= end => wanted,
            (_, Reset::Earliest) => start,
            (_, Reset::Latest) => end,
        }
    }
}

/// Where an input starts, what it is, and how far it goes.
#[derive(Debug, Clone)]
pub struct InputStart {
    /// The partition.
    pub partition: TopicPartition,
    /// Which source of the task it feeds.
    pub source: SourceRef,
    /// Its place on the gate's board.
    pub slot: Slot,
    /// The first offset to process.
    pub position: i64,
    /// Where to go on when the position turns out not to exist.
    pub reset: Reset,
    /// The end of the partition as known at the start.
    pub end: i64,
    /// Whether nothing behind `end` is read: an outside topic in a bounded run.
    pub bounded: bool,
    /// Whether tasks of this application write it. Its records are then kept back until the commit that wrote them: a log
    /// may show them earlier, partition by partition as they happen to leave, and event time would jump (OR-3).
    pub own: bool,
}

/// One source partition of a task.
#[derive(Debug)]
pub struct Input {
    start: InputStart,
    /// What the picker holds of it, oldest first.
    waiting: VecDeque<Waiting>,
    /// What was fetched and is kept back, oldest first.
    ahead: VecDeque<Ahead>,
    records: usize,
    bytes: usize,
    /// Next offset to process.
    position: i64,
    /// Next offset to fetch.
    fetched: i64,
    /// End of the partition as far as known.
    end: i64,
    paused: bool,
    awaited: Awaited,
}

/// What is to be remembered of a chunk until its last row has been picked.
#[derive(Debug)]
struct Waiting {
    /// Behind its last row.
    rows_end: usize,
    /// The position after it.
    next: i64,
    bytes: usize,
}

/// Records of an own topic whose commit is still to come.
#[derive(Debug)]
struct Ahead {
    chunk: Arc<Chunk>,
    rows: Range<usize>,
    /// The position after the chunk.
    next: i64,
}

/// How long records that exist have not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    No,
    Since(Duration),
    /// So long that others go on without it.
    InVain,
}

impl Input {
    fn new(start: InputStart) -> Input {
        let (position, end) = (start.position, start.end);
        Input {
            start,
            waiting: VecDeque::new(),
            ahead: VecDeque::new(),
            records: 0,
            bytes: 0,
            position,
            fetched: position,
            end,
            paused: false,
            awaited: Awaited::No,
        }
    }

    /// Its partition.
    pub fn partition(&self) -> &TopicPartition {
        &self.start.partition
    }

    /// The next offset to process.
    pub fn position(&self) -> i64 {
        self.position
    }

    /// Whether fetched records are kept back until a commit.
    pub fn keeps_back(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Whether the log has records for it, none of which is at hand.
    pub fn is_awaited(&self) -> bool {
        self.waiting.is_empty() && self.fetched < self.end
    }

    /// Whether its task should wait for it.
    fn is_missing(&self) -> bool {
        self.is_awaited() && self.awaited != Awaited::InVain
    }

    /// Notes how long it has been awaited; true when it has just become too long.
    pub fn stalls(&mut self, now: Duration, after: Duration) -> bool {
        match self.awaited {
            _ if !self.is_awaited() => self.awaited = Awaited::No,
            Awaited::No => self.awaited = Awaited::Since(now),
            Awaited::Since(since) if now.saturating_sub(since) >= after => {
                self.awaited = Awaited::InVain;
                return true;
            }
            Awaited::Since(_) | Awaited::InVain => {}
        }
        false
    }

    /// Whether everything known to exist has been processed.
    pub fn is_exhausted(&self) -> bool {
        self.waiting.is_empty() && self.fetched >= self.end
    }

    /// Records known to exist and not processed.
    pub fn lag(&self) -> i64 {
        (self.end - self.position).max(0)
    }

    /// Whether fetching should pause (`Some(true)`) or go on (`Some(false)`); `None`: as it is. Goes on at half the bound,
    /// so that it does not flutter.
    pub fn turn(&mut self, max_records: usize, max_bytes: usize) -> Option<bool> {
        let full = self.records >= max_records || self.bytes >= max_bytes;
        let low = self.records <= max_records / 2 && self.bytes <= max_bytes / 2;
        let turn = match self.paused {
            false => full.then_some(true),
            true => low.then_some(false),
        };
        self.paused = turn.unwrap_or(self.paused);
        turn
    }

    /// Gives the picker what need not be kept back.
    fn let_in(&mut self, picker: &mut Picker) {
        while let Some(ahead) = self.ahead.front_mut() {
            let records = ahead.chunk.records();
            let (first, last) = (ahead.rows.start, ahead.rows.end);
            let seen = match self.start.own {
                true => records.partition_point(|record| record.offset < self.end).min(last),
                false => last,
            };
            if seen <= first {
                return;
            }
            let (next, bytes) = match records.get(seen) {
                Some(kept) if seen < last => (kept.offset, 0),
                _ => (ahead.next, ahead.chunk.memory()),
            };
            picker.push_rows(self.start.source, ahead.chunk.clone(), first..seen);
            self.waiting.push_back(Waiting {
                rows_end: seen,
                next,
                bytes,
            });
            ahead.rows.start = seen;
            if seen == last {
                self.ahead.pop_front();
            }
        }
    }

    /// Notes that rows up to `rows_end` of its oldest chunk were picked, the last with this offset.
    fn picked(&mut self, rows: usize, rows_end: usize, last_offset: i64) {
        self.records -= rows;
        self.position = last_offset + 1;
        if self.waiting.front().is_some_and(|oldest| oldest.rows_end == rows_end)
            && let Some(done) = self.waiting.pop_front()
        {
            self.bytes -= done.bytes;
            self.position = done.next;
        }
    }
}

/// All inputs of a task.
#[derive(Debug)]
pub struct Inputs {
    picker: Picker,
    all: Vec<Input>,
}

impl Inputs {
    /// Inputs that have fetched nothing yet, of a sub-topology with this many sources.
    pub fn new(sources: usize, starts: Vec<InputStart>) -> Inputs {
        Inputs {
            picker: Picker::new(sources),
            all: starts.into_iter().map(Input::new).collect(),
        }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Input> {
        self.all.iter()
    }

    /// Each of them, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Input> {
        self.all.iter_mut()
    }

    /// The input that reads `partition`.
    pub fn find(&mut self, partition: &TopicPartition) -> Option<&mut Input> {
        self.all.iter_mut().find(|input| input.partition() == partition)
    }

    /// Takes in a fetched chunk; false when it is not for this task. Records of a bounded input that lie behind its end are
    /// left out.
    pub fn push(&mut self, partition: &TopicPartition, chunk: &Arc<Chunk>, next: i64, high_watermark: i64) -> bool {
        let Some(input) = self.all.iter_mut().find(|input| input.partition() == partition) else {
            return false;
        };
        input.fetched = next;
        let records = chunk.records();
        let first = records.partition_point(|record| record.offset < input.position);
        let wanted = match input.start.bounded {
            true => records.partition_point(|record| record.offset < input.end),
            false => records.len(),
        };
        if !input.start.bounded && !input.start.own {
            input.end = input.end.max(high_watermark);
        }
        if first < wanted {
            input.records += wanted - first;
            input.bytes += chunk.memory();
            let (chunk, rows) = (chunk.clone(), first..wanted);
            input.ahead.push_back(Ahead { chunk, rows, next });
            input.let_in(&mut self.picker);
        } else if let Some(newest) = input.ahead.back_mut() {
            newest.next = next;
        } else if let Some(newest) = input.waiting.back_mut() {
            // Nothing but transaction markers, or records we do not want: only the position moves.
            newest.next = next;
        } else {
            input.position = next;
        }
        true
    }

    /// After a commit: own topics have grown by what we wrote, and all that was fetched of them belongs to a commit.
    pub fn after_commit(&mut self, acked: &Acked) {
        let Inputs { picker, all } = self;
        for input in all.iter_mut().filter(|input| input.start.own) {
            let partition = &input.start.partition;
            let written = acked.last_offset(&partition.topic, partition.partition);
            let written = written.map_or(i64::MIN, |last| last + 1);
            input.end = input.end.max(written).max(input.fetched);
            input.let_in(picker);
        }
    }

    /// Goes on elsewhere, after the log said that it holds `start..end` and not the position. Returns the position that was
    /// wanted and the new one.
    pub fn reposition(&mut self, partition: &TopicPartition, start: i64, end: i64) -> Option<(i64, i64)> {
        let input = self.all.iter_mut().find(|input| input.partition() == partition)?;
        let wanted = input.position;
        let instead = input.start.reset.resume(Some(wanted), start, end);
        self.picker.clear(input.start.source);
        input.waiting.clear();
        input.ahead.clear();
        (input.records, input.bytes) = (0, 0);
        (input.position, input.fetched) = (instead, instead);
        Some((wanted, instead))
    }

    /// Feeds one round of records to `task`, furthest behind first. Says how many.
    pub fn feed(&mut self, task: &mut Task, cut: &Cut) -> usize {
        let Inputs { picker, all } = self;
        picker.round(cut, |run| {
            let last = run.chunk.records().get(run.rows.end.wrapping_sub(1));
            let input = all.iter_mut().find(|input| input.start.source == run.source);
            if let (Some(input), Some(last)) = (input, last) {
                input.picked(run.rows.len(), run.rows.end, last.offset);
            }
            task.feed(run.source, run.chunk, run.rows, run.seqs);
        })
    }

    /// Where each stands, for the gate.
    pub fn standings(&self, cut: &Cut) -> impl Iterator<Item = (Slot, Standing)> {
        self.all
            .iter()
            .map(|input| (input.start.slot, self.standing(input, cut)))
    }

    fn standing(&self, input: &Input, cut: &Cut) -> Standing {
        match self.picker.standing(input.start.source, cut) {
            Some(time) => Standing::At(time),
            None if input.is_missing() => Standing::At(self.picker.time(input.start.source)),
            None => Standing::Empty,
        }
    }

    /// Whether no records are at hand.
    pub fn is_empty(&self) -> bool {
        self.picker.is_empty()
    }

    /// Whether some partition has records on the log that are not at hand.
    pub fn any_missing(&self) -> bool {
        self.all.iter().any(Input::is_missing)
    }

    /// Whether records were fetched that are kept back until a commit.
    pub fn any_kept_back(&self) -> bool {
        self.all.iter().any(Input::keeps_back)
    }

    /// Whether each partition has records at hand.
    pub fn all_at_hand(&self) -> bool {
        self.all.iter().all(|input| !input.waiting.is_empty())
    }

    /// Whether everything known to exist has been processed.
    pub fn is_exhausted(&self) -> bool {
        self.all.iter().all(Input::is_exhausted)
    }

    /// Bytes waiting.
    pub fn bytes(&self) -> usize {
        self.all.iter().map(|input| input.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_that_exists_is_kept_and_one_that_does_not_goes_as_the_reset_says() {
        for (reset, unknown) in [(Reset::Earliest, 10), (Reset::Latest, 20)] {
            let resume = |wanted| reset.resume(wanted, 10, 20);
            assert_eq!([9, 10, 15, 20].map(|wanted| resume(Some(wanted))), [10, 10, 15, 20]);
            assert_eq!([None, Some(21)].map(resume), [unknown, unknown], "{reset:?}");
        }
    }
}
