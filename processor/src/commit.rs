//! The commit protocol on one page.
//!
//! A commit covers the whole process and happens in these steps; every stream thread takes them together
//! ([`crate::rendezvous`]):
//!
//! | step | who | what | a crash right after it leaves |
//! |---|---|---|---|
//! | 1 | each thread | tasks flush: what operators held back becomes outputs | no offsets: the input is read again (on Kafka outputs leave between commits too, and are repeated) |
//! | 2 | each thread | stores are sealed; outputs and changelog records are appended to the one sink | as 1 (embedded log); on Kafka perhaps outputs and changelog records without their offsets: outputs are repeated, keys beyond the committed changelog position are written again (CO-4) |
//! | 3 | the last to arrive | `Sink::begin_commit`: all appended records durable. On the embedded log the offsets too, in the same atomic write | on Kafka as 2; on the embedded log as 4 |
//! | 4 | a thread of its own, while the others work on ([`crate::ending`]) | the offsets of step 3 with their metadata (CO-1) | the commit is done; stores are behind, and the changelog is replayed up to the position in the metadata (CO-4) |
//! | 5 | each thread, when 4 is done, before the next commit | sealed rows go to the engine in one atomic write with the changelog positions and notes (CO-2, TI-1) | stores at the commit, or partly behind it (memtables): replayed from the position they hold |
//!
//! Nobody appends between its arrival at the rendezvous and the verdict, so the appended records and the offsets are one
//! exact cut of every task. What is appended during step 4 belongs to the next commit: outputs only, for changelogs are
//! written in step 2. Any error before the end of step 4 halts the application with nothing known to be committed; an error in
//! step 5 halts it with the commit done. Both are mended by starting again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream_topology::TaskId;

use crate::broker::{Acked, Membership, OffsetCommit, TopicPartition};
use crate::control::Control;
use crate::ending::Ending;
use crate::error::Result;
use crate::position::Position;

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
    /// Step 4.
    pub ending: Arc<Ending>,
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
    stop: Arc<AtomicBool>,
    /// Topics that tasks of this process read.
    inputs: BTreeSet<Arc<str>>,
}

struct State {
    membership: Box<dyn Membership>,
    /// In a bounded run: sub-topologies still to finish, the next one last; `None` in one that goes on until it is stopped.
    unfinished: Option<Vec<u32>>,
    /// Of the last commit.
    ending: Arc<Ending>,
}

impl Committer {
    /// A committer; in a bounded run, `unfinished` lists its sub-topologies downstream first.
    pub fn new(
        membership: Box<dyn Membership>,
        stop: Arc<AtomicBool>,
        inputs: BTreeSet<Arc<str>>,
        unfinished: Option<Vec<u32>>,
    ) -> Committer {
        let state = State {
            membership,
            unfinished,
            ending: Ending::of_nothing(),
        };
        Committer {
            state: Mutex::new(state),
            stop,
            inputs,
        }
    }

    /// Step 3, and how to go on. Step 4 is under way when this returns.
    ///
    /// # Errors
    /// Whatever the log says; then nothing is committed and the caller halts.
    pub fn lead(&self, control: &Arc<Control>, shares: Vec<Share>) -> Result<Verdict> {
        let mut state = self.lock();
        let mut outputs = control.outputs();
        let idle = shares.iter().all(|share| share.idle);
        let tasks: Vec<TaskShare> = shares.into_iter().flat_map(|share| share.tasks).collect();
        let mut acked = Acked::default();
        if !tasks.is_empty() || outputs.buffered_bytes() > 0 {
            let token = state.membership.token()?;
            let pending = outputs.begin_commit(&token, &mut |written| {
                acked = written.clone();
                tasks.iter().flat_map(|task| offsets(task, written)).collect()
            })?;
            state.ending = Ending::of(pending, control)?;
        }
        let next = self.next(&mut state, idle, &acked);
        let ending = state.ending.clone();
        Ok(Verdict { acked, next, ending })
    }

    /// Waits until nothing is under way any more. What has become of it, threads learn from their verdicts.
    pub fn settle(&self) {
        let ending = self.lock().ending.clone();
        let _ = ending.wait();
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
