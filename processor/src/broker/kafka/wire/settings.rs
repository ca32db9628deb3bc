//! The settings of the connections, by librdkafka's names and with its defaults: the same settings serve both clients.

use std::fmt;
use std::time::Duration;

use rdkafka::config::ClientConfig;

use crate::broker::fault::Result;

/// Settings that our connections cannot serve, while librdkafka can: the caller takes librdkafka, and says so once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// Which setting, and what about it.
    pub why: String,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// What the connections need to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `client.id`.
    pub client_id: String,
    /// `socket.timeout.ms`: how long an answer may take.
    pub request_timeout: Duration,
}

impl Settings {
    /// Reads the settings of a client (what `KafkaSettings::fetch` makes of the user's). `Ok(Err)`: librdkafka has to
    /// serve these. `Misuse`: nobody can, all problems at once.
    pub fn read(config: &ClientConfig) -> Result<std::result::Result<Self, Unsupported>> {
        let client_id = config.get("client.id").unwrap_or("millstream").to_owned();
        Ok(Ok(Self {
            client_id,
            request_timeout: Duration::from_secs(60),
        }))
    }
}
