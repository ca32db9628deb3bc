//! The thread of a sink: takes records that are handed over, sends them, and takes the answers, without anybody calling.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::call::{InitProducer, Part, Produce, Producer};
use super::core::{Core, Place, RequestId};
use super::gather::Gathered;
use super::line::{Acked, Batch};
use super::settings::{Leaving, Settings};
use super::shared::{Inbox, Shared, Slot};
use crate::broker::TopicPartition;
use crate::broker::fault::{Fault, FaultKind, Result};
use crate::broker::kafka::native::topics::{ByName, TopicRef};
use crate::broker::kafka::wire::{BrokerId, Call, Cluster, Leader, Reply, Ticket, TopicState};
use crate::broker::record_batch::Sender;
use crate::broker::record_batch::deflate::Deflater;

/// How long answers are waited for that an abort makes worthless, so that nothing old is written behind what comes next.
const GRACE: Duration = Duration::from_secs(1);
/// How long the thread sleeps when nothing is due.
const IDLE: Duration = Duration::from_secs(60);
const UNKNOWN_TOPIC: i16 = 3;

/// What the thread has.
pub(super) struct Driver {
    pub(super) cluster: Cluster,
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Settings,
    pub(super) core: Core,
    pub(super) partitions: Vec<Partition>,
    /// The state of the leaders that the partitions know.
    generation: u64,
    pub(super) identity: Identity,
    pub(super) under_way: HashMap<Ticket, UnderWay>,
    deflater: Deflater,
    /// For the sink to hear.
    pub(super) acked: Vec<(Place, Acked)>,
    /// Lines of which requests were sent or answered since the sink's side was told.
    pub(super) touched: Vec<Place>,
    /// Until when answers are waited for that nobody wants any more.
    aborting: Option<Duration>,
    /// When it is looked again whether something is too old.
    next_check: Duration,
    /// When it was last looked whether something is to be sent: what was due by then waits for something else than time.
    looked_at: Duration,
    /// Nothing is sent before the sink has aborted.
    stands_still: bool,
    /// When records have waited for others for long enough.
    linger_over: Option<Duration>,
    replies: Vec<Reply>,
}

/// Who we are to the brokers.
#[derive(Debug, Default)]
pub(super) struct Identity {
    pub(super) producer: Option<Producer>,
    pub(super) asked: Option<Ticket>,
    pub(super) failures: u32,
    pub(super) not_before: Duration,
}

/// A partition that is written to.
pub(super) struct Partition {
    pub(super) partition: TopicPartition,
    topic: TopicRef,
    pub(super) leader: Option<Leader>,
    /// The brokers will not take anything for it, and why: Kafka's error code.
    gone: Option<i16>,
}

/// A request that is not answered.
pub(super) struct UnderWay {
    pub(super) id: RequestId,
    pub(super) places: Vec<Place>,
    pub(super) parts: Vec<Part>,
}

/// A batch that leaves.
type Leaver = (Place, Gathered);

impl Driver {
    pub(super) fn new(cluster: Cluster, settings: Settings, shared: Arc<Shared>) -> Self {
        Self {
            cluster,
            shared,
            core: Core::new(settings.limits),
            partitions: Vec::new(),
            generation: 0,
            identity: Identity::default(),
            under_way: HashMap::new(),
            deflater: Deflater::new(settings.compression, settings.level),
            settings,
            acked: Vec::new(),
            touched: Vec::new(),
            aborting: None,
            next_check: Duration::ZERO,
            looked_at: Duration::ZERO,
            stands_still: false,
            linger_over: None,
            replies: Vec::new(),
        }
    }

    /// Goes on until the sink is gone.
    pub(super) fn run(mut self) {
        while self.turn() {}
    }

    /// Sends what is to be sent, waits for what comes, and takes it. False: that was the last one.
    fn turn(&mut self) -> bool {
        self.send();
        !self.shared.inbox().quit && self.receive()
    }

    /// Sends what is to be sent. Then the sink wakes us when there is more.
    pub(super) fn send(&mut self) {
        loop {
            match self.round() {
                Ok(true) => (),
                Ok(false) => break,
                Err(fault) => self.fail(&fault),
            }
        }
    }

    /// Waits for what comes, and takes it. False: nothing comes any more.
    pub(super) fn receive(&mut self) -> bool {
        let timeout = self.next_time().saturating_sub(self.cluster.now());
        let mut replies = std::mem::take(&mut self.replies);
        let polled = self.cluster.poll(timeout, &mut replies);
        for reply in replies.drain(..) {
            if let Err(fault) = self.take(reply) {
                self.fail(&fault);
            }
        }
        self.replies = replies;
        match polled {
            Err(fault) if fault.kind == FaultKind::Fatal => {
                self.fail(&fault);
                false
            }
            // Nobody has to hear about a broker that does not let us in while there is nothing to bring.
            Err(fault) if self.shared.pending() > 0 => {
                self.fail(&fault);
                true
            }
            _ => true,
        }
    }

    /// One round of sending. False: nothing has come meanwhile, and the sink wakes us when something does.
    fn round(&mut self) -> Result<bool> {
        if self.cluster.generation() != self.generation {
            self.learn_leaders();
        }
        if self.aborting.is_some() {
            self.end_abort();
        }
        self.looked_at = self.cluster.now();
        self.stands_still = self.aborting.is_some() || self.shared.inbox().has_failed();
        if !self.stands_still {
            self.ask_for_identity()?;
            self.request()?;
            self.check_age()?;
        }
        let (leavers, again) = self.collect()?;
        for (place, gathered) in leavers {
            self.seal(place, gathered)?;
        }
        Ok(again)
    }

    /// Tells the sink what is new, and takes what it wants to leave and can. True: there is more to do than to wait.
    fn collect(&mut self) -> Result<(Vec<Leaver>, bool)> {
        let shared = self.shared.clone();
        let mut inbox = shared.inbox();
        self.tell(&mut inbox);
        let mut leavers = Vec::new();
        let mut again = false;
        if !inbox.opened.is_empty() {
            self.open(&mut inbox);
            again = true;
        }
        if inbox.abort && self.aborting.is_none() {
            self.aborting = Some(self.cluster.now() + GRACE);
            again = true;
        } else if self.aborting.is_none() && !inbox.has_failed() {
            self.take_leavers(&mut inbox, &mut leavers)?;
            again |= !leavers.is_empty();
        }
        inbox.asleep = !again;
        Ok((leavers, again))
    }

    fn tell(&mut self, inbox: &mut Inbox) {
        for place in self.touched.drain(..) {
            let (Some(slot), Some(line)) = (inbox.slots.get_mut(place as usize), self.core.line(place)) else {
                continue;
            };
            slot.hungry = match self.settings.leaving {
                Leaving::AtOnce => line.room() > 0,
                Leaving::WithAnswers(_) => line.under_way() == 0,
                // Its time begins.
                Leaving::AfterLinger(_) => slot.gather.len() == 0,
            };
        }
        if self.acked.is_empty() {
            return;
        }
        for (place, acked) in self.acked.drain(..) {
            self.shared.release(acked.freed);
            if let Some(slot) = inbox.slots.get_mut(place as usize) {
                slot.last = acked.last.or(slot.last);
            }
        }
        self.shared.tell(inbox);
    }

    fn open(&mut self, inbox: &mut Inbox) {
        for partition in inbox.opened.drain(..) {
            let place = self.core.open();
            self.touched.push(place);
            let topic = TopicRef {
                name: partition.topic.clone(),
                id: Uuid::nil(),
            };
            self.partitions.push(Partition {
                partition,
                topic,
                leader: None,
                gone: None,
            });
        }
        let topics: BTreeSet<Arc<str>> = self
            .partitions
            .iter()
            .map(|known| known.partition.topic.clone())
            .collect();
        self.cluster.want_topics(topics);
        self.learn_leaders();
        self.tell(inbox);
    }

    fn take_leavers(&mut self, inbox: &mut Inbox, leavers: &mut Vec<Leaver>) -> Result<()> {
        self.linger_over = None;
        let now = self.looked_at;
        let Inbox {
            slots, filled, hurry, ..
        } = inbox;
        let mut done = Ok(());
        filled.retain(|place| {
            let Some(slot) = slots.get_mut(*place as usize) else {
                return false;
            };
            let count = match self.leaving(*place, slot, *hurry, now) {
                Ok(count) => count,
                Err(fault) => {
                    done = Err(fault);
                    0
                }
            };
            leavers.extend((0..count).filter_map(|_| Some((*place, slot.gather.take()?))));
            if let Leaving::AfterLinger(_) = self.settings.leaving {
                // Only the first record begins a time.
                slot.hungry = slot.gather.len() == 0;
            }
            slot.gather.len() > 0
        });
        done
    }

    /// How many batches of a slot leave now.
    fn leaving(&mut self, place: Place, slot: &Slot, hurry: bool, now: Duration) -> Result<usize> {
        let Some(known) = self.partitions.get(place as usize) else {
            return Ok(0);
        };
        if let Some(code) = known.gone {
            return Err(self.refused(place, code, None));
        }
        let old = |age: Duration| slot.gather.oldest().is_some_and(|since| now >= since + age);
        if old(self.settings.limits.delivery) {
            return Err(self.late(place, None));
        }
        let (Some(leader), Some(_)) = (known.leader, self.identity.producer) else {
            return Ok(0);
        };
        let room = self.core.room(place, leader.broker);
        if room == 0 || self.cluster.version(leader.broker, Produce::API)?.is_none() {
            return Ok(0);
        }
        let all = slot.gather.len();
        let idle = self.core.line(place).is_some_and(|line| line.under_way() == 0);
        let count = match self.settings.leaving {
            _ if hurry => all,
            Leaving::AtOnce => all,
            Leaving::WithAnswers(_) if idle => all,
            Leaving::WithAnswers(linger) | Leaving::AfterLinger(linger) if !old(linger) => {
                self.linger_over = self
                    .linger_over
                    .into_iter()
                    .chain(slot.gather.oldest().map(|at| at + linger))
                    .min();
                // All but the last are full.
                all - 1
            }
            Leaving::WithAnswers(_) | Leaving::AfterLinger(_) => all,
        };
        Ok(count.min(room))
    }

    fn seal(&mut self, place: Place, gathered: Gathered) -> Result<()> {
        let (Some(producer), Some(line)) = (self.identity.producer, self.core.line(place)) else {
            return Ok(());
        };
        let Gathered {
            mut builder,
            held,
            since,
        } = gathered;
        let sender = Sender {
            id: producer.id,
            epoch: producer.epoch,
            sequence: line.next_sequence(),
        };
        let count = builder.count() as i32;
        if let Some(sealed) = builder.seal_as(&sender, &mut self.deflater)? {
            let buffers = &self.shared.buffers;
            sealed.free.into_iter().for_each(|free| buffers.give(free));
            let batch = Batch::new(buffers.share(sealed.batch), count, held, since);
            self.core.push(place, batch);
        }
        Ok(())
    }

    /// Sends what the core has for the brokers.
    fn request(&mut self) -> Result<()> {
        let leader = |place: Place| self.partitions.get(place as usize)?.leader;
        let brokers: BTreeSet<BrokerId> = self
            .core
            .waiting()
            .filter_map(leader)
            .map(|leader| leader.broker)
            .collect();
        for broker in brokers {
            while self.cluster.version(broker, Produce::API)?.is_some() && self.request_of(broker)? {}
        }
        Ok(())
    }

    fn request_of(&mut self, broker: BrokerId) -> Result<bool> {
        let partitions = &self.partitions;
        let leads = |place: Place| {
            let leader = partitions.get(place as usize).and_then(|known| known.leader);
            leader.is_some_and(|leader| leader.broker == broker)
        };
        let Some(request) = self.core.request(broker, self.looked_at, leads) else {
            return Ok(false);
        };
        let places: Vec<Place> = request.parts.iter().map(|(place, _)| *place).collect();
        let part = |(place, batch)| {
            let known = partitions.get(place as usize)?;
            Some(Part {
                topic: known.topic.clone(),
                partition: known.partition.partition,
                batch,
            })
        };
        let mut call = Produce {
            parts: request.parts.into_iter().filter_map(part).collect(),
            timeout: self.settings.request_timeout,
        };
        let by_name = call.parts.iter().any(|part| part.topic.id.is_nil());
        let (sent, parts) = if by_name {
            let call = ByName(call);
            (self.cluster.send(broker, &call)?, call.0.parts)
        } else {
            let sent = self.cluster.send(broker, &call)?;
            (sent, std::mem::take(&mut call.parts))
        };
        self.touched.extend_from_slice(&places);
        let under_way = UnderWay {
            id: request.id,
            places,
            parts,
        };
        match sent {
            Some(ticket) => {
                self.under_way.insert(ticket, under_way);
            }
            None => self.come_back(&under_way, &format!("broker {broker} takes no requests now"))?,
        }
        Ok(true)
    }

    /// Asks who we are, as soon as there is somebody to ask: it takes a broker long, the first time.
    fn ask_for_identity(&mut self) -> Result<()> {
        let Identity {
            producer,
            asked,
            failures,
            not_before,
        } = &self.identity;
        if producer.is_some() || asked.is_some() || self.looked_at < *not_before {
            return Ok(());
        }
        let leaders = self
            .partitions
            .iter()
            .filter_map(|known| known.leader)
            .map(|leader| leader.broker);
        let mut brokers: BTreeSet<BrokerId> = leaders.collect();
        if brokers.is_empty() {
            brokers.extend(self.cluster.brokers());
        }
        let turn = (*failures as usize).checked_rem(brokers.len());
        if let Some(broker) = turn.and_then(|turn| brokers.into_iter().nth(turn))
            && let Some(ticket) = self.cluster.send(broker, &InitProducer)?
        {
            self.identity.asked = Some(ticket);
        }
        Ok(())
    }

    /// Brings the partitions up to what is known of leaders and topics.
    fn learn_leaders(&mut self) {
        self.generation = self.cluster.generation();
        let now = self.cluster.now();
        for known in &mut self.partitions {
            known.gone = match self.cluster.topic(&known.partition.topic) {
                TopicState::Unknown => None,
                TopicState::There(topic) => {
                    known.topic.id = topic.id;
                    None
                }
                TopicState::Missing { since } if now < since + self.settings.propagation => None,
                TopicState::Missing { .. } => Some(UNKNOWN_TOPIC),
                TopicState::Refused { code } => Some(code),
            };
            // While there is an election the last leader is kept: it answers with an error, or still leads.
            known.leader = self.cluster.leader(&known.partition).or(known.leader);
        }
    }

    /// From time to time: whether anything is overdue.
    fn check_age(&mut self) -> Result<()> {
        let now = self.looked_at;
        if now < self.next_check || self.shared.pending() == 0 {
            return Ok(());
        }
        let delivery = self.settings.limits.delivery;
        self.next_check = now + (delivery / 20).clamp(Duration::from_millis(10), Duration::from_secs(1));
        // What is missing becomes gone by time alone.
        self.learn_leaders();
        if let Some((place, failure)) = self.core.overdue(now) {
            return Err(self.fault(place, failure));
        }
        let gone = |place: &Place| {
            self.partitions
                .get(*place as usize)
                .is_some_and(|known| known.gone.is_some())
        };
        match self.core.waiting().find(gone) {
            Some(place) => Err(self.refused(place, UNKNOWN_TOPIC, None)),
            None => Ok(()),
        }
    }

    fn next_time(&self) -> Duration {
        let now = self.cluster.now();
        if self.stands_still {
            return self.aborting.unwrap_or(now + IDLE);
        }
        let check = (self.shared.pending() > 0).then_some(self.next_check);
        let idle = self.identity.producer.is_none() && self.identity.asked.is_none();
        let identity = idle.then_some(self.identity.not_before);
        // Records that come while others are under way do not wake anybody.
        let linger = match self.settings.leaving {
            Leaving::WithAnswers(linger) if self.core.is_busy() => Some(now + linger),
            _ => None,
        };
        let times = [check, identity, linger, self.linger_over].into_iter().flatten();
        let times = times.chain(self.core.times()).filter(|at| *at > self.looked_at);
        times.min().unwrap_or(now + IDLE)
    }

    /// The sink is to hear of it. Nothing more is sent until it aborts.
    pub(super) fn fail(&mut self, fault: &Fault) {
        let shared = self.shared.clone();
        let mut inbox = shared.inbox();
        // What is aborted cannot fail.
        if self.aborting.is_none() && !inbox.abort {
            shared.fail(&mut inbox, fault);
        }
    }

    /// Begins anew as soon as nothing old is under way, or does not end.
    fn end_abort(&mut self) {
        let is_over = self.aborting.is_some_and(|until| self.cluster.now() >= until);
        if !self.under_way.is_empty() && !is_over {
            return;
        }
        let owing: Vec<BrokerId> = self.core.owing().collect();
        for broker in owing {
            self.cluster
                .distrust(broker, &Fault::retry("what was sent is not wanted any more"));
        }
        self.core.start_anew();
        self.under_way.clear();
        self.identity.producer = None;
        self.acked.clear();
        let shared = self.shared.clone();
        let mut inbox = shared.inbox();
        inbox.forget();
        self.shared.release_all();
        self.touched = (0..self.partitions.len() as Place).collect();
        (self.aborting, inbox.abort) = (None, false);
        shared.tell(&inbox);
    }
}
