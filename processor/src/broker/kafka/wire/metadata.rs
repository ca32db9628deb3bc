//! Asks for the brokers and for the leaders of topics.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::BytesMut;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{MetadataRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::call::{Api, Call, encode};
use super::catalog::{BrokerId, Leader};
use super::reader::{Malformed, Reader};
use crate::broker::fault::Result;

/// Where a broker listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Asks about these topics; none makes an answer with the brokers alone.
#[derive(Debug, Clone)]
pub(super) struct Metadata {
    pub(super) topics: Vec<Arc<str>>,
}

#[derive(Debug, Default)]
pub(super) struct MetadataAnswer {
    pub(super) brokers: BTreeMap<BrokerId, Address>,
    pub(super) topics: Vec<TopicAnswer>,
}

#[derive(Debug)]
pub(super) struct TopicAnswer {
    pub(super) error: i16,
    pub(super) name: StrBytes,
    pub(super) id: Uuid,
    /// By partition.
    pub(super) leaders: Vec<Option<Leader>>,
}

impl Call for Metadata {
    const API: &Api = &Api {
        name: "Metadata",
        key: 3,
        oldest: 7,
        newest: 13,
        flexible: 9,
        throttles: true,
    };

    type Answer = MetadataAnswer;

    fn write(&self, version: i16, out: &mut BytesMut) -> Result<()> {
        let topic = |name: &Arc<str>| {
            MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from_string(name.as_ref().into()))))
        };
        let request = MetadataRequest::default()
            .with_topics(Some(self.topics.iter().map(topic).collect()))
            .with_allow_auto_topic_creation(false);
        encode(&request, Self::API, version, out)
    }

    fn read(version: i16, body: &mut Reader) -> std::result::Result<Self::Answer, Malformed> {
        let mut answer = MetadataAnswer::default();
        let _throttle = body.i32()?;
        body.each(|broker| {
            let id = BrokerId(broker.i32()?);
            let host = broker.string()?.to_string();
            let port = broker.i32()?;
            let _rack = broker.nullable_string()?;
            broker.skip_tags()?;
            let Ok(port) = u16::try_from(port) else {
                return Err(Malformed::new(format!("broker {id} is said to listen on port {port}")));
            };
            // Numbers below 0 are ours, for servers whose number is not known.
            if id.0 < 0 {
                return Err(Malformed::new(format!("a broker has the number {id}")));
            }
            answer.brokers.insert(id, Address { host, port });
            Ok(())
        })?;
        let _cluster = body.nullable_string()?;
        let _controller = body.i32()?;
        answer.topics = body.array(|topic| read_topic(version, topic))?;
        if (8..=10).contains(&version) {
            let _rights = body.i32()?;
        }
        if version >= 13 {
            let _error = body.i16()?;
        }
        body.skip_tags()?;
        Ok(answer)
    }
}

fn read_topic(version: i16, topic: &mut Reader) -> std::result::Result<TopicAnswer, Malformed> {
    let error = topic.i16()?;
    let name = topic.nullable_string()?.unwrap_or_default();
    let id = if version >= 10 { topic.uuid()? } else { Uuid::nil() };
    let _internal = topic.bool()?;
    let mut found: Vec<(usize, Option<Leader>)> = topic.array(|partition| {
        let error = partition.i16()?;
        let index = partition.i32()?;
        let leader = Leader {
            broker: BrokerId(partition.i32()?),
            epoch: partition.i32()?,
        };
        for _ in ["replicas", "in sync", "offline"] {
            partition.each(|replica| replica.i32().map(drop))?;
        }
        partition.skip_tags()?;
        let Ok(index) = usize::try_from(index) else {
            return Err(Malformed::new(format!("a partition has the number {index}")));
        };
        // 9, REPLICA_NOT_AVAILABLE: a follower is down, which is no reader's business.
        let leads = (error == 0 || error == 9) && leader.broker.0 >= 0;
        Ok((index, leads.then_some(leader)))
    })?;
    found.sort_unstable_by_key(|(index, _)| *index);
    if let Some(gap) = found.iter().enumerate().position(|(place, (index, _))| place != *index) {
        return Err(Malformed::new(format!(
            "topic {name} is described without partition {gap}"
        )));
    }
    if version >= 8 {
        let _rights = topic.i32()?;
    }
    topic.skip_tags()?;
    Ok(TopicAnswer {
        error,
        name,
        id,
        leaders: found.into_iter().map(|(_, leader)| leader).collect(),
    })
}
