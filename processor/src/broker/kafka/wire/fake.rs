//! A world for tests: servers that answer by script, sockets between, a clock that moves when somebody waits for it, and
//! chance that is always the same.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader};
use kafka_protocol::protocol::{Decodable as _, Encodable};

use super::cluster::Cluster;
use super::settings::Settings;
use super::transport::{Socket, Transport};
use crate::broker::Waker;

/// How long it takes to connect, and an answer to come.
pub(in crate::broker::kafka) const LATENCY: Duration = Duration::from_millis(1);

/// The world, as the test sees it; a clone is the same world.
#[derive(Clone, Default)]
pub(in crate::broker::kafka) struct World(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    now: Duration,
    servers: BTreeMap<String, Server>,
    sockets: BTreeMap<Socket, Line>,
    opened: usize,
    chance: u64,
    woken: bool,
    /// Every attempt to connect: when, and where to.
    attempts: Vec<(Duration, String)>,
    /// The most that one read gives.
    bite: Option<usize>,
}

struct Server {
    manner: Manner,
    script: Script,
}

type Script = Box<dyn FnMut(&Asked) -> Vec<Act> + Send>;

/// How a server takes connections. Where there is none, they are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker::kafka) enum Manner {
    Accepts,
    /// Never says anything.
    Swallows,
}

/// A request as a server sees it.
#[derive(Debug, Clone)]
pub(in crate::broker::kafka) struct Asked {
    pub(in crate::broker::kafka) at: Duration,
    /// Which connection of the world it came by.
    pub(in crate::broker::kafka) connection: usize,
    pub(in crate::broker::kafka) key: i16,
    pub(in crate::broker::kafka) version: i16,
    pub(in crate::broker::kafka) correlation: i32,
    pub(in crate::broker::kafka) client: String,
    pub(in crate::broker::kafka) body: Bytes,
}

/// What a server does.
#[derive(Debug, Clone)]
pub(in crate::broker::kafka) enum Act {
    /// Sends these bytes, this long after the request.
    Send(Duration, Bytes),
    Close,
}

/// One connection.
struct Line {
    server: String,
    open_at: Duration,
    /// What the client has sent and the server has not taken.
    sent: Vec<u8>,
    /// What the client has not read; `None` is the end.
    coming: VecDeque<(Duration, Option<Bytes>)>,
}

impl Asked {
    /// An answer to this request.
    pub(in crate::broker::kafka) fn answer(&self, response: &impl Encodable) -> Act {
        self.answer_after(LATENCY, response)
    }

    pub(in crate::broker::kafka) fn answer_after(&self, delay: Duration, response: &impl Encodable) -> Act {
        self.answer_as(delay, self.version, response)
    }

    /// An answer in the layout of another version.
    pub(in crate::broker::kafka) fn answer_as(&self, delay: Duration, version: i16, response: &impl Encodable) -> Act {
        let mut body = BytesMut::new();
        response.encode(&mut body, version).expect("a response");
        Act::Send(delay, self.framed(&body))
    }

    /// `body` with everything that goes before it.
    pub(in crate::broker::kafka) fn framed(&self, body: &[u8]) -> Bytes {
        let api = ApiKey::try_from(self.key).expect("a known request");
        let tags = usize::from(api.response_header_version(self.version) >= 1);
        let mut frame = Vec::new();
        frame.extend(((4 + tags + body.len()) as i32).to_be_bytes());
        frame.extend(self.correlation.to_be_bytes());
        frame.extend(std::iter::repeat_n(0, tags));
        frame.extend(body);
        frame.into()
    }
}

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("a world that did not panic")
    }

    /// A cluster in this world.
    pub(in crate::broker::kafka) fn cluster(&self, settings: Settings) -> Cluster {
        Cluster::over(settings, Box::new(self.clone())).expect("a cluster")
    }

    /// Puts a server at `place` (`host:port`), or another one there.
    pub(in crate::broker::kafka) fn server(
        &self,
        place: &str,
        script: impl FnMut(&Asked) -> Vec<Act> + Send + 'static,
    ) {
        let script = Box::new(script);
        let manner = Manner::Accepts;
        self.state().servers.insert(place.into(), Server { manner, script });
    }

    pub(in crate::broker::kafka) fn manner(&self, place: &str, manner: Manner) {
        self.state().servers.get_mut(place).expect("a server").manner = manner;
    }

    /// Ends every connection to `place` from the other side.
    pub(in crate::broker::kafka) fn hang_up(&self, place: &str) {
        let mut state = self.state();
        let now = state.now;
        for line in state.sockets.values_mut().filter(|line| line.server == place) {
            line.coming.push_back((now, None));
        }
    }

    pub(in crate::broker::kafka) fn attempts(&self) -> Vec<(Duration, String)> {
        self.state().attempts.clone()
    }

    pub(in crate::broker::kafka) fn now(&self) -> Duration {
        self.state().now
    }

    pub(in crate::broker::kafka) fn open_connections(&self) -> usize {
        self.state().sockets.len()
    }

    /// Lets no read give more than `bytes`.
    pub(in crate::broker::kafka) fn bite(&self, bytes: usize) {
        self.state().bite = Some(bytes);
    }
}

impl State {
    /// Hands whole requests on `socket` to its server.
    fn serve(&mut self, socket: Socket) {
        let now = self.now;
        let Some(line) = self.sockets.get_mut(&socket) else {
            return;
        };
        while line.sent.len() >= 4 {
            let length = u32::from_be_bytes(line.sent[..4].try_into().expect("four bytes")) as usize;
            if line.sent.len() < 4 + length {
                break;
            }
            let mut frame = Bytes::from(line.sent.drain(..4 + length).skip(4).collect::<Vec<u8>>());
            let (key, version) = (
                i16::from_be_bytes([frame[0], frame[1]]),
                i16::from_be_bytes([frame[2], frame[3]]),
            );
            let layout = ApiKey::try_from(key)
                .expect("a known request")
                .request_header_version(version);
            let header = RequestHeader::decode(&mut frame, layout).expect("a request header");
            let asked = Asked {
                at: now,
                connection: socket.0,
                key,
                version,
                correlation: header.correlation_id,
                client: header.client_id.unwrap_or_default().to_string(),
                body: frame,
            };
            let server = self.servers.get_mut(&line.server).expect("a server");
            for act in (server.script)(&asked) {
                // A broker answers in order.
                let last = line.coming.back().map_or(Duration::ZERO, |(at, _)| *at);
                line.coming.push_back(match act {
                    Act::Send(delay, bytes) => ((now + delay).max(last), Some(bytes)),
                    Act::Close => (now.max(last), None),
                });
            }
        }
    }

    /// When something happens on a line, from `now` on.
    fn next(&self, line: &Line) -> Option<Duration> {
        match self.servers.get(&line.server).map(|server| server.manner) {
            Some(Manner::Swallows) => None,
            _ if line.open_at > self.now => Some(line.open_at),
            None if line.coming.is_empty() => Some(self.now),
            _ => line.coming.front().map(|(at, _)| *at),
        }
    }
}

impl Transport for World {
    fn now(&self) -> Duration {
        World::now(self)
    }

    fn random(&mut self, out: &mut [u8]) {
        let mut state = self.state();
        for byte in out {
            state.chance = state.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            *byte = (state.chance >> 33) as u8;
        }
    }

    fn connect(&mut self, host: &str, port: u16) -> Socket {
        let mut state = self.state();
        let (now, server) = (state.now, format!("{host}:{port}"));
        state.attempts.push((now, server.clone()));
        let socket = Socket(state.opened);
        state.opened += 1;
        let line = Line {
            server,
            open_at: now + LATENCY,
            sent: Vec::new(),
            coming: VecDeque::new(),
        };
        state.sockets.insert(socket, line);
        socket
    }

    fn connected(&mut self, socket: Socket) -> io::Result<bool> {
        let state = self.state();
        let line = state.sockets.get(&socket).expect("an open socket");
        match state.servers.get(&line.server).map(|server| server.manner) {
            Some(Manner::Swallows) => Ok(false),
            _ if line.open_at > state.now => Ok(false),
            Some(Manner::Accepts) => Ok(true),
            None => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    fn read(&mut self, socket: Socket, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state();
        let (now, bite) = (state.now, state.bite.unwrap_or(usize::MAX));
        let line = state.sockets.get_mut(&socket).expect("an open socket");
        match line.coming.front_mut() {
            Some((at, Some(bytes))) if *at <= now => {
                let count = buffer.len().min(bytes.len()).min(bite);
                buffer[..count].copy_from_slice(&bytes[..count]);
                bytes.advance(count);
                if bytes.is_empty() {
                    line.coming.pop_front();
                }
                Ok(count)
            }
            Some((at, None)) if *at <= now => Ok(0),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn write(&mut self, socket: Socket, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        let line = state.sockets.get_mut(&socket).expect("an open socket");
        line.sent.extend_from_slice(bytes);
        state.serve(socket);
        Ok(bytes.len())
    }

    fn close(&mut self, socket: Socket) {
        self.state().sockets.remove(&socket);
    }

    fn wait(&mut self, timeout: Duration, ready: &mut Vec<Socket>) -> io::Result<bool> {
        let mut state = self.state();
        if std::mem::take(&mut state.woken) {
            return Ok(true);
        }
        let next = state.sockets.values().filter_map(|line| state.next(line)).min();
        let until = next.unwrap_or(Duration::MAX).min(state.now.saturating_add(timeout));
        let before = state.now;
        state.now = state.now.max(until);
        let now = state.now;
        // Those whose time has come in this wait; and those that were there already.
        let due = |line: &Line| {
            let opened = line.open_at > before && line.open_at <= now;
            opened || state.next(line).is_some_and(|at| at <= now)
        };
        ready.extend(
            state
                .sockets
                .iter()
                .filter(|(_, line)| due(line))
                .map(|(socket, _)| *socket),
        );
        Ok(false)
    }

    fn waker(&self) -> Waker {
        let world = self.clone();
        Arc::new(move || world.state().woken = true)
    }
}
