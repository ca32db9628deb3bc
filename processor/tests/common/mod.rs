//! A log in memory with a fleet's messages in it, the job that is run over them, and what it must write.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

pub mod faults;
pub mod late_offsets;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use millstream_processor::app::{App, Components, RunUntil, StopHandle};
use millstream_processor::broker::local::LocalLog;
use millstream_processor::broker::{
    Broker, FetchConfig, FetchEvent, GroupToken, SinkConfig, TopicPartition, TopicSpec,
};
use millstream_processor::clock::{Clock, VirtualClock};
use millstream_processor::config::{Config, ConfigBuilder};
use millstream_processor::engines::{Engines, MemoryEngines};
use millstream_processor::partitioner::partition_for;
use millstream_processor::stream_thread::ProgressHook;
use millstream_processor::{Error, Summary};
use millstream_state::codec::I64;
use millstream_topology::aggregate::Fold;
use millstream_topology::options::{Consumed, Grouped, Materialized, Produced, Repartitioned};
use millstream_topology::{EmitStrategy, Plan, StreamBuilder, TimeWindows};

/// When every test happens.
pub const NOW: i64 = 1_800_000_000_000;
/// Partitions of the source topic.
pub const PARTITIONS: i32 = 4;

/// Key, value, timestamp.
pub type Message = (i64, i64, i64);
/// Key bytes, value bytes, timestamp.
pub type Output = (Vec<u8>, Option<Vec<u8>>, i64);

/// A new log with the topics of [`job`].
pub fn new_log() -> LocalLog {
    let log = LocalLog::in_memory(Arc::new(|| NOW)).unwrap();
    for topic in ["messages", "totals", "hourly", "late"] {
        log.admin().create(&TopicSpec::new(topic, PARTITIONS)).unwrap();
    }
    log
}

/// Messages of some vehicles over some hours: each vehicle's own are in order, vehicles differ by up to ten minutes.
pub fn fleet(vehicles: i64, minutes: i64) -> Vec<Message> {
    let mut messages = Vec::new();
    for minute in 0..minutes {
        for vehicle in 0..vehicles {
            let lag = (vehicle * 7919) % 600_000;
            messages.push((vehicle, vehicle * 31 + minute, NOW - 86_400_000 + minute * 60_000 - lag));
        }
    }
    messages
}

/// Writes messages to the source topic, by key.
pub fn produce(log: &LocalLog, messages: &[Message]) {
    let mut sink = log.sink(&SinkConfig::default()).unwrap();
    for (key, value, timestamp) in messages {
        let key = key.to_be_bytes();
        let to = sink
            .open(&TopicPartition::new("messages", partition_for(&key, PARTITIONS)))
            .unwrap();
        sink.append(to, *timestamp, Some(&key), Some(&value.to_be_bytes()), &[])
            .unwrap();
    }
    sink.commit(&GroupToken::alone("producer"), &mut |_| Vec::new())
        .unwrap();
}

/// Groups vehicles by depot (key modulo 10, so through a repartition topic), keeps a running total per depot, and sums
/// each hour when it is over.
pub fn job() -> Plan {
    let builder = StreamBuilder::new();
    let messages = builder.stream("messages", Consumed::with(I64, I64));
    let depots = messages
        .select_key(|vehicle, _| vehicle % 10)
        .repartition(Repartitioned::with(I64, I64).named("depots"));
    let grouped = depots.group_by_key(Grouped::with(I64, I64));
    grouped
        .aggregate(
            Fold::new(|| 0, |sum, _, value| *sum += value),
            Materialized::with(I64, I64).named("totals"),
        )
        .to("totals", Produced::with(I64, I64));
    grouped
        .windowed_by(TimeWindows::of_size(Duration::from_secs(3600)).grace(Duration::from_secs(900)))
        .emit(EmitStrategy::OnWindowClose)
        .late_to("late", Produced::with(I64, I64))
        .aggregate(
            Fold::new(|| 0, |sum, _, value| *sum += value),
            Materialized::with(I64, I64).named("hourly"),
        )
        .to("hourly", Produced::with(I64, I64));
    builder.build("fleet").unwrap()
}

/// What a run may differ in.
pub fn config() -> ConfigBuilder {
    Config::builder()
        .set("application.id", "fleet")
        .set("poll.ms", 5)
        .set("max.event.time.skew.ms", 60_000)
}

/// Runs the job over everything that is in the log.
pub fn run(log: &LocalLog, config: ConfigBuilder) -> Result<Summary, Error> {
    run_with(Arc::new(log.clone()), config, Arc::new(MemoryEngines::default()))
}

/// As [`run`], over this broker and this state.
pub fn run_with(broker: Arc<dyn Broker>, config: ConfigBuilder, engines: Arc<dyn Engines>) -> Result<Summary, Error> {
    app(broker, config, engines).run(RunUntil::EndOfInput)
}

/// The application, with a clock that stands still.
pub fn app(broker: Arc<dyn Broker>, config: ConfigBuilder, engines: Arc<dyn Engines>) -> App {
    let components = Components {
        events: None,
        clock: Arc::new(VirtualClock::at(NOW)),
        engines,
        progress: None,
    };
    App::new(job(), config.build().unwrap(), broker, components)
}

/// All records of a topic, partition by partition.
pub fn read(log: &LocalLog, topic: &str) -> Vec<Vec<Output>> {
    let count = log.admin().describe(topic).unwrap().map_or(0, |info| info.partitions);
    let partitions: Vec<TopicPartition> = (0..count).map(|p| TopicPartition::new(topic, p)).collect();
    let ends = log.admin().end_offsets(&partitions).unwrap();
    let mut fetch = log.fetch(&FetchConfig::default()).unwrap();
    let mut all = vec![Vec::new(); partitions.len()];
    for (partition, end) in partitions.iter().zip(ends) {
        fetch.assign(&[(partition.clone(), Some(0))]).unwrap();
        let mut position = 0;
        while position < end {
            let mut events = Vec::new();
            fetch.poll(Duration::from_secs(10), &mut events).unwrap();
            for event in events {
                let FetchEvent::Chunk { chunk, next, .. } = event else {
                    panic!("{event:?}")
                };
                position = next;
                let out = |record| -> Output {
                    let record: &millstream_processor::broker::RawRecord = record;
                    (
                        chunk.key(record).unwrap_or_default().to_vec(),
                        chunk.value(record).map(<[u8]>::to_vec),
                        record.timestamp,
                    )
                };
                all[partition.partition as usize].extend(chunk.records().iter().map(out));
            }
        }
        fetch.assign(&[(partition.clone(), None)]).unwrap();
    }
    all
}

/// The last value of each key.
pub fn latest(log: &LocalLog, topic: &str) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
    read(log, topic)
        .into_iter()
        .flatten()
        .map(|(key, value, _)| (key, value))
        .collect()
}

/// All records of a topic, sorted: for what must be the same whatever the order of threads.
pub fn sorted(log: &LocalLog, topic: &str) -> Vec<Output> {
    let mut all: Vec<Output> = read(log, topic).concat();
    all.sort();
    all
}

fn bytes(number: i64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// The totals the job must end with, by a plain loop.
pub fn expected_totals(messages: &[Message]) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
    let mut sums: BTreeMap<i64, i64> = BTreeMap::new();
    for (vehicle, value, _) in messages {
        *sums.entry(vehicle % 10).or_default() += value;
    }
    sums.into_iter()
        .map(|(depot, sum)| (bytes(depot), Some(bytes(sum))))
        .collect()
}

/// The hours the job must write when nothing is late, by a plain loop: keys in Kafka Streams' layout.
pub fn expected_hours(messages: &[Message]) -> Vec<Output> {
    let mut sums: BTreeMap<(i64, i64), (i64, i64)> = BTreeMap::new();
    for (vehicle, value, timestamp) in messages {
        let hour = timestamp - timestamp.rem_euclid(3_600_000);
        let sum = sums.entry((vehicle % 10, hour)).or_insert((0, 0));
        *sum = (sum.0 + value, sum.1.max(*timestamp));
    }
    let row = |((depot, hour), (sum, timestamp)): ((i64, i64), (i64, i64))| {
        ([bytes(depot), bytes(hour)].concat(), Some(bytes(sum)), timestamp)
    };
    let mut rows: Vec<Output> = sums.into_iter().map(row).collect();
    rows.sort();
    rows
}

/// Checks everything the job has written about these messages.
pub fn check(log: &LocalLog, messages: &[Message]) {
    assert_eq!(latest(log, "totals"), expected_totals(messages));
    assert_eq!(sorted(log, "late"), [], "nothing may be late");
    assert_eq!(sorted(log, "hourly"), expected_hours(messages));
}

/// A clock that moves a little whenever somebody looks at its hands; the date stays.
#[derive(Debug, Default)]
pub struct TickingClock(AtomicU64);

impl Clock for TickingClock {
    fn now(&self) -> i64 {
        NOW
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.fetch_add(1, Ordering::SeqCst))
    }
}

/// A progress hook that stops the application, given later, when nothing is left to read and all is committed.
pub fn stop_when_all_is_read() -> (Arc<OnceLock<StopHandle>>, ProgressHook) {
    let stop = Arc::new(OnceLock::<StopHandle>::new());
    let handle = stop.clone();
    let quiet = AtomicU64::new(0);
    let hook: ProgressHook = Arc::new(move |progress| {
        let done = progress.lag == 0 && progress.records_in > 0;
        // What is in flight between two tasks shows as lag only after a commit, so all must be quiet for a while.
        let calls = if done {
            quiet.fetch_add(1, Ordering::SeqCst)
        } else {
            quiet.swap(0, Ordering::SeqCst)
        };
        if calls >= 3
            && let Some(stop) = handle.get()
        {
            stop.stop();
        }
    });
    (stop, hook)
}
