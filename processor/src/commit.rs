//! The commit protocol on one page.
//!
//! A commit covers the whole process and happens in these steps; every stream thread takes them together
//! ([`crate::rendezvous`]):
//!
//! | step | who | what | a crash right after it leaves |
//! |---|---|---|---|
//! | 1 | each thread | tasks flush: what operators held back becomes outputs | nothing durable: the input is read again |
//! | 2 | each thread | stores are sealed; outputs and changelog records are appended to the one sink | as 1 (embedded log); on Kafka perhaps outputs and changelog records without their offsets: outputs are repeated, keys beyond the committed changelog position are written again (CO-4) |
//! | 3 | the last to arrive | `Sink::commit`: all appended records durable, then the offsets with their metadata (CO-1). One atomic write on the embedded log | the commit is done; stores are behind, and the changelog is replayed up to the position in the metadata (CO-4) |
//! | 4 | each thread | sealed rows go to the engine in one atomic write with the changelog positions and notes (CO-2, TI-1) | stores at the commit, or partly behind it (memtables): replayed from the position they hold |
//!
//! Nobody appends between its arrival at the rendezvous and the verdict, so the appended records and the offsets are one
//! exact cut of every task. Any error before the end of step 3 halts the application with nothing committed; an error in
//! step 4 halts it with the commit done. Both are mended by starting again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream_topology::TaskId;

use crate::broker::{Acked, Membership, OffsetCommit, TopicPartition};
use crate::error::Result;
use crate::outputs::Outputs;
use crate::position::Position;
use crate::progress::Totals;

/// What a task brings to a commit.
#[derive(Debug)]
pub struct TaskShare {
    /// The task.
    pub task: TaskId,
    /// Next offset of each of its source partitions; the first carries the metadata.
    pub offsets: Vec<(TopicPartition, i64)>,
    /// Its logged stores: name, changelog partition, position before this commit.
    pub changelogs: Vec<(String, TopicPartition, i64)>,
    /// Notes of its nodes.
    pub notes: BTreeMap<String, Vec<u8>>,
}

/// What a thread brings to a commit.
#[derive(Debug, Default)]
pub struct Share {
    /// Tasks that have something to commit.
    pub tasks: Vec<TaskShare>,
    /// Whether all its inputs are exhausted.
    pub idle: bool,
}

/// What all threads take away from a commit.
#[derive(Debug)]
pub struct Verdict {
    /// The last offset of every partition written.
    pub acked: Acked,
    /// How to go on.
    pub next: Next,
}

/// How to go on after a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// With the next records.
    GoOn,
    /// This sub-topology has read all there will ever be: its tasks close their windows.
    Finish(u32),
    /// The run ends here.
    Stop,
}

/// Carries a commit out and decides how to go on. Shared by all threads; only the last to arrive uses it.
pub struct Committer {
    state: Mutex<State>,
    totals: Arc<Totals>,
    stop: Arc<AtomicBool>,
    /// Topics that tasks of this process read.
    inputs: BTreeSet<Arc<str>>,
}

struct State {
    membership: Box<dyn Membership>,
    /// In a bounded run: sub-topologies still to finish, the next one last; `None` in one that goes on until it is stopped.
    unfinished: Option<Vec<u32>>,
}

impl Committer {
    /// A committer; in a bounded run, `unfinished` lists its sub-topologies downstream first.
    pub fn new(
        membership: Box<dyn Membership>,
        totals: Arc<Totals>,
        stop: Arc<AtomicBool>,
        inputs: BTreeSet<Arc<str>>,
        unfinished: Option<Vec<u32>>,
    ) -> Committer {
        Committer {
            state: Mutex::new(State { membership, unfinished }),
            totals,
            stop,
            inputs,
        }
    }

    /// Step 3, and what comes after it.
    ///
    /// # Errors
    /// Whatever the log says; then nothing is committed and the caller halts.
    pub fn lead(&self, outputs: &mut Outputs, shares: Vec<Share>) -> Result<Verdict> {
        let mut state = self.lock();
        let idle = shares.iter().all(|share| share.idle);
        let tasks: Vec<TaskShare> = shares.into_iter().flat_map(|share| share.tasks).collect();
        let mut acked = Acked::default();
        if !tasks.is_empty() || outputs.buffered_bytes() > 0 {
            let token = state.membership.token()?;
            outputs.commit(&token, &mut |written| {
                acked = written.clone();
                tasks.iter().flat_map(|task| offsets(task, written)).collect()
            })?;
            self.totals.commits.fetch_add(1, Relaxed);
        }
        let next = self.next(&mut state, idle, &acked);
        Ok(Verdict { acked, next })
    }

    fn next(&self, state: &mut State, idle: bool, acked: &Acked) -> Next {
        if self.stop.load(Relaxed) {
            return Next::Stop;
        }
        let Some(unfinished) = &mut state.unfinished else {
            return Next::GoOn;
        };
        let more_to_read = acked
            .last
            .iter()
            .any(|(partition, _)| self.inputs.contains(&partition.topic));
        if !idle || more_to_read {
            return Next::GoOn;
        }
        unfinished.pop().map_or(Next::Stop, Next::Finish)
    }

    /// Gives up the place in the group.
    pub fn leave(&self) -> Result<()> {
        self.lock().membership.leave()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Offsets of a task; the first one carries the changelog positions that belong to them (CO-4) and the notes (TI-1).
fn offsets(task: &TaskShare, written: &Acked) -> Vec<OffsetCommit> {
    let stores = task
        .changelogs
        .iter()
        .map(|(store, changelog, before)| (store.clone(), position_after(changelog, *before, written)));
    let metadata = Position {
        stores: stores.collect(),
        notes: task.notes.clone(),
    }
    .encode();
    let mut metadata = Some(metadata);
    let offset = |(partition, offset): &(TopicPartition, i64)| OffsetCommit {
        partition: partition.clone(),
        offset: *offset,
        metadata: metadata.take().unwrap_or_default(),
    };
    task.offsets.iter().map(offset).collect()
}

/// A changelog's position after a commit.
pub fn position_after(changelog: &TopicPartition, before: i64, written: &Acked) -> i64 {
    written
        .last_offset(&changelog.topic, changelog.partition)
        .map_or(before, |last| last + 1)
}
