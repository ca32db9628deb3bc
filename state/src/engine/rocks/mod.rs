//! The engine on disk: RocksDB, one database per task (or embedded log), one column family per store. The only place that
//! names the crate.
//!
//! - A write is one RocksDB batch. Without a write-ahead log its rows are durable once the memtables are flushed; the flush
//!   takes all families in one step, so after a crash the database holds some prefix of the writes, positions included.
//! - `ingest` builds sorted files beside the database and moves them in together; they are durable at once, the meta rows
//!   follow as a write. A crash in between leaves rows without a position, which the replay of the changelog writes again.
//! - Every block has a checksum; what cannot be trusted comes back as [`StateError::Corrupt`].

mod fault;
mod files;
mod settings;
#[cfg(test)]
mod tests;

pub use settings::{Access, RocksOptions, RocksShared};

use super::{Engine, Family, RowRef, SortedRows, WriteSet};
use crate::error::{Result, StateError};
use fault::{Doing, explain};
use files::{FileOptions, SortedFiles};
use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, DBRawIterator, FlushOptions, IngestExternalFileOptions, Options,
    ReadOptions, WriteBatch, WriteOptions,
};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Keys looked up by one call into RocksDB: bounds the blocks that are pinned at a time.
const LOOKUP_CHUNK: usize = 512;

/// An open database. A clone is another handle on it.
#[derive(Clone)]
pub struct RocksEngine {
    inner: Arc<Inner>,
}

struct Inner {
    db: DB,
    dir: PathBuf,
    families: Vec<String>,
    options: RocksOptions,
    shared: RocksShared,
    /// Names for files to be moved in.
    next_file: AtomicU64,
}

impl RocksEngine {
    /// Opens or creates the database in `dir`. Family `n` is `families[n]`; families on disk that are not named (of a store
    /// that is no longer used) are left as they are.
    pub fn open(dir: &Path, families: &[impl AsRef<str>], options: RocksOptions, shared: &RocksShared) -> Result<Self> {
        let families: Vec<String> = families.iter().map(|name| name.as_ref().to_owned()).collect();
        if options.access == Access::Owner {
            std::fs::create_dir_all(dir).map_err(|error| StateError::io(Doing::Open.text(), dir, &error))?;
            remove_unfinished_files(dir)?;
        }
        let database = options.database(shared);
        let db =
            open_db(dir, &database, &families, &options, shared).map_err(|error| explain(dir, Doing::Open, &error))?;
        let next_file = AtomicU64::new(0);
        let inner = Inner {
            db,
            dir: dir.to_owned(),
            families,
            options,
            shared: shared.clone(),
            next_file,
        };
        Ok(RocksEngine { inner: Arc::new(inner) })
    }

    /// A follower reads what the owner wrote since.
    pub fn catch_up(&self) -> Result<()> {
        self.inner
            .db
            .try_catch_up_with_primary()
            .map_err(|error| self.fault(Doing::Read, &error))
    }

    /// The directory of the database.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    fn family(&self, family: Family) -> Result<&ColumnFamily> {
        let name = self.inner.families.get(usize::from(family.0));
        name.and_then(|name| self.inner.db.cf_handle(name)).ok_or_else(|| {
            StateError::Misuse(format!(
                "the database in {} was opened with {} families, there is no family {}",
                self.inner.dir.display(),
                self.inner.families.len(),
                family.0
            ))
        })
    }

    fn fault(&self, doing: Doing, error: &rocksdb::Error) -> StateError {
        explain(&self.inner.dir, doing, error)
    }

    fn write_options(&self) -> WriteOptions {
        let mut options = WriteOptions::default();
        options.disable_wal(!self.inner.options.wal);
        options.set_sync(self.inner.options.wal && self.inner.options.sync);
        options
    }

    fn iterator(&self, family: Family, from: &[u8], to: Option<&[u8]>) -> Result<DBRawIterator<'_>> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(from);
        if let Some(to) = to {
            options.set_iterate_upper_bound(to);
        }
        Ok(self.inner.db.raw_iterator_cf_opt(self.family(family)?, options))
    }

    /// Where a file is built or put aside. Opening removes what has such a name.
    fn unfinished(&self, kind: &str) -> PathBuf {
        let number = self.inner.next_file.fetch_add(1, Ordering::Relaxed);
        self.inner.dir.join(format!("{UNFINISHED}{number}.{kind}"))
    }
}

impl Engine for RocksEngine {
    fn get_many(&self, family: Family, sorted: &[&[u8]], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<()> {
        let cf = self.family(family)?;
        let mut index = 0;
        for chunk in sorted.chunks(LOOKUP_CHUNK) {
            for row in self.inner.db.batched_multi_get_cf(cf, chunk.iter(), true) {
                let row = row.map_err(|error| self.fault(Doing::Read, &error))?;
                found(index, row.as_deref());
                index += 1;
            }
        }
        Ok(())
    }

    fn scan(
        &self,
        family: Family,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<()> {
        let mut rows = self.iterator(family, from, to)?;
        rows.seek(from);
        while let Some((key, value)) = rows.item() {
            if !visit(key, value) {
                return Ok(());
            }
            rows.next();
        }
        rows.status().map_err(|error| self.fault(Doing::Read, &error))
    }

    fn scan_back(
        &self,
        family: Family,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<()> {
        let mut rows = self.iterator(family, from, to)?;
        rows.seek_to_last();
        while let Some((key, value)) = rows.item() {
            if !visit(key, value) {
                return Ok(());
            }
            rows.prev();
        }
        rows.status().map_err(|error| self.fault(Doing::Read, &error))
    }

    fn write(&mut self, set: &WriteSet<'_>) -> Result<()> {
        let bytes: usize = set
            .rows
            .iter()
            .map(|(_, (key, value))| key.len() + value.map_or(0, <[u8]>::len) + 12)
            .sum();
        let mut batch = WriteBatch::with_capacity_bytes(bytes);
        for (family, from, to) in &set.delete_ranges {
            if from < to {
                batch.delete_range_cf(self.family(*family)?, from, to);
            }
        }
        // Rows come in runs of one family; its handle is found once per run.
        for run in set.rows.chunk_by(|a, b| a.0 == b.0) {
            let Some((family, _)) = run.first() else { continue };
            let cf = self.family(*family)?;
            for (_, (key, value)) in run {
                match value {
                    Some(value) => batch.put_cf(cf, key, value),
                    None => batch.delete_cf(cf, key),
                }
            }
        }
        self.inner
            .db
            .write_opt(batch, &self.write_options())
            .map_err(|error| self.fault(Doing::Write, &error))
    }

    fn ingest(&mut self, family: Family, rows: &mut SortedRows<'_>, meta: &[(Family, RowRef<'_>)]) -> Result<()> {
        let cf = self.family(family)?;
        let file_options = FileOptions::of(&self.inner.options.family(&self.inner.shared));
        let mut files = SortedFiles::new(self, &file_options);
        rows(&mut |key, value| files.add(key, value))?;
        let files = files.finish()?;
        if !files.is_empty() {
            let mut options = IngestExternalFileOptions::default();
            options.set_move_files(true);
            self.inner
                .db
                .ingest_external_file_cf_opts(cf, &options, files)
                .map_err(|error| self.fault(Doing::Write, &error))?;
        }
        if meta.is_empty() {
            return Ok(());
        }
        self.write(&WriteSet {
            rows: meta.to_vec(),
            ..WriteSet::default()
        })
    }

    fn scratch_file(&self) -> Option<PathBuf> {
        Some(self.unfinished("run"))
    }

    fn flush(&mut self) -> Result<()> {
        let families: Vec<&ColumnFamily> = self
            .inner
            .families
            .iter()
            .filter_map(|name| self.inner.db.cf_handle(name))
            .collect();
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.inner
            .db
            .flush_cfs_opt(&families, &options)
            .map_err(|error| self.fault(Doing::Write, &error))
    }

    fn unflushed_bytes(&self) -> u64 {
        let db = &self.inner.db;
        let value = |cf, name: &str| db.property_int_value_cf(cf, name).ok().flatten().unwrap_or(0);
        let handles = self.inner.families.iter().filter_map(|name| db.cf_handle(name));
        // An empty memtable has a size, too.
        let rows =
            |cf| value(cf, "rocksdb.num-entries-active-mem-table") + value(cf, "rocksdb.num-entries-imm-mem-tables");
        handles
            .filter(|cf| rows(*cf) > 0)
            .map(|cf| value(cf, "rocksdb.cur-size-all-mem-tables"))
            .sum()
    }
}

fn open_db(
    dir: &Path,
    database: &Options,
    families: &[String],
    options: &RocksOptions,
    shared: &RocksShared,
) -> Result<DB, rocksdb::Error> {
    // RocksDB opens all families that exist or none, and wants "default" among them.
    let mut names: BTreeSet<String> = families.iter().cloned().collect();
    names.insert("default".to_owned());
    if dir.join("CURRENT").exists() {
        names.extend(DB::list_cf(database, dir)?);
    }
    let all = names
        .into_iter()
        .map(|name| ColumnFamilyDescriptor::new(name, options.family(shared)));
    match &options.access {
        Access::Owner => DB::open_cf_descriptors(database, dir, all),
        Access::ReadOnly => DB::open_cf_descriptors_read_only(database, dir, all, false),
        Access::Follower(notes) => DB::open_cf_descriptors_as_secondary(database, dir, notes, all),
    }
}

/// How files are named that wait to be moved in.
const UNFINISHED: &str = "restore-";

/// A crash can leave files that were never moved in.
fn remove_unfinished_files(dir: &Path) -> Result<()> {
    let fault = |error: &std::io::Error| StateError::io(Doing::Open.text(), dir, error);
    for entry in std::fs::read_dir(dir).map_err(|error| fault(&error))? {
        let path = entry.map_err(|error| fault(&error))?.path();
        if path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with(UNFINISHED))
        {
            remove(&path)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StateError::io(Doing::Write.text(), path, &error))
        }
        _ => Ok(()),
    }
}
