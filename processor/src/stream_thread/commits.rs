//! When a stream thread commits, and its part of it; see [`crate::commit`] for the protocol.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use millstream_topology::TaskId;

use super::{Rest, StreamThread};
use crate::commit::{Next, Share, Verdict};
use crate::error::Result;
use crate::events::Event;
use crate::inputs::{Input, Inputs};
use crate::rendezvous::Halted;
use crate::task_runner::{PendingApply, TaskRunner};

/// Time between commits when a thread has nothing left to do but records that a commit lets in.
const EARLY_COMMIT: Duration = Duration::from_millis(200);

/// A commit whose offsets are under way.
pub struct OpenCommit {
    /// What waits for them, by the runner's place.
    sealed: Vec<(usize, PendingApply)>,
    verdict: Arc<Verdict>,
}

/// Whether to wait for what is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    No,
    Yes,
}

impl StreamThread {
    /// Commits come by time, by request of an operator, under memory pressure, and in a bounded run when all threads have
    /// nothing left to do.
    pub(super) fn ask_for_commit(&mut self, rest: Rest) -> Result<()> {
        let memory: usize = self.runners.iter().map(TaskRunner::memory).sum();
        self.control.totals.memory[self.number].store(memory, Relaxed);
        let uncommitted = self.runners.iter().map(TaskRunner::uncommitted_bytes).sum();
        self.control.totals.uncommitted[self.number].store(uncommitted, Relaxed);
        let lag = self.inputs().flat_map(Inputs::iter).map(Input::lag).sum();
        self.control.totals.lag[self.number].store(lag, Relaxed);
        #[allow(
            clippy::unnecessary_fold,
            reason = "every task is asked: asking takes its request away"
        )]
        let asked = self
            .runners
            .iter_mut()
            .fold(false, |asked, runner| runner.commit_requested() || asked);
        let exhausted = self.bounded && rest != Rest::No && self.inputs().all(Inputs::is_exhausted);
        let all_idle = self.bounded && self.control.meeting.set_idle(self.number, exhausted);
        // Nothing to do but what a commit lets in: do not wait for its time, but leave the other threads time to work.
        let soon = self.config.commit_interval.min(EARLY_COMMIT);
        let early = !self.control.is_dirty() || self.control.commit_is_due(soon);
        let kept_back = rest == Rest::Fetch && early && self.inputs().any(Inputs::any_kept_back);
        if asked
            || all_idle
            || kept_back
            || self.under_pressure()
            || self.control.commit_is_due(self.config.commit_interval)
        {
            self.control.request_commit();
        }
        Ok(())
    }

    /// ME-1: rows that only a commit makes clean have reached their share, or everything together has reached the bound.
    fn under_pressure(&self) -> bool {
        let totals = &self.control.totals;
        let held = totals.memory() + self.control.outputs().buffered_bytes();
        let full = totals.uncommitted() > self.config.uncommitted_max_bytes || held > self.config.memory_max_bytes;
        let pressed = full && self.control.is_dirty();
        if pressed {
            self.control.events.emit(&Event::MemoryPressure { bytes: held });
        }
        pressed
    }

    /// Up to where the offsets are under way.
    pub(super) fn commit(&mut self) -> Result<Result<Next, Halted>> {
        if let Err(halted) = self.end_commit(Wait::Yes)? {
            return Ok(Err(halted));
        }
        let mut share = Share::default();
        let mut sealed: Vec<(usize, PendingApply)> = Vec::new();
        for (at, runner) in self.runners.iter_mut().enumerate() {
            if let Some((rows, task)) = runner.seal(&self.control)? {
                sealed.push((at, rows));
                share.tasks.push(task);
            }
        }
        share.idle = self.bounded && self.inputs().all(Inputs::is_exhausted);
        let control = &self.control;
        let lead = |shares| {
            let verdict = control.committer.lead(control, shares)?;
            control.mark_committed(&verdict.acked);
            Ok(verdict)
        };
        let verdict = match control.meeting.arrive(share, lead) {
            Ok(verdict) => verdict,
            Err(halted) => return Ok(Err(halted)),
        };
        for runner in &mut self.runners {
            runner.inputs_mut().after_commit(&verdict.acked);
        }
        let next = verdict.next;
        self.open = Some(OpenCommit { sealed, verdict });
        // Who stops, or closes windows, has the commit behind it.
        let wait = if next == Next::GoOn { Wait::No } else { Wait::Yes };
        Ok(self.end_commit(wait)?.map(|()| next))
    }

    /// The last step of a commit, when its offsets are committed.
    pub(super) fn end_commit(&mut self, wait: Wait) -> Result<Result<(), Halted>> {
        let ends = |open: &mut OpenCommit| wait == Wait::Yes || open.verdict.ending.is_known();
        let Some(OpenCommit { sealed, verdict }) = self.open.take_if(ends) else {
            return Ok(Ok(()));
        };
        if let Err(halted) = verdict.ending.wait() {
            return Ok(Err(halted));
        }
        for (at, rows) in sealed {
            self.runners[at].apply(rows, &verdict.acked, &self.control)?;
        }
        let now = self.control.clock.monotonic();
        let threads = self.control.totals.memory.len();
        let cache = self.config.cache_max_bytes / threads / self.runners.len().max(1);
        for runner in &mut self.runners {
            runner.keep_replay_short(now, &self.config, &self.control)?;
            runner.shrink_to(cache);
        }
        Ok(Ok(()))
    }

    pub(super) fn finish(&mut self, subtopology: u32) -> Result<()> {
        let of_it =
            |runner: &&mut TaskRunner| matches!(runner.task().id(), TaskId { subtopology: s, .. } if s == subtopology);
        self.runners
            .iter_mut()
            .filter(of_it)
            .try_for_each(|runner| runner.finish(&self.control))
    }
}
