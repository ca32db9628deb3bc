//! Live progress on standard error: one line that is written over on a terminal, a line every two seconds elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use millstream_processor::progress::Progress;

use super::summary::minute;

/// What shows how far a run is.
pub struct Display {
    terminal: bool,
    every: Duration,
    last: Option<(Instant, u64)>,
    /// The rate is smoothed: commits come in steps.
    rate: f64,
}

impl Display {
    /// For this process's standard error.
    pub fn new() -> Self {
        let terminal = io::stderr().is_terminal();
        let every = if terminal {
            Duration::from_millis(200)
        } else {
            Duration::from_secs(2)
        };
        Self {
            terminal,
            every,
            last: None,
            rate: 0.0,
        }
    }

    /// Shows `progress`, unless it is too soon for that.
    pub fn show(&mut self, progress: &Progress, now: Instant) {
        let (then, records) = *self.last.get_or_insert((now, 0));
        let passed = now.saturating_duration_since(then);
        if passed < self.every {
            return;
        }
        let new = (progress.records_in.saturating_sub(records)) as f64 / passed.as_secs_f64();
        self.rate = if self.rate == 0.0 {
            new
        } else {
            0.7 * self.rate + 0.3 * new
        };
        self.last = Some((now, progress.records_in));
        self.line(progress);
    }

    /// Shows the last state and leaves the line.
    pub fn end(&mut self, progress: &Progress) {
        self.rate = progress.records_in as f64 / progress.elapsed.as_secs_f64().max(0.001);
        self.line(progress);
        if self.terminal {
            eprintln!();
        }
    }

    fn line(&self, progress: &Progress) {
        let line = text(progress, self.rate);
        // Nobody may read standard error; that is no reason to stop.
        let mut err = io::stderr().lock();
        let _ = if self.terminal {
            write!(err, "\r\x1b[K{line}")
        } else {
            writeln!(err, "{line}")
        };
        let _ = err.flush();
    }
}

impl Default for Display {
    fn default() -> Self {
        Self::new()
    }
}

fn text(progress: &Progress, rate: f64) -> String {
    let seconds = progress.elapsed.as_secs_f64();
    let event_time = progress.event_time.map_or("-".into(), minute);
    let (records_in, records_out) = (progress.records_in, progress.records_out);
    format!(
        "{seconds:5.1} s | event time {event_time} | read {records_in} ({rate:.0}/s) | written {records_out} | lag {}",
        progress.lag
    )
}
