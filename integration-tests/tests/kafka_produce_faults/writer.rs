//! Writes numbered records as a stream thread does, and knows what must be in the topic in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use millstream_integration_tests::kafka;
use millstream_processor::broker::dice::Dice;
use millstream_processor::broker::kafka::KafkaBroker;
use millstream_processor::broker::{
    Broker, Fault, FaultKind, GroupToken, OffsetCommit, PartitionRef, Result, Sink, SinkConfig, TopicPartition,
    TopicSpec,
};

use crate::read_back::{Read, read_back};

/// Until something that must come counts as hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// So many records are appended between two calls of [`Sink::send`], as if they came of one fetched batch.
const BATCH: u64 = 50;

/// Number n goes to the partition n modulo their count.
pub(crate) struct Writer {
    broker: KafkaBroker,
    config: SinkConfig,
    sink: Box<dyn Sink>,
    partitions: Vec<TopicPartition>,
    refs: Vec<PartitionRef>,
    /// The timestamp of number 0. Of a producer whose last record has a timestamp of a day ago, brokers forget at a restart
    /// what it has written (`producer.id.expiration.ms`): what it then sends again, they write again.
    began: i64,
    /// The number that is appended next.
    next: u64,
    /// All numbers below are committed.
    committed: u64,
    /// What commits told: partition, offset, number.
    told: Vec<(usize, i64, u64)>,
    /// What the sink reported.
    pub(crate) faults: Vec<Fault>,
}

impl Writer {
    /// A writer to a new topic.
    pub(crate) fn new(broker: KafkaBroker, config: SinkConfig, spec: &TopicSpec) -> Self {
        broker.admin().create(spec).expect("a topic");
        let partitions = (0..spec.partitions).map(|index| TopicPartition::new(spec.name.clone(), index));
        let partitions: Vec<_> = partitions.collect();
        let (sink, refs) = open(&broker, &config, &partitions);
        Self {
            broker,
            config,
            sink,
            partitions,
            refs,
            began: SystemTime::UNIX_EPOCH
                .elapsed()
                .map_or(0, |since| since.as_millis() as i64),
            next: 0,
            committed: 0,
            told: Vec::new(),
            faults: Vec::new(),
        }
    }

    pub(crate) fn topic(&self) -> &str {
        &self.partitions[0].topic
    }

    pub(crate) fn broker(&self) -> &KafkaBroker {
        &self.broker
    }

    /// Appends so many numbers more, which are then under way.
    pub(crate) fn append(&mut self, count: u64) -> Result<()> {
        let until = self.next + count;
        while self.next < until {
            let number = self.next;
            let to = self.refs[self.partition_of(number)];
            let value = value_of(number);
            self.sink
                .append(to, self.began + number as i64, None, Some(&value), &[])?;
            self.next += 1;
            if self.next.is_multiple_of(BATCH) || self.next == until {
                self.sink.send()?;
            }
        }
        Ok(())
    }

    /// Appends so many more than are committed, as far as they are not yet, and commits: once.
    pub(crate) fn try_commit(&mut self, count: u64) -> Result<()> {
        let until = self.committed + count;
        self.append(until.saturating_sub(self.next))?;
        let group = GroupToken::alone(self.topic());
        let input = OffsetCommit {
            partition: self.partitions[0].clone(),
            offset: self.next as i64,
            metadata: String::new(),
        };
        let mut acked = Vec::new();
        self.sink.commit(&group, &mut |told| {
            acked.clone_from(&told.last);
            vec![input.clone()]
        })?;
        let expected = self.last_appended();
        let partitions: Vec<_> = expected.iter().map(|(index, _)| &self.partitions[*index]).collect();
        let named: Vec<_> = acked.iter().map(|(tp, _)| tp).collect();
        assert_eq!(named, partitions, "the partitions a commit was told");
        let told = expected
            .iter()
            .zip(&acked)
            .map(|((index, number), (_, offset))| (*index, *offset, *number));
        self.told.extend(told);
        self.committed = self.next;
        Ok(())
    }

    /// As [`Writer::try_commit`]; after a fault it does what a stream thread does, and tries again.
    pub(crate) fn commit(&mut self, count: u64) {
        let (until, deadline) = (self.committed + count, Instant::now() + PATIENCE);
        while self.committed < until {
            if let Err(fault) = self.try_commit(until - self.committed) {
                let patient = Instant::now() < deadline;
                self.rewind(fault);
                assert!(patient, "no commit in {PATIENCE:?}: {:?}", self.faults);
            }
        }
    }

    /// After a fault: abort, back to the last commit. What does not pass by itself ends a run; the next has a new sink.
    pub(crate) fn rewind(&mut self, fault: Fault) {
        eprintln!("{}: {:?}: {fault}", self.topic(), fault.kind);
        let aborted = self.sink.abort();
        if fault.kind != FaultKind::Retry || aborted.is_err() {
            (self.sink, self.refs) = open(&self.broker, &self.config, &self.partitions);
        }
        assert_eq!(self.sink.buffered_bytes(), 0, "after an abort");
        self.next = self.committed;
        self.faults.push(fault);
    }

    /// Works on a thread of its own.
    pub(crate) fn at_work(mut self, work: impl FnOnce(&mut Self) + Send + 'static) -> AtWork {
        let (done, end) = mpsc::channel();
        thread::spawn(move || {
            work(&mut self);
            // The test may have failed meanwhile.
            let _ = done.send(self);
        });
        AtWork(end)
    }

    /// Commits one batch after the other on a thread of its own, so that there is always one under way, until told that it is
    /// enough; then a last one. Returns after the first commit.
    pub(crate) fn keep_on(self) -> KeepsOn {
        let (tell, told) = mpsc::channel();
        let enough = Arc::new(AtomicBool::new(false));
        let seen = enough.clone();
        let at_work = self.at_work(move |writer| {
            while !seen.load(Ordering::SeqCst) {
                writer.commit(500);
                // Asked for once.
                let _ = tell.send(());
            }
            writer.commit(500);
        });
        told.recv_timeout(PATIENCE).expect("a first commit");
        KeepsOn { at_work, enough }
    }

    /// Reads the topic back. Every number that was committed is there, in order, at the offset that was told; and once, if
    /// no fault was reported.
    pub(crate) fn check(&self) {
        let all = read_back(&self.broker, &self.partitions);
        for (index, records) in all.iter().enumerate() {
            let tp = &self.partitions[index];
            let numbers = numbers(tp, self.began, records);
            let wanted: Vec<u64> = (0..self.committed).filter(|n| self.partition_of(*n) == index).collect();
            let got = match self.faults.is_empty() {
                true => numbers,
                false => last_of_each(&numbers),
            };
            let differs = got.iter().zip(&wanted).position(|(got, wanted)| got != wanted);
            let at = differs.unwrap_or(got.len().min(wanted.len()));
            assert!(
                got == wanted,
                "{tp}: {} records, of {} that were committed; behind {at} come {:?} and not {:?}; faults: {:?}",
                got.len(),
                wanted.len(),
                got.iter().skip(at).take(5).collect::<Vec<_>>(),
                wanted.iter().skip(at).take(5).collect::<Vec<_>>(),
                self.faults
            );
        }
        for (index, offset, number) in &self.told {
            let found = all[*index]
                .get(*offset as usize)
                .and_then(|record| record.value.clone());
            assert_eq!(
                found,
                Some(value_of(*number)),
                "{} at {offset}",
                self.partitions[*index]
            );
        }
        let committed = self.broker.admin().committed(self.topic(), &self.partitions[..1]);
        let committed = committed.expect("committed offsets")[0]
            .as_ref()
            .map(|committed| committed.offset);
        assert_eq!(committed, Some(self.committed as i64), "the offset of the input");
    }

    /// As [`Writer::check`], after something that a sink bears without a word.
    pub(crate) fn check_without_faults(&self) {
        assert!(self.faults.is_empty(), "{:?}", self.faults);
        self.check();
    }

    fn partition_of(&self, number: u64) -> usize {
        (number % self.partitions.len() as u64) as usize
    }

    /// The last number appended to each partition since the last commit.
    fn last_appended(&self) -> Vec<(usize, u64)> {
        let count = self.partitions.len() as u64;
        let mut last: Vec<_> = (self.committed.max(self.next.saturating_sub(count))..self.next)
            .map(|number| (self.partition_of(number), number))
            .collect();
        last.sort_unstable();
        last
    }
}

/// A writer that works on another thread.
pub(crate) struct AtWork(Receiver<Writer>);

impl AtWork {
    /// Waits for the end of its work.
    pub(crate) fn done(self) -> Writer {
        let end = self.0.recv_timeout(2 * PATIENCE);
        end.unwrap_or_else(|e| panic!("the writer hangs, or has failed: {e}"))
    }
}

/// A writer that goes on until told that it is enough.
pub(crate) struct KeepsOn {
    at_work: AtWork,
    enough: Arc<AtomicBool>,
}

impl KeepsOn {
    /// Whatever has happened, it commits once more.
    pub(crate) fn enough(self) -> AtWork {
        self.enough.store(true, Ordering::SeqCst);
        self.at_work
    }
}

fn open(
    broker: &KafkaBroker,
    config: &SinkConfig,
    partitions: &[TopicPartition],
) -> (Box<dyn Sink>, Vec<PartitionRef>) {
    let mut sink = broker.sink(config).expect("a sink");
    let refs = partitions
        .iter()
        .map(|tp| sink.open(tp).expect("a partition"))
        .collect();
    (sink, refs)
}

/// A new topic.
pub(crate) fn topic(what: &str, partitions: i32, replication: i16) -> TopicSpec {
    TopicSpec {
        replication: Some(replication),
        ..TopicSpec::new(kafka::unique(what), partitions)
    }
}

/// Most values are small; the number stands in front, and what follows depends on it.
fn value_of(number: u64) -> Vec<u8> {
    let mut dice = Dice::new(number);
    let len = match dice.below(100) {
        0 => 5000,
        _ => dice.below(300),
    };
    let mut value = number.to_be_bytes().to_vec();
    value.extend((0..len).map(|_| dice.number() as u8));
    value
}

/// The numbers of a partition's records, which have no gap and are what was written.
fn numbers(tp: &TopicPartition, began: i64, records: &[Read]) -> Vec<u64> {
    let number = |(index, record): (usize, &Read)| {
        assert_eq!(record.offset, index as i64, "{tp} has a gap");
        let value = record.value.as_deref().unwrap_or_default();
        let number = value.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        let number = number.unwrap_or_else(|| panic!("{tp} at {index}: no number in {value:?}"));
        let whole = value == value_of(number) && record.timestamp == began + number as i64;
        assert!(whole, "{tp} at {index}: number {number} is not as it was written");
        number
    };
    records.iter().enumerate().map(number).collect()
}

/// Of numbers that were written again, the last one counts: it is what a table of them ends with.
fn last_of_each(numbers: &[u64]) -> Vec<u64> {
    let mut seen = std::collections::HashSet::new();
    let mut last: Vec<u64> = numbers
        .iter()
        .rev()
        .copied()
        .filter(|number| seen.insert(*number))
        .collect();
    last.reverse();
    last
}

#[test]
fn numbers_written_again_count_where_they_stand_last() {
    assert_eq!(last_of_each(&[0, 1, 2, 1, 2, 3]), [0, 1, 2, 3]);
    assert_eq!(last_of_each(&[0, 1, 0, 1, 0]), [1, 0], "a late one spoils the order");
}
