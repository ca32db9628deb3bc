//! How RocksDB is set up. What is not named here is left at RocksDB's default.

use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, Options, WriteBufferManager};
use std::path::PathBuf;

const MIB: usize = 1 << 20;
/// The part of a memtable that is a filter of its keys. Most keys that are looked up were not written lately: without it each
/// costs a search of a skip list for every memtable (decision record 0017).
const MEMTABLE_FILTER: f64 = 0.02;

/// Memory shared by all databases of a process: one block cache, and one bound on memtables that is charged to it.
#[derive(Clone)]
pub struct RocksShared {
    cache: Cache,
    buffers: WriteBufferManager,
}

impl RocksShared {
    /// A cache of `cache_bytes`, in which all memtables together may take up to `buffer_bytes`; beyond that the largest are
    /// flushed. Writers never stall for it.
    pub fn new(cache_bytes: usize, buffer_bytes: usize) -> Self {
        let cache = Cache::new_lru_cache(cache_bytes.max(MIB));
        let buffers =
            WriteBufferManager::new_write_buffer_manager_with_cache(buffer_bytes.max(MIB), false, cache.clone());
        RocksShared { cache, buffers }
    }

    /// Bytes the cache holds, memtables included.
    pub fn used_bytes(&self) -> usize {
        self.cache.get_usage()
    }
}

impl std::fmt::Debug for RocksShared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksShared")
            .field("used_bytes", &self.used_bytes())
            .finish()
    }
}

/// Who may write, and who sees what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Access {
    /// The one process that writes.
    #[default]
    Owner,
    /// A reader that sees the database as it is now.
    ReadOnly,
    /// A reader that can follow the owner ([`RocksEngine::catch_up`](super::RocksEngine::catch_up)); keeps its own notes in
    /// this directory.
    Follower(PathBuf),
}

/// What a database is for.
#[derive(Debug, Clone)]
pub struct RocksOptions {
    /// Whether writes go to a write-ahead log. Task state does without: its changelog is the log, and what a crash loses is
    /// replayed from the position, which is lost with it (all families are flushed in one step). The embedded log needs it.
    pub wal: bool,
    /// Whether each write waits for the disk. Without it a crash of the process loses nothing, a power cut may.
    pub sync: bool,
    /// Who may write.
    pub access: Access,
    /// Size of a family's memtable. Larger ones write less to disk; without a log they also lengthen the replay.
    pub memtable_bytes: usize,
    /// Bytes a block of rows has before compression.
    pub block_bytes: usize,
}

impl RocksOptions {
    /// For the state of a task.
    pub fn task_state() -> Self {
        RocksOptions {
            wal: false,
            sync: false,
            access: Access::Owner,
            memtable_bytes: 16 * MIB,
            block_bytes: 16 << 10,
        }
    }

    /// For an embedded log.
    pub fn log(sync: bool) -> Self {
        RocksOptions {
            wal: true,
            sync,
            ..RocksOptions::task_state()
        }
    }

    pub(super) fn database(&self, shared: &RocksShared) -> Options {
        let mut options = Options::default();
        let owner = self.access == Access::Owner;
        options.create_if_missing(owner);
        options.create_missing_column_families(owner);
        options.set_atomic_flush(!self.wal);
        options.set_write_buffer_manager(&shared.buffers);
        // A follower must keep files open that the owner deletes.
        options.set_max_open_files(if owner { 512 } else { -1 });
        // They are started at each opening, for an empty database too.
        options.set_max_file_opening_threads(4);
        options.set_max_background_jobs(2);
        // There is one writer: no need for its machinery of many.
        options.set_allow_concurrent_memtable_write(false);
        options.set_enable_write_thread_adaptive_yield(false);
        options.set_avoid_unnecessary_blocking_io(true);
        options.set_max_total_wal_size(64 * MIB as u64);
        // Its own reports: small and few.
        options.set_keep_log_file_num(2);
        options.set_max_log_file_size(MIB);
        options.set_log_level(rocksdb::LogLevel::Warn);
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        options
    }

    pub(super) fn family(&self, shared: &RocksShared) -> Options {
        let mut options = Options::default();
        options.set_write_buffer_size(self.memtable_bytes);
        // One more block is taken by every family that is written to: keep it small, there may be hundreds.
        options.set_arena_block_size(128 << 10);
        options.set_max_write_buffer_number(3);
        options.set_memtable_prefix_bloom_ratio(MEMTABLE_FILTER);
        options.set_memtable_whole_key_filtering(true);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_target_file_size_base(32 * MIB as u64);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_block_based_table_factory(&self.table(shared));
        options
    }

    fn table(&self, shared: &RocksShared) -> BlockBasedOptions {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&shared.cache);
        table.set_block_size(self.block_bytes);
        // Indexes and filters count against the cache like all else, but leave it last.
        table.set_cache_index_and_filter_blocks(true);
        table.set_cache_index_and_filter_blocks_with_high_priority(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table.set_bloom_filter(10.0, false);
        table.set_optimize_filters_for_memory(true);
        table.set_format_version(6);
        table
    }
}
