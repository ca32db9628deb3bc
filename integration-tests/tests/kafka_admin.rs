//! Questions about topics and offsets while a broker is gone: whoever is there answers, and a job that starts then runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use millstream_integration_tests::kafka;
use millstream_integration_tests::kafka::cluster::{Cluster, End};
use millstream_processor::broker::kafka::{KafkaBroker, KafkaSettings};
use millstream_processor::broker::{
    Admin, Broker, FetchConfig, FetchEvent, GroupToken, OffsetCommit, SinkConfig, TopicPartition, TopicSpec,
};
use millstream_processor::config::Config;
use millstream_processor::engines::MemoryEngines;
use millstream_processor::{App, Components, RunUntil};
use millstream_state::codec::I64;
use millstream_topology::options::{Consumed, Grouped, Materialized, Produced};
use millstream_topology::{Plan, StreamBuilder};

/// Which broker a client turns to is its own choice. All of so many do not choose the one that stays.
const CLIENTS: usize = 4;
const GROUP: &str = "readers";

/// Clients that know the cluster: each has asked all the questions before.
fn clients(cluster: &Cluster, topic: &str) -> Vec<KafkaBroker> {
    // Shorter than the usual 5 s: the tests wait for it many times.
    let turn = [("socket.timeout.ms".to_owned(), "2000".to_owned())];
    let settings = KafkaSettings {
        admin: turn.to_vec(),
        consumer: turn.to_vec(),
        ..KafkaSettings::new(cluster.bootstrap())
    };
    let made = (0..CLIENTS).map(|_| KafkaBroker::new(settings.clone()).expect("clients"));
    let clients: Vec<KafkaBroker> = made.collect();
    let spec = TopicSpec {
        replication: Some(2),
        ..TopicSpec::new(topic, 4)
    };
    clients[0].admin().create(&spec).expect("a topic");
    clients.iter().for_each(|client| ask(client.admin(), topic));
    clients
}

/// Every question and change there is.
fn ask(admin: &dyn Admin, topic: &str) {
    let partitions: Vec<_> = (0..4).map(|index| TopicPartition::new(topic, index)).collect();
    let all = admin.topics().expect("all topics");
    assert!(all.iter().any(|info| &*info.name == topic), "{all:?}");
    assert_eq!(
        admin.describe(topic).expect("the topic").map(|info| info.partitions),
        Some(4)
    );
    assert_eq!(admin.bounds(&partitions).expect("bounds"), [(0, 0); 4]);
    let committed = admin.committed(GROUP, &partitions).expect("committed offsets");
    assert_eq!(committed, [None, None, None, None]);
    let nothing: Vec<_> = partitions.into_iter().map(|partition| (partition, 0)).collect();
    admin.delete_records(&nothing).expect("to delete no records");
    let other = TopicSpec {
        replication: Some(1),
        ..TopicSpec::new(kafka::unique("other"), 1)
    };
    admin.create(&other).expect("another topic");
    admin.delete(&other.name).expect("to delete it");
    assert_eq!(admin.describe(&other.name).expect("no topic"), None);
}

#[test]
fn what_one_broker_has_confirmed_no_other_denies() {
    let Some(cluster) = kafka::cluster(2, |port| port) else {
        return;
    };
    let topic = kafka::unique("changed");
    let clients = clients(&cluster, &topic);
    for admin in clients.iter().map(KafkaBroker::admin).cycle().take(20) {
        let spec = TopicSpec::new(kafka::unique("short-lived"), 1);
        admin.create(&spec).expect("a topic");
        assert_eq!(admin.partition_count(&spec.name).expect("it is there"), Some(1));
        assert!(admin.partition_counts().expect("topics").contains_key(&spec.name));
        admin.delete(&spec.name).expect("to delete it");
        assert_eq!(admin.partition_count(&spec.name).expect("it is gone"), None);
        assert!(!admin.partition_counts().expect("topics").contains_key(&spec.name));
    }
}

#[test]
fn a_broker_that_has_died_is_not_waited_for() {
    let Some(mut cluster) = kafka::cluster(2, |port| port) else {
        return;
    };
    let topic = kafka::unique("died");
    let clients = clients(&cluster, &topic);
    for broker in [1, 2] {
        cluster.stop(broker, End::Killed).expect("kill a broker");
        clients.iter().for_each(|client| ask(client.admin(), &topic));
        cluster.restart(broker).expect("restart it");
        cluster.wait_for_replicas().expect("replicas in step");
    }
}

#[test]
fn a_broker_that_stands_still_is_not_waited_for() {
    let Some(mut cluster) = kafka::cluster(2, |port| port) else {
        return;
    };
    let topic = kafka::unique("still");
    let clients = clients(&cluster, &topic);
    cluster.freeze(1).expect("freeze a broker");
    clients.iter().for_each(|client| ask(client.admin(), &topic));
}

/// Until their broker is back nobody knows where such partitions end. That they do not exist would be a wrong answer: it
/// stops an application for good.
#[test]
fn a_fresh_client_waits_for_partitions_that_have_no_leader() {
    let Some(mut cluster) = kafka::cluster(2, |port| port) else {
        return;
    };
    let topic = kafka::unique("alone");
    let fresh = || KafkaBroker::new(KafkaSettings::new(cluster.bootstrap())).expect("clients");
    let (before, after) = (fresh(), fresh());
    let spec = TopicSpec {
        replication: Some(1),
        ..TopicSpec::new(topic.as_str(), 4)
    };
    before.admin().create(&spec).expect("a topic");
    cluster.stop(2, End::Killed).expect("kill a broker");
    let describe = ["--describe", "--unavailable-partitions"];
    let without_leader = || cluster.tool("org.apache.kafka.tools.TopicCommand", &describe);
    while !without_leader().expect("partitions").contains(&topic) {}
    let partitions: Vec<_> = (0..4).map(|index| TopicPartition::new(topic.as_str(), index)).collect();
    thread::scope(|scope| {
        let asking = scope.spawn(|| after.admin().bounds(&partitions));
        cluster.restart(2).expect("restart it");
        assert_eq!(asking.join().expect("no panic").expect("bounds"), [(0, 0); 4]);
    });
}

const KEYS: i64 = 10;
const OF_EACH: i64 = 100;

/// Counts the numbers of each key.
fn job(application: &str, numbers: &str, counts: &str) -> Plan {
    let builder = StreamBuilder::new();
    builder
        .stream::<i64, i64>(numbers, Consumed::with(I64, I64))
        .group_by_key(Grouped::with(I64, I64))
        .count(Materialized::with(I64, I64).named("counts"))
        .to(counts, Produced::with(I64, I64));
    builder.build(application).expect("a topology")
}

/// Writes each number once more and, so that the brokers make their topic of offsets, commits one of a group that nobody
/// asks about.
fn write_numbers(broker: &KafkaBroker, topic: &str) {
    let mut sink = broker.sink(&SinkConfig::default()).expect("a sink");
    for number in 0..KEYS * OF_EACH {
        let key = number % KEYS;
        let partition = TopicPartition::new(topic, key as i32 % 4);
        let to = sink.open(&partition).expect("a partition");
        sink.append(
            to,
            number + 1,
            Some(&key.to_be_bytes()),
            Some(&number.to_be_bytes()),
            &[],
        )
        .expect("append");
    }
    let some = OffsetCommit {
        partition: TopicPartition::new(topic, 0),
        offset: 0,
        metadata: String::new(),
    };
    let group = GroupToken::alone(GROUP);
    sink.commit(&group, &mut |_| vec![some.clone()]).expect("commit");
}

/// The last value of each key of a topic that has one partition.
fn latest(broker: &dyn Broker, topic: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let partition = TopicPartition::new(topic, 0);
    let end = broker
        .admin()
        .end_offsets(std::slice::from_ref(&partition))
        .expect("its end")[0];
    let mut fetch = broker.fetch(&FetchConfig::default()).expect("a reader");
    fetch.assign(&[(partition, Some(0))]).expect("assign");
    let (mut latest, mut position) = (BTreeMap::new(), 0);
    let deadline = Instant::now() + Duration::from_secs(60);
    while position < end {
        assert!(Instant::now() < deadline, "read up to {position} of {end}");
        let mut events = Vec::new();
        fetch.poll(Duration::from_secs(1), &mut events).expect("poll");
        for event in events {
            let FetchEvent::Chunk { chunk, next, .. } = event else {
                panic!("{event:?}");
            };
            position = next;
            let bytes = |part: Option<&[u8]>| part.unwrap_or_default().to_vec();
            let pairs = chunk
                .records()
                .iter()
                .map(|record| (bytes(chunk.key(record)), bytes(chunk.value(record))));
            latest.extend(pairs);
        }
    }
    latest
}

/// Nothing of the application has asked the brokers anything before, and its changelog is yet to be made.
#[test]
fn a_job_starts_and_ends_while_one_of_two_brokers_is_dead() {
    let Some(mut cluster) = kafka::cluster(2, |port| port) else {
        return;
    };
    let numbers = kafka::unique("numbers");
    let spec = TopicSpec {
        replication: Some(2),
        ..TopicSpec::new(numbers.as_str(), 4)
    };
    let before = KafkaBroker::new(KafkaSettings::new(cluster.bootstrap())).expect("clients");
    before.admin().create(&spec).expect("a topic");
    write_numbers(&before, &numbers);
    cluster.wait_for_replicas().expect("replicas in step");
    cluster.stop(1, End::Killed).expect("kill a broker");
    // Acknowledged when all partitions have a leader: the cluster has seen that the broker is dead.
    write_numbers(&before, &numbers);
    for _ in 0..CLIENTS {
        let fresh = || KafkaBroker::new(KafkaSettings::new(cluster.bootstrap())).expect("clients");
        let (application, counts) = (kafka::unique("counting"), kafka::unique("counts"));
        fresh()
            .admin()
            .create(&TopicSpec::new(counts.as_str(), 1))
            .expect("a topic");
        let config = Config::builder()
            .set("application.id", &application)
            .set("bootstrap.servers", cluster.bootstrap());
        let config = config.build().expect("a configuration");
        let components = Components::new(Arc::new(MemoryEngines::default()));
        let app = App::new(
            job(&application, &numbers, &counts),
            config,
            Arc::new(fresh()),
            components,
        );
        let summary = app.run(RunUntil::EndOfInput).expect("it runs");
        assert_eq!(summary.progress.records_in, (2 * KEYS * OF_EACH) as u64);
        let expected = (0..KEYS).map(|key| (key.to_be_bytes().to_vec(), (2 * OF_EACH).to_be_bytes().to_vec()));
        assert_eq!(latest(&fresh(), &counts), expected.collect());
    }
}
