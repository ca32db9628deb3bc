//! A stream thread: fetch, work, commit, over and over, for the tasks it owns.
//!
//! Where it waits:
//! - for records, in the fetch, when nothing is at hand;
//! - for other partitions to catch up in event time, at the gate;
//! - for the other threads, at the rendezvous of a commit;
//! - for its turn at the one sink of the process, for as long as another thread appends its outputs;
//! - in the sink itself, when Kafka takes records slower than they come and the client's queue is full.
//!
//! A commit request ends the first two.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use millstream_topology::TaskId;
use millstream_topology::picker::Cut;

use crate::broker::{Fetch, FetchEvent, TopicPartition};
use crate::commit::{Next, Share, Verdict};
use crate::config::Config;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::inputs::{Input, Inputs};
use crate::progress::Progress;
use crate::rendezvous::Halted;
use crate::task_runner::{PendingApply, Round, TaskRunner};

/// Who wants to know how far the application has come.
pub type ProgressHook = Arc<dyn Fn(&Progress) + Send + Sync>;

/// Time between commits when a thread has nothing left to do but records that a commit lets in.
const EARLY_COMMIT: Duration = Duration::from_millis(200);

/// How often the progress hook is called.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// A thread's working state; lives on its thread.
pub struct StreamThread {
    /// Its number.
    pub number: usize,
    /// Shared with the other threads.
    pub control: Arc<Control>,
    /// The configuration.
    pub config: Arc<Config>,
    /// Its reader.
    pub fetch: Box<dyn Fetch>,
    /// Its tasks, restored.
    pub runners: Vec<TaskRunner>,
    /// Whether the run ends with its input.
    pub bounded: bool,
    /// Called by the first thread from time to time.
    pub hook: Option<ProgressHook>,
    /// When the hook was last called, and when the last summary was logged.
    pub told_at: (Duration, Duration),
    /// Reused between polls.
    pub events: Vec<FetchEvent>,
}

/// What the thread waits for next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// There is more to do: only look at what has arrived.
    No,
    /// For records.
    Fetch,
    /// For other partitions to catch up in event time, unless the gate has moved since this version.
    Gate(u64),
}

impl StreamThread {
    /// Runs until the application stops. `Ok` also when another thread failed: that one tells why.
    ///
    /// # Errors
    /// The first error of this thread's tasks or of the log. The caller halts the others.
    pub fn run(&mut self) -> Result<()> {
        self.start_fetching()?;
        let mut rest = Rest::No;
        loop {
            if self.control.meeting.is_requested() {
                match self.commit()? {
                    Ok(Next::Stop) | Err(Halted) => return Ok(()),
                    Ok(Next::Finish(subtopology)) => self.finish(subtopology)?,
                    Ok(Next::GoOn) => {}
                }
                rest = Rest::No;
            }
            self.take_in(rest)?;
            rest = self.work()?;
            self.punctuate()?;
            self.ask_for_commit(rest)?;
            self.tell()?;
        }
    }

    fn start_fetching(&mut self) -> Result<()> {
        let position = |input: &Input| (input.partition().clone(), Some(input.position()));
        let assignment: Vec<_> = self.inputs().flat_map(|inputs| inputs.iter().map(position)).collect();
        self.fetch.assign(&assignment)?;
        self.control.add_waker(self.fetch.waker());
        Ok(())
    }

    fn inputs(&self) -> impl Iterator<Item = &Inputs> {
        self.runners.iter().map(TaskRunner::inputs)
    }

    /// Waits as told, and lays what has arrived into the queues.
    fn take_in(&mut self, rest: Rest) -> Result<()> {
        if let Rest::Gate(version) = rest {
            self.control.gate.wait(version, self.config.poll);
        }
        self.turn_taps()?;
        let patience = if rest == Rest::Fetch {
            self.config.poll
        } else {
            Duration::ZERO
        };
        let mut events = std::mem::take(&mut self.events);
        self.fetch.poll(patience, &mut events)?;
        for event in events.drain(..) {
            self.take_event(event)?;
        }
        self.events = events;
        Ok(())
    }

    fn take_event(&mut self, event: FetchEvent) -> Result<()> {
        match event {
            FetchEvent::Chunk {
                partition,
                chunk,
                next,
                high_watermark,
            } => {
                // No runner: a chunk that was under way when its partition was given up.
                self.runners
                    .iter_mut()
                    .any(|runner| runner.inputs_mut().push(&partition, &chunk, next, high_watermark));
                Ok(())
            }
            FetchEvent::OutOfRange { partition, start, end } => self.reposition(&partition, start, end),
            // What was processed and is gone cannot be taken back; what is written in its place is new input.
            FetchEvent::Truncated { partition, end } => self.reposition(&partition, end, end),
            FetchEvent::Lost { partition, reason } => {
                Err(Error::misuse(format!("{partition} cannot be read any more: {reason}")))
            }
        }
    }

    /// A position that does not exist (any more): on to the nearest one that does ([`crate::inputs::Reset`]). Records in
    /// between are gone, which is told loudly.
    fn reposition(&mut self, partition: &TopicPartition, start: i64, end: i64) -> Result<()> {
        let moved = self
            .runners
            .iter_mut()
            .find_map(|runner| runner.inputs_mut().reposition(partition, start, end));
        let Some((wanted, instead)) = moved else { return Ok(()) };
        if wanted != instead {
            self.control.events.emit(&Event::PositionLost {
                partition,
                wanted,
                instead,
            });
        }
        self.fetch.assign(&[(partition.clone(), Some(instead))])
    }

    /// Pauses full partitions and resumes empty ones.
    fn turn_taps(&mut self) -> Result<()> {
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        let (records, bytes) = (
            self.config.buffered_records_per_partition,
            self.config.buffered_bytes_per_partition,
        );
        for input in self
            .runners
            .iter_mut()
            .flat_map(|runner| runner.inputs_mut().iter_mut())
        {
            match input.turn(records, bytes) {
                Some(true) => pause.push(input.partition().clone()),
                Some(false) => resume.push(input.partition().clone()),
                None => {}
            }
        }
        if !pause.is_empty() {
            self.fetch.pause(&pause)?;
        }
        if !resume.is_empty() {
            self.fetch.resume(&resume)?;
        }
        Ok(())
    }

    /// One round for each task, furthest behind in event time as the gate demands. Says what to wait for next.
    fn work(&mut self) -> Result<Rest> {
        let control = self.control.clone();
        let future = control.clock.now().saturating_add(self.config.timestamp_future_max_ms);
        let mut cut = Cut {
            future,
            ..Cut::default()
        };
        let publish = |runners: &[TaskRunner], cut: &Cut| {
            control
                .gate
                .publish(runners.iter().flat_map(|runner| runner.inputs().standings(cut)))
        };
        let mut best = Round::Nothing;
        let mut version = 0;
        for at in 0..self.runners.len() {
            (cut.limit, version) = publish(&self.runners, &cut);
            best = best.max(self.runners[at].round(cut, &control, &self.config)?);
            if control.meeting.is_requested() {
                return Ok(Rest::No);
            }
        }
        if best == Round::Worked || control.sink_calls() {
            control.outputs().send()?;
        }
        if best == Round::Worked {
            return Ok(Rest::No);
        }
        let (_, seen) = publish(&self.runners, &cut);
        let awaited = self.inputs().flat_map(Inputs::iter).any(Input::is_awaited);
        Ok(match best {
            Round::Gated if seen != version => Rest::No,
            Round::Gated if !awaited && !control.meeting.is_requested() => Rest::Gate(seen),
            _ => Rest::Fetch,
        })
    }

    fn punctuate(&mut self) -> Result<()> {
        self.runners
            .iter_mut()
            .try_for_each(|runner| runner.punctuate(&self.control))
    }

    /// Commits come by time, by request of an operator, under memory pressure, and in a bounded run when all threads have
    /// nothing left to do.
    fn ask_for_commit(&mut self, rest: Rest) -> Result<()> {
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

    /// This thread's part of a commit; see [`crate::commit`] for the protocol.
    fn commit(&mut self) -> Result<Result<Next, Halted>> {
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
            let verdict = control.committer.lead(&mut control.outputs(), shares)?;
            control.mark_committed(&verdict.acked);
            Ok(verdict)
        };
        let verdict = match control.meeting.arrive(share, lead) {
            Ok(verdict) => verdict,
            Err(halted) => return Ok(Err(halted)),
        };
        self.after_commit(sealed, &verdict)?;
        Ok(Ok(verdict.next))
    }

    fn after_commit(&mut self, sealed: Vec<(usize, PendingApply)>, verdict: &Verdict) -> Result<()> {
        for (at, rows) in sealed {
            self.runners[at].apply(rows, &verdict.acked, &self.control)?;
        }
        let now = self.control.clock.monotonic();
        let threads = self.control.totals.memory.len();
        let cache = self.config.cache_max_bytes / threads / self.runners.len().max(1);
        for runner in &mut self.runners {
            runner.inputs_mut().after_commit(&verdict.acked);
            runner.keep_replay_short(now, &self.config, &self.control)?;
            runner.shrink_to(cache);
        }
        Ok(())
    }

    fn finish(&mut self, subtopology: u32) -> Result<()> {
        let of_it =
            |runner: &&mut TaskRunner| matches!(runner.task().id(), TaskId { subtopology: s, .. } if s == subtopology);
        self.runners
            .iter_mut()
            .filter(of_it)
            .try_for_each(|runner| runner.finish(&self.control))
    }

    /// Progress for people, from the first thread only.
    fn tell(&mut self) -> Result<()> {
        if self.number != 0 {
            return Ok(());
        }
        let now = self.control.clock.monotonic();
        let (hook_at, summary_at) = self.told_at;
        if let Some(hook) = self
            .hook
            .as_ref()
            .filter(|_| now.saturating_sub(hook_at) >= PROGRESS_EVERY)
        {
            self.told_at.0 = now;
            hook(&self.control.totals.progress(now));
        }
        let interval = self.config.log_summary_interval;
        if !interval.is_zero() && now.saturating_sub(summary_at) >= interval {
            self.told_at.1 = now;
            let Progress {
                records_in,
                records_out,
                lag,
                ..
            } = self.control.totals.progress(now);
            self.control.events.emit(&Event::Summary {
                records_in,
                records_out,
                lag,
            });
        }
        Ok(())
    }
}
