//! Against librdkafka's mock cluster, which errs on demand.

use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::broker::fault::FaultKind;

/// A broker that has just become a leader may not know of it yet.
#[test]
fn a_partition_that_exists_is_asked_for_again_when_its_broker_does_not_know_it_yet() {
    let cluster = MockCluster::new(1).expect("a mock cluster");
    cluster.create_topic("there", 1, 1).expect("a topic");
    let settings = Arc::new(KafkaSettings::new(cluster.bootstrap_servers()));
    let admin = KafkaAdmin::new(&settings, Arc::new(Groups::new(settings.clone()))).expect("a client");
    let partition = [TopicPartition::new("there", 0)];
    let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    cluster.request_errors(RDKafkaApiKey::ListOffsets, &[unknown; 4]);
    assert_eq!(admin.end_offsets(&partition).expect("its end"), [0]);
    let missing = admin.end_offsets(&[TopicPartition::new("there", 7)]).expect_err("none");
    assert_eq!(missing.kind, FaultKind::Misuse, "{missing}");
}
