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
use common::*;
use millstream_processor::app::RunUntil;
use millstream_processor::broker::Broker;
use millstream_processor::clock::VirtualClock;
use millstream_processor::engines::Engines;
use millstream_processor::{App, Components};
use millstream_state::codec::I64;
use millstream_topology::aggregate::Fold;
use millstream_topology::options::{Consumed, Grouped, Materialized, Produced};
use millstream_topology::{Plan, StreamBuilder};

/// A running total per vehicle. No repartition topic: a row that is repeated into one counts again downstream.
fn totals() -> Plan {
    let builder = StreamBuilder::new();
    let grouped = builder
        .stream("messages", Consumed::with(I64, I64))
        .group_by_key(Grouped::with(I64, I64));
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

#[test]
fn keys_written_beyond_the_last_commit_are_taken_back() {
    let messages = fleet(50, 100);
    let mut expected: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
    for vehicle in 0..50 {
        let sum: i64 = messages
            .iter()
            .filter(|(key, _, _)| *key == vehicle)
            .map(|(_, value, _)| value)
            .sum();
        expected.insert(vehicle.to_be_bytes().to_vec(), Some(sum.to_be_bytes().to_vec()));
    }
    let mut taken_back = 0;
    for commit in 0..12 {
        for keeps_disk in [true, false] {
            let log = new_log();
            produce(&log, &messages);
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
