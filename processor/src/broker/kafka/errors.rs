//! Kafka's errors, named for what the caller does next.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;

use crate::broker::fault::{Fault, FaultKind};

/// The fault behind an error of the client; `what` says what failed and where.
pub(super) fn fault(what: &str, error: KafkaError) -> Fault {
    let kind = match &error {
        KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) | KafkaError::Nul(_) => FaultKind::Misuse,
        KafkaError::MessageConsumptionFatal(_) => FaultKind::Fatal,
        KafkaError::Transaction(inner) if inner.is_fatal() => FaultKind::Fatal,
        other => code(other).map_or(FaultKind::Fatal, kind),
    };
    let text = match code(&error) {
        Some(code) => text(what, code),
        None => format!("{what}: {error}"),
    };
    Fault::new(kind, text).caused_by(error)
}

/// Whether another try may bring an answer, from another broker or from this one a moment later.
pub(super) fn passes(error: &KafkaError) -> bool {
    use Code::*;
    let passing = |code| {
        matches!(
            code,
            OperationTimedOut
                | TimedOutQueue
                | RequestTimedOut
                | BrokerTransportFailure
                | BrokerDestroy
                | DestroyBroker
                | AllBrokersDown
                | NetworkException
                | BrokerNotAvailable
                | NotController
                | LeaderNotAvailable
                | NotLeaderForPartition
                | ReplicaNotAvailable
                | OffsetNotAvailable
                | KafkaStorageError
                | FencedLeaderEpoch
                | UnknownLeaderEpoch
                | WaitingForCoordinator
                | CoordinatorNotAvailable
                | CoordinatorLoadInProgress
                | NotCoordinator
        )
    };
    code(error).is_some_and(passing)
}

/// Whether it says that there is no such topic or partition.
pub(super) fn is_unknown(error: &KafkaError) -> bool {
    use Code::{NoEnt, UnknownPartition, UnknownTopic, UnknownTopicOrPartition};
    let unknown = |code| matches!(code, UnknownTopicOrPartition | UnknownTopic | UnknownPartition | NoEnt);
    code(error).is_some_and(unknown)
}

/// The code of an error; the client's own question leaves out those of its administration.
pub(super) fn code(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

/// The fault behind an error code.
pub(super) fn code_fault(what: &str, code: Code) -> Fault {
    Fault::new(kind(code), text(what, code))
}

/// The fault behind an error code in a broker's answer.
pub(super) fn broker_fault(what: &str, code: i16) -> Fault {
    match RDKafkaRespErr::try_from(i32::from(code)) {
        Ok(known) => code_fault(what, known.into()),
        Err(_) => Fault::retry(format!("{what}: error {code}")),
    }
}

fn text(what: &str, code: Code) -> String {
    match mend(code) {
        Some(mend) => format!("{what}: {code}; {mend}"),
        None => format!("{what}: {code}"),
    }
}

fn kind(code: Code) -> FaultKind {
    use Code::*;
    match code {
        UnknownMemberId | IllegalGeneration | RebalanceInProgress | FencedInstanceId | StaleMemberEpoch
        | FencedMemberEpoch => FaultKind::Rejoin,
        InvalidMessage | BadMessage => FaultKind::Corrupt,
        UnknownTopicOrPartition
        | UnknownTopic
        | UnknownPartition
        | MessageSizeTooLarge
        | OffsetMetadataTooLarge
        | InvalidTopic
        | TopicAlreadyExists
        | InvalidPartitions
        | InvalidReplicationFactor
        | InvalidConfig
        | InvalidTimestamp
        | InvalidRecord
        | InvalidArgument
        | OffsetOutOfRange
        | PolicyViolation
        | TopicAuthorizationFailed
        | GroupAuthorizationFailed
        | ClusterAuthorizationFailed
        | TransactionalIdAuthorizationFailed
        | SaslAuthenticationFailed
        | UnsupportedSASLMechanism
        | Authentication
        | SSL => FaultKind::Misuse,
        Fatal | Fenced | ProducerFenced | InvalidProducerEpoch | OutOfOrderSequenceNumber => FaultKind::Fatal,
        // Time-outs, lost connections, elections, coordinators on the move.
        _ => FaultKind::Retry,
    }
}

fn mend(code: Code) -> Option<&'static str> {
    use Code::*;
    Some(match code {
        UnknownTopicOrPartition | UnknownTopic | UnknownPartition => "create the topic, or correct its name",
        MessageSizeTooLarge => "raise the topic's max.message.bytes, or lower producer.batch.size",
        OffsetMetadataTooLarge => "raise the brokers' offset.metadata.max.bytes",
        InvalidTimestamp => "the topic refuses timestamps this far from now: raise message.timestamp.after.max.ms",
        InvalidRecord => "a compacted topic takes no record without a key",
        TopicAuthorizationFailed => "give this user the right to the topic",
        GroupAuthorizationFailed => "give this user the right to the group",
        ClusterAuthorizationFailed => "give this user the right to the cluster (idempotent writes)",
        InvalidReplicationFactor => "ask for no more replicas than there are brokers",
        AllBrokersDown | BrokerTransportFailure | Resolve => {
            "see that bootstrap.servers names brokers that can be reached"
        }
        OperationTimedOut | MessageTimedOut => "see that the brokers can be reached and are not overloaded",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_does_not_answer_in_time_may_do_so_later() {
        for error in [
            KafkaError::AdminOp(Code::OperationTimedOut),
            KafkaError::MetadataFetch(Code::OperationTimedOut),
        ] {
            assert_eq!(fault("cannot ask", error).kind, FaultKind::Retry);
        }
    }
}
