//! The application: a plan, a configuration and components become running threads, and a summary in the end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use millstream_topology::plan::{Plan, Subtopology};
use millstream_topology::policy::{Doors, FutureAction, FutureGuard, Policy as DoorPolicy};
use millstream_topology::task::{TaskConfig, TaskId};

use crate::assign::spread;
use crate::broker::{Broker, Membership, MembershipConfig, TopicPartition};
use crate::clock::{Clock, RealClock};
use crate::commit::Committer;
use crate::config::{Config, FuturePolicy, Policy};
use crate::control::Control;
use crate::engines::Engines;
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Event, EventHook, Events};
use crate::gate::{Gate, Slot};
use crate::outputs::Outputs;
use crate::progress::{Summary, Totals};
use crate::starts::{Starts, TaskStart, topics_read};
use crate::stream_thread::ProgressHook;
use crate::supervise;
use crate::topics;

/// When a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunUntil {
    /// When [`StopHandle::stop`] is called.
    Signal,
    /// When everything that is in the source topics now has gone all the way through: then all windows close, upstream
    /// first, and the run ends. (Or earlier, when it is stopped.)
    EndOfInput,
}

/// Parts that are passed in: what tests replace.
pub struct Components {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where tasks keep their state.
    pub engines: Arc<dyn Engines>,
    /// Told from time to time how far the application has come.
    pub progress: Option<ProgressHook>,
    /// Told of each event.
    pub events: Option<EventHook>,
}

impl Components {
    /// The machine's clock, and state kept in `engines`.
    pub fn new(engines: Arc<dyn Engines>) -> Components {
        Components {
            clock: Arc::new(RealClock::default()),
            engines,
            progress: None,
            events: None,
        }
    }
}

/// An application that is ready to run.
pub struct App {
    plan: Plan,
    config: Arc<Config>,
    broker: Arc<dyn Broker>,
    components: Components,
    stop: StopHandle,
}

/// The process's place in its group, and its way out.
struct Clients {
    membership: Box<dyn Membership>,
    outputs: Outputs,
}

/// Why a run ended before it should.
struct Failure {
    error: Error,
    /// Tasks whose stores were found damaged.
    damaged: BTreeSet<TaskId>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure {
            error,
            damaged: BTreeSet::new(),
        }
    }
}

/// Stops a running application from anywhere: a signal handler, another thread, a test.
#[derive(Clone, Default)]
pub struct StopHandle(Arc<Stop>);

#[derive(Default)]
struct Stop {
    asked: Arc<AtomicBool>,
    running: Mutex<Weak<Control>>,
}

impl StopHandle {
    /// Asks for a last commit and the end of the run. Returns at once; may be called again, and before the run.
    pub fn stop(&self) {
        self.0.asked.store(true, Relaxed);
        let running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        if let Some(control) = running {
            control.request_commit();
        }
    }

    /// Whether a stop was asked for.
    pub fn is_asked(&self) -> bool {
        self.0.asked.load(Relaxed)
    }

    fn attach(&self, control: &Arc<Control>) {
        *self.0.running.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(control);
        if self.is_asked() {
            control.request_commit();
        }
    }
}

impl App {
    /// An application of these parts; nothing is opened yet.
    pub fn new(plan: Plan, config: Config, broker: Arc<dyn Broker>, components: Components) -> App {
        App {
            plan,
            config: Arc::new(config),
            broker,
            components,
            stop: StopHandle::default(),
        }
    }

    /// What stops it.
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// Runs on threads of its own and returns when the run has ended.
    ///
    /// # Errors
    /// `Misuse` for what can be mended before starting again (all problems with topics at once; a bad record whose policy
    /// is `fail`), else what the log, a store or a panic said first. Nothing that was processed since the last commit
    /// counts; starting again goes on from there. A store that turns out to be damaged is no error: the run begins again
    /// with that task's stores rebuilt from their changelogs, and only what is damaged once more ends it.
    pub fn run(&self, until: RunUntil) -> Result<Summary> {
        let events = Arc::new(Events::told_to(self.components.events.clone()));
        if self.plan.application() != self.config.application_id {
            return Err(Error::misuse(format!(
                "the topology was built for application {}, the configuration says {}: use one application.id",
                self.plan.application(),
                self.config.application_id
            )));
        }
        let mut rebuilt = BTreeSet::new();
        loop {
            let Failure { error, damaged } = match self.attempt(until, &events) {
                Ok(summary) => return Ok(summary),
                Err(failure) => failure,
            };
            if error.kind != ErrorKind::Corrupt || damaged.is_empty() || !damaged.is_disjoint(&rebuilt) {
                return Err(error);
            }
            for task in &damaged {
                let reason = error.to_string();
                events.emit(&Event::StoresWiped {
                    task: *task,
                    reason: &reason,
                });
                self.components.engines.wipe(*task)?;
            }
            rebuilt.extend(damaged);
        }
    }

    /// One run from the last commit on.
    fn attempt(&self, until: RunUntil, events: &Arc<Events>) -> Result<Summary, Failure> {
        let mut clients = self.connect(events)?;
        let layout = topics::prepare(&self.plan, &self.config, self.broker.admin(), events)?;
        let sinks = self.plan.subtopologies().iter().flat_map(|sub| &sub.sinks);
        clients.outputs.reach(sinks.map(|sink| sink.topic.as_str()))?;
        let gate = Gate::new(self.config.max_event_time_skew_ms);
        let starts = Starts {
            plan: &self.plan,
            config: &self.config,
            layout: &layout,
            bounded: until == RunUntil::EndOfInput,
        };
        let starts = starts.find(self.broker.admin(), &gate, events)?;
        let threads = self.config.threads.min(starts.len().max(1));
        let control = self.control(clients, gate, &starts, threads, until, events)?;
        self.stop.attach(&control);
        if starts.iter().any(|start| start.position.is_none()) {
            // A first commit, before the first record: it says where the state begins, so that changelog records of a later
            // commit that fails before its offsets are known for what they are (CO-4).
            control.request_commit();
        }
        events.emit(&Event::Started {
            application: &self.config.application_id,
            log: &self.broker.describe(),
            tasks: starts.len(),
            threads,
        });
        let deals = deal(starts, threads);
        let crew = supervise::Crew {
            plan: self.plan.clone(),
            config: self.config.clone(),
            task_config: task_config(&self.config),
            broker: self.broker.clone(),
            engines: self.components.engines.clone(),
            control: control.clone(),
            bounded: until == RunUntil::EndOfInput,
            hook: self.components.progress.clone(),
            starting: AtomicUsize::new(deals.len()),
        };
        let counters = crew.run(deals).map_err(|error| Failure {
            error,
            damaged: control.damaged(),
        })?;
        control.committer.leave()?;
        Ok(self.summary(&control, counters))
    }

    fn summary(&self, control: &Control, counters: BTreeMap<(String, String), u64>) -> Summary {
        let progress = control.totals.progress(control.clock.monotonic());
        let (records_in, records_out, commits) = (progress.records_in, progress.records_out, progress.commits);
        control.events.emit(&Event::Stopped {
            records_in,
            records_out,
            commits,
        });
        if let Some(hook) = &self.components.progress {
            hook(&progress);
        }
        Summary {
            progress,
            counters,
            events: control.events.counts(),
            written: control.outputs().written(),
        }
    }

    /// What the process has one of. The first thing of all: they find their brokers while the topics are looked at.
    fn connect(&self, events: &Arc<Events>) -> Result<Clients> {
        let group = MembershipConfig {
            group: self.config.application_id.as_str().into(),
            instance_id: None,
        };
        Ok(Clients {
            membership: self.broker.membership(&group)?,
            outputs: Outputs::open(self.broker.clone(), &self.config, events.clone())?,
        })
    }

    fn control(
        &self,
        clients: Clients,
        gate: Gate,
        starts: &[TaskStart],
        threads: usize,
        until: RunUntil,
        events: &Arc<Events>,
    ) -> Result<Arc<Control>> {
        let totals = Arc::new(Totals::new(threads));
        let inputs = starts.iter().flat_map(|start| &start.inputs);
        let slots: HashMap<TopicPartition, Slot> = inputs.map(|input| (input.partition.clone(), input.slot)).collect();
        let unfinished = (until == RunUntil::EndOfInput).then(|| downstream_first(self.plan.subtopologies()));
        let committer = Committer::new(
            clients.membership,
            self.stop.0.asked.clone(),
            topics_read(starts),
            unfinished,
        );
        let clock = self.components.clock.clone();
        Ok(Arc::new(Control::new(
            gate,
            slots,
            threads,
            committer,
            clients.outputs,
            totals,
            events.clone(),
            clock,
        )))
    }
}

/// Deals tasks with their starts to threads.
fn deal(starts: Vec<TaskStart>, threads: usize) -> Vec<Vec<TaskStart>> {
    let dealt = spread(starts.iter().map(|start| start.id).collect(), threads);
    let mut by_id: BTreeMap<TaskId, TaskStart> = starts.into_iter().map(|start| (start.id, start)).collect();
    dealt
        .into_iter()
        .map(|ids| ids.into_iter().filter_map(|id| by_id.remove(&id)).collect())
        .collect()
}

/// Sub-topologies so that each comes before those that feed it: the order in which a stack of them is finished upstream
/// first. In a circle, the lower number counts as upstream.
fn downstream_first(subtopologies: &[Subtopology]) -> Vec<u32> {
    let feeds = |up: &Subtopology, down: &Subtopology| {
        up.id != down.id && up.sinks.iter().any(|sink| down.source(&sink.topic).is_some())
    };
    let mut left: Vec<&Subtopology> = subtopologies.iter().collect();
    let mut order = Vec::new();
    while !left.is_empty() {
        let free = |sub: &&Subtopology| !left.iter().any(|up| feeds(up, sub));
        let next = left.iter().position(free).unwrap_or(0);
        order.push(left.remove(next).id);
    }
    order.reverse();
    order
}

fn task_config(config: &Config) -> TaskConfig {
    let door = |policy: Policy| match policy {
        Policy::Fail => DoorPolicy::Fail,
        Policy::Continue => DoorPolicy::Skip,
        Policy::DeadLetter => DoorPolicy::DeadLetter,
    };
    let action = match config.timestamp_future_policy {
        FuturePolicy::Drop => FutureAction::Drop,
        FuturePolicy::Clamp => FutureAction::Clamp,
        FuturePolicy::DeadLetter => FutureAction::DeadLetter,
    };
    TaskConfig {
        doors: Doors {
            read: door(config.deserialization_policy),
            process: door(config.processing_policy),
            dead_letter_topic: config.dead_letter_topic.as_deref().map(Arc::from),
        },
        future: Some(FutureGuard {
            bound_ms: config.timestamp_future_max_ms,
            action,
        }),
    }
}
