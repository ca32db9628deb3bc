//! Leaves out the records of aborted transactions (KIP-98).
//!
//! A broker sends them like all others, with a list of the aborted transactions that reach into what it sends: producer
//! and first offset. One of them lasts from its first offset to the marker that ends it.
#![deny(clippy::indexing_slicing)] // reads what comes from outside

use super::summary::BatchSummary;

/// The aborted transactions of what one fetch brought.
#[derive(Debug, Clone, Default)]
pub struct Aborted {
    /// First offset and producer, the earliest last.
    coming: Vec<(i64, i64)>,
    /// Producers whose aborted transaction has begun.
    open: Vec<i64>,
}

impl Aborted {
    /// From the list of a response: producer and first offset of each.
    pub fn new(list: impl IntoIterator<Item = (i64, i64)>) -> Self {
        let mut coming: Vec<_> = list.into_iter().map(|(producer, first)| (first, producer)).collect();
        coming.sort_unstable_by(|a, b| b.cmp(a));
        let open = Vec::new();
        Self { coming, open }
    }

    /// Whether the records of this batch are left out. To be asked about every batch, in their order.
    pub(super) fn leaves_out(&mut self, summary: &BatchSummary) -> bool {
        while let Some((_, producer)) = self.coming.pop_if(|(first, _)| *first <= summary.last_offset) {
            if !self.open.contains(&producer) {
                self.open.push(producer);
            }
        }
        if self.open.is_empty() || !summary.is_transactional() {
            return false;
        }
        let Some(at) = self.open.iter().position(|open| *open == summary.producer_id) else {
            return false;
        };
        // Whatever it says: a producer has one transaction at a time, and a marker is its end.
        if summary.is_control() {
            self.open.swap_remove(at);
        }
        true
    }
}
