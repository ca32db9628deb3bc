//! When to ask for metadata, and whom.

use std::time::Duration;

use super::call::Ticket;
use super::settings::Pause;

/// How long a server that is being connected to for metadata has before another one is tried as well.
const NEXT_SERVER: Duration = Duration::from_secs(1);

/// The schedule of metadata questions.
#[derive(Debug)]
pub(super) struct Refresh {
    due: Option<Duration>,
    /// The question that is under way.
    pub(super) asked: Option<Ticket>,
    /// Questions in a row that did not bring all that was wanted.
    fruitless: u32,
    /// No question before, however much it is wished.
    not_before: Duration,
    /// When to try another server.
    next_server: Duration,
    /// Which server is tried next, counted on.
    pub(super) turn: usize,
}

impl Refresh {
    pub(super) fn new() -> Self {
        Self {
            due: Some(Duration::ZERO),
            asked: None,
            fruitless: 0,
            not_before: Duration::ZERO,
            next_server: Duration::ZERO,
            turn: 0,
        }
    }

    /// As soon as the pause since the last question allows.
    pub(super) fn soon(&mut self) {
        self.due = Some(self.not_before);
    }

    /// At once: the question is a new one.
    pub(super) fn anew(&mut self) {
        (self.fruitless, self.not_before) = (0, Duration::ZERO);
        self.soon();
    }

    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.asked.is_none() && self.due.is_some_and(|due| now >= due)
    }

    pub(super) fn asked(&mut self, ticket: Ticket) {
        (self.asked, self.due) = (Some(ticket), None);
    }

    /// Whether to connect to one more server; the caller does so.
    pub(super) fn takes_turn(&mut self, now: Duration) -> bool {
        let turn = now >= self.next_server;
        if turn {
            self.next_server = now + NEXT_SERVER;
            self.turn += 1;
        }
        turn
    }

    /// A server could not be reached: the next one has its turn at once.
    pub(super) fn turn_failed(&mut self) {
        self.next_server = Duration::ZERO;
    }

    /// The question was answered, `complete` or not; the next one follows by age.
    pub(super) fn answered(&mut self, complete: bool, age: Option<Duration>, pause: Pause, now: Duration, chance: u8) {
        self.asked = None;
        // Nobody is being connected to for it any more. The connection it came by may be closed, as one to a first server is.
        self.next_server = Duration::ZERO;
        self.fruitless = if complete { 0 } else { self.fruitless.saturating_add(1) };
        self.not_before = now + pause.after(self.fruitless.max(1), chance);
        let again = if complete {
            age.map(|age| now + age)
        } else {
            Some(self.not_before)
        };
        // Somebody may have wished for one while this one was under way.
        self.due = if self.due.is_some() {
            Some(self.not_before)
        } else {
            again
        };
    }

    /// The question was lost.
    pub(super) fn failed(&mut self, pause: Pause, now: Duration, chance: u8) {
        self.answered(false, None, pause, now, chance);
    }

    /// When something is to be done if nothing happens.
    pub(super) fn next_time(&self) -> Option<Duration> {
        match self.asked {
            Some(_) => None,
            None => self.due.map(|due| due.max(self.next_server)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_a_server_has_answered_the_next_has_its_turn_at_once() {
        let now = Duration::from_secs(7);
        let pause = Pause {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(1),
        };
        let mut refresh = Refresh::new();
        assert!(refresh.takes_turn(now) && !refresh.takes_turn(now));
        refresh.asked(Ticket(1));
        refresh.answered(true, None, pause, now, 0);
        assert!(refresh.takes_turn(now));
    }
}
