//! The loop of the test driver: topics as lists, every sub-topology as one task, outputs looped back to those who read them.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use millstream_state::{
    StateError, Timestamp,
    engine::{Engine, Family, MemoryEngine},
};

use super::{Options, Restart};
use crate::{
    error::{Result, TaskError},
    node::Flushed,
    picker::{Cut, Picker},
    plan::Plan,
    record::{Chunk, RawRecord, Span},
    task::{SourceRef, Task, TaskId},
};

/// A record of a topic.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub timestamp: Timestamp,
    pub headers: Vec<u8>,
}

/// One sub-topology.
struct Running {
    id: TaskId,
    task: Task,
    picker: Picker,
    /// Another handle on the task's engine.
    engine: MemoryEngine,
    /// Notes of the last commit, as its metadata would carry them.
    notes: Vec<(String, Vec<u8>)>,
}

pub(super) struct Driver {
    plan: Plan,
    options: Options,
    now: Timestamp,
    running: Vec<Running>,
    topics: BTreeMap<String, Vec<Raw>>,
    /// How far each topic has been handed to those who read it.
    handed: BTreeMap<String, usize>,
    readers: BTreeMap<String, Vec<(usize, SourceRef)>>,
    /// How long each topic was at the last commit.
    committed: BTreeMap<String, usize>,
    piped: usize,
    since_commit: usize,
}

impl Driver {
    pub fn new(plan: Plan, options: Options) -> Result<Self> {
        let mut readers: BTreeMap<String, Vec<(usize, SourceRef)>> = BTreeMap::new();
        for (at, sub) in plan.subtopologies().iter().enumerate() {
            for (place, source) in sub.sources.iter().enumerate() {
                readers
                    .entry(source.topic.clone())
                    .or_default()
                    .push((at, SourceRef::new(place)));
            }
        }
        let mut driver = Driver {
            now: options.now,
            plan,
            options,
            running: Vec::new(),
            topics: BTreeMap::new(),
            handed: BTreeMap::new(),
            readers,
            committed: BTreeMap::new(),
            piped: 0,
            since_commit: 0,
        };
        let engines = driver
            .plan
            .subtopologies()
            .iter()
            .map(|_| MemoryEngine::new())
            .collect();
        driver.running = driver.start(engines)?;
        Ok(driver)
    }

    fn start(&self, engines: Vec<MemoryEngine>) -> Result<Vec<Running>> {
        let start = |(sub, engine): (&crate::plan::Subtopology, MemoryEngine)| {
            let id = TaskId {
                subtopology: sub.id,
                partition: 0,
            };
            let task = self.plan.task(id, Box::new(engine.clone()), &self.options.config)?;
            Ok(Running {
                id,
                task,
                picker: Picker::new(sub.sources.len()),
                engine,
                notes: Vec::new(),
            })
        };
        self.plan.subtopologies().iter().zip(engines).map(start).collect()
    }

    pub fn pipe(&mut self, topic: &str, record: Raw) -> Result<()> {
        if !self.readers.contains_key(topic) {
            let known: Vec<&str> = self.readers.keys().map(String::as_str).collect();
            return Err(TaskError::Misuse(format!(
                "the topology does not read topic {topic}; it reads {}",
                known.join(", ")
            )));
        }
        self.topics.entry(topic.to_owned()).or_default().push(record);
        self.piped += 1;
        if self.piped < self.options.batch {
            return Ok(());
        }
        self.since_commit += std::mem::take(&mut self.piped);
        self.run()?;
        if self.since_commit >= self.options.commit_every {
            self.commit()
        } else {
            Ok(())
        }
    }

    /// Hands topics to their readers and runs them until nothing is left.
    fn run(&mut self) -> Result<()> {
        loop {
            self.hand_over();
            let mut fed = 0;
            for at in 0..self.running.len() {
                fed += self.run_one(at)?;
            }
            if fed == 0 {
                return Ok(());
            }
        }
    }

    fn run_one(&mut self, at: usize) -> Result<usize> {
        let mut all = 0;
        loop {
            let Running { task, picker, .. } = &mut self.running[at];
            let future = self
                .options
                .config
                .future
                .map_or(Timestamp::MAX, |guard| guard.limit(self.now));
            let cut = Cut {
                timer: task.next_stream_timer(),
                future,
                ..Cut::default()
            };
            let fed = picker.feed(task, &cut);
            if fed == 0 {
                return Ok(all);
            }
            all += fed;
            task.run(self.now)?;
            self.drain(at);
        }
    }

    /// New records of every topic that is read, as one chunk for each of its readers.
    fn hand_over(&mut self) {
        for (topic, readers) in &self.readers {
            let Some(records) = self.topics.get(topic) else {
                continue;
            };
            let handed = self.handed.entry(topic.clone()).or_default();
            let Some(new) = records.get(*handed..).filter(|new| !new.is_empty()) else {
                continue;
            };
            let chunk = chunk(topic, *handed as i64, new);
            *handed = records.len();
            for (at, source) in readers {
                self.running[*at].picker.push(*source, chunk.clone());
            }
        }
    }

    fn drain(&mut self, at: usize) {
        let outbox = self.running[at].task.outbox();
        for record in outbox.records() {
            let raw = Raw {
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                timestamp: record.timestamp,
                headers: record.headers.to_vec(),
            };
            self.topics.entry(record.topic.to_string()).or_default().push(raw);
        }
        outbox.clear();
    }

    /// Calls every task, upstream first, and after each runs what its outputs set going.
    fn each(&mut self, mut call: impl FnMut(&mut Task, Timestamp) -> Result<()>) -> Result<()> {
        self.since_commit += std::mem::take(&mut self.piped);
        self.run()?;
        for at in self.downstream_order() {
            call(&mut self.running[at].task, self.now)?;
            self.drain(at);
            self.run()?;
        }
        Ok(())
    }

    /// Sub-topologies so that those who write a topic come before those who read it, as far as there is no circle.
    fn downstream_order(&self) -> Vec<usize> {
        let subs = self.plan.subtopologies();
        let mut order: Vec<usize> = Vec::new();
        while order.len() < subs.len() {
            let left = (0..subs.len()).filter(|at| !order.contains(at));
            let waits = |at: &usize| {
                let others = (0..subs.len()).filter(|o| o != at && !order.contains(o));
                let written: Vec<&str> = others.flat_map(|o| &subs[o].sinks).map(|s| s.topic.as_str()).collect();
                subs[*at].sources.iter().any(|s| written.contains(&s.topic.as_str()))
            };
            let left: Vec<usize> = left.collect();
            let next = left.iter().find(|at| !waits(at)).or(left.first());
            order.extend(next);
        }
        order
    }

    pub fn advance(&mut self, ms: i64) -> Result<()> {
        self.now += ms;
        self.each(|task, now| task.punctuate(now))?;
        self.commit()
    }

    pub fn evict(&mut self, bytes: usize) -> usize {
        self.running.iter_mut().map(|r| r.task.evict(bytes)).sum()
    }

    pub fn finish(&mut self) -> Result<()> {
        let portion = self.options.batch;
        self.each(|task, now| {
            task.finish(now)?;
            flush(task, now, portion)
        })?;
        self.commit()
    }

    pub fn commit(&mut self) -> Result<()> {
        let portion = self.options.batch;
        self.each(|task, now| flush(task, now, portion))?;
        self.since_commit = 0;
        for Running { id, task, notes, .. } in &mut self.running {
            let sealed = task.seal();
            let stream_time = task.stream_time();
            let (topics, plan) = (&mut self.topics, &self.plan);
            let logged = sealed.stores.try_each_log_row(|store, row| {
                topics.entry(plan.changelog(store)).or_default().push(Raw {
                    key: Some(row.key.to_vec()),
                    value: row.value.map(<[u8]>::to_vec),
                    timestamp: row.timestamp.unwrap_or(stream_time),
                    headers: Vec::new(),
                });
                Ok::<(), std::convert::Infallible>(())
            });
            let Ok(()) = logged;
            let specs = task.stores().specs().map(|s| s.name.clone());
            let position = |store: String| {
                let end = topics.get(&plan.changelog(&store)).map_or(0, Vec::len);
                (store, end as i64)
            };
            let positions: Vec<(String, i64)> = specs.map(position).collect();
            *notes = sealed.notes.clone();
            task.apply(sealed, &positions).map_err(|source| TaskError::State {
                node: format!("task {id}"),
                source,
            })?;
        }
        self.committed = self
            .topics
            .iter()
            .map(|(topic, records)| (topic.clone(), records.len()))
            .collect();
        Ok(())
    }

    pub fn restart(&mut self, from: Restart) -> Result<()> {
        self.commit()?;
        self.crash(from)
    }

    pub fn crash(&mut self, from: Restart) -> Result<()> {
        let engine = |r: &Running| match from {
            Restart::FromEngine => r.engine.clone(),
            Restart::FromChangelog => MemoryEngine::new(),
        };
        let engines = self.running.iter().map(engine).collect();
        let notes: Vec<_> = self.running.iter_mut().map(|r| std::mem::take(&mut r.notes)).collect();
        self.running = self.start(engines)?;
        (self.piped, self.since_commit) = (0, 0);
        for (topic, records) in &mut self.topics {
            records.truncate(self.committed.get(topic).copied().unwrap_or(0));
        }
        self.handed = self.committed.clone();
        for (at, notes) in notes.into_iter().enumerate() {
            if from == Restart::FromChangelog {
                self.restore(at)?;
            }
            // They come with the last commit, so they are at hand whatever became of the engine.
            self.running[at].task.restore_notes(&notes)?;
            self.running[at].notes = notes;
        }
        Ok(())
    }

    fn restore(&mut self, at: usize) -> Result<()> {
        let Running { id, task, .. } = &mut self.running[at];
        let names: Vec<String> = task.stores().specs().map(|s| s.name.clone()).collect();
        for name in names {
            let records = self
                .topics
                .get(&self.plan.changelog(&name))
                .map_or(&[][..], Vec::as_slice);
            restore(task, &name, records).map_err(|source| TaskError::State {
                node: format!("task {id}"),
                source,
            })?;
        }
        Ok(())
    }

    /// The engine and family of a store.
    pub fn store(&self, name: &str) -> Option<(&dyn Engine, Family)> {
        let family = |r: &Running| {
            let at = self
                .plan
                .families(r.id.subtopology)
                .iter()
                .skip(1)
                .position(|f| f == name)?;
            Some(Family(at as u16 + 1))
        };
        self.running
            .iter()
            .find_map(|r| Some((&r.engine as &dyn Engine, family(r)?)))
    }

    pub fn topic(&self, name: &str) -> &[Raw] {
        self.topics.get(name).map_or(&[], Vec::as_slice)
    }

    pub fn topics(&self) -> Vec<String> {
        self.topics.keys().cloned().collect()
    }

    pub fn now(&self) -> Timestamp {
        self.now
    }

    pub fn counters(&self) -> BTreeMap<(String, String), u64> {
        let mut all = BTreeMap::new();
        for (node, counter, n) in self.running.iter().flat_map(|r| r.task.counters()) {
            *all.entry((node.to_owned(), counter.to_owned())).or_default() += n;
        }
        all
    }
}

fn restore(task: &mut Task, store: &str, records: &[Raw]) -> Result<(), StateError> {
    let stores = task.stores();
    let Some(index) = stores.index_of(store) else {
        return Ok(());
    };
    let mut restorer = stores.restore(index)?;
    for (offset, record) in records.iter().enumerate() {
        let key = record.key.as_deref().unwrap_or_default();
        restorer.push(stores, offset as i64, record.timestamp, key, record.value.as_deref())?;
    }
    restorer.finish(stores, records.len() as i64)?;
    Ok(())
}

fn flush(task: &mut Task, now: Timestamp, portion: usize) -> Result<()> {
    while task.flush(now, portion)? == Flushed::Part {}
    Ok(())
}

fn chunk(topic: &str, first: i64, records: &[Raw]) -> Arc<Chunk> {
    let mut buffer = Vec::new();
    let mut put = |bytes: Option<&[u8]>| {
        let Some(bytes) = bytes else { return Span::NULL };
        let start = buffer.len() as u32;
        buffer.extend_from_slice(bytes);
        Span {
            start,
            len: bytes.len() as u32,
        }
    };
    let raw = |(i, record): (usize, &Raw)| RawRecord {
        offset: first + i as i64,
        timestamp: record.timestamp,
        key: put(record.key.as_deref()),
        value: put(record.value.as_deref()),
        headers: put(Some(&record.headers)),
    };
    let raws: Vec<RawRecord> = records.iter().enumerate().map(raw).collect();
    Arc::new(Chunk::new(topic.into(), 0, Bytes::from(buffer), raws))
}
