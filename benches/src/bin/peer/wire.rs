//! The few words of Kafka's protocol that the driver speaks: create topics, produce, fetch, ask for offsets.
//!
//! A client of its own, so that what loads the data, watches the progress and judges the results is neither of the two
//! clients under test. One broker, one connection, old versions of each request without tagged fields.

use crate::Result;
use std::io::{Read, Write};
use std::net::TcpStream;

/// Topic or partition not (yet) known, no leader yet, coordinator not (yet) there: passes.
const PASSING: &[i16] = &[3, 5, 6, 14, 15, 16];

/// The largest answer that is read: a fetch asks for less.
const LARGEST_ANSWER: usize = 256 << 20;

/// A request in the making: header first, length filled in when it is sent.
pub struct Request {
    bytes: Vec<u8>,
}

impl Request {
    fn new(key: i16, version: i16) -> Self {
        let mut request = Self { bytes: vec![0; 4] };
        request.i16(key).i16(version).i32(0).text("peer-driver");
        request
    }

    fn i8(&mut self, n: i8) -> &mut Self {
        self.bytes.extend(n.to_be_bytes());
        self
    }

    fn i16(&mut self, n: i16) -> &mut Self {
        self.bytes.extend(n.to_be_bytes());
        self
    }

    fn i32(&mut self, n: i32) -> &mut Self {
        self.bytes.extend(n.to_be_bytes());
        self
    }

    fn i64(&mut self, n: i64) -> &mut Self {
        self.bytes.extend(n.to_be_bytes());
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.i16(text.len() as i16);
        self.bytes.extend(text.as_bytes());
        self
    }

    fn blob(&mut self, blob: &[u8]) -> &mut Self {
        self.i32(blob.len() as i32);
        self.bytes.extend(blob);
        self
    }
}

/// An answer, read from front to back.
struct Answer {
    bytes: Vec<u8>,
    at: usize,
}

impl Answer {
    fn take(&mut self, n: usize) -> Result<&[u8]> {
        let end = self.at.saturating_add(n);
        let taken = self.bytes.get(self.at..end).ok_or("the broker's answer is too short")?;
        self.at = end;
        Ok(taken)
    }

    fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.take(2)?.try_into()?))
    }

    fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into()?))
    }

    fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.take(8)?.try_into()?))
    }

    fn text(&mut self) -> Result<String> {
        let length = usize::try_from(self.i16()?).unwrap_or(0);
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    fn blob(&mut self) -> Result<&[u8]> {
        let length = usize::try_from(self.i32()?).unwrap_or(0);
        self.take(length)
    }
}

/// Where to read on, and how many bytes at most.
pub struct From<'a> {
    /// Topic.
    pub topic: &'a str,
    /// The next offset of each partition.
    pub offsets: &'a [i64],
    /// At most so many bytes of each partition, but always one batch.
    pub partition_bytes: i32,
    /// How long the broker may wait for the first byte.
    pub wait_ms: i32,
}

/// A connection to the broker.
pub struct Client {
    stream: TcpStream,
    /// Requests sent but not answered.
    in_flight: usize,
}

impl Client {
    /// Connects to `host:port`.
    pub fn connect(bootstrap: &str) -> Result<Self> {
        let server = bootstrap.split(',').next().unwrap_or_default().trim();
        let stream = TcpStream::connect(server).map_err(|e| format!("no broker at {server}: {e}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, in_flight: 0 })
    }

    fn send(&mut self, mut request: Request) -> Result<()> {
        let length = i32::try_from(request.bytes.len() - 4)?;
        if let Some(head) = request.bytes.get_mut(..4) {
            head.copy_from_slice(&length.to_be_bytes());
        }
        self.stream.write_all(&request.bytes)?;
        self.in_flight += 1;
        Ok(())
    }

    fn receive(&mut self) -> Result<Answer> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > LARGEST_ANSWER {
            return Err(format!("the broker announces an answer of {length} bytes").into());
        }
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        self.in_flight -= 1;
        Ok(Answer { bytes, at: 4 }) // behind the correlation id: one connection answers in order
    }

    fn ask(&mut self, request: Request) -> Result<Answer> {
        self.send(request)?;
        self.receive()
    }

    /// Creates a topic of `partitions` whose records are never deleted, whatever their time; waits until it can be used.
    pub fn create_topic(&mut self, topic: &str, partitions: usize, settings: &[(&str, &str)]) -> Result<()> {
        let mut request = Request::new(19, 4);
        request.i32(1).text(topic).i32(partitions as i32).i16(1).i32(0);
        let kept = [("retention.ms", "-1"), ("retention.bytes", "-1")];
        request.i32((settings.len() + kept.len()) as i32);
        for (key, value) in kept.iter().chain(settings) {
            request.text(key).text(value);
        }
        request.i32(30_000).i8(0);
        let mut answer = self.ask(request)?;
        let (_throttle, _count, _name, error) = (answer.i32()?, answer.i32()?, answer.text()?, answer.i16()?);
        if error != 0 {
            return Err(format!("cannot create the topic {topic}: error {error} {}", answer.text()?).into());
        }
        while self.ends_once(topic, partitions, -1)?.is_none() {
            crate::process::nap(10);
        }
        Ok(())
    }

    /// Deletes a topic.
    pub fn delete_topic(&mut self, topic: &str) -> Result<()> {
        let mut request = Request::new(20, 1);
        request.i32(1).text(topic).i32(30_000);
        let mut answer = self.ask(request)?;
        let (_throttle, _count, _name, error) = (answer.i32()?, answer.i32()?, answer.text()?, answer.i16()?);
        match error {
            0 => Ok(()),
            error => Err(format!("cannot delete the topic {topic}: error {error}").into()),
        }
    }

    /// The topics there are, each with its number of partitions.
    pub fn topics(&mut self) -> Result<Vec<(String, usize)>> {
        let mut request = Request::new(3, 1);
        request.i32(-1);
        let mut answer = self.ask(request)?;
        for _ in 0..answer.i32()? {
            let _broker = (answer.i32()?, answer.text()?, answer.i32()?, answer.text()?);
        }
        let _controller = answer.i32()?;
        let mut topics = Vec::new();
        for _ in 0..answer.i32()? {
            let (_error, name, _internal, partitions) =
                (answer.i16()?, answer.text()?, answer.take(1)?.len(), answer.i32()?);
            for _ in 0..partitions {
                let _partition = (answer.i16()?, answer.i32()?, answer.i32()?);
                for _list in 0..2 {
                    for _ in 0..answer.i32()? {
                        answer.i32()?;
                    }
                }
            }
            topics.push((name, usize::try_from(partitions)?));
        }
        Ok(topics)
    }

    /// First offset of each partition.
    pub fn starts(&mut self, topic: &str, partitions: usize) -> Result<Vec<i64>> {
        let starts = self.ends_once(topic, partitions, -2)?;
        starts.ok_or_else(|| format!("{topic} has no leader").into())
    }

    /// Offset behind the last record of each partition.
    pub fn ends(&mut self, topic: &str, partitions: usize) -> Result<Vec<i64>> {
        let ends = self.ends_once(topic, partitions, -1)?;
        ends.ok_or_else(|| format!("{topic} has no leader").into())
    }

    /// `None` while the broker says that this will pass.
    fn ends_once(&mut self, topic: &str, partitions: usize, time: i64) -> Result<Option<Vec<i64>>> {
        let mut request = Request::new(2, 1);
        request.i32(-1).i32(1).text(topic).i32(partitions as i32);
        for partition in 0..partitions {
            request.i32(partition as i32).i64(time);
        }
        let mut answer = self.ask(request)?;
        let (_count, _name, count) = (answer.i32()?, answer.text()?, answer.i32()?);
        let mut ends = vec![0; partitions];
        for _ in 0..count {
            let (partition, error, _time, offset) = (answer.i32()?, answer.i16()?, answer.i64()?, answer.i64()?);
            match error {
                0 => *ends.get_mut(usize::try_from(partition)?).ok_or("a strange partition")? = offset,
                error if PASSING.contains(&error) => return Ok(None),
                error => return Err(format!("offsets of {topic}: error {error}").into()),
            }
        }
        Ok(Some(ends))
    }

    /// The committed offsets of a group, 0 where there is none.
    pub fn committed(&mut self, group: &str, topic: &str, partitions: usize) -> Result<Vec<i64>> {
        let mut request = Request::new(9, 1);
        request.text(group).i32(1).text(topic).i32(partitions as i32);
        for partition in 0..partitions {
            request.i32(partition as i32);
        }
        let mut answer = self.ask(request)?;
        let (_count, _name, count) = (answer.i32()?, answer.text()?, answer.i32()?);
        let mut offsets = vec![0; partitions];
        for _ in 0..count {
            let (partition, offset, _metadata, error) = (answer.i32()?, answer.i64()?, answer.text()?, answer.i16()?);
            if error != 0 && !PASSING.contains(&error) {
                return Err(format!("committed offsets of {group}: error {error}").into());
            }
            if let Some(slot) = offsets.get_mut(usize::try_from(partition)?) {
                *slot = offset.max(0);
            }
        }
        Ok(offsets)
    }

    /// Sends batches, at most one for each partition, and waits only when `window` requests have no answer yet.
    pub fn produce(&mut self, topic: &str, batches: &[(usize, &[u8])], window: usize) -> Result<()> {
        let size: usize = batches.iter().map(|(_, bytes)| bytes.len() + 8).sum();
        let mut request = Request::new(0, 3);
        request.bytes.reserve(size);
        request
            .i16(-1)
            .i16(1)
            .i32(30_000)
            .i32(1)
            .text(topic)
            .i32(batches.len() as i32);
        for (partition, bytes) in batches {
            request.i32(*partition as i32).blob(bytes);
        }
        self.send(request)?;
        while self.in_flight >= window {
            self.produced()?;
        }
        Ok(())
    }

    /// Waits for all answers that [`Client::produce`] did not wait for.
    pub fn flush(&mut self) -> Result<()> {
        while self.in_flight > 0 {
            self.produced()?;
        }
        Ok(())
    }

    fn produced(&mut self) -> Result<()> {
        let mut answer = self.receive()?;
        for _ in 0..answer.i32()? {
            let topic = answer.text()?;
            for _ in 0..answer.i32()? {
                let (partition, error, _offset, _time) = (answer.i32()?, answer.i16()?, answer.i64()?, answer.i64()?);
                if error != 0 {
                    return Err(format!("producing to {topic}, partition {partition}: error {error}").into());
                }
            }
        }
        Ok(())
    }

    /// Hands the bytes of each partition that has new ones to `each`.
    pub fn fetch(&mut self, from: &From<'_>, mut each: impl FnMut(usize, &[u8]) -> Result<()>) -> Result<()> {
        let mut request = Request::new(1, 4);
        let most = from.partition_bytes.saturating_mul(from.offsets.len() as i32);
        request.i32(-1).i32(from.wait_ms).i32(1).i32(most).i8(1);
        request.i32(1).text(from.topic).i32(from.offsets.len() as i32);
        for (partition, offset) in from.offsets.iter().enumerate() {
            request.i32(partition as i32).i64(*offset).i32(from.partition_bytes);
        }
        let mut answer = self.ask(request)?;
        let (_throttle, topics) = (answer.i32()?, answer.i32()?);
        for _ in 0..topics {
            let topic = answer.text()?;
            for _ in 0..answer.i32()? {
                let (partition, error, _high, _stable) = (answer.i32()?, answer.i16()?, answer.i64()?, answer.i64()?);
                for _ in 0..answer.i32()?.max(0) {
                    let _aborted = (answer.i64()?, answer.i64()?);
                }
                let bytes = answer.blob()?;
                if error != 0 {
                    return Err(format!("fetching {topic}, partition {partition}: error {error}").into());
                }
                if !bytes.is_empty() {
                    each(usize::try_from(partition)?, bytes)?;
                }
            }
        }
        Ok(())
    }
}
