//! What bad input, bad topics and bad code get: a clear error or their policy, and nothing else is lost.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use common::*;
use millstream_processor::app::RunUntil;
use millstream_processor::broker::local::LocalLog;
use millstream_processor::broker::{Broker, Cleanup, GroupToken, SinkConfig, TopicPartition, TopicSpec};
use millstream_processor::clock::{Clock, VirtualClock};
use millstream_processor::config::ConfigBuilder;
use millstream_processor::engines::{Engines, MemoryEngines};
use millstream_processor::{App, Components, ErrorKind};
use millstream_state::codec::{BytesCodec, I64};
use millstream_topology::options::{Consumed, Produced};
use millstream_topology::{Plan, StreamBuilder};

fn append(log: &LocalLog, topic: &str, records: &[(&[u8], &[u8], i64)]) {
    let mut sink = log.sink(&SinkConfig::default()).unwrap();
    let to = sink.open(&TopicPartition::new(topic, 0)).unwrap();
    for (key, value, timestamp) in records {
        sink.append(to, *timestamp, Some(key), Some(value), &[]).unwrap();
    }
    sink.commit(&GroupToken::alone("producer"), &mut |_| Vec::new())
        .unwrap();
}

fn run_plan(
    log: &LocalLog,
    plan: Plan,
    config: ConfigBuilder,
    engines: Arc<dyn Engines>,
) -> Result<millstream_processor::Summary, millstream_processor::Error> {
    run_plan_at(log, plan, config, engines, Arc::new(VirtualClock::at(NOW)))
}

fn run_plan_at(
    log: &LocalLog,
    plan: Plan,
    config: ConfigBuilder,
    engines: Arc<dyn Engines>,
    clock: Arc<dyn Clock>,
) -> Result<millstream_processor::Summary, millstream_processor::Error> {
    let components = Components {
        clock,
        engines,
        progress: None,
        events: None,
    };
    App::new(plan, config.build().unwrap(), Arc::new(log.clone()), components).run(RunUntil::EndOfInput)
}

fn memory() -> Arc<dyn Engines> {
    Arc::new(MemoryEngines::default())
}

#[test]
fn a_record_that_cannot_be_read_stops_the_run_or_is_let_go() {
    let good = (1i64.to_be_bytes(), 5i64.to_be_bytes());
    let records: [(&[u8], &[u8], i64); 2] = [(&good.0, b"no number", NOW), (&good.0, &good.1, NOW)];
    let log = new_log();
    append(&log, "messages", &records);

    let error = run(&log, config()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misuse);
    let text = error.to_string();
    assert!(
        text.contains("messages-0 offset 0") && text.contains("policy"),
        "{text}"
    );
    assert_eq!(
        sorted(&log, "totals"),
        [],
        "nothing is written behind a record that stops the run"
    );

    let summary = run(&log, config().set("deserialization.exception.handler", "skip")).unwrap();
    assert_eq!(summary.total("dropped.bad_value"), 1);
    assert_eq!(latest(&log, "totals"), expected_totals(&[(1, 5, NOW)]));
}

#[test]
fn a_record_that_cannot_be_read_goes_to_the_dead_letters_as_it_is() {
    let log = new_log();
    log.admin().create(&TopicSpec::new("dead", 1)).unwrap();
    append(&log, "messages", &[(b"12345678", b"no number", NOW)]);
    let dead = config()
        .set("deserialization.exception.handler", "dead-letter")
        .set("errors.dead.letter.queue.topic.name", "dead");
    let summary = run(&log, dead).unwrap();
    assert_eq!(
        sorted(&log, "dead"),
        [(b"12345678".to_vec(), Some(b"no number".to_vec()), NOW)]
    );
    assert_eq!(summary.written["dead"], 1);
}

#[test]
fn a_timestamp_far_in_the_future_moves_nothing() {
    let log = new_log();
    let century = NOW + 100 * 365 * 86_400_000;
    let (one, two) = (1i64.to_be_bytes(), 2i64.to_be_bytes());
    append(
        &log,
        "messages",
        &[(&one, &one, century), (&one, &two, NOW - 5_000_000), (&one, &two, NOW)],
    );
    let summary = run(&log, config()).unwrap();
    assert_eq!(summary.total("dropped.future_timestamp"), 1);
    assert_eq!(summary.progress.event_time, Some(NOW));
    check(&log, &[(1, 2, NOW - 5_000_000), (1, 2, NOW)]);
}

/// Copies `in` to `out`, record by record.
fn copy() -> Plan {
    let builder = StreamBuilder::new();
    let bytes = builder.stream::<Bytes, Bytes>("in", Consumed::with(BytesCodec, BytesCodec));
    bytes.to_by(
        |key, _| if &key[..] == b"lost" { "nowhere" } else { "out" },
        Produced::with(BytesCodec, BytesCodec),
    );
    builder.build("fleet").unwrap()
}

fn copy_log() -> LocalLog {
    let log = new_log();
    for topic in ["in", "dead"] {
        log.admin().create(&TopicSpec::new(topic, 1)).unwrap();
    }
    log.admin()
        .create(&TopicSpec {
            max_message_bytes: Some(1000),
            ..TopicSpec::new("out", 1)
        })
        .unwrap();
    let big = vec![7; 5000];
    append(
        &log,
        "in",
        &[
            (b"a", b"1", NOW),
            (b"big", &big, NOW),
            (b"lost", b"2", NOW),
            (b"b", b"3", NOW),
        ],
    );
    log
}

#[test]
fn an_output_that_the_log_refuses_stops_the_run_is_let_go_or_goes_to_the_dead_letters() {
    let log = copy_log();
    let error = run_plan(&log, copy(), config(), memory()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misuse);
    assert!(
        error
            .to_string()
            .starts_with("output of KSTREAM-SINK-0000000001 to out refused"),
        "{error}"
    );

    let summary = run_plan(
        &log,
        copy(),
        config().set("production.exception.handler", "continue"),
        memory(),
    )
    .unwrap();
    assert_eq!(summary.events["outputs_refused"], 2);
    let sink = "KSTREAM-SINK-0000000001";
    assert_eq!(summary.counter(sink, "dropped.refused_by_log"), 1);
    assert_eq!(summary.counter(sink, "dropped.no_topic"), 1);
    let copied = [
        (b"a".to_vec(), Some(b"1".to_vec()), NOW),
        (b"b".to_vec(), Some(b"3".to_vec()), NOW),
    ];
    assert_eq!(sorted(&log, "out"), copied);

    let log = copy_log();
    let dead = config()
        .set("production.exception.handler", "dead-letter")
        .set("errors.dead.letter.queue.topic.name", "dead");
    run_plan(&log, copy(), dead, memory()).unwrap();
    assert_eq!(sorted(&log, "out"), copied);
    let letters = [
        (b"big".to_vec(), Some(vec![7; 5000]), NOW),
        (b"lost".to_vec(), Some(b"2".to_vec()), NOW),
    ];
    assert_eq!(sorted(&log, "dead"), letters);
}

#[test]
fn all_problems_with_topics_come_at_once() {
    let log = LocalLog::in_memory(Arc::new(|| NOW)).unwrap();
    log.admin().create(&TopicSpec::new("hourly", 1)).unwrap();
    let error = run(&log, config()).unwrap_err();
    assert_eq!(
        (error.kind, error.to_string().as_str()),
        (
            ErrorKind::Misuse,
            "3 problems with topics:
  late: the application writes this topic, but it does not exist: create it
  totals: the application writes this topic, but it does not exist: create it
  messages: the topology reads this topic, but it does not exist: create it, or correct its name in the topology"
        )
    );
}

#[test]
fn internal_topics_of_the_wrong_kind_are_refused() {
    let log = new_log();
    let admin = log.admin();
    admin
        .create(&TopicSpec::new("fleet-depots-repartition", PARTITIONS).cleanup(Cleanup::Compact))
        .unwrap();
    admin.create(&TopicSpec::new("fleet-hourly-changelog", 1)).unwrap();
    admin
        .create(&TopicSpec::new("fleet-totals-changelog", PARTITIONS))
        .unwrap();
    assert_eq!(
        run(&log, config()).unwrap_err().to_string(),
        "3 problems with topics:
  fleet-depots-repartition: is a repartition topic, but its cleanup.policy is compact: set it to delete
  fleet-hourly-changelog: has 1 partitions, but 4 are needed: its sources were given more or fewer partitions; reset the application
  fleet-totals-changelog: is a changelog, but its cleanup.policy is delete: set it to compact"
    );
}

#[test]
fn a_panic_stops_the_run_with_its_text_and_nothing_of_it_counts() {
    let log = new_log();
    let messages = fleet(20, 100);
    produce(&log, &messages);
    let armed = Arc::new(AtomicBool::new(true));
    let plan = || {
        let builder = StreamBuilder::new();
        let armed = armed.clone();
        let read = builder.stream("messages", Consumed::with(I64, I64));
        let checked = read.map_values(move |key, value| {
            assert!(
                *key != 13 || value % 50 != 0 || !armed.load(Ordering::SeqCst),
                "vehicle 13 is unlucky"
            );
            value
        });
        checked.to("totals", Produced::with(I64, I64));
        builder.build("fleet").unwrap()
    };
    let run = || {
        let small = config().set("num.stream.threads", 3).set("commit.interval.ms", 20);
        run_plan_at(&log, plan(), small, memory(), Arc::new(TickingClock::default()))
    };
    let error = run().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fatal);
    assert!(error.to_string().contains("panicked: vehicle 13 is unlucky"), "{error}");
    armed.store(false, Ordering::SeqCst);
    run().unwrap();
    assert_eq!(
        sorted(&log, "totals").len(),
        messages.len(),
        "every message is copied exactly once"
    );
}

#[test]
fn the_smallest_buffers_give_the_same_rows() {
    let log = new_log();
    let messages = fleet(20, 100);
    produce(&log, &messages);
    let tight = config()
        .set("memory.max.bytes", "32MiB")
        .set("statestore.cache.max.bytes", 0)
        .set("statestore.uncommitted.max.bytes", 1024)
        .set("buffered.records.per.partition", 1)
        .set("buffered.bytes.per.partition", 1024)
        .set("num.stream.threads", 2);
    run(&log, tight).unwrap();
    check(&log, &messages);
}

#[test]
fn the_topology_must_be_of_the_same_application() {
    let error = run(&new_log(), config().set("application.id", "other")).unwrap_err();
    assert!(error.to_string().contains("was built for application fleet"), "{error}");
}
