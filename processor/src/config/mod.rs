//! Configuration: raw settings from several places become one checked [`Config`], with all problems reported together.
//!
//! Settings are data and live here; components (clock, broker, engines) are passed to the `App` in code.

pub mod nearest;
pub mod options;
pub mod reference;
pub mod sources;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use options::{CLIENT_PREFIXES, Kind, NOT_HERE, OPTIONS, OptionSpec};
use sources::{Place, Problem, Setting};

/// What to do with a record that cannot go on, at each of the three doors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The application stops with an error that names the record; nothing is committed beyond it.
    Fail,
    /// The record is counted and left out.
    Continue,
    /// The record is counted and its raw bytes go to the dead-letter topic.
    DeadLetter,
}

/// What happens to a record whose timestamp lies too far in the future.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FuturePolicy {
    /// Counted and left out.
    Drop,
    /// Its timestamp becomes the bound.
    Clamp,
    /// Counted; its raw bytes go to the dead-letter topic.
    DeadLetter,
}

/// What a crash may do to results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarantee {
    /// Outputs may be repeated, state never is wrong (CO-4).
    AtLeastOnce,
    /// Outputs, state and positions move as one.
    ExactlyOnce,
}

/// Which client reads Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KafkaFetch {
    /// Our own.
    #[default]
    Native,
    /// librdkafka, which serves every cluster.
    Librdkafka,
}

/// Which client writes to Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KafkaProduce {
    /// Our own.
    #[default]
    Native,
    /// librdkafka, which serves every cluster.
    Librdkafka,
}

/// The checked configuration. `docs/reference/config.md` says what each option means.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is an entry of the table in options.rs")]
#[non_exhaustive]
pub struct Config {
    pub application_id: String,
    /// `None`: the embedded log.
    pub bootstrap_servers: Option<String>,
    pub kafka_fetch: KafkaFetch,
    pub kafka_produce: KafkaProduce,
    pub client_id: String,
    pub state_dir: PathBuf,
    pub local_log_dir: PathBuf,
    pub local_log_sync: bool,
    pub guarantee: Guarantee,
    pub threads: usize,
    pub commit_interval: Duration,
    pub poll: Duration,
    /// `None`: a task never waits for its other partitions.
    pub max_task_idle: Option<Duration>,
    pub max_event_time_skew_ms: i64,
    pub timestamp_future_max_ms: i64,
    pub timestamp_future_policy: FuturePolicy,
    pub buffered_records_per_partition: usize,
    pub buffered_bytes_per_partition: usize,
    pub cache_max_bytes: usize,
    pub uncommitted_max_bytes: usize,
    pub memory_max_bytes: usize,
    pub state_flush_max_bytes: u64,
    pub state_flush_max: Duration,
    /// `None`: the broker's default.
    pub replication_factor: Option<i32>,
    pub changelog_additional_retention_ms: i64,
    /// Whether partitions without a usable position start at their first record (else behind their last).
    pub start_at_earliest: bool,
    pub deserialization_policy: Policy,
    pub processing_policy: Policy,
    pub production_policy: Policy,
    pub dead_letter_topic: Option<String>,
    pub task_timeout: Duration,
    pub log_summary_interval: Duration,
    pub consumer: BTreeMap<String, String>,
    pub producer: BTreeMap<String, String>,
    pub admin: BTreeMap<String, String>,
}

/// All that is wrong with a configuration.
#[derive(Debug, Clone)]
pub struct ConfigError {
    /// The problems, in the order of the places they stand at.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = if self.problems.len() == 1 {
            "problem"
        } else {
            "problems"
        };
        write!(f, "{} {many} in the configuration:", self.problems.len())?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for ConfigError {}

/// Collects settings from their places, in rising order of precedence, and checks them all at once.
#[derive(Debug, Default)]
pub struct ConfigBuilder {
    settings: Vec<Setting>,
    problems: Vec<Problem>,
}

impl ConfigBuilder {
    /// Adds a YAML or `.properties` file.
    pub fn file(mut self, path: &Path) -> Self {
        self.take(sources::read_file(path));
        self
    }

    /// Adds the `MILLSTREAM_…` variables among `vars` (give it `std::env::vars()`).
    pub fn env(mut self, vars: impl Iterator<Item = (String, String)>) -> Self {
        self.settings.extend(sources::read_env(vars));
        self
    }

    /// Adds one option by name: a flag, or a choice of the program.
    pub fn set(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.settings.push(Setting {
            name: name.into(),
            value: value.to_string(),
            place: Place::Pair,
        });
        self
    }

    fn take(&mut self, read: Result<Vec<Setting>, Problem>) {
        match read {
            Ok(settings) => self.settings.extend(settings),
            Err(problem) => self.problems.push(problem),
        }
    }

    /// Checks everything.
    ///
    /// # Errors
    /// All problems, each with its place and its mend.
    pub fn build(self) -> Result<Config, ConfigError> {
        let mut resolver = Resolver {
            problems: self.problems,
            ..Resolver::default()
        };
        for setting in self.settings {
            resolver.accept(setting);
        }
        let config = resolver.config();
        if resolver.problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError {
                problems: resolver.problems,
            })
        }
    }
}

impl Config {
    /// Starts an empty configuration.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }

    /// Whether a commit is one atomic step: on the embedded log, or with transactions.
    pub fn exactly_once(&self) -> bool {
        self.bootstrap_servers.is_none() || self.guarantee == Guarantee::ExactlyOnce
    }
}

/// Settings by option, later ones over earlier ones, and what was wrong on the way.
#[derive(Default)]
struct Resolver {
    values: BTreeMap<&'static str, Setting>,
    clients: [BTreeMap<String, String>; CLIENT_PREFIXES.len()],
    problems: Vec<Problem>,
}

impl Resolver {
    fn accept(&mut self, mut setting: Setting) {
        if let Some((client, rest)) = client_setting(&setting.name) {
            self.clients[client].insert(rest, setting.value);
            return;
        }
        let Some(option) = options::find(&setting.name) else {
            let text = unknown(&setting.name);
            self.problems.push(Problem {
                place: Some(setting.place),
                text,
            });
            return;
        };
        match normal(option, setting.value.trim()) {
            Ok(value) => {
                setting.value = value;
                self.values.insert(option.name, setting);
            }
            Err(text) => self.problems.push(Problem {
                place: Some(setting.place),
                text: format!("{}: {text}", option.name),
            }),
        }
    }

    /// The value of an option that has a default, or that was set.
    fn text(&self, name: &'static str) -> Option<&str> {
        let default = || options::find(name).and_then(|option| option.default);
        self.values
            .get(name)
            .map(|setting| setting.value.as_str())
            .or_else(default)
    }

    fn int(&self, name: &'static str) -> i64 {
        self.text(name).and_then(|value| value.parse().ok()).unwrap_or_default()
    }

    fn size(&self, name: &'static str) -> usize {
        usize::try_from(self.int(name)).unwrap_or(usize::MAX)
    }

    fn duration(&self, name: &'static str) -> Duration {
        Duration::from_millis(self.int(name).unsigned_abs())
    }

    fn policy(&self, name: &'static str) -> Policy {
        match self.text(name) {
            Some("continue") => Policy::Continue,
            Some("dead-letter") => Policy::DeadLetter,
            _ => Policy::Fail,
        }
    }

    fn filled(&self, name: &'static str) -> Option<String> {
        self.text(name).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    fn config(&mut self) -> Config {
        let application_id = self.filled("application.id").unwrap_or_default();
        let guarantee = match self.text("processing.guarantee") {
            Some("exactly_once_v2") => Guarantee::ExactlyOnce,
            _ => Guarantee::AtLeastOnce,
        };
        let mut config = Config {
            client_id: self.filled("client.id").unwrap_or_else(|| application_id.clone()),
            application_id,
            bootstrap_servers: self.filled("bootstrap.servers"),
            kafka_fetch: match self.text("kafka.fetch") {
                Some("librdkafka") => KafkaFetch::Librdkafka,
                _ => KafkaFetch::Native,
            },
            kafka_produce: match self.text("kafka.produce") {
                Some("librdkafka") => KafkaProduce::Librdkafka,
                _ => KafkaProduce::Native,
            },
            state_dir: self.filled("state.dir").unwrap_or_default().into(),
            local_log_dir: self.filled("local.log.dir").unwrap_or_default().into(),
            local_log_sync: self.text("local.log.sync") == Some("true"),
            guarantee,
            threads: self.size("num.stream.threads"),
            commit_interval: Duration::ZERO,
            poll: self.duration("poll.ms"),
            max_task_idle: u64::try_from(self.int("max.task.idle.ms"))
                .ok()
                .map(Duration::from_millis),
            max_event_time_skew_ms: self.int("max.event.time.skew.ms"),
            timestamp_future_max_ms: self.int("timestamp.future.max.ms"),
            timestamp_future_policy: match self.text("timestamp.future.policy") {
                Some("clamp") => FuturePolicy::Clamp,
                Some("dead-letter") => FuturePolicy::DeadLetter,
                _ => FuturePolicy::Drop,
            },
            buffered_records_per_partition: self.size("buffered.records.per.partition"),
            buffered_bytes_per_partition: self.size("buffered.bytes.per.partition"),
            cache_max_bytes: self.size("statestore.cache.max.bytes"),
            uncommitted_max_bytes: self.size("statestore.uncommitted.max.bytes"),
            memory_max_bytes: self.size("memory.max.bytes"),
            state_flush_max_bytes: self.int("state.flush.max.bytes").unsigned_abs(),
            state_flush_max: self.duration("state.flush.max.ms"),
            replication_factor: i32::try_from(self.int("replication.factor"))
                .ok()
                .filter(|factor| *factor > 0),
            changelog_additional_retention_ms: self.int("windowstore.changelog.additional.retention.ms"),
            start_at_earliest: self.text("auto.offset.reset") != Some("latest"),
            deserialization_policy: self.policy("deserialization.exception.handler"),
            processing_policy: self.policy("processing.exception.handler"),
            production_policy: self.policy("production.exception.handler"),
            dead_letter_topic: self.filled("errors.dead.letter.queue.topic.name"),
            task_timeout: self.duration("task.timeout.ms"),
            log_summary_interval: self.duration("log.summary.interval.ms"),
            consumer: BTreeMap::new(),
            producer: BTreeMap::new(),
            admin: BTreeMap::new(),
        };
        config.commit_interval = match self.values.contains_key("commit.interval.ms") {
            true => self.duration("commit.interval.ms"),
            false if config.exactly_once() => Duration::from_millis(100),
            false => Duration::from_secs(30),
        };
        [config.consumer, config.producer, config.admin] = std::mem::take(&mut self.clients);
        self.check(&config);
        config
    }

    /// Rules between options.
    fn check(&mut self, config: &Config) {
        match config.application_id.as_str() {
            "" if self
                .problems
                .iter()
                .any(|problem| problem.text.starts_with("application.id:")) => {}
            "" => self.problem(
                "application.id",
                "is not set: give it in the file, as MILLSTREAM_APPLICATION_ID, or on the command line",
            ),
            id if !is_topic_name(id) => {
                self.problem(
                    "application.id",
                    "becomes part of topic names: use letters, digits, '.', '_' and '-' only",
                );
            }
            _ => {}
        }
        if config
            .dead_letter_topic
            .as_deref()
            .is_some_and(|topic| !is_topic_name(topic))
        {
            self.problem(
                "errors.dead.letter.queue.topic.name",
                "is not a topic name: use letters, digits, '.', '_' and '-' only",
            );
        }
        let doors = ["deserialization", "processing", "production"].map(|door| format!("{door}.exception.handler"));
        let wants = |name: &&str| self.text_of(name) == Some("dead-letter");
        let wanting = doors
            .iter()
            .map(String::as_str)
            .chain(["timestamp.future.policy"])
            .find(wants)
            .map(str::to_owned);
        if let (Some(option), None) = (wanting, &config.dead_letter_topic) {
            let text = format!("{option} is dead-letter, so errors.dead.letter.queue.topic.name must name the topic");
            let place = options::find(&option)
                .and_then(|o| self.values.get(o.name))
                .map(|setting| setting.place.clone());
            self.problems.push(Problem { place, text });
        }
        if config.guarantee == Guarantee::ExactlyOnce && config.bootstrap_servers.is_some() {
            self.problem(
                "processing.guarantee",
                "exactly_once_v2 is not implemented on Kafka yet: use at_least_once",
            );
        }
    }

    fn text_of(&self, name: &str) -> Option<&str> {
        options::find(name).and_then(|option| self.text(option.name))
    }

    fn problem(&mut self, name: &'static str, text: &str) {
        let place = self.values.get(name).map(|setting| setting.place.clone());
        self.problems.push(Problem {
            place,
            text: format!("{name} {text}"),
        });
    }
}

fn client_setting(name: &str) -> Option<(usize, String)> {
    let mut prefixes = CLIENT_PREFIXES.iter().enumerate();
    prefixes.find_map(|(client, prefix)| Some((client, name.strip_prefix(prefix)?.to_owned())))
}

fn unknown(name: &str) -> String {
    if let Some((_, mend)) = NOT_HERE.iter().find(|(known, _)| *known == name) {
        return format!("{name} is an option of Kafka Streams that Millstream does not have: {mend}");
    }
    match nearest::nearest(name, OPTIONS.iter().map(|option| option.name)) {
        Some(right) => format!("{name} is not an option: did you mean {right}?"),
        None => format!("{name} is not an option: docs/reference/config.md lists them all"),
    }
}

/// Checks a value and gives its normal form, or says what was expected.
fn normal(option: &OptionSpec, value: &str) -> Result<String, String> {
    match option.kind {
        Kind::Text | Kind::Path => Ok(value.to_owned()),
        Kind::Bool if matches!(value, "true" | "false") => Ok(value.to_owned()),
        Kind::Bool => Err(format!("`{value}` is neither true nor false")),
        Kind::Int { min, max } => number(value, value.parse().ok(), min, max, "a whole number"),
        Kind::Size { min } => number(value, size(value), min, i64::MAX, "a size like 1048576 or 64MiB"),
        Kind::Choice(words) => choice(value, words),
    }
}

fn number(text: &str, value: Option<i64>, min: i64, max: i64, what: &str) -> Result<String, String> {
    let value = value.ok_or_else(|| format!("`{text}` is not {what}"))?;
    match value {
        _ if value < min => Err(format!("{text} is too small: at least {min}")),
        _ if value > max => Err(format!("{text} is too large: at most {max}")),
        _ => Ok(value.to_string()),
    }
}

fn size(text: &str) -> Option<i64> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let (digits, shift) = units
        .iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)))
        .unwrap_or((text, 0));
    digits.trim().parse::<i64>().ok()?.checked_mul(1 << shift)
}

fn choice(value: &str, words: &[&str]) -> Result<String, String> {
    // Kafka Streams names handlers by class; `skip` is what people say.
    let word = match value.rsplit('.').next().unwrap_or_default() {
        "LogAndContinueExceptionHandler" | "LogAndContinueProcessingExceptionHandler" | "skip" => "continue",
        "LogAndFailExceptionHandler" | "LogAndFailProcessingExceptionHandler" | "DefaultProductionExceptionHandler" => {
            "fail"
        }
        _ => value,
    };
    match words.contains(&word) {
        true => Ok(word.to_owned()),
        false => Err(format!("`{value}` is not one of {}", words.join(", "))),
    }
}

/// Kafka's rule for topic names, which application ids must follow too.
pub fn is_topic_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= 249 && name != "." && name != ".." && name.chars().all(legal)
}
