//! Reads a topic on from where one is: each record of all partitions, in order within each.

use crate::Result;
use crate::batch::{self, Record};
use crate::wire::{Client, From};

/// How far a topic has been read.
pub struct Tail<'a> {
    topic: &'a str,
    /// At most so many bytes of each partition at a time.
    partition_bytes: i32,
    /// The next offset of each partition.
    offsets: Vec<i64>,
}

impl<'a> Tail<'a> {
    /// From these offsets on.
    pub fn new(topic: &'a str, partition_bytes: i32, offsets: Vec<i64>) -> Self {
        Self {
            topic,
            partition_bytes,
            offsets,
        }
    }

    /// The next offset of each partition.
    pub fn offsets(&self) -> &[i64] {
        &self.offsets
    }

    /// Hands on what one answer brings: each record with its partition. The broker may wait so long for the first.
    pub fn read(&mut self, client: &mut Client, wait_ms: i32, mut each: impl FnMut(usize, &Record<'_>)) -> Result<()> {
        let mut next = self.offsets.clone();
        let ask = From {
            topic: self.topic,
            offsets: &self.offsets,
            partition_bytes: self.partition_bytes,
            wait_ms,
        };
        client.fetch(&ask, |partition, bytes| {
            let slot = next.get_mut(partition).ok_or("a strange partition")?;
            if let Some(read) = batch::read(bytes, *slot, |record| each(partition, record))? {
                *slot = read;
            }
            Ok(())
        })?;
        self.offsets = next;
        Ok(())
    }
}
