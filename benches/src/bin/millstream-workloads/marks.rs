//! Moments the driver wants to know, on standard output.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use millstream_processor::events::Event;

/// Says that this moment is now.
pub fn mark(name: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut out = std::io::stdout().lock();
    // A driver that does not listen any more is no reason to stop.
    let _ = writeln!(out, "MARK {name} {}", now.as_millis()).and_then(|()| out.flush());
}

/// The events among them.
pub fn of_event(event: &Event<'_>) {
    match event {
        Event::RestoreStarted { task, .. } => mark(&format!("RESTORE_START_{}", task.partition)),
        Event::Restored { task, records, .. } => mark(&format!("RESTORE_END_{}_n{records}", task.partition)),
        Event::Running => mark("RUNNING"),
        _ => {}
    }
}
