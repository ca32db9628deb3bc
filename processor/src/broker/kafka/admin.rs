//! Topics of a cluster, and where their partitions begin and end.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::{Offset, TopicPartitionList};

use super::errors;
use super::groups::Groups;
use super::settings::KafkaSettings;
use crate::broker::fault::{Fault, Result};
use crate::broker::{Admin, Cleanup, Committed, TopicInfo, TopicPartition, TopicSpec};

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks whether every broker knows of a change.
const GLANCE: Duration = Duration::from_millis(20);
/// The largest batch a topic takes unless it is told otherwise.
const DEFAULT_MAX_MESSAGE_BYTES: usize = 1_048_588;

/// Asks and changes.
pub(super) struct KafkaAdmin {
    bootstrap: String,
    questions: BaseConsumer,
    changes: AdminClient<DefaultClientContext>,
    groups: Arc<Groups>,
}

impl KafkaAdmin {
    pub(super) fn new(settings: &KafkaSettings, groups: Arc<Groups>) -> Result<Self> {
        let client = |e| errors::fault("cannot make a Kafka client", e);
        Ok(Self {
            bootstrap: settings.bootstrap.clone(),
            questions: settings.questions().create().map_err(client)?,
            changes: settings.changes().create().map_err(client)?,
            groups,
        })
    }

    fn metadata(&self, topic: Option<&str>) -> Result<Metadata> {
        let what = format!("cannot ask {} about {}", self.bootstrap, topic.unwrap_or("its topics"));
        self.questions
            .fetch_metadata(topic, PATIENCE)
            .map_err(|e| errors::fault(&what, e))
    }

    /// How many partitions a topic has, all with a leader; `None` when it does not exist.
    fn partitions(&self, topic: &str) -> Result<Option<i32>> {
        let metadata = self.metadata(Some(topic))?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Ok(None);
        };
        let error = found.error().map(RDKafkaErrorCode::from);
        match error {
            None => Ok(Some(found.partitions().len() as i32)),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::InvalidTopic) => Ok(None),
            Some(code) => Err(errors::code_fault(&format!("cannot ask about topic {topic}"), code)),
        }
    }

    /// `Misuse` when a partition does not exist.
    pub(super) fn check(&self, asked: &[TopicPartition]) -> Result<()> {
        let topics: BTreeSet<&str> = asked.iter().map(|tp| &*tp.topic).collect();
        for topic in topics {
            let Some(count) = self.partitions(topic)? else {
                let text = format!(
                    "there is no topic {topic} in Kafka at {}: create it first",
                    self.bootstrap
                );
                return Err(Fault::misuse(text));
            };
            if let Some(tp) = asked
                .iter()
                .find(|tp| &*tp.topic == topic && !(0..count).contains(&tp.partition))
            {
                return Err(Fault::misuse(format!(
                    "there is no {tp}: the topic has {count} partitions"
                )));
            }
        }
        Ok(())
    }

    fn infos(&self, topics: &[(&str, i32)]) -> Result<Vec<TopicInfo>> {
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let asked: Vec<_> = topics.iter().map(|(name, _)| ResourceSpecifier::Topic(name)).collect();
        let what = "cannot read the configuration of topics";
        let answer = wait(self.changes.describe_configs(&asked, &options())).map_err(|e| errors::fault(what, e))?;
        let info = |((name, partitions), answer): (&(&str, i32), Result<ConfigResource, RDKafkaErrorCode>)| {
            let config = answer.map_err(|code| errors::code_fault(&format!("{what} ({name})"), code))?;
            Ok(topic_info(name, *partitions, &config))
        };
        topics.iter().zip(answer).map(info).collect()
    }

    /// Waits until a change of `topic` is seen.
    fn wait_until(&self, topic: &str, what: &str, seen: impl Fn(Option<i32>) -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        // A topic that is just being made has no leaders at first.
        while !matches!(self.partitions(topic), Ok(found) if seen(found)) {
            if Instant::now() >= deadline {
                return Err(Fault::retry(format!(
                    "topic {topic} is still not {what} after {PATIENCE:?}"
                )));
            }
            thread::park_timeout(GLANCE);
        }
        Ok(())
    }
}

impl Admin for KafkaAdmin {
    fn topics(&self) -> Result<Vec<TopicInfo>> {
        let metadata = self.metadata(None)?;
        let shown = |topic: &&MetadataTopic| topic.error().is_none() && !topic.name().starts_with("__");
        let mut topics: Vec<_> = metadata
            .topics()
            .iter()
            .filter(shown)
            .map(|topic| (topic.name(), topic.partitions().len() as i32))
            .collect();
        topics.sort_unstable();
        self.infos(&topics)
    }

    fn describe(&self, topic: &str) -> Result<Option<TopicInfo>> {
        match self.partitions(topic)? {
            Some(partitions) => Ok(self.infos(&[(topic, partitions)])?.pop()),
            None => Ok(None),
        }
    }

    fn create(&self, spec: &TopicSpec) -> Result<()> {
        let replication = spec.replication.map_or(-1, i32::from);
        let mut config = vec![
            ("cleanup.policy", spec.cleanup.as_str().to_owned()),
            ("retention.ms", spec.retention_ms.unwrap_or(-1).to_string()),
        ];
        config.extend(spec.retention_bytes.map(|bytes| ("retention.bytes", bytes.to_string())));
        config.extend(
            spec.max_message_bytes
                .map(|bytes| ("max.message.bytes", bytes.to_string())),
        );
        config.extend(spec.extra.iter().map(|(name, value)| (name.as_str(), value.clone())));
        let mut topic = NewTopic::new(&spec.name, spec.partitions, TopicReplication::Fixed(replication));
        for (name, value) in &config {
            topic = topic.set(name, value);
        }
        let what = format!("cannot create topic {}", spec.name);
        let answer = wait(self.changes.create_topics([&topic], &options())).map_err(|e| errors::fault(&what, e))?;
        for result in answer {
            result.map_err(|(_, code)| errors::code_fault(&what, code))?;
        }
        self.wait_until(&spec.name, "there", |found| found == Some(spec.partitions))
    }

    fn delete(&self, topic: &str) -> Result<()> {
        let what = format!("cannot delete topic {topic}");
        let answer = wait(self.changes.delete_topics(&[topic], &options())).map_err(|e| errors::fault(&what, e))?;
        for result in answer {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => (),
                Err((_, code)) => return Err(errors::code_fault(&what, code)),
            }
        }
        self.wait_until(topic, "gone", |found| found.is_none())
    }

    fn start_offsets(&self, partitions: &[TopicPartition]) -> Result<Vec<i64>> {
        Ok(self.bounds(partitions)?.into_iter().map(|(start, _)| start).collect())
    }

    fn end_offsets(&self, partitions: &[TopicPartition]) -> Result<Vec<i64>> {
        Ok(self.bounds(partitions)?.into_iter().map(|(_, end)| end).collect())
    }

    fn bounds(&self, partitions: &[TopicPartition]) -> Result<Vec<(i64, i64)>> {
        self.check(partitions)?;
        let watermarks = |tp: &TopicPartition| {
            let answer = self.questions.fetch_watermarks(&tp.topic, tp.partition, PATIENCE);
            answer.map_err(|e| errors::fault(&format!("cannot ask where {tp} begins and ends"), e))
        };
        partitions.iter().map(watermarks).collect()
    }

    fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Option<Committed>>> {
        self.groups.committed(group, partitions)
    }

    fn delete_records(&self, before: &[(TopicPartition, i64)]) -> Result<()> {
        let what = "cannot delete records";
        let mut list = TopicPartitionList::with_capacity(before.len());
        for (tp, offset) in before {
            let added = list.add_partition_offset(&tp.topic, tp.partition, Offset::Offset(*offset));
            added.map_err(|e| errors::fault(what, e))?;
        }
        let answer = wait(self.changes.delete_records(&list, &options())).map_err(|e| errors::fault(what, e))?;
        for element in answer.elements() {
            // Below the start there is nothing left to delete, which is as good as deleted.
            let place = || format!("{what} of {}-{}", element.topic(), element.partition());
            element.error().map_err(|e| errors::fault(&place(), e))?;
        }
        Ok(())
    }
}

fn topic_info(name: &str, partitions: i32, config: &ConfigResource) -> TopicInfo {
    let value = |key| config.get(key).and_then(|entry| entry.value.as_deref());
    TopicInfo {
        name: Arc::from(name),
        partitions,
        cleanup: value("cleanup.policy")
            .and_then(Cleanup::parse)
            .unwrap_or(Cleanup::Delete),
        retention_ms: value("retention.ms")
            .and_then(|ms| ms.parse().ok())
            .filter(|ms| *ms >= 0),
        max_message_bytes: value("max.message.bytes")
            .and_then(|bytes| bytes.parse().ok())
            .unwrap_or(DEFAULT_MAX_MESSAGE_BYTES),
    }
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(PATIENCE))
        .operation_timeout(Some(PATIENCE))
}

/// Waits for an answer. The client's own thread brings it, so nothing else has to run meanwhile.
fn wait<T>(answer: impl Future<Output = Result<T, KafkaError>>) -> Result<T, KafkaError> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut answer = pin!(answer);
    loop {
        match answer.as_mut().poll(&mut context) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => thread::park(),
        }
    }
}
