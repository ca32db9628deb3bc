//! The whole runtime on the embedded log in memory: what goes in comes out, once, however many threads run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod common;

use common::*;

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
