//! Reads and writes a cluster over connections of our own ([`super::wire`]). Writing is in [`produce`]; all else here reads.
//!
//! One request is under way to each broker that leads partitions we want (how long it may wait there: [`waits`]): the next one leaves as soon as an answer
//! has been cut into partitions, so the broker gathers while the records of the last answer are worked on. Nothing runs
//! but on the caller's thread, in [`NativeFetch::poll`].
//!
//! - [`call`]: the Fetch request and its answer, as bytes; [`topics`]: what Produce has in common with it;
//! - [`session`]: what a broker has been told already, so that a request says only what has changed (KIP-227);
//! - [`cursor`]: where each partition stands, and what of it waits to be polled;
//! - [`answers`]: what an answer means for a partition; [`questions`]: what is asked when a position has become
//!   doubtful (KIP-320);
//! - [`fetch`]: the loop around them; when a partition is polled, its batches are opened into records by
//!   `record_batch::opener`.
//!
//! A position is in doubt in two ways that must not be mixed up. *Out of range*: retention has overtaken it, or it never
//! existed; the caller hears where the partition begins and ends. *Truncated*: the records before it are not those that
//! were read, because a leader without them took over; the caller hears where the histories part.

mod answers;
mod call;
mod cursor;
mod fetch;
pub(super) mod produce;
mod questions;
mod session;
mod settings;
mod topics;
mod waits;

pub(super) use fetch::{NativeFetch, serves};
