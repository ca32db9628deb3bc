//! The contract of the seam to the log, on a real Apache Kafka and with both clients that can read it and write it. The
//! embedded log passes it beside its own code.

use millstream_integration_tests::kafka;
use millstream_processor::broker::contract::{self, Subject};
use millstream_processor::broker::kafka::{KafkaBroker, KafkaSettings};
use millstream_processor::config::{KafkaFetch, KafkaProduce};

fn hold(fetch: KafkaFetch, produce: KafkaProduce) {
    let Some(server) = kafka::shared() else { return };
    let settings = KafkaSettings::new(server.bootstrap())
        .reading_with(fetch)
        .writing_with(produce);
    let broker = KafkaBroker::new(settings).expect("clients");
    let prefix = kafka::unique("contract");
    contract::run(&Subject {
        broker: &broker,
        prefix,
        atomic: false,
        epoch: produce == KafkaProduce::Native,
    });
}

#[test]
fn the_contract_on_kafka_by_ourselves() {
    hold(KafkaFetch::Native, KafkaProduce::Native);
}

#[test]
fn the_contract_on_kafka_read_by_ourselves() {
    hold(KafkaFetch::Native, KafkaProduce::Librdkafka);
}

#[test]
fn the_contract_on_kafka_written_by_ourselves() {
    hold(KafkaFetch::Librdkafka, KafkaProduce::Native);
}

#[test]
fn the_contract_on_kafka_by_its_c_client() {
    hold(KafkaFetch::Librdkafka, KafkaProduce::Librdkafka);
}
