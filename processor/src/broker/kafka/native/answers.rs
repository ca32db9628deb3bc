//! What an answer to a Fetch request means for each partition.

use bytes::Bytes;

use super::call::{FetchAnswer, FetchCall, Fetched};
use super::cursor::{Cursor, CursorId, Need};
use super::fetch::NativeFetch;
use crate::broker::FetchEvent;
use crate::broker::fault::{Fault, FaultKind, Result};
use crate::broker::kafka::wire::{BrokerId, Node, Reply};
use crate::broker::record_batch::Aborted;

const OFFSET_OUT_OF_RANGE: i16 = 1;
const CORRUPT_MESSAGE: i16 = 2;
const UNKNOWN_TOPIC: i16 = 3;
const LEADER_NOT_AVAILABLE: i16 = 5;
const NOT_LEADER: i16 = 6;
const TOPIC_REFUSED: i16 = 29;
const FENCED_LEADER_EPOCH: i16 = 74;
const UNKNOWN_LEADER_EPOCH: i16 = 75;
const UNKNOWN_TOPIC_ID: i16 = 100;
const INCONSISTENT_TOPIC_ID: i16 = 103;

/// Answers in a row without one whole batch before that is taken for damage: a batch that is larger than what was asked
/// for comes whole when it is the first of an answer.
const MOST_FRUITLESS: u32 = 10;
/// Part of an answer below which records are copied out of it, so that few bytes do not keep many in memory.
const SMALL_PART: usize = 4;
/// Answers below this are never worth copying from.
const SMALL_ANSWER: usize = 64 << 10;

/// Whether an error says that somebody else leads the partition, or that the topic is not what we think.
pub(super) fn leader_has_moved(error: i16) -> bool {
    matches!(
        error,
        UNKNOWN_TOPIC
            | LEADER_NOT_AVAILABLE
            | NOT_LEADER
            | FENCED_LEADER_EPOCH
            | UNKNOWN_LEADER_EPOCH
            | UNKNOWN_TOPIC_ID
            | INCONSISTENT_TOPIC_ID
    )
}

/// Whether an error says that we may not.
pub(super) fn refused(error: i16) -> bool {
    error == TOPIC_REFUSED
}

impl NativeFetch {
    pub(super) fn take_records(&mut self, reply: Reply, out: &mut Vec<FetchEvent>) -> Result<()> {
        let broker = reply.broker;
        self.busy.remove(&broker);
        let session = self.sessions.entry(broker).or_default();
        let answer = match reply.read::<FetchCall>() {
            Ok(answer) => answer,
            Err(fault) => {
                session.lost();
                if fault.kind == FaultKind::Corrupt {
                    tracing::warn!("{fault}; its connection is made anew");
                    self.cluster.distrust(broker, &fault);
                }
                self.cluster.refresh();
                return Ok(());
            }
        };
        if !session.answered(&answer) {
            tracing::debug!(
                "broker {broker} ended the fetch session (error {}); all is asked for anew",
                answer.error
            );
            if session.keeps_ending() {
                let generation = self.generation;
                let led = |cursor: &Cursor| cursor.leader.is_some_and(|leader| leader.broker == broker);
                for (_, cursor) in self.cursors.iter_mut().filter(|(_, cursor)| led(cursor)) {
                    cursor.wait = Some(generation);
                }
            }
            // A topic made anew under the same name ends sessions too.
            self.cluster.refresh();
            return Ok(());
        }
        let FetchAnswer {
            partitions,
            nodes,
            bytes,
            ..
        } = answer;
        let mut first = true;
        for mut fetched in partitions {
            let Some(id) = self.sessions.get(&broker).and_then(|session| session.cursor(&fetched)) else {
                continue;
            };
            let brings = !fetched.records.is_empty();
            if fetched.records.len() * SMALL_PART < bytes && bytes > SMALL_ANSWER {
                fetched.records = Bytes::copy_from_slice(&fetched.records);
            }
            if fetched.error == 0 {
                self.take_partition(id, fetched, first, out)?;
            } else {
                self.take_error(id, broker, &fetched, &nodes, out)?;
            }
            first &= !brings;
        }
        self.waits.answered(broker, first);
        Ok(())
    }

    fn take_partition(&mut self, id: CursorId, fetched: Fetched, first: bool, out: &mut Vec<FetchEvent>) -> Result<()> {
        let committed = self.settings.bounds.committed;
        let Some(cursor) = self.cursors.get(id) else {
            return Ok(());
        };
        if let Some((epoch, end)) = fetched.diverging {
            out.extend(cursor.cut_back_to(epoch, end));
            return Ok(());
        }
        if fetched.preferred_replica >= 0 && fetched.records.is_empty() {
            return Err(Fault::misuse(format!(
                "{}: its leader sends readers to broker {} (replica.selector.class), which kafka.fetch=native does not do: \
                 set kafka.fetch=librdkafka",
                cursor.partition, fetched.preferred_replica
            )));
        }
        cursor.end = match committed && fetched.last_stable >= 0 {
            true => fetched.last_stable,
            false => fetched.high_watermark,
        };
        if fetched.records.is_empty() {
            return Ok(());
        }
        let aborted = if committed { fetched.aborted } else { Vec::new() };
        if cursor.hold(fetched.records, Aborted::new(aborted)) {
            cursor.fruitless = 0;
        } else if first {
            cursor.fruitless += 1;
            if cursor.fruitless >= MOST_FRUITLESS {
                let (partition, at) = (&cursor.partition, cursor.fetch_at);
                return Err(Fault::corrupt(format!(
                    "{partition}: the broker has sent {MOST_FRUITLESS} answers for offset {at} without one whole batch"
                )));
            }
        }
        Ok(())
    }

    fn take_error(
        &mut self,
        id: CursorId,
        broker: BrokerId,
        fetched: &Fetched,
        nodes: &[Node],
        out: &mut Vec<FetchEvent>,
    ) -> Result<()> {
        let generation = self.generation;
        let Some(cursor) = self.cursors.get(id) else {
            return Ok(());
        };
        let partition = cursor.partition.clone();
        match fetched.error {
            OFFSET_OUT_OF_RANGE => {
                if cursor.need == Need::Records {
                    cursor.need = Need::Range { start: None, end: None };
                }
            }
            CORRUPT_MESSAGE => {
                return Err(Fault::corrupt(format!(
                    "{partition}: broker {broker} cannot read what it has from offset {} on",
                    cursor.fetch_at
                )));
            }
            error if refused(error) => {
                let reason = format!("the brokers refuse {partition}: give this user the right to read it");
                self.lose(&partition, reason, out);
            }
            error => {
                if !leader_has_moved(error) {
                    tracing::warn!("{partition}: broker {broker} answers with error {error}; it is asked again");
                }
                if !self.cluster.learn_leader(&partition, fetched.leader, nodes) {
                    cursor.wait = Some(generation);
                }
            }
        }
        Ok(())
    }
}

impl Cursor {
    /// The leader's log goes another way from `end` on, where its epoch `epoch` ended. An event when records were handed
    /// out that are not in it.
    pub(super) fn cut_back_to(&mut self, epoch: i32, end: i64) -> Option<FetchEvent> {
        if end >= self.fetch_at {
            // What was read last is of an epoch that the leader knows by another name; the offsets go on.
            self.epoch = epoch;
            return None;
        }
        self.drop_held();
        self.doubtful = false;
        if end >= self.position {
            self.epoch = epoch;
            return None;
        }
        self.need = Need::Nothing;
        Some(FetchEvent::Truncated {
            partition: self.partition.clone(),
            end,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::TopicPartition;
    use crate::broker::kafka::native::cursor::Cursors;
    use crate::broker::record_batch::{BatchBuilder, set_base_offset};

    /// A cursor that has handed out what lies before 5 and holds 5 to 7, of epoch 0.
    fn with_cursor(test: impl Fn(&mut Cursor)) {
        let mut cursors = Cursors::default();
        cursors.insert(TopicPartition::new("t", 0), 5);
        let mut builder = BatchBuilder::default();
        for _ in 0..3 {
            builder.append(0, None, None, &[]);
        }
        let mut batch = builder.seal().unwrap();
        set_base_offset(&mut batch, 5);
        for (_, cursor) in cursors.iter_mut() {
            assert!(cursor.hold(Bytes::from(batch.clone()), Aborted::default()));
            assert_eq!((cursor.fetch_at, cursor.epoch), (8, 0));
            assert!(cursor.held_bytes() > 0);
            test(cursor);
        }
    }

    #[test]
    fn a_log_cut_back_behind_what_was_read_goes_on() {
        with_cursor(|cursor| {
            assert!(cursor.cut_back_to(2, 8).is_none());
            assert_eq!((cursor.fetch_at, cursor.epoch, cursor.need), (8, 2, Need::Records));
        });
    }

    #[test]
    fn what_only_waits_here_is_read_again() {
        with_cursor(|cursor| {
            assert!(cursor.cut_back_to(2, 6).is_none());
            assert_eq!((cursor.fetch_at, cursor.epoch, cursor.held_bytes()), (5, 2, 0));
            assert_eq!(cursor.need, Need::Records);
        });
    }

    #[test]
    fn a_log_cut_back_before_what_was_handed_out_is_told() {
        with_cursor(|cursor| {
            let event = cursor.cut_back_to(2, 4);
            assert!(matches!(event, Some(FetchEvent::Truncated { end: 4, .. })), "{event:?}");
            assert_eq!((cursor.need, cursor.held_bytes()), (Need::Nothing, 0));
        });
    }

    #[test]
    fn bytes_that_bring_nothing_new_are_fruitless() {
        with_cursor(|cursor| {
            assert!(!cursor.hold(Bytes::from_static(b"cut off"), Aborted::default()));
            let mut old = BatchBuilder::default();
            old.append(0, None, None, &[]);
            let old = old.seal().unwrap();
            assert!(
                !cursor.hold(Bytes::from(old), Aborted::default()),
                "a batch before the position"
            );
            assert_eq!(cursor.fetch_at, 8);
        });
    }
}
