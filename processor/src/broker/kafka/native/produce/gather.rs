//! Records of one partition that wait to leave together.

use std::collections::VecDeque;
use std::time::Duration;

use super::buffers::Buffers;
use crate::broker::record_batch::BatchBuilder;

/// Batches in their order. Only the last one may grow.
#[derive(Debug, Default)]
pub(super) struct Gather(VecDeque<Gathered>);

/// A batch that has not been sealed.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) builder: BatchBuilder,
    /// What it is counted as in memory.
    pub(super) held: usize,
    /// When its first record was handed over.
    pub(super) since: Duration,
}

impl Gather {
    /// Takes the records of `builder`, which is empty then; batches do not grow beyond `most` bytes.
    pub(super) fn add(&mut self, builder: &mut BatchBuilder, most: usize, since: Duration, buffers: &Buffers) {
        let held = builder.len();
        if let Some(last) = self.0.back_mut()
            && last.builder.len() + held <= most
        {
            last.builder.absorb(builder);
            last.held += held;
            builder.clear();
            return;
        }
        let next = BatchBuilder::with_buffer(buffers.take());
        let builder = std::mem::replace(builder, next);
        self.0.push_back(Gathered { builder, held, since });
    }

    /// How many batches there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// When the oldest record was handed over.
    pub(super) fn oldest(&self) -> Option<Duration> {
        self.0.front().map(|gathered| gathered.since)
    }

    /// The oldest batch.
    pub(super) fn take(&mut self) -> Option<Gathered> {
        self.0.pop_front()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
