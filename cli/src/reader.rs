//! Reads a topic from its beginning to its end, or on and on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millstream_processor::broker::{Broker, Fetch, FetchConfig, FetchEvent, TopicPartition};
use millstream_topology::record::Chunk;

use crate::failure::Failure;

/// How long one poll waits: also how soon a signal is noticed.
const WAIT: Duration = Duration::from_millis(200);

/// A topic being read, all partitions at once.
pub struct Reader {
    fetch: Box<dyn Fetch>,
    /// Where each partition ended when we began; partitions read so far go away.
    ends: BTreeMap<i32, i64>,
    events: Vec<FetchEvent>,
}

impl Reader {
    /// Begins at the first record of every partition.
    pub fn open(broker: &dyn Broker, topic: &str) -> Result<Self, Failure> {
        let Some(info) = broker.admin().describe(topic)? else {
            return Err(no_such_topic(broker, topic)?);
        };
        let partitions: Vec<_> = (0..info.partitions)
            .map(|p| TopicPartition::new(info.name.clone(), p))
            .collect();
        let starts = broker.admin().start_offsets(&partitions)?;
        let ends = broker.admin().end_offsets(&partitions)?;
        let mut fetch = broker.fetch(&FetchConfig {
            name: "millstream-cat".into(),
            ..FetchConfig::default()
        })?;
        let from: Vec<_> = partitions
            .iter()
            .cloned()
            .zip(starts.iter().copied().map(Some))
            .collect();
        fetch.assign(&from)?;
        let ends = starts.iter().zip(&ends).enumerate();
        let ends = ends
            .filter(|(_, (start, end))| start < end)
            .map(|(p, (_, end))| (p as i32, *end))
            .collect();
        Ok(Self {
            fetch,
            ends,
            events: Vec::new(),
        })
    }

    /// Whether everything that was there when we began has been read.
    pub fn at_end(&self) -> bool {
        self.ends.is_empty()
    }

    /// The records that have arrived; none when nothing did within a moment.
    pub fn poll(&mut self) -> Result<Vec<Arc<Chunk>>, Failure> {
        self.fetch.poll(WAIT, &mut self.events)?;
        let mut chunks = Vec::with_capacity(self.events.len());
        for event in self.events.drain(..) {
            match event {
                FetchEvent::Chunk {
                    partition, chunk, next, ..
                } => {
                    if self.ends.get(&partition.partition).is_some_and(|end| next >= *end) {
                        self.ends.remove(&partition.partition);
                    }
                    chunks.push(chunk);
                }
                FetchEvent::OutOfRange { partition, start, .. } => {
                    tracing::warn!(%partition, start, "records were deleted while we read; going on with the first there is");
                    self.fetch.assign(&[(partition, Some(start))])?;
                }
                FetchEvent::Truncated { partition, end } => {
                    tracing::warn!(%partition, end, "the log was cut back while we read; going on with what is written there now");
                    self.fetch.assign(&[(partition, Some(end))])?;
                }
                FetchEvent::Lost { partition, reason } => {
                    return Err(Failure::failed(format!("cannot read {partition} any more: {reason}")));
                }
            }
        }
        Ok(chunks)
    }
}

fn no_such_topic(broker: &dyn Broker, topic: &str) -> Result<Failure, Failure> {
    let known: Vec<String> = broker
        .admin()
        .topics()?
        .iter()
        .map(|info| info.name.to_string())
        .collect();
    let known = if known.is_empty() {
        "there are none yet".into()
    } else {
        known.join(", ")
    };
    Ok(Failure::misuse(format!(
        "no topic {topic} in the {}; topics: {known}",
        broker.describe()
    )))
}
