//! What is asked when a position has become doubtful, and what the answers mean.

use super::answers::{leader_has_moved, refused};
use super::cursor::{Cursor, CursorId, Need};
use super::fetch::{NativeFetch, Under};
use crate::broker::FetchEvent;
use crate::broker::fault::Result;
use crate::broker::kafka::wire::leader_epoch::{EpochQuestion, OffsetForLeaderEpoch};
use crate::broker::kafka::wire::list_offsets::{Edge, ListOffsets};
use crate::broker::kafka::wire::{BrokerId, Call, Reply};

/// A question about one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// Where does it begin or end?
    Edge(Edge),
    /// Where does the leader's log part from what was read? (KIP-320)
    Epoch,
}

impl NativeFetch {
    /// Sends the questions that are due. They go before the next Fetch request: a broker answers
    /// one after the other, and may hold that one back.
    pub(super) fn ask_questions(&mut self) -> Result<()> {
        let mut due: Vec<(CursorId, BrokerId, Question)> = Vec::new();
        for (id, cursor) in self.cursors.iter() {
            let Some(leader) = cursor.leader.filter(|_| cursor.is_free(self.generation)) else {
                continue;
            };
            match cursor.need {
                Need::Range { start, end } => {
                    let edges = [(start, Edge::Start), (end, Edge::End)];
                    let missing = edges.iter().filter(|(known, _)| known.is_none());
                    due.extend(missing.map(|(_, edge)| (id, leader.broker, Question::Edge(*edge))));
                }
                Need::Records if cursor.doubtful => due.push((id, leader.broker, Question::Epoch)),
                Need::Records | Need::Nothing => {}
            }
        }
        for (id, broker, question) in due {
            self.ask_question(id, broker, question)?;
        }
        Ok(())
    }

    fn ask_question(&mut self, id: CursorId, broker: BrokerId, question: Question) -> Result<()> {
        let Some(cursor) = self.cursors.get(id) else {
            return Ok(());
        };
        let (partition, current) = (
            cursor.partition.clone(),
            cursor.leader.map_or(-1, |leader| leader.epoch),
        );
        let epoch = cursor.epoch;
        let ticket = match question {
            Question::Edge(edge) => {
                let partitions = vec![(partition, current)];
                self.cluster.send(broker, &ListOffsets { edge, partitions })?
            }
            Question::Epoch => {
                let partitions = vec![EpochQuestion {
                    partition,
                    current,
                    epoch,
                }];
                self.cluster.send(broker, &OffsetForLeaderEpoch { partitions })?
            }
        };
        let Some(ticket) = ticket else { return Ok(()) };
        cursor.asked += 1;
        self.tickets.insert(ticket, Under::Question(id, question));
        Ok(())
    }

    pub(super) fn take_answer(&mut self, id: CursorId, question: Question, reply: Reply, out: &mut Vec<FetchEvent>) {
        let broker = reply.broker;
        let answer = match question {
            Question::Edge(_) => first::<ListOffsets, _>(reply, |offset| (offset.error, (offset.offset, -1))),
            Question::Epoch => first::<OffsetForLeaderEpoch, _>(reply, |end| (end.error, (end.end, end.epoch))),
        };
        let Some(cursor) = self.cursors.get(id) else { return };
        cursor.asked = cursor.asked.saturating_sub(1);
        match answer {
            Ok((0, (offset, epoch))) => {
                if let Some(event) = take_offset(cursor, question, offset, epoch) {
                    out.push(event);
                } else if cursor.need == Need::Records && question != Question::Epoch {
                    // The position is there after all. Should the broker change its mind again: not at once.
                    cursor.wait = Some(self.generation);
                    self.cluster.refresh();
                }
            }
            Ok((error, _)) if refused(error) => {
                let partition = cursor.partition.clone();
                let reason =
                    format!("the brokers refuse {partition} (error {error}): give this user the right to read it");
                self.lose(&partition, reason, out);
            }
            Ok((error, _)) => {
                if !leader_has_moved(error) {
                    let partition = &cursor.partition;
                    tracing::debug!(
                        "broker {broker} could not tell about {partition}: error {error}; it is asked again"
                    );
                }
                cursor.wait = Some(self.generation);
                self.cluster.refresh();
            }
            Err(fault) => {
                tracing::debug!("{fault}; it is asked again");
                cursor.wait = Some(self.generation);
                self.cluster.refresh();
            }
        }
    }
}

/// The part of an answer that belongs to the one partition that was asked for.
fn first<C: Call<Answer = Vec<A>>, A>(
    reply: Reply,
    part: impl Fn(&A) -> (i16, (i64, i32)),
) -> Result<(i16, (i64, i32))> {
    // An answer without it is as good as none.
    const UNKNOWN: i16 = -1;
    Ok(reply.read::<C>()?.first().map_or((UNKNOWN, (-1, -1)), part))
}

/// What a leader's answer means for the position; an event when the caller has to decide.
fn take_offset(cursor: &mut Cursor, question: Question, offset: i64, epoch: i32) -> Option<FetchEvent> {
    let (mut start, mut end) = match cursor.need {
        Need::Range { start, end } => (start, end),
        _ => (None, None),
    };
    match question {
        Question::Epoch => {
            cursor.doubtful = false;
            // A leader that knows no such epoch cannot contradict.
            return (epoch >= 0 && offset >= 0)
                .then(|| cursor.cut_back_to(epoch, offset))
                .flatten();
        }
        Question::Edge(Edge::Start) => start = Some(offset),
        Question::Edge(Edge::End) => end = Some(offset),
    }
    cursor.need = Need::Range { start, end };
    let (start, end) = (start?, end?);
    cursor.epoch = -1;
    if (start..=end).contains(&cursor.fetch_at) {
        cursor.need = Need::Records;
        return None;
    }
    cursor.need = Need::Nothing;
    Some(FetchEvent::OutOfRange {
        partition: cursor.partition.clone(),
        start,
        end,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::TopicPartition;
    use crate::broker::kafka::native::cursor::Cursors;

    fn answered(position: i64, start: i64, end: i64) -> (Option<FetchEvent>, Need) {
        let mut cursors = Cursors::default();
        cursors.insert(TopicPartition::new("t", 0), position);
        let (_, cursor) = cursors.iter_mut().next().unwrap();
        cursor.need = Need::Range { start: None, end: None };
        assert!(take_offset(cursor, Question::Edge(Edge::End), end, -1).is_none());
        let event = take_offset(cursor, Question::Edge(Edge::Start), start, -1);
        (event, cursor.need)
    }

    #[test]
    fn a_position_outside_is_told_and_one_inside_goes_on() {
        for position in [9, 21] {
            let (event, need) = answered(position, 10, 20);
            assert!(
                matches!(event, Some(FetchEvent::OutOfRange { start: 10, end: 20, .. })),
                "{event:?}"
            );
            assert_eq!(need, Need::Nothing);
        }
        for position in [10, 20] {
            let (event, need) = answered(position, 10, 20);
            assert!(event.is_none() && need == Need::Records);
        }
    }

    #[test]
    fn a_leader_without_the_epoch_does_not_contradict() {
        let mut cursors = Cursors::default();
        cursors.insert(TopicPartition::new("t", 0), 50);
        let (_, cursor) = cursors.iter_mut().next().unwrap();
        for (epoch, end, told) in [(-1, -1, false), (3, 50, false), (3, 40, true)] {
            cursor.doubtful = true;
            let event = take_offset(cursor, Question::Epoch, end, epoch);
            assert_eq!((event.is_some(), cursor.doubtful), (told, false));
        }
    }
}
