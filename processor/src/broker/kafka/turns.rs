//! A question that one broker does not answer is put to another.
//!
//! librdkafka stays with the broker that it has chosen until the question's whole time is over, also when that broker is
//! gone: it has no deadline for one broker. Hence many short tries, each of which chooses anew, and a `socket.timeout.ms`
//! as short as a try, after which the client itself gives up a connection that stays silent.

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;

use super::errors;

/// How long one broker may take to answer; `socket.timeout.ms` when the user sets one. A cluster whose brokers need
/// longer wants that.
const TURN: Duration = Duration::from_secs(5);
/// How long a question may take in all.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries: a refusal can come at once.
const PAUSE: Duration = Duration::from_millis(50);
/// How often librdkafka looks for requests whose time is over: an error of its own comes so much later.
const SCAN: Duration = Duration::from_secs(1);

/// How long to wait for an answer, and for how many of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turns {
    turn: Duration,
    patience: Duration,
}

impl Turns {
    /// Turns of the client with these settings; sets what they need.
    pub(super) fn of(config: &mut ClientConfig) -> Self {
        const NAME: &str = "socket.timeout.ms";
        if config.get(NAME).is_none() {
            config.set(NAME, TURN.as_millis().to_string());
        }
        let set = config.get(NAME).and_then(|ms| ms.trim().parse().ok());
        let turn = set.map_or(TURN, Duration::from_millis);
        Self {
            turn,
            patience: PATIENCE.max(3 * turn),
        }
    }

    /// Asks until somebody answers. A try is told how long it may take.
    pub(super) fn ask<T>(self, mut question: impl FnMut(Duration) -> Result<T, KafkaError>) -> Result<T, KafkaError> {
        let deadline = Instant::now() + self.patience;
        loop {
            match question(self.turn) {
                Err(error) if errors::passes(&error) && Instant::now() < deadline => thread::park_timeout(PAUSE),
                answer => return answer,
            }
        }
    }

    /// The time for a question to which librdkafka gives no deadline of its own: its connection's error comes first.
    pub(super) fn with_scan(turn: Duration) -> Duration {
        turn + SCAN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::error::RDKafkaErrorCode::{self, OperationTimedOut, TopicAuthorizationFailed};

    #[test]
    fn a_try_is_as_long_as_the_connection_may_be_silent() {
        let mut ours = ClientConfig::new();
        assert_eq!(Turns::of(&mut ours).turn, TURN);
        assert_eq!(ours.get("socket.timeout.ms"), Some("5000"));
        let mut theirs = ClientConfig::new();
        theirs.set("socket.timeout.ms", "20000");
        let turns = Turns::of(&mut theirs);
        assert_eq!((turns.turn.as_secs(), turns.patience.as_secs()), (20, 60));
        assert_eq!(theirs.get("socket.timeout.ms"), Some("20000"));
    }

    #[test]
    fn what_passes_is_asked_again_and_what_does_not_is_told() {
        let turns = Turns::of(&mut ClientConfig::new());
        let mut answers = [Err(OperationTimedOut), Err(OperationTimedOut), Ok(7)].into_iter();
        let next = |answers: &mut dyn Iterator<Item = Result<u8, RDKafkaErrorCode>>| {
            answers.next().expect("an answer").map_err(KafkaError::MetadataFetch)
        };
        assert_eq!(turns.ask(|_| next(&mut answers)), Ok(7));
        let mut answers = [Err(TopicAuthorizationFailed), Ok(7)].into_iter();
        assert!(turns.ask(|_| next(&mut answers)).is_err());
        assert_eq!(answers.len(), 1, "it was asked again");
    }
}
