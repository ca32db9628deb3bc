//! Compresses the records of a batch.

use std::io::Write as _;

use flate2::write::GzEncoder;
use zstd_safe::{CCtx, CParameter};

use super::compression::{Compression, LZ4_MAGIC, XERIAL_MAGIC};
use crate::broker::fault::{Fault, Result};

/// Compresses; keeps what is costly to make between batches.
pub struct Deflater {
    compression: Compression,
    level: Option<i32>,
    snappy: snap::raw::Encoder,
    /// Made when the first batch asks for it.
    zstd: Option<CCtx<'static>>,
}

/// What one block of snappy holds in Java's framing, as its library cuts it.
const SNAPPY_BLOCK: usize = 32 << 10;
/// Version and oldest reader of that framing.
const XERIAL_VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
/// Version 1 without checksums, blocks that stand alone, of at most 64 KiB; and the checksum of these two bytes.
const LZ4_HEAD: [u8; 3] = [0x60, 0x40, 0x82];
const LZ4_BLOCK: usize = 64 << 10;
/// Marks a block that is as it was.
const LZ4_PLAIN: u32 = 1 << 31;

impl Deflater {
    /// Compresses like this; `level` is the format's own, for gzip and zstd.
    pub fn new(compression: Compression, level: Option<i32>) -> Self {
        Self {
            compression,
            level,
            snappy: snap::raw::Encoder::new(),
            zstd: None,
        }
    }

    /// What it makes.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// `records` compressed, behind `head` bytes of room; `None` when they are smaller as they are.
    pub(super) fn deflate(&mut self, records: &[u8], head: usize) -> Result<Option<Vec<u8>>> {
        if self.compression == Compression::None {
            return Ok(None);
        }
        let mut out = Vec::with_capacity(head + records.len() / 2);
        out.resize(head, 0);
        let done = match self.compression {
            Compression::None => Ok(()),
            Compression::Gzip => self.gzip(records, &mut out),
            Compression::Snappy => self.snappy(records, &mut out),
            Compression::Lz4 => lz4(records, &mut out),
            Compression::Zstd => self.zstd(records, &mut out),
        };
        let name = self.compression.as_str();
        done.map_err(|why| Fault::fatal(format!("{name} cannot compress {} bytes: {why}", records.len())))?;
        Ok((out.len() < head + records.len()).then_some(out))
    }

    fn gzip(&self, records: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let level = self.level.and_then(|level| u32::try_from(level).ok());
        let level = level.map_or(flate2::Compression::default(), flate2::Compression::new);
        let mut encoder = GzEncoder::new(out, level);
        let written = encoder.write_all(records).and_then(|()| encoder.finish());
        written.map(drop).map_err(|error| error.to_string())
    }

    fn snappy(&mut self, records: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        out.extend_from_slice(XERIAL_MAGIC);
        out.extend_from_slice(&XERIAL_VERSIONS);
        for block in records.chunks(SNAPPY_BLOCK) {
            let len_at = out.len();
            let at = len_at + 4;
            out.resize(at + snap::raw::max_compress_len(block.len()), 0);
            let written = self.snappy.compress(block, &mut out[at..]);
            let written = written.map_err(|error| error.to_string())?;
            out.truncate(at + written);
            out[len_at..at].copy_from_slice(&(written as u32).to_be_bytes());
        }
        Ok(())
    }

    fn zstd(&mut self, records: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let failed = |code: usize| zstd_safe::get_error_name(code).to_owned();
        let context = match &mut self.zstd {
            Some(context) => context,
            none => {
                let mut made = CCtx::create();
                if let Some(level) = self.level {
                    made.set_parameter(CParameter::CompressionLevel(level))
                        .map_err(failed)?;
                }
                none.insert(made)
            }
        };
        let at = out.len();
        out.resize(at + zstd_safe::compress_bound(records.len()), 0);
        let written = context.compress2(&mut out[at..], records).map_err(failed)?;
        out.truncate(at + written);
        Ok(())
    }
}

/// One frame, written by ourselves as it is read by ourselves.
fn lz4(records: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    out.extend_from_slice(&LZ4_MAGIC.to_le_bytes());
    out.extend_from_slice(&LZ4_HEAD);
    for block in records.chunks(LZ4_BLOCK) {
        let len_at = out.len();
        let at = len_at + 4;
        out.resize(at + lz4_flex::block::get_maximum_output_size(block.len()), 0);
        let written = lz4_flex::block::compress_into(block, &mut out[at..]).map_err(|error| error.to_string())?;
        let mut mark = written as u32;
        if written >= block.len() {
            mark = block.len() as u32 | LZ4_PLAIN;
            out[at..at + block.len()].copy_from_slice(block);
        }
        out.truncate(at + (mark & !LZ4_PLAIN) as usize);
        out[len_at..at].copy_from_slice(&mark.to_le_bytes());
    }
    out.extend_from_slice(&[0; 4]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::broker::record_batch::compression::Inflater;
    use crate::broker::record_batch::{Aborted, BatchBuilder, BatchSummary, Opener, Sender};

    const ALL: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn what_is_compressed_comes_back(seed: u64, len in prop_oneof![0..300_usize, 60_000..70_000_usize, Just(200_000)], text: bool) {
            let mut chance = seed | 1;
            let bytes: Vec<u8> = (0..len)
                .map(|at| {
                    chance ^= chance << 13;
                    chance ^= chance >> 7;
                    chance ^= chance << 17;
                    if text { b"abcde"[at / 7 % 5] ^ u8::from(chance.is_multiple_of(97)) } else { chance as u8 }
                })
                .collect();
            for compression in ALL {
                let mut out = Vec::new();
                match Deflater::new(compression, None).deflate(&bytes, 3).unwrap() {
                    None => prop_assert!(!text || len < 1000 || compression == Compression::None),
                    Some(small) => {
                        prop_assert!(small.len() < bytes.len() + 3);
                        let opened = Inflater::default().inflate(compression, &small[3..], len, &mut out);
                        prop_assert!(opened.is_ok() && out == bytes);
                    }
                }
            }
        }
    }

    #[test]
    fn a_batch_says_how_it_is_compressed_and_by_whom() {
        for compression in ALL {
            let mut builder = BatchBuilder::default();
            for number in 0..100 {
                builder.append(number, Some(b"key"), Some(b"the same value again and again"), &[]);
            }
            let sender = Sender {
                id: 7,
                epoch: 2,
                sequence: 40,
            };
            let mut deflater = Deflater::new(compression, Some(1));
            let batch = builder.seal_as(&sender, &mut deflater).unwrap().unwrap().batch;
            let summary = BatchSummary::of(&batch).unwrap();
            assert_eq!((summary.producer_id, summary.len), (7, batch.len()));
            assert_eq!(batch[22], compression.bits() as u8);
            let mut opener = Opener::new(1 << 20, 1 << 20);
            let opened = opener.open(&mut batch.into(), 0, &mut Aborted::default()).unwrap();
            assert_eq!(opened.records.len(), 100);
        }
    }
}
