//! What the header of a batch says about it.
#![deny(clippy::indexing_slicing)] // reads what comes from outside

use super::compression::Compression;
use super::{
    ATTRIBUTES_AT, BASE_TIMESTAMP_AT, COMPRESSION_BITS, CONTROL_BIT, COUNT_AT, CRC_AT, HEADER_LEN, LAST_DELTA_AT,
    LENGTH_END, LOG_APPEND_TIME_BIT, MAGIC_AT, MAX_TIMESTAMP_AT, PRODUCER_AT, TRANSACTION_BIT, read,
};
use crate::broker::fault::{Fault, Result};

/// The header of a batch whose bytes are all at hand.
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
    /// The leader that took it from its producer, as the number of its term; -1 when that is not known.
    pub leader_epoch: i32,
    /// Who wrote it; -1 when the producer is neither idempotent nor transactional.
    pub producer_id: i64,
    pub(super) base_timestamp: i64,
    /// How many records it says it has.
    pub(super) count: i32,
    attributes: i16,
}

impl BatchSummary {
    /// Reads the header at the start of `bytes`; checks sizes, not the checksum.
    pub fn of(bytes: &[u8]) -> Result<Self> {
        let rest = i32::from_be_bytes(read(bytes, 8)?);
        let len = usize::try_from(rest).unwrap_or(0) + LENGTH_END;
        let [magic] = read(bytes, MAGIC_AT)?;
        if magic < 2 {
            return Err(Fault::misuse(format!(
                "messages in format {magic}, from before Kafka 0.11; write them again with a newer producer"
            )));
        }
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
        Ok(Self {
            base_offset,
            last_offset,
            max_timestamp: i64::from_be_bytes(read(bytes, MAX_TIMESTAMP_AT)?),
            len,
            leader_epoch: i32::from_be_bytes(read(bytes, LENGTH_END)?),
            producer_id: i64::from_be_bytes(read(bytes, PRODUCER_AT)?),
            base_timestamp: i64::from_be_bytes(read(bytes, BASE_TIMESTAMP_AT)?),
            count: i32::from_be_bytes(read(bytes, COUNT_AT)?),
            attributes: i16::from_be_bytes(read(bytes, ATTRIBUTES_AT)?),
        })
    }

    /// Checks the checksum of `batch`, whose summary this is.
    pub(super) fn check(&self, batch: &[u8]) -> Result<()> {
        let crc = u32::from_be_bytes(read(batch, CRC_AT)?);
        let found = crc32c::crc32c(batch.get(CRC_AT + 4..).unwrap_or_default());
        if crc == found {
            return Ok(());
        }
        Err(Fault::corrupt(format!(
            "checksum {found:08x}, but {crc:08x} was written"
        )))
    }

    /// Whether it holds a marker that ends a transaction, and no records for people.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// Whether it belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTION_BIT != 0
    }

    /// How its records are compressed.
    pub fn compression(&self) -> Result<Compression> {
        let bits = self.attributes & COMPRESSION_BITS;
        let unknown = || Fault::misuse(format!("compressed in an unknown way (number {bits})"));
        Compression::from_bits(bits).ok_or_else(unknown)
    }

    /// The timestamp of all its records, when the broker has given them one.
    pub(super) fn append_time(&self) -> Option<i64> {
        (self.attributes & LOG_APPEND_TIME_BIT != 0).then_some(self.max_timestamp)
    }
}
