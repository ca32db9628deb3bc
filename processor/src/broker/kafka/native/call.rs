//! The Fetch request and its answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::{self, FetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::settings::Bounds;
use crate::broker::fault::Result;
use crate::broker::kafka::wire::call::encode;
use crate::broker::kafka::wire::{Api, BrokerId, Call, Leader, Malformed, Reader};

/// The first version that names topics by their ids.
pub(super) const TOPIC_IDS: i16 = 13;

/// A topic as requests name it: by name in old versions, by id in newer ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TopicRef {
    pub(super) name: Arc<str>,
    pub(super) id: Uuid,
}

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
    pub(super) nodes: Vec<(BrokerId, String, i32)>,
    /// How long the answer was.
    pub(super) bytes: usize,
}

/// How an answer names a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TopicKey {
    Name(StrBytes),
    Id(Uuid),
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
            .with_replica_id(messages::BrokerId(-1))
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
                Some(topic) if is(topic.topic_id, &topic.topic, &asked.topic, version) => {
                    topic.partitions.push(partition);
                }
                _ => {
                    let mut topic = FetchTopic::default().with_partitions(vec![partition]);
                    (topic.topic_id, topic.topic) = naming(&asked.topic, version);
                    request.topics.push(topic);
                }
            }
        }
        if version >= 7 {
            for (topic, partition) in &self.forgotten {
                let mut forgotten = ForgottenTopic::default().with_partitions(vec![*partition]);
                (forgotten.topic_id, forgotten.topic) = naming(topic, version);
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
        let mut partitions = Vec::new();
        body.each(|topic| {
            let key = if version >= TOPIC_IDS {
                TopicKey::Id(topic.uuid()?)
            } else {
                TopicKey::Name(topic.string()?)
            };
            topic.each(|partition| {
                partitions.push(read_partition(version, key.clone(), partition)?);
                Ok(())
            })?;
            topic.skip_tags()
        })?;
        let mut nodes = Vec::new();
        body.tags(|tag, value| {
            if tag == 0 {
                nodes = value.array(read_node)?;
            }
            Ok(())
        })?;
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

/// The same in a version that names topics by name.
pub(super) struct ByName(pub(super) FetchCall);

impl Call for ByName {
    const API: &Api = &Api {
        newest: TOPIC_IDS - 1,
        ..*FetchCall::API
    };

    type Answer = FetchAnswer;

    fn write(&self, version: i16, out: &mut BytesMut) -> Result<()> {
        self.0.write(version, out)
    }

    fn read(version: i16, body: &mut Reader) -> std::result::Result<FetchAnswer, Malformed> {
        FetchCall::read(version, body)
    }

    fn held_back(&self) -> Duration {
        self.0.held_back()
    }
}

fn naming(topic: &TopicRef, version: i16) -> (Uuid, TopicName) {
    if version >= TOPIC_IDS {
        (topic.id, TopicName::default())
    } else {
        (
            Uuid::nil(),
            TopicName(StrBytes::from_string(topic.name.as_ref().into())),
        )
    }
}

fn is(id: Uuid, name: &str, topic: &TopicRef, version: i16) -> bool {
    if version >= TOPIC_IDS {
        id == topic.id
    } else {
        *name == *topic.name
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
            1 => {
                let (broker, epoch) = (BrokerId(value.i32()?), value.i32()?);
                leader = (broker.0 >= 0).then_some(Leader { broker, epoch });
            }
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

pub(super) fn read_node(node: &mut Reader) -> std::result::Result<(BrokerId, String, i32), Malformed> {
    let found = (BrokerId(node.i32()?), node.string()?.to_string(), node.i32()?);
    let _rack = node.nullable_string()?;
    node.skip_tags()?;
    Ok(found)
}

#[cfg(test)]
mod tests;
