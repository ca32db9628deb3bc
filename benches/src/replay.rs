//! Drives one task as the processor does, between a memory source and a memory sink.

use crate::cases::Case;
use millstream_state::engine::{Engine, MemoryEngine};
use millstream_topology::record::Chunk;
use millstream_topology::task::PORTION;
use millstream_topology::{Flushed, Plan, Task, TaskConfig, TaskId};
use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;

/// Whatever went wrong; a bench has nobody to tell but its reader.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A task at work on a case.
pub struct Replay {
    plan: Plan,
    task: Task,
    /// Places in the round: a round is one chunk here.
    seqs: Vec<u32>,
    /// Greatest record timestamp so far, which stands in for the clock.
    now: i64,
    sent: u64,
}

impl Replay {
    /// A new task over an empty memory engine.
    pub fn new(case: &Case) -> Result<Self> {
        Self::over(case, Box::new(MemoryEngine::new()))
    }

    /// A new task over this engine.
    pub fn over(case: &Case, engine: Box<dyn Engine>) -> Result<Self> {
        let id = TaskId {
            subtopology: 0,
            partition: 0,
        };
        Ok(Replay {
            plan: case.plan.clone(),
            task: case.plan.task(id, engine, &TaskConfig::default())?,
            seqs: Vec::new(),
            now: 0,
            sent: 0,
        })
    }

    /// One chunk, all the way through: feed, run, drain.
    pub fn feed(&mut self, chunk: &Arc<Chunk>) -> Result<()> {
        let len = chunk.records().len();
        if self.seqs.len() < len {
            self.seqs = (0..len as u32).collect();
        }
        self.now = chunk.records().last().map_or(self.now, |record| record.timestamp);
        let source = self
            .plan
            .subtopologies()
            .first()
            .and_then(|sub| sub.source(chunk.topic()));
        let source = source.ok_or_else(|| format!("nothing reads '{}'", chunk.topic()))?;
        self.task.feed(source, chunk, 0..len, &self.seqs[..len]);
        self.task.run(self.now)?;
        self.drain();
        Ok(())
    }

    /// One commit: emit what was held back, drain, seal, hand the changelog over, apply.
    pub fn commit(&mut self) -> Result<()> {
        self.flush()?;
        let sealed = self.task.seal();
        sealed.stores.try_each_log_row(|store, row| {
            black_box((store, row));
            Ok::<_, Box<dyn Error>>(())
        })?;
        self.task.apply(sealed, &[])?;
        Ok(())
    }

    /// The first part of a commit: every dirty key or window is emitted, and drained.
    pub fn flush(&mut self) -> Result<()> {
        let mut flushed = Flushed::Part;
        while flushed == Flushed::Part {
            flushed = self.task.flush(self.now, PORTION)?;
            self.drain();
        }
        Ok(())
    }

    /// The last part of a commit, as far as the engine is concerned: dirty rows sealed and written.
    pub fn write(&mut self) -> Result<usize> {
        let sealed = self.task.seal();
        let rows = sealed.stores.len();
        self.task.apply(sealed, &[])?;
        Ok(rows)
    }

    /// Records sent so far.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Records refused or dropped so far: a case that drops its input measures nothing.
    pub fn dropped(&self) -> u64 {
        let dropped = self
            .task
            .counters()
            .filter(|(_, counter, _)| counter.starts_with("dropped"));
        dropped.map(|(_, _, n)| n).sum()
    }

    fn drain(&mut self) {
        let outbox = self.task.outbox();
        for record in outbox.records() {
            black_box((
                record.topic_ref,
                record.partition_key,
                record.key,
                record.value,
                record.timestamp,
            ));
            self.sent += 1;
        }
        outbox.clear();
    }
}
