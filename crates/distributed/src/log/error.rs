//! Errors of Kafka as those of the port.

use ports::{ErrorKind, PortError};
use rdkafka::{error::KafkaError, types::RDKafkaErrorCode as Code};

/// What the caller does about an error of Kafka.
fn kind(code: Code) -> ErrorKind {
    match code {
        Code::QueueFull => ErrorKind::Full,
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => ErrorKind::NotFound,
        Code::MessageSizeTooLarge
        | Code::InvalidMessageSize
        | Code::InvalidMessage
        | Code::InvalidTimestamp
        | Code::InvalidRecord
        | Code::InvalidTopic
        | Code::InvalidPartitions
        | Code::InvalidReplicationFactor
        | Code::InvalidConfig
        | Code::PolicyViolation => ErrorKind::Rejected,
        code if is_lost_membership(code) => ErrorKind::Conflict,
        _ => ErrorKind::Unavailable,
    }
}

/// Says whether a member of a group is told that the group has moved on without it, or is about to.
pub(super) fn is_lost_membership(code: Code) -> bool {
    matches!(
        code,
        Code::IllegalGeneration
            | Code::UnknownMemberId
            | Code::RebalanceInProgress
            | Code::FencedInstanceId
            | Code::AssignmentLost
            | Code::StaleMemberEpoch
            | Code::FencedMemberEpoch
    )
}

/// Says whether a client can't go on by itself: a person has to change rights, passwords or certificates.
pub(super) fn needs_a_person(error: &KafkaError) -> bool {
    let refused = matches!(
        error.rdkafka_error_code(),
        Some(
            Code::Authentication
                | Code::SaslAuthenticationFailed
                | Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::InconsistentGroupProtocol
        )
    );
    refused || matches!(error, KafkaError::MessageConsumptionFatal(_))
}

/// Passes over an error of a consumer that the library mends by itself.
///
/// # Errors
/// One that it does not mend.
pub(super) fn pass_over(doing: &str, error: KafkaError) -> Result<(), PortError> {
    if needs_a_person(&error) {
        return Err(PortError::new(ErrorKind::Unavailable, doing).with_source(error));
    }
    tracing::debug!(%error, "{doing} goes on after an error");
    Ok(())
}

/// An error of Kafka, with what was being done.
pub(super) fn from_kafka(doing: impl Into<String>, error: KafkaError) -> PortError {
    let kind = error.rdkafka_error_code().map_or(ErrorKind::Unavailable, kind);
    PortError::new(kind, doing).with_source(error)
}

/// The same from a code alone.
pub(super) fn from_code(doing: impl Into<String>, code: Code) -> PortError {
    PortError::new(kind(code), doing).with_source(KafkaError::Global(code))
}

/// Runs what waits for a broker where waiting is allowed.
pub(super) async fn blocking<T: Send + 'static>(
    doing: &str,
    work: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, PortError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| from_kafka(doing, error)),
        Err(error) => Err(PortError::new(ErrorKind::Unavailable, doing).with_source(error)),
    }
}
