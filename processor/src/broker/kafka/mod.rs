//! Apache Kafka: the only folder that names its C client, librdkafka.
//!
//! Reading and writing: by ourselves ([`native`] over the connections of [`wire`]), or by librdkafka (`fetch`, `sink`), which
//! takes the settings that we do not serve and stays selectable (`kafka.fetch`, `kafka.produce`). By either, a reader is
//! assigned by hand, and a writer is an idempotent producer with `acks=all` whose partitions are chosen by us. A commit waits
//! for every acknowledgement and then commits the offsets, through librdkafka: at-least-once. Membership over several processes
//! and transactions come later behind the same traits.

mod admin;
mod changes;
mod errors;
mod fetch;
mod ffi;
mod groups;
mod held;
#[cfg(any(test, feature = "testing"))]
pub mod history;
mod native;
mod pusher;
mod settings;
mod sink;
mod target;
mod turns;
pub mod wire;

use std::sync::{Arc, Once};

pub use settings::KafkaSettings;

use self::admin::KafkaAdmin;
use self::fetch::KafkaFetch;
use self::groups::Groups;
use self::native::NativeFetch;
use self::native::produce::NativeSink;
use self::sink::KafkaSink;
use super::alone::Alone;
use super::{Admin, Broker, Fetch, FetchConfig, Membership, MembershipConfig, Result, Sink, SinkConfig};
use crate::config;

/// A Kafka cluster.
pub struct KafkaBroker {
    settings: Arc<KafkaSettings>,
    admin: Arc<KafkaAdmin>,
    groups: Arc<Groups>,
    told_fallback: Once,
    told_sink_fallback: Once,
}

impl KafkaBroker {
    /// Makes the clients; does not wait for a connection. `Misuse` for settings that cannot be.
    pub fn new(settings: KafkaSettings) -> Result<Self> {
        settings.check()?;
        let settings = Arc::new(settings);
        let groups = Arc::new(Groups::new(settings.clone()));
        let admin = Arc::new(KafkaAdmin::new(&settings, groups.clone())?);
        Ok(Self {
            settings,
            admin,
            groups,
            told_fallback: Once::new(),
            told_sink_fallback: Once::new(),
        })
    }
}

impl Broker for KafkaBroker {
    fn describe(&self) -> String {
        format!("Kafka at {}", self.settings.bootstrap)
    }

    fn admin(&self) -> &dyn Admin {
        &*self.admin
    }

    fn fetch(&self, config: &FetchConfig) -> Result<Box<dyn Fetch>> {
        if self.settings.fetch == config::KafkaFetch::Native {
            match native::serves(&self.settings.reader(config), config) {
                Ok(settings) => return Ok(Box::new(NativeFetch::new(settings)?)),
                Err(unsupported) => self.told_fallback.call_once(|| {
                    tracing::warn!(
                        "kafka.fetch=native cannot serve these settings, librdkafka reads instead: {unsupported}"
                    );
                }),
            }
        }
        Ok(Box::new(KafkaFetch::new(&self.settings, config)?))
    }

    fn sink(&self, config: &SinkConfig) -> Result<Box<dyn Sink>> {
        if self.settings.produce == config::KafkaProduce::Native {
            match native::produce::serves(&self.settings, config) {
                Ok(served) => {
                    let (admin, groups) = (self.admin.clone(), self.groups.clone());
                    let sink = NativeSink::new(served, admin, groups)?;
                    return Ok(Box::new(sink));
                }
                Err(unsupported) => self.told_sink_fallback.call_once(|| {
                    tracing::warn!(
                        "kafka.produce=native cannot serve these settings, librdkafka writes instead: {unsupported}"
                    );
                }),
            }
        }
        Ok(Box::new(KafkaSink::new(
            &self.settings,
            config,
            self.admin.clone(),
            self.groups.clone(),
        )?))
    }

    fn membership(&self, config: &MembershipConfig) -> Result<Box<dyn Membership>> {
        // The client is made now, so that a setting it refuses is seen at the start.
        self.groups.client(&config.group)?;
        Ok(Box::new(Alone::new(config.group.clone())))
    }
}
