//! Reads a cluster: messages in batches, copied into one buffer per partition and poll.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_topology::record::{RawRecord, Span};
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::errors;
use super::ffi::{Message, MessageQueue, Slots};
use super::settings::KafkaSettings;
use crate::broker::fault::{Fault, Result};
use crate::broker::{Chunk, Fetch, FetchConfig, FetchEvent, TopicPartition, Waker};

/// How many messages are taken at a time.
const BATCH: usize = 1000;
/// How often an idle reader asks whether its topics are still there: librdkafka tells that to its own log only.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How long a broker may take to tell where a partition begins and ends.
const PATIENCE: Duration = Duration::from_secs(30);

/// A reader of a cluster.
pub(super) struct KafkaFetch {
    consumer: Arc<BaseConsumer>,
    queue: Arc<MessageQueue<DefaultConsumerContext>>,
    slots: Slots,
    config: FetchConfig,
    cursors: Cursors,
    woken: Arc<AtomicBool>,
    last_look: Instant,
}

/// The assigned partitions; found by name, or at once while messages of one partition follow each other.
#[derive(Default)]
struct Cursors {
    all: Vec<Cursor>,
    /// The topic (as [`Message::topic_id`]), partition and place of the last message.
    last: Option<(usize, i32, usize)>,
}

struct Cursor {
    partition: TopicPartition,
    /// The position as told to the caller.
    next: i64,
    /// The position does not exist; waits to be assigned anew.
    stuck: bool,
    /// The last look found no such topic. Brokers learn of a topic one after the other: twice makes it true.
    missing: bool,
    gathered: Gathered,
}

/// Records of one partition in this poll.
#[derive(Default)]
struct Gathered {
    buffer: Vec<u8>,
    records: Vec<RawRecord>,
}

/// What is to be told about a partition besides its records.
struct Trouble {
    partition: TopicPartition,
    code: RDKafkaErrorCode,
    text: String,
}

impl KafkaFetch {
    pub(super) fn new(settings: &KafkaSettings, config: &FetchConfig) -> Result<Self> {
        let made = settings.reader(config).create();
        let consumer: BaseConsumer = made.map_err(|e| errors::fault("cannot make a Kafka consumer", e))?;
        let consumer = Arc::new(consumer);
        let queue = Arc::new(MessageQueue::new(consumer.clone())?);
        let (slots, cursors) = (Slots::new(BATCH), Cursors::default());
        Ok(Self {
            consumer,
            queue,
            slots,
            config: config.clone(),
            cursors,
            woken: Arc::default(),
            last_look: Instant::now(),
        })
    }

    /// Takes what has arrived, up to the bounds of one poll.
    fn gather(&mut self, timeout: Duration) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        let bytes = Cell::new(0);
        let cursors = &mut self.cursors;
        let mut each = |message: &Message<'_>| match cursors.find(message) {
            Some(cursor) => match message.error() {
                None => bytes.set(bytes.get() + cursor.gathered.push(message)),
                Some(code) => {
                    troubles.push(Trouble {
                        partition: cursor.partition.clone(),
                        code,
                        text: message.error_text(),
                    });
                }
            },
            None if message.error().is_some() => {
                tracing::warn!(topic = message.topic(), "Kafka: {}", message.error_text());
            }
            // Of a partition that was given up just now.
            None => (),
        };
        // The first call waits for one message; those behind it take what is there.
        let wait = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        let mut got = self.queue.take(wait, 1, &mut self.slots, &mut each);
        while got > 0 && bytes.get() < self.config.max_poll_bytes {
            got = self.queue.take(0, BATCH, &mut self.slots, &mut each);
            if got < BATCH {
                break;
            }
        }
        self.cursors.last = None;
        troubles
    }

    fn hand_out(&mut self, out: &mut Vec<FetchEvent>) {
        for cursor in &mut self.cursors.all {
            let gathered = std::mem::take(&mut cursor.gathered);
            let Some(last) = gathered.records.last() else { continue };
            cursor.next = last.offset + 1;
            let tp = &cursor.partition;
            let chunk = Chunk::new(
                tp.topic.clone(),
                tp.partition,
                Bytes::from(gathered.buffer),
                gathered.records,
            );
            out.push(event(&self.consumer, cursor, chunk));
        }
    }

    /// Positions that moved without a record: over transaction markers and aborted records.
    fn hand_out_moves(&mut self, out: &mut Vec<FetchEvent>) -> Result<()> {
        let positions = self
            .consumer
            .position()
            .map_err(|e| errors::fault("cannot ask for positions", e))?;
        for cursor in self.cursors.all.iter_mut().filter(|cursor| !cursor.stuck) {
            let tp = &cursor.partition;
            let position = positions
                .find_partition(&tp.topic, tp.partition)
                .map(|element| element.offset());
            if let Some(Offset::Offset(position)) = position
                && position > cursor.next
            {
                cursor.next = position;
                let chunk = Chunk::new(tp.topic.clone(), tp.partition, Bytes::new(), Vec::new());
                out.push(event(&self.consumer, cursor, chunk));
            }
        }
        Ok(())
    }

    /// Tells of topics that are gone.
    fn look_for_lost(&mut self, out: &mut Vec<FetchEvent>) -> Result<()> {
        if self.last_look.elapsed() < LOOK_INTERVAL {
            return Ok(());
        }
        self.last_look = Instant::now();
        let topics: BTreeSet<Arc<str>> = self
            .cursors
            .all
            .iter()
            .map(|cursor| cursor.partition.topic.clone())
            .collect();
        let mut lost = Vec::new();
        for topic in topics {
            // Brokers that cannot be reached say nothing about the topic.
            let Ok(metadata) = self.consumer.fetch_metadata(Some(&topic), LOOK_INTERVAL) else {
                continue;
            };
            let found = metadata.topics().iter().find(|found| found.name() == &*topic);
            let code = found.and_then(|found| found.error()).map(RDKafkaErrorCode::from);
            let missing = code == Some(RDKafkaErrorCode::UnknownTopicOrPartition);
            for cursor in self
                .cursors
                .all
                .iter_mut()
                .filter(|cursor| cursor.partition.topic == topic)
            {
                if missing && cursor.missing {
                    lost.push(cursor.partition.clone());
                }
                cursor.missing = missing;
            }
        }
        for partition in lost {
            let code = RDKafkaErrorCode::UnknownTopicOrPartition;
            self.tell(
                Trouble {
                    partition,
                    code,
                    text: String::new(),
                },
                out,
            )?;
        }
        Ok(())
    }

    fn tell(&mut self, trouble: Trouble, out: &mut Vec<FetchEvent>) -> Result<()> {
        use RDKafkaErrorCode::{
            AutoOffsetReset, OffsetOutOfRange, TopicAuthorizationFailed, UnknownPartition, UnknownTopic,
            UnknownTopicOrPartition,
        };
        let Trouble { partition, code, text } = trouble;
        match code {
            AutoOffsetReset | OffsetOutOfRange => {
                let what = format!("cannot ask where {partition} begins and ends");
                let marks = self
                    .consumer
                    .fetch_watermarks(&partition.topic, partition.partition, PATIENCE);
                let (start, end) = marks.map_err(|e| errors::fault(&what, e))?;
                for cursor in self
                    .cursors
                    .all
                    .iter_mut()
                    .filter(|cursor| cursor.partition == partition)
                {
                    cursor.stuck = true;
                }
                out.push(FetchEvent::OutOfRange { partition, start, end });
            }
            UnknownTopicOrPartition | UnknownTopic | UnknownPartition | TopicAuthorizationFailed => {
                let reason = errors::code_fault(&format!("cannot read {partition}"), code).to_string();
                self.assign(&[(partition.clone(), None)])?;
                out.push(FetchEvent::Lost { partition, reason });
            }
            _ => return Err(errors::code_fault(&format!("cannot read {partition} ({text})"), code)),
        }
        Ok(())
    }

    fn list(&self, partitions: &[TopicPartition]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for tp in partitions.iter().filter(|tp| self.cursors.place(tp).is_some()) {
            list.add_partition(&tp.topic, tp.partition);
        }
        list
    }
}

impl Cursors {
    fn place(&self, tp: &TopicPartition) -> Option<usize> {
        self.all.iter().position(|cursor| cursor.partition == *tp)
    }

    fn find(&mut self, message: &Message<'_>) -> Option<&mut Cursor> {
        let (topic, partition) = (message.topic_id(), message.partition());
        let index = match self.last {
            Some((last_topic, last_partition, index)) if (last_topic, last_partition) == (topic, partition) => index,
            _ => {
                let name = message.topic();
                let mine =
                    |cursor: &Cursor| cursor.partition.partition == partition && &*cursor.partition.topic == name;
                let index = self.all.iter().position(mine)?;
                self.last = Some((topic, partition, index));
                index
            }
        };
        self.all.get_mut(index)
    }
}

impl Gathered {
    /// Copies a message; returns the bytes it took. One that would take the buffer beyond 4 GiB cannot come: a poll ends
    /// at far fewer, and a message has at most 2.
    fn push(&mut self, message: &Message<'_>) -> usize {
        let before = self.buffer.len();
        let key = self.copy(message.key());
        let value = self.copy(message.value());
        let start = self.buffer.len();
        message.write_headers(&mut self.buffer);
        let headers = Span {
            start: start as u32,
            len: (self.buffer.len() - start) as u32,
        };
        let (offset, timestamp) = (message.offset(), message.timestamp());
        self.records.push(RawRecord {
            offset,
            timestamp,
            key,
            value,
            headers,
        });
        self.buffer.len() - before + size_of::<RawRecord>()
    }

    fn copy(&mut self, bytes: Option<&[u8]>) -> Span {
        let Some(bytes) = bytes else { return Span::NULL };
        let start = self.buffer.len() as u32;
        self.buffer.extend_from_slice(bytes);
        Span {
            start,
            len: bytes.len() as u32,
        }
    }
}

fn event(consumer: &BaseConsumer, cursor: &Cursor, chunk: Chunk) -> FetchEvent {
    let partition = cursor.partition.clone();
    let high = super::ffi::cached_end(consumer, &partition.topic, partition.partition).unwrap_or(0);
    FetchEvent::Chunk {
        partition,
        chunk: Arc::new(chunk),
        next: cursor.next,
        high_watermark: high.max(cursor.next),
    }
}

impl Fetch for KafkaFetch {
    fn assign(&mut self, diff: &[(TopicPartition, Option<i64>)]) -> Result<()> {
        // The last word about a partition counts.
        let wanted: HashMap<&TopicPartition, Option<i64>> = diff.iter().map(|(tp, position)| (tp, *position)).collect();
        let (mut gone, mut come) = (TopicPartitionList::new(), TopicPartitionList::new());
        let what = "cannot change what is read";
        for (tp, position) in wanted {
            if let Some(index) = self.cursors.place(tp) {
                gone.add_partition(&tp.topic, tp.partition);
                self.cursors.all.swap_remove(index);
            }
            if let Some(position) = position {
                if position < 0 {
                    return Err(Fault::misuse(format!("{tp} cannot be read from offset {position}")));
                }
                let added = come.add_partition_offset(&tp.topic, tp.partition, Offset::Offset(position));
                added.map_err(|e| errors::fault(what, e))?;
                let (partition, gathered) = (tp.clone(), Gathered::default());
                self.cursors.all.push(Cursor {
                    partition,
                    next: position,
                    stuck: false,
                    missing: false,
                    gathered,
                });
            }
        }
        // Taking a partition away makes librdkafka drop what it has fetched of it, also for one that only moves.
        let done = |list: &TopicPartitionList, change: &dyn Fn() -> KafkaResult<()>| {
            if list.count() == 0 {
                Ok(())
            } else {
                change().map_err(|e| errors::fault(what, e))
            }
        };
        done(&gone, &|| self.consumer.incremental_unassign(&gone))?;
        done(&come, &|| self.consumer.incremental_assign(&come))
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.consumer
            .pause(&self.list(partitions))
            .map_err(|e| errors::fault("cannot pause", e))
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.consumer
            .resume(&self.list(partitions))
            .map_err(|e| errors::fault("cannot resume", e))
    }

    fn poll(&mut self, timeout: Duration, out: &mut Vec<FetchEvent>) -> Result<()> {
        let wait = if self.woken.swap(false, Ordering::AcqRel) {
            Duration::ZERO
        } else {
            timeout
        };
        let before = out.len();
        let troubles = self.gather(wait);
        self.woken.store(false, Ordering::Release);
        self.hand_out(out);
        for trouble in troubles {
            self.tell(trouble, out)?;
        }
        if out.len() == before && !self.cursors.all.is_empty() {
            self.hand_out_moves(out)?;
            self.look_for_lost(out)?;
        }
        Ok(())
    }

    fn waker(&self) -> Waker {
        let (queue, woken) = (self.queue.clone(), self.woken.clone());
        Arc::new(move || {
            woken.store(true, Ordering::Release);
            queue.wake();
        })
    }
}
