//! Makes it happen: poll, order, run, send, commit, restore.
//!
//! # The way of a record through this room
//!
//! 1. [`broker`]: a fetched chunk of one partition.
//! 2. [`inputs`]: it waits in its partition's queue; the partition that is furthest behind in event time goes first.
//! 3. [`gate`]: nobody runs ahead of the slowest partition of the process by more than the configured skew (OR-3).
//! 4. [`task_runner`]: its task processes a round of records (everything in `millstream-topology`).
//! 5. [`outputs`]: what comes out is partitioned and appended to the process's one sink (door 3).
//! 6. [`commit`]: outputs and changelog records become durable, then the offsets ([`ending`]), then the stores take their rows.
//!
//! Around it: [`app`] puts the parts together, [`supervise`] starts the threads, [`stream_thread`] is their loop,
//! [`rendezvous`] where they meet, [`topics`], [`starts`] and [`restore`] what happens before the first record.
#![deny(missing_docs)]

pub mod config;
pub mod error;

pub mod app;
pub mod supervise;

pub mod topics;

pub mod assign;
pub mod engines;
pub mod restore;
pub mod starts;

pub mod stream_thread;

pub mod broker;
pub mod inputs;

pub mod gate;

pub mod task_runner;

pub mod outputs;
pub mod partitioner;

pub mod rendezvous;

pub mod commit;
pub mod control;
pub mod ending;
pub mod position;

pub mod clock;
pub mod events;
pub mod progress;

pub use app::{App, Components, RunUntil, StopHandle};
pub use config::Config;
pub use error::{Error, ErrorKind};
pub use progress::{Progress, Summary};
