//! Topics of a cluster, and where their partitions begin and end.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication, TopicResult,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::{Offset, TopicPartitionList};

use super::changes::Changes;
use super::errors;
use super::ffi;
use super::groups::Groups;
use super::settings::KafkaSettings;
use super::turns::Turns;
use crate::broker::fault::{Fault, Result};
use crate::broker::{Admin, Cleanup, Committed, TopicInfo, TopicPartition, TopicSpec};

/// How long a change may take until it is seen.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks whether it is seen: at first, and at most.
const GLANCES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));
/// The largest batch a topic takes unless it is told otherwise.
const DEFAULT_MAX_MESSAGE_BYTES: usize = 1_048_588;

/// Asks and changes.
///
/// librdkafka sends changes and questions about settings to the controller. Since KRaft that is any broker which the
/// one that was asked believes alive, for some time also one that has just died. So they are sent to the broker that
/// answered last, which hands on to the controller what is the controller's business; only the brokers of old clusters
/// with ZooKeeper refuse that.
pub(super) struct KafkaAdmin {
    bootstrap: String,
    client: AdminClient<DefaultClientContext>,
    turns: Turns,
    /// The broker that answered the last question about topics; -1: its number is not known.
    answered: AtomicI32,
    changes: Changes,
    groups: Arc<Groups>,
}

impl KafkaAdmin {
    pub(super) fn new(settings: &KafkaSettings, groups: Arc<Groups>) -> Result<Self> {
        let mut config = settings.admin();
        let turns = Turns::of(&mut config);
        let client = config
            .create()
            .map_err(|e| errors::fault("cannot make a Kafka client", e))?;
        Ok(Self {
            bootstrap: settings.bootstrap.clone(),
            client,
            turns,
            answered: AtomicI32::new(-1),
            changes: Changes::default(),
            groups,
        })
    }

    /// An answer that knows of our own changes.
    fn metadata(&self, topic: Option<&str>) -> Result<Metadata> {
        let mut glances = Glances::default();
        loop {
            let metadata = self.metadata_now(topic)?;
            let there = |name: &str| {
                metadata
                    .topics()
                    .iter()
                    .any(|found| found.name() == name && is_there(found))
            };
            if !self.changes.denied_by(topic, there) {
                return Ok(metadata);
            }
            glances.pause();
        }
    }

    fn metadata_now(&self, topic: Option<&str>) -> Result<Metadata> {
        let asked = self.turns.ask(|turn| self.metadata_once(topic, turn));
        asked.map_err(|e| {
            let what = format!("cannot ask {} about {}", self.bootstrap, topic.unwrap_or("its topics"));
            errors::fault(&what, e)
        })
    }

    fn metadata_once(&self, topic: Option<&str>, turn: Duration) -> Result<Metadata, KafkaError> {
        let metadata = self.client.inner().fetch_metadata(topic, Turns::with_scan(turn))?;
        // A connection to one of `bootstrap.servers` may not know yet which broker that is: then it is any other than last time.
        let answered = Some(metadata.orig_broker_id()).filter(|id| *id >= 0);
        let last = self.answered.load(Ordering::Relaxed);
        let ids = metadata.brokers().iter().map(|broker| broker.id());
        let other = || ids.clone().find(|id| *id != last).or_else(|| ids.clone().next());
        self.answered
            .store(answered.or_else(other).unwrap_or(-1), Ordering::Relaxed);
        Ok(metadata)
    }

    /// Puts a request to the broker that answered last; if it does not answer now, to one that does.
    fn request<T, A>(
        &self,
        mut send: impl FnMut(&AdminOptions) -> A,
        read: impl Fn(T) -> Result<T, KafkaError>,
    ) -> Result<T, KafkaError>
    where
        A: Future<Output = Result<T, KafkaError>>,
    {
        let mut refused = None;
        self.turns.ask(|turn| {
            let broker = match refused.take() {
                Some(RDKafkaErrorCode::NotController) => -1,
                None if self.answered.load(Ordering::Relaxed) >= 0 => self.answered.load(Ordering::Relaxed),
                _ => {
                    self.metadata_once(None, turn)?;
                    self.answered.load(Ordering::Relaxed)
                }
            };
            // -1 is the controller.
            let options = AdminOptions::new()
                .broker_id(broker)
                .request_timeout(Some(turn))
                .operation_timeout(Some(turn));
            let answer = wait(send(&options)).and_then(&read);
            if let Err(error) = &answer {
                refused = Some(errors::code(error).unwrap_or(RDKafkaErrorCode::Unknown));
            }
            answer
        })
    }

    pub(super) fn no_topic(&self, topic: &str) -> Fault {
        let place = &self.bootstrap;
        Fault::misuse(format!(
            "there is no topic {topic} in Kafka at {place}: create it first"
        ))
    }

    /// `Misuse` when a partition does not exist.
    pub(super) fn check(&self, asked: &[TopicPartition]) -> Result<()> {
        for topic in topics_of(asked) {
            let Some(count) = self.partition_count(topic)? else {
                return Err(self.no_topic(topic));
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
        let answer = self.request(|options| self.client.describe_configs(&asked, options), Ok);
        let answer = answer.map_err(|e| errors::fault(what, e))?;
        let info = |((name, partitions), answer): (&(&str, i32), Result<ConfigResource, RDKafkaErrorCode>)| {
            let config = answer.map_err(|code| errors::code_fault(&format!("{what} ({name})"), code))?;
            Ok(topic_info(name, *partitions, &config))
        };
        topics.iter().zip(answer).map(info).collect()
    }

    /// Waits until a broker shows a change of `topic`.
    fn wait_until(&self, topic: &str, what: &str, seen: impl Fn(Option<i32>) -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut glances = Glances::default();
        // A topic that is just being made has no leaders at first.
        while !matches!(self.partition_count_now(topic), Ok(found) if seen(found)) {
            if Instant::now() >= deadline {
                return Err(Fault::retry(format!(
                    "topic {topic} is still not {what} after {PATIENCE:?}"
                )));
            }
            glances.pause();
        }
        Ok(())
    }

    fn partition_count_now(&self, topic: &str) -> Result<Option<i32>> {
        self.count_in(&self.metadata_now(Some(topic))?, topic)
    }

    fn count_in(&self, metadata: &Metadata, topic: &str) -> Result<Option<i32>> {
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Ok(None);
        };
        match found.error().map(RDKafkaErrorCode::from) {
            None => Ok(Some(found.partitions().len() as i32)),
            Some(_) if !is_there(found) => Ok(None),
            Some(code) => Err(errors::code_fault(&format!("cannot ask about topic {topic}"), code)),
        }
    }

    /// Where partitions begin, or end: one question to each leader.
    fn offsets(&self, partitions: &[TopicPartition], at: Offset) -> Result<Vec<i64>> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let mut answer = self.offsets_now(partitions, at, false);
        if answer.as_ref().is_err_and(errors::is_unknown) {
            self.check(partitions)?;
            answer = self.offsets_now(partitions, at, true);
        }
        answer.map_err(|e| {
            let end = if at == Offset::End { "end" } else { "begin" };
            let names: Vec<_> = partitions.iter().map(TopicPartition::to_string).collect();
            errors::fault(&format!("cannot ask where partitions {end} ({})", names.join(", ")), e)
        })
    }

    /// When they are known to `exist`, whoever does not know them yet (this client, or a broker that has just become their
    /// leader) is asked again.
    fn offsets_now(&self, partitions: &[TopicPartition], at: Offset, exist: bool) -> Result<Vec<i64>, KafkaError> {
        let mut again = false;
        self.turns.ask(|turn| {
            if std::mem::replace(&mut again, true) {
                // Others may lead now.
                for topic in topics_of(partitions) {
                    self.metadata_once(Some(topic), turn)?;
                }
            }
            let mut list = TopicPartitionList::with_capacity(partitions.len());
            for tp in partitions {
                list.add_partition_offset(&tp.topic, tp.partition, at)?;
            }
            let not_yet = |error| match exist && errors::is_unknown(&error) {
                true => KafkaError::OffsetFetch(RDKafkaErrorCode::LeaderNotAvailable),
                false => error,
            };
            ffi::offsets_for_times(self.client.inner(), &mut list, turn).map_err(not_yet)?;
            let offset = |tp: &TopicPartition| {
                let unknown = KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownPartition);
                let Some(found) = list.find_partition(&tp.topic, tp.partition) else {
                    return Err(unknown);
                };
                found.error()?;
                match found.offset() {
                    Offset::Offset(offset) => Ok(offset),
                    // As it was asked: nobody was known to answer it.
                    _ => Err(unknown),
                }
            };
            partitions.iter().map(offset).collect::<Result<_, _>>().map_err(not_yet)
        })
    }
}

impl Admin for KafkaAdmin {
    fn topics(&self) -> Result<Vec<TopicInfo>> {
        let metadata = self.metadata(None)?;
        let mut topics: Vec<_> = shown(&metadata).collect();
        topics.sort_unstable();
        self.infos(&topics)
    }

    fn partition_counts(&self) -> Result<BTreeMap<Arc<str>, i32>> {
        let metadata = self.metadata(None)?;
        Ok(shown(&metadata)
            .map(|(name, partitions)| (Arc::from(name), partitions))
            .collect())
    }

    fn partition_count(&self, topic: &str) -> Result<Option<i32>> {
        self.count_in(&self.metadata(Some(topic))?, topic)
    }

    fn describe(&self, topic: &str) -> Result<Option<TopicInfo>> {
        match self.partition_count(topic)? {
            Some(partitions) => Ok(self.infos(&[(topic, partitions)])?.pop()),
            None => Ok(None),
        }
    }

    fn describe_all(&self, topics: &[&str]) -> Result<Vec<TopicInfo>> {
        let metadata = self.metadata(None)?;
        let asked: Vec<_> = shown(&metadata).filter(|(name, _)| topics.contains(name)).collect();
        self.infos(&asked)
    }

    fn create(&self, spec: &TopicSpec) -> Result<()> {
        self.create_all(std::slice::from_ref(spec))
    }

    fn create_all(&self, specs: &[TopicSpec]) -> Result<()> {
        let settings: Vec<_> = specs.iter().map(settings_of).collect();
        let new: Vec<_> = specs
            .iter()
            .zip(&settings)
            .map(|(spec, config)| new_topic(spec, config))
            .collect();
        let names: Vec<&str> = specs.iter().map(|spec| &*spec.name).collect();
        let what = format!("cannot create topic {}", names.join(", "));
        let mut tries = 0;
        let send = |options: &AdminOptions| {
            tries += 1;
            self.client.create_topics(&new, options)
        };
        let answer = self.request(send, unless_refused);
        for result in answer.map_err(|e| errors::fault(&what, e))? {
            match result {
                // By the try before, whose answer did not come.
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) if tries > 1 => (),
                Err((name, code)) => return Err(errors::code_fault(&format!("cannot create topic {name}"), code)),
                Ok(_) => (),
            }
        }
        let there = |spec: &TopicSpec| {
            self.wait_until(&spec.name, "there", |found| found == Some(spec.partitions))?;
            self.changes.note(&spec.name, true);
            Ok(())
        };
        specs.iter().try_for_each(there)
    }

    fn delete(&self, topic: &str) -> Result<()> {
        let what = format!("cannot delete topic {topic}");
        let answer = self.request(|options| self.client.delete_topics(&[topic], options), unless_refused);
        for result in answer.map_err(|e| errors::fault(&what, e))? {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => (),
                Err((_, code)) => return Err(errors::code_fault(&what, code)),
            }
        }
        self.wait_until(topic, "gone", |found| found.is_none())?;
        self.changes.note(topic, false);
        Ok(())
    }

    fn start_offsets(&self, partitions: &[TopicPartition]) -> Result<Vec<i64>> {
        self.offsets(partitions, Offset::Beginning)
    }

    fn end_offsets(&self, partitions: &[TopicPartition]) -> Result<Vec<i64>> {
        self.offsets(partitions, Offset::End)
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
        // librdkafka asks the leaders, and nobody else.
        let answer = self.turns.ask(|turn| {
            let options = AdminOptions::new()
                .request_timeout(Some(turn))
                .operation_timeout(Some(turn));
            wait(self.client.delete_records(&list, &options))
        });
        let answer = answer.map_err(|e| errors::fault(what, e))?;
        for element in answer.elements() {
            // Below the start there is nothing left to delete, which is as good as deleted.
            let place = || format!("{what} of {}-{}", element.topic(), element.partition());
            element.error().map_err(|e| errors::fault(&place(), e))?;
        }
        Ok(())
    }
}

/// Pauses between looks, longer each time.
struct Glances(Duration);

impl Default for Glances {
    fn default() -> Self {
        Self(GLANCES.0)
    }
}

impl Glances {
    fn pause(&mut self) {
        thread::park_timeout(self.0);
        self.0 = GLANCES.1.min(2 * self.0);
    }
}

fn is_there(topic: &MetadataTopic) -> bool {
    use RDKafkaErrorCode::{InvalidTopic, UnknownTopicOrPartition};
    let error = topic.error().map(RDKafkaErrorCode::from);
    !matches!(error, Some(UnknownTopicOrPartition | InvalidTopic))
}

/// Topics that are not Kafka's own, with their numbers of partitions.
fn shown(metadata: &Metadata) -> impl Iterator<Item = (&str, i32)> {
    let shown = |topic: &&MetadataTopic| topic.error().is_none() && !topic.name().starts_with("__");
    let counted = |topic: &'_ MetadataTopic| topic.partitions().len() as i32;
    metadata
        .topics()
        .iter()
        .filter(shown)
        .map(move |topic| (topic.name(), counted(topic)))
}

/// A topic's settings by Kafka's names.
fn settings_of(spec: &TopicSpec) -> Vec<(&str, String)> {
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
    config
}

fn new_topic<'a>(spec: &'a TopicSpec, config: &'a [(&str, String)]) -> NewTopic<'a> {
    let replication = TopicReplication::Fixed(spec.replication.map_or(-1, i32::from));
    let topic = NewTopic::new(&spec.name, spec.partitions, replication);
    config.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
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

fn topics_of(partitions: &[TopicPartition]) -> BTreeSet<&str> {
    partitions.iter().map(|tp| &*tp.topic).collect()
}

/// An answer, unless it is that of a broker which is not the controller and does not hand on to it.
fn unless_refused(answer: Vec<TopicResult>) -> Result<Vec<TopicResult>, KafkaError> {
    let refusal = RDKafkaErrorCode::NotController;
    match answer
        .iter()
        .any(|result| matches!(result, Err((_, code)) if *code == refusal))
    {
        true => Err(KafkaError::AdminOp(refusal)),
        false => Ok(answer),
    }
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

#[cfg(test)]
mod tests;
