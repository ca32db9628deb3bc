//! Whether a run of the demo starts afresh or goes on, and what it needs for that.

use std::fmt;
use std::io;
use std::path::Path;

use millstream_flights::data::FLIGHT_COUNT;
use millstream_flights::topology::{APPLICATION, EVENTS, PARTITIONS, RAW, TOPICS};
use millstream_processor::broker::{Broker, TopicPartition, TopicSpec};

use super::summary::records;
use crate::failure::Failure;

/// How a run begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// There was nothing.
    First,
    /// The last run had finished: its topics and stores are deleted.
    Afresh,
    /// The last run was stopped or killed: this one takes up where it was.
    GoesOn {
        /// Messages that had been produced.
        produced: i64,
        /// Messages that had been processed and committed.
        processed: i64,
    },
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("Starting: there is no earlier run here."),
            Self::Afresh => {
                f.write_str("Starting afresh: the last run had finished; its topics and stores are deleted.")
            }
            Self::GoesOn { produced, processed } => write!(
                f,
                "Going on with the last run, which did not finish: {produced} of {FLIGHT_COUNT} messages produced, \
                 {processed} processed."
            ),
        }
    }
}

/// Finds out how this run begins and makes it so: all topics exist afterwards.
pub fn prepare(broker: &dyn Broker, state_dir: &Path) -> Result<Start, Failure> {
    let start = find_out(broker)?;
    match start {
        Start::GoesOn { .. } => {}
        Start::First | Start::Afresh => {
            delete_topics(broker)?;
            delete_stores(state_dir)?;
        }
    }
    for topic in TOPICS {
        if broker.admin().describe(topic)?.is_none() {
            broker.admin().create(&TopicSpec::new(topic, PARTITIONS))?;
        }
    }
    Ok(start)
}

fn find_out(broker: &dyn Broker) -> Result<Start, Failure> {
    if broker.admin().describe(RAW)?.is_none() {
        return Ok(Start::First);
    }
    let produced = records(broker, RAW)?;
    let mut processed = 0;
    let mut behind = false;
    for topic in sources(broker)? {
        let partitions: Vec<_> = (0..PARTITIONS)
            .map(|p| TopicPartition::new(topic.as_str(), p))
            .collect();
        let ends = broker.admin().end_offsets(&partitions)?;
        let committed = broker.admin().committed(APPLICATION, &partitions)?;
        let committed: Vec<i64> = committed.iter().map(|c| c.as_ref().map_or(0, |c| c.offset)).collect();
        behind |= committed.iter().zip(&ends).any(|(committed, end)| committed < end);
        if topic == RAW {
            processed = committed.iter().sum();
        }
    }
    if behind || produced < FLIGHT_COUNT as i64 {
        return Ok(Start::GoesOn { produced, processed });
    }
    Ok(Start::Afresh)
}

/// Everything the job reads record by record.
fn sources(broker: &dyn Broker) -> Result<Vec<String>, Failure> {
    let mut topics = vec![RAW.to_string(), EVENTS.to_string()];
    topics.extend(
        internal(broker)?
            .into_iter()
            .filter(|topic| topic.ends_with("-repartition")),
    );
    Ok(topics)
}

fn internal(broker: &dyn Broker) -> Result<Vec<String>, Failure> {
    let prefix = format!("{APPLICATION}-");
    let topics = broker.admin().topics()?;
    Ok(topics
        .iter()
        .map(|info| info.name.to_string())
        .filter(|name| name.starts_with(&prefix))
        .collect())
}

/// Deletes all topics of the job, internal ones too.
pub fn delete_topics(broker: &dyn Broker) -> Result<(), Failure> {
    for topic in internal(broker)?.iter().map(String::as_str).chain(TOPICS) {
        broker.admin().delete(topic)?;
    }
    Ok(())
}

fn delete_stores(state_dir: &Path) -> Result<(), Failure> {
    let dir = state_dir.join(APPLICATION);
    match std::fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failure::failed(format!(
            "cannot delete the stores of the last run in {}: {error}",
            dir.display()
        ))),
        _ => Ok(()),
    }
}
