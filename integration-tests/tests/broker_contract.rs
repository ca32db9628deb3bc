//! The contract of the seam to the log, on a real Apache Kafka. The embedded log passes it beside its own code.

use millstream_integration_tests::kafka;
use millstream_processor::broker::contract::{self, Subject};
use millstream_processor::broker::kafka::{KafkaBroker, KafkaSettings};

#[test]
fn the_contract_on_kafka() {
    let Some(server) = kafka::shared() else { return };
    let broker = KafkaBroker::new(KafkaSettings::new(server.bootstrap())).expect("clients");
    let prefix = kafka::unique("contract");
    contract::run(&Subject {
        broker: &broker,
        prefix,
        atomic: false,
        epoch: false,
    });
}
