//! Writes to a cluster: an idempotent producer; a commit waits for every report before the offsets go.
//!
//! When records leave (decision record 0012): by [`KafkaSink::push_as_good`] when nothing is said about it, by
//! [`KafkaSink::push_next`] with `linger.ms` 0, else as the client does it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, DefaultProducerContext, Producer, PurgeConfig};

use super::admin::KafkaAdmin;
use super::errors;
use super::ffi::produce::{Produce, Report, ReportQueue, TopicHandle};
use super::groups::Groups;
use super::held::{Held, HeldRecord};
use super::pusher::Pusher;
use super::settings::{KafkaSettings, Linger};
use super::target::{self, TopicLimits};
use crate::broker::fault::{Fault, Result};
use crate::broker::partitions::Partitions;
use crate::broker::{
    Acked, GroupToken, OffsetCommit, PartitionRef, PendingOffsets, RawHeaders, Sink, SinkConfig, TopicPartition, Waker,
};

/// How long one wait for delivery reports takes, in milliseconds; it ends at the first that comes.
const GLANCE_MS: i32 = 10;
/// So many bytes that are not acknowledged leave by themselves: batches fill up, and what is left lingers behind them.
const CROWD: usize = 256 << 10;
/// What the client keeps for a record besides its key and value.
const MEMORY_OVERHEAD: usize = 192;

/// A writer to a cluster.
pub(super) struct KafkaSink {
    settings: Arc<KafkaSettings>,
    config: SinkConfig,
    admin: Arc<KafkaAdmin>,
    groups: Arc<Groups>,
    topics: Vec<Topic>,
    partitions: Partitions<Target>,
    progress: Progress,
    /// What waits while a push is under way; only without any linger.
    held: Held,
    zero: ZeroTimestamps,
    waker: Option<Waker>,
    client: Client,
}

/// A producer with what belongs to it.
struct Client {
    reports: ReportQueue<DefaultProducerContext>,
    pusher: Pusher,
    linger: Linger,
    producer: Arc<BaseProducer>,
    /// No batch is larger, but one of a single record.
    batch_bytes: usize,
}

struct Topic {
    name: Arc<str>,
    handle: TopicHandle<DefaultProducerContext>,
    limits: TopicLimits,
}

/// A partition that is written to.
struct Target {
    /// Its place among the topics.
    topic: usize,
    /// The last offset written since the last commit; -1 is "written, but the broker did not say where".
    last: Option<i64>,
}

/// What has become of the records since the last commit.
#[derive(Default)]
struct Progress {
    /// Bytes that are not acknowledged.
    buffered: usize,
    /// Bytes appended since the last [`Sink::send`].
    appended: usize,
    /// Whether records were pushed that are not all acknowledged.
    pushed: bool,
    /// The first record that was not written.
    failed: Option<(RDKafkaErrorCode, PartitionRef)>,
}

impl KafkaSink {
    pub(super) fn new(
        settings: &Arc<KafkaSettings>,
        config: &SinkConfig,
        admin: Arc<KafkaAdmin>,
        groups: Arc<Groups>,
    ) -> Result<Self> {
        Ok(Self {
            client: Client::new(settings, config, usize::MAX)?,
            settings: settings.clone(),
            config: config.clone(),
            admin,
            groups,
            topics: Vec::new(),
            partitions: Partitions::default(),
            progress: Progress::default(),
            held: Held::default(),
            zero: ZeroTimestamps::default(),
            waker: None,
        })
    }

    fn topic(&mut self, name: &Arc<str>) -> Result<usize> {
        if let Some(known) = self.topics.iter().position(|topic| topic.name == *name) {
            return Ok(known);
        }
        let limits = TopicLimits::of(name, &self.admin)?;
        let max_message_bytes = limits.max_message_bytes;
        if max_message_bytes < self.client.batch_bytes {
            // The broker would refuse full batches for good.
            self.wait_for_all()?;
            self.failure()?;
            self.start_anew(max_message_bytes)?;
        }
        let handle = TopicHandle::new(self.client.producer.clone(), name)?;
        self.topics.push(Topic {
            name: name.clone(),
            handle,
            limits,
        });
        Ok(self.topics.len() - 1)
    }

    /// Takes the reports that have come; waits for one when none has. False when there was none.
    fn look(&mut self, wait_ms: i32) -> bool {
        let Self {
            client,
            partitions,
            progress,
            ..
        } = self;
        client
            .reports
            .take(wait_ms, &mut |report| progress.note(&report, partitions))
    }

    /// Looks at the reports until `done` or the delivery time-out is over.
    fn wait_until(&mut self, mut done: impl FnMut(&mut Self) -> Result<bool>) -> Result<()> {
        // The client gives up on a record after the same time; let it speak first.
        let deadline = Instant::now() + self.config.delivery_timeout + Duration::from_secs(5);
        while !done(self)? {
            if Instant::now() >= deadline {
                let (waiting, limit) = (self.client.in_flight(), self.config.delivery_timeout);
                return Err(Fault::retry(format!(
                    "{waiting} records are not acknowledged after {limit:?}"
                )));
            }
            self.look(GLANCE_MS);
        }
        Ok(())
    }

    /// Until every record has its report.
    fn wait_for_all(&mut self) -> Result<()> {
        self.release()?;
        self.wait_until(|sink| {
            let done = sink.client.in_flight() == 0;
            if !done {
                // A commit waits for nobody's company.
                sink.client.pusher.push();
            }
            Ok(done)
        })
    }

    /// Gives a record to the client.
    fn hand_over(&mut self, record: &HeldRecord<'_>) -> Result<()> {
        let (tp, target) = self.partitions.get_mut(record.to)?;
        let produce = Produce {
            partition: tp.partition,
            timestamp: if record.timestamp == 0 {
                self.zero.instead(tp)
            } else {
                record.timestamp
            },
            key: record.key,
            value: record.value,
            headers: record.headers,
            tag: record.to.0 as usize,
        };
        match self.topics[target.topic].handle.produce(&produce) {
            Ok(()) => (),
            Err(RDKafkaErrorCode::QueueFull) => self.append_when_there_is_room(record.to, &produce)?,
            Err(code) => return Err(not_taken(tp, code)),
        }
        let len = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        self.progress.buffered += len + MEMORY_OVERHEAD;
        Ok(())
    }

    /// Gives the client what was held back.
    fn release(&mut self) -> Result<()> {
        let mut held = std::mem::take(&mut self.held);
        let done = held.records().try_for_each(|record| self.hand_over(&record));
        held.clear();
        self.held = held;
        done
    }

    /// Without any linger: what came while the last push was under way leaves when all of that is acknowledged. Given to
    /// the client earlier, it would wait there, and keep a thread of the client's busy.
    fn push_next(&mut self) -> Result<()> {
        if self.progress.is_under_way() {
            return Ok(());
        }
        self.release()?;
        self.progress.pushed = self.progress.buffered > 0;
        if self.progress.pushed {
            self.client.pusher.push();
        }
        Ok(())
    }

    /// With a linger of our own choice: what comes alone leaves at once, what comes in a crowd leaves together.
    fn push_as_good(&mut self, appended: usize) {
        let buffered = self.progress.buffered;
        if appended == 0 || buffered == 0 {
            return;
        }
        if buffered <= appended {
            // Whatever came before is acknowledged: there is nothing to wait for.
            self.client.pusher.push();
        } else if buffered <= CROWD {
            self.client.pusher.push_when_quiet();
        }
    }

    /// Lets reports wake whoever is to call [`Sink::send`], if anything may wait for them.
    fn listen(&mut self) {
        if let (Linger::None, Some(waker)) = (self.client.linger, &self.waker) {
            self.client.reports.wake_by(waker.clone());
        }
    }

    /// The client's queue is full: reports make room.
    #[cold]
    fn append_when_there_is_room(&mut self, to: PartitionRef, record: &Produce<'_>) -> Result<()> {
        self.wait_until(|sink| {
            let (tp, target) = sink.partitions.get_mut(to)?;
            match sink.topics[target.topic].handle.produce(record) {
                Ok(()) => Ok(true),
                Err(RDKafkaErrorCode::QueueFull) => Ok(false),
                Err(code) => Err(not_taken(tp, code)),
            }
        })
    }

    fn failure(&mut self) -> Result<()> {
        let Some((code, at)) = self.progress.failed else {
            return Ok(());
        };
        let (tp, _) = self.partitions.get_mut(at)?;
        Err(errors::code_fault(&format!("a record for {tp} was not written"), code))
    }

    /// Takes a new producer in place of one that cannot go on; references stay what they are.
    fn start_anew(&mut self, batch_bytes: usize) -> Result<()> {
        self.client = Client::new(&self.settings, &self.config, batch_bytes)?;
        for topic in &mut self.topics {
            topic.handle = TopicHandle::new(self.client.producer.clone(), &topic.name)?;
        }
        self.listen();
        Ok(())
    }

    /// The last offset of each partition written since the last commit.
    fn acked(&self) -> Result<Acked> {
        let lasts = self.partitions.iter().map(|(tp, target)| (tp, target.last));
        target::acked(lasts, &self.admin)
    }

    /// The next commit is about what comes from now on.
    fn forget_offsets(&mut self) {
        self.partitions.iter_mut().for_each(|(_, target)| target.last = None);
    }
}

/// Records whose timestamp is 0, which librdkafka takes for "now".
#[derive(Default)]
struct ZeroTimestamps {
    told: bool,
}

impl ZeroTimestamps {
    /// A millisecond is the smallest lie there is. It is told once.
    #[cold]
    fn instead(&mut self, of: &TopicPartition) -> i64 {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(
                "a record for {of} has timestamp 0, which the Kafka client cannot write: it and others get 1"
            );
        }
        1
    }
}

impl Progress {
    /// Whether something that was pushed is not acknowledged.
    fn is_under_way(&self) -> bool {
        self.pushed && self.buffered > 0
    }

    fn note(&mut self, report: &Report, partitions: &mut Partitions<Target>) {
        self.buffered = self.buffered.saturating_sub(report.len + MEMORY_OVERHEAD);
        let at = PartitionRef(report.tag as u32);
        if let Some(code) = report.error {
            self.failed.get_or_insert((code, at));
        } else if let Ok((_, target)) = partitions.get_mut(at) {
            target.last = target.last.max(Some(report.offset.max(-1)));
        }
    }
}

impl Client {
    /// A producer whose batches have no more than `batch_bytes`, or fewer if the settings say so.
    fn new(settings: &KafkaSettings, config: &SinkConfig, batch_bytes: usize) -> Result<Self> {
        let mut config = settings.sink(config);
        let set = config.get("batch.size").and_then(|bytes| bytes.parse().ok());
        let batch_bytes = set.unwrap_or(usize::MAX).min(batch_bytes);
        config.set("batch.size", batch_bytes.to_string());
        let made: BaseProducer = config
            .create()
            .map_err(|e| errors::fault("cannot make a Kafka producer", e))?;
        let producer = Arc::new(made);
        Ok(Self {
            reports: ReportQueue::new(producer.clone())?,
            pusher: Pusher::start(producer.clone())?,
            linger: settings.linger(),
            producer,
            batch_bytes,
        })
    }

    fn in_flight(&self) -> i32 {
        self.producer.in_flight_count()
    }
}

impl Sink for KafkaSink {
    fn open(&mut self, partition: &TopicPartition) -> Result<PartitionRef> {
        if let Some(known) = self.partitions.known(partition) {
            return Ok(known);
        }
        let topic = self.topic(&partition.topic)?;
        self.topics[topic].limits.check_partition(partition)?;
        Ok(self.partitions.add(partition.clone(), Target { topic, last: None }))
    }

    fn append(
        &mut self,
        to: PartitionRef,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: RawHeaders<'_>,
    ) -> Result<()> {
        let (tp, target) = self.partitions.get_mut(to)?;
        let limits = self.topics[target.topic].limits;
        let len = limits.check(tp, key, value, headers)?;
        let record = HeldRecord {
            to,
            timestamp,
            key,
            value,
            headers,
        };
        self.progress.appended += len + MEMORY_OVERHEAD;
        if self.client.linger != Linger::None || !self.progress.is_under_way() {
            return self.hand_over(&record);
        }
        self.held.push(&record);
        if self.held.len_bytes() > CROWD {
            self.release()?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        // The client's threads send by themselves. Here its memory is given back.
        while self.look(0) {}
        let appended = std::mem::take(&mut self.progress.appended);
        match self.client.linger {
            Linger::AsGood => self.push_as_good(appended),
            Linger::None => self.push_next()?,
            Linger::Given => (),
        }
        self.failure()
    }

    fn wake_by(&mut self, waker: Waker) {
        self.waker = Some(waker);
        self.listen();
    }

    fn begin_commit(
        &mut self,
        group: &GroupToken,
        offsets: &mut dyn FnMut(&Acked) -> Vec<OffsetCommit>,
    ) -> Result<PendingOffsets> {
        self.wait_for_all()?;
        self.failure()?;
        let acked = self.acked()?;
        self.forget_offsets();
        Ok(self.groups.pending(group, offsets(&acked)))
    }

    fn abort(&mut self) -> Result<()> {
        // What is under way may still be written: at-least-once. The next commit must not take it for its own.
        self.held.clear();
        self.client.producer.purge(PurgeConfig::default().queue());
        let waited = self.wait_for_all();
        self.progress = Progress::default();
        self.forget_offsets();
        if waited.is_err() || self.client.producer.client().fatal_error().is_some() {
            return self.start_anew(self.client.batch_bytes);
        }
        Ok(())
    }

    fn buffered_bytes(&self) -> usize {
        self.progress.buffered + self.held.len_bytes()
    }
}

#[cold]
fn not_taken(tp: &TopicPartition, code: RDKafkaErrorCode) -> Fault {
    errors::code_fault(&format!("a record for {tp} was not taken"), code)
}
