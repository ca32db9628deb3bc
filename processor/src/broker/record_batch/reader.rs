//! Opens batches: checks them and finds every record, without copying any.
#![deny(clippy::indexing_slicing)] // reads what comes from outside

use millstream_topology::record::{RawRecord, Span};

use super::{
    ATTRIBUTES_AT, BASE_TIMESTAMP_AT, COMPRESSION_BITS, CONTROL_BIT, COUNT_AT, CRC_AT, HEADER_LEN, LAST_DELTA_AT,
    LENGTH_END, LOG_APPEND_TIME_BIT, MAGIC_AT, MAX_TIMESTAMP_AT, headers, read, varint,
};
use crate::broker::fault::{Fault, Result};

/// The fewest bytes a record can take: length, attributes, two deltas, two lengths, header count.
const MIN_RECORD: usize = 7;

/// What the header of a batch says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSummary {
    /// Offset of its first record before any compaction.
    pub base_offset: i64,
    /// Offset of its last record before any compaction.
    pub last_offset: i64,
    /// The latest timestamp of its records.
    pub max_timestamp: i64,
    /// How many bytes it takes in all.
    pub len: usize,
}

impl BatchSummary {
    /// Reads the header at the start of `bytes`; checks sizes, not the checksum.
    pub fn of(bytes: &[u8]) -> Result<Self> {
        let rest = i32::from_be_bytes(read(bytes, 8)?);
        let len = usize::try_from(rest).unwrap_or(0) + LENGTH_END;
        let [magic] = read(bytes, MAGIC_AT)?;
        if magic != 2 {
            return Err(Fault::corrupt(format!(
                "record batch of format {magic}; only format 2 is known"
            )));
        }
        if len < HEADER_LEN || len > bytes.len() {
            let have = bytes.len();
            return Err(Fault::corrupt(format!(
                "record batch says it has {len} bytes; {have} are at hand"
            )));
        }
        let base_offset = i64::from_be_bytes(read(bytes, 0)?);
        let last_delta = i32::from_be_bytes(read(bytes, LAST_DELTA_AT)?);
        let last_offset = base_offset.checked_add(i64::from(last_delta));
        let Some(last_offset) = last_offset.filter(|last| base_offset >= 0 && *last >= base_offset && *last < i64::MAX)
        else {
            return Err(Fault::corrupt(format!(
                "record batch from offset {base_offset} to {last_delta} further"
            )));
        };
        let max_timestamp = i64::from_be_bytes(read(bytes, MAX_TIMESTAMP_AT)?);
        Ok(Self {
            base_offset,
            last_offset,
            max_timestamp,
            len,
        })
    }
}

/// What [`decode`] found besides the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Decoded {
    /// The position behind the last batch; 0 when there was none.
    pub next: i64,
    /// Bytes used: whole batches. A fetch may end inside a batch; the rest is not looked at.
    pub bytes: usize,
}

/// Finds the records at or behind offset `from` in the batches that `buffer` holds, and appends them to `records`.
///
/// Checks the checksum of every batch. Records of control batches (transaction markers) are passed over. A batch that is
/// cut off at the end of the buffer is left, unless it is the only one. The buffer must be below 4 GiB.
#[allow(
    clippy::indexing_slicing,
    reason = "`BatchSummary::of` has checked its length against the bytes at hand"
)]
pub fn decode(buffer: &[u8], from: i64, records: &mut Vec<RawRecord>) -> Result<Decoded> {
    if u32::try_from(buffer.len()).is_err() {
        return Err(Fault::misuse("a fetched buffer must be below 4 GiB"));
    }
    let mut done = Decoded::default();
    while done.bytes < buffer.len() {
        let rest = &buffer[done.bytes..];
        if done.bytes > 0 && is_cut_off(rest) {
            break;
        }
        let summary = BatchSummary::of(rest)?;
        let batch = &rest[..summary.len];
        decode_batch(batch, done.bytes, &summary, from, records)
            .map_err(|fault| fault.at(format_args!("record batch at offset {}", summary.base_offset)))?;
        done.next = summary.last_offset + 1;
        done.bytes += summary.len;
    }
    Ok(done)
}

/// Whether a batch begins here of which the end is missing.
fn is_cut_off(rest: &[u8]) -> bool {
    match read(rest, 8).map(i32::from_be_bytes) {
        Ok(len) => usize::try_from(len).is_ok_and(|len| len + LENGTH_END > rest.len()),
        Err(_) => true,
    }
}

fn decode_batch(
    batch: &[u8],
    start: usize,
    summary: &BatchSummary,
    from: i64,
    records: &mut Vec<RawRecord>,
) -> Result<()> {
    let crc = u32::from_be_bytes(read(batch, CRC_AT)?);
    #[allow(clippy::indexing_slicing, reason = "the line above has read what stands before")]
    let found = crc32c::crc32c(&batch[CRC_AT + 4..]);
    if crc != found {
        return Err(Fault::corrupt(format!(
            "checksum {found:08x}, but {crc:08x} was written"
        )));
    }
    let attributes = i16::from_be_bytes(read(batch, ATTRIBUTES_AT)?);
    if attributes & CONTROL_BIT != 0 {
        return Ok(());
    }
    if attributes & COMPRESSION_BITS != 0 {
        let name = ["none", "gzip", "snappy", "lz4", "zstd"]
            .get((attributes & COMPRESSION_BITS) as usize)
            .unwrap_or(&"of an unknown kind");
        return Err(Fault::misuse(format!(
            "compressed ({name}), which this reader does not open"
        )));
    }
    let count = i32::from_be_bytes(read(batch, COUNT_AT)?);
    let base_timestamp = i64::from_be_bytes(read(batch, BASE_TIMESTAMP_AT)?);
    let append_time = (attributes & LOG_APPEND_TIME_BIT != 0).then_some(summary.max_timestamp);
    records.reserve((count.max(0) as usize).min((batch.len() - HEADER_LEN) / MIN_RECORD));

    let mut at = HEADER_LEN;
    let mut lowest = summary.base_offset;
    for index in 0..count {
        let record = take_record(batch, &mut at, start, summary.base_offset, base_timestamp)
            .filter(|record| record.offset >= lowest && record.offset <= summary.last_offset)
            .ok_or_else(|| Fault::corrupt(format!("record {index} of {count} is not well formed")))?;
        lowest = record.offset + 1;
        if record.offset >= from {
            records.push(RawRecord {
                timestamp: append_time.unwrap_or(record.timestamp),
                ..record
            });
        }
    }
    if at != batch.len() {
        return Err(Fault::corrupt(format!(
            "{} bytes behind the last record",
            batch.len() - at
        )));
    }
    Ok(())
}

/// Reads the record at `*at` of `batch`, which lies at `start` of the buffer, and moves `*at` behind it.
#[inline]
fn take_record(batch: &[u8], at: &mut usize, start: usize, base_offset: i64, base_time: i64) -> Option<RawRecord> {
    let len = usize::try_from(varint::take(batch, at)?).ok()?;
    let end = at.checked_add(len).filter(|end| *end <= batch.len())?;
    *at += 1; // attributes
    let timestamp = base_time.wrapping_add(varint::take(batch, at)?);
    let offset = base_offset.checked_add(varint::take(batch, at)?)?;
    let key = take_span(batch, at, start)?;
    let value = take_span(batch, at, start)?;
    let block = batch.get(*at..end)?;
    let headers = if block == [0] {
        Span::EMPTY
    } else if !block.is_empty() && headers::is_well_formed(block) {
        Span {
            start: (start + *at) as u32,
            len: block.len() as u32,
        }
    } else {
        return None;
    };
    *at = end;
    Some(RawRecord {
        offset,
        timestamp,
        key,
        value,
        headers,
    })
}

#[inline]
fn take_span(batch: &[u8], at: &mut usize, start: usize) -> Option<Span> {
    let len = varint::take(batch, at)?;
    if len == -1 {
        return Some(Span::NULL);
    }
    let end = at
        .checked_add(usize::try_from(len).ok()?)
        .filter(|end| *end <= batch.len())?;
    let span = Span {
        start: (start + *at) as u32,
        len: len as u32,
    };
    *at = end;
    Some(span)
}

#[cfg(test)]
mod tests;
