//! What answers mean, and the faults that come of them.

use std::sync::Arc;

use super::call::{InitProducer, Part, Produce, Produced};
use super::core::Place;
use super::driver::{Driver, UnderWay};
use super::line::{Failure, Verdict};
use super::verdict::{leader_may_have_moved, verdict};
use crate::broker::fault::{Fault, FaultKind, Result};
use crate::broker::kafka::errors;
use crate::broker::kafka::wire::{BrokerId, Node, Reply};

/// Codes for which a producer's id may be asked for again: no coordinator yet, no block of ids yet, no time.
const ASK_AGAIN: &[i16] = &[-1, 7, 13, 14, 15, 16, 41, 51];

impl Driver {
    pub(super) fn take(&mut self, reply: Reply) -> Result<()> {
        if self.identity.asked == Some(reply.ticket) {
            self.identity.asked = None;
            return self.take_identity(reply);
        }
        match self.under_way.remove(&reply.ticket) {
            Some(under_way) => self.take_answer(reply, &under_way),
            None => Ok(()),
        }
    }

    fn take_identity(&mut self, reply: Reply) -> Result<()> {
        let broker = reply.broker;
        let why = match reply.read::<InitProducer>() {
            Ok(Ok(producer)) => {
                (self.identity.producer, self.identity.failures) = (Some(producer), 0);
                return Ok(());
            }
            Ok(Err(code)) if !ASK_AGAIN.contains(&code) => {
                return Err(errors::broker_fault(
                    &format!("broker {broker} gives us no producer id"),
                    code,
                ));
            }
            Ok(Err(code)) => format!("broker {broker} gives no producer id (error {code})"),
            Err(fault) => self.unreadable(broker, &fault),
        };
        tracing::debug!("{why}; it is asked for again");
        self.identity.failures = self.identity.failures.saturating_add(1);
        self.identity.not_before = self.cluster.now() + self.settings.limits.pause.doubled(self.identity.failures);
        Ok(())
    }

    fn take_answer(&mut self, reply: Reply, under_way: &UnderWay) -> Result<()> {
        let broker = reply.broker;
        let answer = match reply.read::<Produce>() {
            Ok(answer) => answer,
            Err(fault) => {
                let why = self.unreadable(broker, &fault);
                return self.come_back(under_way, &why);
            }
        };
        if !answer.throttle.is_zero() {
            self.cluster.hold(broker, answer.throttle);
        }
        let mut verdicts = Vec::with_capacity(under_way.parts.len());
        let mut silent = false;
        for (at, (place, part)) in under_way.places.iter().zip(&under_way.parts).enumerate() {
            let produced = find(&answer.parts, at, part);
            silent |= produced.is_none();
            verdicts.push(match produced {
                Some(produced) => self.judge(*place, produced, &answer.nodes),
                None => Verdict::Again {
                    why: "the broker's answer does not speak of it".into(),
                    pause: true,
                },
            });
        }
        if silent {
            let fault = Fault::corrupt(format!(
                "the answer of broker {broker} to Produce does not speak of all that was sent"
            ));
            self.unreadable(broker, &fault);
        }
        self.settle(under_way, verdicts)
    }

    /// What is said about one batch, with what it tells about the leader.
    fn judge(&mut self, place: Place, produced: &Produced, nodes: &[Node]) -> Verdict {
        let message = produced.message.as_deref();
        let mut verdict = verdict(produced.error, produced.base_offset, message);
        let Some(known) = self.partitions.get(place as usize) else {
            return verdict;
        };
        if let Verdict::Again { why, pause } = &mut verdict {
            tracing::debug!("{}: {why}; it is sent again", known.partition);
            if leader_may_have_moved(produced.error) {
                *pause = !self.cluster.learn_leader(&known.partition, produced.leader, nodes);
            }
        }
        verdict
    }

    /// All parts of a request are to be sent again.
    pub(super) fn come_back(&mut self, under_way: &UnderWay, why: &str) -> Result<()> {
        let why: Arc<str> = why.into();
        let again = Verdict::Again { why, pause: true };
        self.settle(under_way, std::iter::repeat_n(again, under_way.places.len()))
    }

    fn settle(&mut self, under_way: &UnderWay, verdicts: impl IntoIterator<Item = Verdict>) -> Result<()> {
        self.touched.extend_from_slice(&under_way.places);
        let now = self.cluster.now();
        let done = self.core.answered(under_way.id, verdicts, now, &mut self.acked);
        done.map_err(|(place, failure)| self.fault(place, failure))
    }

    /// An answer is lost, or cannot be trusted, and its connection with it.
    fn unreadable(&mut self, broker: BrokerId, fault: &Fault) -> String {
        if fault.kind == FaultKind::Corrupt {
            tracing::warn!("{fault}; its connection is made anew");
            self.cluster.distrust(broker, fault);
        }
        self.cluster.refresh();
        fault.to_string()
    }

    /// The fault behind a failure.
    pub(super) fn fault(&self, place: Place, failure: Failure) -> Fault {
        let name = self.name(place);
        match failure {
            Failure::Refused { code, message } => self.refused(place, code, message.as_deref()),
            Failure::Late { why } => self.late(place, why.as_deref()),
            Failure::Lost => errors::broker_fault(&format!("a record for {name} was not written"), 45),
            Failure::Forgotten => Fault::retry(format!(
                "it is not known whether a record for {name} was written: its leader has forgotten what was sent last \
                 (OUT_OF_ORDER_SEQUENCE_NUMBER); go back to the last commit"
            )),
        }
    }

    /// A leader refuses a batch for good.
    pub(super) fn refused(&self, place: Place, code: i16, message: Option<&str>) -> Fault {
        let name = self.name(place);
        errors::broker_fault(
            &match message {
                Some(message) => format!("a record for {name} was not written ({message})"),
                None => format!("a record for {name} was not written"),
            },
            code,
        )
    }

    /// A partition's records wait for too long.
    pub(super) fn late(&self, place: Place, why: Option<&str>) -> Fault {
        let (name, limit) = (self.name(place), self.settings.limits.delivery);
        let leader = self.partitions.get(place as usize).and_then(|known| known.leader);
        let leader = match leader {
            Some(leader) => format!("broker {}", leader.broker),
            None => "unknown".to_owned(),
        };
        let trouble = why.map(str::to_owned).or_else(|| self.cluster.trouble());
        let trouble = trouble.unwrap_or_else(|| "no answer".to_owned());
        Fault::retry(format!(
            "a record for {name} is not acknowledged after {limit:?} (leader: {leader}; {trouble}): see that the brokers \
             can be reached and are not overloaded"
        ))
    }

    fn name(&self, place: Place) -> String {
        let known = self.partitions.get(place as usize);
        known.map_or_else(String::new, |known| known.partition.to_string())
    }
}

/// What the answer says about a part; mostly it has the order of the request.
fn find<'a>(answers: &'a [Produced], at: usize, part: &Part) -> Option<&'a Produced> {
    let there = answers.get(at).filter(|produced| produced.is_about(part));
    there.or_else(|| answers.iter().find(|produced| produced.is_about(part)))
}
