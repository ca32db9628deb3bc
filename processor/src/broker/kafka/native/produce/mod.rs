//! Writes to a cluster over connections of our own: the other half of the native data path.
//!
//! The sink lays records into batches on its caller's thread, one batch per partition, and hands them over to a thread of
//! its own ([`driver`]), which sends them, takes the answers, and goes on by itself. Between the two lies [`shared`], with a
//! [`gather`] of records for each partition that cannot leave yet.
//!
//! That every record is written once and in order is decided without I/O: [`line`] is one partition's batches and the rules
//! they follow, [`core`] all partitions and the requests under way, [`verdict`] what a broker's error means. `law` holds them
//! against simulated brokers that lose, cut and repeat.
//!
//! - [`call`]: the requests and their answers, as bytes; [`answers`]: what they mean;
//! - [`settings`]: what is understood of a producer's settings, and when records leave;
//! - [`buffers`]: memory of batches, used again.

mod answers;
mod buffers;
mod call;
mod core;
mod driver;
mod gather;
#[cfg(test)]
mod law;
mod line;
mod settings;
mod shared;
mod sink;
#[cfg(test)]
mod tests;
mod verdict;

pub(in crate::broker::kafka) use settings::serves;
pub(in crate::broker::kafka) use sink::NativeSink;
