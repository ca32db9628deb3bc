//! `millstream topics`: what a log holds.

use std::io::Write;

use millstream_processor::broker::TopicPartition;

use crate::args::PlaceOptions;
use crate::failure::Failure;
use crate::place::Place;

/// Prints a line for each topic: name, partitions, records (offsets in use), clean-up.
pub fn run(options: &PlaceOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let broker = Place::of(options).open_to_read()?;
    let topics = broker.admin().topics()?;
    let width = topics
        .iter()
        .map(|topic| topic.name.len())
        .max()
        .unwrap_or(0)
        .max("TOPIC".len());
    writeln!(
        out,
        "{:width$}  {:>10}  {:>12}  CLEANUP",
        "TOPIC", "PARTITIONS", "RECORDS"
    )?;
    for topic in &topics {
        let partitions: Vec<_> = (0..topic.partitions)
            .map(|p| TopicPartition::new(topic.name.clone(), p))
            .collect();
        let starts = broker.admin().start_offsets(&partitions)?;
        let ends = broker.admin().end_offsets(&partitions)?;
        let records: i64 = ends.iter().zip(&starts).map(|(end, start)| end - start).sum();
        let (name, count, cleanup) = (&topic.name, topic.partitions, topic.cleanup.as_str());
        writeln!(out, "{name:width$}  {count:>10}  {records:>12}  {cleanup}")?;
    }
    Ok(out.flush()?)
}
