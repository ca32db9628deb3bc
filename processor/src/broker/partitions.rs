//! The partitions a sink has opened, by reference and by name.

use std::collections::HashMap;

use super::fault::{Fault, Result};
use super::{PartitionRef, TopicPartition};

/// Opened partitions, each with what the sink keeps for it.
#[derive(Debug)]
pub(super) struct Partitions<T> {
    open: Vec<(TopicPartition, T)>,
    by_name: HashMap<TopicPartition, PartitionRef>,
}

impl<T> Default for Partitions<T> {
    fn default() -> Self {
        Self {
            open: Vec::new(),
            by_name: HashMap::new(),
        }
    }
}

impl<T> Partitions<T> {
    /// The reference of a partition that has been opened.
    pub(super) fn known(&self, partition: &TopicPartition) -> Option<PartitionRef> {
        self.by_name.get(partition).copied()
    }

    /// Opens a partition that is not yet known.
    pub(super) fn add(&mut self, partition: TopicPartition, kept: T) -> PartitionRef {
        let reference = PartitionRef(self.open.len() as u32);
        self.by_name.insert(partition.clone(), reference);
        self.open.push((partition, kept));
        reference
    }

    /// `Misuse` for a reference that this sink did not give.
    pub(super) fn get_mut(&mut self, at: PartitionRef) -> Result<&mut (TopicPartition, T)> {
        let found = self.open.get_mut(at.0 as usize);
        found.ok_or_else(|| Fault::misuse(format!("partition {} was never opened by this sink", at.0)))
    }

    /// All of them, in the order they were opened.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(TopicPartition, T)> {
        self.open.iter()
    }

    /// All of them, in the order they were opened, to change.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut (TopicPartition, T)> {
        self.open.iter_mut()
    }
}
