//! Timers, notes, flush and finish, seen by an operator of one's own; and topologies of more than 64 nodes.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may stop at the first surprise

use std::sync::{Arc, Mutex};

use millstream_state::{StateError, codec::I64};
use millstream_topology::{
    Batch, Clock, Ctx, Edge, Flushed, Node, Plan, Row, StreamBuilder, TestDriver, Timer, Wiring,
    driver::{Options, Restart},
    error::Result,
    graph::NodeSpec,
    options::{Consumed, Produced},
    wiring::{Inbox, Outlet},
};
use proptest::prelude::*;

type Log = Arc<Mutex<Vec<String>>>;

/// Emits the number of rows it has seen whenever 10 ms of stream time or 100 ms of wall-clock time went by.
struct Ticker {
    input: Inbox<Batch<i64, i64>>,
    out: Outlet<Batch<i64, i64>>,
    seen: i64,
    log: Log,
}

fn ticker(w: &mut Wiring<'_>, input: Edge<Batch<i64, i64>>, out: Edge<Batch<i64, i64>>, log: Log) -> Result<Ticker> {
    Ok(Ticker {
        input: w.input(input),
        out: w.output(out),
        seen: 0,
        log,
    })
}

impl Node for Ticker {
    fn start(&mut self, cx: &mut Ctx<'_>) -> Result<()> {
        cx.schedule(Clock::Stream, 10, 1);
        cx.schedule(Clock::Wall, cx.now() + 100, 2);
        Ok(())
    }

    fn run(&mut self, _: &mut Ctx<'_>) -> Result<()> {
        while let Some(batch) = self.input.take() {
            self.seen += batch.rows.len() as i64;
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, cx: &mut Ctx<'_>) -> Result<()> {
        let every = if timer.clock == Clock::Stream { 10 } else { 100 };
        cx.schedule(
            timer.clock,
            timer.now - timer.now.rem_euclid(every) + every,
            timer.token,
        );
        self.out.send(Batch::from_state(vec![Row::from_state(
            i64::from(timer.token),
            self.seen,
            timer.now,
        )]));
        Ok(())
    }

    fn flush(&mut self, _: &mut Ctx<'_>) -> Result<Flushed> {
        self.log.lock().unwrap().push(format!("flush {}", self.seen));
        Ok(Flushed::All)
    }

    fn finish(&mut self, _: &mut Ctx<'_>) -> Result<()> {
        self.out.send(Batch::from_state(vec![Row::from_state(0, self.seen, 0)]));
        Ok(())
    }

    fn note(&self) -> Option<Vec<u8>> {
        Some(self.seen.to_be_bytes().to_vec())
    }

    fn restore_note(&mut self, note: &[u8]) -> Result<(), StateError> {
        let bytes = note
            .try_into()
            .map_err(|_| StateError::Corrupt("a note of 8 bytes was expected".to_owned()))?;
        self.seen = i64::from_be_bytes(bytes);
        Ok(())
    }
}

fn plan(log: Log) -> Plan {
    let builder = StreamBuilder::new();
    let stream = builder.stream::<i64, i64>("in", Consumed::with(I64, I64));
    let input = stream.edge();
    let spec = NodeSpec::new("ticker", [input.id()]);
    let edge = builder.add_node(spec, move |w, out| ticker(w, input, out, log.clone()));
    stream.next(edge, "ticker", false).to("out", Produced::with(I64, I64));
    builder.build("timers").unwrap()
}

fn ticks(driver: &TestDriver) -> Vec<(i64, i64, i64)> {
    driver.output("out", I64, I64).read_all().unwrap()
}

#[test]
fn stream_time_timers_fire_behind_the_record_that_reaches_them() {
    let driver = TestDriver::with(
        &plan(Log::default()),
        Options {
            batch: 7,
            ..Options::default()
        },
    )
    .unwrap();
    let input = driver.input("in", I64, I64);
    for timestamp in [1, 9, 10, 11, 35, 12, 41] {
        input.pipe(&0, &0, timestamp).unwrap();
    }
    assert_eq!(ticks(&driver), [(1, 3, 10), (1, 5, 35), (1, 7, 41)]);
}

#[test]
fn wall_clock_timers_fire_when_the_clock_moves() {
    let driver = TestDriver::new(&plan(Log::default())).unwrap();
    driver.input("in", I64, I64).pipe(&0, &0, 1).unwrap();
    driver.advance(99).unwrap();
    assert_eq!(ticks(&driver), []);
    driver.advance(201).unwrap();
    driver.advance(99).unwrap();
    driver.advance(1).unwrap();
    assert_eq!(ticks(&driver), [(2, 1, 300), (2, 1, 400)]);
}

#[test]
fn notes_survive_both_kinds_of_restart_and_time_goes_on() {
    for from in [Restart::FromEngine, Restart::FromChangelog] {
        let driver = TestDriver::new(&plan(Log::default())).unwrap();
        let input = driver.input("in", I64, I64);
        input.pipe(&0, &0, 25).unwrap();
        input.pipe(&0, &0, 26).unwrap();
        driver.restart(from).unwrap();
        driver.finish().unwrap();
        assert_eq!(ticks(&driver), [(1, 1, 25), (0, 2, 0)], "{from:?}");
    }
}

#[test]
fn a_crash_forgets_what_was_not_committed() {
    let driver = TestDriver::with(
        &plan(Log::default()),
        Options {
            commit_every: 2,
            ..Options::default()
        },
    )
    .unwrap();
    let input = driver.input("in", I64, I64);
    for timestamp in [1, 2, 13] {
        input.pipe(&0, &0, timestamp).unwrap();
    }
    assert_eq!(ticks(&driver), [(1, 3, 13)]);
    driver.crash(Restart::FromEngine).unwrap();
    assert_eq!(ticks(&driver), []);
    driver.finish().unwrap();
    assert_eq!(ticks(&driver), [(0, 2, 0)]);
}

#[test]
fn flush_comes_once_before_each_commit() {
    let log = Log::default();
    let driver = TestDriver::with(
        &plan(log.clone()),
        Options {
            commit_every: 2,
            ..Options::default()
        },
    )
    .unwrap();
    let input = driver.input("in", I64, I64);
    (0..5).try_for_each(|timestamp| input.pipe(&0, &0, timestamp)).unwrap();
    assert_eq!(*log.lock().unwrap(), ["flush 2", "flush 4"]);
}

/// Two timers for the same time; the first to fire takes the other back, and sets one for now.
struct Canceller(Log);

impl Node for Canceller {
    fn start(&mut self, cx: &mut Ctx<'_>) -> Result<()> {
        cx.schedule(Clock::Wall, 5, 1);
        cx.schedule(Clock::Wall, 5, 2);
        Ok(())
    }

    fn run(&mut self, _: &mut Ctx<'_>) -> Result<()> {
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, cx: &mut Ctx<'_>) -> Result<()> {
        self.0.lock().unwrap().push(format!("{} at {}", timer.token, timer.now));
        cx.cancel(Clock::Wall, 5, 2);
        cx.schedule(Clock::Wall, timer.now, 3);
        Ok(())
    }
}

#[test]
fn a_cancelled_timer_does_not_fire_and_one_set_for_now_waits() {
    let (log, builder) = (Log::default(), StreamBuilder::new());
    let stream = builder.stream::<i64, i64>("in", Consumed::with(I64, I64));
    let (input, own) = (stream.edge(), log.clone());
    builder.add_node(NodeSpec::new("canceller", [input.id()]), move |w, _: Edge<()>| {
        w.input(input);
        Ok(Canceller(own.clone()))
    });
    let driver = TestDriver::new(&builder.build("timers").unwrap()).unwrap();
    driver.advance(5).unwrap();
    driver.advance(1).unwrap();
    assert_eq!(*log.lock().unwrap(), ["1 at 5", "3 at 6"]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn timers_fire_the_same_for_every_cut(times in proptest::collection::vec(0i64..200, 1..60), batch in 2usize..60) {
        let run = |batch| {
            let driver = TestDriver::with(&plan(Log::default()), Options { batch, ..Options::default() }).unwrap();
            let input = driver.input("in", I64, I64);
            times.iter().try_for_each(|t| input.pipe(&0, &0, *t)).unwrap();
            driver.commit().unwrap();
            ticks(&driver)
        };
        prop_assert_eq!(run(batch), run(1));
    }
}

#[test]
fn a_hundred_and_more_nodes_in_a_row_and_side_by_side() {
    let builder = StreamBuilder::new();
    let first = builder.stream::<i64, i64>("in", Consumed::with(I64, I64));
    let chain = (0..150).fold(first.clone(), |stream, _| stream.map_values(|_, v| v + 1));
    let fan = (0..100)
        .map(|i| first.filter(move |_, v| v % 100 == i))
        .reduce(|a, b| a.merge(&b));
    chain.merge(&fan.unwrap()).to("out", Produced::with(I64, I64));
    let driver = TestDriver::new(&builder.build("wide").unwrap()).unwrap();
    let input = driver.input("in", I64, I64);
    (0..10).try_for_each(|v| input.pipe(&v, &v, v)).unwrap();
    let expected: Vec<_> = (0..10).flat_map(|v| [(v, v + 150, v), (v, v, v)]).collect();
    assert_eq!(ticks(&driver), expected);
}
