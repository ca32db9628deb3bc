//! The process dies at every step of a commit and is started again: on the embedded log every row is written exactly once,
//! and the state is that of an uninterrupted run (CO-1, CO-2, TI-1).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use common::faults::{Death, MortalEngines, MortalLog};
use common::*;
use millstream_state::StateError;
use millstream_state::engine::faulty::Fault;

/// Small commits, so that there are many.
fn small_commits() -> millstream_processor::config::ConfigBuilder {
    config()
        .set("statestore.uncommitted.max.bytes", "1KiB")
        .set("state.flush.max.bytes", "4KiB")
}

fn dies_and_goes_on(
    messages: &[Message],
    death: Death,
    engine_fault: Option<(u64, Fault)>,
    threads: usize,
    power_cut: bool,
) {
    let log = new_log();
    produce(&log, messages);
    let engines = MortalEngines::default();
    if let Some((call, fault)) = engine_fault.clone() {
        engines.faults.plan(call, fault);
    }
    let engines = Arc::new(engines);
    let broker = Arc::new(MortalLog::new(&log, death));
    let settings = || small_commits().set("num.stream.threads", threads);
    let died = run_with(broker, settings(), engines.clone());
    assert!(died.is_err(), "{death:?} {engine_fault:?} must stop the run");
    let engines = Arc::into_inner(engines).unwrap().after_restart(power_cut);
    run_with(Arc::new(log.clone()), settings(), Arc::new(engines)).unwrap();
    check(&log, messages);
}

/// How many appends and commits an undisturbed run makes, and how many writes to engines.
fn undisturbed(messages: &[Message]) -> (u64, u64, u64) {
    let log = new_log();
    produce(&log, messages);
    let broker = Arc::new(MortalLog::new(&log, Death::No));
    let engines = Arc::new(MortalEngines::default());
    run_with(broker.clone(), small_commits(), engines.clone()).unwrap();
    check(&log, messages);
    (
        broker.counts.0.load(SeqCst),
        broker.counts.1.load(SeqCst),
        engines.faults.calls(),
    )
}

#[test]
fn death_at_any_commit_leaves_all_or_nothing_of_it() {
    let messages = fleet(20, 200);
    let (_, commits, _) = undisturbed(&messages);
    assert!(commits > 8, "{commits} commits are too few to die in");
    for commit in 0..commits {
        dies_and_goes_on(&messages, Death::BeforeCommit(commit), None, 1, commit % 2 == 0);
        dies_and_goes_on(&messages, Death::AfterCommit(commit), None, 1, commit % 2 == 1);
    }
}

#[test]
fn death_between_two_appends_leaves_nothing() {
    let messages = fleet(20, 200);
    let (appends, _, _) = undisturbed(&messages);
    for step in 0..20 {
        dies_and_goes_on(&messages, Death::AtAppend(appends * step / 20), None, 1, step % 2 == 0);
    }
}

#[test]
fn death_at_any_write_of_the_stores_is_mended_by_their_changelogs() {
    let messages = fleet(20, 200);
    let (_, _, writes) = undisturbed(&messages);
    for step in 0..20 {
        let call = writes * step / 20;
        dies_and_goes_on(&messages, Death::No, Some((call, Fault::DieAfter)), 1, true);
        dies_and_goes_on(&messages, Death::No, Some((call, Fault::DieBefore)), 1, step % 2 == 0);
    }
}

#[test]
fn three_threads_die_together() {
    let messages = fleet(40, 200);
    for commit in 0..6 {
        dies_and_goes_on(&messages, Death::BeforeCommit(commit), None, 3, true);
        dies_and_goes_on(&messages, Death::AfterCommit(commit), None, 3, true);
        dies_and_goes_on(&messages, Death::No, Some((4 + commit * 3, Fault::DieAfter)), 3, false);
    }
}

#[test]
fn a_full_disk_stops_the_run_and_a_cleared_one_goes_on() {
    let log = new_log();
    let messages = fleet(20, 200);
    produce(&log, &messages);
    let engines = Arc::new(MortalEngines::default());
    engines.faults.set_full(true);
    let error = run_with(Arc::new(log.clone()), small_commits(), engines.clone()).unwrap_err();
    assert!(error.to_string().contains("full"), "{error}");
    engines.faults.set_full(false);
    run_with(Arc::new(log.clone()), small_commits(), engines).unwrap();
    check(&log, &messages);
}

/// What a damaged file is to those who meet it: a write that says so.
#[test]
fn a_store_found_damaged_while_it_runs_is_rebuilt_and_the_run_goes_on() {
    let messages = fleet(30, 200);
    let (_, _, writes) = undisturbed(&messages);
    for write in (0..writes).step_by(7) {
        let log = new_log();
        produce(&log, &messages);
        let engines = MortalEngines::default();
        let damage = StateError::Corrupt("the file under test is damaged".into());
        engines.faults.plan(write, Fault::Refuse(damage));
        let summary = run_with(Arc::new(log.clone()), small_commits(), Arc::new(engines)).unwrap();
        assert_eq!(summary.events["stores_wiped"], 1, "damage met by write {write}");
        check(&log, &messages);
    }
}

/// Tasks whose rebuilt stores are damaged again would go round for ever.
#[test]
fn a_store_that_stays_damaged_ends_the_run() {
    let log = new_log();
    produce(&log, &fleet(30, 200));
    let engines = MortalEngines::default();
    for write in 0..1000 {
        let damage = StateError::Corrupt("the disk under test is worn out".into());
        engines.faults.plan(write, Fault::Refuse(damage));
    }
    let error = run_with(Arc::new(log), small_commits(), Arc::new(engines)).unwrap_err();
    assert!(error.to_string().contains("worn out"), "{error}");
}
