//! Our reading of answers against the generated writing of them, in every version that we speak.

use bytes::BytesMut;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{self, *};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use uuid::Uuid;

use super::call::Call;
use super::catalog::{BrokerId, Leader};
use super::handshake::{ApiVersions, SaslAuthenticate, SaslHandshake};
use super::leader_epoch::{EpochEnd, EpochQuestion, OffsetForLeaderEpoch};
use super::list_offsets::{Edge, ListOffsets, Offset};
use super::metadata::{Address, Metadata};
use super::reader::Reader;
use crate::broker::TopicPartition;

/// Writes `call` in every version, reads it back with the generated decoder; then reads `response` in every version.
fn each_version<C: Call, R: Request>(
    call: &C,
    request_is_right: impl Fn(i16, R),
    response: impl Fn(i16) -> R::Response,
    answer_is_right: impl Fn(i16, C::Answer),
) {
    let api = C::API;
    assert_eq!(api.key, R::KEY);
    assert!(
        R::VERSIONS.min <= api.oldest && api.newest <= R::VERSIONS.max,
        "{}",
        api.name
    );
    for version in api.oldest..=api.newest {
        let header = if api.is_flexible(version) { 2 } else { 1 };
        assert_eq!(
            <R as HeaderVersion>::header_version(version),
            header,
            "{} v{version}",
            api.name
        );
        let header = i16::from(api.is_flexible(version) && api.key != 18);
        assert_eq!(
            <R::Response as HeaderVersion>::header_version(version),
            header,
            "{} v{version}",
            api.name
        );

        let mut bytes = BytesMut::new();
        call.write(version, &mut bytes).unwrap();
        let mut bytes = bytes.freeze();
        request_is_right(version, <R as Decodable>::decode(&mut bytes, version).unwrap());
        assert!(bytes.is_empty());

        let mut bytes = BytesMut::new();
        response(version).encode(&mut bytes, version).unwrap();
        let bytes = bytes.freeze();
        let read = |bytes| C::read(version, &mut Reader::new(bytes, api.is_flexible(version)));
        answer_is_right(version, read(bytes.clone()).unwrap());
        for length in 0..bytes.len() {
            // Some ends are not needed; what counts is that none breaks us.
            let _ = read(bytes.slice(..length));
        }
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.into())
}

fn topic() -> TopicName {
    TopicName(text("t"))
}

#[test]
fn metadata() {
    each_version::<Metadata, MetadataRequest>(
        &Metadata {
            topics: vec!["t".into()],
        },
        |_, request| {
            assert_eq!(request.topics.unwrap()[0].name, Some(topic()));
            assert!(!request.allow_auto_topic_creation);
        },
        |version| {
            let partition = |index, leader, error| {
                MetadataResponsePartition::default()
                    .with_error_code(error)
                    .with_partition_index(index)
                    .with_leader_id(messages::BrokerId(leader))
                    .with_leader_epoch(9)
                    .with_replica_nodes(vec![messages::BrokerId(1), messages::BrokerId(2)])
                    .with_isr_nodes(vec![messages::BrokerId(1)])
                    .with_offline_replicas(vec![messages::BrokerId(2)])
            };
            let broker = MetadataResponseBroker::default()
                .with_node_id(messages::BrokerId(4))
                .with_host(text("h"))
                .with_port(9)
                .with_rack(Some(text("r")));
            let topic = MetadataResponseTopic::default()
                .with_name(Some(topic()))
                .with_topic_id(if version >= 10 { Uuid::from_u128(7) } else { Uuid::nil() })
                .with_partitions(vec![partition(2, 4, 9), partition(0, 4, 0), partition(1, -1, 5)]);
            MetadataResponse::default()
                .with_throttle_time_ms(3)
                .with_cluster_id(Some(text("c")))
                .with_brokers(vec![broker])
                .with_topics(vec![topic])
        },
        |version, answer| {
            let (host, port) = ("h".to_owned(), 9);
            assert_eq!(answer.brokers[&BrokerId(4)], Address { host, port });
            let topic = &answer.topics[0];
            let led = Some(Leader {
                broker: BrokerId(4),
                epoch: 9,
            });
            assert_eq!(topic.leaders, [led, None, led]);
            assert_eq!((topic.error, topic.name.as_str()), (0, "t"));
            assert_eq!(topic.id.as_u128(), if version >= 10 { 7 } else { 0 });
        },
    );
}

#[test]
fn metadata_with_a_gap_between_partitions_is_none() {
    let partition = |index| MetadataResponsePartition::default().with_partition_index(index);
    for indexes in [vec![0, 2], vec![0, 0], vec![-1], vec![i32::MAX]] {
        let topic = MetadataResponseTopic::default()
            .with_name(Some(topic()))
            .with_partitions(indexes.into_iter().map(partition).collect());
        let mut bytes = BytesMut::new();
        let response = MetadataResponse::default().with_topics(vec![topic]);
        response.encode(&mut bytes, 12).unwrap();
        assert!(Metadata::read(12, &mut Reader::new(bytes.freeze(), true)).is_err());
    }
}

#[test]
fn list_offsets() {
    let partitions = vec![(TopicPartition::new("t", 3), 8), (TopicPartition::new("t", 4), -1)];
    each_version::<ListOffsets, ListOffsetsRequest>(
        &ListOffsets {
            edge: Edge::End,
            partitions,
        },
        |_, request| {
            assert_eq!((request.isolation_level, request.replica_id.0), (1, -1));
            let asked = &request.topics[0].partitions;
            let asked: Vec<_> = asked
                .iter()
                .map(|p| (p.partition_index, p.current_leader_epoch, p.timestamp))
                .collect();
            assert_eq!(asked, [(3, 8, -1), (4, -1, -1)]);
        },
        |_| {
            let partition = ListOffsetsPartitionResponse::default()
                .with_partition_index(3)
                .with_error_code(6)
                .with_timestamp(1)
                .with_offset(77)
                .with_leader_epoch(8);
            let topic = ListOffsetsTopicResponse::default()
                .with_name(topic())
                .with_partitions(vec![partition]);
            ListOffsetsResponse::default()
                .with_throttle_time_ms(3)
                .with_topics(vec![topic])
        },
        |_, answer| {
            let partition = TopicPartition::new("t", 3);
            assert_eq!(
                answer,
                [Offset {
                    partition,
                    error: 6,
                    offset: 77,
                    epoch: 8
                }]
            );
        },
    );
}

#[test]
fn offset_for_leader_epoch() {
    let question = EpochQuestion {
        partition: TopicPartition::new("t", 3),
        current: 8,
        epoch: 7,
    };
    each_version::<OffsetForLeaderEpoch, OffsetForLeaderEpochRequest>(
        &OffsetForLeaderEpoch {
            partitions: vec![question],
        },
        |_, request| {
            let asked = &request.topics[0].partitions[0];
            assert_eq!(
                (asked.partition, asked.current_leader_epoch, asked.leader_epoch),
                (3, 8, 7)
            );
        },
        |_| {
            let partition = EpochEndOffset::default()
                .with_error_code(6)
                .with_partition(3)
                .with_leader_epoch(7)
                .with_end_offset(55);
            let topic = OffsetForLeaderTopicResult::default()
                .with_topic(topic())
                .with_partitions(vec![partition]);
            OffsetForLeaderEpochResponse::default()
                .with_throttle_time_ms(3)
                .with_topics(vec![topic])
        },
        |_, answer| {
            let partition = TopicPartition::new("t", 3);
            assert_eq!(
                answer,
                [EpochEnd {
                    partition,
                    error: 6,
                    epoch: 7,
                    end: 55
                }]
            );
        },
    );
}

#[test]
fn api_versions() {
    let api = |key, max| {
        ApiVersion::default()
            .with_api_key(key)
            .with_min_version(2)
            .with_max_version(max)
    };
    each_version::<ApiVersions, ApiVersionsRequest>(
        &ApiVersions,
        |version, request| {
            let named = if version >= 3 { "millstream" } else { "" };
            assert_eq!(request.client_software_name.as_str(), named);
        },
        |_| {
            ApiVersionsResponse::default()
                .with_error_code(0)
                .with_api_keys(vec![api(1, 17), api(2, 5)])
        },
        |_, answer| {
            assert_eq!(answer.error, 0);
            assert_eq!(
                (answer.versions.range(1), answer.versions.range(3)),
                (Some((2, 17)), None)
            );
            assert_eq!(answer.versions.common(ListOffsets::API), Some(5));
            assert_eq!(answer.versions.common(Metadata::API), None);
        },
    );
}

#[test]
fn sasl() {
    each_version::<SaslHandshake, SaslHandshakeRequest>(
        &SaslHandshake("PLAIN"),
        |_, request| assert_eq!(request.mechanism.as_str(), "PLAIN"),
        |_| {
            SaslHandshakeResponse::default()
                .with_error_code(33)
                .with_mechanisms(vec![text("X")])
        },
        |_, answer| assert_eq!((answer.error, answer.mechanisms), (33, vec![text("X")])),
    );
    each_version::<SaslAuthenticate, SaslAuthenticateRequest>(
        &SaslAuthenticate(b"abc".to_vec()),
        |_, request| assert_eq!(request.auth_bytes, "abc"),
        |version| {
            SaslAuthenticateResponse::default()
                .with_error_code(58)
                .with_error_message(Some(text("no")))
                .with_auth_bytes("xyz".into())
                .with_session_lifetime_ms(if version >= 1 { 60 } else { 0 })
        },
        |version, answer| {
            assert_eq!(
                (answer.error, answer.message, &*answer.bytes),
                (58, Some(text("no")), &b"xyz"[..])
            );
            assert_eq!(answer.lifetime_ms, if version >= 1 { 60 } else { 0 });
        },
    );
}
