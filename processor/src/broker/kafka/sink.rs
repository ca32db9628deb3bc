//! Writes to a cluster: an idempotent producer; a commit waits for every report before the offsets go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer, ProducerContext, PurgeConfig};

use super::admin::KafkaAdmin;
use super::errors;
use super::ffi::{Produce, TopicHandle};
use super::groups::Groups;
use super::settings::KafkaSettings;
use crate::broker::fault::{Fault, Result};
use crate::broker::record_batch::headers;
use crate::broker::{
    Acked, Admin, GroupToken, OffsetCommit, PartitionRef, RawHeaders, Sink, SinkConfig, TopicPartition,
};

/// How long one look at the delivery reports takes. The client's own `flush` sleeps 100 ms at a time.
const GLANCE: Duration = Duration::from_millis(1);
/// What a batch of one record has besides its key, value and headers, at most.
const OVERHEAD: usize = 130;

/// A writer to a cluster.
pub(super) struct KafkaSink {
    settings: Arc<KafkaSettings>,
    config: SinkConfig,
    admin: Arc<KafkaAdmin>,
    groups: Arc<Groups>,
    topics: Vec<Topic>,
    /// Topic and partition of each reference.
    partitions: Vec<(usize, TopicPartition)>,
    by_name: HashMap<TopicPartition, PartitionRef>,
    /// Dropped after `topics`, whose handles need it.
    producer: Arc<BaseProducer<Reports>>,
}

struct Topic {
    name: Arc<str>,
    handle: TopicHandle<Reports>,
    partitions: i32,
    max_message_bytes: usize,
}

/// What the delivery reports have told since the last commit.
#[derive(Default)]
struct Reports(Mutex<Progress>);

#[derive(Default)]
struct Progress {
    /// The last offset of each partition, by reference; -1 is "written, but the broker did not say where".
    last: Vec<Option<i64>>,
    failed: Option<(KafkaError, PartitionRef)>,
    buffered: usize,
}

impl Reports {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, report: &DeliveryResult<'_>, partition: usize) {
        let mut progress = self.progress();
        let (message, error) = match report {
            Ok(message) => (message, None),
            Err((error, message)) => (message, Some(error)),
        };
        let size = message.key().map_or(0, <[u8]>::len) + message.payload().map_or(0, <[u8]>::len) + OVERHEAD;
        progress.buffered = progress.buffered.saturating_sub(size);
        if let Some(error) = error {
            if progress.failed.is_none() {
                progress.failed = Some((error.clone(), PartitionRef(partition as u32)));
            }
            return;
        }
        if progress.last.len() <= partition {
            progress.last.resize(partition + 1, None);
        }
        let last = &mut progress.last[partition];
        *last = (*last).max(Some(message.offset().max(-1)));
    }
}

impl KafkaSink {
    pub(super) fn new(
        settings: &Arc<KafkaSettings>,
        config: &SinkConfig,
        admin: Arc<KafkaAdmin>,
        groups: Arc<Groups>,
    ) -> Result<Self> {
        Ok(Self {
            producer: producer(settings, config)?,
            settings: settings.clone(),
            config: config.clone(),
            admin,
            groups,
            topics: Vec::new(),
            partitions: Vec::new(),
            by_name: HashMap::new(),
        })
    }

    fn topic(&mut self, name: &Arc<str>) -> Result<usize> {
        if let Some(known) = self.topics.iter().position(|topic| topic.name == *name) {
            return Ok(known);
        }
        let Some(info) = self.admin.describe(name)? else {
            let place = &self.settings.bootstrap;
            return Err(Fault::misuse(format!(
                "there is no topic {name} in Kafka at {place}: create it first"
            )));
        };
        let handle = TopicHandle::new(self.producer.clone(), name)?;
        let (partitions, max_message_bytes) = (info.partitions, info.max_message_bytes);
        self.topics.push(Topic {
            name: name.clone(),
            handle,
            partitions,
            max_message_bytes,
        });
        Ok(self.topics.len() - 1)
    }

    /// Looks at the reports until `done` or the delivery time-out is over.
    fn wait_until(&self, done: impl Fn() -> Result<bool>) -> Result<()> {
        // The client gives up on a record after the same time; let it speak first.
        let deadline = Instant::now() + self.config.delivery_timeout + Duration::from_secs(5);
        while !done()? {
            if Instant::now() >= deadline {
                let (waiting, limit) = (self.producer.in_flight_count(), self.config.delivery_timeout);
                return Err(Fault::retry(format!(
                    "{waiting} records are not acknowledged after {limit:?}"
                )));
            }
            self.producer.poll(GLANCE);
        }
        Ok(())
    }

    fn failure(&self) -> Result<()> {
        match &self.producer.context().progress().failed {
            None => Ok(()),
            Some((error, at)) => {
                let place = self
                    .partitions
                    .get(at.0 as usize)
                    .map(|(_, tp)| tp.to_string())
                    .unwrap_or_default();
                Err(errors::fault(
                    &format!("a record for {place} was not written"),
                    error.clone(),
                ))
            }
        }
    }

    /// Takes a new producer in place of one that cannot go on; references stay what they are.
    fn start_anew(&mut self) -> Result<()> {
        self.producer = producer(&self.settings, &self.config)?;
        for topic in &mut self.topics {
            topic.handle = TopicHandle::new(self.producer.clone(), &topic.name)?;
        }
        Ok(())
    }

    /// The last offset of each partition written since the last commit.
    fn acked(&self) -> Result<Acked> {
        let progress = self.producer.context().progress();
        let mut acked = Acked::default();
        for ((_, tp), last) in self.partitions.iter().zip(&progress.last) {
            match last {
                None => (),
                // A repeated write was recognised and its offset not told: it is before the end.
                Some(-1) => acked
                    .last
                    .push((tp.clone(), self.admin.end_offsets(std::slice::from_ref(tp))?[0] - 1)),
                Some(offset) => acked.last.push((tp.clone(), *offset)),
            }
        }
        Ok(acked)
    }
}

fn producer(settings: &KafkaSettings, config: &SinkConfig) -> Result<Arc<BaseProducer<Reports>>> {
    let made = settings.sink(config).create_with_context(Reports::default());
    Ok(Arc::new(
        made.map_err(|e| errors::fault("cannot make a Kafka producer", e))?,
    ))
}

impl Sink for KafkaSink {
    fn open(&mut self, partition: &TopicPartition) -> Result<PartitionRef> {
        if let Some(known) = self.by_name.get(partition) {
            return Ok(*known);
        }
        let topic = self.topic(&partition.topic)?;
        let count = self.topics[topic].partitions;
        if !(0..count).contains(&partition.partition) {
            return Err(Fault::misuse(format!(
                "there is no {partition}: the topic has {count} partitions"
            )));
        }
        let reference = PartitionRef(self.partitions.len() as u32);
        self.partitions.push((topic, partition.clone()));
        self.by_name.insert(partition.clone(), reference);
        Ok(reference)
    }

    fn append(
        &mut self,
        to: PartitionRef,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: RawHeaders<'_>,
    ) -> Result<()> {
        let Some((topic, tp)) = self.partitions.get(to.0 as usize) else {
            return Err(Fault::misuse(format!(
                "partition {} was never opened by this sink",
                to.0
            )));
        };
        let topic = &self.topics[*topic];
        if !headers.is_empty() && !headers::is_well_formed(headers) {
            return Err(Fault::misuse(format!(
                "a record for {tp} has headers that are not well formed"
            )));
        }
        let size = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + OVERHEAD;
        if size + headers.len() > topic.max_message_bytes {
            let most = topic.max_message_bytes;
            return Err(Fault::misuse(format!(
                "a record of about {size} bytes is too large for {tp}, which takes batches of {most} bytes: raise the \
                 topic's max.message.bytes or send less"
            )));
        }
        // librdkafka takes 0 for "now". A millisecond is the smallest lie there is.
        let timestamp = if timestamp == 0 { 1 } else { timestamp };
        let record = Produce {
            partition: tp.partition,
            timestamp,
            key,
            value,
            headers,
            opaque: to.0 as usize,
        };
        self.producer.context().progress().buffered += size;
        self.wait_until(|| match topic.handle.produce(&record) {
            Ok(()) => Ok(true),
            // Its queue is full: reports make room.
            Err(RDKafkaErrorCode::QueueFull) => Ok(false),
            Err(code) => Err(errors::code_fault(&format!("a record for {tp} was not taken"), code)),
        })
        .inspect_err(|_| {
            let mut progress = self.producer.context().progress();
            progress.buffered = progress.buffered.saturating_sub(size);
        })
    }

    fn send(&mut self) -> Result<()> {
        // The client's threads send by themselves.
        self.producer.poll(Duration::ZERO);
        self.failure()
    }

    fn commit(&mut self, group: &GroupToken, offsets: &mut dyn FnMut(&Acked) -> Vec<OffsetCommit>) -> Result<()> {
        self.wait_until(|| Ok(self.producer.in_flight_count() == 0))?;
        self.failure()?;
        let acked = self.acked()?;
        self.groups.commit(group, &offsets(&acked))?;
        self.producer.context().progress().last.clear();
        Ok(())
    }

    fn abort(&mut self) -> Result<()> {
        // What is under way may still be written: at-least-once. The next commit must not take it for its own.
        self.producer.purge(PurgeConfig::default().queue());
        let waited = self.wait_until(|| Ok(self.producer.in_flight_count() == 0));
        if waited.is_err() || self.producer.client().fatal_error().is_some() {
            return self.start_anew();
        }
        *self.producer.context().progress() = Progress::default();
        Ok(())
    }

    fn buffered_bytes(&self) -> usize {
        self.producer.context().progress().buffered
    }
}
