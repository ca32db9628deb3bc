//! The fleet job on a real Apache Kafka: every row equals the batch pass; after a kill, none is missing or counts too few.

use std::sync::{Mutex, MutexGuard, PoisonError};

use millstream_cli::demo::start;
use millstream_cli::place::Place;
use millstream_flights::data;
use millstream_integration_tests::fleet_check::{Promise, check};
use millstream_integration_tests::fleet_oracle::{self, Expected};
use millstream_integration_tests::fleet_run::{demo, kill_at, whole_year, written};
use millstream_integration_tests::kafka;

/// The job's topics have fixed names, so one test at a time has the broker.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn broker() -> Option<(Place, MutexGuard<'static, ()>)> {
    let place = Place::Kafka(kafka::shared()?.bootstrap().to_string());
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    start::delete_topics(&*place.open().unwrap()).unwrap();
    Some((place, turn))
}

fn expected() -> Expected {
    fleet_oracle::expected(&data::flights_csv().unwrap(), &data::planes_csv().unwrap())
}

fn run_through(threads: u32) {
    let Some((place, _turn)) = broker() else { return };
    let state = tempfile::tempdir().unwrap();
    let broker = place.open().unwrap();
    let Place::Kafka(servers) = &place else { return };
    whole_year(
        &broker,
        state.path(),
        threads,
        &[("bootstrap.servers", servers), ("commit.interval.ms", "1000")],
    );
    check(&written(&*broker), &expected(), Promise::Exact);
}

#[test]
fn one_thread() {
    run_through(1);
}

#[test]
fn three_threads() {
    run_through(3);
}

#[test]
fn killed_in_the_middle() {
    let Some((place, _turn)) = broker() else { return };
    let state = tempfile::tempdir().unwrap();
    let start = || demo(&place, state.path(), 1, env!("CARGO_BIN_EXE_millstream-for-tests"));
    kill_at(start(), &place, 0.3);
    assert!(start().wait().unwrap().success());
    check(
        &written(&*place.open_to_read().unwrap()),
        &expected(),
        Promise::AtLeastOnce,
    );
}
