//! Opens batches: checks them and finds every record, without copying any.
#![deny(clippy::indexing_slicing)] // reads what comes from outside

use std::ops::Range;

use millstream_topology::record::{RawRecord, Span};

use super::compression::Compression;
use super::summary::BatchSummary;
use super::{HEADER_LEN, LENGTH_END, headers, read, varint};
use crate::broker::fault::{Fault, Result};

/// The fewest bytes a record can take: length, attributes, two deltas, two lengths, header count.
const MIN_RECORD: usize = 7;

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
/// cut off at the end of the buffer is left, unless it is the only one. The buffer must be below 4 GiB. Compressed
/// batches are refused: see [`super::Opener`].
pub fn decode(buffer: &[u8], from: i64, records: &mut Vec<RawRecord>) -> Result<Decoded> {
    if u32::try_from(buffer.len()).is_err() {
        return Err(Fault::misuse("a fetched buffer must be below 4 GiB"));
    }
    let mut done = Decoded::default();
    while let Some(rest) = buffer.get(done.bytes..).filter(|rest| !rest.is_empty()) {
        if done.bytes > 0 && is_cut_off(rest) {
            break;
        }
        let (summary, batch) = take_batch(rest)?;
        if !summary.is_control() {
            let whole = done.bytes + batch.len();
            decode_batch(buffer, done.bytes + HEADER_LEN..whole, &summary, from, records)
                .map_err(|fault| fault.at(format_args!("record batch at offset {}", summary.base_offset)))?;
        }
        done.next = summary.last_offset + 1;
        done.bytes += summary.len;
    }
    Ok(done)
}

fn decode_batch(
    buffer: &[u8],
    range: Range<usize>,
    summary: &BatchSummary,
    from: i64,
    records: &mut Vec<RawRecord>,
) -> Result<()> {
    match summary.compression()? {
        Compression::None => index(buffer, range, summary, from, records),
        other => Err(Fault::misuse(format!(
            "compressed ({}), which this log does not write",
            other.as_str()
        ))),
    }
}

/// The batch at the start of `bytes`, checked.
pub(super) fn take_batch(bytes: &[u8]) -> Result<(BatchSummary, &[u8])> {
    let summary = BatchSummary::of(bytes)?;
    let batch = bytes.get(..summary.len).unwrap_or_default();
    summary
        .check(batch)
        .map_err(|fault| fault.at(format_args!("record batch at offset {}", summary.base_offset)))?;
    Ok((summary, batch))
}

/// Whether a batch begins here of which the end is missing.
pub(super) fn is_cut_off(rest: &[u8]) -> bool {
    match read(rest, 8).map(i32::from_be_bytes) {
        Ok(len) => usize::try_from(len).is_ok_and(|len| len + LENGTH_END > rest.len()),
        Err(_) => true,
    }
}

/// Finds the records of one batch, which are, uncompressed, all that `range` of `buffer` holds.
pub(super) fn index(
    buffer: &[u8],
    range: Range<usize>,
    summary: &BatchSummary,
    from: i64,
    records: &mut Vec<RawRecord>,
) -> Result<()> {
    let bytes = buffer.get(..range.end).unwrap_or_default();
    let count = summary.count;
    let append_time = summary.append_time();
    records.reserve((count.max(0) as usize).min(range.len() / MIN_RECORD));
    let mut at = range.start;
    let mut lowest = summary.base_offset;
    for index in 0..count {
        let record = take_record(bytes, &mut at, summary)
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
    match bytes.len().saturating_sub(at) {
        0 => Ok(()),
        more => Err(Fault::corrupt(format!("{more} bytes behind the last record"))),
    }
}

/// Reads the record at `*at` and moves `*at` behind it.
#[inline]
fn take_record(bytes: &[u8], at: &mut usize, summary: &BatchSummary) -> Option<RawRecord> {
    let len = usize::try_from(varint::take(bytes, at)?).ok()?;
    let end = at.checked_add(len).filter(|end| *end <= bytes.len())?;
    *at += 1; // attributes
    let timestamp = summary.base_timestamp.wrapping_add(varint::take(bytes, at)?);
    let offset = summary.base_offset.checked_add(varint::take(bytes, at)?)?;
    let key = take_span(bytes, at)?;
    let value = take_span(bytes, at)?;
    let block = bytes.get(*at..end)?;
    let headers = if block == [0] {
        Span::EMPTY
    } else if !block.is_empty() && headers::is_well_formed(block) {
        Span {
            start: *at as u32,
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
fn take_span(bytes: &[u8], at: &mut usize) -> Option<Span> {
    let len = varint::take(bytes, at)?;
    if len == -1 {
        return Some(Span::NULL);
    }
    let end = at
        .checked_add(usize::try_from(len).ok()?)
        .filter(|end| *end <= bytes.len())?;
    let span = Span {
        start: *at as u32,
        len: len as u32,
    };
    *at = end;
    Some(span)
}

#[cfg(test)]
mod tests;
