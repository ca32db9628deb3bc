//! A socket's bytes, in the clear or through TLS.

use std::io::{self, ErrorKind, Read, Write};

use bytes::{Buf as _, BytesMut};
use rustls::ClientConnection;

use super::transport::{Socket, Transport};

/// Bytes in both directions; what cannot be written yet is kept.
pub(super) enum Stream {
    Plain { unsent: BytesMut },
    Tls(Box<ClientConnection>),
}

impl Stream {
    pub(super) fn plain() -> Self {
        Self::Plain {
            unsent: BytesMut::new(),
        }
    }

    pub(super) fn tls(mut session: ClientConnection) -> Self {
        // Requests are small and few; a part of one could not be sent.
        session.set_buffer_limit(None);
        Self::Tls(Box::new(session))
    }

    /// TLS is not through with its own handshake.
    pub(super) fn is_handshaking(&self) -> bool {
        matches!(self, Self::Tls(session) if session.is_handshaking())
    }

    /// Takes `bytes`, to be sent by [`Stream::flush`].
    pub(super) fn write(&mut self, bytes: BytesMut) -> io::Result<()> {
        match self {
            Self::Plain { unsent } if unsent.is_empty() => *unsent = bytes,
            Self::Plain { unsent } => unsent.extend_from_slice(&bytes),
            Self::Tls(session) => session.writer().write_all(&bytes)?,
        }
        Ok(())
    }

    /// Sends as much as the socket takes.
    pub(super) fn flush(&mut self, transport: &mut dyn Transport, socket: Socket) -> io::Result<()> {
        let mut io = Io { transport, socket };
        loop {
            let written = match self {
                Self::Plain { unsent } if unsent.is_empty() => return Ok(()),
                Self::Plain { unsent } => io.write(unsent).map(|count| unsent.advance(count)),
                Self::Tls(session) if !session.wants_write() => return Ok(()),
                Self::Tls(session) => session.write_tls(&mut io).map(drop),
            };
            match written {
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => (),
                other => other?,
            }
        }
    }

    /// Reads what has arrived; 0 is the end. An error that a [`rustls::Error`] lies in comes from TLS.
    pub(super) fn read(
        &mut self,
        transport: &mut dyn Transport,
        socket: Socket,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        let session = match self {
            Self::Plain { .. } => return transport.read(socket, buffer),
            Self::Tls(session) => session,
        };
        let mut io = Io { transport, socket };
        loop {
            match session.reader().read(buffer) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => (),
                // Closed without saying so. A frame that is cut short is noticed by its length.
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                other => return other,
            }
            session.read_tls(&mut io)?;
            if let Err(error) = session.process_new_packets() {
                // The other side is told why, if it still listens.
                let _ = session.write_tls(&mut io);
                return Err(io::Error::other(error));
            }
        }
    }
}

/// A socket as [`Read`] and [`Write`] want it.
struct Io<'a> {
    transport: &'a mut dyn Transport,
    socket: Socket,
}

impl Read for Io<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.transport.read(self.socket, buffer)
    }
}

impl Write for Io<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.transport.write(self.socket, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
