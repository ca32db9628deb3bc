//! What a record costs.
//!
//! Every figure comes from the same few [`cases`]: a topology written in the public DSL, and seeded input for it
//! ([`data`]). A [`replay`] drives the task as the processor does, but between a memory source and a memory sink, so that
//! what is measured is ours alone: feed a chunk of 512 records, run, drain the outbox, and commit now and then.
//! [`stores`] does the same for the parts that write to RocksDB.
//!
//! Three programs look at them: `cargo bench` (criterion; where does the time go), `floors` (is it fast enough, by the
//! [`clock`] of CPU time) and `instructions` (did a change make it dearer, counted by callgrind, so that a busy machine does
//! not matter). [`allocations`] counts what the allocator is asked for. `benches/README.md` has the method and the results.

#![deny(missing_docs)]
#![deny(unsafe_code)]

pub mod data;

pub mod cases;
pub mod replay;

pub mod workloads;

pub mod parts;
pub mod stores;

pub mod allocations;
pub mod clock;
