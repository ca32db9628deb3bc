//! Topics that are new, changed or gone.

use std::sync::mpsc;
use std::time::Duration;

use millstream_integration_tests::kafka;
use millstream_processor::broker::kafka::{KafkaBroker, KafkaSettings};
use millstream_processor::broker::{Broker as _, FaultKind, SinkConfig};
use millstream_processor::config::KafkaProduce;

use crate::two_brokers::with_two_brokers;
use crate::writer::{PATIENCE, Writer, topic};

crate::through_each_client!(
    a_new_topic_of_200_partitions_is_written_at_once,
    a_topic_that_takes_smaller_batches_from_now_on_loses_nothing,
    a_topic_that_is_deleted_is_told_within_the_delivery_timeout,
);

/// Its leaders are not elected everywhere yet, or not known.
fn a_new_topic_of_200_partitions_is_written_at_once(client: KafkaProduce) {
    with_two_brokers(|brokers| {
        let spec = topic("new", 200, 1);
        let mut writer = Writer::new(brokers.connect(client), SinkConfig::default(), &spec);
        for _ in 0..3 {
            writer = writer.at_work(|writer| writer.commit(1000)).done();
        }
        writer.check_without_faults();
        writer.broker().admin().delete(&spec.name).expect("to delete it");
    });
}

/// The sink cuts the batches anew, or says which setting is in the way; a new one sees the topic as it is.
fn a_topic_that_takes_smaller_batches_from_now_on_loses_nothing(client: KafkaProduce) {
    with_two_brokers(|brokers| {
        let mut writer = Writer::new(brokers.connect(client), SinkConfig::default(), &topic("smaller", 2, 1));
        writer.commit(1000);
        let less = [
            "--alter",
            "--add-config",
            "max.message.bytes=8000",
            "--entity-type",
            "topics",
        ];
        let which = ["--entity-name", writer.topic()];
        let set = brokers
            .cluster
            .tool("kafka.admin.ConfigCommand", &[&less[..], &which].concat());
        set.expect("a smaller limit");
        let writer = writer.at_work(|writer| writer.commit(2000)).done();
        for fault in &writer.faults {
            let text = fault.to_string();
            assert_eq!(fault.kind, FaultKind::Misuse, "{text}");
            assert!(
                text.contains(writer.topic()) && text.contains("max.message.bytes"),
                "{text}"
            );
        }
        assert!(
            writer.faults.len() <= 1,
            "a new sink knows the limit: {:?}",
            writer.faults
        );
        writer.check();
    });
}

fn a_topic_that_is_deleted_is_told_within_the_delivery_timeout(client: KafkaProduce) {
    let Some(server) = kafka::shared() else { return };
    let settings = KafkaSettings::new(server.bootstrap()).writing_with(client);
    let broker = KafkaBroker::new(settings).expect("clients");
    let config = SinkConfig {
        delivery_timeout: Duration::from_secs(3),
        ..SinkConfig::default()
    };
    let mut writer = Writer::new(broker, config, &topic("deleted", 2, 1));
    writer.commit(500);
    writer.broker().admin().delete(writer.topic()).expect("to delete it");
    let (tell, told) = mpsc::channel();
    let _at_work = writer.at_work(move |writer| {
        let fault = writer.try_commit(500).expect_err("the topic is gone");
        let _ = tell.send((writer.topic().to_owned(), fault.kind, fault.to_string()));
    });
    let (topic, kind, text) = told.recv_timeout(PATIENCE).expect("a fault");
    assert!(matches!(kind, FaultKind::Misuse | FaultKind::Retry), "{kind:?}: {text}");
    assert!(text.contains(&topic), "it does not say which topic: {text}");
}
