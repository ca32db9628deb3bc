//! Settings of the Kafka clients: ours, the user's, and those that must not be changed.

use std::collections::BTreeMap;

use rdkafka::config::ClientConfig;

use crate::broker::fault::{Fault, Result};
use crate::broker::{FetchConfig, SinkConfig};
use crate::config::{Config, KafkaFetch, KafkaProduce};

/// Where the brokers are and what the user wants passed on to the clients, by librdkafka's names.
#[derive(Debug, Clone, Default)]
pub struct KafkaSettings {
    /// `bootstrap.servers`.
    pub bootstrap: String,
    /// For every client: security, time-outs.
    pub common: Vec<(String, String)>,
    /// For readers (`consumer.`).
    pub consumer: Vec<(String, String)>,
    /// For writers (`producer.`).
    pub producer: Vec<(String, String)>,
    /// For topics and offsets (`admin.`).
    pub admin: Vec<(String, String)>,
    /// Which client reads (`kafka.fetch`).
    pub fetch: KafkaFetch,
    /// Which client writes (`kafka.produce`).
    pub produce: KafkaProduce,
}

/// Settings that would break what this crate promises, and why.
const OURS: &[(&str, &str)] = &[
    ("bootstrap.servers", "set it once, without a prefix"),
    ("group.id", "it is application.id"),
    ("group.instance.id", "membership sets it"),
    (
        "enable.auto.commit",
        "offsets are committed after everything that depends on them is durable",
    ),
    ("auto.commit.interval.ms", "offsets are committed by commit.interval.ms"),
    ("enable.auto.offset.store", "positions are kept by the tasks"),
    (
        "auto.offset.reset",
        "set auto.offset.reset without a prefix: the tasks decide",
    ),
    ("enable.partition.eof", "the end of a partition is known otherwise"),
    ("allow.auto.create.topics", "a topic that is missing must be seen"),
    ("enable.idempotence", "without it a retry writes twice"),
    ("partitioner", "partitions are chosen by this crate, as Java does"),
    ("transactional.id", "it follows from the processing guarantee"),
    ("delivery.report.only.error", "commits wait for the reports"),
];

/// librdkafka's `message.max.bytes`: it refuses a `fetch.max.bytes` below that.
const LEAST_FETCH_BYTES: usize = 1_000_000;

impl KafkaSettings {
    /// Brokers at `bootstrap`, everything else by default.
    pub fn new(bootstrap: impl Into<String>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            ..Self::default()
        }
    }

    /// As a configuration says, with what it passes on to the clients.
    pub fn of(config: &Config) -> Self {
        let pairs = |settings: &BTreeMap<String, String>| settings.clone().into_iter().collect();
        Self {
            bootstrap: config.bootstrap_servers.clone().unwrap_or_default(),
            common: Vec::new(),
            consumer: pairs(&config.consumer),
            producer: pairs(&config.producer),
            admin: pairs(&config.admin),
            fetch: config.kafka_fetch,
            produce: config.kafka_produce,
        }
    }

    /// The same with another client for reading.
    pub fn reading_with(self, fetch: KafkaFetch) -> Self {
        Self { fetch, ..self }
    }

    /// The same with another client for writing.
    pub fn writing_with(self, produce: KafkaProduce) -> Self {
        Self { produce, ..self }
    }

    /// Refuses settings that are not the user's to make; tells all of them at once.
    pub(super) fn check(&self) -> Result<()> {
        let rooms = [
            ("", &self.common),
            ("consumer.", &self.consumer),
            ("producer.", &self.producer),
            ("admin.", &self.admin),
        ];
        let mut problems: Vec<String> = Vec::new();
        if self.bootstrap.trim().is_empty() {
            problems.push("bootstrap.servers is empty: name at least one HOST:PORT".into());
        }
        for (prefix, settings) in rooms {
            for (name, _) in settings {
                if let Some((_, why)) = OURS.iter().find(|(ours, _)| ours == name) {
                    problems.push(format!("{prefix}{name} cannot be set: {why}"));
                }
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Fault::misuse(problems.join("\n")))
        }
    }

    fn client(&self, name: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", name);
        // Metrics are ours to export.
        config.set("enable.metrics.push", "false");
        set(&mut config, &self.common);
        config.set("bootstrap.servers", &self.bootstrap);
        config
    }

    /// A consumer that reads what it is assigned by hand.
    pub(super) fn reader(&self, fetch: &FetchConfig) -> ClientConfig {
        let mut config = self.client(&fetch.name);
        // Our default, not librdkafka's: memory in MiB, and no second's pause when the queue was full.
        config.set("queued.max.messages.kbytes", "16384");
        config.set("queued.min.messages", "100000");
        config.set("fetch.queue.backoff.ms", "10");
        config.set(
            "fetch.message.max.bytes",
            fetch.max_partition_bytes.clamp(1024, 64 << 20).to_string(),
        );
        config.set(
            "fetch.max.bytes",
            fetch.max_poll_bytes.clamp(LEAST_FETCH_BYTES, 64 << 20).to_string(),
        );
        config.set("check.crcs", "true");
        // How long a topic that is not there is taken for one that is just being made.
        config.set("topic.metadata.propagation.max.ms", "10000");
        config.set("isolation.level", "read_committed");
        set(&mut config, &self.consumer);
        // librdkafka wants a group for a manual assignment; nothing joins it or is committed to it.
        config.set("group.id", &fetch.name);
        by_hand(&mut config);
        config
    }

    /// A consumer that commits and reads the offsets of a group.
    pub(super) fn group(&self, group: &str) -> ClientConfig {
        let mut config = self.client(group);
        config.set("isolation.level", "read_committed");
        set(&mut config, &self.consumer);
        config.set("group.id", group);
        by_hand(&mut config);
        config
    }

    /// A client that asks about topics and their ends, and changes topics.
    pub(super) fn admin(&self) -> ClientConfig {
        let mut config = self.client("millstream-admin");
        // A topic that is missing must be seen, and the end of a partition is where a reader of ours stops. librdkafka
        // counts both among the settings of consumers, but heeds them in every client.
        config.set("allow.auto.create.topics", "false");
        let of_readers = |name: &str| self.consumer.iter().rev().find(|(set, _)| set == name);
        let isolation = of_readers("isolation.level").map_or("read_committed", |(_, level)| level);
        config.set("isolation.level", isolation);
        set(&mut config, &self.admin);
        config
    }

    /// What the user has decided about how long a record waits for others, by any of its names.
    pub(super) fn linger(&self) -> Linger {
        let settings = self.common.iter().chain(&self.producer);
        let mut given = settings.filter(|(name, _)| LINGER.contains(&name.as_str()));
        match given.next_back().map(|(_, ms)| ms.parse::<f64>()) {
            None => Linger::AsGood,
            Some(Ok(0.0)) => Linger::None,
            Some(_) => Linger::Given,
        }
    }

    /// A producer without transactions.
    pub(super) fn sink(&self, sink: &SinkConfig) -> ClientConfig {
        let mut config = self.client(&sink.name);
        // Few large requests: each costs the client some 20 us. `KafkaSink` makes it smaller for topics that want less.
        config.set("batch.size", "500000");
        config.set("batch.num.messages", "100000");
        // Beyond these `Sink::append` waits. librdkafka allows 5 *records* of a partition under way where it means 5
        // requests, that is one request; while a record waits behind it for longer than `linger.ms`, its thread polls
        // without a pause. So the queue is short and the time long; what would linger for nothing is pushed, see
        // `KafkaSink::send`.
        config.set("queue.buffering.max.kbytes", "32768");
        config.set("queue.buffering.max.messages", "20000");
        config.set("linger.ms", "50");
        // What is too large is decided by the topic, see `Sink::append`.
        config.set("message.max.bytes", "1000000000");
        let timeout = sink.delivery_timeout.as_millis().clamp(1000, 2_147_483_647);
        config.set("delivery.timeout.ms", timeout.to_string());
        set(&mut config, &self.producer);
        if self.linger() == Linger::None {
            // `KafkaSink` sees to it, better than the client could. This is for when its push comes to nothing.
            LINGER.iter().for_each(|name| {
                config.remove(name);
            });
            config.set("linger.ms", "5");
        }
        config.set("enable.idempotence", "true");
        config.set("acks", "all");
        config
    }
}

/// The names of the setting.
const LINGER: [&str; 2] = ["linger.ms", "queue.buffering.max.ms"];

/// How long a record waits for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Linger {
    /// Nothing is said: not at all when it is alone, and a while when there are many.
    AsGood,
    /// Never for nothing: it leaves as soon as those before it are acknowledged.
    None,
    /// The client's own linger, as long as is said.
    Given,
}

/// Nothing is chosen or committed behind our back.
fn by_hand(config: &mut ClientConfig) {
    config.set("enable.auto.commit", "false");
    config.set("enable.auto.offset.store", "false");
    config.set("auto.offset.reset", "error");
    config.set("enable.partition.eof", "false");
    config.set("allow.auto.create.topics", "false");
}

fn set(config: &mut ClientConfig, settings: &[(String, String)]) {
    for (name, value) in settings {
        config.set(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::FaultKind;

    #[test]
    fn what_is_not_the_users_is_refused_all_at_once() {
        let pair = |name: &str| (name.to_owned(), "x".to_owned());
        let settings = KafkaSettings {
            bootstrap: " ".into(),
            common: vec![pair("partitioner")],
            consumer: vec![pair("auto.offset.reset"), pair("fetch.min.bytes")],
            producer: vec![pair("enable.idempotence")],
            ..KafkaSettings::default()
        };
        let fault = settings.check().unwrap_err();
        assert_eq!(fault.kind, FaultKind::Misuse);
        let text = fault.to_string();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(
            text.contains("consumer.auto.offset.reset") && text.contains("producer.enable.idempotence"),
            "{text}"
        );
    }

    #[test]
    fn a_reader_of_little_is_one_that_librdkafka_makes() {
        let little = FetchConfig {
            max_partition_bytes: 1,
            max_poll_bytes: 1,
            ..FetchConfig::default()
        };
        let reader = KafkaSettings::new("localhost:9").reader(&little);
        let _made: rdkafka::consumer::BaseConsumer = reader.create().expect("a consumer");
    }

    #[test]
    fn a_configuration_hands_its_prefixed_settings_on() {
        let config = Config::builder()
            .set("application.id", "a")
            .set("bootstrap.servers", "localhost:9092")
            .set("producer.linger.ms", "7")
            .set("consumer.fetch.min.bytes", "7")
            .build()
            .unwrap();
        let settings = KafkaSettings::of(&config);
        assert_eq!(settings.bootstrap, "localhost:9092");
        assert_eq!(settings.sink(&SinkConfig::default()).get("linger.ms"), Some("7"));
        assert_eq!(
            settings.reader(&FetchConfig::default()).get("fetch.min.bytes"),
            Some("7")
        );
    }

    #[test]
    fn linger_is_found_by_all_its_names() {
        let of = |name: &str, value: &str| KafkaSettings {
            producer: vec![(name.into(), value.into())],
            ..KafkaSettings::new("localhost:9092")
        };
        assert_eq!(of("batch.size", "0").linger(), Linger::AsGood);
        assert_eq!(of("linger.ms", "5").linger(), Linger::Given);
        for name in LINGER {
            let settings = of(name, "0");
            assert_eq!(settings.linger(), Linger::None);
            let config = settings.sink(&SinkConfig::default());
            assert_eq!(
                (config.get("linger.ms"), config.get("queue.buffering.max.ms")),
                (Some("5"), None)
            );
        }
    }

    #[test]
    fn the_users_settings_win_over_our_defaults() {
        let settings = KafkaSettings {
            common: vec![("security.protocol".into(), "SSL".into())],
            producer: vec![("linger.ms".into(), "50".into())],
            ..KafkaSettings::new("localhost:9092")
        };
        let config = settings.sink(&SinkConfig::default());
        assert_eq!(config.get("linger.ms"), Some("50"));
        assert_eq!(config.get("security.protocol"), Some("SSL"));
        assert_eq!(config.get("acks"), Some("all"));
        assert_eq!(
            settings.reader(&FetchConfig::default()).get("auto.offset.reset"),
            Some("error")
        );
    }
}
