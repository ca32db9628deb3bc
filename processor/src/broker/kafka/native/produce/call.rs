//! The Produce request and its answer, and the request for a producer's id.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest, ProducerId};
use kafka_protocol::protocol::StrBytes;

use crate::broker::fault::Result;
use crate::broker::kafka::native::topics::{TopicKey, TopicRef, read_leader, read_nodes, read_partitions};
use crate::broker::kafka::wire::call::encode;
use crate::broker::kafka::wire::{Api, Call, Leader, Malformed, Node, Reader};

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
    pub(super) nodes: Vec<Node>,
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
            let topics = &mut request.topic_data;
            let same = |topic: &&mut TopicProduceData| part.topic.is(topic.topic_id, &topic.name, version);
            match topics.iter_mut().rev().find(same) {
                Some(topic) => topic.partition_data.push(data),
                None => {
                    let mut topic = TopicProduceData::default().with_partition_data(vec![data]);
                    (topic.topic_id, topic.name) = part.topic.naming(version);
                    topics.push(topic);
                }
            }
        }
        encode(&request, Self::API, version, out)
    }

    fn read(version: i16, body: &mut Reader) -> std::result::Result<ProduceAnswer, Malformed> {
        let parts = read_partitions(version, body, read_part)?;
        let throttle = u64::try_from(body.i32()?).unwrap_or(0);
        let nodes = read_nodes(body)?;
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
            leader = read_leader(value)?;
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
