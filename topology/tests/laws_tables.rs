//! Law: tables and aggregates without windows give what plain maps give: one row for each changed key at each commit, deleted
//! keys as nulls, however the input is cut, whenever it is committed, evicted, restarted or rolled back.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::expect_used)] // a test may stop at the first surprise

use std::collections::{BTreeMap, BTreeSet};

use millstream_state::codec::{I64, Nullable};
use millstream_topology::{
    Aggregate, StreamBuilder, TestDriver,
    driver::{Options, Restart},
    options::{Consumed, Grouped, Materialized, Produced},
};
use proptest::prelude::*;

/// A sum that is forgotten when it is a multiple of seven.
struct Sum;

impl Aggregate<i64, i64> for Sum {
    type Acc = i64;

    fn init(&self) -> i64 {
        0
    }

    fn add(&self, acc: &mut i64, _key: &i64, value: &i64) {
        *acc += value;
    }

    fn keep(&self, acc: &i64) -> bool {
        acc % 7 != 0
    }
}

fn driver(batch: usize) -> TestDriver {
    let b = StreamBuilder::new();
    let (store, produced) = (
        |name| Materialized::with(I64, I64).named(name),
        || Produced::with(I64, I64),
    );
    let grouped = || Grouped::with(I64, I64);
    b.table::<i64, i64>("table", Consumed::with(I64, I64), store("table"))
        .to("table-out", produced());
    let stream = b.stream::<i64, i64>("stream", Consumed::with(I64, I64));
    stream
        .group_by_key(grouped())
        .count(store("counts"))
        .to("counts-out", produced());
    stream
        .group_by_key(grouped())
        .aggregate(Sum, store("sums"))
        .to("sums-out", produced());
    // Through a repartition topic: a second sub-topology.
    let latest = stream
        .group_by(|_, value| value % 3, grouped())
        .reduce(|a, b| a * 2 + b, store("reduced"));
    latest.to_stream().non_null().to("reduced-out", produced());
    let options = Options {
        batch,
        commit_every: usize::MAX,
        ..Options::default()
    };
    TestDriver::with(&b.build("law").unwrap(), options).unwrap()
}

#[derive(Debug, Clone)]
enum Step {
    Stream(i64, i64),
    Table(Option<i64>, Option<i64>),
    Commit,
    Evict,
    Restart(bool),
    Crash(bool),
}

fn any_step() -> impl Strategy<Value = Step> {
    let key = proptest::option::weighted(0.9, 0i64..4);
    prop_oneof![
        8 => (0i64..4, 0i64..20).prop_map(|(k, v)| Step::Stream(k, v)),
        6 => (key, proptest::option::weighted(0.7, 0i64..20)).prop_map(|(k, v)| Step::Table(k, v)),
        3 => Just(Step::Commit),
        1 => Just(Step::Evict),
        1 => any::<bool>().prop_map(Step::Restart),
        1 => any::<bool>().prop_map(Step::Crash),
    ]
}

/// Value and timestamp by key, and the keys that changed since the last commit with the time of the change.
#[derive(Default, Clone)]
struct Plain {
    rows: BTreeMap<i64, (i64, i64)>,
    changed: BTreeMap<i64, i64>,
    told: BTreeSet<i64>,
    out: Vec<(i64, Option<i64>, i64)>,
}

impl Plain {
    fn set(&mut self, key: i64, value: Option<(i64, i64)>, ts: i64) {
        if value.is_some() || self.rows.contains_key(&key) {
            self.changed.insert(key, ts);
        }
        match value {
            Some(value) => self.rows.insert(key, value),
            None => self.rows.remove(&key),
        };
    }

    fn fold(&mut self, key: i64, ts: i64, f: impl FnOnce(Option<i64>) -> Option<i64>) {
        let old = self.rows.get(&key).copied();
        let newest = old.map_or(ts, |(_, old)| old.max(ts));
        self.set(key, f(old.map(|o| o.0)).map(|value| (value, newest)), ts);
    }

    fn commit(&mut self) {
        for (key, ts) in std::mem::take(&mut self.changed) {
            let row = self.rows.get(&key);
            // A key that came and went in between is nobody's business.
            if row.is_some() || self.told.contains(&key) {
                self.out.push((key, row.map(|r| r.0), row.map_or(ts, |r| r.1)));
            }
        }
        self.told = self.rows.keys().copied().collect();
    }
}

const TABLES: [&str; 4] = ["table", "counts", "sums", "reduced"];

fn record(model: &mut [Plain; 4], key: i64, value: i64, ts: i64) {
    let [_, counts, sums, reduced] = model;
    counts.fold(key, ts, |n| Some(n.unwrap_or(0) + 1));
    sums.fold(key, ts, |sum| Some(sum.unwrap_or(0) + value).filter(|sum| sum % 7 != 0));
    reduced.fold(value % 3, ts, |old| Some(old.map_or(value, |old| old * 2 + value)));
}

fn output(driver: &TestDriver, table: &str) -> Vec<(i64, Option<i64>, i64)> {
    driver
        .output(&format!("{table}-out"), I64, Nullable(I64))
        .read_all()
        .unwrap()
}

/// Rows of one commit come in the order of first change; the model has them by key.
fn by_commit(rows: &[(i64, Option<i64>, i64)], commits: &BTreeSet<usize>) -> Vec<(i64, Option<i64>, i64)> {
    let mut rows = rows.to_vec();
    let mut from = 0;
    for &to in commits {
        let to = to.min(rows.len());
        rows[from..to].sort_unstable();
        from = to;
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(300), ..ProptestConfig::default() })]

    #[test]
    fn tables_equal_plain_maps(batch in 1usize..9, steps in proptest::collection::vec(any_step(), 1..120)) {
        let driver = driver(batch);
        let stream = driver.input("stream", I64, I64);
        let table = driver.input("table", Nullable(I64), Nullable(I64));
        let mut model: [Plain; 4] = Default::default();
        let (mut committed, mut commits) = (model.clone(), [const { BTreeSet::new() }; 4]);
        for (ts, step) in (1i64..).zip(steps.iter().chain([&Step::Commit])) {
            match *step {
                Step::Stream(key, value) => {
                    // Out of order now and then.
                    let ts = if value == 0 { ts / 2 } else { ts };
                    stream.pipe(&key, &value, ts).unwrap();
                    record(&mut model, key, value, ts);
                    continue;
                }
                Step::Table(key, value) => {
                    table.pipe(&key, &value, ts).unwrap();
                    if let Some(key) = key {
                        model[0].set(key, value.map(|v| (v, ts)), ts);
                    }
                    continue;
                }
                Step::Evict => {
                    (0..3).for_each(|_| { driver.evict(usize::MAX); });
                    continue;
                }
                Step::Crash(engine) => {
                    driver.crash(from(engine)).unwrap();
                    model = committed.clone();
                    continue;
                }
                Step::Commit => driver.commit().unwrap(),
                Step::Restart(engine) => driver.restart(from(engine)).unwrap(),
            }
            for ((name, plain), commits) in TABLES.iter().zip(&mut model).zip(&mut commits) {
                plain.commit();
                commits.insert(plain.out.len());
                prop_assert_eq!(by_commit(&output(&driver, name), commits), plain.out.clone(), "{}", name);
                let rows: Vec<(i64, i64, i64)> = driver.key_values(name, I64, I64).unwrap();
                let rows: BTreeMap<i64, (i64, i64)> = rows.into_iter().map(|(k, v, ts)| (k, (v, ts))).collect();
                prop_assert_eq!(&rows, &plain.rows, "{}", name);
            }
            committed = model.clone();
        }
    }
}

fn from(engine: bool) -> Restart {
    if engine {
        Restart::FromEngine
    } else {
        Restart::FromChangelog
    }
}

#[test]
fn null_keys_of_a_table_are_counted() {
    let driver = driver(1);
    driver.input("table", Nullable(I64), I64).pipe(&None, &1, 1).unwrap();
    assert_eq!(driver.dropped(), 1);
    assert!(driver.topics().iter().all(|topic| topic != "table-out"));
}
