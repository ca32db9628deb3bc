//! What both writers check and tell about the topics they write to.

use super::admin::KafkaAdmin;
use crate::broker::fault::{Fault, Result};
use crate::broker::record_batch::headers;
use crate::broker::{Acked, Admin, RawHeaders, TopicPartition};

/// What a batch of one record has besides its key, value and headers, at most.
const BATCH_OVERHEAD: usize = 130;

/// What a topic takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct TopicLimits {
    partitions: i32,
    /// The largest batch.
    pub(super) max_message_bytes: usize,
}

impl TopicLimits {
    /// Asks the brokers. `Misuse` when there is no such topic.
    pub(super) fn of(topic: &str, admin: &KafkaAdmin) -> Result<Self> {
        let info = admin.describe(topic)?.ok_or_else(|| admin.no_topic(topic))?;
        Ok(Self {
            partitions: info.partitions,
            max_message_bytes: info.max_message_bytes,
        })
    }

    /// `Misuse` when the topic does not have this partition.
    pub(super) fn check_partition(self, tp: &TopicPartition) -> Result<()> {
        let count = self.partitions;
        if (0..count).contains(&tp.partition) {
            return Ok(());
        }
        Err(Fault::misuse(format!(
            "there is no {tp}: the topic has {count} partitions"
        )))
    }

    /// `Misuse` for a record that the topic would refuse; else the bytes of its key and value.
    #[inline]
    pub(super) fn check(
        self,
        tp: &TopicPartition,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: RawHeaders<'_>,
    ) -> Result<usize> {
        headers::check(headers, tp)?;
        let len = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        if len + headers.len() + BATCH_OVERHEAD > self.max_message_bytes {
            return Err(self.too_large(tp, len));
        }
        Ok(len)
    }

    #[cold]
    fn too_large(self, tp: &TopicPartition, len: usize) -> Fault {
        let most = self.max_message_bytes;
        Fault::misuse(format!(
            "a record of about {} bytes is too large for {tp}, which takes batches of {most} bytes: raise the topic's \
             max.message.bytes or send less",
            len + BATCH_OVERHEAD
        ))
    }
}

/// The last offsets written, of those partitions that have one; -1 is one that was not told.
pub(super) fn acked<'a>(
    lasts: impl Iterator<Item = (&'a TopicPartition, Option<i64>)>,
    admin: &KafkaAdmin,
) -> Result<Acked> {
    let mut acked = Acked::default();
    for (tp, last) in lasts {
        let last = match last {
            None => continue,
            // A repeated write was recognised and its offset not told: it is before the end.
            Some(-1) => admin.end_offsets(std::slice::from_ref(tp))?[0] - 1,
            Some(offset) => offset,
        };
        acked.last.push((tp.clone(), last));
    }
    Ok(acked)
}
