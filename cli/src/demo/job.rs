//! The fleet job as an application on a log.

use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use millstream_flights::topology::{APPLICATION, plan};
use millstream_processor::broker::Broker;
use millstream_processor::engines::DiskEngines;
use millstream_processor::stream_thread::ProgressHook;
use millstream_processor::{App, Components, Config, RunUntil, Summary};

use super::progress::Display;
use crate::failure::Failure;

/// Bound for stores, queues and what is on its way.
const MEMORY: usize = 128 << 20;
/// How soon a signal, or the end of feeding, is noticed.
const LOOK: Duration = Duration::from_millis(50);

/// What the job runs on.
pub struct Job {
    /// The log with its topics.
    pub broker: Arc<dyn Broker>,
    /// Settings by name, beside those the job has of its own.
    pub settings: Vec<(&'static str, String)>,
}

impl Job {
    /// The job on this log, with its stores below `state_dir`.
    pub fn new(broker: Arc<dyn Broker>, state_dir: &Path, threads: u32) -> Self {
        let settings = vec![
            ("application.id", APPLICATION.to_string()),
            ("state.dir", state_dir.display().to_string()),
            ("num.stream.threads", threads.to_string()),
            // The data is of 2013, and Kafka deletes by record timestamps: changelogs of windows must outlive a century.
            (
                "windowstore.changelog.additional.retention.ms",
                (100 * 366 * 86_400_000_i64).to_string(),
            ),
            // A small machine's share; the job's state is a few megabytes.
            ("memory.max.bytes", MEMORY.to_string()),
        ];
        Self { broker, settings }
    }

    /// Adds a setting.
    pub fn set(mut self, name: &'static str, value: impl ToString) -> Self {
        self.settings.push((name, value.to_string()));
        self
    }

    /// Runs the job, with live progress, until the end of its input, or until `ended` says so.
    pub fn run(&self, until: RunUntil, ended: impl Fn() -> bool + Send) -> Result<Summary, Failure> {
        let display = Arc::new(Mutex::new(Display::new()));
        let app = self.app(Some(hook(display.clone())))?;
        let stop = app.stop_handle();
        let (done, is_done) = mpsc::channel::<()>();
        let summary = thread::scope(|scope| {
            scope.spawn(move || {
                while is_done.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                    if ended() {
                        return stop.stop();
                    }
                }
            });
            let summary = app.run(until);
            drop(done);
            summary
        });
        let summary = summary?;
        display
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .end(&summary.progress);
        Ok(summary)
    }

    fn app(&self, progress: Option<ProgressHook>) -> Result<App, Failure> {
        let plan = plan().map_err(|errors| Failure::failed(errors.to_string()))?;
        let builder = self
            .settings
            .iter()
            .fold(Config::builder(), |config, (name, value)| config.set(*name, value));
        let config = builder.build().map_err(|error| Failure::misuse(error.to_string()))?;
        let engines = Arc::new(DiskEngines::new(&config));
        let components = Components {
            progress,
            ..Components::new(engines)
        };
        Ok(App::new(plan, config, self.broker.clone(), components))
    }
}

fn hook(display: Arc<Mutex<Display>>) -> ProgressHook {
    Arc::new(move |progress| {
        display
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .show(progress, Instant::now());
    })
}
