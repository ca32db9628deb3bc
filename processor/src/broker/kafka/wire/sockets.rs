//! Real sockets, by mio.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::settings::Family;
use super::transport::{Socket, Transport};
use crate::broker::Waker;
use crate::broker::fault::{Fault, Result};

const WAKER: Token = Token(usize::MAX);

pub(super) struct Sockets {
    poll: Poll,
    events: Events,
    waker: Arc<mio::Waker>,
    /// The waker was used by somebody outside, not by a name look-up.
    woken: Arc<AtomicBool>,
    started: Instant,
    random: SystemRandom,
    family: Family,
    slots: HashMap<Socket, Slot>,
    next: usize,
    lookups: (Sender<Lookup>, Receiver<Lookup>),
}

type Lookup = (Socket, io::Result<Vec<SocketAddr>>);

enum Slot {
    /// The name is being looked up.
    Named,
    Connecting {
        stream: TcpStream,
        /// Addresses not tried yet.
        rest: VecDeque<SocketAddr>,
    },
    Open {
        stream: TcpStream,
        /// Something may be there. A short read says that nothing more is, which saves the read that would say so.
        readable: bool,
        /// The other side has closed, and may have before the last bytes were read: a short read does not say it.
        ending: bool,
    },
    Failed(io::Error),
}

impl Sockets {
    pub(super) fn new(family: Family) -> Result<Self> {
        let made = Poll::new().and_then(|poll| {
            let waker = mio::Waker::new(poll.registry(), WAKER)?;
            Ok((poll, waker))
        });
        let (poll, waker) = made.map_err(|e| Fault::fatal(format!("sockets cannot be waited for: {e}")))?;
        Ok(Self {
            poll,
            events: Events::with_capacity(256),
            waker: Arc::new(waker),
            woken: Arc::default(),
            started: Instant::now(),
            random: SystemRandom::new(),
            family,
            slots: HashMap::new(),
            next: 0,
            lookups: channel(),
        })
    }

    /// Goes on with the first address that a connection can be begun to.
    fn try_addresses(&mut self, socket: Socket, mut rest: VecDeque<SocketAddr>, mut error: io::Error) {
        while let Some(address) = rest.pop_front() {
            let begun = TcpStream::connect(address).and_then(|mut stream| {
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut stream, Token(socket.0), interest)?;
                Ok(stream)
            });
            match begun {
                Ok(stream) => {
                    self.slots.insert(socket, Slot::Connecting { stream, rest });
                    return;
                }
                Err(e) => error = e,
            }
        }
        self.slots.insert(socket, Slot::Failed(error));
    }

    fn take_lookups(&mut self, ready: &mut Vec<Socket>) {
        while let Ok((socket, addresses)) = self.lookups.1.try_recv() {
            // Else it was closed meanwhile.
            if let Some(Slot::Named) = self.slots.get(&socket) {
                self.begin(socket, addresses);
                ready.push(socket);
            }
        }
    }

    fn begin(&mut self, socket: Socket, addresses: io::Result<Vec<SocketAddr>>) {
        let mut addresses = match addresses {
            Ok(addresses) => addresses,
            Err(e) => {
                self.slots.insert(socket, Slot::Failed(e));
                return;
            }
        };
        addresses.retain(|address| match self.family {
            Family::Any => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        });
        // A host whose first address swallows packets is reached by the next attempt.
        if let Some(turn) = self.next.checked_rem(addresses.len()) {
            addresses.rotate_left(turn);
        }
        let none = io::Error::new(
            io::ErrorKind::NotFound,
            "the name has no address of broker.address.family",
        );
        self.try_addresses(socket, addresses.into(), none);
    }
}

/// The system's look-up blocks, for seconds when a name server is away: it gets a thread while it lasts.
fn look_up(host: String, port: u16, socket: Socket, done: Sender<Lookup>, waker: Arc<mio::Waker>) -> io::Result<()> {
    let thread = std::thread::Builder::new().name("millstream-lookup".into());
    thread.spawn(move || {
        let addresses = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
        // Nobody listens any more when the cluster was dropped.
        if done.send((socket, addresses)).is_ok() {
            let _ = waker.wake();
        }
    })?;
    Ok(())
}

impl Transport for Sockets {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn random(&mut self, out: &mut [u8]) {
        // The system's source does not fail once it has worked; then the broker's half of the nonce is fresh alone.
        if self.random.fill(out).is_err() {
            tracing::warn!("the system has no random numbers to give");
        }
    }

    fn connect(&mut self, host: &str, port: u16) -> Socket {
        let socket = Socket(self.next);
        self.next += 1;
        self.slots.insert(socket, Slot::Named);
        if let Ok(address) = host.parse::<IpAddr>() {
            self.begin(socket, Ok(vec![SocketAddr::new(address, port)]));
            return socket;
        }
        let (done, waker) = (self.lookups.0.clone(), self.waker.clone());
        if let Err(e) = look_up(host.to_owned(), port, socket, done, waker) {
            self.slots.insert(socket, Slot::Failed(e));
        }
        socket
    }

    fn connected(&mut self, socket: Socket) -> io::Result<bool> {
        match self.slots.remove(&socket) {
            None => Err(io::ErrorKind::NotConnected.into()),
            Some(Slot::Failed(error)) => Err(error),
            Some(Slot::Named) => {
                self.slots.insert(socket, Slot::Named);
                Ok(false)
            }
            Some(open @ Slot::Open { .. }) => {
                self.slots.insert(socket, open);
                Ok(true)
            }
            Some(Slot::Connecting { stream, rest }) => {
                let error = match stream.take_error()? {
                    Some(error) => error,
                    None => match stream.peer_addr() {
                        Ok(_) => {
                            stream.set_nodelay(true)?;
                            let (readable, ending) = (true, false);
                            self.slots.insert(
                                socket,
                                Slot::Open {
                                    stream,
                                    readable,
                                    ending,
                                },
                            );
                            return Ok(true);
                        }
                        Err(_) => {
                            self.slots.insert(socket, Slot::Connecting { stream, rest });
                            return Ok(false);
                        }
                    },
                };
                drop(stream);
                self.try_addresses(socket, rest, error);
                match self.slots.remove(&socket) {
                    Some(Slot::Failed(error)) => Err(error),
                    Some(slot) => {
                        self.slots.insert(socket, slot);
                        Ok(false)
                    }
                    None => Ok(false),
                }
            }
        }
    }

    fn read(&mut self, socket: Socket, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(Slot::Open {
            stream,
            readable,
            ending,
        }) = self.slots.get_mut(&socket)
        else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        if !*readable {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let read = stream.read(buffer);
        match &read {
            Ok(count) => *readable = *count == buffer.len() || *ending,
            Err(error) => *readable = error.kind() == io::ErrorKind::Interrupted,
        }
        read
    }

    fn write(&mut self, socket: Socket, bytes: &[u8]) -> io::Result<usize> {
        match self.slots.get_mut(&socket) {
            Some(Slot::Open { stream, .. }) => stream.write(bytes),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn close(&mut self, socket: Socket) {
        // Closing takes it out of the poll too.
        self.slots.remove(&socket);
    }

    fn wait(&mut self, timeout: Duration, ready: &mut Vec<Socket>) -> io::Result<bool> {
        // A connection that failed at once makes no event.
        let failed = |(socket, slot): (&Socket, &Slot)| matches!(slot, Slot::Failed(_)).then_some(*socket);
        ready.extend(self.slots.iter().filter_map(failed));
        let timeout = if ready.is_empty() { timeout } else { Duration::ZERO };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => (),
        }
        let mut lookups = false;
        for event in &self.events {
            if event.token() == WAKER {
                lookups = true;
                continue;
            }
            let socket = Socket(event.token().0);
            if let Some(Slot::Open { readable, ending, .. }) = self.slots.get_mut(&socket) {
                *ending |= event.is_read_closed() || event.is_error();
                *readable |= event.is_readable() || *ending;
            }
            ready.push(socket);
        }
        if lookups {
            self.take_lookups(ready);
        }
        Ok(self.woken.swap(false, Ordering::AcqRel))
    }

    fn waker(&self) -> Waker {
        let (waker, woken) = (self.waker.clone(), self.woken.clone());
        Arc::new(move || {
            woken.store(true, Ordering::Release);
            if let Err(error) = waker.wake() {
                tracing::warn!("a waiting reader cannot be woken: {error}");
            }
        })
    }
}
