//! SIGINT and SIGTERM: the first asks to stop, the second ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::failure::Failure;

/// Tells whether somebody asked this process to stop. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Becomes true at the first SIGINT or SIGTERM.
    pub fn on_signals() -> Result<Self, Failure> {
        let stop = Self::default();
        for signal in [SIGINT, SIGTERM] {
            // In this order: the flag is still false at the first signal, so only the second one ends the process.
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, stop.0.clone())
                .and_then(|_| signal_hook::flag::register(signal, stop.0.clone()))
                .map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")))?;
        }
        Ok(stop)
    }

    /// Whether to stop.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Asks for it ourselves.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
