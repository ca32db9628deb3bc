//! A stream thread: fetch, work, commit, over and over, for the tasks it owns.
//!
//! Where it waits:
//! - for records, in the fetch, when nothing is at hand;
//! - for other partitions to catch up in event time, at the gate;
//! - for the other threads, at the rendezvous of a commit; and before that for the offsets of the last one, if they are still
//!   under way;
//! - for its turn at the one sink of the process, for as long as another thread appends its outputs;
//! - in the sink itself, when Kafka takes records slower than they come and the client's queue is full.
//!
//! A commit request ends the first two.

mod commits;

use std::sync::Arc;
use std::time::Duration;

use millstream_topology::picker::Cut;

use crate::broker::{Fetch, FetchEvent, TopicPartition};
use crate::commit::Next;
use crate::config::Config;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::inputs::{Input, Inputs};
use crate::progress::Progress;
use crate::rendezvous::Halted;
use crate::task_runner::{Round, TaskRunner};
use commits::{OpenCommit, Wait};

/// Who wants to know how far the application has come.
pub type ProgressHook = Arc<dyn Fn(&Progress) + Send + Sync>;

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
    /// The last commit, until its rows are in the engine.
    pub open: Option<OpenCommit>,
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
            } else if self.end_commit(Wait::No)?.is_err() {
                return Ok(());
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
