//! Reads a partition in order, waiting at its end.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{Partition, Topic};
use ports::{Delivery, ErrorKind, PortError, Reader};
use rdkafka::{Message, error::KafkaError, types::RDKafkaErrorCode as Code};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{
    Shared,
    catalogue::Live,
    error::pass_over,
    fetch::{Fetch, WAIT_MAX},
    wire::Decoder,
};

pub(super) struct PartitionReader {
    shared: Arc<Shared>,
    topic: Topic,
    generation: u32,
    changes: watch::Receiver<u64>,
    fetch: Fetch,
    decoder: Decoder,
    next: u64,
}

impl PartitionReader {
    pub async fn open(
        shared: Arc<Shared>,
        (topic, live): (&Topic, Live),
        partition: Partition,
        from: u64,
    ) -> Result<Self, PortError> {
        let fetch = Fetch::open(&shared.settings, &shared.name(topic), partition.0, from).await?;
        let decoder = Decoder::new(topic.clone(), partition, live.kind);
        let (changes, generation) = (shared.catalogue.changes(), live.generation);
        Ok(Self { shared, topic: topic.clone(), generation, changes, fetch, decoder, next: from })
    }

    /// What is there already, up to about `records_max` records.
    fn ready(&mut self, records_max: usize) -> Result<Vec<Delivery>, PortError> {
        let mut deliveries = Vec::new();
        let mut records = 0;
        while records < records_max.max(1) {
            let Some(polled) = self.fetch.next() else { break };
            match polled {
                // Where the reader starts behind the end, the library starts at the beginning.
                Ok(message) if (message.offset() as u64) < self.next => {}
                Ok(message) => {
                    self.decoder.take(&message, &mut deliveries);
                    self.next = message.offset() as u64 + 1;
                    records += 1;
                }
                Err(error) => check(&self.topic, error)?,
            }
        }
        Ok(deliveries)
    }
}

/// Passes over what the library mends by itself.
fn check(topic: &Topic, error: KafkaError) -> Result<(), PortError> {
    match error {
        KafkaError::PartitionEOF(_) => Ok(()),
        KafkaError::MessageConsumption(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
            Err(PortError::new(ErrorKind::NotFound, format!("topic `{topic}` is not on Kafka any more")))
        }
        error => pass_over("reading from Kafka", error),
    }
}

#[async_trait]
impl Reader for PartitionReader {
    async fn next(&mut self, records_max: usize, wait: Duration) -> Result<Vec<Delivery>, PortError> {
        let deadline = Instant::now() + wait.min(WAIT_MAX * 60 * 24);
        loop {
            self.changes.mark_unchanged();
            if self.shared.catalogue.live(&self.topic).is_none_or(|live| live.generation != self.generation) {
                let message = format!("topic `{}` was removed", self.topic);
                return Err(PortError::new(ErrorKind::NotFound, message));
            }
            let deliveries = self.ready(records_max)?;
            if !deliveries.is_empty() {
                return Ok(deliveries);
            }
            let until = deadline.min(Instant::now() + WAIT_MAX);
            let woken = async {
                tokio::select! {
                    () = self.fetch.wake().notified() => {}
                    _ = self.changes.changed() => {}
                }
            };
            if timeout_at(until, woken).await.is_err() && Instant::now() >= deadline {
                return Ok(Vec::new());
            }
        }
    }
}
