//! One connection: how it is made, and the requests on it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::RequestHeader;
use kafka_protocol::protocol::{Encodable as _, StrBytes};

use super::call::{Api, Call, Place, Ticket, malformed};
use super::frames::{Frames, Pool};
use super::handshake::{
    ApiVersions, ApiVersionsAnswer, SaslAuthenticate, SaslHandshake, UNSUPPORTED_VERSION, Versions,
};
use super::reader::{Malformed, Reader};
use super::sasl::{Credentials, Exchange};
use super::stream::Stream;
use super::transport::{Socket, Transport};
use crate::broker::fault::{Fault, Result};

/// What all connections of a cluster have in common.
pub(super) struct Common {
    pub(super) client_id: StrBytes,
    pub(super) request_timeout: Duration,
    pub(super) setup_timeout: Duration,
    pub(super) max_answer: usize,
    pub(super) sasl: Option<Credentials>,
    pub(super) pool: Pool,
}

/// A connection from its first packet on. An error of any of its methods is its end.
pub(super) struct Connection {
    pub(super) socket: Socket,
    common: Arc<Common>,
    place: Place,
    stream: Stream,
    frames: Frames,
    stage: Stage,
    /// In the order they were sent, which is the order of the answers.
    in_flight: VecDeque<InFlight>,
    next_correlation: i32,
    versions: Versions,
    setup_deadline: Duration,
    /// The broker wants no request before (KIP-219).
    muted_until: Option<Duration>,
    /// When to prove anew who we are (KIP-368).
    renew_at: Option<Duration>,
}

enum Stage {
    /// The socket is not open yet.
    Connecting,
    /// TLS, if there is any.
    Securing,
    /// Versions are asked for.
    Versions,
    /// The mechanism is agreed on; then the proof.
    Proving(Option<Box<Exchange>>),
    Ready,
}

struct InFlight {
    asked: Asked,
    api: &'static Api,
    version: i16,
    correlation: i32,
    deadline: Duration,
}

enum Asked {
    Handshake,
    Caller(Ticket),
}

/// An answer to a caller's request.
pub(super) struct Arrived {
    pub(super) ticket: Ticket,
    pub(super) version: i16,
    pub(super) body: Bytes,
}

/// Where the bytes go that a connection reads.
pub(super) struct Inbox<'a> {
    /// For bytes that are not part of a large answer.
    pub(super) scratch: &'a mut [u8],
    pub(super) arrived: &'a mut Vec<Arrived>,
}

impl Connection {
    pub(super) fn new(common: Arc<Common>, place: Place, socket: Socket, stream: Stream, now: Duration) -> Self {
        Self {
            socket,
            frames: Frames::new(common.pool.clone(), common.max_answer),
            place,
            stream,
            stage: Stage::Connecting,
            in_flight: VecDeque::new(),
            next_correlation: 0,
            versions: Versions::default(),
            setup_deadline: now + common.setup_timeout,
            muted_until: None,
            renew_at: None,
            common,
        }
    }

    /// The handshake is over.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Ready)
    }

    /// Takes requests now.
    pub(super) fn is_open(&self) -> bool {
        self.is_ready() && self.muted_until.is_none() && self.renew_at != Some(Duration::ZERO)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The version in which this request is sent. `Misuse` when there is none.
    pub(super) fn version(&self, api: &Api) -> Result<i16> {
        self.versions.common(api).ok_or_else(|| {
            let (place, name, ours) = (&self.place, api.name, format!("{} to {}", api.oldest, api.newest));
            let theirs = match self.versions.range(api.key) {
                Some((oldest, newest)) => format!("versions {oldest} to {newest} of it"),
                None => "none of it".to_owned(),
            };
            Fault::misuse(format!(
                "{name} cannot be asked of {place}: it takes {theirs}, we speak {ours}; Kafka 2.1 or newer is needed"
            ))
        })
    }

    /// The tickets that will get no answer on this connection, with what was asked.
    pub(super) fn unanswered(&mut self) -> impl Iterator<Item = (Ticket, &'static Api, i16)> + '_ {
        self.in_flight.drain(..).filter_map(|request| match request.asked {
            Asked::Caller(ticket) => Some((ticket, request.api, request.version)),
            Asked::Handshake => None,
        })
    }

    /// Sends a caller's request.
    pub(super) fn send<C: Call>(
        &mut self,
        call: &C,
        version: i16,
        ticket: Ticket,
        transport: &mut dyn Transport,
    ) -> Result<()> {
        self.write(call, version, Asked::Caller(ticket), transport.now())?;
        self.flush(transport)
    }

    fn write<C: Call>(&mut self, call: &C, version: i16, asked: Asked, now: Duration) -> Result<()> {
        let correlation = self.next_correlation;
        self.next_correlation = correlation.wrapping_add(1) & i32::MAX;
        let mut frame = BytesMut::with_capacity(56 + call.size_hint());
        frame.extend_from_slice(&[0; 4]);
        let header = RequestHeader::default()
            .with_request_api_key(C::API.key)
            .with_request_api_version(version)
            .with_correlation_id(correlation)
            .with_client_id(Some(self.common.client_id.clone()));
        let layout = if C::API.is_flexible(version) { 2 } else { 1 };
        header
            .encode(&mut frame, layout)
            .map_err(|e| Fault::fatal(format!("the header of {} cannot be written: {e}", C::API.name)))?;
        call.write(version, &mut frame)?;
        let length = (frame.len() - 4) as i32;
        if let Some(prefix) = frame.first_chunk_mut::<4>() {
            *prefix = length.to_be_bytes();
        }
        self.stream.write(frame).map_err(|e| self.broken(&e))?;
        self.in_flight.push_back(InFlight {
            asked,
            api: C::API,
            version,
            correlation,
            deadline: now + self.common.request_timeout + call.held_back(),
        });
        Ok(())
    }

    fn flush(&mut self, transport: &mut dyn Transport) -> Result<()> {
        let flushed = self.stream.flush(transport, self.socket);
        flushed.map_err(|e| self.broken(&e))
    }

    /// Something may be possible at the socket that was not before.
    pub(super) fn on_event(&mut self, transport: &mut dyn Transport, inbox: &mut Inbox<'_>) -> Result<()> {
        if matches!(self.stage, Stage::Connecting) {
            match transport.connected(self.socket) {
                Ok(false) => return Ok(()),
                Ok(true) => self.stage = Stage::Securing,
                Err(e) => return Err(Fault::retry(format!("{} cannot be reached: {e}", self.place))),
            }
        }
        self.flush(transport)?;
        self.greet(transport.now())?;
        self.flush(transport)?;
        self.read(transport, inbox)?;
        self.greet(transport.now())?;
        self.flush(transport)
    }

    /// The first request, as soon as the stream carries any.
    fn greet(&mut self, now: Duration) -> Result<()> {
        if matches!(self.stage, Stage::Securing) && !self.stream.is_handshaking() {
            self.stage = Stage::Versions;
            self.write(&ApiVersions, ApiVersions::API.newest, Asked::Handshake, now)?;
        }
        Ok(())
    }

    fn read(&mut self, transport: &mut dyn Transport, inbox: &mut Inbox<'_>) -> Result<()> {
        loop {
            let (read, large) = match self.frames.room() {
                Some(room) => (self.stream.read(transport, self.socket, room), true),
                None => (self.stream.read(transport, self.socket, inbox.scratch), false),
            };
            match read {
                Ok(0) => return Err(self.closed()),
                Ok(count) if large => self.frames.filled(count),
                Ok(count) => {
                    let bytes = inbox.scratch.get(..count).unwrap_or_default();
                    self.frames.feed(bytes).map_err(|e| self.untrusted(&e))?;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
                Err(e) => return Err(self.broken(&e)),
            }
            while let Some(frame) = self.frames.pop() {
                self.on_answer(frame, transport, inbox.arrived)?;
            }
        }
    }

    fn on_answer(&mut self, frame: Bytes, transport: &mut dyn Transport, arrived: &mut Vec<Arrived>) -> Result<()> {
        let body = self.opened(frame)?;
        // Not before the answer is known to be its own: what is taken out here is not told as lost.
        let Some(request) = self.in_flight.pop_front() else {
            return Ok(());
        };
        let (api, version) = (request.api, request.version);
        match request.asked {
            Asked::Caller(ticket) => {
                if api.throttles {
                    self.mute(&body, transport.now());
                }
                arrived.push(Arrived { ticket, version, body });
                Ok(())
            }
            Asked::Handshake => {
                let mut body = Reader::new(body, api.is_flexible(version));
                self.on_handshake(version, &mut body, transport)
            }
        }
    }

    /// What an answer says behind its header, which must be that of the answer that is due.
    fn opened(&self, frame: Bytes) -> Result<Bytes> {
        let Some(due) = self.in_flight.front() else {
            return Err(self.untrusted(&Malformed::new("it answers what was not asked")));
        };
        // The answer that tells the versions cannot depend on them.
        let has_tags = due.api.is_flexible(due.version) && due.api.key != ApiVersions::API.key;
        let mut header = Reader::new(frame, has_tags);
        let number = header.i32().and_then(|number| header.skip_tags().map(|()| number));
        match number {
            Ok(number) if number == due.correlation => Ok(header.rest()),
            Ok(number) => {
                let due = due.correlation;
                Err(self.untrusted(&Malformed::new(format!("it has number {number}, {due} is due"))))
            }
            Err(error) => Err(self.untrusted(&error)),
        }
    }

    fn mute(&mut self, body: &Bytes, now: Duration) {
        let throttle = body.first_chunk::<4>().map_or(0, |first| i32::from_be_bytes(*first));
        if let Ok(throttle @ 1..) = u64::try_from(throttle) {
            self.hold(Duration::from_millis(throttle), now);
        }
    }

    /// Takes no requests for a while.
    pub(super) fn hold(&mut self, pause: Duration, now: Duration) {
        // Nobody is asked to wait longer than an answer may take.
        let pause = pause.min(self.common.request_timeout);
        self.muted_until = self.muted_until.max(Some(now + pause));
    }

    fn on_handshake(&mut self, version: i16, body: &mut Reader, transport: &mut dyn Transport) -> Result<()> {
        let now = transport.now();
        match &mut self.stage {
            Stage::Versions => {
                let answer = ApiVersions::read(version, body);
                self.on_versions(version, answer, now)
            }
            Stage::Proving(None) => {
                let answer = SaslHandshake::read(version, body);
                let answer = answer.map_err(|e| malformed(SaslHandshake::API, version, &self.place, &e))?;
                self.on_mechanism(answer.error, &answer.mechanisms, transport)
            }
            Stage::Proving(Some(_)) => self.on_proof(version, body, now),
            Stage::Connecting | Stage::Securing | Stage::Ready => Ok(()),
        }
    }

    fn on_versions(
        &mut self,
        version: i16,
        answer: std::result::Result<ApiVersionsAnswer, Malformed>,
        now: Duration,
    ) -> Result<()> {
        let refused = |error: i16| error == UNSUPPORTED_VERSION && version > 0;
        match answer {
            Ok(answer) if answer.error == 0 => {
                self.versions = answer.versions;
                self.authenticate(now)
            }
            // In the layout of version 0, whatever was asked: read in another one, it may seem garbled.
            Ok(answer) if !refused(answer.error) => {
                let (place, error) = (&self.place, answer.error);
                Err(Fault::retry(format!(
                    "{place} does not tell its versions: error {error}"
                )))
            }
            Err(error) if version == 0 => Err(malformed(ApiVersions::API, version, &self.place, &error)),
            Ok(_) | Err(_) => self.write(&ApiVersions, 0, Asked::Handshake, now),
        }
    }

    fn authenticate(&mut self, now: Duration) -> Result<()> {
        let Some(sasl) = &self.common.sasl else {
            self.stage = Stage::Ready;
            return Ok(());
        };
        let call = SaslHandshake(sasl.mechanism.name());
        let version = self.version(SaslHandshake::API)?;
        self.stage = Stage::Proving(None);
        self.write(&call, version, Asked::Handshake, now)
    }

    fn on_mechanism(&mut self, error: i16, offered: &[StrBytes], transport: &mut dyn Transport) -> Result<()> {
        let Some(sasl) = &self.common.sasl else {
            return Ok(());
        };
        if error != 0 {
            let offered: Vec<&str> = offered.iter().map(StrBytes::as_str).collect();
            let (place, wanted, offered) = (&self.place, sasl.mechanism.name(), offered.join(", "));
            return Err(Fault::misuse(format!(
                "{place} does not take sasl.mechanism {wanted} (error {error}); it takes: {offered}"
            )));
        }
        let mut random = [0; 24];
        transport.random(&mut random);
        let exchange = Exchange::new(sasl, random);
        let first = SaslAuthenticate(exchange.first());
        self.stage = Stage::Proving(Some(Box::new(exchange)));
        let version = self.version(SaslAuthenticate::API)?;
        self.write(&first, version, Asked::Handshake, transport.now())
    }

    fn on_proof(&mut self, version: i16, body: &mut Reader, now: Duration) -> Result<()> {
        let Stage::Proving(Some(exchange)) = &mut self.stage else {
            return Ok(());
        };
        let answer = SaslAuthenticate::read(version, body);
        let answer = answer.map_err(|e| malformed(SaslAuthenticate::API, version, &self.place, &e))?;
        if answer.error != 0 {
            let (place, error, message) = (&self.place, answer.error, answer.message.unwrap_or_default());
            return Err(Fault::misuse(format!(
                "{place} refuses us (error {error}: {message}): see sasl.username and sasl.password"
            )));
        }
        let next = exchange.next(&answer.bytes);
        let next = next.map_err(|e| Fault::misuse(format!("SASL with {} fails: {e}", self.place)))?;
        if let Some(next) = next {
            return self.write(&SaslAuthenticate(next), version, Asked::Handshake, now);
        }
        // In time for what is in flight to be answered before.
        let lifetime = u64::try_from(answer.lifetime_ms).unwrap_or(0);
        self.renew_at = (lifetime > 0).then(|| now + Duration::from_millis(lifetime / 100 * 85));
        self.stage = Stage::Ready;
        Ok(())
    }

    /// What the clock demands. True when requests are taken that were not before.
    pub(super) fn on_time(&mut self, transport: &mut dyn Transport) -> Result<bool> {
        let now = transport.now();
        if !self.is_ready() && now >= self.setup_deadline {
            let (place, limit) = (&self.place, self.common.setup_timeout);
            return Err(Fault::retry(format!(
                "{place} cannot be reached: no connection within {limit:?}"
            )));
        }
        if let Some(late) = self.in_flight.iter().find(|request| now >= request.deadline) {
            let (place, name) = (&self.place, late.api.name);
            return Err(Fault::retry(format!("{place} has not answered {name} in time")));
        }
        let unmuted = self.muted_until.is_some_and(|until| now >= until);
        if unmuted {
            self.muted_until = None;
        }
        if self.is_ready() && self.renew_at.is_some_and(|at| now >= at) {
            // From now on nothing is sent; when all is answered, the proof is made anew.
            self.renew_at = Some(Duration::ZERO);
            if self.in_flight.is_empty() {
                self.renew_at = None;
                self.setup_deadline = now + self.common.setup_timeout;
                self.authenticate(now)?;
                self.flush(transport)?;
            }
        }
        Ok(unmuted)
    }

    /// When [`Connection::on_time`] is due.
    pub(super) fn next_time(&self) -> Option<Duration> {
        let setup = (!self.is_ready()).then_some(self.setup_deadline);
        let answers = self.in_flight.iter().map(|request| request.deadline).min();
        let renewal = self.renew_at.filter(|at| !at.is_zero());
        [setup, answers, self.muted_until, renewal].into_iter().flatten().min()
    }

    fn closed(&self) -> Fault {
        let place = &self.place;
        Fault::retry(match &self.stage {
            Stage::Connecting | Stage::Securing | Stage::Versions => {
                format!("{place} closed the connection at once: see that security.protocol is the one of this listener")
            }
            Stage::Proving(_) => format!("{place} closed the connection while we proved who we are"),
            Stage::Ready => format!("{place} closed the connection"),
        })
    }

    fn untrusted(&self, error: &Malformed) -> Fault {
        let asked = self.in_flight.front().map_or("no request", |request| request.api.name);
        Fault::corrupt(format!(
            "the answer of {} to {asked} cannot be read: {error}",
            self.place
        ))
    }

    /// The fault behind an error of the stream.
    fn broken(&self, error: &io::Error) -> Fault {
        let place = &self.place;
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            None => Fault::retry(format!("the connection to {place} is broken: {error}")),
            Some(rustls::Error::InvalidCertificate(why)) => Fault::misuse(format!(
                "the certificate of {place} is not trusted: {why}; see ssl.ca.location, and that the certificate has \
                 this host name (ssl.endpoint.identification.algorithm)"
            )),
            Some(rustls::Error::AlertReceived(alert)) => Fault::misuse(format!(
                "{place} refuses TLS with us: {alert:?}; see ssl.certificate.location and ssl.key.location"
            )),
            Some(other) => Fault::retry(format!("TLS with {place} fails: {other}")),
        }
    }
}
