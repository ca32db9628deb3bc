//! Everything the process writes, through one sink: outputs of all tasks in the order they were made, then changelogs.
//!
//! One sink per process, not per thread: only so do records of several tasks lie in a repartition partition in the order
//! of event time that the gate gave them (OR-3), and a commit costs once (decision record 0003).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use millstream_topology::outbox::{NodeRef, OutRecord, Outbox};
use millstream_topology::policy::Reason;
use millstream_topology::{headers, node::dead_letter};

use crate::broker::{
    Acked, Broker, GroupToken, OffsetCommit, PartitionRef, PendingOffsets, Sink, SinkConfig, TopicPartition, Waker,
};
use crate::config::{Config, Policy};
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Event, Events};
use crate::partitioner::partition_for;

/// The process's way out.
pub struct Outputs {
    broker: Arc<dyn Broker>,
    events: Arc<Events>,
    sink: Box<dyn Sink>,
    production_policy: Policy,
    dead_letter_topic: Option<Arc<str>>,
    routes: Vec<Route>,
    by_topic: HashMap<Arc<str>, usize>,
}

/// A topic that is written to.
struct Route {
    topic: Arc<str>,
    /// Empty for a topic that does not exist.
    partitions: Vec<PartitionRef>,
    written: u64,
}

impl Outputs {
    /// Opens the sink.
    pub fn open(broker: Arc<dyn Broker>, config: &Config, events: Arc<Events>) -> Result<Outputs> {
        let sink = broker.sink(&SinkConfig {
            name: config.client_id.clone(),
            delivery_timeout: config.task_timeout,
        })?;
        Ok(Outputs {
            broker,
            events,
            sink,
            production_policy: config.production_policy,
            dead_letter_topic: config.dead_letter_topic.as_deref().map(Arc::from),
            routes: Vec::new(),
            by_topic: HashMap::new(),
        })
    }

    /// Finds the way to topics before the first record for them: a log far away takes its time.
    pub fn reach<'a>(&mut self, topics: impl Iterator<Item = &'a str>) -> Result<()> {
        for topic in topics {
            self.route(&Arc::from(topic))?;
        }
        Ok(())
    }

    /// Appends what a task wants to send, in its order. `routes` is the task's own memory of where its topics go.
    /// `task_partition` is where records without a key go (modulo the topic's partitions): like the rest, the same in
    /// every run. What the log does not take (door 3) is noted in `refused`, whatever the policy says.
    pub fn append_all(
        &mut self,
        outbox: &Outbox,
        routes: &mut Vec<Option<usize>>,
        task_partition: i32,
        refused: &mut Vec<(NodeRef, Reason)>,
    ) -> Result<()> {
        for record in outbox.records() {
            let index = record.topic_ref.index();
            if index >= routes.len() {
                routes.resize(index + 1, None);
            }
            let route = match routes[index] {
                Some(route) => route,
                None => *routes[index].insert(self.route(record.topic)?),
            };
            if let Some((reason, detail)) = self.append(route, &record, task_partition)? {
                refused.push((record.node, reason));
                self.refuse(&record, outbox.node_name(record.node), reason, &detail)?;
            }
        }
        Ok(())
    }

    /// Says why when the log does not take the record.
    fn append(
        &mut self,
        route: usize,
        record: &OutRecord<'_>,
        task_partition: i32,
    ) -> Result<Option<(Reason, String)>> {
        let target = &mut self.routes[route];
        let count = target.partitions.len() as i32;
        let partition = match record.partition_key {
            _ if count == 0 => {
                let detail = format!("topic {} does not exist: create it", record.topic);
                return Ok(Some((Reason::NoTopic, detail)));
            }
            Some(key) => partition_for(key, count),
            None => task_partition.rem_euclid(count),
        };
        let Some(to) = usize::try_from(partition).ok().and_then(|at| target.partitions.get(at)) else {
            let detail = format!(
                "topic {} has {count} partitions, not one of number {partition}",
                record.topic
            );
            return Ok(Some((Reason::NoPartition, detail)));
        };
        match self
            .sink
            .append(*to, record.timestamp, record.key, record.value, record.headers)
        {
            Ok(()) => {
                target.written += 1;
                Ok(None)
            }
            Err(error) if error.kind == ErrorKind::Misuse => Ok(Some((Reason::RefusedByLog, error.to_string()))),
            Err(error) => Err(error),
        }
    }

    /// Door 3: the log does not take this record.
    #[cold]
    fn refuse(&mut self, record: &OutRecord<'_>, node: &str, reason: Reason, detail: &str) -> Result<()> {
        self.events.emit(&Event::OutputRefused {
            node,
            topic: record.topic,
            reason: detail,
        });
        let dead_letters = match (self.production_policy, &self.dead_letter_topic) {
            (Policy::Continue, _) => return Ok(()),
            (Policy::DeadLetter, Some(topic)) if topic != record.topic => topic.clone(),
            _ => {
                let mend = "production.exception.handler can be set to continue or dead-letter";
                return Err(Error::misuse(format!(
                    "output of {node} to {} refused: {detail} ({mend})",
                    record.topic
                )));
            }
        };
        let more = [
            (dead_letter::EXCEPTION, Some(reason.as_str().as_bytes())),
            (dead_letter::MESSAGE, Some(detail.as_bytes())),
            (dead_letter::TOPIC, Some(record.topic.as_bytes())),
            (dead_letter::REASON, Some(reason.as_str().as_bytes())),
            (dead_letter::NODE, Some(node.as_bytes())),
        ];
        let mut block = Vec::new();
        headers::append(record.headers, &more, &mut block);
        let route = self.route(&dead_letters)?;
        let Some(to) = self.routes[route].partitions.first().copied() else {
            return Err(Error::misuse(format!(
                "the dead-letter topic {dead_letters} does not exist: create it"
            )));
        };
        self.routes[route].written += 1;
        match self.sink.append(to, record.timestamp, record.key, record.value, &block) {
            // Too large for this topic too: the letter at least says what is missing.
            Err(error) if error.kind == ErrorKind::Misuse => self.sink.append(to, record.timestamp, None, None, &block),
            done => done,
        }
    }

    /// Appends a record to a changelog partition.
    pub fn append_changelog(
        &mut self,
        to: PartitionRef,
        key: &[u8],
        value: Option<&[u8]>,
        timestamp: i64,
    ) -> Result<()> {
        self.sink.append(to, timestamp, Some(key), value, &[])
    }

    /// A partition to append to by hand.
    pub fn partition(&mut self, partition: &TopicPartition) -> Result<PartitionRef> {
        self.sink.open(partition)
    }

    fn route(&mut self, topic: &Arc<str>) -> Result<usize> {
        if let Some(route) = self.by_topic.get(topic) {
            return Ok(*route);
        }
        let count = self.broker.admin().partition_count(topic)?.unwrap_or(0);
        let mut partitions = Vec::new();
        for partition in 0..count {
            partitions.push(self.sink.open(&TopicPartition::new(topic.clone(), partition))?);
        }
        self.routes.push(Route {
            topic: topic.clone(),
            partitions,
            written: 0,
        });
        self.by_topic.insert(topic.clone(), self.routes.len() - 1);
        Ok(self.routes.len() - 1)
    }

    /// Hands on what is full.
    pub fn send(&mut self) -> Result<()> {
        self.sink.send()
    }

    /// See [`Sink::wake_by`].
    pub fn wake_by(&mut self, waker: Waker) {
        self.sink.wake_by(waker);
    }

    /// See [`Sink::begin_commit`].
    pub fn begin_commit(
        &mut self,
        token: &GroupToken,
        offsets: &mut dyn FnMut(&Acked) -> Vec<OffsetCommit>,
    ) -> Result<PendingOffsets> {
        self.sink.begin_commit(token, offsets)
    }

    /// Drops what is not committed.
    pub fn abort(&mut self) -> Result<()> {
        self.sink.abort()
    }

    /// Bytes that are appended and not committed.
    pub fn buffered_bytes(&self) -> usize {
        self.sink.buffered_bytes()
    }

    /// Records written by topic.
    pub fn written(&self) -> BTreeMap<String, u64> {
        self.routes
            .iter()
            .map(|route| (route.topic.to_string(), route.written))
            .collect()
    }
}
