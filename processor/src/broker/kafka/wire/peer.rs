//! One broker as its cluster knows it: where it is, and how it goes with the connection to it.

use std::sync::Arc;
use std::time::Duration;

use super::call::Place;
use super::catalog::BrokerId;
use super::connection::{Common, Connection};
use super::metadata::Address;
use super::settings::Pause;
use super::stream::Stream;
use super::tls::Tls;
use super::transport::Transport;
use crate::broker::fault::{Fault, Result};

pub(super) struct Peer {
    pub(super) address: Address,
    pub(super) place: Place,
    pub(super) connection: Option<Connection>,
    /// Somebody has something to ask.
    pub(super) wanted: bool,
    /// Since the connection was last ready.
    failures: u32,
    /// No connection is begun before.
    pub(super) not_before: Duration,
    /// Why there is no connection.
    pub(super) trouble: Option<String>,
}

impl Peer {
    pub(super) fn new(id: BrokerId, address: Address) -> Self {
        let place = if id.0 < 0 {
            format!("the broker at {address}")
        } else {
            format!("broker {id} at {address}")
        };
        Self {
            address,
            place: Place(place.into()),
            connection: None,
            wanted: false,
            failures: 0,
            not_before: Duration::ZERO,
            trouble: None,
        }
    }

    /// The connection, if it takes requests now.
    pub(super) fn open(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut().filter(|connection| connection.is_open())
    }

    /// Begins a connection.
    pub(super) fn connect(
        &mut self,
        common: &Arc<Common>,
        tls: Option<&Tls>,
        transport: &mut dyn Transport,
    ) -> Result<()> {
        let stream = match tls {
            None => Stream::plain(),
            Some(tls) => Stream::tls(tls.session(&self.address.host)?),
        };
        let socket = transport.connect(&self.address.host, self.address.port);
        let (common, place) = (common.clone(), self.place.clone());
        self.connection = Some(Connection::new(common, place, socket, stream, transport.now()));
        Ok(())
    }

    pub(super) fn on_ready(&mut self) {
        (self.wanted, self.failures, self.trouble) = (false, 0, None);
    }

    /// The connection has ended, or could not be begun. An `idle` one that a broker closed is worth no word.
    pub(super) fn on_failure(&mut self, fault: &Fault, idle: bool, pause: Pause, transport: &mut dyn Transport) {
        self.failures = self.failures.saturating_add(1);
        let mut chance = [0];
        transport.random(&mut chance);
        self.not_before = transport.now() + pause.after(self.failures, chance[0]);
        self.wanted = false;
        if idle {
            tracing::debug!("{fault}, which was idle");
            return;
        }
        let text = fault.to_string();
        if self.trouble.as_ref() == Some(&text) {
            tracing::debug!("{text}, {} times in a row", self.failures);
        } else {
            tracing::warn!("{text}");
        }
        self.trouble = Some(text);
    }
}
