//! A network between a client and a broker that a test can cut: at once, or at places that it names beforehand.

use std::collections::{HashSet, VecDeque};
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Hands on what comes to its port, both ways.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Mutex<Shared>>,
    /// A connection has ended.
    changed: Arc<Condvar>,
}

#[derive(Debug, Default)]
struct Shared {
    to: Option<SocketAddr>,
    state: Link,
    streams: Vec<TcpStream>,
    /// How many connections were ever handed on.
    count: usize,
    /// How many of these have ended.
    ended: usize,
    /// What happens next, one after the other.
    breaks: VecDeque<Break>,
}

/// What becomes of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Link {
    /// They pass.
    #[default]
    Up,
    /// Connections are closed, new ones too.
    Cut,
}

/// Where bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client: requests.
    ToBroker,
    /// From the broker: answers.
    ToClient,
}

/// A connection breaks; the next one is handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// So many bytes this way, of all connections together, after the break before; the last of them still passes.
    After(Way, u64),
    /// When the broker answers a Produce request: it has written the records, and the client does not hear of it.
    BeforeProduceAnswer,
}

impl Proxy {
    /// Listens on a free port of loopback.
    pub fn new() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let shared: Arc<Mutex<Shared>> = Arc::default();
        let changed: Arc<Condvar> = Arc::default();
        let (inner, tell) = (shared.clone(), changed.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                accept(&inner, &tell, client);
            }
        });
        Ok(Self { port, shared, changed })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// To whom it hands on.
    pub fn hand_on_to(&self, port: u16) {
        lock(&self.shared).to = Some(SocketAddr::from(([127, 0, 0, 1], port)));
    }

    /// Cuts the network, or mends it.
    pub fn set(&self, state: Link) {
        let mut shared = lock(&self.shared);
        shared.state = state;
        if state == Link::Cut {
            for stream in shared.streams.drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// Breaks connections at these places, in this order, instead of those that were still to come.
    pub fn break_at(&self, places: impl IntoIterator<Item = Break>) {
        lock(&self.shared).breaks = places.into_iter().collect();
    }

    /// How many of them are still to come.
    pub fn breaks_left(&self) -> usize {
        lock(&self.shared).breaks.len()
    }

    /// How many connections it has ever handed on.
    pub fn connections(&self) -> usize {
        lock(&self.shared).count
    }

    /// How many of them have ended.
    pub fn ended(&self) -> usize {
        lock(&self.shared).ended
    }

    /// Waits until more have ended than these; false if that takes too long.
    pub fn wait_for_more_ends_than(&self, ends: usize, limit: Duration) -> bool {
        let waiting = |shared: &mut Shared| shared.ended <= ends;
        let waited = self.changed.wait_timeout_while(lock(&self.shared), limit, waiting);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(shared: &Arc<Mutex<Shared>>, changed: &Arc<Condvar>, client: TcpStream) {
    let mut guard = lock(shared);
    let (Link::Up, Some(to)) = (guard.state, guard.to) else {
        return;
    };
    let Ok(server) = TcpStream::connect(to) else { return };
    let produces = Produces::default();
    for (from, to, way) in [(&client, &server, Way::ToBroker), (&server, &client, Way::ToClient)] {
        let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else {
            return;
        };
        let mut pipe = Pipe {
            way,
            shared: shared.clone(),
            produces: produces.clone(),
            frames: Frames::new(way),
        };
        let changed = changed.clone();
        thread::spawn(move || {
            pipe.pass(from, to);
            if way == Way::ToBroker {
                lock(&pipe.shared).ended += 1;
                changed.notify_all();
            }
        });
    }
    guard.count += 1;
    guard.streams.extend([client, server]);
}

/// Correlation ids of a connection's Produce requests that are not answered.
type Produces = Arc<Mutex<HashSet<[u8; 4]>>>;

/// One way of a connection.
struct Pipe {
    way: Way,
    shared: Arc<Mutex<Shared>>,
    produces: Produces,
    frames: Frames,
}

impl Pipe {
    fn pass(&mut self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            let passing = self.passing(&buffer[..len]);
            if to.write_all(&buffer[..passing.unwrap_or(len)]).is_err() || passing.is_some() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }

    /// How many of these bytes still pass, if the connection breaks here.
    fn passing(&mut self, bytes: &[u8]) -> Option<usize> {
        let answers_produce = self.follow(bytes);
        let mut shared = lock(&self.shared);
        let passing = match shared.breaks.front_mut()? {
            Break::After(way, left) if *way == self.way => {
                let passing = (bytes.len() as u64).min(*left);
                *left -= passing;
                (*left == 0).then_some(passing as usize)
            }
            Break::BeforeProduceAnswer if answers_produce => Some(0),
            _ => None,
        };
        if passing.is_some() {
            shared.breaks.pop_front();
        }
        passing
    }

    /// Follows the messages; whether an answer to a Produce request begins in these bytes.
    fn follow(&mut self, bytes: &[u8]) -> bool {
        let mut produces = lock(&self.produces);
        let (way, mut found) = (self.way, false);
        self.frames.read(bytes, |head| match (way, head) {
            // Its length, api key 0, its version; an answer has no more than length and correlation id.
            (Way::ToBroker, [_, _, _, _, 0, 0, _, _, id @ ..]) => drop(produces.insert(*id)),
            (Way::ToBroker, _) => (),
            (Way::ToClient, [_, _, _, _, id @ .., _, _, _, _]) => found |= produces.remove(id),
        });
        found
    }
}

/// Finds where Kafka's messages begin in a stream.
struct Frames {
    head: [u8; 12],
    /// How much of a head is wanted, and how much of it is there.
    wanted: usize,
    have: usize,
    /// What is left of the message behind its head.
    body: usize,
}

impl Frames {
    fn new(way: Way) -> Self {
        let wanted = match way {
            Way::ToBroker => 12,
            Way::ToClient => 8,
        };
        Self {
            head: [0; 12],
            wanted,
            have: 0,
            body: 0,
        }
    }

    fn read(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8; 12])) {
        while !bytes.is_empty() {
            let skipped = self.body.min(bytes.len());
            self.body -= skipped;
            bytes = &bytes[skipped..];
            let taken = (self.wanted - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == self.wanted {
                each(&self.head);
                let [a, b, c, d, ..] = self.head;
                self.body = (4 + u32::from_be_bytes([a, b, c, d]) as usize).saturating_sub(self.wanted);
                self.have = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32).to_be_bytes()[..], body].concat()
    }

    #[test]
    fn messages_are_found_however_they_are_cut() {
        let bodies: [&[u8]; 3] = [
            b"\0\0\0\x0aaaaabody",
            b"\0\x01\0\x0abbbb",
            b"\0\0\0\x0acccc and a longer body",
        ];
        let stream = bodies.map(message).concat();
        for piece in 1..=stream.len() {
            let mut frames = Frames::new(Way::ToBroker);
            let mut found = Vec::new();
            for bytes in stream.chunks(piece) {
                frames.read(bytes, |head| found.push(head[8..].to_vec()));
            }
            assert_eq!(found, [b"aaaa", b"bbbb", b"cccc"], "in pieces of {piece}");
        }
    }

    fn pipe(way: Way, breaks: &[Break], produces: &Produces) -> Pipe {
        let shared = Shared {
            breaks: breaks.iter().copied().collect(),
            ..Shared::default()
        };
        Pipe {
            way,
            shared: Arc::new(Mutex::new(shared)),
            produces: produces.clone(),
            frames: Frames::new(way),
        }
    }

    #[test]
    fn breaks_come_in_their_order_and_at_their_byte() {
        let breaks = [
            Break::After(Way::ToBroker, 5),
            Break::After(Way::ToClient, 1),
            Break::After(Way::ToBroker, 3),
        ];
        let mut pipe = pipe(Way::ToBroker, &breaks, &Produces::default());
        assert_eq!(pipe.passing(&[0; 4]), None);
        assert_eq!(pipe.passing(&[0; 4]), Some(1));
        assert_eq!(pipe.passing(&[0; 100]), None, "it is the other way's turn");
        pipe.way = Way::ToClient;
        assert_eq!(pipe.passing(&[0; 2]), Some(1));
        pipe.way = Way::ToBroker;
        assert_eq!(pipe.passing(&[0; 3]), Some(3));
        assert_eq!(lock(&pipe.shared).breaks.len(), 0);
    }

    #[test]
    fn only_an_answer_to_produce_is_lost() {
        let produces = Produces::default();
        let mut requests = pipe(Way::ToBroker, &[], &produces);
        requests.passing(&[message(b"\0\x03\0\x0aMETA topics"), message(b"\0\0\0\x0aPROD records")].concat());
        let mut answers = pipe(Way::ToClient, &[Break::BeforeProduceAnswer], &produces);
        assert_eq!(answers.passing(&message(b"META brokers")), None);
        assert_eq!(answers.passing(&message(b"PROD offsets")), Some(0));
        assert_eq!(answers.passing(&message(b"PROD offsets")), None, "the break is over");
    }
}
