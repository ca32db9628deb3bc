//! How long a task waits for partitions that have nothing at hand, and what ends the waiting.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::faults::TamperedLog;
use common::*;
use millstream_processor::app::{App, Components, RunUntil};
use millstream_processor::broker::local::LocalLog;
use millstream_processor::broker::{Broker, FetchEvent, GroupToken, SinkConfig, TopicPartition, TopicSpec};
use millstream_processor::clock::Clock;
use millstream_processor::engines::MemoryEngines;
use millstream_state::codec::I64;
use millstream_topology::options::{Consumed, Produced};
use millstream_topology::{Plan, StreamBuilder};

/// A partition whose records exist and do not come: the others wait for it ten seconds, then go on and say so.
#[test]
fn a_partition_that_does_not_deliver_holds_the_others_back_for_a_while_only() {
    let (log, messages) = (new_log(), fleet(30, 100));
    produce(&log, &messages);
    let stuck = TopicPartition::new("messages", 2);
    let left_out = read(&log, "messages")[2].len();
    assert!(left_out > 0);
    let silent = TamperedLog::new(&log, move |events| {
        events.retain(|event| !matches!(event, FetchEvent::Chunk { partition, .. } if *partition == stuck));
    });
    let (stop, _) = stop_when_all_is_read();
    let handle = stop.clone();
    let wanted = 2 * (messages.len() - left_out) as u64;
    let components = Components {
        clock: Arc::new(TickingClock::default()),
        engines: Arc::new(MemoryEngines::default()),
        progress: Some(Arc::new(move |progress| {
            if progress.records_in == wanted
                && let Some(stop) = handle.get()
            {
                stop.stop();
            }
        })),
        events: None,
    };
    let settings = config().set("commit.interval.ms", 50).set("poll.ms", 1);
    let app = App::new(job(), settings.build().unwrap(), Arc::new(silent), components);
    stop.set(app.stop_handle()).ok().unwrap();
    let summary = app.run(RunUntil::Signal).unwrap();
    assert_eq!(summary.events["partitions_stalled"], 1);
    assert_eq!(summary.progress.records_in, wanted);
}

/// Two topics into one, in one task.
fn both() -> Plan {
    let builder = StreamBuilder::new();
    let left = builder.stream("left", Consumed::with(I64, I64));
    let right = builder.stream("right", Consumed::with(I64, I64));
    left.merge(&right).to("both", Produced::with(I64, I64));
    builder.build("fleet").unwrap()
}

fn append(log: &LocalLog, topic: &str, value: i64) {
    let mut sink = log.sink(&SinkConfig::default()).unwrap();
    let to = sink.open(&TopicPartition::new(topic, 0)).unwrap();
    let bytes = value.to_be_bytes();
    sink.append(to, value, Some(&bytes), Some(&bytes), &[]).unwrap();
    sink.commit(&GroupToken::alone("producer"), &mut |_| Vec::new())
        .unwrap();
}

/// Ticks when it is looked at, and at one tick something happens.
struct EventfulClock {
    ticks: AtomicU64,
    at: u64,
    event: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Clock for EventfulClock {
    fn now(&self) -> i64 {
        NOW
    }

    fn monotonic(&self) -> Duration {
        let tick = self.ticks.fetch_add(1, Ordering::SeqCst);
        if tick >= self.at
            && let Some(event) = self.event.lock().unwrap().take()
        {
            event();
        }
        Duration::from_millis(tick)
    }
}

/// `left` has a record of time 200; one of time 100 comes into `right` a good while later. What leaves first?
fn order(max_task_idle_ms: i64) -> Vec<i64> {
    let log = LocalLog::in_memory(Arc::new(|| NOW)).unwrap();
    for topic in ["left", "right", "both"] {
        log.admin().create(&TopicSpec::new(topic, 1)).unwrap();
    }
    append(&log, "left", 200);
    let late = log.clone();
    let clock = EventfulClock {
        ticks: AtomicU64::new(0),
        at: 3_000,
        event: Mutex::new(Some(Box::new(move || append(&late, "right", 100)))),
    };
    let (stop, _) = stop_when_all_is_read();
    let handle = stop.clone();
    let components = Components {
        clock: Arc::new(clock),
        engines: Arc::new(MemoryEngines::default()),
        progress: Some(Arc::new(move |progress| {
            if progress.records_in == 2
                && let Some(stop) = handle.get()
            {
                stop.stop();
            }
        })),
        events: None,
    };
    let settings = config().set("max.task.idle.ms", max_task_idle_ms).set("poll.ms", 1);
    let app = App::new(both(), settings.build().unwrap(), Arc::new(log.clone()), components);
    stop.set(app.stop_handle()).ok().unwrap();
    app.run(RunUntil::Signal).unwrap();
    read(&log, "both")[0]
        .iter()
        .map(|(_, _, timestamp)| *timestamp)
        .collect()
}

#[test]
fn a_task_waits_for_its_other_partitions_as_long_as_it_is_told() {
    assert_eq!(order(0), [200, 100], "it takes what is there");
    assert_eq!(order(500), [200, 100], "it has waited too short");
    assert_eq!(order(1_000_000), [100, 200], "it has waited, and time is in order");
}
