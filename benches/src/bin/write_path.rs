//! What writing to a real Kafka costs: `Sink` alone, without tasks, as the processor drives it.
//!
//! `cargo run --release -p millstream-integration-tests --bin kafka -- run write_path [OPTION=VALUE ...]`
//! (`KAFKA_BOOTSTRAP_SERVERS` names the broker). Options: `records`, `partitions`, `value` (bytes), `commit` (ms),
//! `rate` (records a second; 0 is as fast as it goes), `held` (bytes not acknowledged at which a commit is made, as
//! `uncommitted.max.bytes`), `turns` (partitions take turns record by record; else 512 records each), `latency` (a reader in
//! this process tells how old the records are that it gets; its CPU time is in the figures then), `client` (`native` or
//! `librdkafka`), and any setting of the producer.
//!
//! CPU time is that of this process, user and system, the client's threads included; the broker's is not in it.

use std::env;
use std::error::Error;
use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use millstream_benches::clock::cpu_time;
use millstream_processor::broker::kafka::{KafkaBroker, KafkaSettings};
use millstream_processor::broker::{
    Broker, Fetch, FetchConfig, FetchEvent, GroupToken, OffsetCommit, PartitionRef, Sink, SinkConfig, TopicPartition,
    TopicSpec,
};
use millstream_processor::config::KafkaProduce;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

struct Options {
    records: u64,
    partitions: i32,
    value: usize,
    commit: Duration,
    rate: u64,
    held: usize,
    turns: bool,
    latency: bool,
    client: KafkaProduce,
    producer: Vec<(String, String)>,
}

impl Options {
    fn read() -> Result<Self> {
        let mut options = Self {
            records: 5_000_000,
            partitions: 4,
            value: 100,
            commit: Duration::from_secs(1),
            rate: 0,
            held: 64 << 20,
            turns: false,
            latency: false,
            client: KafkaProduce::default(),
            producer: Vec::new(),
        };
        for argument in env::args().skip(1) {
            let (name, value) = argument.split_once('=').ok_or("write options as NAME=VALUE")?;
            match name {
                "records" => options.records = value.parse()?,
                "partitions" => options.partitions = value.parse()?,
                "value" => options.value = value.parse()?,
                "commit" => options.commit = Duration::from_millis(value.parse()?),
                "rate" => options.rate = value.parse()?,
                "held" => options.held = value.parse()?,
                "turns" => options.turns = value.parse()?,
                "latency" => options.latency = value.parse()?,
                "client" if value == "native" => options.client = KafkaProduce::Native,
                "client" => options.client = KafkaProduce::Librdkafka,
                _ => options.producer.push((name.to_owned(), value.to_owned())),
            }
        }
        Ok(options)
    }
}

/// A writer with the partitions it writes to, and what its commits took.
struct Writer {
    sink: Box<dyn Sink>,
    partitions: Vec<PartitionRef>,
    source: TopicPartition,
    group: GroupToken,
    commits: Vec<Duration>,
    /// The most bytes that were not acknowledged.
    held: usize,
}

impl Writer {
    fn open(broker: &KafkaBroker, topic: &str, count: i32) -> Result<Self> {
        broker.admin().create(&TopicSpec::new(topic, count))?;
        let mut sink = broker.sink(&SinkConfig::default())?;
        let mut partitions = Vec::new();
        for partition in 0..count {
            partitions.push(sink.open(&TopicPartition::new(topic, partition))?);
        }
        Ok(Self {
            sink,
            partitions,
            source: TopicPartition::new(topic, 0),
            group: GroupToken::alone(topic),
            commits: Vec::new(),
            held: 0,
        })
    }

    fn commit(&mut self, offset: u64) -> Result<()> {
        let start = Instant::now();
        let partition = self.source.clone();
        self.sink.commit(&self.group, &mut |_| {
            vec![OffsetCommit {
                partition: partition.clone(),
                offset: offset as i64,
                metadata: String::new(),
            }]
        })?;
        self.commits.push(start.elapsed());
        Ok(())
    }

    /// Appends as many records as asked; sends after each 512, as a task does after each round.
    fn write(&mut self, options: &Options, start: Instant) -> Result<()> {
        let mut value = vec![b'x'; options.value.max(8)];
        let mut committed_at = start;
        let count = self.partitions.len() as u64;
        for number in 0..options.records {
            let turn = if options.turns { number } else { number / 512 };
            let to = self.partitions[(turn % count) as usize];
            let key = (number as u32).to_be_bytes();
            let timestamp = 1_700_000_000_000 + number as i64;
            if options.rate > 0 {
                // When it should have been written: a writer that is late is part of the latency.
                value[..8].copy_from_slice(&due(number, options.rate).to_be_bytes());
            }
            self.sink.append(to, timestamp, Some(&key), Some(&value), &[])?;
            let round = if options.rate == 0 { 512 } else { 1 };
            if number % round == round - 1 {
                self.sink.send()?;
                let held = self.sink.buffered_bytes();
                self.held = self.held.max(held);
                if committed_at.elapsed() >= options.commit || held > options.held {
                    self.commit(number + 1)?;
                    committed_at = Instant::now();
                }
            }
            if options.rate > 0 {
                let next = start + Duration::from_nanos(due(number + 1, options.rate));
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        }
        self.commit(options.records)
    }
}

/// When record `number` is to be written, in nanoseconds from the start.
fn due(number: u64, rate: u64) -> u64 {
    number * 1_000_000_000 / rate.max(1)
}

/// Reads what is written and tells how old it is, in nanoseconds.
struct Reader {
    done: Arc<AtomicBool>,
    thread: thread::JoinHandle<std::result::Result<Vec<u64>, String>>,
}

impl Reader {
    fn start(broker: &KafkaBroker, topic: &str, partitions: i32, start: Instant) -> Result<Self> {
        let mut fetch = broker.fetch(&FetchConfig::default())?;
        let mut from = Vec::new();
        for partition in 0..partitions {
            let tp = TopicPartition::new(topic, partition);
            let end = broker.admin().end_offsets(std::slice::from_ref(&tp))?[0];
            from.push((tp, Some(end)));
        }
        fetch.assign(&from)?;
        let done = Arc::new(AtomicBool::new(false));
        let is_done = done.clone();
        let thread = thread::spawn(move || read_ages(&mut *fetch, start, &is_done).map_err(|e| e.to_string()));
        Ok(Self { done, thread })
    }

    fn end(self) -> Result<Vec<u64>> {
        self.done.store(true, Relaxed);
        let mut ages = self.thread.join().map_err(|_| "the reader panicked")??;
        ages.sort_unstable();
        Ok(ages)
    }
}

fn read_ages(fetch: &mut dyn Fetch, start: Instant, done: &AtomicBool) -> Result<Vec<u64>> {
    let (mut ages, mut events) = (Vec::new(), Vec::new());
    loop {
        fetch.poll(Duration::from_millis(100), &mut events)?;
        if events.is_empty() && done.load(Relaxed) {
            return Ok(ages);
        }
        let now = start.elapsed().as_nanos() as u64;
        for event in events.drain(..) {
            let FetchEvent::Chunk { chunk, .. } = event else {
                continue;
            };
            let written = chunk
                .records()
                .iter()
                .filter_map(|record| chunk.value(record)?.first_chunk::<8>());
            ages.extend(written.map(|at| now.saturating_sub(u64::from_be_bytes(*at))));
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let options = Options::read()?;
    let bootstrap =
        env::var("KAFKA_BOOTSTRAP_SERVERS").map_err(|_| "set KAFKA_BOOTSTRAP_SERVERS, or use `kafka run`")?;
    let mut settings = KafkaSettings::new(bootstrap).writing_with(options.client);
    settings.producer.clone_from(&options.producer);
    let broker = KafkaBroker::new(settings)?;
    let topic = format!("write-path-{}", std::process::id());
    let mut writer = Writer::open(&broker, &topic, options.partitions)?;
    // Connections and producer id come first; so does the empty commit's time.
    writer.sink.append(writer.partitions[0], 1, None, Some(b"first"), &[])?;
    writer.commit(0)?;
    writer.commits.clear();
    for again in 1..=20 {
        writer.commit(again)?;
    }
    println!("a commit of nothing: {:.2?}", median(&mut writer.commits));
    writer.commits.clear();

    let start = Instant::now();
    let reader = if options.latency {
        Some(Reader::start(&broker, &topic, options.partitions, start)?)
    } else {
        None
    };
    let (cpu, times, switches, wall) = (cpu_time(), user_and_system()?, context_switches()?, Instant::now());
    writer.write(&options, start)?;
    let (cpu, wall) = (cpu_time() - cpu, wall.elapsed());
    let (user, system) = user_and_system()?;
    let each = 1e6 / options.records as f64;
    println!(
        "{} records of 4 + {} bytes: {:.3} us CPU each (user {:.2}, system {:.2}), {:.2} M/s, {} context switches, {} \
         commits of {:.2?} (at most {:.2?}), at most {:.1} MiB held, peak RSS {} MiB",
        options.records,
        options.value,
        cpu.as_secs_f64() * each,
        (user - times.0) * each,
        (system - times.1) * each,
        options.records as f64 / wall.as_secs_f64() / 1e6,
        context_switches()?.saturating_sub(switches),
        writer.commits.len(),
        median(&mut writer.commits),
        writer.commits.iter().max().copied().unwrap_or_default(),
        writer.held as f64 / 1024.0 / 1024.0,
        status_field("/proc/self/status", "VmHWM:")? / 1024,
    );
    if let Some(reader) = reader {
        let ages = reader.end()?;
        let at = |share: f64| Duration::from_nanos(ages[((ages.len() - 1) as f64 * share) as usize]);
        println!(
            "age at the reader: p50 {:.2?}, p90 {:.2?}, p99 {:.2?}, p99.9 {:.2?} ({} records)",
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            ages.len()
        );
    }
    broker.admin().delete(&topic)?;
    Ok(())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Seconds of CPU time, in the kernel's ticks of 10 ms.
fn user_and_system() -> Result<(f64, f64)> {
    let text = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks =
        |at: usize| -> Result<f64> { Ok(fields.get(at).ok_or("short /proc/self/stat")?.parse::<f64>()? / 100.0) };
    Ok((ticks(11)?, ticks(12)?))
}

/// Voluntary and not, of all threads that still live.
fn context_switches() -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let status = task?.path().join("status").display().to_string();
        sum +=
            status_field(&status, "voluntary_ctxt_switches:")? + status_field(&status, "nonvoluntary_ctxt_switches:")?;
    }
    Ok(sum)
}

fn status_field(file: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|rest| rest.split_whitespace().next());
    Ok(value.ok_or_else(|| format!("{file} has no {name}"))?.parse()?)
}
