//! What this process has changed about topics, so that it reads what it wrote.
//!
//! Brokers learn of a change one after the other. One that lags denies for a moment what another has confirmed, and the
//! next question may be put to it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So long an answer that denies a change is taken for old. Afterwards somebody else has undone the change.
const LAG: Duration = Duration::from_secs(30);

/// Topics that were made or deleted a short time ago, each confirmed by some broker.
#[derive(Debug, Default)]
pub(super) struct Changes(Mutex<HashMap<String, Change>>);

#[derive(Debug)]
struct Change {
    there: bool,
    at: Instant,
}

impl Changes {
    /// A broker has confirmed that `topic` is there now, or gone.
    pub(super) fn note(&self, topic: &str, there: bool) {
        let at = Instant::now();
        self.fresh().insert(topic.to_owned(), Change { there, at });
    }

    /// Whether an answer about `asked` (`None`: about all topics) is older than a change; `there` says what it shows.
    pub(super) fn denied_by(&self, asked: Option<&str>, there: impl Fn(&str) -> bool) -> bool {
        let denies = |(topic, change): (&String, &Change)| {
            asked.is_none_or(|asked| asked == topic) && there(topic) != change.there
        };
        self.fresh().iter().any(denies)
    }

    fn fresh(&self) -> MutexGuard<'_, HashMap<String, Change>> {
        let mut changes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        changes.retain(|_, change| change.at.elapsed() < LAG);
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_old_if_it_denies_the_last_change() {
        let changes = Changes::default();
        let nothing = |_: &str| false;
        let all = |_: &str| true;
        assert!(!changes.denied_by(None, nothing) && !changes.denied_by(Some("a"), nothing));
        changes.note("a", true);
        assert!(changes.denied_by(Some("a"), nothing) && changes.denied_by(None, nothing));
        assert!(!changes.denied_by(Some("b"), nothing) && !changes.denied_by(None, all));
        changes.note("a", false);
        assert!(changes.denied_by(Some("a"), all) && !changes.denied_by(None, nothing));
    }

    #[test]
    fn an_old_change_may_have_been_undone() {
        let changes = Changes::default();
        changes.note("a", true);
        changes.fresh().values_mut().for_each(|change| change.at -= LAG);
        assert!(!changes.denied_by(Some("a"), |_| false));
    }
}
