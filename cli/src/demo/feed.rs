//! Produces the year: the planes, then the flights in arrival order, by Kafka's default partitioner.

use std::thread;
use std::time::{Duration, Instant};

use millstream_flights::data::{self, DEVICE_TYPE, Flights, Message, PLANES_TIMESTAMP};
use millstream_flights::topology::{PARTITIONS, PLANES, RAW};
use millstream_processor::broker::{Broker, GroupToken, PartitionRef, Sink, SinkConfig, TopicPartition};
use millstream_processor::partitioner::partition_for;
use millstream_topology::headers;

use crate::failure::{Failure, chain};
use crate::stop::Stop;

/// Messages between two commits when nobody watches the clock.
const BATCH: u64 = 16_384;
/// Time between two commits when replaying at a given speed.
const TICK: Duration = Duration::from_millis(50);

/// Produces what is not in the log yet and returns how much there is then. Goes on where an earlier run was cut off:
/// the order is always the same, so a partition that has n records has the first n of its messages.
pub fn feed(broker: &dyn Broker, speed: Option<f64>, stop: &Stop) -> Result<u64, Failure> {
    feed_planes(broker)?;
    let flights = Flights::load().map_err(|error| Failure::failed(chain(&error)))?;
    let mut topic = Topic::open(broker, RAW)?;
    let mut pace = speed.map(Pace::new);
    let mut block = Vec::new();
    headers::append(&[], &[(DEVICE_TYPE.0, Some(DEVICE_TYPE.1))], &mut block);
    for (index, message) in flights.messages().enumerate() {
        let key = message.key();
        let Some(to) = topic.place_of_next(&key)? else { continue };
        if let Some(pace) = &mut pace {
            pace.wait_for(message, stop, || topic.commit())?;
        }
        if stop.asked() {
            topic.commit()?;
            return Ok(index as u64);
        }
        topic
            .sink
            .append(to, message.arrival, Some(&key), Some(message.line.as_bytes()), &block)?;
        if pace.is_none() && (index as u64).is_multiple_of(BATCH) {
            topic.commit()?;
        }
    }
    topic.commit()?;
    Ok(flights.len() as u64)
}

fn feed_planes(broker: &dyn Broker) -> Result<(), Failure> {
    let planes = data::planes().map_err(|error| Failure::failed(chain(&error)))?;
    let mut topic = Topic::open(broker, PLANES)?;
    for plane in &planes {
        let json = serde_json::to_vec(plane)
            .map_err(|error| Failure::failed(format!("cannot write plane {} as JSON: {error}", plane.tail)))?;
        let key = plane.tail.as_bytes();
        if let Some(to) = topic.place_of_next(key)? {
            topic.sink.append(to, PLANES_TIMESTAMP, Some(key), Some(&json), &[])?;
        }
    }
    topic.commit()
}

/// One topic being written.
struct Topic {
    sink: Box<dyn Sink>,
    /// Each partition and how many of its records an earlier run has produced.
    partitions: Vec<(PartitionRef, i64)>,
}

impl Topic {
    fn open(broker: &dyn Broker, name: &str) -> Result<Self, Failure> {
        let partitions: Vec<_> = (0..PARTITIONS).map(|p| TopicPartition::new(name, p)).collect();
        let ends = broker.admin().end_offsets(&partitions)?;
        let mut sink = broker.sink(&SinkConfig {
            name: "millstream-demo-feed".into(),
            ..SinkConfig::default()
        })?;
        let refs: Result<Vec<_>, _> = partitions.iter().map(|partition| sink.open(partition)).collect();
        Ok(Self {
            sink,
            partitions: refs?.into_iter().zip(ends).collect(),
        })
    }

    /// Where the next record with this key goes; none if an earlier run has produced it already.
    fn place_of_next(&mut self, key: &[u8]) -> Result<Option<PartitionRef>, Failure> {
        let partition = partition_for(key, self.partitions.len() as i32);
        match self.partitions.get_mut(partition as usize) {
            Some((_, there)) if *there > 0 => {
                *there -= 1;
                Ok(None)
            }
            Some((to, _)) => Ok(Some(*to)),
            None => Err(Failure::failed(format!(
                "there is no partition {partition} to produce to"
            ))),
        }
    }

    fn commit(&mut self) -> Result<(), Failure> {
        Ok(self
            .sink
            .commit(&GroupToken::alone("millstream-demo-feed"), &mut |_| Vec::new())?)
    }
}

/// Holds messages back until it is their time.
struct Pace {
    speed: f64,
    /// The first message's arrival, and when we saw it.
    first: Option<(i64, Instant)>,
    committed: Instant,
}

impl Pace {
    fn new(speed: f64) -> Self {
        Self {
            speed,
            first: None,
            committed: Instant::now(),
        }
    }

    /// Returns when `message` is due; calls `commit` on the way, so that what was produced can be seen.
    fn wait_for(
        &mut self,
        message: Message<'_>,
        stop: &Stop,
        mut commit: impl FnMut() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (first, began) = *self.first.get_or_insert_with(|| (message.arrival, Instant::now()));
        let due = began + Duration::from_secs_f64((message.arrival - first) as f64 / 1000.0 / self.speed);
        loop {
            let now = Instant::now();
            if now >= self.committed + TICK {
                commit()?;
                self.committed = now;
            }
            if now >= due || stop.asked() {
                return Ok(());
            }
            thread::sleep((due - now).min(TICK));
        }
    }
}
