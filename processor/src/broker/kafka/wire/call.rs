//! What can be asked of a broker.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::Encodable;

use super::catalog::BrokerId;
use super::reader::{Malformed, Reader};
use crate::broker::fault::{Fault, Result};

/// A kind of request: Kafka's number for it, and the versions that we write and read. Each connection uses the newest
/// version that its broker knows too.
#[derive(Debug, PartialEq, Eq)]
pub struct Api {
    /// Kafka's name, for messages.
    pub name: &'static str,
    /// Kafka's number.
    pub key: i16,
    /// The oldest version that we speak. Kafka 2.1, the oldest broker that Kafka's own clients still serve, has it.
    pub oldest: i16,
    /// The newest version that we speak.
    pub newest: i16,
    /// The first version with tagged fields.
    pub flexible: i16,
    /// The answer begins with `throttle_time_ms`.
    pub throttles: bool,
}

impl Api {
    /// Whether this version has tagged fields.
    pub fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible
    }
}

/// A request of one kind.
pub trait Call {
    /// Its kind.
    const API: &'static Api;

    /// What its answer says.
    type Answer;

    /// Writes the body in `version`, usually by [`encode`].
    fn write(&self, version: i16, out: &mut BytesMut) -> Result<()>;

    /// Reads an answer of `version`; the reader stands behind the response header.
    fn read(version: i16, body: &mut Reader) -> std::result::Result<Self::Answer, Malformed>;

    /// About how many bytes [`Call::write`] writes, at most.
    fn size_hint(&self) -> usize {
        200
    }

    /// How long the broker may hold back its answer, on top of the request time-out (`max_wait_ms` of a Fetch).
    fn held_back(&self) -> Duration {
        Duration::ZERO
    }
}

/// Writes a request of `kafka-protocol`.
pub fn encode(request: &impl Encodable, api: &Api, version: i16, out: &mut BytesMut) -> Result<()> {
    let encoded = request.encode(out, version);
    encoded.map_err(|e| Fault::fatal(format!("{} v{version} cannot be written: {e}", api.name)))
}

/// A broker, with host and port, as an answer names it.
pub type Node = (BrokerId, String, i32);

/// Finds the reply that belongs to a request. Never used twice by one cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub(super) u64);

/// What became of a request. Every ticket gets exactly one.
#[derive(Debug)]
pub struct Reply {
    /// What [`super::Cluster::send`] gave for the request.
    pub ticket: Ticket,
    /// Who was asked.
    pub broker: BrokerId,
    /// The version that was spoken.
    pub version: i16,
    /// The answer's bytes behind the response header. `Retry`: the connection was lost, or the request timed out.
    pub body: Result<Bytes>,
    /// For messages: `broker 1 at localhost:9092`.
    pub(super) place: Place,
}

impl Reply {
    /// Reads the answer to a `C`. `Corrupt`, with the broker's name and the request's, when it is not one.
    pub fn read<C: Call>(self) -> Result<C::Answer> {
        let mut body = Reader::new(self.body?, C::API.is_flexible(self.version));
        C::read(self.version, &mut body).map_err(|e| malformed(C::API, self.version, &self.place, &e))
    }
}

/// An answer that cannot be read.
pub(super) fn malformed(api: &Api, version: i16, place: &Place, error: &Malformed) -> Fault {
    Fault::corrupt(format!(
        "the answer of {place} to {} v{version} cannot be read: {error}",
        api.name
    ))
}

/// A broker, named for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place(pub(super) std::sync::Arc<str>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
