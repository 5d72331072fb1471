//! What Kafka gives to and takes from a member of a group: noted when it is told, followed when the member is polled.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rdkafka::{
    ClientContext, Statistics, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, KafkaResult},
    types::RDKafkaRespErr,
};

use super::client::{Telling, Told};

/// Partitions that change hands. The group waits until it was followed.
#[derive(Debug)]
pub(super) enum Change {
    Assigned(TopicPartitionList),
    Revoked(TopicPartitionList),
}

/// Notes what changes.
#[derive(Default)]
pub(super) struct Changes {
    told: Told,
    waiting: Mutex<VecDeque<Change>>,
    /// Whether the member is on its way out, so that nobody follows any more.
    leaving: AtomicBool,
}

impl Changes {
    /// The oldest change that was not followed yet.
    pub fn next(&self) -> Option<Change> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Puts back a change that could not be followed.
    pub fn again(&self, change: Change) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_front(change);
    }
}

/// Follows a change without reading anything of it.
fn follow(client: &BaseConsumer<Changes>, change: &Change) {
    let followed = match change {
        Change::Assigned(partitions) => client.incremental_assign(partitions),
        Change::Revoked(partitions) => client.incremental_unassign(partitions),
    };
    if let Err(error) = followed {
        tracing::debug!(%error, "leaving a group");
    }
}

/// Leaves the group, from now on by itself, and drops the client.
pub(super) fn leave(client: std::sync::Arc<BaseConsumer<Changes>>) {
    client.context().leaving.store(true, Ordering::Release);
    while let Some(change) = client.context().next() {
        follow(&client, &change);
    }
    drop(client);
}

impl ClientContext for Changes {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.told.log(level, facility, message);
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, "kafka: {reason}");
    }
}

impl ConsumerContext for Changes {
    fn rebalance(&self, client: &BaseConsumer<Self>, event: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        self.told.count();
        let change = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Change::Assigned(partitions.clone()),
            _ => Change::Revoked(partitions.clone()),
        };
        if self.leaving.load(Ordering::Acquire) {
            follow(client, &change);
            return;
        }
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(change);
    }

    fn commit_callback(&self, _: KafkaResult<()>, _: &TopicPartitionList) {
        self.told.count();
    }
}

impl Telling for Changes {
    fn told(&self) -> &Told {
        &self.told
    }
}
