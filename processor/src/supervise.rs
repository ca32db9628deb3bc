//! The stream threads: started, watched, joined.
//!
//! A thread that fails, or panics, halts all of them: the first error is the one the application returns, nothing after
//! the last commit counts, and starting again goes on from there. (State is per process; half a process would be an
//! incomplete answer that nobody sees.)

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use millstream_topology::plan::Plan;
use millstream_topology::task::TaskConfig;

use crate::broker::{Broker, FetchConfig};
use crate::config::Config;
use crate::control::Control;
use crate::engines::Engines;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::inputs::Inputs;
use crate::restore::TaskMaker;
use crate::starts::TaskStart;
use crate::stream_thread::{ProgressHook, StreamThread};
use crate::task_runner::TaskRunner;

/// Counters of all tasks, summed: `(node, counter) -> count`.
pub type Counters = BTreeMap<(String, String), u64>;

/// What every thread needs to begin.
pub struct Crew {
    /// The plan.
    pub plan: Plan,
    /// The configuration.
    pub config: Arc<Config>,
    /// What tasks are told of it.
    pub task_config: TaskConfig,
    /// The log.
    pub broker: Arc<dyn Broker>,
    /// Where state is kept.
    pub engines: Arc<dyn Engines>,
    /// Shared by the threads.
    pub control: Arc<Control>,
    /// Whether the run ends with its input.
    pub bounded: bool,
    /// Who wants to know how far it has come.
    pub hook: Option<ProgressHook>,
    /// Threads whose tasks do not have their state yet.
    pub starting: AtomicUsize,
}

impl Crew {
    /// Runs one thread for each deal of tasks, to the end.
    #[allow(clippy::disallowed_methods, reason = "the stream threads are made here")]
    pub fn run(self, deals: Vec<Vec<TaskStart>>) -> Result<Counters> {
        let control = self.control.clone();
        let crew = Arc::new(self);
        let mut handles = Vec::new();
        for (number, tasks) in deals.into_iter().enumerate() {
            let crew = crew.clone();
            let named = thread::Builder::new().name(format!("millstream-{number}"));
            match named.spawn(move || crew.guarded(number, tasks)) {
                Ok(handle) => handles.push(handle),
                Err(error) => {
                    control.halt(Error::fatal("the system gives no more threads").caused_by(error));
                    break;
                }
            }
        }
        let mut counters = Counters::new();
        for handle in handles {
            for (name, count) in handle.join().unwrap_or_default() {
                *counters.entry(name).or_default() += count;
            }
        }
        // Before anybody starts anew: offsets that arrived later would undo what was committed since.
        control.committer.settle();
        match control.meeting.take_failure() {
            None => Ok(counters),
            Some(error) => {
                // What was appended must not be committed by anybody; if this fails too, the first error says more.
                let _ = control.outputs().abort();
                Err(error)
            }
        }
    }

    /// A thread's whole life: whatever happens in it, the others hear of it.
    fn guarded(&self, number: usize, tasks: Vec<TaskStart>) -> Counters {
        let error = match catch_unwind(AssertUnwindSafe(|| self.live(number, tasks))) {
            Ok(Ok(counters)) => return counters,
            Ok(Err(error)) => error,
            Err(panic) => Error::fatal(format!("stream thread {number} panicked: {}", text_of(&*panic))),
        };
        self.control.halt(error);
        Counters::new()
    }

    fn live(&self, number: usize, tasks: Vec<TaskStart>) -> Result<Counters> {
        let maker = TaskMaker {
            plan: self.plan.clone(),
            config: self.config.clone(),
            task_config: self.task_config.clone(),
            broker: self.broker.clone(),
            engines: self.engines.clone(),
            control: self.control.clone(),
        };
        let mut fetch = self.broker.fetch(&FetchConfig {
            name: format!("{}-{number}", self.config.client_id),
            max_partition_bytes: (self.config.buffered_bytes_per_partition / 2).max(1024),
            ..FetchConfig::default()
        })?;
        let mut runners = Vec::new();
        let wanted: Vec<_> = tasks.iter().map(|start| (start.id, start.position.as_ref())).collect();
        let made = maker.make(&wanted, &mut *fetch)?;
        for (TaskStart { id, inputs, .. }, (task, changelogs)) in tasks.into_iter().zip(made) {
            let sources = self
                .plan
                .subtopologies()
                .get(id.subtopology as usize)
                .map_or(0, |sub| sub.sources.len());
            runners.push(TaskRunner::new(task, Inputs::new(sources, inputs), changelogs));
        }
        if self.starting.fetch_sub(1, Relaxed) == 1 {
            self.control.events.emit(&Event::Running);
        }
        let mut thread = StreamThread {
            number,
            control: self.control.clone(),
            config: self.config.clone(),
            fetch,
            runners,
            bounded: self.bounded,
            hook: self.hook.clone(),
            told_at: Default::default(),
            events: Vec::new(),
            open: None,
        };
        thread.run()?;
        Ok(counters(&thread.runners))
    }
}

fn counters(runners: &[TaskRunner]) -> Counters {
    let mut sums = Counters::new();
    for (node, counter, count) in runners.iter().flat_map(|runner| runner.task().counters()) {
        *sums.entry((node.to_owned(), counter.to_owned())).or_default() += count;
    }
    sums
}

/// What a panic says.
pub fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}
