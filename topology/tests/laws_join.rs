//! Law: a stream-table join gives what one record at a time gives, however the input is cut into batches: for two joins on one
//! table, for one topic on both sides (a diamond), and for a table that is an aggregate of the stream itself.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::expect_used)] // a test may stop at the first surprise

use std::collections::BTreeMap;

use millstream_state::codec::{I64, Nullable};
use millstream_topology::{
    Policy, StreamBuilder, TestDriver,
    driver::{Options, Restart},
    options::{Consumed, Grouped, Joined, Materialized, Produced},
};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Stream(i64, i64),
    Table(i64, Option<i64>),
    Commit,
    Evict,
    Restart(bool),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0i64..4, 0i64..1000).prop_map(|(k, v)| Step::Stream(k, v)),
        6 => (0i64..4, proptest::option::weighted(0.8, 0i64..1000)).prop_map(|(k, v)| Step::Table(k, v)),
        1 => Just(Step::Commit),
        1 => Just(Step::Evict),
        1 => any::<bool>().prop_map(Step::Restart),
    ]
}

const OUTPUTS: [&str; 4] = ["inner", "left", "diamond", "counted"];

fn driver(batch: usize) -> TestDriver {
    let b = StreamBuilder::new();
    let (kv, store) = (
        || Consumed::with(I64, I64).on_bad(Policy::Skip),
        |name| Materialized::with(I64, I64).named(name),
    );
    let (joined, produced) = (|| Joined::with(I64, I64), || Produced::with(I64, I64));
    let table = b.table::<i64, i64>("table", kv(), store("table"));
    let stream = b.stream::<i64, i64>("stream", kv());
    let both = |_: &i64, v: i64, t: &i64| v * 10_000 + t;
    stream.join(&table, joined(), both).to("inner", produced());
    let some = |_: &i64, v: i64, t: Option<&i64>| v * 10_000 + t.copied().unwrap_or(-1);
    stream.left_join(&table, joined(), some).to("left", produced());
    b.stream::<i64, i64>("table", kv())
        .join(&table, joined(), both)
        .to("diamond", produced());
    let counts = stream.group_by_key(Grouped::with(I64, I64)).count(store("counts"));
    stream.join(&counts, joined(), both).to("counted", produced());
    let options = Options {
        batch,
        commit_every: usize::MAX,
        ..Options::default()
    };
    TestDriver::with(&b.build("law").unwrap(), options).unwrap()
}

/// One record at a time, in plain maps.
#[derive(Default)]
struct OneByOne {
    table: BTreeMap<i64, i64>,
    counts: BTreeMap<i64, i64>,
    out: [Vec<(i64, i64, i64)>; 4],
}

impl OneByOne {
    fn stream(&mut self, key: i64, value: i64, ts: i64) {
        let found = self.table.get(&key).copied();
        self.out[0].extend(found.map(|t| (key, value * 10_000 + t, ts)));
        self.out[1].push((key, value * 10_000 + found.unwrap_or(-1), ts));
        let count = self.counts.entry(key).or_default();
        *count += 1;
        self.out[3].push((key, value * 10_000 + *count, ts));
    }

    fn table(&mut self, key: i64, value: Option<i64>, ts: i64) {
        match value {
            Some(value) => {
                self.table.insert(key, value);
                // The stream side of the diamond sees the change its own record made.
                self.out[2].push((key, value * 10_000 + value, ts));
            }
            None => {
                self.table.remove(&key);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(300), ..ProptestConfig::default() })]

    #[test]
    fn any_cut_equals_one_by_one(batch in 1usize..40, steps in proptest::collection::vec(any_step(), 1..150)) {
        let driver = driver(batch);
        let stream = driver.input("stream", I64, I64);
        let table = driver.input("table", I64, Nullable(I64));
        let mut model = OneByOne::default();
        for (ts, step) in (1i64..).zip(&steps) {
            match *step {
                Step::Stream(key, value) => {
                    stream.pipe(&key, &value, ts).unwrap();
                    model.stream(key, value, ts);
                }
                Step::Table(key, value) => {
                    table.pipe(&key, &value, ts).unwrap();
                    model.table(key, value, ts);
                }
                Step::Commit => driver.commit().unwrap(),
                Step::Evict => (0..3).for_each(|_| {
                    driver.evict(usize::MAX);
                }),
                Step::Restart(true) => driver.restart(Restart::FromEngine).unwrap(),
                Step::Restart(false) => driver.restart(Restart::FromChangelog).unwrap(),
            }
        }
        driver.commit().unwrap();
        for (name, expected) in OUTPUTS.iter().zip(&model.out) {
            prop_assert_eq!(&driver.output::<i64, i64>(name, I64, I64).read_all().unwrap(), expected, "{}", name);
        }
        let rows = driver.key_values::<i64, i64>("table", I64, I64).unwrap();
        prop_assert_eq!(rows.iter().map(|r| (r.0, r.1)).collect::<BTreeMap<_, _>>(), model.table);
    }
}

/// Kafka Streams' rules: a null value is dropped and counted; a null key as well by an inner join, while a left join joins it
/// with nothing.
#[test]
fn null_keys_and_values() {
    let b = StreamBuilder::new();
    let table = b.table::<i64, i64>(
        "table",
        Consumed::with(I64, I64),
        Materialized::with(I64, I64).named("table"),
    );
    let stream = b.stream::<Option<i64>, Option<i64>>("stream", Consumed::with(Nullable(I64), Nullable(I64)));
    let joined = || Joined::with(Nullable(I64), Nullable(I64));
    let produced = || Produced::with(Nullable(I64), I64);
    stream
        .join(&table, joined().named("inner"), |_, v, t| v.unwrap() + t)
        .to("inner-out", produced());
    let or_zero = |_: &Option<i64>, v: Option<i64>, t: Option<&i64>| v.unwrap() + t.unwrap_or(&0);
    stream
        .left_join(&table, joined().named("left"), or_zero)
        .to("left-out", produced());
    let driver = TestDriver::new(&b.build("nulls").unwrap()).unwrap();
    driver.input("table", I64, I64).pipe(&1, &100, 0).unwrap();
    let input = driver.input("stream", Nullable(I64), Nullable(I64));
    for (key, value) in [
        (Some(1), Some(1)),
        (None, Some(2)),
        (Some(1), None),
        (None, None),
        (Some(2), Some(3)),
    ] {
        input.pipe(&key, &value, 1).unwrap();
    }
    let out = |topic: &str| {
        driver
            .output::<Option<i64>, i64>(topic, Nullable(I64), I64)
            .read_all()
            .unwrap()
    };
    assert_eq!(out("inner-out"), [(Some(1), 101, 1)]);
    assert_eq!(out("left-out"), [(Some(1), 101, 1), (None, 2, 1), (Some(2), 3, 1)]);
    let counters = driver.counters();
    let count = |node: &str, name: &str| counters.get(&(node.to_owned(), name.to_owned())).copied();
    assert_eq!(count("inner", "dropped.unusable_key"), Some(1));
    assert_eq!(count("inner", "dropped.unusable_value"), Some(2));
    assert_eq!(count("left", "dropped.unusable_key"), None);
    assert_eq!(count("left", "dropped.unusable_value"), Some(2));
}
