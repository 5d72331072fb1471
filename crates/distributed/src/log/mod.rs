//! The log on Apache Kafka: a topic per topic, the position of a record is its offset.
//!
//! **Invariant:** an append is answered by the delivery reports of all its records, never before; a commit holds position and totals in
//! one record of Kafka.
//!
//! With several processes that append, each stamps by its own clock: then a record may bear an earlier acceptance time than the one
//! before it. Readers and members deliver the newest time so far instead, so that what one of them sees never goes back. Likewise
//! the records of a batch follow each other among those of one process; between processes, as far as they are in one batch of Kafka.

mod assignment;
mod catalogue;
mod client;
mod committed;
mod error;
mod fetch;
mod goodbyes;
mod held;
mod member;
mod offsets;
mod partitioner;
mod producer;
mod reader;
mod retention;
mod settings;
mod shared;
mod topics;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use domain::{Partition, Position, Topic};
use ports::{
    Appended, Batch, Clock, Committed, Consumer, ErrorKind, Extent, Log, Mark, PortError, Progress, Reader, TopicKind,
};

use catalogue::{Entry, Live};
pub use retention::Endangered;
pub use settings::{Compression, Mechanism, Sasl, Secret, Settings, Tls};
use shared::Shared;

/// [`Log`] on Kafka.
pub struct KafkaLog {
    shared: Arc<Shared>,
    follower: tokio::task::JoinHandle<()>,
}

impl KafkaLog {
    /// Connects, makes the catalogue where there is none, and reads it.
    ///
    /// # Errors
    /// `Unavailable` where no broker answers in time; `Rejected` for settings that Kafka refuses.
    pub async fn open(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, PortError> {
        let shared = Arc::new(Shared::connect(settings, clock).await?);
        let follower = tokio::spawn(Arc::clone(&shared.catalogue).follow(shared.open_catalogue().await?));
        let log = Self { shared, follower };
        log.shared.read_catalogue().await?;
        Ok(log)
    }

    /// Sends what waits for Kafka, and waits for dropped members to have left their groups; appends are refused from then on.
    ///
    /// # Errors
    /// `Unavailable` where something could not be sent in time: its appends are answered with their errors.
    pub async fn close(&self) -> Result<(), PortError> {
        self.left().await;
        let shared = Arc::clone(&self.shared);
        error::blocking("sending what waits for Kafka", move || shared.producer.close()).await
    }

    /// Waits for dropped members to have left their groups, at most as long as a request may take.
    pub async fn left(&self) {
        self.shared.goodbyes.wait(None, self.shared.settings.request_timeout).await;
    }

    /// Deletes the records that are older than the retention and read by every group that ever committed on their topic. To be called
    /// from time to time, by one process or by several.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn apply_retention(&self) -> Result<(), PortError> {
        self.shared.apply_retention().await
    }

    /// The partitions whose oldest record not read by `group` has lived through four fifths of the retention that Kafka itself has for
    /// the topic. Topics that the hub made have none; those that somebody else made may.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn endangered(&self, group: &str) -> Result<Vec<Endangered>, PortError> {
        self.shared.endangered(group).await
    }
}

impl Drop for KafkaLog {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

#[async_trait]
impl Log for KafkaLog {
    async fn create_topic(&self, topic: &Topic, kind: TopicKind) -> Result<(), PortError> {
        let shared = &self.shared;
        shared.read_catalogue().await?;
        let name = shared.name(topic);
        let known = shared.catalogue.entry(topic);
        let generation = match known {
            Some(Entry { kind: Some(is), .. }) if is != kind => {
                let message = format!("topic `{topic}` exists as `{is:?}` and can't become `{kind:?}`");
                return Err(PortError::new(ErrorKind::Conflict, message));
            }
            Some(Entry { kind: Some(_), generation }) => match shared.topics.find(&name).await? {
                Some(found) => return shared.compare(topic, kind, &found).await,
                // Somebody deleted it on Kafka: positions start anew, and so does what groups have committed.
                None => generation + 1,
            },
            Some(Entry { kind: None, generation }) => generation + 1,
            None => 1,
        };
        let (existed, found) = shared.make(&name, kind).await?;
        if existed {
            if known.is_some() {
                shared.topics.empty(&name, found.partitions).await?;
                shared.topics.adapt(&name, kind).await?;
            }
            shared.compare(topic, kind, &found).await?;
        }
        shared.write(catalogue::topic_entry(topic, Entry { kind: Some(kind), generation })).await
    }

    async fn delete_topic(&self, topic: &Topic) -> Result<(), PortError> {
        let shared = &self.shared;
        shared.read_catalogue().await?;
        let Some(Entry { kind, generation }) = shared.catalogue.entry(topic) else { return Ok(()) };
        if kind.is_some() {
            shared.write(catalogue::topic_entry(topic, Entry { kind: None, generation })).await?;
        }
        let name = shared.name(topic);
        match shared.topics.find(&name).await? {
            Some(found) => shared.topics.empty(&name, found.partitions).await,
            None => Ok(()),
        }
    }

    async fn append(&self, topic: &Topic, batch: Batch) -> Result<Appended, PortError> {
        let live = self.shared.live(topic).await?;
        self.shared.append(topic, live, batch).await
    }

    async fn reader(&self, topic: &Topic, partition: Partition, from: Position) -> Result<Box<dyn Reader>, PortError> {
        let live = self.shared.live(topic).await?;
        if partition.0 >= self.shared.partitions(topic, live).await? {
            let message = format!("topic `{topic}` has no partition `{partition}`");
            return Err(PortError::new(ErrorKind::NotFound, message));
        }
        let place = (topic, live);
        Ok(Box::new(reader::PartitionReader::open(Arc::clone(&self.shared), place, partition, from.0).await?))
    }

    async fn consumer(&self, group: &str) -> Result<Box<dyn Consumer>, PortError> {
        self.shared.goodbyes.wait(Some(group), self.shared.settings.request_timeout).await;
        Ok(Box::new(member::Member::open(Arc::clone(&self.shared), group).await?))
    }

    async fn extents(&self, topic: &Topic) -> Result<Vec<Extent>, PortError> {
        let live: Live = self.shared.live(topic).await?;
        self.shared.extents(topic, live).await
    }

    async fn committed(&self, group: &str, topic: &Topic) -> Result<Vec<Committed>, PortError> {
        let live = self.shared.live(topic).await?;
        self.shared.committed(group, topic, live).await
    }

    async fn progress(&self, group: &str, _since: Mark) -> Result<Progress, PortError> {
        self.shared.progress(group).await
    }

    async fn ready(&self) -> Result<(), PortError> {
        self.shared.clock.believed()?;
        self.shared.check_room(1).await?;
        self.shared.reach().await
    }
}
