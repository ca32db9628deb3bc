//! What a writer of ours takes from the settings of a producer, by librdkafka's names.

use std::time::Duration;

use rdkafka::config::ClientConfig;

use super::core::Limits;
use super::line::MOST;
use crate::broker::SinkConfig;
use crate::broker::kafka::KafkaSettings;
use crate::broker::kafka::native::settings::number;
use crate::broker::kafka::settings::Linger;
use crate::broker::kafka::wire::{self, Unsupported};
use crate::broker::record_batch::compression::Compression;

/// Settings of a writer besides those of its connections.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) limits: Limits,
    /// `request.timeout.ms`: how long a broker waits for the other replicas.
    pub(super) request_timeout: Duration,
    /// When records leave.
    pub(super) leaving: Leaving,
    /// `batch.size`: no batch is larger, but one of a single record.
    pub(super) batch_bytes: usize,
    /// `queue.buffering.max.kbytes`: how much may wait for acknowledgement.
    pub(super) memory: usize,
    pub(super) compression: Compression,
    pub(super) level: Option<i32>,
    /// `topic.metadata.propagation.max.ms`: how long a topic that is not there is taken for one that is being made.
    pub(super) propagation: Duration,
}

/// When the records of a partition leave that nobody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// At once, while a further request may be under way.
    AtOnce,
    /// At once when nothing of theirs is under way; else with the next answer, or when they are a full batch or this old.
    WithAnswers(Duration),
    /// When they are a full batch or this old.
    AfterLinger(Duration),
}

/// Settings that can be served.
pub(in crate::broker::kafka) struct Served {
    pub(super) connections: wire::Settings,
    pub(super) settings: Settings,
}

/// Requests with more bytes than this bring nothing more.
const REQUEST_BYTES: u64 = 1 << 20;

/// How much may wait for acknowledgement, by its name and by default: enough to keep a broker busy, and soon committed.
const MEMORY: &str = "queue.buffering.max.kbytes";
const MEMORY_KB: u64 = 8 << 10;

/// Requests under way to a broker: one that it works on, and one that it need not wait for.
const REQUESTS: u64 = 2;

/// Settings by which a user may say what we do, or need not do.
const KNOWN: &[&str] = &[
    // Read here.
    "acks",
    "batch.num.messages",
    "batch.size",
    "compression.codec",
    "compression.level",
    "compression.type",
    "delivery.timeout.ms",
    "enable.gapless.guarantee",
    "linger.ms",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.max.bytes",
    "message.timeout.ms",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.ms",
    "request.required.acks",
    "request.timeout.ms",
    "topic.metadata.propagation.max.ms",
    // Read by the connections.
    "broker.address.family",
    "client.id",
    "receive.message.max.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "socket.connection.setup.timeout.ms",
    "socket.timeout.ms",
    "topic.metadata.refresh.interval.ms",
    // Of no meaning to us: how librdkafka goes about its work.
    "log_level",
    "queue.buffering.backpressure.threshold",
    "queue.buffering.max.messages",
    "socket.nagle.disable",
    "statistics.interval.ms",
    "topic.metadata.refresh.fast.interval.ms",
    "topic.metadata.refresh.sparse",
];

/// Families of settings that the connections read, and refuse what they cannot serve.
const KNOWN_BEGINNINGS: &[&str] = &["ssl.", "sasl.", "security.", "enable.ssl."];

/// Whether these settings of a producer can be served; else why librdkafka has to.
pub(in crate::broker::kafka) fn serves(kafka: &KafkaSettings, sink: &SinkConfig) -> Result<Served, Unsupported> {
    let is_known = |name: &str| KNOWN.contains(&name) || KNOWN_BEGINNINGS.iter().any(|begin| name.starts_with(begin));
    let given = kafka.common.iter().chain(&kafka.producer);
    for (name, _) in given {
        if !is_known(name) {
            let why = format!("{name} is set, which only librdkafka follows");
            return Err(Unsupported { why });
        }
    }
    let mut config = kafka.sink(sink);
    if kafka
        .common
        .iter()
        .chain(&kafka.producer)
        .all(|(name, _)| name != MEMORY)
    {
        config.set(MEMORY, MEMORY_KB.to_string());
    }
    Ok(Served {
        connections: wire::Settings::read(&config)?,
        settings: Settings::read(&config, kafka.linger())?,
    })
}

impl Settings {
    fn read(config: &ClientConfig, linger: Linger) -> Result<Self, Unsupported> {
        let wire = wire::Settings::read(config)?;
        let either = |one: &'static str, other: &'static str| match config.get(one) {
            Some(_) => one,
            None => other,
        };
        let number = |name, low, high, default| number(config, name, low..=high, default);
        let millis = |name, default| Ok(Duration::from_millis(number(name, 0, i32::MAX as u64, default)?));
        let linger_ms = linger_ms(config, either("queue.buffering.max.ms", "linger.ms"))?;
        let in_flight = either("max.in.flight.requests.per.connection", "max.in.flight");
        let request_bytes = number("message.max.bytes", 1000, 1_000_000_000, REQUEST_BYTES)?;
        let (compression, level) = compression(config, either("compression.codec", "compression.type"))?;
        Ok(Self {
            limits: Limits {
                // A broker works on one request of a connection at a time. What waits there for its turn would gather here.
                requests: number(in_flight, 1, 1_000_000, REQUESTS)?.min(MOST as u64) as usize,
                request_bytes: request_bytes.min(REQUEST_BYTES) as usize,
                pause: wire.retry,
                delivery: millis(either("message.timeout.ms", "delivery.timeout.ms"), 120_000)?,
            },
            request_timeout: millis("request.timeout.ms", 30_000)?.min(wire.request_timeout),
            leaving: match linger {
                Linger::None => Leaving::AtOnce,
                Linger::AsGood => Leaving::WithAnswers(linger_ms),
                Linger::Given => Leaving::AfterLinger(linger_ms),
            },
            batch_bytes: number("batch.size", 1, i32::MAX as u64, 1_000_000)? as usize,
            memory: (number(MEMORY, 1, i32::MAX as u64, MEMORY_KB)? as usize) << 10,
            compression,
            level,
            propagation: millis("topic.metadata.propagation.max.ms", 30_000)?,
        })
    }
}

/// librdkafka takes fractions here.
fn linger_ms(config: &ClientConfig, name: &str) -> Result<Duration, Unsupported> {
    let text = config.get(name).unwrap_or("5");
    let ms = text
        .trim()
        .parse::<f64>()
        .ok()
        .filter(|ms| (0.0..=900_000.0).contains(ms));
    match ms {
        Some(ms) => Ok(Duration::from_secs_f64(ms / 1e3)),
        None => Err(Unsupported {
            why: format!("{name} is {text:?}"),
        }),
    }
}

fn compression(config: &ClientConfig, name: &str) -> Result<(Compression, Option<i32>), Unsupported> {
    let text = config.get(name).unwrap_or("none");
    let unsupported = |why| Unsupported { why };
    let found = Compression::named(text).ok_or_else(|| unsupported(format!("{name} is {text:?}")))?;
    let level = match config.get("compression.level").map(str::trim) {
        None | Some("-1") => None,
        Some(level) => Some(
            level
                .parse()
                .map_err(|_| unsupported(format!("compression.level is {level:?}")))?,
        ),
    };
    match (found, level) {
        (Compression::Lz4, Some(1..)) => Err(unsupported("compression.level is set for lz4".to_owned())),
        (Compression::Gzip, Some(level @ 10..)) => Err(unsupported(format!("compression.level is {level} for gzip"))),
        found => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, Unsupported> {
        let kafka = KafkaSettings {
            producer: pairs
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            ..KafkaSettings::new("localhost:9092")
        };
        serves(&kafka, &SinkConfig::default()).map(|served| served.settings)
    }

    #[test]
    fn a_producers_settings_are_understood_by_all_their_names() {
        let settings = read(&[
            ("compression.codec", "zstd"),
            ("compression.level", "7"),
            ("max.in.flight", "3"),
            ("message.timeout.ms", "2000"),
            ("queue.buffering.max.ms", "1.5"),
            ("batch.size", "1234"),
        ]);
        let settings = settings.unwrap();
        assert_eq!((settings.compression, settings.level), (Compression::Zstd, Some(7)));
        assert_eq!((settings.limits.requests, settings.batch_bytes), (3, 1234));
        assert_eq!(settings.limits.delivery, Duration::from_secs(2));
        assert_eq!(settings.leaving, Leaving::AfterLinger(Duration::from_micros(1500)));
    }

    #[test]
    fn what_is_said_about_linger_is_followed() {
        assert_eq!(
            read(&[]).unwrap().leaving,
            Leaving::WithAnswers(Duration::from_millis(50))
        );
        assert_eq!(read(&[("linger.ms", "0")]).unwrap().leaving, Leaving::AtOnce);
    }

    #[test]
    fn what_is_not_known_is_librdkafkas() {
        for (name, value) in [
            ("plugin.library.paths", "x"),
            ("retries", "3"),
            ("compression.type", "brotli"),
            ("linger.ms", "soon"),
            ("security.protocol", "ROT13"),
        ] {
            let why = read(&[(name, value)]).unwrap_err().why;
            assert!(why.contains(name), "{why}");
        }
        let level = |codec| read(&[("compression.type", codec), ("compression.level", "11")]);
        assert!(level("lz4").is_err() && level("gzip").is_err() && level("zstd").is_ok());
    }
}
