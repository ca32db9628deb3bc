//! What Kafka's error codes mean for a batch.

use super::line::Verdict;

const DUPLICATE_SEQUENCE: i16 = 46;
const OUT_OF_ORDER_SEQUENCE: i16 = 45;

/// Codes after which the same batch may be taken, with their names.
const AGAIN: &[(i16, &str)] = &[
    (2, "CORRUPT_MESSAGE"),
    (3, "UNKNOWN_TOPIC_OR_PARTITION"),
    (5, "LEADER_NOT_AVAILABLE"),
    (6, "NOT_LEADER_OR_FOLLOWER"),
    (7, "REQUEST_TIMED_OUT"),
    (8, "BROKER_NOT_AVAILABLE"),
    (9, "REPLICA_NOT_AVAILABLE"),
    (13, "NETWORK_EXCEPTION"),
    (19, "NOT_ENOUGH_REPLICAS"),
    (20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND"),
    (56, "KAFKA_STORAGE_ERROR"),
    (72, "LISTENER_NOT_FOUND"),
    (74, "FENCED_LEADER_EPOCH"),
    (75, "UNKNOWN_LEADER_EPOCH"),
    (89, "THROTTLING_QUOTA_EXCEEDED"),
    (100, "UNKNOWN_TOPIC_ID"),
    (103, "INCONSISTENT_TOPIC_ID"),
];

/// What a leader's answer about a batch means.
pub(super) fn verdict(error: i16, base_offset: i64, message: Option<&str>) -> Verdict {
    match error {
        0 | DUPLICATE_SEQUENCE => Verdict::Written(base_offset.max(-1)),
        OUT_OF_ORDER_SEQUENCE => Verdict::OutOfOrder,
        code => match AGAIN.iter().find(|(again, _)| *again == code) {
            Some((_, name)) => Verdict::Again {
                why: (*name).into(),
                pause: true,
            },
            None => Verdict::Refused {
                code,
                message: message.map(Into::into),
            },
        },
    }
}

/// Whether the leaders, or the topic's id, should be asked for again.
pub(super) fn leader_may_have_moved(error: i16) -> bool {
    matches!(error, 3 | 5 | 6 | 8 | 9 | 56 | 72 | 74 | 75 | 100 | 103)
}
