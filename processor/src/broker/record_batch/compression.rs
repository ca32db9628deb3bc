//! What batches are compressed with, opened.
//!
//! Output grows with what the input has really given, up to a bound of the caller's: a few bytes that claim to be a
//! gigabyte cost nothing. Checksums of the formats are passed over: the batch's own covers every byte of them.
#![deny(clippy::indexing_slicing)] // reads what comes from outside

use std::io::Read;

use zstd_safe::{DCtx, InBuffer, OutBuffer, ResetDirective};

use crate::broker::fault::{Fault, Result};

/// How records are compressed, as the attributes of a batch number it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy blocks: one alone, or several in the framing of Java's library (xerial).
    Snappy,
    /// An LZ4 frame.
    Lz4,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// Number `bits` of the attributes; `None` when it has no meaning.
    pub(super) fn from_bits(bits: i16) -> Option<Self> {
        Some(match bits {
            0 => Self::None,
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            _ => return None,
        })
    }

    /// Its number in the attributes.
    pub(super) fn bits(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// Reads `compression.type`.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];
        all.into_iter().find(|compression| compression.as_str() == name)
    }

    /// As `compression.type` writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// Opens compressed records; keeps what is costly to make between batches.
#[derive(Default)]
pub struct Inflater {
    snappy: snap::raw::Decoder,
    /// 160 KB, made when the first batch asks for it.
    zstd: Option<DCtx<'static>>,
}

impl Inflater {
    /// Appends the content of `input` to `out`, at most `most` bytes.
    pub(super) fn inflate(
        &mut self,
        compression: Compression,
        input: &[u8],
        most: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let done = match compression {
            Compression::None => append(input, most, out),
            Compression::Gzip => gzip(input, most, out),
            Compression::Snappy => self.snappy(input, most, out),
            Compression::Lz4 => lz4(input, most, out),
            Compression::Zstd => self.zstd(input, most, out),
        };
        done.map_err(|why| match why {
            Why::TooLarge => Fault::misuse(format!(
                "{} bytes of {} hold more than {most}: raise consumer.receive.message.max.bytes",
                input.len(),
                compression.as_str()
            )),
            Why::CutOff => Fault::corrupt(format!("{} ends too early", compression.as_str())),
            Why::Damaged(what) => Fault::corrupt(format!("{} cannot be opened: {what}", compression.as_str())),
        })
    }

    fn snappy(&mut self, input: &[u8], most: usize, out: &mut Vec<u8>) -> Result<(), Why> {
        let end = out.len().saturating_add(most);
        match input.strip_prefix(XERIAL_MAGIC) {
            None => self.snappy_block(input, end, out),
            Some(framed) => {
                let mut rest = framed.get(XERIAL_VERSIONS..).ok_or(Why::CutOff)?;
                while !rest.is_empty() {
                    let len = u32::from_be_bytes(take(&mut rest)?);
                    self.snappy_block(take_slice(&mut rest, len)?, end, out)?;
                }
                Ok(())
            }
        }
    }

    fn snappy_block(&mut self, block: &[u8], end: usize, out: &mut Vec<u8>) -> Result<(), Why> {
        let damaged = |error: snap::Error| Why::Damaged(error.to_string());
        let len = snap::raw::decompress_len(block).map_err(damaged)?;
        if len > block.len().saturating_mul(SNAPPY_RATIO) {
            return Err(damaged_by("it claims more than it can hold"));
        }
        let at = out.len();
        if len > end.saturating_sub(at) {
            return Err(Why::TooLarge);
        }
        out.resize(at + len, 0);
        let room = out.get_mut(at..).unwrap_or_default();
        self.snappy.decompress(block, room).map_err(damaged)?;
        Ok(())
    }

    fn zstd(&mut self, input: &[u8], most: usize, out: &mut Vec<u8>) -> Result<(), Why> {
        let damaged = |code: usize| Why::Damaged(zstd_safe::get_error_name(code).to_owned());
        let context = self.zstd.get_or_insert_with(DCtx::create);
        context.reset(ResetDirective::SessionOnly).map_err(damaged)?;
        let begin = out.len();
        let mut from = InBuffer::around(input);
        let mut written = 0;
        let mut room = input.len().saturating_mul(FIRST_GUESS);
        loop {
            // One byte beyond the bound, to see whether it is wanted.
            out.resize(begin + room.clamp(1, most + 1), 0);
            let place = out.get_mut(begin..).unwrap_or_default();
            let size = place.len();
            let mut to = OutBuffer::around_pos(place, written);
            let left = context.decompress_stream(&mut to, &mut from).map_err(damaged)?;
            written = to.pos();
            if written > most {
                return Err(Why::TooLarge);
            }
            // All of it was read, and a frame ended with it.
            if left == 0 && from.pos() == input.len() {
                out.truncate(begin + written);
                return Ok(());
            }
            // Without room it waits for more; with room left over it waits for input that is not there.
            if written == size {
                room = size.saturating_mul(2);
            } else if from.pos() == input.len() {
                return Err(Why::CutOff);
            }
        }
    }
}

/// Why records could not be opened.
enum Why {
    TooLarge,
    CutOff,
    Damaged(String),
}

/// Begins Java's framing of snappy blocks; its version and the oldest reader's follow.
pub(super) const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
const XERIAL_VERSIONS: usize = 8;
/// No snappy block holds more than this many times its length: at best 3 bytes copy 64.
const SNAPPY_RATIO: usize = 22;
/// No LZ4 block holds more than this many times its length: at best a byte more copies 255.
const LZ4_RATIO: usize = 255;
pub(super) const LZ4_MAGIC: u32 = 0x184D_2204;
/// How far back a block of an LZ4 frame may refer.
const LZ4_WINDOW: usize = 64 << 10;
/// Room for the first output, as a multiple of the input.
const FIRST_GUESS: usize = 4;

fn damaged_by(what: &str) -> Why {
    Why::Damaged(what.to_owned())
}

fn append(input: &[u8], most: usize, out: &mut Vec<u8>) -> Result<(), Why> {
    if input.len() > most {
        return Err(Why::TooLarge);
    }
    out.extend_from_slice(input);
    Ok(())
}

fn gzip(input: &[u8], most: usize, out: &mut Vec<u8>) -> Result<(), Why> {
    let before = out.len();
    out.reserve(input.len().saturating_mul(FIRST_GUESS).min(most));
    let limit = (most as u64).saturating_add(1);
    let mut from = flate2::bufread::MultiGzDecoder::new(input).take(limit);
    from.read_to_end(out).map_err(|error| Why::Damaged(error.to_string()))?;
    if out.len() - before > most {
        return Err(Why::TooLarge);
    }
    Ok(())
}

/// One LZ4 frame. Read by ourselves, because then a block is written where it stays: the frame reader of the crate
/// takes it into a buffer of its own first.
fn lz4(input: &[u8], most: usize, out: &mut Vec<u8>) -> Result<(), Why> {
    let mut rest = input;
    let frame = Lz4Frame::take(&mut rest)?;
    let begin = out.len();
    let end = begin.saturating_add(most);
    loop {
        let head = u32::from_le_bytes(take(&mut rest)?);
        if head == 0 {
            break;
        }
        let block = take_slice(&mut rest, head & 0x7fff_ffff)?;
        if frame.block_checksums {
            take::<4>(&mut rest)?;
        }
        if head >> 31 == 1 {
            append(block, end.saturating_sub(out.len()), out)?;
        } else {
            frame.block(block, begin, out)?;
        }
        if out.len() > end {
            return Err(Why::TooLarge);
        }
    }
    if frame.content_checksum {
        take::<4>(&mut rest)?;
    }
    match rest {
        [] => Ok(()),
        more => Err(Why::Damaged(format!("{} bytes behind its end", more.len()))),
    }
}

/// What the head of an LZ4 frame says.
struct Lz4Frame {
    /// Blocks refer to those before them.
    linked: bool,
    block_checksums: bool,
    content_checksum: bool,
    /// The most that one block holds.
    block_max: usize,
}

impl Lz4Frame {
    fn take(rest: &mut &[u8]) -> Result<Self, Why> {
        if u32::from_le_bytes(take(rest)?) != LZ4_MAGIC {
            return Err(damaged_by("it does not begin as a frame"));
        }
        let [flags, sizes] = take(rest)?;
        let block_max = match (sizes >> 4) & 7 {
            4 => 64 << 10,
            5 => 256 << 10,
            6 => 1 << 20,
            7 => 4 << 20,
            _ => return Err(damaged_by("its block size has no meaning")),
        };
        if flags >> 6 != 1 {
            return Err(damaged_by("its version is not known"));
        }
        if flags & 1 != 0 {
            return Err(damaged_by("it wants a dictionary"));
        }
        if flags & 8 != 0 {
            take::<8>(rest)?; // content size: not to be trusted
        }
        take::<1>(rest)?; // checksum of the head
        Ok(Self {
            linked: flags & 0x20 == 0,
            block_checksums: flags & 0x10 != 0,
            content_checksum: flags & 4 != 0,
            block_max,
        })
    }

    /// Opens a block behind what the frame, which begins at `begin` of `out`, has given so far.
    fn block(&self, block: &[u8], begin: usize, out: &mut Vec<u8>) -> Result<(), Why> {
        let at = out.len();
        let room = block.len().saturating_mul(LZ4_RATIO).min(self.block_max);
        out.resize(at + room, 0);
        let Some((before, room)) = out.split_at_mut_checked(at) else {
            return Err(Why::CutOff);
        };
        let written = if self.linked {
            let window = begin.max(at.saturating_sub(LZ4_WINDOW));
            let window = before.get(window..).unwrap_or_default();
            lz4_flex::block::decompress_into_with_dict(block, room, window)
        } else {
            lz4_flex::block::decompress_into(block, room)
        };
        out.truncate(at + written.map_err(|error| Why::Damaged(error.to_string()))?);
        Ok(())
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Why> {
    let (taken, behind) = rest.split_first_chunk().ok_or(Why::CutOff)?;
    *rest = behind;
    Ok(*taken)
}

fn take_slice<'a>(rest: &mut &'a [u8], len: u32) -> Result<&'a [u8], Why> {
    let (taken, behind) = rest.split_at_checked(len as usize).ok_or(Why::CutOff)?;
    *rest = behind;
    Ok(taken)
}

#[cfg(test)]
pub(super) mod tests;
