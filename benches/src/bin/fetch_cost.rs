//! What it costs to read a record from Kafka, with each of the two clients: CPU time of this process, all threads.
//!
//! `cargo run --release -p millstream-integration-tests --bin kafka -- run cargo run --release -p millstream-benches
//! --bin fetch_cost` starts a broker and measures on it. Both clients read the same topic in turn, several times; the
//! first turn of each is not counted (a topic's first read after it was written pays for others).

use clap::Parser;
use millstream_benches::clock::cpu_time;
use millstream_processor::broker::kafka::{KafkaBroker, KafkaSettings};
use millstream_processor::broker::{
    Broker, FetchConfig, FetchEvent, GroupToken, SinkConfig, TopicPartition, TopicSpec,
};
use millstream_processor::config::KafkaFetch;
use std::error::Error;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What it costs to read a record from Kafka.
#[derive(Debug, Parser)]
struct Arguments {
    /// Brokers; by default what KAFKA_BOOTSTRAP_SERVERS names.
    #[arg(long)]
    bootstrap: Option<String>,
    /// Records of 100 bytes under keys of 4, over all partitions.
    #[arg(long, default_value_t = 4_000_000)]
    records: u64,
    /// Partitions.
    #[arg(long, default_value_t = 4)]
    partitions: i32,
    /// Compression of the producer.
    #[arg(long, default_value = "none")]
    compression: String,
    /// The largest batch, in bytes.
    #[arg(long, default_value_t = 128 << 10)]
    batch: usize,
    /// How often each client reads all of it.
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

/// What one reading took.
struct Cost {
    cpu: Duration,
    wall: Duration,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let broker = connect(&arguments, KafkaFetch::Native)?;
    let spec = TopicSpec::new(format!("fetch-cost-{now}"), arguments.partitions);
    broker.admin().create(&spec)?;
    let partitions: Vec<_> = (0..arguments.partitions)
        .map(|index| TopicPartition::new(spec.name.clone(), index))
        .collect();
    write(&broker, &arguments, &partitions)?;
    let ends = broker.admin().end_offsets(&partitions)?;
    drop(broker);

    println!(
        "{} records of 100 bytes in {} partitions, compression {}, batches of {} KiB; CPU us per record (M records/s):",
        arguments.records,
        arguments.partitions,
        arguments.compression,
        arguments.batch >> 10
    );
    println!("| run | native | librdkafka |\n|---|--:|--:|");
    for run in 0..=arguments.runs {
        let native = read(&arguments, KafkaFetch::Native, &partitions, &ends)?;
        let theirs = read(&arguments, KafkaFetch::Librdkafka, &partitions, &ends)?;
        let name = if run == 0 { "warm-up".into() } else { run.to_string() };
        let cell = |cost: &Cost| {
            let count = arguments.records as f64;
            let (cpu, wall) = (
                cost.cpu.as_secs_f64() * 1e6 / count,
                count / cost.wall.as_secs_f64() / 1e6,
            );
            format!("{cpu:.3} ({wall:.1})")
        };
        println!("| {name} | {} | {} |", cell(&native), cell(&theirs));
    }
    let broker = connect(&arguments, KafkaFetch::Native)?;
    broker.admin().delete(&spec.name)?;
    Ok(())
}

fn connect(arguments: &Arguments, fetch: KafkaFetch) -> Result<KafkaBroker, Box<dyn Error>> {
    let bootstrap = match &arguments.bootstrap {
        Some(bootstrap) => bootstrap.clone(),
        None => std::env::var("KAFKA_BOOTSTRAP_SERVERS")?,
    };
    let mut settings = KafkaSettings::new(bootstrap).reading_with(fetch);
    let producer = [
        ("compression.codec", arguments.compression.clone()),
        ("batch.size", arguments.batch.to_string()),
        ("linger.ms", "100".into()),
    ];
    settings.producer = producer.map(|(name, value)| (name.to_owned(), value)).to_vec();
    Ok(KafkaBroker::new(settings)?)
}

fn write(broker: &KafkaBroker, arguments: &Arguments, partitions: &[TopicPartition]) -> Result<(), Box<dyn Error>> {
    let mut sink = broker.sink(&SinkConfig::default())?;
    let places = partitions.iter().map(|tp| sink.open(tp));
    let places = places.collect::<Result<Vec<_>, _>>()?;
    for number in 0..arguments.records {
        let device = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let value = format!(
            r#"{{"device":{device:08},"seq":{number:012},"temperature":{:06.2},"state":"running","site":"north-{:03}"}}"#,
            (device % 10_000) as f64 / 100.0,
            device % 977
        );
        let place = places[number as usize % places.len()];
        let key = (device as u32).to_be_bytes();
        sink.append(
            place,
            1_700_000_000_000 + number as i64,
            Some(&key),
            Some(value.as_bytes()),
            &[],
        )?;
        if number % 10_000 == 0 {
            sink.send()?;
        }
    }
    sink.commit(&GroupToken::alone("fetch-cost"), &mut |_| Vec::new())?;
    Ok(())
}

/// Reads everything with a reader of its own, and looks at each record.
fn read(
    arguments: &Arguments,
    fetch: KafkaFetch,
    partitions: &[TopicPartition],
    ends: &[i64],
) -> Result<Cost, Box<dyn Error>> {
    let broker = connect(arguments, fetch)?;
    let (cpu, wall) = (cpu_time(), Instant::now());
    let mut reader = broker.fetch(&FetchConfig::default())?;
    let diff: Vec<_> = partitions.iter().map(|tp| (tp.clone(), Some(0))).collect();
    reader.assign(&diff)?;
    let (mut records, mut bytes, mut events) = (0, 0, Vec::new());
    let mut left = partitions.len();
    while left > 0 {
        reader.poll(Duration::from_millis(100), &mut events)?;
        for event in events.drain(..) {
            let FetchEvent::Chunk {
                partition, chunk, next, ..
            } = event
            else {
                return Err(format!("{event:?}").into());
            };
            records += chunk.records().len() as u64;
            let lengths = chunk
                .records()
                .iter()
                .map(|record| chunk.value(record).map_or(0, <[u8]>::len));
            bytes += lengths.sum::<usize>();
            left -= usize::from(ends.get(partition.partition as usize) == Some(&next));
        }
    }
    let cost = Cost {
        cpu: cpu_time() - cpu,
        wall: wall.elapsed(),
    };
    if records != arguments.records || bytes == 0 {
        return Err(format!("{records} records came, {} were written", arguments.records).into());
    }
    Ok(cost)
}
