//! CO-4: on a log that writes records before offsets, a crash between the two repeats outputs and never spoils state.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use common::faults::{Death, MortalEngines, MortalLog};
use common::late_offsets::LateOffsets;
use common::*;
use millstream_processor::app::RunUntil;
use millstream_processor::broker::local::LocalLog;
use millstream_processor::broker::{Broker, TopicSpec};
use millstream_processor::clock::VirtualClock;
use millstream_processor::engines::Engines;
use millstream_processor::{App, Components};
use millstream_state::codec::I64;
use millstream_topology::aggregate::Fold;
use millstream_topology::options::{Consumed, Grouped, Materialized, Produced};
use millstream_topology::{Plan, StreamBuilder};

/// Each message as it is, at once, and a running total per vehicle with each commit. No repartition topic: a row that is
/// repeated into one counts again downstream.
fn totals() -> Plan {
    let builder = StreamBuilder::new();
    let messages = builder.stream("messages", Consumed::with(I64, I64));
    messages.to("copies", Produced::with(I64, I64));
    let grouped = messages.group_by_key(Grouped::with(I64, I64));
    let sum = Fold::new(|| 0, |sum: &mut i64, _: &i64, value: &i64| *sum += value);
    grouped
        .aggregate(sum, Materialized::with(I64, I64).named("totals"))
        .to("totals", Produced::with(I64, I64));
    builder.build("fleet").unwrap()
}

fn run_totals(
    broker: Arc<dyn Broker>,
    engines: Arc<dyn Engines>,
) -> Result<millstream_processor::Summary, millstream_processor::Error> {
    let settings = config()
        .set("statestore.uncommitted.max.bytes", "1KiB")
        .set("num.stream.threads", 2);
    let components = Components {
        clock: Arc::new(VirtualClock::at(NOW)),
        engines,
        progress: None,
        events: None,
    };
    App::new(totals(), settings.build().unwrap(), broker, components).run(RunUntil::EndOfInput)
}

/// A log with messages and the topics of [`totals`].
fn log_with(messages: &[Message]) -> LocalLog {
    let log = new_log();
    log.admin().create(&TopicSpec::new("copies", PARTITIONS)).unwrap();
    produce(&log, messages);
    log
}

/// The totals, by a plain loop.
fn sums(messages: &[Message]) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
    let mut sums: BTreeMap<i64, i64> = BTreeMap::new();
    for (vehicle, value, _) in messages {
        *sums.entry(*vehicle).or_default() += value;
    }
    let bytes = |number: i64| number.to_be_bytes().to_vec();
    sums.into_iter()
        .map(|(vehicle, sum)| (bytes(vehicle), Some(bytes(sum))))
        .collect()
}

#[test]
fn keys_written_beyond_the_last_commit_are_taken_back() {
    let messages = fleet(50, 100);
    let expected = sums(&messages);
    let mut taken_back = 0;
    for commit in 0..12 {
        for keeps_disk in [true, false] {
            let log = log_with(&messages);
            let engines = Arc::new(MortalEngines::default());
            let mortal = Arc::new(MortalLog::new(&log, Death::BetweenRecordsAndOffsets(commit)));
            let died = run_totals(mortal.clone(), engines.clone()).is_err();
            assert!(died || mortal.counts.1.load(SeqCst) <= commit);
            let engines = match keeps_disk {
                true => Arc::into_inner(engines).unwrap().after_restart(false),
                false => MortalEngines::default(),
            };
            let summary = run_totals(Arc::new(log.clone()), Arc::new(engines)).unwrap();
            taken_back += summary.events.get("uncommitted_keys").copied().unwrap_or(0);
            assert_eq!(
                latest(&log, "totals"),
                expected,
                "commit {commit}, disk kept: {keeps_disk}"
            );
            assert_eq!(
                latest(&log, "fleet-totals-changelog"),
                expected,
                "commit {commit}, disk kept: {keeps_disk}"
            );
        }
    }
    assert!(taken_back > 0, "no crash left anything to take back");
}

#[test]
fn work_goes_on_while_the_offsets_of_a_commit_are_under_way() {
    let messages = fleet(50, 100);
    let log = log_with(&messages);
    let late = Arc::new(LateOffsets::new(&log, messages.len() as u64 / 2, None));
    let summary = run_totals(late.clone(), Arc::new(MortalEngines::default())).unwrap();
    assert!(late.waited() > 5, "{} commits waited for more records", late.waited());
    assert_eq!(summary.progress.records_in, messages.len() as u64);
    assert_eq!(latest(&log, "totals"), sums(&messages));
    assert_eq!(sorted(&log, "copies"), sorted(&log, "messages"));
}

#[test]
fn offsets_that_never_arrive_take_their_commit_with_them() {
    let messages = fleet(50, 100);
    for death in 0..8 {
        for keeps_disk in [true, false] {
            let what = format!("commit {death}, disk kept: {keeps_disk}");
            let log = log_with(&messages);
            let engines = Arc::new(MortalEngines::default());
            let late = LateOffsets::new(&log, messages.len() as u64 / 2, Some(death));
            let died = run_totals(Arc::new(late), engines.clone()).unwrap_err();
            assert!(died.to_string().contains("died"), "{what}: {died}");
            let engines = match keeps_disk {
                true => Arc::into_inner(engines).unwrap().after_restart(false),
                false => MortalEngines::default(),
            };
            run_totals(Arc::new(log.clone()), Arc::new(engines)).unwrap();
            assert_eq!(latest(&log, "totals"), sums(&messages), "{what}");
            assert_eq!(latest(&log, "fleet-totals-changelog"), sums(&messages), "{what}");
            let mut copies = sorted(&log, "copies");
            copies.dedup();
            assert_eq!(copies, sorted(&log, "messages"), "{what}: lost, or never there");
        }
    }
}
