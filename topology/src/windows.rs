//! Window arithmetic: which windows a timestamp belongs to, when a window closes, which slices it is made of.
//!
//! Everything here is pure. Windows are `[start, end)`, aligned to the epoch, in milliseconds; timestamps are not negative
//! (sources drop those). A window is **open** while `end > stream time - grace`; a record counts for its open windows only.
//!
//! A **slice** is the longest stretch of time that no window border cuts: `gcd(size, advance)`. Windows are unions of slices,
//! so one slice update per record serves all windows the record belongs to.

use std::time::Duration;

use millstream_state::Timestamp;

/// A stretch of time `[start, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// First millisecond that belongs to the window.
    pub start: Timestamp,
    /// First millisecond after the window.
    pub end: Timestamp,
}

impl Window {
    /// Whether the two share at least one millisecond.
    pub fn overlaps(&self, other: &Window) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// Whether `ts` belongs to the window.
    pub fn contains(&self, ts: Timestamp) -> bool {
        self.start <= ts && ts < self.end
    }
}

/// A key together with the window its value is about: the key of a windowed table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Windowed<K> {
    /// What was grouped by.
    pub key: K,
    /// The window.
    pub window: Window,
}

/// Tumbling and hopping windows: fixed size, a new one starting every `advance`.
///
/// ```
/// use std::time::Duration;
/// use millstream_topology::windows::TimeWindows;
///
/// let hour = Duration::from_secs(3600);
/// let rolling = TimeWindows::of_size(6 * hour).advance_by(hour).grace(24 * hour);
/// assert_eq!(rolling.starts(7 * 3_600_000).collect::<Vec<_>>().len(), 6);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeWindows {
    size: i64,
    advance: i64,
    grace: i64,
}

impl TimeWindows {
    /// Tumbling windows of this size, without grace: a record that comes after its window closed is late.
    pub fn of_size(size: Duration) -> Self {
        let size = millis(size);
        TimeWindows {
            size,
            advance: size,
            grace: 0,
        }
    }

    /// Makes them hop: a window starts every `advance` (at most the size), so that windows overlap.
    pub fn advance_by(self, advance: Duration) -> Self {
        TimeWindows {
            advance: millis(advance),
            ..self
        }
    }

    /// How long after its end, in stream time, a window still takes records.
    pub fn grace(self, grace: Duration) -> Self {
        TimeWindows {
            grace: millis(grace),
            ..self
        }
    }

    /// The length of a window in milliseconds.
    pub fn size_ms(&self) -> i64 {
        self.size
    }

    /// The distance between the starts of two windows in milliseconds.
    pub fn advance_ms(&self) -> i64 {
        self.advance
    }

    /// How long a window stays open after its end, in milliseconds.
    pub fn grace_ms(&self) -> i64 {
        self.grace
    }

    /// What is wrong with the definition, each with the mend. Empty when all is well; the other methods rely on that.
    pub fn problems(&self) -> Vec<(String, &'static str)> {
        let mut problems = Vec::new();
        if self.size < 1 {
            problems.push((
                "the window size is below one millisecond".to_owned(),
                "give a longer size",
            ));
        }
        if self.advance < 1 {
            problems.push((
                "the window advance is below one millisecond".to_owned(),
                "give a longer advance",
            ));
        }
        if self.advance > self.size {
            let (advance, size) = (self.advance, self.size);
            let what =
                format!("the window advance ({advance} ms) is longer than the size ({size} ms), which leaves gaps");
            problems.push((what, "give an advance of at most the size"));
        }
        if self.size.saturating_add(self.grace) > LONGEST {
            problems.push((
                "window size and grace are more than 100 years".to_owned(),
                "give shorter ones",
            ));
        }
        problems
    }

    /// The window that starts at `start`.
    #[inline]
    pub fn window(&self, start: Timestamp) -> Window {
        Window {
            start,
            end: start.saturating_add(self.size),
        }
    }

    /// Start of the earliest window that `ts` belongs to. No window starts before the epoch.
    #[inline]
    pub fn first_start(&self, ts: Timestamp) -> Timestamp {
        (ts - self.size + self.advance).max(0) / self.advance * self.advance
    }

    /// Start of the latest window that `ts` belongs to.
    #[inline]
    pub fn last_start(&self, ts: Timestamp) -> Timestamp {
        ts / self.advance * self.advance
    }

    /// Starts of the windows that `ts` belongs to, ascending.
    pub fn starts(&self, ts: Timestamp) -> impl Iterator<Item = Timestamp> + use<> {
        let (advance, last) = (self.advance, self.last_start(ts));
        std::iter::successors(Some(self.first_start(ts)), move |s| Some(s + advance)).take_while(move |s| *s <= last)
    }

    /// Start of the earliest window that is open at this stream time.
    #[inline]
    pub fn first_open(&self, stream_time: Timestamp) -> Timestamp {
        // Window w is closed when w <= closed.
        let closed = stream_time.saturating_sub(self.grace).saturating_sub(self.size);
        if closed < 0 {
            0
        } else {
            closed / self.advance * self.advance + self.advance
        }
    }

    /// Stream time at which the window that starts at `start` closes.
    #[inline]
    pub fn closes_at(&self, start: Timestamp) -> Timestamp {
        start.saturating_add(self.retention_ms())
    }

    /// The length of a slice in milliseconds.
    pub fn slice_ms(&self) -> i64 {
        gcd(self.size, self.advance)
    }

    /// How long state must be kept: a row older than stream time by more belongs to no open window.
    pub fn retention_ms(&self) -> i64 {
        self.size.saturating_add(self.grace)
    }
}

const LONGEST: i64 = 100 * 366 * 24 * 3_600_000;

fn millis(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX)
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests;
