//! What a broker has been told already (KIP-227).
//!
//! In a session a request names only the partitions that are new, that stand elsewhere or that are not wanted any more,
//! and an answer only those with news. A broker that has no room for another session says so by giving it the number 0;
//! every request is then complete.

use std::collections::HashMap;

use uuid::Uuid;

use super::call::{Asked, FetchAnswer, FetchCall, Fetched};
use super::cursor::CursorId;
use super::settings::Bounds;
use super::topics::{TopicKey, TopicRef};

const SESSION_NOT_FOUND: i16 = 70;

/// The session with one broker.
#[derive(Debug, Default)]
pub(super) struct Session {
    id: i32,
    /// Counts the requests of a session; 0 asks for a new one.
    epoch: i32,
    told: HashMap<(TopicRef, i32), Told>,
    topics: HashMap<Uuid, TopicRef>,
    /// Counts the requests that were made: what was not named in the last one is not wanted any more.
    round: u64,
    /// Answers in a row that ended it.
    failures: u32,
}

#[derive(Debug)]
struct Told {
    cursor: CursorId,
    asked: Asked,
    round: u64,
}

impl Session {
    /// The next request, for `wanted`.
    pub(super) fn request(&mut self, bounds: Bounds, wanted: impl Iterator<Item = (CursorId, Asked)>) -> FetchCall {
        self.round += 1;
        let complete = self.epoch == 0;
        if complete {
            self.told.clear();
            self.topics.clear();
        }
        let mut partitions = Vec::new();
        for (cursor, asked) in wanted {
            self.topics.entry(asked.topic.id).or_insert_with(|| asked.topic.clone());
            let key = (asked.topic.clone(), asked.partition);
            let round = self.round;
            let before = self.told.get_mut(&key);
            if before.as_ref().is_none_or(|told| told.asked != asked) {
                partitions.push(asked.clone());
            }
            match before {
                Some(told) => *told = Told { cursor, asked, round },
                None => drop(self.told.insert(key, Told { cursor, asked, round })),
            }
        }
        let mut forgotten = Vec::new();
        self.told.retain(|key, told| {
            let wanted = told.round == self.round;
            if !wanted {
                forgotten.push(key.clone());
            }
            wanted
        });
        FetchCall {
            bounds,
            session: (self.id, self.epoch),
            partitions,
            forgotten,
        }
    }

    /// Takes note of an answer. False: the session did not hold, and what the answer brings is void.
    pub(super) fn answered(&mut self, answer: &FetchAnswer) -> bool {
        if answer.error != 0 {
            // Kept: a complete request with the number of a session ends that session.
            self.id = if answer.error == SESSION_NOT_FOUND { 0 } else { self.id };
            self.epoch = 0;
            self.failures += 1;
            return false;
        }
        self.failures = 0;
        (self.id, self.epoch) = match answer.session {
            0 => (0, 0),
            id => (id, self.epoch.checked_add(1).unwrap_or(1)),
        };
        true
    }

    /// Whether sessions have ended one after the other: asking again at once would do no good.
    pub(super) fn keeps_ending(&self) -> bool {
        self.failures > 1
    }

    /// The answer will never come.
    pub(super) fn lost(&mut self) {
        self.epoch = 0;
    }

    /// Whose `fetched` is.
    pub(super) fn cursor(&self, fetched: &Fetched) -> Option<CursorId> {
        let topic = match &fetched.topic {
            TopicKey::Id(id) => self.topics.get(id)?.clone(),
            TopicKey::Name(name) => TopicRef {
                name: name.as_str().into(),
                id: Uuid::nil(),
            },
        };
        self.told.get(&(topic, fetched.partition)).map(|told| told.cursor)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        wait: Duration::ZERO,
        min_bytes: 1,
        max_bytes: 1,
        partition_max_bytes: 1,
        committed: true,
    };

    fn asked(partition: i32, offset: i64) -> (CursorId, Asked) {
        let topic = TopicRef {
            name: "t".into(),
            id: Uuid::from_u128(7),
        };
        let asked = Asked {
            topic,
            partition,
            offset,
            leader_epoch: 0,
            last_epoch: -1,
        };
        (CursorId::FIRST, asked)
    }

    fn answer(error: i16, session: i32) -> FetchAnswer {
        FetchAnswer {
            error,
            session,
            partitions: Vec::new(),
            nodes: Vec::new(),
            bytes: 0,
        }
    }

    /// Session, then what is asked and forgotten, as partitions.
    fn next(session: &mut Session, wanted: &[(i32, i64)]) -> ((i32, i32), Vec<i32>, Vec<i32>) {
        let call = session.request(
            BOUNDS,
            wanted.iter().map(|(partition, offset)| asked(*partition, *offset)),
        );
        let named = call.partitions.iter().map(|asked| asked.partition).collect();
        (
            call.session,
            named,
            call.forgotten.iter().map(|(_, partition)| *partition).collect(),
        )
    }

    #[test]
    fn only_what_has_changed_is_said() {
        let mut session = Session::default();
        assert_eq!(
            next(&mut session, &[(0, 5), (1, 5), (2, 5)]),
            ((0, 0), vec![0, 1, 2], vec![])
        );
        assert!(session.answered(&answer(0, 42)));
        assert_eq!(
            next(&mut session, &[(0, 5), (1, 6), (3, 0)]),
            ((42, 1), vec![1, 3], vec![2])
        );
        assert!(session.answered(&answer(0, 42)));
        assert_eq!(next(&mut session, &[(0, 5), (1, 6), (3, 0)]), ((42, 2), vec![], vec![]));
    }

    #[test]
    fn without_a_session_everything_is_said_each_time() {
        let mut session = Session::default();
        for _ in 0..2 {
            assert_eq!(next(&mut session, &[(0, 5)]), ((0, 0), vec![0], vec![]));
            assert!(session.answered(&answer(0, 0)));
        }
    }

    #[test]
    fn a_session_that_does_not_hold_is_made_anew() {
        for (error, begins_with) in [(SESSION_NOT_FOUND, (0, 0)), (71, (42, 0)), (106, (42, 0))] {
            let mut session = Session::default();
            next(&mut session, &[(0, 5)]);
            session.answered(&answer(0, 42));
            next(&mut session, &[(0, 6)]);
            assert!(!session.answered(&answer(error, 0)));
            assert_eq!(
                next(&mut session, &[(0, 6)]),
                (begins_with, vec![0], vec![]),
                "after {error}"
            );
        }
        let mut session = Session::default();
        next(&mut session, &[(0, 5)]);
        session.answered(&answer(0, 42));
        session.lost();
        assert_eq!(next(&mut session, &[(0, 5)]), ((42, 0), vec![0], vec![]));
    }
}
