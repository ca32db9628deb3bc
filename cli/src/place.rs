//! Where a log is: a directory, or Kafka.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_processor::broker::Broker;
use millstream_processor::broker::kafka::{KafkaBroker, KafkaSettings};
use millstream_processor::broker::local::{LocalLog, LocalOptions};
use millstream_processor::clock::{Clock, RealClock};

use crate::args::PlaceOptions;
use crate::failure::Failure;

/// Where everything is kept when nobody says otherwise; the processor's own default as well.
const DEFAULT_DIR: &str = "millstream-data";

/// The log a command works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The embedded log in `log` below this directory; stores are in `state` beside it.
    Directory(PathBuf),
    /// Kafka at these servers.
    Kafka(String),
}

impl Place {
    /// The place the arguments name.
    pub fn of(options: &PlaceOptions) -> Self {
        match (&options.bootstrap_servers, &options.dir) {
            (Some(servers), _) => Self::Kafka(servers.clone()),
            (None, Some(dir)) => Self::Directory(dir.clone()),
            (None, None) => Self::Directory(PathBuf::from(DEFAULT_DIR)),
        }
    }

    /// Opens the log to write to it; makes the directory if need be.
    pub fn open(&self) -> Result<Arc<dyn Broker>, Failure> {
        match self {
            Self::Directory(dir) => Ok(Arc::new(LocalLog::open(&dir.join("log"), LocalOptions::new(clock()))?)),
            Self::Kafka(servers) => kafka(servers),
        }
    }

    /// Opens the log to read it: a directory may be in use by a running job.
    pub fn open_to_read(&self) -> Result<Arc<dyn Broker>, Failure> {
        match self {
            Self::Directory(dir) if !dir.join("log").exists() => Err(Failure::misuse(format!(
                "no log in {}: name the directory that `millstream demo` used with --dir, or run it first",
                dir.display()
            ))),
            Self::Directory(dir) => Ok(Arc::new(LocalLog::open_reader(&dir.join("log"), clock())?)),
            Self::Kafka(servers) => kafka(servers),
        }
    }

    /// Where the state stores go, unless the caller has a place of its own for them.
    pub fn state_dir(&self) -> PathBuf {
        match self {
            Self::Directory(dir) => dir.join("state"),
            // Not where the embedded log's stores are: these belong to another log.
            Self::Kafka(_) => Path::new(DEFAULT_DIR).join("kafka-state"),
        }
    }
}

/// Time for retention.
fn clock() -> Arc<dyn Fn() -> i64 + Send + Sync> {
    let clock = RealClock::default();
    Arc::new(move || clock.now())
}

fn kafka(servers: &str) -> Result<Arc<dyn Broker>, Failure> {
    Ok(Arc::new(KafkaBroker::new(KafkaSettings::new(servers))?))
}

impl fmt::Display for Place {
    /// As the arguments name it, to be pasted behind a command.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(dir) if dir == Path::new(DEFAULT_DIR) => Ok(()),
            Self::Directory(dir) => write!(f, " --dir {}", dir.display()),
            Self::Kafka(servers) => write!(f, " --bootstrap-servers {servers}"),
        }
    }
}
