//! What a reader of ours takes from the settings of a consumer, by librdkafka's names.

use std::ops::RangeInclusive;
use std::time::Duration;

use rdkafka::config::ClientConfig;

use crate::broker::FetchConfig;
use crate::broker::kafka::wire::Unsupported;

/// What a Fetch request says about amounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// `fetch.wait.max.ms`: how long a broker with nothing new holds its answer back.
    pub(super) wait: Duration,
    /// `fetch.min.bytes`: what counts as something new.
    pub(super) min_bytes: i32,
    /// `fetch.max.bytes`: about how much one answer brings.
    pub(super) max_bytes: i32,
    /// `max.partition.fetch.bytes`: and how much of one partition.
    pub(super) partition_max_bytes: i32,
    /// `isolation.level`: records of open and aborted transactions are not read.
    pub(super) committed: bool,
}

/// Settings of a reader besides those of its connections.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) bounds: Bounds,
    /// `receive.message.max.bytes`: the most that one batch may hold when it is opened.
    pub(super) batch_bytes: usize,
    /// `queued.max.messages.kbytes`: what may wait here for being polled before nothing more is asked for.
    pub(super) queue_bytes: usize,
    /// `topic.metadata.propagation.max.ms`: how long a topic that is not there is taken for one that is being made.
    pub(super) propagation: Duration,
    /// About how much one poll hands out, of one partition and in all.
    pub(super) poll_partition_bytes: usize,
    pub(super) poll_bytes: usize,
}

impl Settings {
    /// Reads them. `Err`: librdkafka takes these, or says better what is wrong with them.
    pub(super) fn read(config: &ClientConfig, fetch: &FetchConfig) -> Result<Self, Unsupported> {
        if config.get("client.rack").is_some_and(|rack| !rack.is_empty()) {
            let why = "client.rack is set, and reading from followers (KIP-392) is librdkafka's".into();
            return Err(Unsupported { why });
        }
        let number = |name, low, high, default| number(config, name, low..=high, default);
        let millis = |name, high, default| Ok(Duration::from_millis(number(name, 0, high, default)?));
        let max = u64::from(i32::MAX.unsigned_abs());
        let partition = match config.get("max.partition.fetch.bytes") {
            Some(_) => "max.partition.fetch.bytes",
            None => "fetch.message.max.bytes",
        };
        let bounds = Bounds {
            wait: millis("fetch.wait.max.ms", 300_000, 500)?,
            min_bytes: number("fetch.min.bytes", 1, 100_000_000, 1)? as i32,
            max_bytes: number("fetch.max.bytes", 0, max - 512, 50 << 20)? as i32,
            partition_max_bytes: number(partition, 1, 1_000_000_000, 1 << 20)? as i32,
            committed: config.get("isolation.level") != Some("read_uncommitted"),
        };
        Ok(Self {
            bounds,
            batch_bytes: number("receive.message.max.bytes", 1000, max, 100_000_000)? as usize,
            queue_bytes: (number("queued.max.messages.kbytes", 1, 2_097_151, 65_536)? as usize) << 10,
            propagation: millis("topic.metadata.propagation.max.ms", 3_600_000, 30_000)?,
            poll_partition_bytes: fetch.max_partition_bytes.max(1),
            poll_bytes: fetch.max_poll_bytes.max(1),
        })
    }
}

pub(super) fn number(
    config: &ClientConfig,
    name: &str,
    range: RangeInclusive<u64>,
    default: u64,
) -> Result<u64, Unsupported> {
    let Some(text) = config.get(name) else {
        return Ok(default);
    };
    let number = text.trim().parse().ok().filter(|number| range.contains(number));
    let why = || {
        format!(
            "{name} is {text:?}, which is no number from {} to {}",
            range.start(),
            range.end()
        )
    };
    number.ok_or_else(|| Unsupported { why: why() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, Unsupported> {
        let mut config = ClientConfig::new();
        for (name, value) in pairs {
            config.set(*name, *value);
        }
        Settings::read(&config, &FetchConfig::default())
    }

    #[test]
    fn the_other_clients_names_are_understood() {
        let settings = read(&[
            ("fetch.wait.max.ms", "7"),
            ("fetch.message.max.bytes", "100"),
            ("isolation.level", "read_uncommitted"),
        ]);
        let bounds = settings.unwrap().bounds;
        assert_eq!(
            (bounds.wait, bounds.partition_max_bytes, bounds.committed),
            (Duration::from_millis(7), 100, false)
        );
        let alias = [("fetch.message.max.bytes", "100"), ("max.partition.fetch.bytes", "200")];
        assert_eq!(read(&alias).unwrap().bounds.partition_max_bytes, 200);
    }

    #[test]
    fn what_cannot_be_served_is_named() {
        for (name, value) in [
            ("client.rack", "a"),
            ("fetch.min.bytes", "many"),
            ("fetch.max.bytes", "-1"),
        ] {
            let unsupported = read(&[(name, value)]).unwrap_err();
            assert!(unsupported.to_string().contains(name), "{unsupported}");
        }
    }
}
