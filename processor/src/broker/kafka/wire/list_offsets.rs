//! Where partitions begin and end.

use bytes::BytesMut;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{self, ListOffsetsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::call::{Api, Call, encode};
use super::reader::{Malformed, Reader};
use crate::broker::TopicPartition;
use crate::broker::fault::Result;

/// Which offset is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// The offset of the first record.
    Start,
    /// The offset after the last record that a reader of committed records can see.
    End,
}

/// Asks the leader of some partitions where they begin or end.
#[derive(Debug, Clone)]
pub struct ListOffsets {
    /// Which edge.
    pub edge: Edge,
    /// The partitions, with the leader epoch the caller knows (-1: none).
    pub partitions: Vec<(TopicPartition, i32)>,
}

/// What the leader says about one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offset {
    /// The partition.
    pub partition: TopicPartition,
    /// Kafka's error code; 0 is none.
    pub error: i16,
    /// The offset asked for.
    pub offset: i64,
    /// The leader epoch of that offset, -1 when unknown.
    pub epoch: i32,
}

impl Call for ListOffsets {
    const API: &Api = &Api {
        name: "ListOffsets",
        key: 2,
        oldest: 4,
        newest: 10,
        flexible: 6,
        throttles: true,
    };

    type Answer = Vec<Offset>;

    fn write(&self, version: i16, out: &mut BytesMut) -> Result<()> {
        let mut topics: Vec<ListOffsetsTopic> = Vec::new();
        for (partition, epoch) in &self.partitions {
            let asked = ListOffsetsPartition::default()
                .with_partition_index(partition.partition)
                .with_current_leader_epoch(*epoch)
                .with_timestamp(match self.edge {
                    Edge::Start => -2,
                    Edge::End => -1,
                });
            match topics.iter_mut().find(|topic| **topic.name == *partition.topic) {
                Some(topic) => topic.partitions.push(asked),
                None => topics.push(
                    ListOffsetsTopic::default()
                        .with_name(TopicName(StrBytes::from_string(partition.topic.as_ref().into())))
                        .with_partitions(vec![asked]),
                ),
            }
        }
        let request = ListOffsetsRequest::default()
            .with_replica_id(messages::BrokerId(-1))
            // Read committed: the end is the last stable offset.
            .with_isolation_level(1)
            .with_topics(topics);
        encode(&request, Self::API, version, out)
    }

    fn read(_version: i16, body: &mut Reader) -> std::result::Result<Self::Answer, Malformed> {
        let _throttle = body.i32()?;
        let mut offsets = Vec::new();
        body.each(|topic| {
            let name: std::sync::Arc<str> = topic.string()?.as_str().into();
            topic.each(|partition| {
                let index = partition.i32()?;
                let error = partition.i16()?;
                let _timestamp = partition.i64()?;
                offsets.push(Offset {
                    partition: TopicPartition::new(name.clone(), index),
                    error,
                    offset: partition.i64()?,
                    epoch: partition.i32()?,
                });
                partition.skip_tags()
            })?;
            topic.skip_tags()
        })?;
        body.skip_tags()?;
        Ok(offsets)
    }
}
