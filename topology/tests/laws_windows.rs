//! Law: windows by slices give what Kafka Streams' rule gives for each window by itself: the same rows, timestamps and late
//! records, on update and on window close, however the input is cut into batches, whenever it is committed, evicted,
//! restarted or rolled back.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::expect_used)] // a test may stop at the first surprise

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millstream_state::codec::I64;
use millstream_topology::{
    EmitStrategy, StreamBuilder, TestDriver, TimeWindows, WindowedKey,
    aggregate::Fold,
    driver::{Options, Restart},
    operators::late::late_headers,
    options::{Consumed, Grouped, Materialized, Produced},
};
use proptest::prelude::*;

/// Key, window start, result, timestamp.
type Emitted = (i64, i64, i64, i64);
/// Key, value, timestamp, start of the window missed, stream time.
type Late = (i64, i64, i64, i64, i64);

/// One result per key and window, and nothing clever.
#[derive(Clone)]
struct PerWindow {
    windows: TimeWindows,
    emit: EmitStrategy,
    merges: bool,
    results: BTreeMap<(i64, i64), (i64, i64)>,
    changed: BTreeSet<(i64, i64)>,
    stream_time: i64,
    closed: i64,
    emitted: Vec<Emitted>,
    late: Vec<Late>,
}

impl PerWindow {
    fn open(&self, start: i64) -> bool {
        start + self.windows.size_ms() > self.stream_time.saturating_sub(self.windows.grace_ms())
            && start >= self.closed
    }

    fn add(&mut self, key: i64, value: i64, ts: i64) {
        self.stream_time = self.stream_time.max(ts);
        let (size, advance) = (self.windows.size_ms(), self.windows.advance_ms());
        for start in (0..=ts).filter(|s| s % advance == 0 && ts < s + size) {
            if !self.open(start) {
                self.late.push((key, value, ts, start, self.stream_time));
                continue;
            }
            let merges = self.merges;
            let result = self.results.entry((start, key)).or_insert((0, ts));
            *result = (fold(merges, result.0, value), result.1.max(ts));
            self.changed.insert((start, key));
        }
        if self.emit == EmitStrategy::OnWindowClose {
            self.close(|this, start| !this.open(start));
        }
    }

    fn close(&mut self, closes: impl Fn(&Self, i64) -> bool) -> Option<i64> {
        let due: Vec<_> = self
            .results
            .keys()
            .copied()
            .filter(|(start, _)| closes(self, *start))
            .collect();
        for (start, key) in &due {
            if let Some((value, ts)) = self.results.remove(&(*start, *key)) {
                self.emitted.push((*key, *start, value, ts));
            }
        }
        due.last().map(|(start, _)| *start)
    }

    fn finish(&mut self) {
        if self.emit == EmitStrategy::OnWindowClose
            && let Some(last) = self.close(|_, _| true)
        {
            self.closed = self.closed.max(last + self.windows.advance_ms());
        }
        self.commit();
    }

    fn commit(&mut self) {
        let changed = std::mem::take(&mut self.changed);
        if self.emit == EmitStrategy::OnUpdate {
            let row = |(start, key): (i64, i64)| {
                let (value, ts) = self.results[&(start, key)];
                (key, start, value, ts)
            };
            self.emitted.extend(changed.into_iter().map(row));
        }
    }
}

/// A sum can be merged; the other depends on the order of arrival, so that its windows must be kept one by one.
fn fold(merges: bool, acc: i64, value: i64) -> i64 {
    if merges {
        acc + value
    } else {
        acc.wrapping_mul(31).wrapping_add(value)
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Key, how far time moves, how far this record lags behind, value.
    Record(i64, i64, i64, i64),
    Commit,
    Evict,
    Restart(bool),
    Crash(bool),
    Finish,
}

fn any_step() -> impl Strategy<Value = Step> {
    let lag = prop_oneof![4 => Just(0), 1 => 0i64..200];
    let record = (0i64..4, prop_oneof![3 => 0i64..4, 1 => 0i64..60], lag, 1i64..1000);
    prop_oneof![
        30 => record.prop_map(|(key, step, lag, value)| Step::Record(key, step, lag, value)),
        4 => Just(Step::Commit),
        3 => Just(Step::Evict),
        1 => any::<bool>().prop_map(Step::Restart),
        1 => any::<bool>().prop_map(Step::Crash),
        1 => prop_oneof![3 => Just(Step::Commit), 1 => Just(Step::Finish)],
    ]
}

fn any_windows() -> impl Strategy<Value = TimeWindows> {
    let size = prop_oneof![Just(1), 2i64..12, 12i64..70];
    let ms = |n: i64| Duration::from_millis(n as u64);
    (
        prop_oneof![Just(1i64), Just(2), Just(5), Just(7), Just(10)],
        size,
        any::<bool>(),
        prop_oneof![Just(0i64), 0i64..60],
    )
        .prop_map(move |(advance, more, aligned, grace)| {
            let size = if aligned { advance * more } else { advance + more - 1 };
            TimeWindows::of_size(ms(size)).advance_by(ms(advance)).grace(ms(grace))
        })
}

fn topology(windows: TimeWindows, emit: EmitStrategy, merges: bool, batch: usize) -> TestDriver {
    let builder = StreamBuilder::new();
    let windowed = builder
        .stream::<i64, i64>("in", Consumed::with(I64, I64))
        .group_by_key(Grouped::with(I64, I64))
        .windowed_by(windows)
        .emit(emit)
        .late_to("late", Produced::with(I64, I64));
    let add = move |acc: &mut i64, _: &i64, value: &i64| *acc = fold(merges, *acc, *value);
    let store = Materialized::with(I64, I64).named("windows");
    let table = if merges {
        windowed.aggregate(Fold::new(|| 0, add).merging(|acc, other| *acc += other), store)
    } else {
        windowed.aggregate(Fold::new(|| 0, add), store)
    };
    table.to("out", Produced::with(I64, I64));
    let options = Options {
        batch,
        commit_every: usize::MAX,
        ..Options::default()
    };
    TestDriver::with(&builder.build("law").unwrap(), options).unwrap()
}

fn emitted(driver: &TestDriver, windows: &TimeWindows) -> Vec<Emitted> {
    let rows = driver
        .output("out", WindowedKey::new(I64, windows), I64)
        .read_all()
        .unwrap();
    rows.into_iter()
        .map(|(key, value, ts)| (key.key, key.window.start, value, ts))
        .collect()
}

fn late(driver: &TestDriver) -> Vec<Late> {
    let output = driver.output::<i64, i64>("late", I64, I64);
    let number = |headers: &[(String, Option<Vec<u8>>)], name: &str| -> i64 {
        let value = headers
            .iter()
            .find(|(n, _)| n == name)
            .and_then(|(_, v)| v.clone())
            .unwrap();
        String::from_utf8(value).unwrap().parse().unwrap()
    };
    let mut all = Vec::new();
    while let Some(r) = output.read().unwrap() {
        let (start, time) = (
            number(&r.headers, late_headers::WINDOW_START),
            number(&r.headers, late_headers::STREAM_TIME),
        );
        assert_eq!(number(&r.headers, late_headers::LATENESS), time - r.timestamp);
        all.push((r.key, r.value, r.timestamp, start, time));
    }
    all
}

fn from(engine: bool) -> Restart {
    if engine {
        Restart::FromEngine
    } else {
        Restart::FromChangelog
    }
}

fn check(
    windows: TimeWindows,
    emit: EmitStrategy,
    merges: bool,
    batch: usize,
    steps: &[Step],
) -> Result<(), TestCaseError> {
    let driver = topology(windows, emit, merges, batch);
    let input = driver.input("in", I64, I64);
    let mut model = PerWindow {
        windows,
        emit,
        merges,
        results: BTreeMap::new(),
        changed: BTreeSet::new(),
        stream_time: i64::MIN,
        closed: 0,
        emitted: Vec::new(),
        late: Vec::new(),
    };
    let (mut now, mut committed) = (0, model.clone());
    let mut compared = 0;
    for step in steps.iter().chain([&Step::Finish]) {
        match *step {
            Step::Record(key, step, lag, value) => {
                now += step;
                let ts = (now - lag).max(0);
                input.pipe(&key, &value, ts).unwrap();
                model.add(key, value, ts);
                continue;
            }
            Step::Evict => {
                // The hand of the clock goes round twice before it takes what was used.
                for _ in 0..3 {
                    driver.evict(usize::MAX);
                }
                continue;
            }
            Step::Crash(engine) => {
                driver.crash(from(engine)).unwrap();
                model = committed.clone();
                continue;
            }
            Step::Commit => driver.commit().unwrap(),
            Step::Restart(engine) => driver.restart(from(engine)).unwrap(),
            Step::Finish => driver.finish().unwrap(),
        }
        if let Step::Finish = step {
            model.finish()
        } else {
            model.commit()
        }
        let mut rows = emitted(&driver, &windows);
        if emit == EmitStrategy::OnUpdate {
            // Within a commit, keys come in the order of their first change; the model has windows first.
            rows[..compared].sort_unstable();
            rows[compared..].sort_unstable();
            let (before, now) = model.emitted.split_at_mut(compared.min(rows.len()));
            before.sort_unstable();
            now.sort_unstable();
            compared = rows.len();
        }
        prop_assert_eq!(&rows, &model.emitted);
        prop_assert_eq!(late(&driver), model.late.clone());
        committed = model.clone();
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(600), ..ProptestConfig::default() })]

    #[test]
    fn slices_equal_windows_one_by_one(
        windows in any_windows(),
        final_only in any::<bool>(),
        merges in prop_oneof![3 => Just(true), 1 => Just(false)],
        batch in 1usize..9,
        steps in proptest::collection::vec(any_step(), 1..120),
    ) {
        let emit = if final_only { EmitStrategy::OnWindowClose } else { EmitStrategy::OnUpdate };
        check(windows, emit, merges, batch, &steps)?;
    }
}

/// Without a guard against the future, a record from the end of time closes everything, and nothing breaks.
#[test]
fn the_end_of_time() {
    let hop = TimeWindows::of_size(Duration::from_millis(60)).advance_by(Duration::from_millis(7));
    for emit in [EmitStrategy::OnUpdate, EmitStrategy::OnWindowClose] {
        let driver = topology(hop, emit, true, 1);
        let input = driver.input("in", I64, I64);
        for ts in [100, i64::MAX, i64::MAX - 1, 100] {
            input.pipe(&1, &1, ts).unwrap();
        }
        driver.finish().unwrap();
        let early = emitted(&driver, &hop).into_iter().filter(|row| row.1 <= 100);
        assert!(early.count() >= 8, "{emit:?}");
        assert_eq!(late(&driver).len(), 9, "{emit:?}");
    }
}
