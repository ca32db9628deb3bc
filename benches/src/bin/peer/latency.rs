//! L1: bids at a steady rate, whatever the system does (open loop); how late are they at the other end?
//!
//! A bid carries the moment at which it was due, in microseconds, as its `dateTime`; latency = arrival - due, by one clock.
//! The same without any system, straight from the sender's topic, says what the broker and this driver cost; with the bare
//! [`relay`], what they cost a bid that goes through the broker twice, as it must with any system.
//!
//! What is measured are the systems, so the broker is kept from interfering: `scripts/bench-peer.sh` gives it a heap that
//! lasts and memory for a disk, here it is warmed up, and collects its garbage before a measured part, not in it.

use crate::Result;
use crate::args::Args;
use crate::batch::Writer;
use crate::cases::{Case, Scale};
use crate::generate::{self, Data, PARTITIONS, Source};
use crate::process::{self, Job, Side, System, jdk};
use crate::relay;
use crate::session::Session;
use crate::tail::Tail;
use crate::wire::Client;
use crate::{Lines, throughput::round};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Bids a second.
const RATES: [u64; 2] = [1_000, 20_000];
/// `linger.ms` of the systems' producers; the second is measured once.
const LINGERS: [u32; 2] = [0, 5];
/// Requests the sender may have without an answer. Bids that become due meanwhile go with the next: with eight, and bids due
/// one by one, the broker had a queue of this driver's requests in which all others waited (p50 without any system 1.8 ms).
const WINDOW: usize = 1;
const START_LIMIT: Duration = Duration::from_secs(60);
/// Of how many bids the sender has not said yet that they will arrive.
const UNKNOWN: u64 = u64::MAX;
/// Bids below this price do not pass.
pub const LEAST_PRICE: u64 = 1_000_000;
/// What the receiver and the relay ask for at a time, of each partition.
pub const FETCH_BYTES: i32 = 1 << 20;
/// How long the broker may keep them waiting.
pub const WAIT_MS: i32 = 100;
/// The broker's garbage is collected so long before the measured part: it takes a second, in which bids pile up.
const CALM: Duration = Duration::from_secs(4);
/// How long a system may be silent at the end, before what has not arrived is missed.
const LAST: Duration = Duration::from_secs(5);

/// What is between the sender and the receiver, besides the broker.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Between {
    Nothing,
    Relay,
    System(Side),
}

impl Between {
    /// As it is called in results.
    fn name(self) -> &'static str {
        match self {
            Between::Nothing => "broker",
            Between::Relay => "relay",
            Between::System(side) => side.name(),
        }
    }
}

/// One run: how fast, and how long.
struct Load {
    rate: u64,
    warm_up: Duration,
    measured: Duration,
}

impl Load {
    /// As long for all, with a system or without: the kernel begins to write files back when they are half a minute old.
    fn new(rate: u64, scale: Scale) -> Self {
        let (warm_up, measured) = match scale {
            Scale::Standard | Scale::Full => (15, 20),
            _ => (6, 6),
        };
        Self {
            rate,
            warm_up: Duration::from_secs(warm_up),
            measured: Duration::from_secs(measured),
        }
    }

    /// Bids until the end of the warm-up, and in all.
    fn counts(&self) -> (u64, u64) {
        let of = |time: Duration| self.rate * time.as_secs();
        (of(self.warm_up), of(self.warm_up + self.measured))
    }
}

/// All rates; nothing, the relay and both systems in turns.
pub fn all(session: &mut Session, args: &Args, case: &Case, lines: &mut Lines) -> Result<()> {
    let systems = || args.sides().map(Between::System);
    if matches!(session.scale, Scale::Standard | Scale::Full) {
        // Not measured: until the broker's code for each of them is compiled, it is in the way of all.
        for between in [Between::Relay].into_iter().chain(systems()) {
            if let Err(why) = run(session, case, between, RATES[1], LINGERS[0], 0) {
                eprintln!("warming the broker up: {why}");
            }
        }
    }
    for pair in 1..=args.pairs(case) {
        for linger in LINGERS {
            if linger > 0 && (pair > 1 || !matches!(session.scale, Scale::Standard | Scale::Full)) {
                continue;
            }
            for rate in RATES {
                for between in [Between::Nothing, Between::Relay].into_iter().chain(systems()) {
                    if linger > 0 && !matches!(between, Between::System(_)) {
                        continue;
                    }
                    let name = between.name();
                    let what = format!("{}, {name}, {rate}/s, linger {linger}, pair {pair}", case.name);
                    let line = run(session, case, between, rate, linger, pair);
                    lines.add(&what, line)?;
                }
            }
        }
    }
    Ok(())
}

fn run(session: &mut Session, case: &Case, between: Between, rate: u64, linger: u32, pair: usize) -> Result<Value> {
    let app = session.unique(&format!("L1-{}", between.name()));
    let (input, output) = (format!("{app}.in"), format!("{app}.out"));
    for topic in [&input, &output] {
        generate::load(&mut session.client, topic, Data::Empty, 0)?;
    }
    let dir = session.run_dir(&app)?;
    let job = Job {
        workload: case.workload,
        app: &app,
        input: &input,
        output: &output,
        mode: case.mode,
        settings: vec![format!("producer.linger.ms={linger}")],
        dir: dir.path(),
        bootstrap: &session.bootstrap,
    };
    let mut system = match between {
        Between::Nothing => None,
        Between::Relay => Some(relay::start(&job)?),
        Between::System(side) => Some(System::start(&session.programs, side, &job)?),
    };
    if let Some(system) = &mut system {
        system.wait_for("RUNNING", 1, START_LIMIT)?;
    }
    let load = Load::new(rate, session.scale);
    let end = if system.is_some() { &output } else { &input };
    let mut late = measure(session, &load, &input, end)?;
    late.sort_unstable();
    let percentile = |part: f64| {
        let at = ((late.len() as f64 * part) as usize).min(late.len().saturating_sub(1));
        late.get(at).map(|micros| round(*micros as f64 / 1000.0))
    };
    let line = json!({
        "case": case.name,
        "system": between.name(),
        "pair": pair,
        "rate": rate,
        "linger_ms": linger,
        "records": late.len(),
        "p50_ms": percentile(0.5),
        "p99_ms": percentile(0.99),
        "p999_ms": percentile(0.999),
        "max_ms": percentile(1.0),
        "peak_rss_mib": system.as_ref().map(|s| process::peak_rss_mib(s.pid()).round()),
    });
    if let Some(mut system) = system {
        system.alive()?;
        system.end()?;
    }
    session.drop_topics(&app)?;
    Ok(line)
}

/// How late each bid of the measured part was, in microseconds.
fn measure(session: &Session, load: &Load, input: &str, output: &str) -> Result<Vec<u64>> {
    let bootstrap = &session.bootstrap;
    let (mut sender, mut receiver) = (Client::connect(bootstrap)?, Client::connect(bootstrap)?);
    let begin = now_micros() + 100_000;
    let (warm, all) = load.counts();
    // In groups, one each millisecond.
    let due = |index: u64| begin + index * 1_000 / load.rate * 1_000;
    let (from, to) = (due(warm), due(all));
    let expected = AtomicU64::new(UNKNOWN);
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let sent = send(&mut sender, input, (warm, all), due);
            // After a failure nothing is expected: the receiver ends.
            let count = sent
                .as_ref()
                .map_or(0, |sent| if input == output { all - warm } else { *sent });
            expected.store(count, Ordering::Relaxed);
            sent
        });
        let calming = scope.spawn(|| collect_garbage(session.broker_pid, from.saturating_sub(CALM.as_micros() as u64)));
        let received = receive(&mut receiver, output, (from, to), &expected);
        sending.join().map_err(|_| "the sender panicked")??;
        calming
            .join()
            .map_err(|_| "collecting the broker's garbage panicked")??;
        received
    })
}

/// Has the broker collect its garbage at this moment.
fn collect_garbage(broker: u32, at: u64) -> Result<()> {
    thread::sleep(Duration::from_micros(at.saturating_sub(now_micros())));
    let jcmd = jdk("jcmd");
    let asked = Command::new(&jcmd).args([&broker.to_string(), "GC.run"]).output();
    let answer = asked.map_err(|e| format!("cannot run {}, which is part of a JDK: {e}", jcmd.display()))?;
    match answer.status.success() {
        true => Ok(()),
        false => Err(format!("{}: {}", jcmd.display(), String::from_utf8_lossy(&answer.stderr)).into()),
    }
}

/// Sends each bid when it is due, and those that are late by then with it; returns how many of the measured ones pass.
fn send(client: &mut Client, topic: &str, (warm, all): (u64, u64), due: impl Fn(u64) -> u64) -> Result<u64> {
    let mut source = Source::new(Data::Bid300);
    let mut writers: Vec<Writer> = (0..PARTITIONS).map(|_| Writer::new()).collect();
    let (mut index, mut passing) = (0, 0);
    while index < all {
        let now = now_micros();
        if now < due(index) {
            thread::sleep(Duration::from_micros(due(index) - now));
            continue;
        }
        while index < all && due(index) <= now {
            source.key.clear();
            source.value.clear();
            let auction = 1000 + index % 100_000;
            source.key.extend(auction.to_be_bytes());
            let price = source.bid(auction, due(index) as i64, 300);
            if let Some(writer) = writers.get_mut(generate::partition(&source.key)) {
                writer.add((now / 1000) as i64, &source.key, &source.value);
            }
            passing += u64::from(index >= warm && price >= LEAST_PRICE);
            index += 1;
        }
        let mut batches = Vec::with_capacity(PARTITIONS);
        for (partition, writer) in writers.iter_mut().enumerate().filter(|(_, writer)| !writer.is_empty()) {
            batches.push((partition, writer.finish()));
        }
        client.produce(topic, &batches, WINDOW)?;
        drop(batches);
        writers.iter_mut().for_each(Writer::clear);
    }
    client.flush()?;
    Ok(passing)
}

/// Reads until all that are expected have arrived; keeps how late those due in the range are.
fn receive(client: &mut Client, topic: &str, (from, to): (u64, u64), expected: &AtomicU64) -> Result<Vec<u64>> {
    let mut late = Vec::new();
    let mut tail = Tail::new(topic, FETCH_BYTES, vec![0; PARTITIONS]);
    let mut arrived = Instant::now();
    loop {
        tail.read(client, WAIT_MS, |_partition, record| {
            let now = now_micros();
            arrived = Instant::now();
            let due = record.number("dateTime");
            if (from..to).contains(&due) {
                late.push(now.saturating_sub(due));
            }
        })?;
        let (expected, count) = (expected.load(Ordering::Relaxed), late.len() as u64);
        if count >= expected {
            return Ok(late);
        }
        if expected != UNKNOWN && arrived.elapsed() > LAST {
            return Err(format!("{count} bids of {expected} arrived").into());
        }
    }
}

/// Since 1970.
pub fn now_micros() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_micros() as u64)
}
