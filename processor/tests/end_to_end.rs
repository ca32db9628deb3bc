//! The whole runtime on the embedded log in memory: what goes in comes out, once, however many threads run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod common;

use std::sync::Arc;

use common::*;
use millstream_processor::app::{App, Components, RunUntil};
use millstream_processor::clock::VirtualClock;
use millstream_processor::engines::MemoryEngines;
use millstream_state::codec::I64;
use millstream_topology::StreamBuilder;
use millstream_topology::options::{Consumed, Produced};

#[test]
fn one_thread_writes_every_row() {
    let (log, messages) = (new_log(), fleet(40, 600));
    produce(&log, &messages);
    let summary = run(&log, config()).unwrap();
    check(&log, &messages);
    // Each message is read once from its topic and once from the repartition topic.
    assert_eq!(summary.progress.records_in, 2 * messages.len() as u64);
    assert_eq!(summary.progress.lag, 0);
}

#[test]
fn three_threads_write_the_same() {
    let (log, messages) = (new_log(), fleet(40, 600));
    produce(&log, &messages);
    run(&log, config().set("num.stream.threads", 3)).unwrap();
    check(&log, &messages);
}

/// The clock stands still in these tests: no commit comes by time.
#[test]
fn rows_that_wait_for_a_commit_bring_it_early() {
    let commits = |most: &str| {
        let (log, messages) = (new_log(), fleet(40, 600));
        produce(&log, &messages);
        let summary = run(&log, config().set("statestore.uncommitted.max.bytes", most)).unwrap();
        check(&log, &messages);
        (summary.progress.commits, summary.events.contains_key("memory_pressure"))
    };
    let (few, pressed) = commits("64MiB");
    assert!(!pressed);
    let (many, pressed) = commits("1KiB");
    assert!(
        pressed && many > few + 10,
        "{many} commits, and {few} with a large bound"
    );
}

#[test]
fn outputs_are_no_rows_that_wait_for_a_commit() {
    let (log, messages) = (new_log(), fleet(40, 600));
    produce(&log, &messages);
    let builder = StreamBuilder::new();
    builder
        .stream("messages", Consumed::with(I64, I64))
        .to("totals", Produced::with(I64, I64));
    let components = Components {
        clock: Arc::new(VirtualClock::at(NOW)),
        engines: Arc::new(MemoryEngines::default()),
        progress: None,
        events: None,
    };
    let settings = config()
        .set("statestore.uncommitted.max.bytes", "1KiB")
        .build()
        .unwrap();
    let app = App::new(builder.build("fleet").unwrap(), settings, Arc::new(log), components);
    let summary = app.run(RunUntil::EndOfInput).unwrap();
    assert_eq!(summary.written["totals"], messages.len() as u64);
    assert!(!summary.events.contains_key("memory_pressure"), "{:?}", summary.events);
}
