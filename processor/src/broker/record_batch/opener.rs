//! Opens what a fetch has brought of one partition, some batches at a time, into chunks.
//!
//! The records of a chunk lie either in the fetched bytes or, when their batches are compressed, in one buffer that these
//! are opened into; so nothing is copied. Where compressed batches follow others a chunk ends. It also ends when it has
//! grown beyond a bound: what is left stays compressed until it is wanted.
#![deny(clippy::indexing_slicing)] // reads what comes from outside

use bytes::Bytes;
use millstream_topology::record::RawRecord;

use super::HEADER_LEN;
use super::aborted::Aborted;
use super::compression::{Compression, Inflater};
use super::reader::{index, is_cut_off, take_batch};
use super::summary::BatchSummary;
use crate::broker::fault::{Fault, Result};

/// Opens fetched bytes. One serves all partitions of a reader.
pub struct Opener {
    inflater: Inflater,
    /// A chunk is closed when its records take this many bytes.
    chunk_bytes: usize,
    /// The most that one batch may hold when it is opened.
    batch_bytes: usize,
}

/// What one call of [`Opener::open`] has found.
#[derive(Debug, Default)]
pub struct Opened {
    /// What the records point into.
    pub buffer: Bytes,
    /// The records, in offset order.
    pub records: Vec<RawRecord>,
    /// The position behind the last batch that was read; `None` when not one whole batch was there.
    pub next: Option<i64>,
    /// The leader epoch of that batch; -1 when it is not known.
    pub leader_epoch: i32,
}

/// How far the whole batches in some fetched bytes reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole {
    /// Bytes they take. What follows a header that makes no sense counts too: opening it tells what is wrong.
    pub bytes: usize,
    /// The position behind the last one; `None` when there is none.
    pub next: Option<i64>,
    /// The leader epoch of the last one.
    pub leader_epoch: i32,
}

/// Looks at the headers alone, so that a fetch can go on before the batches are opened.
pub fn whole_batches(fetched: &[u8]) -> Whole {
    let mut whole = Whole {
        bytes: 0,
        next: None,
        leader_epoch: -1,
    };
    while let Some(rest) = fetched.get(whole.bytes..).filter(|rest| !is_cut_off(rest)) {
        let Ok(summary) = BatchSummary::of(rest) else {
            whole.bytes = fetched.len();
            break;
        };
        whole.bytes += summary.len;
        whole.next = Some(summary.last_offset + 1);
        whole.leader_epoch = summary.leader_epoch;
    }
    whole
}

impl Opener {
    /// Makes chunks of about `chunk_bytes` at most, of batches that hold at most `batch_bytes` each.
    pub fn new(chunk_bytes: usize, batch_bytes: usize) -> Self {
        // Together below 4 GiB, which is what a record's place in its chunk can tell.
        let limit = i32::MAX as usize;
        Self {
            inflater: Inflater::default(),
            chunk_bytes: chunk_bytes.min(limit),
            batch_bytes: batch_bytes.min(limit),
        }
    }

    /// Opens batches from the front of `bytes` and takes them away from there; the records before offset `from`, those
    /// of aborted transactions and transaction markers are left out. A batch that is cut off is left in `bytes`.
    ///
    /// # Errors
    /// The first batch that cannot be trusted or read; the text names its offset.
    pub fn open(&mut self, bytes: &mut Bytes, from: i64, aborted: &mut Aborted) -> Result<Opened> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(Fault::misuse("a fetched buffer must be below 4 GiB"));
        }
        let mut chunk = Growing::new();
        let mut read = 0;
        while let Some(rest) = bytes.get(read..).filter(|rest| !is_cut_off(rest)) {
            match self.add(&mut chunk, (bytes, read), rest, from, aborted) {
                Ok(Some(summary)) => {
                    read += summary.len;
                    chunk.next = Some(summary.last_offset + 1);
                    chunk.leader_epoch = summary.leader_epoch;
                }
                Ok(None) => break,
                // What was good goes first; the error comes again.
                Err(_) if chunk.next.is_some() => break,
                Err(fault) => return Err(fault),
            }
            if chunk.len() >= self.chunk_bytes {
                break;
            }
        }
        let fetched = bytes.split_to(read);
        Ok(chunk.close(fetched))
    }

    /// Adds the batch at the start of `rest`; `None` when it belongs into another chunk.
    fn add(
        &mut self,
        chunk: &mut Growing,
        (bytes, at): (&[u8], usize),
        rest: &[u8],
        from: i64,
        aborted: &mut Aborted,
    ) -> Result<Option<BatchSummary>> {
        let (summary, batch) = take_batch(rest)?;
        let left_out = aborted.leaves_out(&summary) || summary.is_control() || summary.last_offset < from;
        if left_out {
            return Ok(Some(summary));
        }
        let what = |fault: Fault| fault.at(format_args!("record batch at offset {}", summary.base_offset));
        let compression = summary.compression().map_err(what)?;
        if !chunk.turn(compression != Compression::None) {
            return Ok(None);
        }
        let before = chunk.records.len();
        let done = match &mut chunk.inflated {
            None => {
                let whole = at + HEADER_LEN..at + batch.len();
                chunk.end = whole.end;
                index(bytes, whole, &summary, from, &mut chunk.records)
            }
            Some(buffer) => {
                let start = buffer.len();
                let packed = batch.get(HEADER_LEN..).unwrap_or_default();
                let inflated = self.inflater.inflate(compression, packed, self.batch_bytes, buffer);
                inflated.and_then(|()| index(buffer, start..buffer.len(), &summary, from, &mut chunk.records))
            }
        };
        if let Err(fault) = done {
            chunk.records.truncate(before);
            return Err(what(fault));
        }
        Ok(Some(summary))
    }
}

/// A chunk while batches are added.
struct Growing {
    records: Vec<RawRecord>,
    /// What the records point into, when their batches are compressed.
    inflated: Option<Vec<u8>>,
    /// Else: the end of the last batch with records, in the fetched bytes.
    end: usize,
    next: Option<i64>,
    leader_epoch: i32,
}

impl Growing {
    fn new() -> Self {
        Self {
            records: Vec::new(),
            inflated: None,
            end: 0,
            next: None,
            leader_epoch: -1,
        }
    }

    /// Makes room for records of one kind; false when those at hand are of the other.
    fn turn(&mut self, compressed: bool) -> bool {
        if self.inflated.is_some() == compressed {
            return true;
        }
        if self.records.is_empty() {
            self.inflated = compressed.then(Vec::new);
        }
        self.records.is_empty()
    }

    fn len(&self) -> usize {
        self.inflated.as_ref().map_or(self.end, Vec::len)
    }

    fn close(self, mut fetched: Bytes) -> Opened {
        let buffer = match self.inflated {
            Some(inflated) => Bytes::from(inflated),
            None => {
                fetched.truncate(self.end);
                fetched
            }
        };
        Opened {
            buffer,
            records: self.records,
            next: self.next,
            leader_epoch: self.leader_epoch,
        }
    }
}

#[cfg(test)]
mod tests;
