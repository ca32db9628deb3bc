//! The brokers of a cluster and the connections to them.

use std::sync::Arc;
use std::time::Duration;

use super::call::{Api, Call, Reply, Ticket};
use super::catalog::{BrokerId, Catalog, Leader, TopicState};
use super::settings::Settings;
use crate::broker::fault::{Fault, Result};
use crate::broker::{TopicPartition, Waker};

/// A cluster as one thread sees it. Nothing happens outside [`Cluster::poll`].
///
/// A request can be sent to a broker whose connection is ready ([`Cluster::version`] tells, and in which version).
/// Asking for a broker that is not ready makes the cluster connect to it, as often as the back-off allows; `poll`
/// returns when one has become ready, when a reply is there, when the leaders have changed, or when it is woken.
pub struct Cluster {
    catalog: Catalog,
}

impl Cluster {
    /// Over real sockets. Does not wait for a connection. `Misuse`: certificates that cannot be read, say.
    pub fn new(_settings: Settings) -> Result<Self> {
        Ok(Self {
            catalog: Catalog::default(),
        })
    }

    /// The cluster's monotonic clock: time since some moment before now.
    pub fn now(&self) -> Duration {
        Duration::ZERO
    }

    /// Ends a waiting [`Cluster::poll`] from another thread.
    pub fn waker(&self) -> Waker {
        Arc::new(|| ())
    }

    /// The topics whose leaders are to be known from now on, in place of those named before. New ones are asked for at
    /// the next poll.
    pub fn want_topics(&mut self, topics: impl IntoIterator<Item = Arc<str>>) {
        self.catalog.want(topics);
    }

    /// Asks for the leaders again, at the next poll or as soon after as the back-off allows.
    pub fn refresh(&mut self) {}

    /// Counts up whenever leaders or topics may have changed.
    pub fn generation(&self) -> u64 {
        self.catalog.generation
    }

    /// What is known about a topic of interest.
    pub fn topic(&self, name: &str) -> TopicState<'_> {
        self.catalog.topic(name)
    }

    /// Who leads a partition of a topic of interest, as far as known.
    pub fn leader(&self, partition: &TopicPartition) -> Option<Leader> {
        self.catalog.leader(partition)
    }

    /// Takes over what an answer said about a partition's leader (KIP-951), with the address of its broker if the answer
    /// had that. Older epochs than the known one are left aside. False: it was no news, so [`Cluster::refresh`].
    pub fn learn_leader(&mut self, partition: &TopicPartition, leader: Leader, _address: Option<(&str, i32)>) -> bool {
        self.catalog.learn_leader(partition, leader)
    }

    /// The version in which `broker` can be asked for `api` now; `None` while its connection is not ready, which makes
    /// the cluster connect, or while the broker wants us to wait (throttling). `Misuse`: no version is common.
    pub fn version(&mut self, _broker: BrokerId, _api: &Api) -> Result<Option<i16>> {
        Ok(None)
    }

    /// Sends a request, in the version that [`Cluster::version`] tells. `None` when that tells none; else there will be
    /// one [`Reply`] with this ticket.
    pub fn send<C: Call>(&mut self, _broker: BrokerId, _call: &C) -> Result<Option<Ticket>> {
        Ok(None)
    }

    /// How many requests to `broker` are not answered yet.
    pub fn in_flight(&self, _broker: BrokerId) -> usize {
        0
    }

    /// Closes the connection to `broker`, because its answers cannot be trusted: all that is in flight fails. It is made
    /// anew, after the back-off, when it is needed.
    pub fn distrust(&mut self, _broker: BrokerId, _why: &Fault) {}

    /// Why brokers could not be reached lately, for people; `None` when all is well.
    pub fn trouble(&self) -> Option<String> {
        None
    }

    /// Moves bytes for up to `timeout` and appends what has been answered to `out`. Returns early as soon as there is
    /// something for the caller to do. `Misuse`: a broker refused the name or the password, or its certificate is not
    /// trusted; polling on tries again.
    pub fn poll(&mut self, _timeout: Duration, _out: &mut Vec<Reply>) -> Result<()> {
        Ok(())
    }
}
