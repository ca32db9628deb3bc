//! Sorted runs on disk, until they are merged.
//!
//! A file of blocks, each of whole frames by key. Lengths and checksums of the blocks stay in memory: a spill means nothing
//! to anybody but the restore that wrote it. What a crash leaves behind the engine removes when it is opened.

use super::run::Frame;
use crate::error::{Result, StateError};
use crate::overlay::sort_head;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Blocks are written together: the more at once, the less each page of the file costs.
const WRITE_BYTES: usize = 1 << 20;
/// A block is full when it has so many bytes. One of each run is in memory while they are merged, and should be in the cache.
const BLOCK_BYTES: usize = 32 << 10;

/// A sorted run on disk. The file goes with this value.
#[derive(Debug)]
pub(super) struct Spill {
    path: PathBuf,
    blocks: Vec<Block>,
    /// How often its rows were merged already.
    pub(super) merged: u32,
}

#[derive(Debug, Clone, Copy)]
struct Block {
    bytes: usize,
    checksum: u64,
}

impl Drop for Spill {
    fn drop(&mut self) {
        // If this fails the engine does it when it is next opened.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn checksum(block: &[u8]) -> u64 {
    let mut hasher = foldhash::fast::FixedState::default().build_hasher();
    hasher.write(block);
    hasher.finish()
}

/// Writes rows that come by key.
pub(super) struct Writer {
    file: File,
    /// Whole blocks, and the present one.
    blocks: Vec<u8>,
    /// Where the present one begins.
    block: usize,
    spill: Spill,
}

impl Writer {
    pub(super) fn create(path: PathBuf, merged: u32) -> Result<Self> {
        let file = File::create(&path).map_err(|error| StateError::io("creating", &path, &error))?;
        let blocks = Vec::new();
        Ok(Writer {
            file,
            blocks: Vec::with_capacity(WRITE_BYTES + BLOCK_BYTES),
            block: 0,
            spill: Spill { path, blocks, merged },
        })
    }

    #[inline]
    pub(super) fn add(&mut self, frame: &Frame<'_>) -> Result<()> {
        self.blocks.extend_from_slice(frame.bytes);
        if self.blocks.len() - self.block >= BLOCK_BYTES {
            self.end_block()?;
        }
        Ok(())
    }

    fn end_block(&mut self) -> Result<()> {
        let block = &self.blocks[self.block..];
        self.spill.blocks.push(Block {
            bytes: block.len(),
            checksum: checksum(block),
        });
        self.block = self.blocks.len();
        if self.block >= WRITE_BYTES {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        self.file
            .write_all(&self.blocks)
            .map_err(|error| StateError::io("writing to", &self.spill.path, &error))?;
        self.blocks.clear();
        self.block = 0;
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Spill> {
        self.end_block()?;
        self.write()?;
        Ok(self.spill)
    }
}

/// Reads a spill row by row.
pub(super) struct Reader<'a> {
    path: &'a Path,
    file: File,
    blocks: std::slice::Iter<'a, Block>,
    block: Vec<u8>,
    /// Where the present row lies in its block.
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    /// Stands before the first row.
    pub(super) fn open(spill: &'a Spill) -> Result<Self> {
        let path = spill.path.as_path();
        let file = File::open(path).map_err(|error| StateError::io("opening", path, &error))?;
        Ok(Reader {
            path,
            file,
            blocks: spill.blocks.iter(),
            block: Vec::new(),
            at: 0,
            end: 0,
        })
    }

    /// Goes on to the next row and gives the head of its key; `None` at the end.
    #[inline]
    pub(super) fn advance(&mut self) -> Result<Option<u128>> {
        self.at = self.end;
        while self.at == self.block.len() {
            if !self.read_block()? {
                return Ok(None);
            }
        }
        let Some(frame) = self.block.get(self.at..).and_then(Frame::first) else {
            return Err(self.damaged());
        };
        self.end = self.at + frame.bytes.len();
        Ok(Some(sort_head(frame.key)))
    }

    /// The present row. Without one it is empty.
    #[inline]
    pub(super) fn frame(&self) -> Frame<'_> {
        let whole = self.block.get(self.at..self.end).and_then(Frame::first);
        whole.unwrap_or(Frame {
            key: &[],
            value: None,
            bytes: &[],
        })
    }

    fn read_block(&mut self) -> Result<bool> {
        (self.at, self.end) = (0, 0);
        let Some(block) = self.blocks.next() else {
            self.block.clear();
            return Ok(false);
        };
        self.block.resize(block.bytes, 0);
        match self.file.read_exact(&mut self.block) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Err(self.damaged()),
            Err(error) => return Err(StateError::io("reading from", self.path, &error)),
            Ok(()) => {}
        }
        if checksum(&self.block) != block.checksum {
            return Err(self.damaged());
        }
        Ok(true)
    }

    /// Nothing of it has reached the store, but a disk that does this is not to be trusted with the rest either.
    fn damaged(&self) -> StateError {
        StateError::Corrupt(format!(
            "{}, which this restore wrote, does not read back as it was written; the store is rebuilt from its changelog, but \
             look at the disk",
            self.path.display()
        ))
    }
}
