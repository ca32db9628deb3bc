//! The sink over its thread.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::driver::Driver;
use super::settings::Served;
use super::shared::Shared;
use crate::broker::fault::{Fault, Result};
use crate::broker::kafka::admin::KafkaAdmin;
use crate::broker::kafka::groups::Groups;
use crate::broker::kafka::target::{self, TopicLimits};
use crate::broker::kafka::wire::Cluster;
use crate::broker::partitions::Partitions;
use crate::broker::record_batch::BatchBuilder;
use crate::broker::{Acked, GroupToken, OffsetCommit, PartitionRef, PendingOffsets, RawHeaders, Sink, TopicPartition};

/// How long an abort may take. The thread itself gives up on old answers long before.
const ABORT: Duration = Duration::from_secs(10);

/// A writer to a cluster.
pub(in crate::broker::kafka) struct NativeSink {
    admin: Arc<KafkaAdmin>,
    groups: Arc<Groups>,
    topics: Vec<(Arc<str>, TopicLimits)>,
    partitions: Partitions<Target>,
    /// Partitions with records that are not handed over.
    open: Vec<PartitionRef>,
    open_bytes: usize,
    batch_bytes: usize,
    memory: usize,
    delivery: Duration,
    shared: Arc<Shared>,
    /// `None` only while it is dropped.
    thread: Option<JoinHandle<()>>,
}

/// A partition that is written to.
struct Target {
    builder: BatchBuilder,
    limits: TopicLimits,
    /// The largest batch that we make.
    most: usize,
}

impl NativeSink {
    /// A writer for these settings of a producer. Does not wait for a connection.
    pub(in crate::broker::kafka) fn new(served: Served, admin: Arc<KafkaAdmin>, groups: Arc<Groups>) -> Result<Self> {
        let Served { connections, settings } = served;
        let started = Instant::now();
        let cluster = Cluster::new(connections)?;
        let shared = Arc::new(Shared::new(cluster.waker(), started));
        let (batch_bytes, memory) = (settings.batch_bytes, settings.memory);
        let delivery = settings.limits.delivery;
        let driver = Driver::new(cluster, settings, shared.clone());
        let ended = Ended(shared.clone());
        let thread = thread::Builder::new().name("kafka-produce".into()).spawn(move || {
            let _ended = ended;
            driver.run();
        });
        let thread = thread.map_err(|e| Fault::retry(format!("cannot start a thread that writes to Kafka: {e}")))?;
        Ok(Self {
            admin,
            groups,
            topics: Vec::new(),
            partitions: Partitions::default(),
            open: Vec::new(),
            open_bytes: 0,
            batch_bytes,
            memory,
            delivery,
            shared,
            thread: Some(thread),
        })
    }

    fn topic(&mut self, name: &Arc<str>) -> Result<TopicLimits> {
        if let Some((_, known)) = self.topics.iter().find(|(topic, _)| topic == name) {
            return Ok(*known);
        }
        let limits = TopicLimits::of(name, &self.admin)?;
        self.topics.push((name.clone(), limits));
        Ok(limits)
    }

    /// Hands over what a partition has.
    #[cold]
    fn hand_over(&mut self, at: PartitionRef, full: bool) -> Result<()> {
        let limits = (self.memory, self.delivery);
        let (_, target) = self.partitions.get_mut(at)?;
        let bytes = target.builder.len();
        self.shared.hand_over(at.0, &mut target.builder, full, limits)?;
        self.open_bytes = self.open_bytes.saturating_sub(bytes);
        Ok(())
    }

    /// Hands over what all partitions have.
    fn hand_over_all(&mut self) -> Result<()> {
        while let Some(at) = self.open.last().copied() {
            self.hand_over(at, false)?;
            self.open.pop();
        }
        Ok(())
    }

    /// The last offset of each partition written since the last commit.
    fn acked(&self) -> Result<Acked> {
        let lasts: Vec<Option<i64>> = self.shared.inbox().slots.iter().map(|slot| slot.last).collect();
        let partitions = self.partitions.iter().map(|(tp, _)| tp);
        target::acked(partitions.zip(lasts), &self.admin)
    }
}

impl Sink for NativeSink {
    fn open(&mut self, partition: &TopicPartition) -> Result<PartitionRef> {
        if let Some(known) = self.partitions.known(partition) {
            return Ok(known);
        }
        let limits = self.topic(&partition.topic)?;
        limits.check_partition(partition)?;
        let target = Target {
            builder: BatchBuilder::default(),
            limits,
            most: self.batch_bytes.min(limits.max_message_bytes),
        };
        self.shared.open(partition.clone(), target.most);
        Ok(self.partitions.add(partition.clone(), target))
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
        target.limits.check(tp, key, value, headers)?;
        let mut before = target.builder.len();
        if before > 0 && target.builder.len_with(key, value, headers) > target.most {
            self.hand_over(to, true)?;
            before = 0;
        } else if before == 0 {
            self.open.push(to);
        }
        let (_, target) = self.partitions.get_mut(to)?;
        target.builder.append(timestamp, key, value, headers);
        self.open_bytes += target.builder.len() - before;
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        self.shared.check()?;
        self.hand_over_all()
    }

    fn begin_commit(
        &mut self,
        group: &GroupToken,
        offsets: &mut dyn FnMut(&Acked) -> Vec<OffsetCommit>,
    ) -> Result<PendingOffsets> {
        self.shared.check()?;
        self.hand_over_all()?;
        // The thread gives up on a record after the same time; let it speak first.
        self.shared.flush(self.delivery + Duration::from_secs(5))?;
        let acked = self.acked()?;
        // The next commit is about what comes from now on.
        self.shared.inbox().forget_offsets();
        Ok(self.groups.pending(group, offsets(&acked)))
    }

    fn abort(&mut self) -> Result<()> {
        for at in self.open.drain(..) {
            self.partitions.get_mut(at)?.1.builder.clear();
        }
        self.open_bytes = 0;
        self.shared.abort(ABORT)
    }

    fn buffered_bytes(&self) -> usize {
        self.open_bytes + self.shared.pending()
    }
}

impl Drop for NativeSink {
    fn drop(&mut self) {
        self.shared.quit();
        if let Some(thread) = self.thread.take() {
            // It has told if it has panicked.
            let _ = thread.join();
        }
    }
}

/// Tells the sink that its thread has ended, however it did.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end();
    }
}
