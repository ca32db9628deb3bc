//! Our own connections on a real broker: in the clear, through TLS, with passwords; and the same settings in librdkafka,
//! which writes what is then looked for.

use std::time::{Duration, Instant};

use millstream_integration_tests::kafka;
use millstream_integration_tests::kafka::secured::{Listener, PASSWORD, SESSION_MS, Secured, USER};
use millstream_processor::broker::kafka::wire::leader_epoch::{EpochQuestion, OffsetForLeaderEpoch};
use millstream_processor::broker::kafka::wire::list_offsets::{Edge, ListOffsets};
use millstream_processor::broker::kafka::wire::{BrokerId, Call, Cluster, Settings, TopicState};
use millstream_processor::broker::kafka::{KafkaBroker, KafkaSettings};
use millstream_processor::broker::{
    Broker, Fault, FaultKind, FetchConfig, GroupToken, Result, SinkConfig, TopicPartition, TopicSpec,
};

const PATIENCE: Duration = Duration::from_secs(60);

fn settings(bootstrap: &str, common: &[(&str, &str)]) -> KafkaSettings {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    KafkaSettings {
        common: common.iter().map(pair).collect(),
        ..KafkaSettings::new(bootstrap)
    }
}

fn cluster(settings: &KafkaSettings) -> Cluster {
    let settings = Settings::of_reader(settings, &FetchConfig::default()).expect("settings we serve");
    Cluster::new(settings).expect("a cluster")
}

/// Creates a topic of one partition with `count` records; by librdkafka.
fn topic(settings: &KafkaSettings, count: u32) -> TopicPartition {
    let broker = KafkaBroker::new(settings.clone()).expect("clients");
    let partition = TopicPartition::new(kafka::unique("wire"), 0);
    broker
        .admin()
        .create(&TopicSpec::new(partition.topic.clone(), 1))
        .expect("a topic");
    write(&broker, &partition, count);
    partition
}

fn write(broker: &KafkaBroker, partition: &TopicPartition, count: u32) {
    let mut sink = broker.sink(&SinkConfig::default()).expect("a sink");
    let to = sink.open(partition).expect("a partition");
    for number in 0..count {
        sink.append(to, 1, None, Some(&number.to_be_bytes()), &[])
            .expect("appended");
    }
    let group = GroupToken::alone(partition.topic.clone());
    sink.commit(&group, &mut |_| Vec::new()).expect("written");
}

/// Asks the partition's leader, as soon as it can be asked, and waits for the answer.
fn ask<C: Call>(cluster: &mut Cluster, partition: &TopicPartition, call: &C) -> Result<C::Answer> {
    let start = Instant::now();
    let (mut ticket, mut out) = (None, Vec::new());
    cluster.want_topics([partition.topic.clone()]);
    while start.elapsed() < PATIENCE {
        if ticket.is_none()
            && let Some(leader) = cluster.leader(partition)
        {
            ticket = cluster.send(leader.broker, call)?;
        }
        cluster.poll(Duration::from_secs(1), &mut out)?;
        if let Some(reply) = out.pop() {
            assert_eq!(Some(reply.ticket), ticket);
            return reply.read::<C>();
        }
    }
    panic!("no answer: {:?}", cluster.trouble());
}

fn edges(cluster: &mut Cluster, partition: &TopicPartition) -> Result<(i64, i64)> {
    let mut offset = |edge| -> Result<i64> {
        let partitions = vec![(partition.clone(), -1)];
        let answer = ask(cluster, partition, &ListOffsets { edge, partitions })?;
        assert_eq!((answer[0].error, &answer[0].partition), (0, partition));
        Ok(answer[0].offset)
    };
    Ok((offset(Edge::Start)?, offset(Edge::End)?))
}

fn refused(settings: &KafkaSettings) -> Fault {
    let fault = edges(&mut cluster(settings), &TopicPartition::new("any", 0)).expect_err("refused");
    assert_eq!(fault.kind, FaultKind::Misuse, "{fault}");
    fault
}

#[test]
fn a_real_broker_tells_leaders_offsets_and_epochs() {
    let Some(broker) = kafka::shared() else { return };
    let settings = settings(broker.bootstrap(), &[]);
    let partition = topic(&settings, 3);
    let mut cluster = cluster(&settings);
    assert_eq!(edges(&mut cluster, &partition).expect("offsets"), (0, 3));
    let TopicState::There(known) = cluster.topic(&partition.topic) else {
        panic!("the topic is {:?}", cluster.topic(&partition.topic));
    };
    assert!(!known.id.is_nil());
    let leader = known.leaders[0].expect("a leader");

    let question = EpochQuestion {
        partition: partition.clone(),
        current: leader.epoch,
        epoch: leader.epoch,
    };
    let partitions = vec![question];
    let ends = ask(&mut cluster, &partition, &OffsetForLeaderEpoch { partitions }).expect("an answer");
    assert_eq!((ends[0].error, ends[0].end, ends[0].epoch), (0, 3, leader.epoch));

    cluster.want_topics([kafka::unique("absent").into()]);
    assert_eq!(cluster.leader(&partition), None, "not of interest any more");
}

#[test]
fn a_topic_that_is_not_there_is_missing_until_it_is_made() {
    let Some(broker) = kafka::shared() else { return };
    let settings = settings(broker.bootstrap(), &[]);
    let mut cluster = cluster(&settings);
    let name = kafka::unique("late");
    cluster.want_topics([name.as_str().into()]);
    let wait = |cluster: &mut Cluster, done: fn(TopicState<'_>) -> bool| {
        let start = Instant::now();
        while !done(cluster.topic(&name)) {
            assert!(start.elapsed() < PATIENCE, "the topic is {:?}", cluster.topic(&name));
            cluster.poll(Duration::from_secs(1), &mut Vec::new()).expect("polled");
        }
    };
    wait(&mut cluster, |state| matches!(state, TopicState::Missing { .. }));
    let clients = KafkaBroker::new(settings).expect("clients");
    clients
        .admin()
        .create(&TopicSpec::new(name.as_str(), 3))
        .expect("a topic");
    wait(
        &mut cluster,
        |state| matches!(state, TopicState::There(topic) if topic.leaders.len() == 3),
    );
}

fn sasl<'a>(broker: &Secured, mechanism: &'a str, ca: &'a str) -> (KafkaSettings, KafkaSettings) {
    let user = [
        ("sasl.mechanism", mechanism),
        ("sasl.username", USER),
        ("sasl.password", PASSWORD),
    ];
    let clear: Vec<_> = [("security.protocol", "SASL_PLAINTEXT")]
        .into_iter()
        .chain(user)
        .collect();
    let tls = [("security.protocol", "SASL_SSL"), ("ssl.ca.location", ca)];
    let tls: Vec<_> = tls.into_iter().chain(user).collect();
    (
        settings(&broker.bootstrap(Listener::Sasl), &clear),
        settings(&broker.bootstrap(Listener::SaslTls), &tls),
    )
}

/// One broker for all of it: it takes a while to start.
#[test]
fn a_secured_broker_lets_both_clients_in_by_the_same_settings() {
    let Some(mut broker) = kafka::secured() else { return };
    let (ca, certificate, key) = (broker.ca(), broker.client_certificate(), broker.client_key());

    let tls = [("security.protocol", "ssl"), ("ssl.ca.location", &*ca)];
    let named: Vec<(&str, &str)> = tls
        .into_iter()
        .chain([("ssl.certificate.location", &*certificate), ("ssl.key.location", &*key)])
        .collect();
    let with_certificate = settings(&broker.bootstrap(Listener::Tls), &named);
    let partition = topic(&with_certificate, 3);
    assert_eq!(
        edges(&mut cluster(&with_certificate), &partition).expect("offsets"),
        (0, 3)
    );

    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let (clear, through_tls) = sasl(&broker, mechanism, &ca);
        for settings in [&clear, &through_tls] {
            let partition = topic(settings, 2);
            assert_eq!(
                edges(&mut cluster(settings), &partition).expect("offsets"),
                (0, 2),
                "{mechanism}"
            );
        }
    }

    who_is_not_known_is_refused(&broker, &tls);
    a_session_outlives_its_proof(&broker, &partition, &ca);
    a_restart_is_survived(&mut broker, &partition, &ca);
}

fn who_is_not_known_is_refused(broker: &Secured, tls: &[(&str, &str)]) {
    let fault = refused(&settings(&broker.bootstrap(Listener::Tls), tls));
    assert!(fault.to_string().contains("ssl.certificate.location"), "{fault}");

    let stranger = broker.strange_ca();
    let (_, mut untrusting) = sasl(broker, "PLAIN", &stranger);
    let fault = refused(&untrusting);
    assert!(fault.to_string().contains("UnknownIssuer"), "{fault}");

    // The same broker by a name that its certificate does not have.
    untrusting.bootstrap = format!("localhost:{}", broker.port(Listener::SaslTls));
    untrusting.common.push(("ssl.ca.location".into(), broker.ca()));
    let fault = refused(&untrusting);
    assert!(fault.to_string().contains("localhost"), "{fault}");
    let algorithm = "ssl.endpoint.identification.algorithm";
    untrusting.common.push((algorithm.into(), "none".into()));
    let partition = topic(&untrusting, 1);
    assert_eq!(edges(&mut cluster(&untrusting), &partition).expect("offsets"), (0, 1));

    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let (mut wrong, _) = sasl(broker, mechanism, "");
        wrong.common.push(("sasl.password".into(), "guessed".into()));
        let fault = refused(&wrong);
        assert!(fault.to_string().contains("sasl.password"), "{fault}");
    }
    // Speaking in the clear to a listener that wants TLS.
    let mut deaf = cluster(&settings(&broker.bootstrap(Listener::SaslTls), &[]));
    let start = Instant::now();
    while deaf.trouble().is_none() {
        assert!(start.elapsed() < PATIENCE);
        deaf.poll(Duration::from_secs(1), &mut Vec::new()).expect("polled");
    }
    let trouble = deaf.trouble().unwrap_or_default();
    assert!(trouble.contains("security.protocol"), "{trouble}");
}

/// The broker ends connections whose proof has expired: ours is renewed in time, and no question is lost.
fn a_session_outlives_its_proof(broker: &Secured, partition: &TopicPartition, ca: &str) {
    let (clear, _) = sasl(broker, "SCRAM-SHA-512", ca);
    let mut cluster = cluster(&clear);
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(SESSION_MS * 5 / 2) {
        assert_eq!(edges(&mut cluster, partition).expect("no question is lost"), (0, 3));
    }
    assert_eq!(cluster.trouble(), None);
}

fn a_restart_is_survived(broker: &mut Secured, partition: &TopicPartition, ca: &str) {
    let (_, through_tls) = sasl(broker, "SCRAM-SHA-256", ca);
    let mut cluster = cluster(&through_tls);
    edges(&mut cluster, partition).expect("offsets");
    broker.kill();
    let start = Instant::now();
    while cluster.trouble().is_none() {
        assert!(start.elapsed() < PATIENCE);
        let _ = cluster.send(
            BrokerId(1),
            &ListOffsets {
                edge: Edge::End,
                partitions: Vec::new(),
            },
        );
        cluster.poll(Duration::from_secs(1), &mut Vec::new()).expect("polled");
    }
    broker.restart().expect("restarted");
    let start = Instant::now();
    let found = loop {
        match edges(&mut cluster, partition) {
            Ok(found) => break found,
            Err(fault) => assert!(fault.kind == FaultKind::Retry && start.elapsed() < PATIENCE, "{fault}"),
        }
    };
    assert_eq!(found, (0, 3));
}
