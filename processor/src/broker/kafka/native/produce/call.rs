//! The Produce request and its answer, and the request for a producer's id.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest, ProducerId, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::broker::fault::Result;
use crate::broker::kafka::native::call::{TopicKey, TopicRef, read_node};
use crate::broker::kafka::wire::call::encode;
use crate::broker::kafka::wire::{Api, BrokerId, Call, Leader, Malformed, Reader};

/// The first version that names topics by their ids.
pub(super) const TOPIC_IDS: i16 = 13;

/// One batch of a request.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) topic: TopicRef,
    pub(super) partition: i32,
    pub(super) batch: Bytes,
}

/// Batches for partitions that one broker leads, one of each partition.
#[derive(Debug, Clone)]
pub(super) struct Produce {
    pub(super) parts: Vec<Part>,
    /// `request.timeout.ms`: how long the broker waits for the other replicas.
    pub(super) timeout: Duration,
}

/// What the broker says about a request.
#[derive(Debug)]
pub(super) struct ProduceAnswer {
    pub(super) parts: Vec<Produced>,
    /// Addresses of brokers that are named as leaders (KIP-951).
    pub(super) nodes: Vec<(BrokerId, String, i32)>,
    pub(super) throttle: Duration,
}

/// What became of one batch.
#[derive(Debug)]
pub(super) struct Produced {
    pub(super) topic: TopicKey,
    pub(super) partition: i32,
    pub(super) error: i16,
    /// -1 when the broker does not tell.
    pub(super) base_offset: i64,
    /// What a broker that refuses records has to say about it.
    pub(super) message: Option<StrBytes>,
    pub(super) leader: Option<Leader>,
}

impl Produced {
    /// Whether it is about this part of the request, which was of `version`.
    pub(super) fn is_about(&self, part: &Part) -> bool {
        let topic = match &self.topic {
            TopicKey::Name(name) => **name == *part.topic.name,
            TopicKey::Id(id) => *id == part.topic.id,
        };
        topic && self.partition == part.partition
    }
}

impl Call for Produce {
    const API: &Api = &Api {
        name: "Produce",
        key: 0,
        // Kafka 2.1's, the first that takes zstd.
        oldest: 7,
        newest: 13,
        flexible: 9,
        // It does, but not in front.
        throttles: false,
    };

    type Answer = ProduceAnswer;

    fn write(&self, version: i16, out: &mut BytesMut) -> Result<()> {
        let mut request = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(self.timeout.as_millis() as i32);
        for part in &self.parts {
            let data = PartitionProduceData::default()
                .with_index(part.partition)
                .with_records(Some(part.batch.clone()));
            let (id, name) = match version >= TOPIC_IDS {
                true => (part.topic.id, ""),
                false => (Uuid::nil(), &*part.topic.name),
            };
            match request.topic_data.last_mut() {
                Some(topic) if topic.topic_id == id && *topic.name.0 == *name => topic.partition_data.push(data),
                _ => {
                    let topic = TopicProduceData::default()
                        .with_topic_id(id)
                        .with_name(TopicName(StrBytes::from_string(name.to_owned())))
                        .with_partition_data(vec![data]);
                    request.topic_data.push(topic);
                }
            }
        }
        encode(&request, Self::API, version, out)
    }

    fn read(version: i16, body: &mut Reader) -> std::result::Result<ProduceAnswer, Malformed> {
        let mut parts = Vec::new();
        body.each(|topic| {
            let key = if version >= TOPIC_IDS {
                TopicKey::Id(topic.uuid()?)
            } else {
                TopicKey::Name(topic.string()?)
            };
            topic.each(|partition| {
                parts.push(read_part(version, key.clone(), partition)?);
                Ok(())
            })?;
            topic.skip_tags()
        })?;
        let throttle = u64::try_from(body.i32()?).unwrap_or(0);
        let mut nodes = Vec::new();
        body.tags(|tag, value| {
            if tag == 0 {
                nodes = value.array(read_node)?;
            }
            Ok(())
        })?;
        Ok(ProduceAnswer {
            parts,
            nodes,
            throttle: Duration::from_millis(throttle),
        })
    }

    fn size_hint(&self) -> usize {
        let each = |part: &Part| part.batch.len() + part.topic.name.len() + 40;
        64 + self.parts.iter().map(each).sum::<usize>()
    }

    fn held_back(&self) -> Duration {
        self.timeout
    }
}

/// The same in a version that names topics by name.
pub(super) struct ByName(pub(super) Produce);

impl Call for ByName {
    const API: &Api = &Api {
        newest: TOPIC_IDS - 1,
        ..*Produce::API
    };

    type Answer = ProduceAnswer;

    fn write(&self, version: i16, out: &mut BytesMut) -> Result<()> {
        self.0.write(version, out)
    }

    fn read(version: i16, body: &mut Reader) -> std::result::Result<ProduceAnswer, Malformed> {
        Produce::read(version, body)
    }

    fn size_hint(&self) -> usize {
        self.0.size_hint()
    }

    fn held_back(&self) -> Duration {
        self.0.held_back()
    }
}

fn read_part(version: i16, topic: TopicKey, body: &mut Reader) -> std::result::Result<Produced, Malformed> {
    let partition = body.i32()?;
    let error = body.i16()?;
    let base_offset = body.i64()?;
    let _append_time = body.i64()?;
    let _log_start = body.i64()?;
    let mut message = None;
    if version >= 8 {
        body.each(|record| {
            let _index = record.i32()?;
            let text = record.nullable_string()?;
            message = message.take().or(text);
            record.skip_tags()
        })?;
        message = body.nullable_string()?.or(message);
    }
    let mut leader = None;
    body.tags(|tag, value| {
        if tag == 0 {
            let (broker, epoch) = (BrokerId(value.i32()?), value.i32()?);
            leader = (broker.0 >= 0).then_some(Leader { broker, epoch });
        }
        Ok(())
    })?;
    Ok(Produced {
        topic,
        partition,
        error,
        base_offset,
        message,
        leader,
    })
}

/// Asks for the id of a producer without transactions.
#[derive(Debug, Clone, Copy)]
pub(super) struct InitProducer;

/// A producer, as the brokers know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Producer {
    pub(super) id: i64,
    pub(super) epoch: i16,
}

impl Call for InitProducer {
    const API: &Api = &Api {
        name: "InitProducerId",
        key: 22,
        oldest: 0,
        newest: 5,
        flexible: 2,
        throttles: true,
    };

    /// Or Kafka's error code.
    type Answer = std::result::Result<Producer, i16>;

    fn write(&self, version: i16, out: &mut BytesMut) -> Result<()> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(i32::MAX)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        encode(&request, Self::API, version, out)
    }

    fn read(_version: i16, body: &mut Reader) -> std::result::Result<Self::Answer, Malformed> {
        let _throttle = body.i32()?;
        let error = body.i16()?;
        let (id, epoch) = (body.i64()?, body.i16()?);
        body.skip_tags()?;
        match (error, id, epoch) {
            (0, 0.., 0..) => Ok(Ok(Producer { id, epoch })),
            (0, ..) => Err(Malformed::new(format!("it gives producer {id} epoch {epoch}"))),
            (error, ..) => Ok(Err(error)),
        }
    }
}
