//! How far the application has come: numbers the threads add to as they go, and a view of them for people.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use millstream_state::Timestamp;

/// Running totals of the process.
#[derive(Debug)]
pub struct Totals {
    /// Records taken from source partitions.
    pub records_in: AtomicU64,
    /// Records appended to output, repartition and dead-letter topics.
    pub records_out: AtomicU64,
    /// Records appended to changelogs.
    pub changelog_records: AtomicU64,
    /// Commits made.
    pub commits: AtomicU64,
    /// Highest stream time of any task.
    pub event_time: AtomicI64,
    /// Per thread: bytes held by its tasks and queues.
    pub memory: Vec<AtomicUsize>,
    /// Per thread: bytes of rows in its stores that wait for a commit.
    pub uncommitted: Vec<AtomicUsize>,
    /// Per thread: records known to be on the log and not read yet.
    pub lag: Vec<AtomicI64>,
}

impl Totals {
    /// Zeros for `threads` threads.
    pub fn new(threads: usize) -> Self {
        Totals {
            records_in: AtomicU64::new(0),
            records_out: AtomicU64::new(0),
            changelog_records: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            event_time: AtomicI64::new(Timestamp::MIN),
            memory: (0..threads).map(|_| AtomicUsize::new(0)).collect(),
            uncommitted: (0..threads).map(|_| AtomicUsize::new(0)).collect(),
            lag: (0..threads).map(|_| AtomicI64::new(0)).collect(),
        }
    }

    /// Bytes held by all threads, as they last said.
    pub fn memory(&self) -> usize {
        self.memory.iter().map(|bytes| bytes.load(Relaxed)).sum()
    }

    /// Bytes of rows in stores that wait for a commit, over all threads, as they last said.
    pub fn uncommitted(&self) -> usize {
        self.uncommitted.iter().map(|bytes| bytes.load(Relaxed)).sum()
    }

    /// A view of the numbers now.
    pub fn progress(&self, elapsed: Duration) -> Progress {
        let event_time = self.event_time.load(Relaxed);
        Progress {
            elapsed,
            records_in: self.records_in.load(Relaxed),
            records_out: self.records_out.load(Relaxed),
            commits: self.commits.load(Relaxed),
            event_time: (event_time != Timestamp::MIN).then_some(event_time),
            lag: self.lag.iter().map(|lag| lag.load(Relaxed)).sum(),
            memory: self.memory(),
        }
    }
}

/// How far the application has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Time since the start.
    pub elapsed: Duration,
    /// Records read since the start.
    pub records_in: u64,
    /// Records written since the start (without changelogs).
    pub records_out: u64,
    /// Commits made.
    pub commits: u64,
    /// Highest event time that any task has seen.
    pub event_time: Option<Timestamp>,
    /// Records known to be on the log and not read yet.
    pub lag: i64,
    /// Bytes in stores, queues and outputs on their way.
    pub memory: usize,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The totals at the end.
    pub progress: Progress,
    /// Counters of all tasks, summed: `(node, counter) -> count`.
    pub counters: BTreeMap<(String, String), u64>,
    /// Counts of events (`stores_wiped`, `restored_records`, ...).
    pub events: BTreeMap<&'static str, u64>,
    /// Records written by topic, without changelogs.
    pub written: BTreeMap<String, u64>,
}

impl Summary {
    /// One counter, 0 when nothing was counted.
    pub fn counter(&self, node: &str, counter: &str) -> u64 {
        self.counters
            .get(&(node.to_owned(), counter.to_owned()))
            .copied()
            .unwrap_or(0)
    }

    /// Sum of a counter over all nodes.
    pub fn total(&self, counter: &str) -> u64 {
        self.counters
            .iter()
            .filter(|((_, name), _)| name == counter)
            .map(|(_, count)| count)
            .sum()
    }
}
