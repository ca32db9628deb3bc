//! What the connections need from the machine: sockets, a clock, chance. One trait, so that tests have all three in hand.

use std::io;
use std::time::Duration;

use crate::broker::Waker;

/// A socket of one transport; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Socket(pub(super) usize);

/// Non-blocking sockets that one thread waits for, with that thread's clock.
///
/// A socket is named by [`Transport::wait`] when something may be possible that was not before: connected, readable,
/// writable, broken. It is named once; the caller goes on until [`io::ErrorKind::WouldBlock`].
pub(super) trait Transport: Send {
    /// Monotonic time.
    fn now(&self) -> Duration;

    /// Fills `out` with what nobody can foretell.
    fn random(&mut self, out: &mut [u8]);

    /// Begins to connect. How it went is told by [`Transport::connected`].
    fn connect(&mut self, host: &str, port: u16) -> Socket;

    /// True once connected, false while it is under way; the error when no address of the host answers.
    fn connected(&mut self, socket: Socket) -> io::Result<bool>;

    /// Reads into `buffer`; 0 is the end.
    fn read(&mut self, socket: Socket, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes a beginning of `bytes`.
    fn write(&mut self, socket: Socket, bytes: &[u8]) -> io::Result<usize>;

    /// Closes a socket.
    fn close(&mut self, socket: Socket);

    /// Waits up to `timeout` until there is something to do, and appends the sockets to `ready`. True when it was ended
    /// by the waker.
    fn wait(&mut self, timeout: Duration, ready: &mut Vec<Socket>) -> io::Result<bool>;

    /// Ends a wait from another thread.
    fn waker(&self) -> Waker;
}
