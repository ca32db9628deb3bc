//! Brokers that go and come back.

use std::sync::mpsc;
use std::time::Duration;

use millstream_integration_tests::kafka::cluster::End;
use millstream_integration_tests::kafka::proxy::Link;
use millstream_processor::broker::{FaultKind, SinkConfig};
use millstream_processor::config::KafkaProduce;

use crate::two_brokers::{TwoBrokers, with_two_brokers};
use crate::writer::{PATIENCE, Writer, topic};

crate::through_each_client!(
    brokers_that_go_and_come_back_cost_nothing,
    a_broker_that_stands_still_for_a_while_costs_nothing,
    brokers_away_for_longer_than_the_delivery_timeout_are_told,
);

fn writer(brokers: &TwoBrokers, client: KafkaProduce, what: &str, replication: i16) -> Writer {
    Writer::new(
        brokers.connect(client),
        SinkConfig::default(),
        &topic(what, 4, replication),
    )
}

/// One topic has each of its partitions on one broker, which must come back; the other is led by who is left.
fn brokers_that_go_and_come_back_cost_nothing(client: KafkaProduce) {
    with_two_brokers(|brokers| {
        let mut alone = writer(brokers, client, "restart", 1);
        let mut replicated = writer(brokers, client, "new-leader", 2);
        for (broker, how) in [(1, End::Orderly), (2, End::Killed)] {
            let (waiting, going_on) = (alone.keep_on(), replicated.keep_on());
            brokers.cluster.stop(broker, how).expect("stop a broker");
            replicated = going_on.enough().done();
            brokers.cluster.restart(broker).expect("restart it");
            alone = waiting.enough().done();
            brokers.cluster.wait_for_replicas().expect("replicas in step");
        }
        let replicated = leaders_go_back(brokers, replicated);
        alone.check_without_faults();
        replicated.check_without_faults();
    });
}

/// Both brokers answer all the time, but one does not lead some partitions any more.
fn leaders_go_back(brokers: &TwoBrokers, writer: Writer) -> Writer {
    let topic = writer.topic().to_owned();
    let going_on = writer.keep_on();
    let all = ["--election-type", "preferred", "--all-topic-partitions"];
    let moved = brokers
        .cluster
        .tool("org.apache.kafka.tools.LeaderElectionCommand", &all);
    let moved = moved.expect("an election");
    assert!(moved.contains(&topic), "no leader of {topic} has moved: {moved}");
    going_on.enough().done()
}

/// It has requests that the writer has given up and sent again, and goes on with them.
fn a_broker_that_stands_still_for_a_while_costs_nothing(client: KafkaProduce) {
    with_two_brokers(|brokers| {
        let impatient = brokers.connect_with(client, &[("socket.timeout.ms", "1000")]);
        let mut writer = Writer::new(impatient, SinkConfig::default(), &topic("frozen", 4, 1));
        for (broker, network) in [(1, 0), (2, 1), (1, 0)] {
            let (going_on, network) = (writer.keep_on(), &brokers.networks[network]);
            brokers.cluster.freeze(broker).expect("freeze a broker");
            let given_up = network.wait_for_more_ends_than(network.ended(), PATIENCE);
            brokers.cluster.thaw(broker).expect("thaw it");
            assert!(
                given_up,
                "the writer still waits for broker {broker} after {PATIENCE:?}"
            );
            writer = going_on.enough().done();
        }
        writer.check_without_faults();
    });
}

fn brokers_away_for_longer_than_the_delivery_timeout_are_told(client: KafkaProduce) {
    with_two_brokers(|brokers| {
        let config = SinkConfig {
            delivery_timeout: Duration::from_secs(2),
            ..SinkConfig::default()
        };
        let mut writer = Writer::new(brokers.connect(client), config, &topic("away", 4, 1));
        writer.commit(500);
        writer.append(500).expect("append");
        brokers.networks(Link::Cut);
        let (tell, told) = mpsc::channel();
        let at_work = writer.at_work(move |writer| {
            let fault = writer.try_commit(1000).expect_err("nobody is there");
            let said = (fault.kind, fault.to_string());
            writer.rewind(fault);
            let _ = tell.send(said);
        });
        let (kind, text) = told.recv_timeout(PATIENCE).expect("a fault, and an abort");
        assert_eq!(kind, FaultKind::Retry, "{text}");
        let mut writer = at_work.done();
        assert!(
            text.contains(writer.topic()),
            "it does not say what was not written: {text}"
        );
        brokers.networks(Link::Up);
        writer.commit(2000);
        writer.check();
    });
}
