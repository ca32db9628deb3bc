//! A real Apache Kafka broker for tests, and for `make kafka-up`.
//!
//! Where it comes from, first that can be had:
//! 1. `KAFKA_BOOTSTRAP_SERVERS`: a broker that somebody else runs;
//! 2. a container, if a Docker engine answers (`kafka/container.rs`);
//! 3. the jars from Maven Central and the local JDK ([`jars`]).
//!
//! A test asks for the broker that its whole test binary shares:
//!
//! ```no_run
//! # use millstream_integration_tests::kafka;
//! let Some(broker) = kafka::shared() else { return };
//! println!("{}", broker.bootstrap());
//! ```
//!
//! `None` means that no Kafka can be had here; the test has then been counted as skipped. A broker that should be
//! there and does not work (the variable is set and nothing answers, the jars are there and do not start) is a
//! failure, never a skip. Under `make test` one broker serves all test binaries (`src/bin/kafka.rs`, `run`), so
//! tests name their topics and groups uniquely: [`unique`].

mod classes;
pub mod cluster;
mod container;
pub mod jars;
mod metadata;
pub mod proxy;
mod reaper;
pub mod secured;

use std::env;
use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The version of Apache Kafka that is started here; `kafka/pom.xml` says the same.
pub const VERSION: &str = "4.3.1";

/// Names a broker that is already running. The value `none` says that there is none to be had.
pub const BOOTSTRAP_ENV: &str = "KAFKA_BOOTSTRAP_SERVERS";

/// The value `jars` says that no container is to be used: a process of its own can be measured, and kept on a core.
pub const ORIGIN_ENV: &str = "MILLSTREAM_KAFKA";

/// Names the process of a broker that was started from jars, for those who measure it.
pub const PID_ENV: &str = "KAFKA_BROKER_PID";

/// Names a file to which each skipped test adds its name, one a line.
pub const SKIPPED_ENV: &str = "MILLSTREAM_SKIPPED_TESTS";

/// How long a broker may take until it answers. Generous: it shares two cores with a compiler at times.
const START_LIMIT: Duration = Duration::from_secs(120);

/// A broker that answers. Dropping it stops what this process started.
#[derive(Debug)]
pub struct Broker {
    bootstrap: String,
    origin: Origin,
}

/// Who runs the broker, and the handle that ends it.
#[derive(Debug)]
enum Origin {
    Given,
    Container(Box<container::Container>),
    Jars(Box<jars::Server>),
}

/// Why there is no broker.
#[derive(Debug)]
pub enum NoBroker {
    /// None can be had on this machine; says what is missing.
    Unavailable(String),
    /// One should be there, but it does not work.
    Broken(String),
}

impl fmt::Display for NoBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(why) | Self::Broken(why) => f.write_str(why),
        }
    }
}

impl Broker {
    /// Finds or starts a broker, and returns when it answers a metadata request.
    pub fn start() -> Result<Self, NoBroker> {
        match env::var(BOOTSTRAP_ENV) {
            Ok(value) if value == "none" => {
                return Err(NoBroker::Unavailable(format!("{BOOTSTRAP_ENV} is none")));
            }
            Ok(bootstrap) if !bootstrap.is_empty() => {
                metadata::wait(&bootstrap, START_LIMIT, || Ok(())).map_err(NoBroker::Broken)?;
                return Ok(Self {
                    bootstrap,
                    origin: Origin::Given,
                });
            }
            _ => {}
        }
        let jars_only = env::var(ORIGIN_ENV).is_ok_and(|value| value == "jars");
        let engine = (!jars_only).then(container::Engine::find).flatten();
        if let Some(engine) = engine {
            let container = container::Container::start(engine).map_err(NoBroker::Broken)?;
            return Ok(Self {
                bootstrap: container.bootstrap(),
                origin: Origin::Container(Box::new(container)),
            });
        }
        let server = jars::Server::start()?;
        Ok(Self {
            bootstrap: server.bootstrap(),
            origin: Origin::Jars(Box::new(server)),
        })
    }

    /// `host:port`, as `bootstrap.servers` wants it.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Where this broker comes from, for people.
    pub fn describe(&self) -> String {
        match &self.origin {
            Origin::Given => format!("given by {BOOTSTRAP_ENV}"),
            Origin::Container(container) => format!("Apache Kafka {VERSION} in container {}", container.id()),
            Origin::Jars(server) => format!("Apache Kafka {VERSION} from jars, process {}", server.pid()),
        }
    }

    /// The broker's process, if this machine runs it as one of its own.
    pub fn pid(&self) -> Option<u32> {
        match &self.origin {
            Origin::Jars(server) => Some(server.pid()),
            Origin::Given | Origin::Container(_) => None,
        }
    }

    /// Lets the broker outlive this process, and returns the shell command that ends it; `None` if somebody else
    /// runs it.
    pub fn keep(self) -> Option<String> {
        match self.origin {
            Origin::Given => None,
            Origin::Container(container) => Some(container.keep()),
            Origin::Jars(server) => Some(server.keep()),
        }
    }
}

/// The broker that all tests of this binary share; it ends with the process, however that ends.
///
/// `None`: none can be had, and the calling test was counted as skipped.
///
/// # Panics
/// If there should be a broker, but it does not work.
pub fn shared() -> Option<&'static Broker> {
    static SHARED: OnceLock<Result<Broker, NoBroker>> = OnceLock::new();
    match SHARED.get_or_init(Broker::start) {
        Ok(broker) => Some(broker),
        Err(NoBroker::Unavailable(why)) => {
            skip(why);
            None
        }
        Err(NoBroker::Broken(why)) => panic!("the Kafka broker for tests does not work: {why}"),
    }
}

/// A cluster of this test's own; `None`: none can be had, and the calling test was counted as skipped. See
/// [`cluster::Cluster::start`].
///
/// # Panics
/// If there should be one, but it does not work.
pub fn cluster(brokers: u32, advertised: impl Fn(u16) -> u16) -> Option<cluster::Cluster> {
    of_its_own(|| cluster::Cluster::start(brokers, advertised))
}

/// A broker of this test's own that asks for TLS and passwords; `None` as for [`cluster()`].
///
/// # Panics
/// If there should be one, but it does not work.
pub fn secured() -> Option<secured::Secured> {
    of_its_own(secured::Secured::start)
}

fn of_its_own<T>(start: impl FnOnce() -> Result<T, NoBroker>) -> Option<T> {
    let none = env::var(BOOTSTRAP_ENV).is_ok_and(|value| value == "none");
    let started = match none {
        true => Err(NoBroker::Unavailable(format!("{BOOTSTRAP_ENV} is none"))),
        false => start(),
    };
    match started {
        Ok(brokers) => Some(brokers),
        Err(NoBroker::Unavailable(why)) => {
            skip(&why);
            None
        }
        Err(NoBroker::Broken(why)) => panic!("the Kafka brokers of a test do not work: {why}"),
    }
}

/// Does a broker answer there now?
pub fn answers(bootstrap: &str) -> bool {
    metadata::wait(bootstrap, Duration::ZERO, || Ok(())).is_ok()
}

/// A name that no other test, and no earlier run against the same broker, uses: for topics, groups, application ids.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let started = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_millis());
    format!(
        "{prefix}-{started:x}-{:x}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// Says loudly that the calling test is skipped, and counts it.
fn skip(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    match env::var_os(SKIPPED_ENV) {
        Some(file) => {
            let line = format!("{test}\n");
            let appended = OpenOptions::new().create(true).append(true).open(&file);
            appended
                .and_then(|mut file| file.write_all(line.as_bytes()))
                .unwrap_or_else(|e| panic!("cannot note the skipped test in {file:?}: {e}"));
        }
        // Written to the stream itself: the test harness holds back only what the print macros write.
        None => drop(writeln!(std::io::stderr(), "SKIPPED, NO KAFKA: {test} ({why})")),
    }
}

/// Calls `ready` until it says yes, `limit` has passed, or `alive` fails; polls every 50 ms.
fn poll(
    limit: Duration,
    what: &str,
    alive: impl Fn() -> Result<(), String>,
    ready: impl Fn() -> Result<(), String>,
) -> Result<(), String> {
    let start = Instant::now();
    loop {
        let Err(why) = ready() else { return Ok(()) };
        alive()?;
        if start.elapsed() > limit {
            return Err(format!("{what} did not answer within {} s: {why}", limit.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
