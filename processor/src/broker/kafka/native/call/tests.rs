use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint,
    PartitionData,
};
use kafka_protocol::messages::{BrokerId as KafkaBroker, ProducerId, TopicName};
use kafka_protocol::protocol::{Decodable as _, Encodable as _, StrBytes};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::broker::kafka::native::topics::TOPIC_IDS;
use crate::broker::kafka::wire::BrokerId;

fn topic(number: u128) -> TopicRef {
    TopicRef {
        name: format!("t{number}").into(),
        id: Uuid::from_u128(number),
    }
}

fn asked(topic: TopicRef, partition: i32) -> Asked {
    Asked {
        topic,
        partition,
        offset: 70 + i64::from(partition),
        leader_epoch: 4,
        last_epoch: 3,
    }
}

fn call() -> FetchCall {
    FetchCall {
        bounds: Bounds {
            wait: Duration::from_millis(500),
            min_bytes: 1,
            max_bytes: 1000,
            partition_max_bytes: 100,
            committed: true,
        },
        session: (42, 7),
        partitions: vec![asked(topic(1), 0), asked(topic(1), 1), asked(topic(2), 0)],
        forgotten: vec![(topic(3), 5)],
    }
}

#[test]
fn every_version_says_what_it_can_say() {
    for version in FetchCall::API.oldest..=FetchCall::API.newest {
        let mut bytes = BytesMut::new();
        call().write(version, &mut bytes).unwrap();
        let request = FetchRequest::decode(&mut bytes.freeze(), version).unwrap();
        assert_eq!(
            (request.max_wait_ms, request.max_bytes, request.isolation_level),
            (500, 1000, 1)
        );
        assert_eq!(
            request
                .topics
                .iter()
                .map(|topic| topic.partitions.len())
                .collect::<Vec<_>>(),
            [2, 1]
        );
        let first = &request.topics[0].partitions[1];
        assert_eq!(
            (first.partition, first.fetch_offset, first.partition_max_bytes),
            (1, 71, 100)
        );
        assert_eq!(
            first.current_leader_epoch,
            if version >= 9 { 4 } else { -1 },
            "v{version}"
        );
        assert_eq!(
            first.last_fetched_epoch,
            if version >= 12 { 3 } else { -1 },
            "v{version}"
        );
        let named = (request.topics[1].topic.as_str().to_owned(), request.topics[1].topic_id);
        let by_id = version >= TOPIC_IDS;
        let expected = if by_id {
            (String::new(), topic(2).id)
        } else {
            ("t2".to_owned(), Uuid::nil())
        };
        assert_eq!(named, expected, "v{version}");
        if version >= 7 {
            assert_eq!((request.session_id, request.session_epoch), (42, 7));
            assert_eq!(request.forgotten_topics_data[0].partitions, [5]);
        }
    }
}

/// What a broker of this version can say.
fn response(version: i16) -> Bytes {
    let mut data = PartitionData::default()
        .with_partition_index(3)
        .with_error_code(6)
        .with_high_watermark(90)
        .with_last_stable_offset(80)
        .with_aborted_transactions(Some(vec![
            AbortedTransaction::default()
                .with_producer_id(ProducerId(11))
                .with_first_offset(77),
        ]))
        .with_records(Some(Bytes::from_static(b"records")));
    if version >= 11 {
        data.preferred_read_replica = KafkaBroker(2);
    }
    if version >= 12 {
        data.diverging_epoch = EpochEndOffset::default().with_epoch(5).with_end_offset(60);
        data.current_leader = LeaderIdAndEpoch::default()
            .with_leader_id(KafkaBroker(1))
            .with_leader_epoch(9);
    }
    let mut topic = FetchableTopicResponse::default().with_partitions(vec![data]);
    if version >= TOPIC_IDS {
        topic.topic_id = Uuid::from_u128(1);
    } else {
        topic.topic = TopicName(StrBytes::from_static_str("t1"));
    }
    let mut response = FetchResponse::default().with_responses(vec![topic]);
    if version >= 7 {
        response.session_id = 42;
    }
    if version >= 16 {
        let node = NodeEndpoint::default().with_node_id(KafkaBroker(1)).with_port(9092);
        response.node_endpoints = vec![node.with_host(StrBytes::from_static_str("host"))];
    }
    let mut bytes = BytesMut::new();
    response.encode(&mut bytes, version).unwrap();
    bytes.freeze()
}

fn read(bytes: Bytes, version: i16) -> Result<FetchAnswer, Malformed> {
    FetchCall::read(version, &mut Reader::new(bytes, FetchCall::API.is_flexible(version)))
}

#[test]
fn answers_of_every_version_are_read() {
    for version in FetchCall::API.oldest..=FetchCall::API.newest {
        let answer = read(response(version), version).unwrap();
        assert_eq!(answer.session, if version >= 7 { 42 } else { 0 });
        let [fetched] = &answer.partitions[..] else {
            panic!("{answer:?}")
        };
        assert_eq!((fetched.partition, fetched.error), (3, 6));
        assert_eq!((fetched.high_watermark, fetched.last_stable), (90, 80));
        assert_eq!(
            (&fetched.aborted[..], &fetched.records[..]),
            (&[(11, 77)][..], &b"records"[..])
        );
        let key = match version >= TOPIC_IDS {
            true => TopicKey::Id(Uuid::from_u128(1)),
            false => TopicKey::Name(StrBytes::from_static_str("t1")),
        };
        assert_eq!(fetched.topic, key);
        assert_eq!(fetched.preferred_replica, if version >= 11 { 2 } else { -1 });
        let leader = Leader {
            broker: BrokerId(1),
            epoch: 9,
        };
        let (diverging, leader) = if version >= 12 {
            (Some((5, 60)), Some(leader))
        } else {
            (None, None)
        };
        assert_eq!((fetched.diverging, fetched.leader), (diverging, leader), "v{version}");
        let nodes = [(BrokerId(1), "host".to_owned(), 9092)];
        assert_eq!(answer.nodes, if version >= 16 { nodes.to_vec() } else { Vec::new() });
    }
}

proptest! {
    #[test]
    fn damaged_answers_are_survived(
        version in FetchCall::API.oldest..=FetchCall::API.newest,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..5),
        cut: prop::sample::Index,
    ) {
        let mut bytes = response(version).to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        let len = bytes.len();
        if let Ok(answer) = read(Bytes::from(bytes), version) {
            prop_assert!(answer.partitions.len() <= len);
        }
    }
}
