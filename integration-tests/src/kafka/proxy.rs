//! A network between a client and a broker that a test can cut.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Hands on what comes to its port, both ways.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    to: Option<SocketAddr>,
    state: Link,
    streams: Vec<TcpStream>,
    /// How many connections were ever handed on.
    count: usize,
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

impl Proxy {
    /// Listens on a free port of loopback.
    pub fn new() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let shared: Arc<Mutex<Shared>> = Arc::default();
        let inner = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                accept(&inner, client);
            }
        });
        Ok(Self { port, shared })
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

    /// How many connections it has ever handed on.
    pub fn connections(&self) -> usize {
        lock(&self.shared).count
    }
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(shared: &Arc<Mutex<Shared>>, client: TcpStream) {
    let mut guard = lock(shared);
    let (Link::Up, Some(to)) = (guard.state, guard.to) else {
        return;
    };
    let Ok(server) = TcpStream::connect(to) else { return };
    for (from, to) in [(&client, &server), (&server, &client)] {
        let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else {
            return;
        };
        thread::spawn(move || pass(from, to));
    }
    guard.count += 1;
    guard.streams.extend([client, server]);
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
