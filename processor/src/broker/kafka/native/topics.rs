//! How Fetch and Produce name topics, and what their answers have in common: both went from names to ids in version 13.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::broker::fault::Result;
use crate::broker::kafka::wire::{Api, BrokerId, Call, Leader, Malformed, Node, Reader};

/// The first version that names topics by their ids.
pub(super) const TOPIC_IDS: i16 = 13;

/// A topic as requests name it: by name in old versions, by id in newer ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TopicRef {
    pub(super) name: Arc<str>,
    pub(super) id: Uuid,
}

impl TopicRef {
    /// What a request of `version` says.
    pub(super) fn naming(&self, version: i16) -> (Uuid, TopicName) {
        if version >= TOPIC_IDS {
            return (self.id, TopicName::default());
        }
        let name = StrBytes::from_string(self.name.as_ref().into());
        (Uuid::nil(), TopicName(name))
    }

    /// Whether a request of `version` says this of it.
    pub(super) fn is(&self, id: Uuid, name: &str, version: i16) -> bool {
        if version >= TOPIC_IDS {
            id == self.id
        } else {
            *name == *self.name
        }
    }
}

/// How an answer names a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TopicKey {
    Name(StrBytes),
    Id(Uuid),
}

/// A request in a version that names topics by name: brokers of mixed versions know no ids yet, whatever they speak.
pub(super) struct ByName<C>(pub(super) C);

impl<C: Call> Call for ByName<C> {
    const API: &'static Api = &Api {
        newest: TOPIC_IDS - 1,
        ..*C::API
    };

    type Answer = C::Answer;

    fn write(&self, version: i16, out: &mut BytesMut) -> Result<()> {
        self.0.write(version, out)
    }

    fn read(version: i16, body: &mut Reader) -> std::result::Result<C::Answer, Malformed> {
        C::read(version, body)
    }

    fn size_hint(&self) -> usize {
        self.0.size_hint()
    }

    fn held_back(&self) -> Duration {
        self.0.held_back()
    }
}

/// Partitions of an answer that are grouped by topic, each read by `one`.
pub(super) fn read_partitions<T>(
    version: i16,
    body: &mut Reader,
    one: fn(i16, TopicKey, &mut Reader) -> std::result::Result<T, Malformed>,
) -> std::result::Result<Vec<T>, Malformed> {
    let mut partitions = Vec::new();
    body.each(|topic| {
        let key = if version >= TOPIC_IDS {
            TopicKey::Id(topic.uuid()?)
        } else {
            TopicKey::Name(topic.string()?)
        };
        topic.each(|partition| {
            partitions.push(one(version, key.clone(), partition)?);
            Ok(())
        })?;
        topic.skip_tags()
    })?;
    Ok(partitions)
}

/// The tagged fields at an answer's end: the addresses of brokers that it names as leaders (KIP-951).
pub(super) fn read_nodes(body: &mut Reader) -> std::result::Result<Vec<Node>, Malformed> {
    let mut nodes = Vec::new();
    body.tags(|tag, value| {
        if tag == 0 {
            nodes = value.array(read_node)?;
        }
        Ok(())
    })?;
    Ok(nodes)
}

fn read_node(node: &mut Reader) -> std::result::Result<Node, Malformed> {
    let found = (BrokerId(node.i32()?), node.string()?.to_string(), node.i32()?);
    let _rack = node.nullable_string()?;
    node.skip_tags()?;
    Ok(found)
}

/// The leader that a partition's tagged field names (KIP-951).
pub(super) fn read_leader(value: &mut Reader) -> std::result::Result<Option<Leader>, Malformed> {
    let (broker, epoch) = (BrokerId(value.i32()?), value.i32()?);
    Ok((broker.0 >= 0).then_some(Leader { broker, epoch }))
}
