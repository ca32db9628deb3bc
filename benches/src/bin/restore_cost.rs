//! What a restored key costs, down to the disk, with RocksDB's background work waited for.
//!
//! `cargo run --release -p millstream-benches --bin restore_cost -- [keys] [times each is written] [MiB of memory]`.
//! Four stores one after the other, as a task each; keys of 16 bytes and text of 100 bytes, as in R1. Memory: what a restore
//! gets by default, which each of these stores fits into; less shows what putting aside costs.

use millstream_benches::clock::cpu_time;
use millstream_benches::data::Seeded;
use millstream_benches::replay::Result;
use millstream_benches::stores::{self, Disk, Rows};
use millstream_state::restore::Memory;
use std::time::{Duration, Instant};

const STORES: u64 = 4;
/// Half of `memory.max.bytes` by default.
const MEMORY_MIB: u64 = 256;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>());
    let keys = args.next().transpose()?.unwrap_or(10_000_000) / STORES;
    let times = args.next().transpose()?.unwrap_or(1);
    let memory = Memory::new((args.next().transpose()?.unwrap_or(MEMORY_MIB) as usize) << 20);
    let (mut spent, mut wall) = (Duration::ZERO, Duration::ZERO);
    let mut generated = Duration::ZERO;
    let began_all = cpu_time();
    let mut disks = Vec::new();
    let mut rows_written = 0;
    for store in 0..STORES {
        let disk = Disk::new(&stores::families())?;
        let mut rows = Rows::new(Box::new(disk.engine.clone()), 100)?;
        let before = cpu_time();
        let records = records(store, keys, times);
        generated += cpu_time() - before;
        let (began, at) = (cpu_time(), Instant::now());
        let records = records.chunks_exact(116).map(|record| record.split_at(16));
        rows_written += rows.restore_from(records, &memory)?.rows;
        spent += cpu_time() - began;
        wall += at.elapsed();
        disks.push(disk);
    }
    settle();
    let all = cpu_time() - began_all - generated;
    let each = |spent: Duration| spent.as_secs_f64() * 1e9 / (keys * times * STORES) as f64;
    println!(
        "{} records, {rows_written} rows: {:.0} ns of CPU each, {:.0} with background work done; {:.0} ns on the wall",
        keys * times * STORES,
        each(spent),
        each(all),
        each(wall)
    );
    Ok(())
}

/// Until the process is idle.
fn settle() {
    let mut before = cpu_time();
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let now = cpu_time();
        if now - before < Duration::from_millis(5) {
            return;
        }
        before = now;
    }
}

fn records(store: u64, keys: u64, times: u64) -> Vec<u8> {
    let mut seeded = Seeded::new(store + 1);
    let padding: Vec<u8> = (0..1 << 20).map(|_| b'a' + seeded.below(26) as u8).collect();
    let mut all = Vec::with_capacity((keys * times) as usize * 116);
    for n in 0..keys * times {
        let key = n % keys;
        all.extend(
            (key + 1)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                .rotate_left(23)
                .to_be_bytes(),
        );
        all.extend(key.to_be_bytes());
        let from = seeded.below(padding.len() as u64 - 100) as usize;
        all.extend_from_slice(&padding[from..from + 100]);
    }
    all
}
