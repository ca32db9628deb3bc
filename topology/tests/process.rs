//! Custom operators: stores that survive restarts and rollbacks, both kinds of timers, the second door for bad data.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::expect_used)] // a test may stop at the first surprise

use std::time::Duration;

use millstream_state::codec::{I64, Utf8};
use millstream_topology::{
    Clock, Doors, Plan, Policy, Row, StreamBuilder, TaskConfig, TaskError, TestDriver,
    driver::{Options, Restart},
    operators::process::{OpenKeyValue, OpenWindow, Process, ProcessCtx, ProcessError},
    options::{Consumed, Materialized, Produced},
};

type Cx<'a, 'b> = ProcessCtx<'a, 'b, i64, i64>;
type Done = Result<(), ProcessError>;

/// Keeps a total per key and a count per key and ten milliseconds; refuses negative values.
struct Meter {
    totals: OpenKeyValue<i64, i64>,
    counts: OpenWindow<i64, i64>,
}

const FROM_TIMER: i64 = -1;

impl Process<i64, i64, i64, i64> for Meter {
    fn start(&mut self, cx: &mut Cx<'_, '_>) -> Done {
        cx.every(Clock::Stream, Duration::from_millis(100), 1);
        cx.every(Clock::Wall, Duration::from_millis(1000), 2);
        Ok(())
    }

    fn process(&mut self, row: Row<i64, i64>, cx: &mut Cx<'_, '_>) -> Done {
        cx.forward(row.key, 0);
        if row.value < 0 {
            return Err("a negative reading".into());
        }
        let start = row.timestamp / 10 * 10;
        self.counts
            .update(&row.key, start, cx, |n| *n = Some(n.unwrap_or(0) + 1))?;
        let total = self
            .totals
            .update(&row.key, cx, |total| *total.insert(total.unwrap_or(0) + row.value))?;
        let recent: i64 = self
            .counts
            .fetch(&row.key, start - 20..=start, cx)?
            .iter()
            .map(|(_, n)| n)
            .sum();
        cx.forward_at(row.key, total * 1000 + recent, row.timestamp + 1);
        if total > 100 {
            self.totals.delete(&row.key, cx)?;
            cx.request_commit();
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: u32, cx: &mut Cx<'_, '_>) -> Done {
        let mut keys = 0;
        self.totals.all(cx, |_, _| {
            keys += 1;
            true
        })?;
        cx.forward(FROM_TIMER, i64::from(timer) * 1000 + keys);
        if timer == 2 {
            cx.stop(Clock::Wall, 2);
        }
        Ok(())
    }

    fn finish(&mut self, cx: &mut Cx<'_, '_>) -> Done {
        cx.forward(FROM_TIMER, -1);
        Ok(())
    }
}

fn plan() -> Plan {
    let b = StreamBuilder::new();
    let totals = b.key_value_store(Materialized::with(I64, I64).named("totals"));
    let counts = b.window_store(Materialized::with(I64, I64).named("counts").retention_ms(50));
    b.stream::<i64, i64>("in", Consumed::with(I64, I64))
        .process("meter", (totals, counts), |(totals, counts)| Meter { totals, counts })
        .to("out", Produced::with(I64, I64));
    b.build("process").unwrap()
}

fn driver(commit_every: usize) -> TestDriver {
    let doors = Doors {
        process: Policy::DeadLetterTo("bad".into()),
        ..Doors::default()
    };
    let config = TaskConfig {
        doors,
        ..TaskConfig::default()
    };
    TestDriver::with(
        &plan(),
        Options {
            commit_every,
            config,
            ..Options::default()
        },
    )
    .unwrap()
}

fn results(driver: &TestDriver) -> Vec<(i64, i64, i64)> {
    let all = driver.output("out", I64, I64).read_all().unwrap();
    all.into_iter().filter(|(_, value, _)| *value != 0).collect()
}

#[test]
fn stores_timers_and_timestamps() {
    let driver = driver(1);
    let input = driver.input("in", I64, I64);
    input.pipe(&7, &10, 5).unwrap();
    // The first stream-time timer comes with the first record, the next at a multiple of the period.
    assert_eq!(results(&driver), [(7, 10_001, 6), (FROM_TIMER, 1001, 5)]);
    input.pipe(&7, &20, 15).unwrap();
    input.pipe(&8, &90, 99).unwrap();
    assert_eq!(results(&driver)[2..], [(7, 30_002, 16), (8, 90_001, 100)]);
    // Over 100: the total is forgotten; old counts are out of reach.
    input.pipe(&8, &20, 130).unwrap();
    assert_eq!(results(&driver)[4..], [(8, 110_001, 131), (FROM_TIMER, 1001, 130)]);
    driver.advance(2500).unwrap();
    driver.advance(2500).unwrap();
    driver.finish().unwrap();
    assert_eq!(
        results(&driver)[6..],
        [(FROM_TIMER, 2001, 2500), (FROM_TIMER, -1, 5000)]
    );
}

#[test]
fn stores_survive_restarts_and_follow_rollbacks() {
    let driver = driver(usize::MAX);
    let input = driver.input("in", I64, I64);
    input.pipe(&7, &10, 5).unwrap();
    driver.restart(Restart::FromChangelog).unwrap();
    input.pipe(&7, &1, 6).unwrap();
    driver.crash(Restart::FromEngine).unwrap();
    (0..3).for_each(|_| {
        driver.evict(usize::MAX);
    });
    input.pipe(&7, &2, 7).unwrap();
    driver.commit().unwrap();
    let last = results(&driver).into_iter().rfind(|row| row.0 == 7);
    assert_eq!(last, Some((7, 12_002, 8)));
    // Rows older than the retention leave the window store with a commit.
    input.pipe(&9, &1, 500).unwrap();
    driver.commit().unwrap();
    assert_eq!(
        driver.slices::<i64, i64>("counts", I64, I64).unwrap(),
        [(500, 9, 1, 500)]
    );
}

#[test]
fn a_refused_record_goes_to_the_second_door_without_its_output() {
    let driver = driver(1);
    driver.input("in", I64, I64).pipe(&7, &-1, 5).unwrap();
    assert!(
        driver
            .output::<i64, i64>("out", I64, I64)
            .read_all()
            .unwrap()
            .iter()
            .all(|row| row.0 == FROM_TIMER)
    );
    let dead = driver.output::<i64, i64>("bad", I64, I64).read().unwrap().unwrap();
    assert_eq!((dead.key, dead.value), (7, -1));
    assert!(
        dead.headers
            .iter()
            .any(|(_, value)| value.as_deref() == Some(b"a negative reading"))
    );
    let strict = TestDriver::new(&plan()).unwrap();
    let error = strict.input("in", I64, I64).pipe(&7, &-1, 5).unwrap_err();
    assert!(matches!(error, TaskError::BadRecord { .. }), "{error}");
}

#[test]
fn a_window_store_needs_a_retention() {
    let b = StreamBuilder::new();
    let store = b.window_store(Materialized::<String, i64>::with(Utf8, I64).named("endless"));
    struct Nothing;
    impl Process<i64, i64, i64, i64> for Nothing {
        fn process(&mut self, _row: Row<i64, i64>, _cx: &mut Cx<'_, '_>) -> Done {
            Ok(())
        }
    }
    b.stream::<i64, i64>("in", Consumed::with(I64, I64))
        .process("p", store, |_| Nothing);
    let problems = b.build("process").err().unwrap().to_string();
    assert!(
        problems.contains("endless") && problems.contains("retention"),
        "{problems}"
    );
}
