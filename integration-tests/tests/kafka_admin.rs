//! Questions about topics and offsets while a broker is gone: whoever is there answers.

use millstream_integration_tests::kafka;
use millstream_integration_tests::kafka::cluster::{Cluster, End};
use millstream_processor::broker::kafka::{KafkaBroker, KafkaSettings};
use millstream_processor::broker::{Admin, Broker, TopicPartition, TopicSpec};

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
