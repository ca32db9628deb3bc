//! The Fetch request and its answer.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest};

use super::settings::Bounds;
use super::topics::{TopicKey, TopicRef, read_leader, read_nodes, read_partitions};
use crate::broker::fault::Result;
use crate::broker::kafka::wire::call::encode;
use crate::broker::kafka::wire::{Api, Call, Leader, Malformed, Node, Reader};

/// One partition of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) topic: TopicRef,
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// The leader's epoch as we know it.
    pub(super) leader_epoch: i32,
    /// The epoch of the last record that was read: a leader whose log has gone another way says so (KIP-320).
    pub(super) last_epoch: i32,
}

/// A request to one broker.
#[derive(Debug, Clone)]
pub(super) struct FetchCall {
    pub(super) bounds: Bounds,
    /// Session id and epoch (KIP-227).
    pub(super) session: (i32, i32),
    /// All partitions, or (in a session) what has changed.
    pub(super) partitions: Vec<Asked>,
    /// What is not wanted any more.
    pub(super) forgotten: Vec<(TopicRef, i32)>,
}

/// What the broker has sent.
#[derive(Debug)]
pub(super) struct FetchAnswer {
    pub(super) error: i16,
    pub(super) session: i32,
    /// Partitions that have something to tell.
    pub(super) partitions: Vec<Fetched>,
    /// Addresses of brokers that are named as leaders (KIP-951).
    pub(super) nodes: Vec<Node>,
    /// How long the answer was.
    pub(super) bytes: usize,
}

/// One partition of an answer.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) topic: TopicKey,
    pub(super) partition: i32,
    pub(super) error: i16,
    pub(super) high_watermark: i64,
    /// Where the first open transaction begins.
    pub(super) last_stable: i64,
    /// Epoch and end of the last part of the log that we and the leader have in common.
    pub(super) diverging: Option<(i32, i64)>,
    pub(super) leader: Option<Leader>,
    /// Producer and first offset.
    pub(super) aborted: Vec<(i64, i64)>,
    /// A follower that the broker would rather have us read from (KIP-392); -1 is none.
    pub(super) preferred_replica: i32,
    pub(super) records: Bytes,
}

impl Call for FetchCall {
    const API: &Api = &Api {
        name: "Fetch",
        key: 1,
        oldest: 4,
        newest: 18,
        flexible: 12,
        throttles: true,
    };

    type Answer = FetchAnswer;

    fn write(&self, version: i16, out: &mut BytesMut) -> Result<()> {
        let mut request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(self.bounds.wait.as_millis() as i32)
            .with_min_bytes(self.bounds.min_bytes)
            .with_max_bytes(self.bounds.max_bytes)
            .with_isolation_level(i8::from(self.bounds.committed));
        if version >= 7 {
            (request.session_id, request.session_epoch) = self.session;
        }
        for asked in &self.partitions {
            let last_epoch = if version >= 12 { asked.last_epoch } else { -1 };
            let partition = FetchPartition::default()
                .with_partition(asked.partition)
                .with_fetch_offset(asked.offset)
                .with_current_leader_epoch(asked.leader_epoch)
                .with_last_fetched_epoch(last_epoch)
                .with_log_start_offset(-1)
                .with_partition_max_bytes(self.bounds.partition_max_bytes);
            match request.topics.last_mut() {
                Some(topic) if asked.topic.is(topic.topic_id, &topic.topic, version) => {
                    topic.partitions.push(partition);
                }
                _ => {
                    let mut topic = FetchTopic::default().with_partitions(vec![partition]);
                    (topic.topic_id, topic.topic) = asked.topic.naming(version);
                    request.topics.push(topic);
                }
            }
        }
        if version >= 7 {
            for (topic, partition) in &self.forgotten {
                let mut forgotten = ForgottenTopic::default().with_partitions(vec![*partition]);
                (forgotten.topic_id, forgotten.topic) = topic.naming(version);
                request.forgotten_topics_data.push(forgotten);
            }
        }
        encode(&request, Self::API, version, out)
    }

    fn read(version: i16, body: &mut Reader) -> std::result::Result<FetchAnswer, Malformed> {
        let bytes = body.remaining();
        let _throttle = body.i32()?;
        let (error, session) = if version >= 7 {
            (body.i16()?, body.i32()?)
        } else {
            (0, 0)
        };
        let partitions = read_partitions(version, body, read_partition)?;
        let nodes = read_nodes(body)?;
        Ok(FetchAnswer {
            error,
            session,
            partitions,
            nodes,
            bytes,
        })
    }

    fn held_back(&self) -> Duration {
        self.bounds.wait
    }
}

fn read_partition(version: i16, topic: TopicKey, body: &mut Reader) -> std::result::Result<Fetched, Malformed> {
    let partition = body.i32()?;
    let error = body.i16()?;
    let high_watermark = body.i64()?;
    let last_stable = body.i64()?;
    if version >= 5 {
        let _log_start = body.i64()?;
    }
    let aborted = body.array(|aborted| {
        let one = (aborted.i64()?, aborted.i64()?);
        aborted.skip_tags()?;
        Ok(one)
    })?;
    let preferred_replica = if version >= 11 { body.i32()? } else { -1 };
    let records = body.nullable_bytes()?.unwrap_or_default();
    let (mut diverging, mut leader) = (None, None);
    body.tags(|tag, value| {
        match tag {
            0 => diverging = Some((value.i32()?, value.i64()?)),
            1 => leader = read_leader(value)?,
            _ => (),
        }
        Ok(())
    })?;
    Ok(Fetched {
        topic,
        partition,
        error,
        high_watermark,
        last_stable,
        diverging: diverging.filter(|(epoch, end)| *epoch >= 0 && *end >= 0),
        leader,
        aborted,
        preferred_replica,
        records,
    })
}

#[cfg(test)]
mod tests;
