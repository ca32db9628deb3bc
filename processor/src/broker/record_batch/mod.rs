//! Kafka's RecordBatch v2: the unit in which records are fetched and written.
//!
//! ```text
//! header, 61 bytes, big-endian                      one record, numbers as zig-zag varints
//!  0 base offset           i64                       length of the rest
//!  8 length of the rest    i32                       attributes, 1 byte, 0
//! 12 leader epoch          i32                       timestamp - base timestamp
//! 16 magic = 2             i8                        offset - base offset
//! 17 CRC32C of the rest    u32                       key length (-1 = null), key
//! 21 attributes            i16                       value length (-1 = null), value
//! 23 last offset delta     i32                       header count, then each header:
//! 27 base timestamp        i64                         name length, name,
//! 35 max timestamp         i64                         value length (-1 = null), value
//! 43 producer id, epoch, base sequence  i64 i16 i32
//! 57 record count          i32
//! ```
//!
//! The checksum begins behind the leader epoch, so a batch can be given its base offset after it was sealed. Every size
//! is taken from the bytes at hand and never from a number in a header: such a number may be a lie.

pub mod aborted;
pub mod builder;
pub mod compression;
pub mod deflate;
pub mod headers;
pub mod opener;
pub mod reader;
pub mod summary;
mod varint;

pub use aborted::Aborted;
pub use builder::{BatchBuilder, Sender};
pub use opener::{Opened, Opener};
pub use reader::Decoded;
pub use summary::BatchSummary;

use crate::broker::fault::{Fault, Result};

/// Bytes before the first record of a batch.
pub const HEADER_LEN: usize = 61;
/// Bytes before the part that the length field counts.
const LENGTH_END: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const LAST_DELTA_AT: usize = 23;
const BASE_TIMESTAMP_AT: usize = 27;
const MAX_TIMESTAMP_AT: usize = 35;
const PRODUCER_AT: usize = 43;
const COUNT_AT: usize = 57;

const COMPRESSION_BITS: i16 = 0x07;
const LOG_APPEND_TIME_BIT: i16 = 0x08;
const TRANSACTION_BIT: i16 = 0x10;
const CONTROL_BIT: i16 = 0x20;

/// Gives a sealed batch its place in the partition. Leaves bytes too short for a batch as they are.
pub fn set_base_offset(batch: &mut [u8], offset: i64) {
    if let Some(place) = batch.get_mut(..8) {
        place.copy_from_slice(&offset.to_be_bytes());
    }
}

fn read<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    let found = bytes.get(at..at + N).and_then(|part| part.try_into().ok());
    found.ok_or_else(|| {
        Fault::corrupt(format!(
            "record batch ends after {} bytes, inside its header",
            bytes.len()
        ))
    })
}
