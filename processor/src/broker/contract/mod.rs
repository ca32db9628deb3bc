//! What every log must do: one suite, run on each implementation (feature `testing`).
//!
//! A case gets a log and makes its own topics under a prefix that nobody else uses. It panics when the log breaks the
//! contract.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a suite panics where the contract is not held"
)]

mod commits;
mod reading;
mod records;
mod topics;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::record_batch::headers::{self, Header};
use super::{
    Acked, Broker, Cleanup, Committed, Fault, FaultKind, Fetch, FetchConfig, FetchEvent, GroupToken, MembershipConfig,
    MembershipEvent, OffsetCommit, Sink, SinkConfig, TopicPartition, TopicSpec,
};

/// The log under test.
pub struct Subject<'a> {
    /// The log.
    pub broker: &'a dyn Broker,
    /// Begins the name of every topic and group the suite makes.
    pub prefix: String,
    /// Whether a commit's records and offsets become visible together, and aborted records never.
    pub atomic: bool,
    /// Whether a timestamp of 0 comes back as 0; librdkafka takes it for "now".
    pub epoch: bool,
}

/// One case: its name and what it does.
type Case = (&'static str, fn(&Subject<'_>));

/// Runs every case, one after the other; says on standard error which one is running.
pub fn run(subject: &Subject<'_>) {
    let rooms = [topics::CASES, records::CASES, commits::CASES, reading::CASES];
    for (name, case) in rooms.into_iter().flatten() {
        eprintln!("{}: {name}", subject.broker.describe());
        case(subject);
    }
}

/// Long enough for a broker on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A record as the suite writes and reads it.
#[derive(Debug, Clone, PartialEq)]
struct Plain {
    offset: i64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<u8>,
}

impl Subject<'_> {
    fn name(&self, what: &str) -> Arc<str> {
        Arc::from(format!("{}-{what}", self.prefix))
    }

    fn topic(&self, what: &str, partitions: i32) -> Arc<str> {
        self.topic_like(TopicSpec::new(self.name(what), partitions))
    }

    fn topic_like(&self, spec: TopicSpec) -> Arc<str> {
        self.broker.admin().create(&spec).expect("create a topic");
        spec.name
    }

    fn sink(&self) -> Box<dyn Sink> {
        self.broker.sink(&SinkConfig::default()).expect("a sink")
    }

    fn fetch(&self, from: &[(&TopicPartition, i64)]) -> Box<dyn Fetch> {
        let config = FetchConfig {
            max_partition_bytes: 4096,
            ..FetchConfig::default()
        };
        let mut fetch = self.broker.fetch(&config).expect("a fetch");
        let diff: Vec<_> = from.iter().map(|(tp, offset)| ((*tp).clone(), Some(*offset))).collect();
        fetch.assign(&diff).expect("assign");
        fetch
    }

    fn group(&self, what: &str) -> GroupToken {
        GroupToken::alone(self.name(what))
    }

    /// Writes values without a key to one partition and commits them.
    fn write(&self, tp: &TopicPartition, values: impl IntoIterator<Item = String>) {
        let mut sink = self.sink();
        append_all(&mut *sink, tp, values);
        sink.commit(&self.group("writer"), &mut |_| Vec::new()).expect("commit");
    }

    fn read(&self, tp: &TopicPartition, from: i64, count: usize) -> Vec<Plain> {
        take(&mut *self.fetch(&[(tp, from)]), tp, count)
    }

    fn ends(&self, tp: &TopicPartition) -> (i64, i64) {
        let admin = self.broker.admin();
        let asked = std::slice::from_ref(tp);
        let start = admin.start_offsets(asked).expect("start offsets");
        (start[0], admin.end_offsets(asked).expect("end offsets")[0])
    }
}

fn append_all(sink: &mut dyn Sink, tp: &TopicPartition, values: impl IntoIterator<Item = String>) {
    let to = sink.open(tp).expect("open a partition");
    for (index, value) in values.into_iter().enumerate() {
        sink.append(to, index as i64 + 1, None, Some(value.as_bytes()), &[])
            .expect("append");
    }
}

fn values(range: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    range.map(|index| format!("value {index}"))
}

/// Polls until an event of another kind than records comes, or `enough` records have come.
fn poll_until(
    fetch: &mut dyn Fetch,
    mut enough: impl FnMut(&TopicPartition, Vec<Plain>, i64) -> bool,
) -> Option<FetchEvent> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut events = Vec::new();
        fetch.poll(Duration::from_millis(100), &mut events).expect("poll");
        for event in events {
            let FetchEvent::Chunk {
                partition,
                chunk,
                next,
                high_watermark,
            } = event
            else {
                return Some(event);
            };
            assert!(
                next <= high_watermark,
                "position {next} behind the end {high_watermark}"
            );
            assert_eq!(
                (&partition.topic, partition.partition),
                (chunk.topic(), chunk.partition())
            );
            let plain = chunk.records().iter().map(|record| Plain {
                offset: record.offset,
                timestamp: record.timestamp,
                key: chunk.key(record).map(<[u8]>::to_vec),
                value: chunk.value(record).map(<[u8]>::to_vec),
                headers: chunk.header_block(record).to_vec(),
            });
            let plain: Vec<_> = plain.collect();
            assert!(
                plain.last().is_none_or(|last| last.offset < next),
                "position {next} before its records' end"
            );
            if enough(&partition, plain, next) {
                return None;
            }
        }
        assert!(Instant::now() < deadline, "records did not come in {PATIENCE:?}");
    }
}

fn take(fetch: &mut dyn Fetch, tp: &TopicPartition, count: usize) -> Vec<Plain> {
    let mut got = Vec::new();
    let event = poll_until(fetch, |partition, records, _| {
        assert_eq!(partition, tp, "records of a partition that is not assigned");
        got.extend(records);
        got.len() >= count
    });
    assert!(event.is_none(), "{event:?}");
    assert_eq!(got.len(), count, "too many records");
    got
}

fn texts(records: &[Plain]) -> Vec<String> {
    let text = |record: &Plain| String::from_utf8_lossy(record.value.as_deref().unwrap_or(b"null")).into_owned();
    records.iter().map(text).collect()
}

fn kind<T>(result: Result<T, Fault>) -> Option<FaultKind> {
    result.err().map(|fault| fault.kind)
}
