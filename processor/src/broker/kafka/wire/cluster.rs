//! The brokers of a cluster and the connections to them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::protocol::StrBytes;

use super::call::{Api, Call, Node, Reply, Ticket};
use super::catalog::{BrokerId, Catalog, Leader, TopicState};
use super::connection::{Arrived, Common, Connection, Inbox};
use super::frames::Pool;
use super::metadata::{Address, Metadata};
use super::peer::Peer;
use super::refresh::Refresh;
use super::settings::Settings;
use super::sockets::Sockets;
use super::tls::Tls;
use super::transport::{Socket, Transport};
use crate::broker::fault::{Fault, FaultKind, Result};
use crate::broker::{TopicPartition, Waker};

/// What is read at a time, unless it belongs to a large answer.
const SCRATCH: usize = 64 << 10;
/// No wait is longer, so that a clock that was stopped (a laptop asleep) is noticed.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A cluster as one thread sees it. Nothing happens outside [`Cluster::poll`].
///
/// A request can be sent to a broker whose connection is ready ([`Cluster::version`] tells, and in which version).
/// Asking for a broker that is not ready makes the cluster connect to it, as often as the back-off allows; `poll`
/// returns when one has become ready, when a reply is there, when the leaders have changed, or when it is woken.
pub struct Cluster {
    settings: Settings,
    common: Arc<Common>,
    tls: Option<Tls>,
    transport: Box<dyn Transport>,
    catalog: Catalog,
    /// By number; those named by `bootstrap.servers`, whose number is not known, have numbers below 0.
    peers: BTreeMap<BrokerId, Peer>,
    sockets: HashMap<Socket, BrokerId>,
    refresh: Refresh,
    next_ticket: u64,
    /// Replies for the next poll.
    replies: Vec<Reply>,
    /// What the next poll has to say.
    fault: Option<Fault>,
    /// The caller may find something to do.
    changed: bool,
    scratch: Vec<u8>,
}

impl Cluster {
    /// Over real sockets. Does not wait for a connection. `Misuse`: certificates that cannot be read, say.
    pub fn new(settings: Settings) -> Result<Self> {
        let sockets = Sockets::new(settings.family)?;
        Self::over(settings, Box::new(sockets))
    }

    /// Over any transport.
    pub(super) fn over(settings: Settings, transport: Box<dyn Transport>) -> Result<Self> {
        let common = Common {
            client_id: StrBytes::from_string(settings.client_id.clone()),
            request_timeout: settings.request_timeout,
            setup_timeout: settings.setup_timeout,
            max_answer: settings.max_answer,
            sasl: settings.sasl.clone(),
            pool: Pool::default(),
        };
        let servers = settings.bootstrap.iter().zip(1..);
        let peers = servers.map(|(address, number)| {
            let id = BrokerId(-number);
            (id, Peer::new(id, address.clone()))
        });
        Ok(Self {
            peers: peers.collect(),
            tls: settings.tls.as_ref().map(Tls::new).transpose()?,
            common: Arc::new(common),
            settings,
            transport,
            catalog: Catalog::default(),
            sockets: HashMap::new(),
            refresh: Refresh::new(),
            next_ticket: 0,
            replies: Vec::new(),
            fault: None,
            changed: false,
            scratch: vec![0; SCRATCH],
        })
    }

    /// The cluster's monotonic clock: time since some moment before now.
    pub fn now(&self) -> Duration {
        self.transport.now()
    }

    /// Ends a waiting [`Cluster::poll`] from another thread.
    pub fn waker(&self) -> Waker {
        self.transport.waker()
    }

    /// The topics whose leaders are to be known from now on, in place of those named before. New ones are asked for at
    /// the next poll.
    pub fn want_topics(&mut self, topics: impl IntoIterator<Item = Arc<str>>) {
        if self.catalog.want(topics) {
            self.refresh.anew();
        }
    }

    /// Asks for the leaders again, at the next poll or as soon after as the back-off allows.
    pub fn refresh(&mut self) {
        self.refresh.soon();
    }

    /// Counts up whenever leaders or topics may have changed.
    pub fn generation(&self) -> u64 {
        self.catalog.generation
    }

    /// What is known about a topic of interest.
    pub fn topic(&self, name: &str) -> TopicState<'_> {
        self.catalog.topic(name)
    }

    /// The brokers, as far as known.
    pub fn brokers(&self) -> impl Iterator<Item = BrokerId> + '_ {
        self.peers.keys().copied().filter(|id| id.0 >= 0)
    }

    /// Who leads a partition of a topic of interest, as far as known.
    pub fn leader(&self, partition: &TopicPartition) -> Option<Leader> {
        self.catalog.leader(partition)
    }

    /// Takes over what an answer said about a partition's leader (KIP-951); `nodes` are the addresses in it. Older epochs
    /// than the known one are left aside. False: it was no news, and the brokers are asked about it.
    pub fn learn_leader(&mut self, partition: &TopicPartition, leader: Option<Leader>, nodes: &[Node]) -> bool {
        let learned = leader.is_some_and(|leader| {
            let node = nodes.iter().find(|(id, _, _)| *id == leader.broker);
            if let Some((_, host, port)) = node
                && let Ok(port) = u16::try_from(*port)
            {
                let host = host.clone();
                self.meet(leader.broker, Address { host, port });
            }
            self.peers.contains_key(&leader.broker) && self.catalog.learn_leader(partition, leader)
        });
        if !learned {
            self.refresh();
        }
        learned
    }

    /// The version in which `broker` can be asked for `api` now; `None` while its connection is not ready, which makes
    /// the cluster connect, or while the broker wants us to wait (throttling). `Misuse`: no version is common.
    pub fn version(&mut self, broker: BrokerId, api: &Api) -> Result<Option<i16>> {
        let Some(peer) = self.peers.get_mut(&broker) else {
            self.refresh.soon();
            return Ok(None);
        };
        peer.wanted |= peer.connection.is_none();
        peer.open().map(|connection| connection.version(api)).transpose()
    }

    /// Sends a request, in the version that [`Cluster::version`] tells. `None` when that tells none; else there will be
    /// one [`Reply`] with this ticket.
    pub fn send<C: Call>(&mut self, broker: BrokerId, call: &C) -> Result<Option<Ticket>> {
        let Some(version) = self.version(broker, C::API)? else {
            return Ok(None);
        };
        let Some(connection) = self.peers.get_mut(&broker).and_then(Peer::open) else {
            return Ok(None);
        };
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        if let Err(fault) = connection.send(call, version, ticket, &mut *self.transport) {
            if fault.kind == FaultKind::Fatal {
                return Err(fault);
            }
            self.fail(broker, fault);
        }
        Ok(Some(ticket))
    }

    /// How many requests to `broker` are not answered yet.
    pub fn in_flight(&self, broker: BrokerId) -> usize {
        let connection = self.peers.get(&broker).and_then(|peer| peer.connection.as_ref());
        connection.map_or(0, Connection::in_flight)
    }

    /// Sends `broker` nothing for a while, because an answer asked for that (throttling) in a place of its own.
    pub fn hold(&mut self, broker: BrokerId, pause: Duration) {
        let now = self.now();
        if let Some(connection) = self.peers.get_mut(&broker).and_then(|peer| peer.connection.as_mut()) {
            connection.hold(pause, now);
        }
    }

    /// Closes the connection to `broker`, because its answers cannot be trusted: all that is in flight fails. It is made
    /// anew, after the back-off, when it is needed.
    pub fn distrust(&mut self, broker: BrokerId, why: &Fault) {
        self.fail(broker, Fault::corrupt(why.to_string()));
    }

    /// Why brokers could not be reached lately, for people; `None` when all is well.
    pub fn trouble(&self) -> Option<String> {
        let troubles: Vec<&str> = self.peers.values().filter_map(|peer| peer.trouble.as_deref()).collect();
        (!troubles.is_empty()).then(|| troubles.join("; "))
    }

    /// Moves bytes for up to `timeout` and appends what has been answered to `out`. Returns early as soon as there is
    /// something for the caller to do. `Misuse`: a broker refused the name or the password, or its certificate is not
    /// trusted; polling on tries again.
    pub fn poll(&mut self, timeout: Duration, out: &mut Vec<Reply>) -> Result<()> {
        let deadline = self.now().saturating_add(timeout);
        let mut ready = Vec::new();
        loop {
            // Told below: what has been answered is handed out first.
            if let Err(fault) = self.on_time() {
                self.fault = Some(fault);
            }
            let idle = self.replies.is_empty() && self.fault.is_none() && !self.changed;
            let wait = if idle {
                self.wait_until(deadline)
            } else {
                Duration::ZERO
            };
            ready.clear();
            let woken = self.transport.wait(wait, &mut ready);
            let woken = woken.map_err(|e| Fault::fatal(format!("sockets cannot be waited for: {e}")))?;
            for socket in &ready {
                self.on_event(*socket);
            }
            let news = std::mem::take(&mut self.changed) || !self.replies.is_empty();
            out.append(&mut self.replies);
            if let Some(fault) = self.fault.take() {
                return Err(fault);
            }
            if news || woken || self.now() >= deadline {
                return Ok(());
            }
        }
    }

    /// How long nothing is due, and not beyond `deadline`.
    fn wait_until(&self, deadline: Duration) -> Duration {
        let now = self.now();
        let connections = self
            .peers
            .values()
            .filter_map(|peer| peer.connection.as_ref()?.next_time());
        let attempts = self
            .peers
            .values()
            .filter(|peer| peer.wanted && peer.connection.is_none())
            .map(|peer| peer.not_before);
        let due = connections.chain(attempts).chain(self.refresh.next_time()).min();
        due.unwrap_or(Duration::MAX)
            .min(deadline)
            .saturating_sub(now)
            .min(LONGEST_WAIT)
    }

    /// What the clock demands.
    fn on_time(&mut self) -> Result<()> {
        let now = self.now();
        let mut failed = Vec::new();
        for (id, peer) in &mut self.peers {
            let due = match &mut peer.connection {
                Some(connection) => connection
                    .on_time(&mut *self.transport)
                    .map(|open| self.changed |= open),
                None if peer.wanted && now >= peer.not_before => {
                    let begun = peer.connect(&self.common, self.tls.as_ref(), &mut *self.transport);
                    if let Some(connection) = &peer.connection {
                        self.sockets.insert(connection.socket, *id);
                    }
                    begun
                }
                None => Ok(()),
            };
            if let Err(fault) = due {
                failed.push((*id, fault));
            }
        }
        for (id, fault) in failed {
            self.fail(id, fault);
        }
        if self.refresh.is_due(now) {
            self.ask(now)
        } else {
            Ok(())
        }
    }

    /// Asks for metadata, or goes for a connection that can be asked.
    fn ask(&mut self, now: Duration) -> Result<()> {
        let open = self
            .peers
            .iter_mut()
            .filter_map(|(id, peer)| Some((peer.open()?.in_flight(), *id)));
        if let Some((_, id)) = open.min() {
            let topics = self.catalog.names();
            // Noted first: when it cannot be sent, its reply comes at once.
            self.refresh.asked(Ticket(self.next_ticket));
            let sent = self.send(id, &Metadata { topics });
            if !matches!(sent, Ok(Some(_))) {
                let chance = self.chance();
                self.refresh.failed(self.settings.retry, now, chance);
            }
            return sent.map(drop);
        }
        if self.refresh.takes_turn(now) {
            // Whoever may be tried first; of those a broker before a server we were told in the beginning; each in turn.
            let rank = |id: BrokerId, peer: &Peer| (peer.not_before.max(now), id.0 < 0);
            let idle = |peer: &Peer| peer.connection.is_none();
            let first = self
                .peers
                .iter()
                .filter(|(_, peer)| idle(peer))
                .map(|(id, peer)| rank(*id, peer))
                .min();
            let candidates = self
                .peers
                .iter_mut()
                .filter(|(id, peer)| idle(peer) && Some(rank(**id, peer)) == first);
            let mut candidates: Vec<&mut Peer> = candidates.map(|(_, peer)| peer).collect();
            if let Some(place) = self.refresh.turn.checked_rem(candidates.len())
                && let Some(peer) = candidates.get_mut(place)
            {
                peer.wanted = true;
            }
        }
        Ok(())
    }

    fn on_event(&mut self, socket: Socket) {
        let Some(id) = self.sockets.get(&socket).copied() else {
            return;
        };
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let Some(connection) = &mut peer.connection else {
            return;
        };
        let was_ready = connection.is_ready();
        let mut arrived = Vec::new();
        let mut inbox = Inbox {
            scratch: &mut self.scratch,
            arrived: &mut arrived,
        };
        let result = connection.on_event(&mut *self.transport, &mut inbox);
        if connection.is_ready() && !was_ready {
            peer.on_ready();
            self.changed = true;
        }
        // What was answered before the connection broke is answered.
        let place = peer.place.clone();
        for Arrived { ticket, version, body } in arrived {
            let (broker, body) = (id, Ok(body));
            self.deliver(Reply {
                ticket,
                broker,
                version,
                body,
                place: place.clone(),
            });
        }
        if let Err(fault) = result {
            self.fail(id, fault);
        }
    }

    /// To the caller, or to ourselves.
    fn deliver(&mut self, reply: Reply) {
        if self.refresh.asked != Some(reply.ticket) {
            self.replies.push(reply);
            return;
        }
        let (now, chance) = (self.now(), self.chance());
        let (broker, lost) = (reply.broker, reply.body.is_err());
        match reply.read::<Metadata>() {
            Ok(answer) => {
                // A broker that has just started may know of none yet.
                if !answer.brokers.is_empty() {
                    self.keep_peers(&answer.brokers);
                }
                self.catalog.learn(answer, now);
                let complete = self.catalog.is_complete();
                let (age, pause) = (self.settings.metadata_age, self.settings.retry);
                self.refresh.answered(complete, age, pause, now, chance);
                self.changed = true;
            }
            Err(fault) => {
                self.refresh.failed(self.settings.retry, now, chance);
                if !lost {
                    self.fail(broker, fault);
                }
            }
        }
    }

    fn chance(&mut self) -> u8 {
        let mut chance = [0];
        self.transport.random(&mut chance);
        chance[0]
    }

    /// The brokers are these, at these addresses.
    fn keep_peers(&mut self, brokers: &BTreeMap<BrokerId, Address>) {
        for (id, address) in brokers {
            self.meet(*id, address.clone());
        }
        let gone: Vec<BrokerId> = self
            .peers
            .keys()
            .filter(|id| id.0 >= 0 && !brokers.contains_key(id))
            .copied()
            .collect();
        for id in gone {
            self.part(id, "it is no broker of this cluster any more");
        }
        // The first servers are the same brokers by another name; they are asked again when no broker can be.
        let servers: Vec<BrokerId> = self.peers.keys().filter(|id| id.0 < 0).copied().collect();
        for id in servers {
            if let Some(peer) = self.peers.get_mut(&id) {
                (peer.trouble, peer.wanted) = (None, false);
                if let Some(connection) = peer.connection.take() {
                    self.sockets.remove(&connection.socket);
                    self.transport.close(connection.socket);
                }
            }
        }
    }

    /// Takes note of a broker's address.
    fn meet(&mut self, id: BrokerId, address: Address) {
        match self.peers.get(&id) {
            Some(peer) if peer.address == address => return,
            Some(_) => self.part(id, "it has moved to another address"),
            None => (),
        }
        self.peers.insert(id, Peer::new(id, address));
    }

    /// Takes leave of a broker.
    fn part(&mut self, id: BrokerId, why: &str) {
        if let Some(peer) = self.peers.get(&id) {
            let fault = Fault::retry(format!("{}: {why}", peer.place));
            self.fail(id, fault);
            self.peers.remove(&id);
        }
    }

    /// Ends a connection: what is in flight fails, the next attempt waits.
    fn fail(&mut self, id: BrokerId, fault: Fault) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let (mut lost, mut idle) = (Vec::new(), false);
        if let Some(mut connection) = peer.connection.take() {
            idle = connection.is_ready() && connection.in_flight() == 0 && fault.kind == FaultKind::Retry;
            lost.extend(connection.unanswered());
            self.sockets.remove(&connection.socket);
            self.transport.close(connection.socket);
        }
        peer.on_failure(&fault, idle, self.settings.reconnect, &mut *self.transport);
        let place = peer.place.clone();
        for (ticket, api, version) in lost {
            let fault = Fault::retry(format!("{} v{version} is lost: {fault}", api.name));
            let (broker, body) = (id, Err(fault));
            self.deliver(Reply {
                ticket,
                broker,
                version,
                body,
                place: place.clone(),
            });
        }
        self.refresh.turn_failed();
        self.changed = true;
        if fault.kind == FaultKind::Misuse {
            self.fault = Some(fault);
        } else if !idle {
            // It may lead nothing any more.
            self.refresh.soon();
        }
    }
}
