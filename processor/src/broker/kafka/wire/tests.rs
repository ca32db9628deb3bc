//! Clusters of scripted brokers: what is said, in which order, and when. No broker, no clock, no chance.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{self, *};
use kafka_protocol::protocol::{Decodable as _, StrBytes};
use proptest::prelude::*;
use rdkafka::config::ClientConfig;
use uuid::Uuid;

use super::call::{Reply, Ticket};
use super::catalog::{BrokerId, Leader, TopicState};
use super::cluster::Cluster;
use super::fake::{Act, Asked, LATENCY, Manner, World};
use super::list_offsets::{Edge, ListOffsets};
use super::settings::Settings;
use crate::broker::TopicPartition;
use crate::broker::fault::{FaultKind, Result};

const MS: Duration = Duration::from_millis(1);

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.into())
}

fn partition(index: i32) -> TopicPartition {
    TopicPartition::new("t", index)
}

fn settings(extra: &[(&str, &str)]) -> Settings {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", "b1:1").set("client.id", "tester");
    for (name, value) in extra {
        config.set(*name, *value);
    }
    Settings::read(&config).unwrap()
}

/// What the brokers of a test have in common. Topic `t` has partition 0 led by broker 1 and partition 1 by broker 2.
#[derive(Clone)]
struct Brokers(Arc<Mutex<Facts>>);

struct Facts {
    /// (broker, host, port).
    brokers: Vec<(i32, &'static str, i32)>,
    /// (leader, epoch) of each partition of `t`; none: there is no such topic.
    leaders: Vec<(i32, i32)>,
    id: u128,
    /// The newest version of each request, by key.
    newest: Vec<(i16, i16)>,
    throttle: Duration,
    /// Everything that was asked.
    asked: Vec<Asked>,
    sasl: Option<Sasl>,
}

#[derive(Clone)]
struct Sasl {
    mechanisms: Vec<&'static str>,
    password: &'static str,
    lifetime_ms: i64,
}

impl Default for Brokers {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Facts {
            brokers: vec![(1, "b1", 1), (2, "b2", 1)],
            leaders: vec![(1, 5), (2, 5)],
            id: 7,
            newest: vec![(1, 17), (2, 10), (3, 13), (17, 1), (18, 4), (23, 4), (36, 2)],
            throttle: Duration::ZERO,
            asked: Vec::new(),
            sasl: None,
        })))
    }
}

impl Brokers {
    fn set(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.0.lock().unwrap());
    }

    fn asked(&self, key: i16) -> Vec<Asked> {
        let facts = self.0.lock().unwrap();
        facts.asked.iter().filter(|asked| asked.key == key).cloned().collect()
    }

    /// Brokers that answer everything at `b1:1` and `b2:1`.
    fn world(&self) -> World {
        let world = World::default();
        for place in ["b1:1", "b2:1"] {
            let brokers = self.clone();
            world.server(place, move |asked| brokers.act(asked));
        }
        world
    }

    fn act(&self, asked: &Asked) -> Vec<Act> {
        let mut facts = self.0.lock().unwrap();
        facts.asked.push(asked.clone());
        vec![match asked.key {
            18 => facts.versions(asked),
            3 => asked.answer(&facts.metadata(asked)),
            2 => asked.answer(&facts.offsets(asked)),
            17 => asked.answer(&facts.handshake(asked)),
            36 => asked.answer(&facts.authenticate(asked)),
            other => panic!("nobody here answers request {other}"),
        }]
    }
}

impl Facts {
    fn versions(&self, asked: &Asked) -> Act {
        let api = |(key, newest): &(i16, i16)| {
            ApiVersion::default()
                .with_api_key(*key)
                .with_min_version(0)
                .with_max_version(*newest)
        };
        let known = self
            .newest
            .iter()
            .any(|(key, newest)| *key == 18 && asked.version <= *newest);
        let answer = ApiVersionsResponse::default().with_api_keys(self.newest.iter().map(api).collect());
        if known {
            asked.answer(&answer)
        } else {
            asked.answer_as(LATENCY, 0, &answer.with_error_code(35))
        }
    }

    fn metadata(&self, asked: &Asked) -> MetadataResponse {
        let request = MetadataRequest::decode(&mut asked.body.clone(), asked.version).unwrap();
        let broker = |(id, host, port): &(i32, &str, i32)| {
            MetadataResponseBroker::default()
                .with_node_id(messages::BrokerId(*id))
                .with_host(text(host))
                .with_port(*port)
        };
        let leader = |(index, (leader, epoch)): (usize, &(i32, i32))| {
            MetadataResponsePartition::default()
                .with_partition_index(index as i32)
                .with_leader_id(messages::BrokerId(*leader))
                .with_leader_epoch(*epoch)
                .with_error_code(if *leader < 0 { 5 } else { 0 })
                .with_replica_nodes(vec![messages::BrokerId(1), messages::BrokerId(2)])
        };
        let topic = |asked: &metadata_request::MetadataRequestTopic| {
            let topic = MetadataResponseTopic::default().with_name(asked.name.clone());
            if self.leaders.is_empty() || asked.name.as_ref().is_none_or(|name| name.as_str() != "t") {
                return topic.with_error_code(3);
            }
            let topic = topic.with_partitions(self.leaders.iter().enumerate().map(leader).collect());
            topic.with_topic_id(Uuid::from_u128(self.id))
        };
        MetadataResponse::default()
            .with_brokers(self.brokers.iter().map(broker).collect())
            .with_topics(request.topics.unwrap_or_default().iter().map(topic).collect())
    }

    /// Partition `n` begins at `100 n`.
    fn offsets(&self, asked: &Asked) -> ListOffsetsResponse {
        let request = ListOffsetsRequest::decode(&mut asked.body.clone(), asked.version).unwrap();
        let partition = |asked: &list_offsets_request::ListOffsetsPartition| {
            ListOffsetsPartitionResponse::default()
                .with_partition_index(asked.partition_index)
                .with_offset(i64::from(asked.partition_index) * 100)
                .with_leader_epoch(5)
        };
        let topic = |asked: &list_offsets_request::ListOffsetsTopic| {
            ListOffsetsTopicResponse::default()
                .with_name(asked.name.clone())
                .with_partitions(asked.partitions.iter().map(partition).collect())
        };
        ListOffsetsResponse::default()
            .with_throttle_time_ms(self.throttle.as_millis() as i32)
            .with_topics(request.topics.iter().map(topic).collect())
    }

    fn handshake(&self, asked: &Asked) -> SaslHandshakeResponse {
        let request = SaslHandshakeRequest::decode(&mut asked.body.clone(), asked.version).unwrap();
        let sasl = self.sasl.as_ref().expect("a broker with SASL");
        let known = sasl.mechanisms.contains(&request.mechanism.as_str());
        SaslHandshakeResponse::default()
            .with_error_code(if known { 0 } else { 33 })
            .with_mechanisms(sasl.mechanisms.iter().map(|name| text(name)).collect())
    }

    fn authenticate(&self, asked: &Asked) -> SaslAuthenticateResponse {
        let request = SaslAuthenticateRequest::decode(&mut asked.body.clone(), asked.version).unwrap();
        let sasl = self.sasl.as_ref().expect("a broker with SASL");
        let answer = SaslAuthenticateResponse::default().with_session_lifetime_ms(sasl.lifetime_ms);
        if *request.auth_bytes == *format!("\0alice\0{}", sasl.password).as_bytes() {
            answer
        } else {
            answer
                .with_error_code(58)
                .with_error_message(Some(text("Invalid username or password")))
        }
    }
}

const PLAIN: &[(&str, &str)] = &[
    ("security.protocol", "SASL_PLAINTEXT"),
    ("sasl.mechanism", "PLAIN"),
    ("sasl.username", "alice"),
    ("sasl.password", "secret"),
];

fn sasl(lifetime_ms: i64) -> Sasl {
    Sasl {
        mechanisms: vec!["PLAIN", "OTHER"],
        password: "secret",
        lifetime_ms,
    }
}

/// A cluster that wants topic `t`.
fn cluster(world: &World, extra: &[(&str, &str)]) -> Cluster {
    let mut cluster = Cluster::over(settings(extra), Box::new(world.clone())).unwrap();
    cluster.want_topics(["t".into()]);
    cluster
}

/// Polls until `done`, for at most a minute of the world's time.
fn until(cluster: &mut Cluster, done: impl Fn(&mut Cluster) -> bool) -> Result<Vec<Reply>> {
    let mut out = Vec::new();
    let deadline = cluster.now() + 60_000 * MS;
    while !done(cluster) {
        assert!(
            cluster.now() < deadline,
            "a minute was not enough: {:?}",
            cluster.trouble()
        );
        cluster.poll(1000 * MS, &mut out)?;
    }
    Ok(out)
}

fn offsets(index: i32) -> ListOffsets {
    ListOffsets {
        edge: Edge::Start,
        partitions: vec![(partition(index), 5)],
    }
}

/// Asks the leader of a partition, as soon as it can be asked.
fn ask(cluster: &mut Cluster, index: i32) -> Ticket {
    let mut out = Vec::new();
    for _ in 0..1000 {
        if let Some(leader) = cluster.leader(&partition(index))
            && let Some(ticket) = cluster.send(leader.broker, &offsets(index)).unwrap()
        {
            return ticket;
        }
        cluster.poll(1000 * MS, &mut out).unwrap();
        assert!(out.is_empty());
    }
    panic!(
        "partition {index} has no leader that can be asked: {:?}",
        cluster.trouble()
    );
}

/// The next replies; at least one.
fn replies(cluster: &mut Cluster) -> Vec<Reply> {
    let mut out = Vec::new();
    for _ in 0..1000 {
        cluster.poll(100_000 * MS, &mut out).unwrap();
        if !out.is_empty() {
            return out;
        }
    }
    panic!("nothing is answered: {:?}", cluster.trouble());
}

fn offset(reply: Reply) -> i64 {
    reply.read::<ListOffsets>().unwrap()[0].offset
}

#[test]
fn leaders_are_known_and_can_be_asked() {
    let brokers = Brokers::default();
    let world = brokers.world();
    let mut cluster = cluster(&world, &[]);
    assert_eq!(cluster.topic("t"), TopicState::Unknown);
    let ticket = ask(&mut cluster, 1);
    assert_eq!(
        cluster.leader(&partition(1)),
        Some(Leader {
            broker: BrokerId(2),
            epoch: 5
        })
    );
    assert_eq!(
        (cluster.leader(&partition(2)), cluster.leader(&partition(-1))),
        (None, None)
    );
    let TopicState::There(topic) = cluster.topic("t") else {
        panic!("no topic");
    };
    assert_eq!((topic.id, topic.leaders.len()), (Uuid::from_u128(7), 2));

    let reply = replies(&mut cluster).remove(0);
    assert_eq!((reply.ticket, reply.broker, reply.version), (ticket, BrokerId(2), 10));
    assert_eq!(offset(reply), 100);
    // The first server's connection is not kept beside that of the broker it was.
    assert_eq!(world.open_connections(), 1);
    assert!(brokers.asked(2).iter().all(|asked| asked.client == "tester"));
    assert_eq!(brokers.asked(3).len(), 1, "one question was enough");
}

#[test]
fn older_brokers_are_spoken_to_in_their_versions() {
    let brokers = Brokers::default();
    // As of Kafka 2.1.
    brokers.set(|facts| facts.newest = vec![(1, 10), (2, 4), (3, 7), (18, 2), (23, 2)]);
    let mut cluster = cluster(&brokers.world(), &[]);
    ask(&mut cluster, 1);
    assert_eq!(offset(replies(&mut cluster).remove(0)), 100);
    let versions = |key| brokers.asked(key).iter().map(|asked| asked.version).collect::<Vec<_>>();
    assert_eq!(
        versions(18),
        [4, 0, 4, 0],
        "the newest first, then what every broker knows"
    );
    assert_eq!((versions(3), versions(2)), (vec![7], vec![4]));
}

#[test]
fn brokers_that_are_too_old_are_named() {
    let brokers = Brokers::default();
    brokers.set(|facts| facts.newest = vec![(3, 6), (18, 2)]);
    let mut cluster = cluster(&brokers.world(), &[]);
    let fault = until(&mut cluster, |_| false).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Misuse);
    let text = fault.to_string();
    assert!(
        text.contains("Metadata") && text.contains("b1:1") && text.contains("0 to 6"),
        "{text}"
    );
}

#[test]
fn requests_are_answered_in_order_however_the_answers_are_cut() {
    for bite in [1, 3, 1000] {
        let brokers = Brokers::default();
        let world = brokers.world();
        world.bite(bite);
        let mut cluster = cluster(&world, &[]);
        brokers.set(|facts| facts.leaders = vec![(1, 5); 8]);
        let mut tickets = vec![ask(&mut cluster, 0)];
        tickets.extend((1..8).map(|index| cluster.send(BrokerId(1), &offsets(index)).unwrap().unwrap()));
        assert_eq!(cluster.in_flight(BrokerId(1)), 8);
        let mut answered = Vec::new();
        while answered.len() < 8 {
            answered.extend(replies(&mut cluster));
        }
        let order: Vec<Ticket> = answered.iter().map(|reply| reply.ticket).collect();
        assert_eq!(order, tickets);
        let found: Vec<i64> = answered.into_iter().map(offset).collect();
        assert_eq!(found, [0, 100, 200, 300, 400, 500, 600, 700]);
        assert_eq!(cluster.in_flight(BrokerId(1)), 0);
    }
}

/// Broker 2 answers ListOffsets by `act`, everything else as always.
fn world_with(brokers: &Brokers, act: impl Fn(&Asked, &Brokers) -> Vec<Act> + Send + 'static) -> World {
    let world = brokers.world();
    let brokers = brokers.clone();
    world.server("b2:1", move |asked| match asked.key {
        2 => act(asked, &brokers),
        _ => brokers.act(asked),
    });
    world
}

#[test]
fn an_answer_to_something_else_ends_the_connection() {
    let brokers = Brokers::default();
    let world = world_with(&brokers, |asked, brokers| {
        let mut other = asked.clone();
        other.correlation += 1;
        brokers.act(&other)
    });
    let mut cluster = cluster(&world, &[]);
    let first = ask(&mut cluster, 1);
    let second = cluster.send(BrokerId(2), &offsets(1)).unwrap().unwrap();
    let lost = replies(&mut cluster);
    assert_eq!(lost.len(), 2, "what is behind it is lost too");
    for (reply, ticket) in lost.into_iter().zip([first, second]) {
        assert_eq!(reply.ticket, ticket);
        let fault = reply.read::<ListOffsets>().unwrap_err();
        assert_eq!(fault.kind, FaultKind::Retry);
        let text = fault.to_string();
        assert!(
            text.contains("ListOffsets") && text.contains("broker 2 at b2:1"),
            "{text}"
        );
    }
    // It is made anew.
    ask(&mut cluster, 1);
    let attempts = world.attempts();
    assert_eq!(attempts.iter().filter(|(_, to)| to == "b2:1").count(), 2);
}

#[test]
fn a_broker_that_does_not_answer_is_given_up_in_time() {
    let brokers = Brokers::default();
    let world = world_with(&brokers, |_, _| Vec::new());
    let mut cluster = cluster(&world, &[("socket.timeout.ms", "3000")]);
    ask(&mut cluster, 1);
    let asked_at = world.now();
    let fault = replies(&mut cluster).remove(0).read::<ListOffsets>().unwrap_err();
    assert!(fault.to_string().contains("in time"), "{fault}");
    assert_eq!(world.now() - asked_at, 3000 * MS);
    assert!(cluster.trouble().unwrap().contains("b2:1"));
}

#[test]
fn a_connection_that_swallows_everything_is_given_up_in_time() {
    let brokers = Brokers::default();
    let world = brokers.world();
    world.manner("b2:1", Manner::Swallows);
    let mut cluster = cluster(&world, &[("socket.connection.setup.timeout.ms", "2000")]);
    until(&mut cluster, |cluster| {
        let _ = cluster.version(BrokerId(2), &offsets_api());
        cluster.trouble().is_some()
    })
    .unwrap();
    let trouble = cluster.trouble().unwrap();
    assert!(
        trouble.contains("broker 2 at b2:1") && trouble.contains("2s"),
        "{trouble}"
    );
}

fn offsets_api() -> super::Api {
    super::Api {
        name: "ListOffsets",
        key: 2,
        oldest: 4,
        newest: 10,
        flexible: 6,
        throttles: true,
    }
}

#[test]
fn servers_that_refuse_are_tried_ever_more_rarely_and_in_turn() {
    let world = World::default();
    let mut cluster = Cluster::over(settings(&[("bootstrap.servers", "x:1,y:1")]), Box::new(world.clone())).unwrap();
    let mut out = Vec::new();
    while world.now() < 120_000 * MS {
        cluster.poll(10_000 * MS, &mut out).unwrap();
    }
    for place in ["x:1", "y:1"] {
        let times: Vec<u128> = world
            .attempts()
            .iter()
            .filter(|(_, to)| to == place)
            .map(|(at, _)| at.as_millis())
            .collect();
        let pauses: Vec<u128> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mut expected = 100;
        for (count, pause) in pauses.iter().enumerate() {
            // The pause itself; a second more when the other server's turn was between; the time to be refused.
            assert!(
                (expected * 8 / 10..=expected * 12 / 10 + 1010).contains(pause),
                "pause {count} to {place} is {pause} ms, not about {expected}: {pauses:?}"
            );
            expected = (expected * 2).min(10_000);
        }
        assert!((12..30).contains(&times.len()), "{times:?}");
    }
    let trouble = cluster.trouble().unwrap();
    assert!(trouble.contains("x:1") && trouble.contains("y:1"), "{trouble}");
}

#[test]
fn a_server_that_can_be_reached_is_found_among_those_that_cannot() {
    let brokers = Brokers::default();
    let world = brokers.world();
    world.server("slow:1", |_| Vec::new());
    world.manner("slow:1", Manner::Swallows);
    let mut cluster = cluster(&world, &[("bootstrap.servers", "slow:1,dead:1,b1:1")]);
    ask(&mut cluster, 0);
    assert!(world.now() < 4_000 * MS, "{:?}", world.now());
    let attempts = world.attempts().len();
    while world.now() < 120_000 * MS {
        cluster.poll(10_000 * MS, &mut Vec::new()).unwrap();
    }
    assert_eq!(
        cluster.trouble(),
        None,
        "once one has answered, the others are not missed"
    );
    assert_eq!(world.attempts().len(), attempts);
}

#[test]
fn a_broker_that_throttles_is_left_alone_for_that_long() {
    let brokers = Brokers::default();
    brokers.set(|facts| facts.throttle = 700 * MS);
    let world = brokers.world();
    let mut cluster = cluster(&world, &[]);
    ask(&mut cluster, 1);
    replies(&mut cluster);
    let told_at = world.now();
    assert_eq!(cluster.send(BrokerId(2), &offsets(1)).unwrap(), None);
    until(&mut cluster, |cluster| {
        cluster.version(BrokerId(2), &offsets_api()).unwrap().is_some()
    })
    .unwrap();
    assert_eq!(world.now() - told_at, 700 * MS, "and not longer");
    assert!(cluster.send(BrokerId(2), &offsets(1)).unwrap().is_some());
    assert_eq!(world.open_connections(), 1, "nothing else was connected to meanwhile");
}

#[test]
fn an_idle_connection_that_the_broker_closes_is_no_trouble() {
    let brokers = Brokers::default();
    let world = brokers.world();
    let mut cluster = cluster(&world, &[]);
    ask(&mut cluster, 1);
    replies(&mut cluster);
    world.hang_up("b2:1");
    until(&mut cluster, |cluster| {
        cluster.version(BrokerId(2), &offsets_api()).unwrap().is_none()
    })
    .unwrap();
    assert_eq!(cluster.trouble(), None);
    ask(&mut cluster, 1);
    assert_eq!(offset(replies(&mut cluster).remove(0)), 100);
}

#[test]
fn a_lost_connection_fails_what_was_under_way_and_is_made_anew() {
    let brokers = Brokers::default();
    let world = brokers.world();
    let mut cluster = cluster(&world, &[]);
    ask(&mut cluster, 1);
    replies(&mut cluster);
    ask(&mut cluster, 1);
    world.hang_up("b2:1");
    let mut lost = replies(&mut cluster);
    // The answer was on its way before.
    assert_eq!(offset(lost.remove(0)), 100);
    assert!(lost.is_empty());

    let silent = brokers.clone();
    world.server("b2:1", move |asked| {
        if asked.key == 2 {
            vec![Act::Close]
        } else {
            silent.act(asked)
        }
    });
    ask(&mut cluster, 1);
    let fault = replies(&mut cluster).remove(0).read::<ListOffsets>().unwrap_err();
    assert_eq!(fault.kind, FaultKind::Retry);
    assert!(fault.to_string().contains("closed"), "{fault}");
}

#[test]
fn leaders_move_forward_only() {
    let brokers = Brokers::default();
    let world = brokers.world();
    let mut cluster = cluster(&world, &[]);
    let led_by = |broker, epoch| {
        Some(Leader {
            broker: BrokerId(broker),
            epoch,
        })
    };
    until(&mut cluster, |cluster| cluster.leader(&partition(1)) == led_by(2, 5)).unwrap();

    brokers.set(|facts| facts.leaders[1] = (1, 6));
    cluster.refresh();
    until(&mut cluster, |cluster| cluster.leader(&partition(1)) == led_by(1, 6)).unwrap();

    // A broker that lags behind.
    brokers.set(|facts| facts.leaders = vec![(2, 6), (2, 5)]);
    cluster.refresh();
    until(&mut cluster, |cluster| cluster.leader(&partition(0)) == led_by(2, 6)).unwrap();
    assert_eq!(cluster.leader(&partition(1)), led_by(1, 6));

    // A hint, and one that is old news; a broker that was not known before comes with its address.
    let there = cluster.generation();
    let hint = |epoch| {
        Some(Leader {
            broker: BrokerId(3),
            epoch,
        })
    };
    let nodes = [(BrokerId(3), "b2".to_owned(), 1)];
    assert!(
        !cluster.learn_leader(&partition(1), hint(7), &[]),
        "nobody knows where broker 3 is"
    );
    assert!(!cluster.learn_leader(&partition(1), hint(6), &nodes));
    assert!(cluster.learn_leader(&partition(1), hint(7), &nodes));
    assert!(!cluster.learn_leader(&partition(9), hint(7), &[]));
    assert!(cluster.generation() > there);
    ask(&mut cluster, 1);
    assert_eq!(replies(&mut cluster).remove(0).broker, BrokerId(3));

    // Another topic of the same name begins anew.
    brokers.set(|facts| (facts.id, facts.leaders) = (8, vec![(1, 0), (1, 0)]));
    cluster.refresh();
    until(&mut cluster, |cluster| cluster.leader(&partition(1)) == led_by(1, 0)).unwrap();
}

#[test]
fn a_topic_that_is_missing_is_asked_for_until_it_is_there() {
    let brokers = Brokers::default();
    brokers.set(|facts| facts.leaders.clear());
    let world = brokers.world();
    let mut cluster = cluster(&world, &[]);
    let missing = |cluster: &mut Cluster| matches!(cluster.topic("t"), TopicState::Missing { .. });
    until(&mut cluster, missing).unwrap();
    let TopicState::Missing { since } = cluster.topic("t") else {
        panic!("there");
    };
    let mut out = Vec::new();
    while world.now() < 10_000 * MS {
        cluster.poll(1000 * MS, &mut out).unwrap();
    }
    assert_eq!(
        cluster.topic("t"),
        TopicState::Missing { since },
        "since the first time"
    );
    let questions = brokers.asked(3).len();
    assert!((8..20).contains(&questions), "{questions} questions in ten seconds");

    brokers.set(|facts| facts.leaders = vec![(-1, 0), (1, 0)]);
    until(&mut cluster, |cluster| cluster.leader(&partition(1)).is_some()).unwrap();
    assert_eq!(cluster.leader(&partition(0)), None, "an election");
    brokers.set(|facts| facts.leaders = vec![(2, 1), (1, 0)]);
    until(&mut cluster, |cluster| cluster.leader(&partition(0)).is_some()).unwrap();

    // A topic that is deleted is missing from then on.
    brokers.set(|facts| facts.leaders.clear());
    cluster.refresh();
    until(&mut cluster, missing).unwrap();
    assert_eq!(cluster.leader(&partition(0)), None);
}

#[test]
fn leaders_are_asked_for_again_by_age() {
    let brokers = Brokers::default();
    let world = brokers.world();
    let mut cluster = cluster(&world, &[("topic.metadata.refresh.interval.ms", "20000")]);
    let mut out = Vec::new();
    while world.now() < 70_000 * MS {
        cluster.poll(100_000 * MS, &mut out).unwrap();
    }
    let times: Vec<u64> = brokers.asked(3).iter().map(|asked| asked.at.as_secs()).collect();
    assert_eq!(times, [0, 20, 40, 60, 80]);
}

#[test]
fn a_wait_can_be_ended_from_outside() {
    let brokers = Brokers::default();
    let world = brokers.world();
    let mut cluster = cluster(&world, &[]);
    until(&mut cluster, |cluster| cluster.leader(&partition(0)).is_some()).unwrap();
    let before = world.now();
    cluster.waker()();
    cluster.poll(5000 * MS, &mut Vec::new()).unwrap();
    assert_eq!(world.now(), before);
    cluster.poll(5000 * MS, &mut Vec::new()).unwrap();
    assert_eq!(world.now(), before + 5000 * MS, "once");
}

#[test]
fn a_broker_that_moves_is_followed() {
    let brokers = Brokers::default();
    let world = brokers.world();
    let mut cluster = cluster(&world, &[]);
    ask(&mut cluster, 1);
    replies(&mut cluster);
    let there = brokers.clone();
    world.server("b9:9", move |asked| there.act(asked));
    brokers.set(|facts| facts.brokers[1] = (2, "b9", 9));
    let generation = cluster.generation();
    cluster.refresh();
    until(&mut cluster, |cluster| cluster.generation() > generation).unwrap();
    ask(&mut cluster, 1);
    assert_eq!(offset(replies(&mut cluster).remove(0)), 100);
    assert_eq!(world.attempts().last().unwrap().1, "b9:9");
}

#[test]
fn a_name_and_password_open_the_door() {
    let brokers = Brokers::default();
    brokers.set(|facts| facts.sasl = Some(sasl(0)));
    let mut cluster = cluster(&brokers.world(), PLAIN);
    ask(&mut cluster, 0);
    assert_eq!(offset(replies(&mut cluster).remove(0)), 0);
}

#[test]
fn a_wrong_password_is_told_and_tried_again_later() {
    let brokers = Brokers::default();
    brokers.set(|facts| {
        facts.sasl = Some(Sasl {
            password: "other",
            ..sasl(0)
        })
    });
    let mut cluster = cluster(&brokers.world(), PLAIN);
    let fault = until(&mut cluster, |_| false).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Misuse);
    let text = fault.to_string();
    assert!(
        text.contains("b1:1") && text.contains("Invalid username") && text.contains("sasl.password"),
        "{text}"
    );
    assert!(!text.contains("secret"));
    assert!(until(&mut cluster, |_| false).is_err(), "it is told each time");
    brokers.set(|facts| facts.sasl = Some(sasl(0)));
    ask(&mut cluster, 0);
}

#[test]
fn a_mechanism_that_the_broker_does_not_take_is_told_with_those_it_takes() {
    let brokers = Brokers::default();
    brokers.set(|facts| {
        facts.sasl = Some(Sasl {
            mechanisms: vec!["GSSAPI", "SCRAM-SHA-512"],
            ..sasl(0)
        })
    });
    let mut cluster = cluster(&brokers.world(), PLAIN);
    let fault = until(&mut cluster, |_| false).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Misuse);
    assert!(fault.to_string().contains("GSSAPI, SCRAM-SHA-512"), "{fault}");
}

#[test]
fn the_proof_is_renewed_before_it_expires_and_nothing_is_lost() {
    let brokers = Brokers::default();
    brokers.set(|facts| facts.sasl = Some(sasl(10_000)));
    let world = brokers.world();
    let mut cluster = cluster(&world, PLAIN);
    let mut asked = 0;
    while world.now() < 60_000 * MS {
        ask(&mut cluster, 0);
        assert_eq!(offset(replies(&mut cluster).remove(0)), 0);
        asked += 1;
    }
    assert!(asked > 10_000);
    let kept = brokers.asked(2)[0].connection;
    assert!(
        brokers.asked(2).iter().all(|asked| asked.connection == kept),
        "one connection all the time"
    );
    let proofs: Vec<u64> = brokers
        .asked(36)
        .iter()
        .filter(|asked| asked.connection == kept)
        .map(|asked| asked.at.as_secs())
        .collect();
    assert_eq!(proofs, [0, 8, 17, 25, 34, 42, 51, 59]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever a broker sends: no panic, no great memory, every request has one reply, and the cluster lives on.
    #[test]
    fn nothing_that_a_broker_sends_breaks_the_cluster(
        flips in prop::collection::vec((0..2000_usize, 0..8_u8), 1..40),
        garbage in prop::option::of(prop::collection::vec(any::<u8>(), 1..100)),
        bite in 1..200_usize,
        secured in any::<bool>(),
    ) {
        let brokers = Brokers::default();
        brokers.set(|facts| facts.sasl = Some(sasl(60_000)));
        let world = brokers.world();
        world.bite(bite);
        let seen = Arc::new(Mutex::new(0_usize));
        for place in ["b1:1", "b2:1"] {
            let (brokers, flips, garbage, seen) = (brokers.clone(), flips.clone(), garbage.clone(), seen.clone());
            world.server(place, move |asked| {
                let mut seen = seen.lock().unwrap();
                let mut acts = brokers.act(asked);
                for act in &mut acts {
                    if let Act::Send(_, bytes) = act {
                        let mut changed = bytes.to_vec();
                        for (at, bit) in &flips {
                            if let Some(byte) = at.checked_sub(*seen).and_then(|at| changed.get_mut(at)) {
                                *byte ^= 1 << bit;
                            }
                        }
                        *seen += changed.len();
                        *bytes = Bytes::from(changed);
                    }
                }
                if *seen > 500 && let Some(garbage) = &garbage {
                    acts.push(Act::Send(LATENCY, Bytes::from(garbage.clone())));
                }
                acts
            });
        }
        let mut cluster = cluster(&world, if secured { PLAIN } else { &[] });
        let (mut sent, mut answered) = (Vec::new(), Vec::new());
        for round in 0..300 {
            let mut out = Vec::new();
            // An error is an answer too.
            let _ = cluster.poll(500 * MS, &mut out);
            for reply in out {
                answered.push(reply.ticket);
                let broker = reply.broker;
                if let Err(fault) = reply.read::<ListOffsets>() {
                    let text = fault.to_string();
                    prop_assert!(text.contains("ListOffsets") && text.contains("broker"), "{}", text);
                    cluster.distrust(broker, &fault);
                }
            }
            for broker in [BrokerId(1), BrokerId(2)] {
                if let Ok(Some(ticket)) = cluster.send(broker, &offsets(round % 2)) {
                    sent.push(ticket);
                }
            }
        }
        for broker in [BrokerId(1), BrokerId(2)] {
            cluster.distrust(broker, &crate::broker::Fault::retry("the test is over"));
        }
        let mut out = Vec::new();
        let _ = cluster.poll(Duration::ZERO, &mut out);
        answered.extend(out.iter().map(|reply| reply.ticket));
        sent.sort();
        answered.sort();
        prop_assert!(sent == answered, "{} requests, {} replies", sent.len(), answered.len());
    }
}
