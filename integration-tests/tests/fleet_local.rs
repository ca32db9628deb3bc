//! The fleet job on the embedded log: every row equals the batch pass, however it is run.

use millstream_cli::place::Place;
use millstream_flights::data;
use millstream_integration_tests::fleet_check::{Promise, check};
use millstream_integration_tests::fleet_oracle::{self, Expected};
use millstream_integration_tests::fleet_run::{demo, kill_at, whole_year, written};

fn expected() -> Expected {
    fleet_oracle::expected(&data::flights_csv().unwrap(), &data::planes_csv().unwrap())
}

fn run_through(threads: u32) {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::Directory(dir.path().to_path_buf());
    let broker = place.open().unwrap();
    let summary = whole_year(&broker, &place.state_dir(), threads, &[]);
    let written = written(&*broker);
    assert_eq!(
        summary.total("dropped.parse"),
        written.dead.len() as u64,
        "what is dropped is counted"
    );
    assert_eq!(
        summary.total("dropped.late"),
        written.late.len() as u64,
        "what is late is counted"
    );
    check(&written, &expected(), Promise::Exact);
}

#[test]
fn one_thread() {
    run_through(1);
}

#[test]
fn three_threads() {
    run_through(3);
}

/// Killed twice, early and late: a commit is one atomic write, so nothing is lost and nothing counts twice.
fn killed(threads: u32) {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::Directory(dir.path().to_path_buf());
    let start = || {
        demo(
            &place,
            &place.state_dir(),
            threads,
            env!("CARGO_BIN_EXE_millstream-for-tests"),
        )
    };
    kill_at(start(), &place, 0.1);
    kill_at(start(), &place, 0.6);
    assert!(start().wait().unwrap().success());
    check(&written(&*place.open_to_read().unwrap()), &expected(), Promise::Exact);
}

#[test]
fn one_thread_killed_in_the_middle() {
    killed(1);
}

#[test]
fn three_threads_killed_in_the_middle() {
    killed(3);
}
