//! The fleet job on a real Apache Kafka: every row equals the batch pass; after a kill, none is missing or counts too few.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use millstream_cli::demo::start;
use millstream_cli::place::Place;
use millstream_flights::data;
use millstream_flights::topology::{DAILY, ROLLING};
use millstream_integration_tests::fleet_check::{Promise, Record, check};
use millstream_integration_tests::fleet_oracle::{self, Expected};
use millstream_integration_tests::fleet_run::{demo, kill_at, whole_year, written};
use millstream_integration_tests::{kafka, readers};

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
    let written = written(&*broker);
    check(&written, &expected(), Promise::Exact);
    others_read(servers, ROLLING, &written.rolling);
    others_read(servers, DAILY, &written.daily);
}

/// Java's console consumer and kcat see the same records, keys included.
fn others_read(servers: &str, topic: &str, records: &[Record]) {
    let text = |bytes: &Option<Vec<u8>>| String::from_utf8(bytes.clone().unwrap_or_default()).unwrap();
    let ours = records.iter().map(|r| (r.timestamp, text(&r.key), text(&r.value)));
    let ours: BTreeSet<_> = ours.collect();
    for seen in [
        readers::kcat(servers, topic),
        readers::java(servers, topic, records.len()),
    ]
    .into_iter()
    .flatten()
    {
        assert_eq!(seen.len(), records.len(), "{topic}");
        let theirs: BTreeSet<_> = seen.into_iter().map(|s| (s.timestamp, s.key, s.value)).collect();
        assert!(theirs == ours, "{topic}: other readers see other records");
    }
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
