//! Two brokers, each behind a network that can fail; one test has them at a time. There are two such pairs.

use std::sync::{Mutex, PoisonError, TryLockError};

use millstream_integration_tests::kafka;
use millstream_integration_tests::kafka::cluster::{AT_ONCE, Cluster};
use millstream_integration_tests::kafka::proxy::{Break, Link, Proxy};
use millstream_processor::broker::kafka::{KafkaBroker, KafkaSettings};
use millstream_processor::config::KafkaProduce;

/// The brokers, counted from 1, and the networks before them, in their order.
pub(crate) struct TwoBrokers {
    pub(crate) cluster: Cluster,
    pub(crate) networks: Vec<Proxy>,
}

/// Runs a test on them, everything mended that the one before left broken; not at all where there is no Kafka.
pub(crate) fn with_two_brokers(test: impl FnOnce(&mut TwoBrokers)) {
    static BROKERS: [Mutex<Option<TwoBrokers>>; AT_ONCE] = [const { Mutex::new(None) }; AT_ONCE];
    // A test that has failed leaves them to the next one.
    let free = BROKERS.iter().find_map(|brokers| match brokers.try_lock() {
        Ok(brokers) => Some(brokers),
        Err(TryLockError::Poisoned(brokers)) => Some(brokers.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    });
    let mut brokers = free.unwrap_or_else(|| BROKERS[0].lock().unwrap_or_else(PoisonError::into_inner));
    if brokers.is_none() {
        *brokers = TwoBrokers::start();
    }
    if let Some(brokers) = &mut *brokers {
        brokers.networks(Link::Up);
        brokers.break_at(|_| Vec::new());
        brokers.cluster.mend().expect("two brokers");
        test(brokers);
    }
}

impl TwoBrokers {
    fn start() -> Option<Self> {
        let networks = Mutex::new(Vec::new());
        let cluster = kafka::cluster(2, |port| {
            let network = Proxy::new().expect("a proxy");
            network.hand_on_to(port);
            let advertised = network.port();
            networks.lock().unwrap_or_else(PoisonError::into_inner).push(network);
            advertised
        })?;
        let networks = networks.into_inner().unwrap_or_else(PoisonError::into_inner);
        Some(Self { cluster, networks })
    }

    /// A client that writes in this way, and soon tries again what has failed.
    pub(crate) fn connect(&self, client: KafkaProduce) -> KafkaBroker {
        self.connect_with(client, &[])
    }

    /// The same with further settings.
    pub(crate) fn connect_with(&self, client: KafkaProduce, further: &[(&str, &str)]) -> KafkaBroker {
        let places = self
            .networks
            .iter()
            .map(|network| format!("127.0.0.1:{}", network.port()));
        let places: Vec<String> = places.collect();
        let mut settings = KafkaSettings::new(places.join(",")).writing_with(client);
        let soon = [("reconnect.backoff.ms", "10"), ("reconnect.backoff.max.ms", "200")];
        let all = soon.iter().chain(further);
        settings.common = all.map(|(name, value)| ((*name).into(), (*value).into())).collect();
        KafkaBroker::new(settings).expect("clients")
    }

    /// Cuts both networks, or mends them.
    pub(crate) fn networks(&self, link: Link) {
        self.networks.iter().for_each(|network| network.set(link));
    }

    /// Breaks the connections to each broker, counted from 0, at these places.
    pub(crate) fn break_at(&self, mut places: impl FnMut(usize) -> Vec<Break>) {
        for (index, network) in self.networks.iter().enumerate() {
            network.break_at(places(index));
        }
    }
}
