//! What every engine and every store must do: suites for the tests of this and other rooms (feature `testing`).
//!
//! The suites panic where an engine does not hold its contract. They take a seed, so that a failure can be repeated.

#![allow(clippy::expect_used, reason = "a suite panics where the contract is not held")]

mod engine;
mod stores;

pub use engine::check_engine;
pub use stores::check_stores;
#[cfg(test)]
pub(crate) use stores::{Law, Op};

use crate::engine::Engine;

/// An engine under test.
pub trait Subject {
    /// An engine without rows, with at least four families.
    fn fresh(&mut self) -> Box<dyn Engine>;
    /// Closes an engine made by [`Subject::fresh`] in good order, and opens the same again.
    fn reopen(&mut self, engine: Box<dyn Engine>) -> Box<dyn Engine>;
}

/// A sequence of numbers from a seed (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Dice(seed)
    }

    /// A number below `n`.
    pub(crate) fn roll(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n.max(1)
    }

    pub(crate) fn byte(&mut self, n: u8) -> u8 {
        self.roll(u64::from(n)) as u8
    }
}
