//! Sorted files, built beside the database to be moved in.

use super::fault::Doing;
use super::{RocksEngine, remove};
use crate::error::Result;
use rocksdb::{DBCompressionType, Options, SstFileWriter};
use std::path::PathBuf;

/// A file is full when its rows have so many bytes before compression: about what compaction makes of them later.
const FILE_BYTES: usize = 32 << 20;

/// Of so many files the first is compressed to see whether it helps, and kept small: where compression takes less than an
/// eighth, the others do without. (RocksDB keeps such blocks as they are, too, but tries each.)
const FILES_PER_TRIAL: usize = 8;
/// A trial is full when its rows have so many bytes.
const TRIAL_BYTES: usize = 1 << 20;

/// Options of a family, as they are and without compression.
pub(super) struct FileOptions {
    compressed: Options,
    plain: Options,
}

impl FileOptions {
    pub(super) fn of(family: &Options) -> Self {
        let mut plain = family.clone();
        plain.set_compression_type(DBCompressionType::None);
        FileOptions {
            compressed: family.clone(),
            plain,
        }
    }
}

/// Builds files of bounded size from rows that come by key.
pub(super) struct SortedFiles<'a> {
    engine: &'a RocksEngine,
    options: &'a FileOptions,
    open: Option<Open<'a>>,
    /// What the last trial found.
    compress: bool,
    /// All files, the open one included. Those that are not handed on go with this value.
    paths: Vec<PathBuf>,
}

struct Open<'a> {
    file: SstFileWriter<'a>,
    /// Keys and values in it.
    bytes: usize,
    is_trial: bool,
}

impl<'a> SortedFiles<'a> {
    /// Options are those of the family that the files are for.
    pub(super) fn new(engine: &'a RocksEngine, options: &'a FileOptions) -> Self {
        SortedFiles {
            engine,
            options,
            open: None,
            compress: true,
            paths: Vec::new(),
        }
    }

    /// Adds a row, or a deletion.
    #[inline]
    pub(super) fn add(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.create()?,
        };
        let added = match value {
            Some(value) => open.file.put(key, value),
            None => open.file.delete(key),
        };
        added.map_err(|error| self.engine.fault(Doing::Write, &error))?;
        open.bytes += key.len() + value.map_or(0, <[u8]>::len);
        if open.bytes >= if open.is_trial { TRIAL_BYTES } else { FILE_BYTES } {
            return self.close(open);
        }
        self.open = Some(open);
        Ok(())
    }

    fn create(&mut self) -> Result<Open<'a>> {
        let path = self.engine.unfinished("sst");
        let is_trial = self.paths.len().is_multiple_of(FILES_PER_TRIAL);
        let file = SstFileWriter::create(if is_trial || self.compress {
            &self.options.compressed
        } else {
            &self.options.plain
        });
        file.open(&path)
            .map_err(|error| self.engine.fault(Doing::Write, &error))?;
        self.paths.push(path);
        Ok(Open {
            file,
            bytes: 0,
            is_trial,
        })
    }

    fn close(&mut self, mut open: Open<'_>) -> Result<()> {
        open.file
            .finish()
            .map_err(|error| self.engine.fault(Doing::Write, &error))?;
        if open.is_trial {
            self.compress = open.file.file_size() < (open.bytes - open.bytes / 8) as u64;
        }
        Ok(())
    }

    /// The files, all on disk.
    pub(super) fn finish(mut self) -> Result<Vec<PathBuf>> {
        if let Some(open) = self.open.take() {
            self.close(open)?;
        }
        Ok(std::mem::take(&mut self.paths))
    }
}

impl Drop for SortedFiles<'_> {
    fn drop(&mut self) {
        for path in &self.paths {
            // If this fails they are removed when the database is next opened.
            let _ = remove(path);
        }
    }
}
