//! The thread of a sink against scripted brokers: what leaves when, and what answers are worth. No broker, no clock, no
//! chance.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{self, *};
use kafka_protocol::protocol::{Decodable as _, Encodable as _, StrBytes};
use proptest::prelude::*;
use uuid::Uuid;

use super::call::Produce;
use super::driver::Driver;
use super::settings::{Leaving, Served};
use super::shared::Shared;
use crate::broker::fault::{Fault, FaultKind};
use crate::broker::kafka::KafkaSettings;
use crate::broker::kafka::wire::fake::{Act, Asked, World};
use crate::broker::kafka::wire::{Call as _, Reader};
use crate::broker::record_batch::{BatchBuilder, BatchSummary};
use crate::broker::{SinkConfig, TopicPartition};

const PLENTY: (usize, Duration) = (1 << 20, Duration::from_secs(1));

/// What the brokers of a test have in common. Broker 1 leads partition 0 of topic `t`, broker 2 partition 1.
#[derive(Clone)]
struct Brokers(Arc<Mutex<Facts>>);

struct Facts {
    leaders: [i32; 2],
    produce_version: i16,
    producers: i64,
    /// What a broker says to each Produce request: error code, by the batches it has taken.
    errors: Vec<i16>,
    /// Hints with which leader to go to.
    hint: Option<(i32, i32)>,
    throttle: i32,
    /// Answers to Produce are these bytes.
    garbage: Option<Bytes>,
    hang_up: bool,
    /// Broker, partition, base sequence and producer of every batch that was taken.
    taken: Vec<(String, i32, i32, i64)>,
    ends: [i64; 2],
}

impl Default for Brokers {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Facts {
            leaders: [1, 2],
            produce_version: 13,
            producers: 0,
            errors: Vec::new(),
            hint: None,
            throttle: 0,
            garbage: None,
            hang_up: false,
            taken: Vec::new(),
            ends: [0, 0],
        })))
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.into())
}

impl Brokers {
    fn set(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.0.lock().unwrap());
    }

    fn taken(&self) -> Vec<(String, i32, i32, i64)> {
        self.0.lock().unwrap().taken.clone()
    }

    fn world(&self) -> World {
        let world = World::default();
        for place in ["b1:1", "b2:1"] {
            let brokers = self.clone();
            world.server(place, move |asked| brokers.0.lock().unwrap().act(place, asked));
        }
        world
    }
}

impl Facts {
    fn act(&mut self, place: &str, asked: &Asked) -> Vec<Act> {
        match asked.key {
            18 => vec![asked.answer(&self.versions())],
            3 => vec![asked.answer(&self.metadata())],
            22 => {
                self.producers += 1;
                let response = InitProducerIdResponse::default().with_producer_id((100 + self.producers).into());
                vec![asked.answer(&response.with_producer_epoch(0))]
            }
            0 if std::mem::take(&mut self.hang_up) => vec![Act::Close],
            0 => match self.garbage.take() {
                Some(garbage) => vec![Act::Send(Duration::ZERO, asked.framed(&garbage))],
                None => vec![asked.answer(&self.produce(place, asked))],
            },
            other => panic!("nobody here answers request {other}"),
        }
    }

    fn versions(&self) -> ApiVersionsResponse {
        let newest = [(0, self.produce_version), (3, 13), (18, 4), (22, 5)];
        let api = |(key, newest)| {
            ApiVersion::default()
                .with_api_key(key)
                .with_min_version(0)
                .with_max_version(newest)
        };
        ApiVersionsResponse::default().with_api_keys(newest.into_iter().map(api).collect())
    }

    fn metadata(&self) -> MetadataResponse {
        let broker = |(id, host)| {
            MetadataResponseBroker::default()
                .with_node_id(messages::BrokerId(id))
                .with_host(text(host))
                .with_port(1)
        };
        let partition = |(index, leader): (i32, &i32)| {
            MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id(messages::BrokerId(*leader))
                .with_leader_epoch(5)
        };
        let topic = MetadataResponseTopic::default()
            .with_name(Some(TopicName(text("t"))))
            .with_topic_id(Uuid::from_u128(7))
            .with_partitions((0..).zip(&self.leaders).map(partition).collect());
        MetadataResponse::default()
            .with_brokers([(1, "b1"), (2, "b2")].into_iter().map(broker).collect())
            .with_topics(vec![topic])
    }

    fn produce(&mut self, place: &str, asked: &Asked) -> ProduceResponse {
        let request = ProduceRequest::decode(&mut asked.body.clone(), asked.version).unwrap();
        assert_eq!(request.acks, -1);
        let topics = request.topic_data.into_iter().map(|topic| {
            if asked.version >= 13 {
                assert_eq!(topic.topic_id, Uuid::from_u128(7));
            } else {
                assert_eq!(&*topic.name.0, "t");
            }
            let parts = topic.partition_data.into_iter().map(|part| {
                let batch = part.records.unwrap();
                let (summary, at) = (BatchSummary::of(&batch).unwrap(), part.index as usize);
                let sequence = i32::from_be_bytes(batch[53..57].try_into().unwrap());
                self.taken
                    .push((place.into(), part.index, sequence, summary.producer_id));
                let error = if self.errors.is_empty() {
                    0
                } else {
                    self.errors.remove(0)
                };
                let mut answer = PartitionProduceResponse::default()
                    .with_index(part.index)
                    .with_error_code(error)
                    .with_base_offset(if error == 0 { self.ends[at] } else { -1 });
                if error == 0 {
                    self.ends[at] += summary.last_offset - summary.base_offset + 1;
                } else if let Some((leader, epoch)) = self.hint.filter(|_| asked.version >= 10) {
                    answer.current_leader = LeaderIdAndEpoch::default()
                        .with_leader_id(messages::BrokerId(leader))
                        .with_leader_epoch(epoch);
                }
                answer
            });
            TopicProduceResponse::default()
                .with_name(topic.name)
                .with_topic_id(topic.topic_id)
                .with_partition_responses(parts.collect())
        });
        let response = ProduceResponse::default()
            .with_responses(topics.collect())
            .with_throttle_time_ms(self.throttle);
        let node = |(id, _)| {
            NodeEndpoint::default()
                .with_node_id(messages::BrokerId(id))
                .with_host(text(&format!("b{id}")))
                .with_port(1)
        };
        match asked.version >= 10 {
            true => response.with_node_endpoints(self.hint.into_iter().map(node).collect()),
            false => response,
        }
    }
}

/// A thread that the test steps by hand, with two partitions.
struct Subject {
    world: World,
    brokers: Brokers,
    driver: Driver,
    shared: Arc<Shared>,
    next: i64,
}

impl Subject {
    fn new(brokers: &Brokers, settings: &[(&str, &str)]) -> Self {
        let subject = Self::without_partitions(brokers, settings);
        subject.open();
        subject
    }

    fn open(&self) {
        for partition in 0..2 {
            self.shared.open(TopicPartition::new("t", partition), 1_000_000);
        }
    }

    fn without_partitions(brokers: &Brokers, settings: &[(&str, &str)]) -> Self {
        let world = brokers.world();
        let kafka = KafkaSettings {
            producer: settings
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            ..KafkaSettings::new("b1:1")
        };
        let Served { connections, settings } = super::serves(&kafka, &SinkConfig::default()).unwrap();
        let cluster = world.cluster(connections);
        let shared = Arc::new(Shared::new(cluster.waker(), Instant::now()));
        Self {
            driver: Driver::new(cluster, settings, shared.clone()),
            world,
            brokers: brokers.clone(),
            shared,
            next: 0,
        }
    }

    /// Hands over a batch of `count` records.
    fn write(&mut self, partition: u32, count: usize) {
        let mut builder = BatchBuilder::default();
        for _ in 0..count {
            self.next += 1;
            builder.append(self.next, None, Some(b"value"), &[]);
        }
        self.shared.hand_over(partition, &mut builder, false, PLENTY).unwrap();
    }

    /// Steps until `done`.
    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        for _ in 0..2_000 {
            self.driver.send();
            if done(self) {
                return;
            }
            assert!(self.driver.receive());
        }
        panic!("{what} does not happen: {:?}", self.shared.check());
    }

    fn all_acknowledged(&mut self) {
        self.until("acknowledgement", |subject| subject.shared.pending() == 0);
        self.shared.check().unwrap();
    }

    fn fault(&mut self) -> Fault {
        self.until("a fault", |subject| subject.shared.check().is_err());
        self.shared.check().unwrap_err()
    }

    fn lasts(&self) -> Vec<Option<i64>> {
        self.shared.inbox().slots.iter().map(|slot| slot.last).collect()
    }

    fn sequences(&self, partition: i32) -> Vec<i32> {
        let of = self
            .brokers
            .taken()
            .into_iter()
            .filter(|(_, taken, ..)| *taken == partition);
        of.map(|(_, _, sequence, _)| sequence).collect()
    }
}

#[test]
fn records_reach_their_leaders_and_their_last_offsets_are_known() {
    for version in [7, 9, 10, 12, 13] {
        let brokers = Brokers::default();
        brokers.set(|facts| facts.produce_version = version);
        let mut subject = Subject::new(&brokers, &[]);
        subject.write(0, 3);
        subject.write(1, 2);
        subject.all_acknowledged();
        subject.write(0, 4);
        subject.all_acknowledged();
        assert_eq!(subject.lasts(), [Some(6), Some(1)], "version {version}");
        let mut taken = brokers.taken();
        taken.sort();
        let at = |place: &str, partition, sequence| (place.to_owned(), partition, sequence, 101);
        assert_eq!(taken, [at("b1:1", 0, 0), at("b1:1", 0, 3), at("b2:1", 1, 0)]);
    }
}

#[test]
fn the_first_record_waits_for_nothing_but_answers() {
    let brokers = Brokers::default();
    let mut subject = Subject::without_partitions(&brokers, &[]);
    // Who we are is asked before there is anything to write.
    subject.until("a producer id", |subject| subject.driver.identity.producer.is_some());
    let before = subject.world.now();
    subject.open();
    subject.write(0, 1);
    subject.all_acknowledged();
    let took = subject.world.now() - before;
    assert!(took < Duration::from_millis(100), "{took:?}");
}

#[test]
fn what_comes_while_others_are_under_way_gathers() {
    let brokers = Brokers::default();
    let mut subject = Subject::new(&brokers, &[]);
    subject.write(0, 1);
    subject.all_acknowledged();
    for _ in 0..6 {
        subject.write(0, 1);
        subject.driver.send();
    }
    subject.all_acknowledged();
    assert_eq!(subject.sequences(0), [0, 1, 2]);
    assert_eq!(subject.lasts(), [Some(6), None]);
}

#[test]
fn what_comes_back_is_sent_again_in_order() {
    let brokers = Brokers::default();
    let mut subject = Subject::new(&brokers, &[("linger.ms", "0"), ("max.in.flight", "5")]);
    subject.write(0, 1);
    subject.all_acknowledged();
    // Not enough replicas, and what follows from it.
    brokers.set(|facts| facts.errors = vec![19, 45, 45]);
    for _ in 0..3 {
        subject.write(0, 1);
        subject.driver.send();
    }
    subject.all_acknowledged();
    let sequences = subject.sequences(0);
    assert_eq!(sequences, [0, 1, 2, 3, 1, 2, 3]);
    assert_eq!(subject.lasts(), [Some(3), None]);
}

#[test]
fn a_leader_that_has_moved_is_followed_at_once() {
    let brokers = Brokers::default();
    let mut subject = Subject::new(&brokers, &[]);
    subject.write(0, 1);
    subject.all_acknowledged();
    brokers.set(|facts| {
        (facts.errors, facts.hint) = (vec![6], Some((2, 6)));
    });
    let before = subject.world.now();
    subject.write(0, 1);
    subject.all_acknowledged();
    let last = brokers.taken().pop().unwrap();
    assert_eq!((&*last.0, last.2), ("b2:1", 1));
    assert!(
        subject.world.now() - before < Duration::from_millis(50),
        "no pause is needed"
    );
}

#[test]
fn a_lost_connection_loses_nothing() {
    let brokers = Brokers::default();
    let mut subject = Subject::new(&brokers, &[]);
    brokers.set(|facts| facts.hang_up = true);
    subject.write(0, 2);
    subject.all_acknowledged();
    assert_eq!(subject.sequences(0), [0]);
    assert_eq!(subject.lasts(), [Some(1), None]);
}

#[test]
fn a_broker_that_is_busy_is_left_alone() {
    let brokers = Brokers::default();
    let mut subject = Subject::new(&brokers, &[]);
    brokers.set(|facts| facts.throttle = 2_000);
    subject.write(0, 1);
    subject.all_acknowledged();
    let before = subject.world.now();
    brokers.set(|facts| facts.throttle = 0);
    subject.write(0, 1);
    subject.all_acknowledged();
    assert!(subject.world.now() - before >= Duration::from_millis(1_900));
}

#[test]
fn what_is_refused_for_good_is_told_and_an_abort_begins_anew() {
    for (code, kind, part) in [
        (10, FaultKind::Misuse, "max.message.bytes"),
        (29, FaultKind::Misuse, "right to the topic"),
        (32, FaultKind::Misuse, "timestamp"),
        (87, FaultKind::Misuse, "compacted"),
        (47, FaultKind::Fatal, "epoch"),
        (45, FaultKind::Fatal, "order"),
    ] {
        let brokers = Brokers::default();
        let mut subject = Subject::new(&brokers, &[]);
        brokers.set(|facts| facts.errors = vec![code]);
        subject.write(0, 1);
        let fault = subject.fault();
        let words = fault.to_string();
        assert!(
            fault.kind == kind && words.contains("t-0") && words.to_lowercase().contains(part),
            "{fault:?}"
        );
        subject.shared.inbox().abort = true;
        subject.until("the abort", |subject| !subject.shared.inbox().abort);
        assert_eq!(subject.shared.pending(), 0);
    }
}

#[test]
fn a_new_producer_follows_an_abort() {
    let brokers = Brokers::default();
    let mut subject = Subject::new(&brokers, &[]);
    subject.write(0, 5);
    subject.all_acknowledged();
    subject.shared.inbox().abort = true;
    subject.until("the abort", |subject| !subject.shared.inbox().abort);
    assert_eq!(subject.lasts(), [None, None]);
    subject.write(0, 1);
    subject.all_acknowledged();
    let last = brokers.taken().pop().unwrap();
    assert_eq!((last.2, last.3), (0, 102));
    assert_eq!(subject.lasts(), [Some(5), None]);
}

#[test]
fn what_is_not_acknowledged_in_time_is_told() {
    let brokers = Brokers::default();
    let mut subject = Subject::new(&brokers, &[("delivery.timeout.ms", "3000")]);
    brokers.set(|facts| facts.errors = vec![19; 1000]);
    subject.write(0, 1);
    let fault = subject.fault();
    assert_eq!(fault.kind, FaultKind::Retry);
    let words = fault.to_string();
    for part in ["t-0", "3s", "broker 1", "NOT_ENOUGH_REPLICAS"] {
        assert!(words.contains(part), "{words}");
    }
    assert!(subject.world.now() < Duration::from_secs(5));
}

#[test]
fn an_explicit_linger_is_waited_for_unless_somebody_is_in_a_hurry() {
    let brokers = Brokers::default();
    let mut subject = Subject::new(&brokers, &[("linger.ms", "70")]);
    assert_eq!(
        subject.driver.settings.leaving,
        Leaving::AfterLinger(Duration::from_millis(70))
    );
    subject.write(0, 1);
    subject.all_acknowledged();
    assert!(subject.world.now() >= Duration::from_millis(70));
    let before = subject.world.now();
    subject.write(0, 1);
    subject.shared.inbox().hurry = true;
    subject.all_acknowledged();
    assert!(subject.world.now() - before < Duration::from_millis(20));
}

#[test]
fn an_answer_that_does_not_speak_of_all_is_not_believed() {
    let brokers = Brokers::default();
    let mut subject = Subject::new(&brokers, &[]);
    let empty = ProduceResponse::default();
    let mut body = BytesMut::new();
    empty.encode(&mut body, 13).unwrap();
    brokers.set(|facts| facts.garbage = Some(body.freeze()));
    subject.write(0, 1);
    subject.all_acknowledged();
    assert_eq!(subject.lasts(), [Some(0), None]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn answers_of_any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..60), version in 7..14_i16) {
        let mut reader = Reader::new(bytes.into(), version >= 9);
        let _ = Produce::read(version, &mut reader);
    }

    #[test]
    fn after_an_answer_of_any_bytes_the_records_are_there(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let brokers = Brokers::default();
        let mut subject = Subject::new(&brokers, &[]);
        brokers.set(|facts| facts.garbage = Some(bytes.into()));
        subject.write(0, 1);
        subject.until("an end", |subject| subject.shared.pending() == 0 || subject.shared.check().is_err());
    }
}
