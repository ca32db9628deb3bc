//! Our own reader of Kafka against librdkafka's, on real brokers: the same records, whatever was written and whatever
//! happens to the brokers and the network meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use millstream_integration_tests::kafka;
use millstream_integration_tests::kafka::cluster::{Cluster, End};
use millstream_integration_tests::kafka::proxy::{Link, Proxy};
use millstream_processor::broker::kafka::history::{self, Plan};
use millstream_processor::broker::kafka::{KafkaBroker, KafkaSettings};
use millstream_processor::broker::{
    Broker, Fetch, FetchConfig, FetchEvent, GroupToken, SinkConfig, TopicPartition, TopicSpec,
};
use millstream_processor::config::KafkaFetch;

const PATIENCE: Duration = Duration::from_secs(90);

/// A record: offset, timestamp, key, value, headers.
type Record = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<u8>);

fn connect(bootstrap: &str, fetch: KafkaFetch, consumer: &[(&str, &str)]) -> KafkaBroker {
    let mut settings = KafkaSettings::new(bootstrap).reading_with(fetch);
    settings.consumer = consumer
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect();
    KafkaBroker::new(settings).expect("clients")
}

fn native(bootstrap: &str) -> KafkaBroker {
    connect(bootstrap, KafkaFetch::Native, &[])
}

fn small(bytes: usize) -> FetchConfig {
    FetchConfig {
        max_partition_bytes: bytes,
        max_poll_bytes: 4 * bytes,
        ..FetchConfig::default()
    }
}

fn create(broker: &KafkaBroker, what: &str, partitions: i32, replication: i16) -> Vec<TopicPartition> {
    let spec = TopicSpec {
        replication: Some(replication),
        ..TopicSpec::new(kafka::unique(what), partitions)
    };
    broker.admin().create(&spec).expect("a topic");
    (0..partitions)
        .map(|index| TopicPartition::new(spec.name.clone(), index))
        .collect()
}

/// Writes numbered values to each partition.
fn write(broker: &KafkaBroker, partitions: &[TopicPartition], numbers: std::ops::Range<u64>) {
    let mut sink = broker.sink(&SinkConfig::default()).expect("a sink");
    for tp in partitions {
        let to = sink.open(tp).expect("a partition");
        for number in numbers.clone() {
            let value = format!("{number:0100}");
            sink.append(to, number as i64 + 1, None, Some(value.as_bytes()), &[])
                .expect("append");
        }
    }
    let nobody = GroupToken::alone("writer");
    sink.commit(&nobody, &mut |_| Vec::new()).expect("commit");
}

/// A reader and what it has read.
struct Reader {
    fetch: Box<dyn Fetch>,
    got: BTreeMap<TopicPartition, Vec<Record>>,
    next: BTreeMap<TopicPartition, i64>,
}

impl Reader {
    fn new(broker: &KafkaBroker, config: &FetchConfig, from: &[(TopicPartition, i64)]) -> Self {
        let mut fetch = broker.fetch(config).expect("a reader");
        let diff: Vec<_> = from.iter().map(|(tp, at)| (tp.clone(), Some(*at))).collect();
        fetch.assign(&diff).expect("assign");
        Self {
            fetch,
            got: from.iter().map(|(tp, _)| (tp.clone(), Vec::new())).collect(),
            next: from.iter().cloned().collect(),
        }
    }

    fn from_start(broker: &KafkaBroker, config: &FetchConfig, partitions: &[TopicPartition]) -> Self {
        let from: Vec<_> = partitions.iter().map(|tp| (tp.clone(), 0)).collect();
        Self::new(broker, config, &from)
    }

    /// One poll; an event that is no chunk is returned.
    fn poll(&mut self, timeout: Duration) -> Option<FetchEvent> {
        let mut events = Vec::new();
        self.fetch.poll(timeout, &mut events).expect("poll");
        for event in events {
            let FetchEvent::Chunk {
                partition, chunk, next, ..
            } = event
            else {
                return Some(event);
            };
            let records = chunk.records().iter().map(|record| {
                (
                    record.offset,
                    record.timestamp,
                    chunk.key(record).map(<[u8]>::to_vec),
                    chunk.value(record).map(<[u8]>::to_vec),
                    chunk.header_block(record).to_vec(),
                )
            });
            self.got
                .get_mut(&partition)
                .expect("an assigned partition")
                .extend(records);
            let before = self.next.insert(partition, next);
            assert!(before < Some(next), "a position went back from {before:?} to {next}");
        }
        None
    }

    fn poll_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(
                Instant::now() < deadline,
                "not in {PATIENCE:?}: {what}; positions {:?}",
                self.next
            );
            let event = self.poll(Duration::from_millis(100));
            assert!(event.is_none(), "{event:?}");
        }
    }

    fn poll_for_event(&mut self) -> FetchEvent {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "nothing was told in {PATIENCE:?}");
            if let Some(event) = self.poll(Duration::from_millis(100)) {
                return event;
            }
        }
    }

    /// Reads until each partition has this many records, and checks that they are the numbers from 0.
    fn read_numbers(&mut self, count: u64) {
        let all = |reader: &Self| reader.got.values().all(|records| records.len() >= count as usize);
        self.poll_until(&format!("{count} records"), all);
        for (tp, records) in &self.got {
            for (number, record) in records.iter().enumerate() {
                let value = format!("{number:0100}").into_bytes();
                assert_eq!((record.0, record.3.as_ref()), (number as i64, Some(&value)), "{tp}");
            }
            assert_eq!(records.len(), count as usize, "too many records of {tp}");
        }
    }
}

#[test]
fn a_random_history_is_the_same_through_both_clients() {
    let Some(server) = kafka::shared() else { return };
    for seed in [1, 2] {
        let broker = native(server.bootstrap());
        let partitions = create(&broker, "history", 3, 1);
        let expected = history::write(&Plan {
            bootstrap: server.bootstrap().into(),
            topic: partitions[0].topic.to_string(),
            partitions: 3,
            seed,
            steps: 400,
        });
        let theirs = connect(server.bootstrap(), KafkaFetch::Librdkafka, &[]);
        let mut reader = Reader::from_start(&theirs, &FetchConfig::default(), &partitions);
        let total: usize = expected.iter().map(|(_, numbers)| numbers.len()).sum();
        reader.poll_until("the history", |reader| {
            reader.got.values().map(Vec::len).sum::<usize>() >= total
        });
        for (tp, numbers) in &expected {
            let read: BTreeSet<u64> = reader.got[tp].iter().map(number).collect();
            assert_eq!(&read, numbers, "seed {seed}: {tp} through librdkafka");
        }
        for bytes in [1 << 10, 64 << 10, 2 << 20] {
            compare(&broker, &reader.got, &partitions, bytes, &[0, 1, 7, 500]);
        }
    }
}

/// Who does not wait for the end of transactions reads what they have written, whatever becomes of them.
#[test]
fn what_was_aborted_is_read_by_who_asks_for_it() {
    let Some(server) = kafka::shared() else { return };
    let uncommitted = [("isolation.level", "read_uncommitted")];
    let broker = connect(server.bootstrap(), KafkaFetch::Native, &uncommitted);
    let partitions = create(&broker, "uncommitted", 3, 1);
    let committed = history::write(&Plan {
        bootstrap: server.bootstrap().into(),
        topic: partitions[0].topic.to_string(),
        partitions: 3,
        seed: 3,
        steps: 200,
    });
    let ends = broker.admin().end_offsets(&partitions).expect("end offsets");
    let theirs = connect(server.bootstrap(), KafkaFetch::Librdkafka, &uncommitted);
    let [ours, theirs] = [&broker, &theirs].map(|broker| {
        let mut reader = Reader::from_start(broker, &FetchConfig::default(), &partitions);
        reader.poll_until("the end", |reader| {
            partitions.iter().zip(&ends).all(|(tp, end)| reader.next[tp] >= *end)
        });
        reader.got
    });
    assert!(ours == theirs, "the two clients read different records");
    let mut numbers: Vec<u64> = ours.values().flatten().map(number).collect();
    numbers.sort_unstable();
    let committed: usize = committed.iter().map(|(_, numbers)| numbers.len()).sum();
    assert!(numbers.len() > committed, "nothing was aborted");
    assert!(
        numbers.iter().copied().eq(0..numbers.len() as u64),
        "not every number once"
    );
}

/// The number that a history gave a record.
fn number(record: &Record) -> u64 {
    let value = record.3.as_deref().unwrap_or_default();
    u64::from_be_bytes(*value.first_chunk().expect("a number"))
}

/// The log goes to the standard error of a process, so this is another one.
#[test]
fn what_only_librdkafka_serves_it_reads_and_the_log_says_so_once() {
    let Some(server) = kafka::shared() else { return };
    let mut reader = Command::new(env::current_exe().expect("this program"));
    reader.args(["--exact", "reads_with_a_rack", "--ignored", "--nocapture"]);
    reader
        .env(kafka::BOOTSTRAP_ENV, server.bootstrap())
        .env_remove("RUST_LOG");
    let output = reader.output().expect("run");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{log}",
        String::from_utf8_lossy(&output.stdout)
    );
    let told: Vec<&str> = log.lines().filter(|line| line.contains("kafka.fetch=native")).collect();
    assert!(matches!(told[..], [line] if line.contains("client.rack")), "{log}");
}

#[test]
#[ignore = "run by what_only_librdkafka_serves_it_reads_and_the_log_says_so_once"]
fn reads_with_a_rack() {
    let Some(server) = kafka::shared() else { return };
    millstream_cli::logging::start(0);
    let broker = connect(server.bootstrap(), KafkaFetch::Native, &[("client.rack", "here")]);
    let partitions = create(&broker, "rack", 2, 1);
    write(&broker, &partitions, 0..100);
    for _ in 0..2 {
        Reader::from_start(&broker, &FetchConfig::default(), &partitions).read_numbers(100);
    }
}

/// Reads by ourselves from some offsets on what librdkafka has read: the same bytes, up to the same end.
fn compare(
    broker: &KafkaBroker,
    theirs: &BTreeMap<TopicPartition, Vec<Record>>,
    partitions: &[TopicPartition],
    bytes: usize,
    starts: &[i64],
) {
    for start in starts {
        let ends = broker.admin().end_offsets(partitions).expect("end offsets");
        let from: Vec<_> = partitions
            .iter()
            .zip(&ends)
            .map(|(tp, end)| (tp.clone(), *start.min(end)))
            .collect();
        let mut reader = Reader::new(broker, &small(bytes), &from);
        let at_end = |reader: &Reader| partitions.iter().zip(&ends).all(|(tp, end)| reader.next[tp] >= *end);
        reader.poll_until("the end", at_end);
        for ((tp, from), end) in from.iter().zip(&ends) {
            let behind: Vec<&Record> = theirs[tp].iter().filter(|record| record.0 >= *from).collect();
            assert!(
                reader.got[tp].iter().eq(behind),
                "{tp} from {from} in fetches of {bytes} bytes differs"
            );
            assert_eq!(reader.next[tp], *end, "{tp}: the position at the end");
        }
    }
}

#[test]
fn brokers_that_go_and_come_back_lose_and_repeat_nothing() {
    let Some(mut cluster) = kafka::cluster(2, |port| port) else {
        return;
    };
    let broker = native(&cluster.bootstrap());
    let partitions = create(&broker, "brokers", 4, 2);
    write(&broker, &partitions, 0..10_000);
    let mut reader = Reader::from_start(&broker, &small(16 << 10), &partitions);
    let some = |count: usize| move |reader: &Reader| reader.got.values().all(|records| records.len() >= count);
    reader.poll_until("a part", some(1000));

    // Its partitions are handed over to the other broker.
    cluster.stop(1, End::Orderly).expect("stop broker 1");
    reader.poll_until("more, from the broker that is left", some(5000));
    cluster.restart(1).expect("restart broker 1");
    cluster.wait_for_replicas().expect("replicas in step");

    // Its partitions are taken over.
    cluster.stop(2, End::Killed).expect("kill broker 2");
    reader.read_numbers(10_000);
    write(&broker, &partitions, 10_000..12_000);
    reader.read_numbers(12_000);
    cluster.restart(2).expect("restart broker 2");
}

#[test]
fn a_broker_that_restarts_is_read_on() {
    let Some(mut cluster) = kafka::cluster(1, |port| port) else {
        return;
    };
    let broker = native(&cluster.bootstrap());
    let partitions = create(&broker, "restart", 3, 1);
    write(&broker, &partitions, 0..10_000);
    let mut reader = Reader::from_start(&broker, &small(16 << 10), &partitions);
    for (how, count) in [(End::Orderly, 1000), (End::Killed, 4000)] {
        reader.poll_until("a part", |reader| {
            reader.got.values().all(|records| records.len() >= count)
        });
        cluster.stop(1, how).expect("stop");
        // Nothing can come but what is here already, and that is no error.
        assert!(reader.poll(Duration::from_millis(300)).is_none());
        cluster.restart(1).expect("restart");
    }
    reader.read_numbers(10_000);
    write(&broker, &partitions, 10_000..11_000);
    reader.read_numbers(11_000);
}

#[test]
fn a_network_that_is_cut_and_mended_is_read_on() {
    let proxy = Proxy::new().expect("a proxy");
    let advertised = |port| {
        proxy.hand_on_to(port);
        proxy.port()
    };
    let Some(_cluster) = kafka::cluster(1, advertised) else {
        return;
    };
    let broker = native(&format!("127.0.0.1:{}", proxy.port()));
    let partitions = create(&broker, "cut", 2, 1);
    write(&broker, &partitions, 0..10_000);
    let mut reader = Reader::from_start(&broker, &small(16 << 10), &partitions);
    for count in [1000, 3000, 10_000] {
        reader.poll_until("a part", |reader| {
            reader.got.values().all(|records| records.len() >= count)
        });
        let connections = proxy.connections();
        proxy.set(Link::Cut);
        assert!(reader.poll(Duration::from_millis(300)).is_none());
        proxy.set(Link::Up);
        reader.poll_until("a new connection", |_| proxy.connections() > connections);
    }
    write(&broker, &partitions, 10_000..11_000);
    reader.read_numbers(11_000);
}

#[test]
fn a_reader_that_is_throttled_reads_everything() {
    let Some(cluster) = kafka::cluster(1, |port| port) else {
        return;
    };
    let quota = [
        "--alter",
        "--add-config",
        "consumer_byte_rate=200000",
        "--entity-type",
        "clients",
        "--entity-default",
    ];
    cluster.tool("kafka.admin.ConfigCommand", &quota).expect("a quota");
    let broker = native(&cluster.bootstrap());
    let partitions = create(&broker, "throttled", 2, 1);
    write(&broker, &partitions, 0..5000);
    let mut reader = Reader::from_start(&broker, &small(64 << 10), &partitions);
    reader.read_numbers(5000);
}

#[test]
fn a_batch_that_is_damaged_on_disk_is_named() {
    let Some(cluster) = kafka::cluster(1, |port| port) else {
        return;
    };
    let broker = native(&cluster.bootstrap());
    let partitions = create(&broker, "damaged", 1, 1);
    write(&broker, &partitions, 0..10);
    write(&broker, &partitions, 10..20);
    let segment = cluster
        .data(1)
        .join(format!("{}/00000000000000000000.log", partitions[0]));
    let file = File::options()
        .read(true)
        .write(true)
        .open(&segment)
        .expect("the segment");
    let end = file.metadata().expect("its size").len();
    let mut byte = [0];
    file.read_exact_at(&mut byte, end - 20).expect("read");
    file.write_all_at(&[byte[0] ^ 1], end - 20).expect("damage");

    let mut fetch = broker.fetch(&FetchConfig::default()).expect("a reader");
    fetch.assign(&[(partitions[0].clone(), Some(0))]).expect("assign");
    let (mut events, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    let fault = loop {
        assert!(Instant::now() < deadline, "the damage was not seen: {events:?}");
        if let Err(fault) = fetch.poll(Duration::from_millis(100), &mut events) {
            break fault;
        }
    };
    let text = fault.to_string();
    assert!(
        text.contains(&partitions[0].to_string()) && text.contains("offset 10"),
        "{text}"
    );
}

/// The newest records lie on one broker alone, which dies; the other, without them, is let lead.
#[test]
fn a_log_that_was_cut_back_says_where() {
    let Some(mut cluster) = kafka::cluster(2, |port| port) else {
        return;
    };
    let broker = native(&cluster.bootstrap());
    let spec = TopicSpec {
        replication: Some(2),
        extra: vec![("unclean.leader.election.enable".into(), "true".into())],
        ..TopicSpec::new(kafka::unique("cut-back"), 1)
    };
    broker.admin().create(&spec).expect("a topic");
    let partitions = [TopicPartition::new(spec.name, 0)];
    write(&broker, &partitions, 0..100);
    cluster.wait_for_replicas().expect("replicas in step");
    let leader = leader_of(&cluster, &partitions[0].topic);
    let follower = 3 - leader;
    cluster.stop(follower, End::Killed).expect("kill the follower");
    write(&broker, &partitions, 100..200);
    let mut reader = Reader::from_start(&broker, &FetchConfig::default(), &partitions);
    reader.read_numbers(200);

    cluster.stop(leader, End::Killed).expect("kill the leader");
    cluster.restart(follower).expect("restart the follower");
    let event = reader.poll_for_event();
    assert!(matches!(event, FetchEvent::Truncated { end: 100, .. }), "{event:?}");
    reader
        .fetch
        .assign(&[(partitions[0].clone(), Some(100))])
        .expect("assign");
    for tp in &partitions {
        reader.got.get_mut(tp).expect("the partition").truncate(100);
        reader.next.insert(tp.clone(), 100);
    }
    write(&broker, &partitions, 100..150);
    reader.read_numbers(150);
}

/// A request that waits at the broker for one partition must not keep another from being read.
#[test]
fn a_partition_that_has_nothing_new_does_not_hold_others_up() {
    let Some(server) = kafka::shared() else { return };
    let wait = [("fetch.wait.max.ms", "300000")];
    let broker = connect(server.bootstrap(), KafkaFetch::Native, &wait);
    let (full, empty) = (create(&broker, "full", 1, 1), create(&broker, "empty", 1, 1));
    let numbers_of = |reader: &Reader| reader.got[&full[0]].len();
    write(&broker, &full, 0..10);
    let mut reader = Reader::from_start(&broker, &FetchConfig::default(), &[full.clone(), empty].concat());
    let deadline = Instant::now() + PATIENCE;
    for round in 1..=3 {
        while numbers_of(&reader) < 10 * round {
            assert!(
                Instant::now() < deadline,
                "round {round}: {} records",
                numbers_of(&reader)
            );
            assert!(reader.poll(Duration::from_millis(100)).is_none());
        }
        reader.fetch.pause(&full).expect("pause");
        assert!(reader.poll(Duration::from_millis(100)).is_none());
        write(&broker, &full, 0..10);
        assert!(reader.poll(Duration::from_millis(100)).is_none());
        reader.fetch.resume(&full).expect("resume");
    }
}

#[test]
fn a_topic_made_anew_under_its_name_is_another_topic() {
    let Some(server) = kafka::shared() else { return };
    let broker = native(server.bootstrap());
    let partitions = create(&broker, "anew", 1, 1);
    write(&broker, &partitions, 0..10);
    let mut reader = Reader::from_start(&broker, &FetchConfig::default(), &partitions);
    reader.read_numbers(10);
    broker.admin().delete(&partitions[0].topic).expect("delete");
    broker
        .admin()
        .create(&TopicSpec::new(partitions[0].topic.clone(), 1))
        .expect("create anew");
    write(&broker, &partitions, 0..20);
    let event = reader.poll_for_event();
    assert!(
        matches!(&event, FetchEvent::Lost { reason, .. } if reason.contains("made anew")),
        "{event:?}"
    );
}

/// The broker that leads the only partition of a topic.
fn leader_of(cluster: &Cluster, topic: &str) -> u32 {
    let text = cluster.tool("org.apache.kafka.tools.TopicCommand", &["--describe", "--topic", topic]);
    let text = text.expect("kafka-topics");
    let number = text
        .split("Leader: ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no leader: {text}"))
}
