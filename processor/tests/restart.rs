//! An application that is stopped and started again goes on as if nothing had happened, with its state or without.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use common::faults::{MortalEngines, TamperedLog};
use common::*;
use millstream_processor::App;
use millstream_processor::app::{Components, RunUntil, StopHandle};
use millstream_processor::broker::local::LocalLog;
use millstream_processor::broker::{Broker, FetchEvent, TopicPartition};
use millstream_processor::config::ConfigBuilder;
use millstream_processor::engines::{DiskEngines, Engines, MemoryEngines};
use millstream_state::StateError;
use millstream_state::codec::I64;
use millstream_state::engine::faulty::Fault;
use millstream_topology::StreamBuilder;
use millstream_topology::graph::OffsetReset;
use millstream_topology::options::{Consumed, Produced};

/// Runs until everything in the log has been read, then stops as a signal would stop it.
fn run_and_stop(log: &LocalLog, engines: Arc<dyn Engines>, threads: usize) -> millstream_processor::Summary {
    run_and_stop_with(log, engines, config().set("num.stream.threads", threads))
}

fn run_and_stop_with(
    log: &LocalLog,
    engines: Arc<dyn Engines>,
    settings: ConfigBuilder,
) -> millstream_processor::Summary {
    let settings = settings.set("commit.interval.ms", 50).build().unwrap();
    let (stop, hook) = stop_when_all_is_read();
    let told = Arc::new(Mutex::new(Vec::new()));
    let told_too = told.clone();
    let components = Components {
        clock: Arc::new(TickingClock::default()),
        engines,
        progress: Some(hook),
        events: Some(Arc::new(move |event| told_too.lock().unwrap().push(event.name()))),
    };
    let app = App::new(job(), settings, Arc::new(log.clone()), components);
    stop.set(app.stop_handle()).ok().unwrap();
    let summary = app.run(RunUntil::Signal).unwrap();
    check_order(&told.lock().unwrap());
    summary
}

/// Whoever is told of events hears that the application runs once, when no store is being restored any more.
fn check_order(told: &[&str]) {
    let running = told.iter().position(|name| *name == "running").unwrap();
    let (before, after) = told.split_at(running);
    let count = |names: &[&str], name| names.iter().filter(|n| **n == name).count();
    assert_eq!(count(after, "running"), 1, "{told:?}");
    assert_eq!(count(after, "restores_started"), 0, "{told:?}");
    assert!(
        count(before, "restores_started") >= count(before, "restored_records"),
        "{told:?}"
    );
}

fn in_two_halves(
    threads: usize,
    between: impl FnOnce(Arc<MortalEngines>) -> Arc<dyn Engines>,
) -> millstream_processor::Summary {
    let (log, messages) = (new_log(), fleet(30, 600));
    let (first, second) = messages.split_at(messages.len() / 2 + 7);
    let engines = Arc::new(MortalEngines::default());
    produce(&log, first);
    run_and_stop(&log, engines.clone(), threads);
    produce(&log, second);
    let settings = config().set("num.stream.threads", threads);
    let summary = run_with(Arc::new(log.clone()), settings, between(engines)).unwrap();
    check(&log, &messages);
    summary
}

#[test]
fn with_its_state_it_replays_nothing() {
    for threads in [1, 3] {
        let summary = in_two_halves(threads, |engines| engines);
        assert_eq!(summary.events.get("restored_records"), None);
    }
}

/// Stops when these polls have brought records, which are not worked on yet. Returns the first offset read of each partition.
fn run_and_stop_at(
    log: &LocalLog,
    engines: Arc<dyn Engines>,
    threads: usize,
    polls: u64,
) -> BTreeMap<TopicPartition, i64> {
    let stop = Arc::new(OnceLock::<StopHandle>::new());
    let (handle, count) = (stop.clone(), AtomicU64::new(0));
    let firsts = Arc::new(Mutex::new(BTreeMap::new()));
    let seen = firsts.clone();
    let stopping = TamperedLog::new(log, move |events| {
        let mut seen = seen.lock().unwrap();
        for event in &*events {
            if let FetchEvent::Chunk { partition, chunk, .. } = event
                && let Some(first) = chunk.records().first()
            {
                seen.entry(partition.clone()).or_insert(first.offset);
            }
        }
        if !events.is_empty() && count.fetch_add(1, Ordering::SeqCst) + 1 >= polls {
            handle.get().unwrap().stop();
        }
    });
    let components = Components {
        clock: Arc::new(TickingClock::default()),
        engines,
        progress: None,
        events: None,
    };
    let settings = config()
        .set("num.stream.threads", threads)
        .set("buffered.bytes.per.partition", 4096);
    let app = App::new(job(), settings.build().unwrap(), Arc::new(stopping), components);
    stop.set(app.stop_handle()).ok().unwrap();
    app.run(RunUntil::Signal).unwrap();
    firsts.lock().unwrap().clone()
}

#[test]
fn stopped_in_the_middle_it_goes_on_with_the_next_record() {
    for threads in [1, 3] {
        let (log, messages) = (new_log(), fleet(30, 600));
        produce(&log, &messages);
        let sources: Vec<_> = (0..PARTITIONS).map(|p| TopicPartition::new("messages", p)).collect();
        let committed = || -> Vec<i64> {
            let committed = log.admin().committed("fleet", &sources).unwrap();
            committed.into_iter().map(|c| c.map_or(0, |c| c.offset)).collect()
        };
        let engines = Arc::new(MortalEngines::default());
        let (mut middles, mut before) = (0, committed());
        for polls in 1..=12 {
            let firsts = run_and_stop_at(&log, engines.clone(), threads, polls);
            for (source, next) in sources.iter().zip(&before) {
                let first = firsts.get(source).unwrap_or(next);
                assert_eq!(
                    first, next,
                    "{source}: the first record read after a stop, and the next after the last"
                );
            }
            let now = committed();
            let read: i64 = now.iter().sum();
            middles += usize::from(now != before && read < messages.len() as i64);
            before = now;
        }
        assert!(middles >= 5, "{middles} stops in the middle with something done before");
        let settings = config().set("num.stream.threads", threads);
        run_with(Arc::new(log.clone()), settings, engines).unwrap();
        check(&log, &messages);
    }
}

#[test]
fn without_its_state_it_restores_rows_and_stream_time() {
    for threads in [1, 3] {
        let summary = in_two_halves(threads, |_| Arc::new(MemoryEngines::default()));
        assert!(summary.events["restored_records"] > 0, "{:?}", summary.events);
    }
}

#[test]
fn with_half_its_state_it_replays_the_rest() {
    in_two_halves(3, |engines| {
        Arc::new(Arc::into_inner(engines).unwrap().after_restart(true))
    });
}

#[test]
fn a_stop_before_the_run_ends_it_at_once() {
    let log = new_log();
    let app = app(Arc::new(log), config(), Arc::new(MemoryEngines::default()));
    app.stop_handle().stop();
    assert_eq!(app.run(RunUntil::Signal).unwrap().progress.records_in, 0);
}

#[test]
fn a_changelog_that_was_deleted_is_refused_not_taken_for_an_empty_store() {
    let log = new_log();
    produce(&log, &fleet(3, 60));
    run_and_stop(&log, Arc::new(MemoryEngines::default()), 1);
    let topics = log.admin().topics().unwrap();
    for topic in topics.iter().filter(|topic| topic.name.ends_with("-changelog")) {
        log.admin().delete(&topic.name).unwrap();
    }
    let error = run_with(Arc::new(log.clone()), config(), Arc::new(MemoryEngines::default())).unwrap_err();
    assert!(
        error.to_string().contains("ends at offset 0, before the committed"),
        "{error}"
    );
}

/// Copies the first partition of `messages`, whose source says itself where it starts.
fn copy_from(reset: OffsetReset, broker: Arc<dyn Broker>, default: &str) -> millstream_processor::Summary {
    let builder = StreamBuilder::new();
    builder
        .stream("messages", Consumed::with(I64, I64).offset_reset(reset))
        .to("totals", Produced::with(I64, I64));
    let components = Components {
        clock: Arc::new(millstream_processor::clock::VirtualClock::at(NOW)),
        engines: Arc::new(MemoryEngines::default()),
        progress: None,
        events: None,
    };
    let settings = config().set("auto.offset.reset", default).build().unwrap();
    let app = App::new(builder.build("fleet").unwrap(), settings, broker, components);
    app.run(RunUntil::EndOfInput).unwrap()
}

#[test]
fn a_source_that_says_where_it_starts_does_so_also_when_its_position_is_lost() {
    for (reset, default, read_again) in [
        (OffsetReset::Earliest, "latest", 4),
        (OffsetReset::Latest, "earliest", 3),
        (OffsetReset::Configured, "earliest", 4),
        (OffsetReset::Configured, "latest", 3),
    ] {
        let log = new_log();
        let of_one_vehicle = fleet(1, 4);
        produce(&log, &of_one_vehicle[..3]);
        copy_from(OffsetReset::Earliest, Arc::new(log.clone()), "earliest");
        produce(&log, &of_one_vehicle[3..]);
        // Position 3 is committed, and the log says that it holds 0..1: from 0 it reads four records, from 1 three.
        let partition = millstream_processor::partitioner::partition_for(&0i64.to_be_bytes(), PARTITIONS);
        let partition = TopicPartition::new("messages", partition);
        let said = AtomicBool::new(false);
        let shortened = TamperedLog::new(&log, move |events| {
            if !said.swap(true, Ordering::SeqCst) {
                let (partition, start, end) = (partition.clone(), 0, 1);
                *events = vec![FetchEvent::OutOfRange { partition, start, end }];
            }
        });
        let summary = copy_from(reset, Arc::new(shortened), default);
        assert_eq!(summary.events["positions_lost"], 1);
        assert_eq!(summary.progress.records_in, read_again, "{reset:?}, else {default}");
    }
}

/// Flips a bit in the middle of every table file of every task.
fn damage(state_dir: &std::path::Path) -> usize {
    let mut damaged = 0;
    for task in std::fs::read_dir(state_dir.join("fleet")).unwrap() {
        let Ok(files) = std::fs::read_dir(task.unwrap().path().join("db")) else {
            continue;
        };
        for file in files.map(|file| file.unwrap().path()) {
            if file.extension().is_some_and(|ending| ending == "sst") {
                let mut bytes = std::fs::read(&file).unwrap();
                let middle = bytes.len() / 3;
                bytes[middle] ^= 0x10;
                std::fs::write(&file, bytes).unwrap();
                damaged += 1;
            }
        }
    }
    damaged
}

#[test]
fn damaged_database_files_are_deleted_and_rebuilt_from_the_changelogs() {
    let dir = tempfile::tempdir().unwrap();
    let settings = || {
        config()
            .set("state.dir", dir.path().display())
            .set("state.flush.max.bytes", 0)
            .set("statestore.cache.max.bytes", 0)
    };
    let disk = || Arc::new(DiskEngines::new(&settings().build().unwrap()));
    let (log, messages) = (new_log(), fleet(30, 600));
    let (first, second) = messages.split_at(messages.len() / 2 + 7);
    produce(&log, first);
    run_and_stop_with(&log, disk(), settings());
    assert!(damage(dir.path()) >= 4, "every task that counts has files");
    produce(&log, second);
    let summary = run_with(Arc::new(log.clone()), settings(), disk()).unwrap();
    assert!(summary.events["stores_wiped"] >= 4, "{:?}", summary.events);
    check(&log, &messages);
}

/// All disks are new, and one of them turns out to be damaged while a thread reads the changelogs of all its tasks together:
/// that task begins again, and no other does.
#[test]
fn a_store_found_damaged_during_a_replay_is_rebuilt_and_the_others_are_left_alone() {
    let messages = fleet(30, 200);
    let (before, after) = messages.split_at(messages.len() / 2);
    let replay = |damaged_write: Option<u64>| {
        let log = new_log();
        produce(&log, before);
        run_and_stop_with(&log, Arc::new(MortalEngines::default()), config());
        produce(&log, after);
        let engines = Arc::new(MortalEngines::default());
        if let Some(write) = damaged_write {
            let damage = StateError::Corrupt("the file under test is damaged".into());
            engines.faults.plan(write, Fault::Refuse(damage));
        }
        let summary = run_with(Arc::new(log.clone()), config(), engines.clone()).unwrap();
        check(&log, &messages);
        let opened: Vec<u32> = engines.opened.lock().unwrap().values().copied().collect();
        (summary.events, opened)
    };
    let (events, opened) = replay(None);
    assert!(
        events["restored_records"] > 0 && opened.len() > 2,
        "{events:?}, {opened:?}"
    );
    // Each task has a changelog at least, whose replay ends in a write.
    for write in 0..opened.len() as u64 {
        let (events, again) = replay(Some(write));
        assert_eq!(events["stores_wiped"], 1, "damage met by write {write}");
        let opened_times = |times| again.iter().filter(|of| **of == times).count();
        assert_eq!(
            (opened_times(2), opened_times(1)),
            (1, opened.len() - 1),
            "damage met by write {write}: {again:?}"
        );
    }
}
