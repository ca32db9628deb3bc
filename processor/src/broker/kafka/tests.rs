//! The contract on a real Kafka, where one is given.

use super::*;
use crate::broker::contract::{self, Subject};

#[test]
fn the_contract_on_kafka() {
    let Some(bootstrap) = std::env::var("KAFKA_BOOTSTRAP_SERVERS")
        .ok()
        .filter(|value| value.contains(':'))
    else {
        return;
    };
    let broker = KafkaBroker::new(KafkaSettings::new(bootstrap)).unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let prefix = format!("contract-{:x}-{:x}", now.as_millis(), std::process::id());
    contract::run(&Subject {
        broker: &broker,
        prefix,
        atomic: false,
        epoch: false,
    });
}
