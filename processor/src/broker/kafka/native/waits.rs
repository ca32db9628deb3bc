//! How long a broker may hold its answer back when it has nothing new.
//!
//! A broker answers one Fetch request of a connection after the other, so a request that waits for records of some
//! partitions is in the way of all others. Two rules keep that short:
//!
//! - The wait grows from [`FIRST`] to what the settings say while nothing comes. So a partition that is read from now on,
//!   when the last one has just come to its end, is soon asked for.
//! - While partitions are not to be read, because they are paused or enough of them waits here, the others are not waited
//!   for at all, but looked at every [`GLANCE`]: what is held back can be wanted at any moment.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::broker::kafka::wire::BrokerId;

/// The first wait.
const FIRST: Duration = Duration::from_millis(10);
/// Between two looks at partitions that have nothing new, while others are held back.
const GLANCE: Duration = Duration::from_millis(10);

/// What is known of each broker's answers.
#[derive(Debug, Default)]
pub(super) struct Waits(BTreeMap<BrokerId, Answers>);

#[derive(Debug, Default)]
struct Answers {
    /// So many in a row brought nothing.
    empty: u32,
    /// No look before this time.
    rest: Duration,
}

impl Waits {
    /// The wait of a request for all that is assigned; `most` is the settings'.
    pub(super) fn of(&self, broker: BrokerId, most: Duration) -> Duration {
        let empty = self.0.get(&broker).map_or(0, |answers| answers.empty);
        most.min(FIRST.saturating_mul(1 << empty.min(16)))
    }

    /// Whether it is time for a look; if so, when the next one is.
    pub(super) fn look(&mut self, broker: BrokerId, now: Duration) -> bool {
        let answers = self.0.entry(broker).or_default();
        let due = now >= answers.rest;
        if due {
            answers.rest = now + GLANCE;
        }
        due
    }

    /// Notes an answer.
    pub(super) fn answered(&mut self, broker: BrokerId, empty: bool) {
        let answers = self.0.entry(broker).or_default();
        answers.empty = if empty { answers.empty.saturating_add(1) } else { 0 };
    }

    /// Other partitions are read from now on.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// Until the next look that is not due yet.
    pub(super) fn rest(&self, now: Duration) -> Duration {
        let left = self.0.values().map(|answers| answers.rest.saturating_sub(now));
        left.filter(|left| !left.is_zero()).min().unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_millis(500);
    const ONE: BrokerId = BrokerId(1);

    #[test]
    fn the_wait_grows_while_nothing_comes() {
        let mut waits = Waits::default();
        let mut seen = Vec::new();
        for _ in 0..8 {
            seen.push(waits.of(ONE, MOST).as_millis());
            waits.answered(ONE, true);
        }
        assert_eq!(seen, [10, 20, 40, 80, 160, 320, 500, 500]);
        waits.answered(ONE, false);
        assert_eq!(waits.of(ONE, MOST), FIRST);
        (0..100).for_each(|_| waits.answered(ONE, true));
        assert_eq!(waits.of(ONE, MOST), MOST);
        waits.forget();
        assert_eq!(waits.of(ONE, MOST), FIRST);
        assert_eq!(waits.of(ONE, Duration::from_millis(3)), Duration::from_millis(3));
    }

    #[test]
    fn looks_come_one_after_the_other() {
        let at = Duration::from_secs(7);
        let mut waits = Waits::default();
        assert_eq!(waits.rest(at), Duration::MAX);
        assert!(waits.look(ONE, at));
        assert!(!waits.look(ONE, at + GLANCE / 2));
        assert_eq!(waits.rest(at + GLANCE / 4), GLANCE - GLANCE / 4);
        assert!(waits.look(ONE, at + GLANCE));
    }
}
