//! Where a leader's term ended: how a reader finds out that the log was cut back under it (KIP-320).

use std::sync::Arc;

use bytes::BytesMut;
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{self, OffsetForLeaderEpochRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::call::{Api, Call, encode};
use super::reader::{Malformed, Reader};
use crate::broker::TopicPartition;
use crate::broker::fault::Result;

/// Asks the leader of some partitions where the given epochs ended.
#[derive(Debug, Clone)]
pub struct OffsetForLeaderEpoch {
    /// What is asked.
    pub partitions: Vec<EpochQuestion>,
}

/// One partition of an [`OffsetForLeaderEpoch`].
#[derive(Debug, Clone)]
pub struct EpochQuestion {
    /// The partition.
    pub partition: TopicPartition,
    /// The epoch of the leader that is asked, as the caller knows it (-1: none).
    pub current: i32,
    /// The epoch of the last record that was read.
    pub epoch: i32,
}

/// Where an epoch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochEnd {
    /// The partition.
    pub partition: TopicPartition,
    /// Kafka's error code; 0 is none.
    pub error: i16,
    /// The largest epoch the leader knows that is not above the one asked; -1 when it knows none.
    pub epoch: i32,
    /// The offset after that epoch's last record. Below the reader's position: the log was cut back.
    pub end: i64,
}

impl Call for OffsetForLeaderEpoch {
    const API: &Api = &Api {
        name: "OffsetForLeaderEpoch",
        key: 23,
        oldest: 2,
        newest: 4,
        flexible: 4,
        throttles: true,
    };

    type Answer = Vec<EpochEnd>;

    fn write(&self, version: i16, out: &mut BytesMut) -> Result<()> {
        let mut topics: Vec<OffsetForLeaderTopic> = Vec::new();
        for question in &self.partitions {
            let asked = OffsetForLeaderPartition::default()
                .with_partition(question.partition.partition)
                .with_current_leader_epoch(question.current)
                .with_leader_epoch(question.epoch);
            match topics
                .iter_mut()
                .find(|topic| **topic.topic == *question.partition.topic)
            {
                Some(topic) => topic.partitions.push(asked),
                None => topics.push(
                    OffsetForLeaderTopic::default()
                        .with_topic(TopicName(StrBytes::from_string(
                            question.partition.topic.as_ref().into(),
                        )))
                        .with_partitions(vec![asked]),
                ),
            }
        }
        let request = OffsetForLeaderEpochRequest::default()
            .with_replica_id(messages::BrokerId(-1))
            .with_topics(topics);
        encode(&request, Self::API, version, out)
    }

    fn read(_version: i16, body: &mut Reader) -> std::result::Result<Self::Answer, Malformed> {
        let _throttle = body.i32()?;
        let mut ends = Vec::new();
        body.each(|topic| {
            let name: Arc<str> = topic.string()?.as_str().into();
            topic.each(|partition| {
                let error = partition.i16()?;
                let index = partition.i32()?;
                ends.push(EpochEnd {
                    partition: TopicPartition::new(name.clone(), index),
                    error,
                    epoch: partition.i32()?,
                    end: partition.i64()?,
                });
                partition.skip_tags()
            })?;
            topic.skip_tags()
        })?;
        body.skip_tags()?;
        Ok(ends)
    }
}
