//! What bad data gets at the doors of a topology: its policy, a count, and a dead letter that tells everything.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may stop at the first surprise

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_state::{
    codec::{BytesCodec, I64, Nullable, Utf8},
    text::Str,
};
use millstream_topology::{
    Doors, FutureAction, FutureGuard, Plan, Policy, StreamBuilder, TaskConfig, TaskError, TestDriver, TimeWindows,
    Windowed, WindowedKey,
    driver::{Options, RawInput, Record},
    operators::parse::Parsed,
    options::{Consumed, Grouped, Materialized, Produced},
};

type Raw = Record<Option<Vec<u8>>, Option<Vec<u8>>>;

fn plan() -> Plan {
    let builder = StreamBuilder::new();
    let numbers = builder.stream::<Str, i64>("numbers", Consumed::with(Utf8, I64).named("read-numbers"));
    numbers
        .named("halve")
        .try_map_values(Policy::Configured, |_, v| {
            if v % 2 == 0 {
                Ok(v / 2)
            } else {
                Err(format!("{v} is odd"))
            }
        })
        .to("halves", Produced::with(Utf8, I64));
    builder.build("doors").unwrap()
}

fn doors(policy: Policy) -> TaskConfig {
    let topic = Some("dead".into());
    TaskConfig {
        doors: Doors {
            read: policy.clone(),
            process: policy,
            dead_letter_topic: topic,
        },
        future: None,
    }
}

fn driver(plan: &Plan, config: TaskConfig) -> TestDriver {
    TestDriver::with(
        plan,
        Options {
            config,
            now: 1_000,
            ..Options::default()
        },
    )
    .unwrap()
}

fn dead(driver: &TestDriver) -> Vec<Raw> {
    let output = driver.output("dead", Nullable(BytesCodec), Nullable(BytesCodec));
    std::iter::from_fn(|| output.read().unwrap()).collect()
}

fn header<'a>(record: &'a Raw, name: &str) -> &'a str {
    let value = record
        .headers
        .iter()
        .find(|(n, _)| n == name)
        .and_then(|(_, v)| v.as_deref());
    std::str::from_utf8(value.unwrap_or(b"<absent>")).unwrap()
}

fn feed_bad(input: &RawInput) -> Result<(), TaskError> {
    let eight = 8i64.to_be_bytes();
    input.pipe(Some(b"good"), Some(&eight), 10)?;
    input.pipe(None, Some(&eight), 11)?;
    input.pipe(Some(b"k"), None, 12)?;
    input.pipe_with_headers(Some(b"\xff"), Some(&eight), 13, &[("device", Some(b"aircraft"))])?;
    input.pipe(Some(b"k"), Some(b"short"), 14)?;
    input.pipe(Some(b"k"), Some(&7i64.to_be_bytes()), 15)?;
    input.pipe(Some(b"k"), Some(&eight), -1)?;
    input.pipe(Some(b"k"), Some(&eight), 16)
}

#[test]
fn dead_letters_carry_raw_bytes_headers_and_where_they_came_from() {
    let driver = driver(&plan(), doors(Policy::DeadLetter));
    feed_bad(&driver.raw_input("numbers")).unwrap();
    let halves = driver.output::<Str, i64>("halves", Utf8, I64).read_all().unwrap();
    assert_eq!(halves, [("good".into(), 4, 10), ("k".into(), 4, 16)]);
    let dead = dead(&driver);
    let told: Vec<_> = dead
        .iter()
        .map(|d| {
            (
                header(d, "__streams.errors.offset"),
                header(d, "__streams.errors.reason"),
                header(d, "__streams.errors.node"),
            )
        })
        .collect();
    let expected = [
        ("1", "null_key", "read-numbers"),
        ("2", "null_value", "read-numbers"),
        ("3", "bad_key", "read-numbers"),
        ("4", "bad_value", "read-numbers"),
        ("5", "process", "halve"),
        ("6", "negative_timestamp", "read-numbers"),
    ];
    assert_eq!(told, expected);
    let bad_key = &dead[2];
    assert_eq!(bad_key.key.as_deref(), Some(&b"\xff"[..]));
    assert_eq!(bad_key.value.as_deref(), Some(&8i64.to_be_bytes()[..]));
    assert_eq!(bad_key.timestamp, 13);
    assert_eq!(bad_key.headers[0], ("device".to_owned(), Some(b"aircraft".to_vec())));
    assert_eq!(header(bad_key, "__streams.errors.topic"), "numbers");
    assert_eq!(header(bad_key, "__streams.errors.partition"), "0");
    assert_eq!(header(&dead[4], "__streams.errors.message"), "7 is odd");
    assert_eq!(driver.dropped(), 6);
}

#[test]
fn skipped_records_are_counted_by_node_and_reason() {
    let driver = driver(&plan(), doors(Policy::Skip));
    feed_bad(&driver.raw_input("numbers")).unwrap();
    assert_eq!(dead(&driver), []);
    let counted: Vec<_> = driver
        .counters()
        .into_iter()
        .map(|((node, counter), n)| format!("{node} {counter} {n}"))
        .collect();
    let expected = [
        "halve dropped.process 1",
        "read-numbers dropped.bad_key 1",
        "read-numbers dropped.bad_value 1",
        "read-numbers dropped.negative_timestamp 1",
        "read-numbers dropped.null_key 1",
        "read-numbers dropped.null_value 1",
    ];
    assert_eq!(counted, expected);
}

/// What goes in is in a window, or counted by node and reason: nothing is in both, nothing in neither.
#[test]
fn late_records_are_counted_beside_those_that_cannot_be_read() {
    let builder = StreamBuilder::new();
    let windows = TimeWindows::of_size(Duration::from_millis(10)).grace(Duration::from_millis(5));
    builder
        .stream::<Str, i64>("numbers", Consumed::with(Utf8, I64).named("read-numbers"))
        .group_by_key(Grouped::with(Utf8, I64))
        .windowed_by(windows)
        .named("per-window")
        .late_to("late", Produced::with(Utf8, I64))
        .count(Materialized::with(Utf8, I64).named("counts"))
        .to("counts", Produced::with(Utf8, I64));
    let plan = builder.build("late").unwrap();
    let driver = driver(&plan, doors(Policy::Skip));
    let input = driver.raw_input("numbers");
    let good = 8i64.to_be_bytes();
    // The window of 0 to 10 closes when time comes to 15.
    for timestamp in [3, 14, 9, 15, 9, 4, 12] {
        input.pipe(Some(b"k"), Some(&good), timestamp).unwrap();
    }
    input.pipe(Some(b"k"), Some(b"short"), 16).unwrap();
    let late = driver.output::<Str, i64>("late", Utf8, I64).read_all().unwrap();
    assert_eq!(late, [("k".into(), 8, 9), ("k".into(), 8, 4)]);
    let counted: Vec<_> = driver
        .counters()
        .into_iter()
        .filter(|((_, counter), _)| counter.starts_with("dropped."))
        .map(|((node, counter), n)| format!("{node} {counter} {n}"))
        .collect();
    assert_eq!(
        counted,
        ["per-window dropped.late 2", "read-numbers dropped.bad_value 1"]
    );
    let counts = driver.output::<Windowed<Str>, i64>("counts", WindowedKey::new(Utf8, &windows), I64);
    let rows = counts.read_all().unwrap().into_iter();
    let last: BTreeMap<i64, i64> = rows.map(|(key, count, _)| (key.window.start, count)).collect();
    assert_eq!(Vec::from_iter(last), [(0, 2), (10, 3)]);
    assert_eq!(driver.dropped(), 3);
}

#[test]
fn fail_stops_with_the_place_and_the_mend() {
    let driver = driver(&plan(), TaskConfig::default());
    let error = feed_bad(&driver.raw_input("numbers")).unwrap_err().to_string();
    assert_eq!(
        error,
        "bad record at numbers-0 offset 1: node read-numbers: null_key: is null, but the type has no null (use a nullable \
         codec) (set this node's policy to skip or dead-letter to go on without it)"
    );
}

#[test]
fn dead_letters_without_a_topic_are_refused_when_the_task_is_made() {
    let doors = Doors {
        read: Policy::DeadLetter,
        process: Policy::Fail,
        dead_letter_topic: None,
    };
    let config = TaskConfig { doors, future: None };
    let error = TestDriver::with(
        &plan(),
        Options {
            config,
            ..Options::default()
        },
    )
    .err()
    .unwrap();
    assert!(
        error.to_string().contains("errors.dead.letter.queue.topic.name"),
        "{error}"
    );
}

#[test]
fn a_record_from_the_future_is_dropped_clamped_or_dead_lettered() {
    for (action, halves, dead_count) in [
        (FutureAction::Drop, vec![("k".into(), 1, 5)], 0),
        (FutureAction::Clamp, vec![("k".into(), 2, 1_100), ("k".into(), 1, 5)], 0),
        (FutureAction::DeadLetter, vec![("k".into(), 1, 5)], 1),
    ] {
        let future = Some(FutureGuard { bound_ms: 100, action });
        let driver = driver(
            &plan(),
            TaskConfig {
                future,
                ..doors(Policy::Fail)
            },
        );
        let input = driver.input("numbers", Utf8, I64);
        input.pipe(&Str::from("k"), &4, 1_101).unwrap();
        input.pipe(&Str::from("k"), &2, 5).unwrap();
        assert_eq!(
            driver.output::<Str, i64>("halves", Utf8, I64).read_all().unwrap(),
            halves,
            "{action:?}"
        );
        assert_eq!(dead(&driver).len(), dead_count, "{action:?}");
        let counters = driver.counters();
        let key = ("read-numbers".to_owned(), "dropped.future_timestamp".to_owned());
        assert_eq!(counters.get(&key), Some(&1), "{action:?}");
    }
}

#[test]
fn a_parser_that_refuses_takes_back_what_it_emitted_and_event_times_pass_the_guard() {
    let builder = StreamBuilder::new();
    builder
        .raw_stream("raw", "raw")
        .parse(Parsed::named("parse").dead_letters_to("dead"), |message, emit| {
            for part in std::str::from_utf8(message.value().ok_or("no value")?)?.split(' ') {
                let time: i64 = part.parse()?;
                emit.event(time, time, time);
            }
            Ok(())
        })
        .to("events", Produced::with(I64, I64));
    let future = Some(FutureGuard {
        bound_ms: 0,
        action: FutureAction::Drop,
    });
    let driver = driver(
        &builder.build("parse").unwrap(),
        TaskConfig {
            future,
            ..TaskConfig::default()
        },
    );
    let input = driver.raw_input("raw");
    for value in [&b"1 2"[..], b"3 x", b"4 -4 5000 5", b"\xff", b""] {
        input.pipe(None, Some(value), 1).unwrap();
    }
    input.pipe(None, None, 1).unwrap();
    // The parser gives the time: a message without a timestamp of its own is as good as any.
    input.pipe(None, Some(b"7"), -1).unwrap();
    let events = driver.output::<i64, i64>("events", I64, I64).read_all().unwrap();
    assert_eq!(events.iter().map(|e| e.2).collect::<Vec<_>>(), [1, 2, 4, 5, 7]);
    let reasons: Vec<String> = dead(&driver)
        .iter()
        .map(|d| header(d, "__streams.errors.reason").to_owned())
        .collect();
    assert_eq!(reasons, ["parse", "negative_timestamp", "parse", "parse", "parse"]);
    let counters = driver.counters();
    assert_eq!(
        counters.get(&("parse".to_owned(), "dropped.future_timestamp".to_owned())),
        Some(&1)
    );
}

#[test]
fn headers_travel_with_the_record_they_came_with() {
    let builder = StreamBuilder::new();
    let numbers = |topic: &str| builder.stream::<Str, i64>(topic, Consumed::with(Utf8, I64));
    numbers("a")
        .flat_map_values(|_, v| [v, -v])
        .merge(&numbers("b"))
        .to("out", Produced::with(Utf8, I64));
    let plan = builder.build("headers").unwrap();
    let driver = TestDriver::with(
        &plan,
        Options {
            batch: 3,
            ..Options::default()
        },
    )
    .unwrap();
    let (a, b) = (driver.input("a", Utf8, I64), driver.input("b", Utf8, I64));
    let key = Str::from("k");
    a.pipe_with_headers(&key, &1, 1, &[("n", Some(b"one")), ("null", None)])
        .unwrap();
    b.pipe(&key, &2, 2).unwrap();
    b.pipe_with_headers(&key, &3, 3, &[("n", Some(b"three"))]).unwrap();
    let output = driver.output::<Str, i64>("out", Utf8, I64);
    let read: Vec<_> = std::iter::from_fn(|| output.read().unwrap())
        .map(|r| (r.value, r.headers))
        .collect();
    let one = vec![("n".to_owned(), Some(b"one".to_vec())), ("null".to_owned(), None)];
    let three = vec![("n".to_owned(), Some(b"three".to_vec()))];
    assert_eq!(read, [(1, one.clone()), (-1, one), (2, vec![]), (3, three)]);
}
