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
use crate::broker::kafka::wire::Cluster;
use crate::broker::partitions::Partitions;
use crate::broker::record_batch::{BatchBuilder, headers};
use crate::broker::{Acked, Admin, GroupToken, OffsetCommit, PartitionRef, RawHeaders, Sink, TopicPartition};

/// What a batch of one record has besides its key, value and headers, at most.
const BATCH_OVERHEAD: usize = 130;
/// How long an abort may take. The thread itself gives up on old answers long before.
const ABORT: Duration = Duration::from_secs(10);

/// A writer to a cluster.
pub(in crate::broker::kafka) struct NativeSink {
    bootstrap: String,
    admin: Arc<KafkaAdmin>,
    groups: Arc<Groups>,
    topics: Vec<Topic>,
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

struct Topic {
    name: Arc<str>,
    partitions: i32,
    max_message_bytes: usize,
}

/// A partition that is written to.
struct Target {
    builder: BatchBuilder,
    /// The largest batch that the topic takes.
    max_message_bytes: usize,
    /// The largest batch that we make.
    most: usize,
}

impl NativeSink {
    /// A writer for these settings of a producer. Does not wait for a connection.
    pub(in crate::broker::kafka) fn new(
        bootstrap: &str,
        served: Served,
        admin: Arc<KafkaAdmin>,
        groups: Arc<Groups>,
    ) -> Result<Self> {
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
            bootstrap: bootstrap.to_owned(),
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

    fn topic(&mut self, name: &Arc<str>) -> Result<&Topic> {
        let known = self.topics.iter().position(|topic| topic.name == *name);
        let at = match known {
            Some(known) => known,
            None => {
                let Some(info) = self.admin.describe(name)? else {
                    let place = &self.bootstrap;
                    return Err(Fault::misuse(format!(
                        "there is no topic {name} in Kafka at {place}: create it first"
                    )));
                };
                self.topics.push(Topic {
                    name: name.clone(),
                    partitions: info.partitions,
                    max_message_bytes: info.max_message_bytes,
                });
                self.topics.len() - 1
            }
        };
        Ok(&self.topics[at])
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
        let mut acked = Acked::default();
        for ((tp, _), last) in self.partitions.iter().zip(lasts) {
            let last = match last {
                None => continue,
                // A repeated write was recognised and its offset not told: it is before the end.
                Some(-1) => self.admin.end_offsets(std::slice::from_ref(tp))?[0] - 1,
                Some(offset) => offset,
            };
            acked.last.push((tp.clone(), last));
        }
        Ok(acked)
    }
}

impl Sink for NativeSink {
    fn open(&mut self, partition: &TopicPartition) -> Result<PartitionRef> {
        if let Some(known) = self.partitions.known(partition) {
            return Ok(known);
        }
        let batch_bytes = self.batch_bytes;
        let topic = self.topic(&partition.topic)?;
        if !(0..topic.partitions).contains(&partition.partition) {
            return Err(Fault::misuse(format!(
                "there is no {partition}: the topic has {} partitions",
                topic.partitions
            )));
        }
        let max_message_bytes = topic.max_message_bytes;
        let target = Target {
            builder: BatchBuilder::default(),
            max_message_bytes,
            most: batch_bytes.min(max_message_bytes),
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
        if !headers.is_empty() && !headers::is_well_formed(headers) {
            return Err(Fault::misuse(format!(
                "a record for {tp} has headers that are not well formed"
            )));
        }
        let len = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        if len + headers.len() + BATCH_OVERHEAD > target.max_message_bytes {
            return Err(too_large(tp, len, target.max_message_bytes));
        }
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

    fn commit(&mut self, group: &GroupToken, offsets: &mut dyn FnMut(&Acked) -> Vec<OffsetCommit>) -> Result<()> {
        self.shared.check()?;
        self.hand_over_all()?;
        // The thread gives up on a record after the same time; let it speak first.
        self.shared.flush(self.delivery + Duration::from_secs(5))?;
        let acked = self.acked()?;
        self.groups.commit(group, &offsets(&acked))?;
        // The next commit is about what comes from now on.
        self.shared.inbox().forget_offsets();
        Ok(())
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

#[cold]
fn too_large(tp: &TopicPartition, len: usize, most: usize) -> Fault {
    Fault::misuse(format!(
        "a record of about {} bytes is too large for {tp}, which takes batches of {most} bytes: raise the topic's \
         max.message.bytes or send less",
        len + BATCH_OVERHEAD
    ))
}
