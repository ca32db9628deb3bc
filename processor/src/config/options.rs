//! The table of options: one entry each, from which parsing, errors and the reference page are made.

/// What a value must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A directory; created when missing.
    Path,
    /// A whole number within bounds (both included).
    Int {
        /// Smallest allowed value.
        min: i64,
        /// Largest allowed value.
        max: i64,
    },
    /// A size in bytes: a whole number, or one with `KiB`, `MiB` or `GiB` behind it.
    Size {
        /// Smallest allowed size.
        min: i64,
    },
    /// `true` or `false`.
    Bool,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// One option of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// Name as written in files; Kafka Streams' own name where it has one.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// Value when nobody sets it; `None`: see the text (required, or derived from other options).
    pub default: Option<&'static str>,
    /// Unit of the number, empty where there is none.
    pub unit: &'static str,
    /// What it does, in one or two sentences.
    pub doc: &'static str,
}

const MAX: i64 = i64::MAX;
const MIB: i64 = 1 << 20;

const fn ms(min: i64) -> Kind {
    Kind::Int { min, max: MAX }
}

const fn option(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    unit: &'static str,
    doc: &'static str,
) -> OptionSpec {
    OptionSpec {
        name,
        kind,
        default,
        unit,
        doc,
    }
}

/// What to do with a record that cannot be read, processed or produced.
const POLICY: Kind = Kind::Choice(&["fail", "continue", "dead-letter"]);

/// Every option, in the order of the reference page.
pub const OPTIONS: &[OptionSpec] = &[
    option(
        "application.id",
        Kind::Text,
        None,
        "",
        "Required. Name of the application: its consumer group, the prefix of its internal topics and the name of its state directory.",
    ),
    option(
        "bootstrap.servers",
        Kind::Text,
        Some(""),
        "",
        "Kafka brokers as `host:port,host:port`. Empty: the embedded log in `local.log.dir`.",
    ),
    option(
        "kafka.fetch",
        Kind::Choice(&["native", "librdkafka"]),
        Some("native"),
        "",
        "Which client reads Kafka. `native` costs a fraction of the processor time per record; settings that it cannot serve (PKCS#12 key stores, encrypted keys, `consumer.client.rack`, Kerberos, OAuth) go to librdkafka, with one line in the log; of these, Kerberos and OAuth need a librdkafka built with them, which ours is not.",
    ),
    option(
        "kafka.produce",
        Kind::Choice(&["native", "librdkafka"]),
        Some("native"),
        "",
        "Which client writes to Kafka. `native` costs a fraction of the processor time per record, and a record does not wait for the one before it; settings that it cannot serve or does not know (see `kafka.fetch`; any `producer.` setting beyond size, time, linger and compression) go to librdkafka, with one line in the log.",
    ),
    option(
        "client.id",
        Kind::Text,
        None,
        "",
        "How this process names itself to the brokers. Default: the application id.",
    ),
    option(
        "state.dir",
        Kind::Path,
        Some("millstream-data/state"),
        "",
        "Where stores are kept. Give a pod a volume that survives it, else every restart restores from the changelogs.",
    ),
    option(
        "local.log.dir",
        Kind::Path,
        Some("millstream-data/log"),
        "",
        "Directory of the embedded log, used when `bootstrap.servers` is empty.",
    ),
    option(
        "local.log.sync",
        Kind::Bool,
        Some("true"),
        "",
        "Whether a commit on the embedded log waits for the disk. Without it a power cut may lose the newest commits; a killed process loses nothing.",
    ),
    option(
        "processing.guarantee",
        Kind::Choice(&["at_least_once", "exactly_once_v2"]),
        Some("at_least_once"),
        "",
        "What a crash may do. The embedded log is always exactly once. On Kafka only `at_least_once` is implemented yet; the other is refused.",
    ),
    option(
        "num.stream.threads",
        Kind::Int { min: 1, max: 256 },
        Some("1"),
        "threads",
        "Threads that run tasks.",
    ),
    option(
        "commit.interval.ms",
        ms(1),
        None,
        "ms",
        "Longest time between two commits while there is something to commit. Default: 30000; 100 when exactly once (so on the embedded log).",
    ),
    option(
        "poll.ms",
        ms(1),
        Some("100"),
        "ms",
        "Longest time an idle thread waits before it looks around again.",
    ),
    option(
        "max.task.idle.ms",
        ms(-1),
        Some("0"),
        "ms",
        "How long a task waits for data of its other partitions. 0: only for data known to be on the broker; -1: not at all.",
    ),
    option(
        "max.event.time.skew.ms",
        ms(0),
        Some("600000"),
        "ms",
        "How far, in event time, a partition may be read ahead of the slowest partition that has data. Keeps records of a repartition topic from being late (OR-3).",
    ),
    option(
        "timestamp.future.max.ms",
        ms(0),
        Some("86400000"),
        "ms",
        "How far beyond the clock a record's timestamp may lie. Later ones never move stream time further than this (TI-2).",
    ),
    option(
        "timestamp.future.policy",
        Kind::Choice(&["drop", "clamp", "dead-letter"]),
        Some("drop"),
        "",
        "What happens to a record whose timestamp lies too far in the future: dropped and counted, clamped to the bound, or dead-lettered.",
    ),
    option(
        "buffered.records.per.partition",
        Kind::Int { min: 1, max: MAX },
        Some("10000"),
        "records",
        "Records kept ready per partition; beyond it, the partition is paused.",
    ),
    option(
        "buffered.bytes.per.partition",
        Kind::Size { min: 1024 },
        Some("4194304"),
        "bytes",
        "Bytes kept ready per partition; beyond it, the partition is paused.",
    ),
    option(
        "statestore.cache.max.bytes",
        Kind::Size { min: 0 },
        Some("67108864"),
        "bytes",
        "Memory for rows of all stores that are kept decoded after a commit.",
    ),
    option(
        "statestore.uncommitted.max.bytes",
        Kind::Size { min: 1024 },
        Some("67108864"),
        "bytes",
        "Rows in the stores of the process that changed since the last commit, in memory; more than this commits early (KIP-892). Outputs on their way count under `memory.max.bytes`.",
    ),
    option(
        "memory.max.bytes",
        Kind::Size { min: 32 * MIB },
        Some("536870912"),
        "bytes",
        "Bound for rows in memory, task queues and sends of the process (ME-1): reaching it commits early and slows the input. RocksDB takes up to a quarter of it besides, and each reader of Kafka up to `consumer.queued.max.messages.kbytes`.",
    ),
    option(
        "state.flush.max.bytes",
        Kind::Size { min: 0 },
        Some("67108864"),
        "bytes",
        "Bytes of a task's state that a crash may make us replay from the changelog.",
    ),
    option(
        "state.flush.max.ms",
        ms(0),
        Some("60000"),
        "ms",
        "Age of state that a crash may make us replay from the changelog.",
    ),
    option(
        "replication.factor",
        Kind::Int { min: -1, max: 32767 },
        Some("-1"),
        "replicas",
        "Replicas of internal topics. -1: the broker's default.",
    ),
    option(
        "windowstore.changelog.additional.retention.ms",
        ms(0),
        Some("86400000"),
        "ms",
        "Added to a window store's retention for its changelog topic. Brokers delete by record timestamps, so raise it beyond the age of the data when old data is replayed.",
    ),
    option(
        "auto.offset.reset",
        Kind::Choice(&["earliest", "latest"]),
        Some("earliest"),
        "",
        "Where to start in a source partition without a committed position, or with one that no longer exists.",
    ),
    option(
        "deserialization.exception.handler",
        POLICY,
        Some("fail"),
        "",
        "Door 1, a record that cannot be read: stop; count it and go on; or count it, write it to the dead-letter topic and go on. Kafka Streams' handler class names are understood.",
    ),
    option(
        "processing.exception.handler",
        POLICY,
        Some("fail"),
        "",
        "Door 2, a record that an operator refuses. Values as for door 1.",
    ),
    option(
        "production.exception.handler",
        POLICY,
        Some("fail"),
        "",
        "Door 3, an output that the log refuses (too large, no such topic). Values as for door 1.",
    ),
    option(
        "errors.dead.letter.queue.topic.name",
        Kind::Text,
        Some(""),
        "",
        "Topic for bad records. Required when one of the three handlers, or `timestamp.future.policy`, is `dead-letter`.",
    ),
    option(
        "task.timeout.ms",
        ms(0),
        Some("300000"),
        "ms",
        "How long a commit on Kafka waits for acknowledgements before the application stops.",
    ),
    option(
        "log.summary.interval.ms",
        ms(0),
        Some("120000"),
        "ms",
        "How often a line with the totals is logged; 0: never.",
    ),
];

/// Prefixes of settings that go to one kind of Kafka client as they are.
pub const CLIENT_PREFIXES: &[&str] = &["consumer.", "producer.", "admin."];

/// Kafka Streams' options that we do not have, with what to do instead: better than a guess at a typing error.
pub const NOT_HERE: &[(&str, &str)] = &[
    ("acceptable.recovery.lag", "there are no standby tasks yet"),
    ("application.server", "there is no query endpoint yet"),
    ("cache.max.bytes.buffering", "use statestore.cache.max.bytes"),
    (
        "default.deserialization.exception.handler",
        "use deserialization.exception.handler",
    ),
    (
        "default.key.serde",
        "codecs are part of the topology: Consumed, Produced, Materialized",
    ),
    (
        "default.production.exception.handler",
        "use production.exception.handler",
    ),
    ("default.timestamp.extractor", "the parse step gives the event time"),
    (
        "default.value.serde",
        "codecs are part of the topology: Consumed, Produced, Materialized",
    ),
    ("group.protocol", "partitions are assigned inside one process yet"),
    ("max.warmup.replicas", "there are no standby tasks yet"),
    ("num.standby.replicas", "there are no standby tasks yet"),
    ("rocksdb.config.setter", "memory.max.bytes bounds what RocksDB uses"),
    ("topology.optimization", "the plan is always optimised"),
];

/// The entry of `name`.
pub fn find(name: &str) -> Option<&'static OptionSpec> {
    OPTIONS.iter().find(|option| option.name == name)
}
