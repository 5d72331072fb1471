//! What may go and what must stay: the hub's own retention, and the bound of what it holds.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::{Partition, Position, Timestamp, Topic};
use ports::{Committed, ErrorKind, Extent, PortError, TopicKind};
use rdkafka::Offset;
use tokio::time::Instant;

use super::{Shared, catalogue::Live};

/// How long it is believed how much the log holds.
const BELIEVED: Duration = Duration::from_secs(10);
/// How long it is believed that the log is full.
const BELIEVED_FULL: Duration = Duration::from_millis(200);
/// What part of a topic's own retention the oldest unread record may have lived through before it is told: four fifths.
const NEAR: (u32, u32) = (4, 5);

/// How many records the topics of readings hold together, as far as this process knows.
#[derive(Default)]
pub(super) struct Room {
    held: AtomicU64,
    counted: Mutex<Option<Instant>>,
    counting: tokio::sync::Mutex<()>,
}

impl Room {
    /// Counts records that were appended.
    pub fn take(&self, records: usize) {
        self.held.fetch_add(records as u64, Ordering::Relaxed);
    }

    fn is_known(&self, longest: Duration) -> bool {
        let counted = *self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.is_some_and(|at| at.elapsed() < longest)
    }

    fn set(&self, held: u64) {
        self.held.store(held, Ordering::Relaxed);
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

/// A partition whose oldest unread record Kafka will soon delete, though a group has not read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endangered {
    /// Its topic.
    pub topic: Topic,
    /// The partition.
    pub partition: Partition,
    /// How long Kafka keeps a record of the topic, whoever has read it.
    pub kept_for: Duration,
}

impl Shared {
    /// Says whether `records` more may be held.
    pub async fn check_room(&self, records: usize) -> Result<(), PortError> {
        if !self.room.is_known(BELIEVED) {
            self.count(BELIEVED).await?;
        }
        let records_max = self.settings.records_max;
        let is_full = || self.room.held.load(Ordering::Relaxed).saturating_add(records as u64) > records_max;
        if is_full() && !self.room.is_known(BELIEVED_FULL) {
            self.count(BELIEVED_FULL).await?;
        }
        if !is_full() {
            return Ok(());
        }
        let message = format!(
            "the log holds its `{records_max}` records, the most it may; raise the bound or shorten its retention"
        );
        Err(PortError::new(ErrorKind::Full, message))
    }

    /// Counts what is held, unless somebody else just did.
    async fn count(&self, longest: Duration) -> Result<(), PortError> {
        let _counting = self.room.counting.lock().await;
        if self.room.is_known(longest) {
            return Ok(());
        }
        self.count_now().await
    }

    async fn count_now(&self) -> Result<(), PortError> {
        let mut held = 0;
        for (topic, live) in self.catalogue.all() {
            if live.kind == TopicKind::Records {
                held += self.extents(&topic, live).await?.iter().map(|its| its.end.0 - its.start.0).sum::<u64>();
            }
        }
        self.room.set(held);
        Ok(())
    }

    /// Deletes what is older than the retention and read by every group that ever committed on its topic.
    pub async fn apply_retention(&self) -> Result<(), PortError> {
        self.read_catalogue().await?;
        let before = self.clock.now().saturating_sub(self.settings.retention);
        for (topic, live) in self.catalogue.all() {
            if live.kind == TopicKind::Documents {
                continue;
            }
            match self.expire(&topic, live, before).await {
                // It was removed meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                done => done?,
            }
        }
        self.count_now().await
    }

    async fn expire(&self, topic: &Topic, live: Live, before: Timestamp) -> Result<(), PortError> {
        let extents = self.extents(topic, live).await?;
        let young = self.offsets.since(&self.name(topic), extents.len() as u32, before).await?;
        let mut keep_from: Vec<u64> =
            extents.iter().zip(young).map(|(extent, young)| young.unwrap_or(extent.end.0)).collect();
        for group in self.catalogue.groups(topic) {
            for (keep, committed) in keep_from.iter_mut().zip(self.committed(&group, topic, live).await?) {
                *keep = (*keep).min(committed.position.0);
            }
        }
        let gone = extents.iter().zip(keep_from).filter(|(extent, keep)| *keep > extent.start.0);
        let gone = gone.map(|(extent, keep)| (extent.partition.0, Offset::Offset(keep as i64)));
        self.topics.delete_records(&self.name(topic), gone).await
    }

    /// Where each partition of a topic starts and ends.
    pub async fn extents(&self, topic: &Topic, live: Live) -> Result<Vec<Extent>, PortError> {
        let partitions = self.partitions(topic, live).await?;
        self.offsets.extents(&self.name(topic), partitions).await
    }

    /// What a group has committed on each partition of a topic.
    pub async fn committed(&self, group: &str, topic: &Topic, live: Live) -> Result<Vec<Committed>, PortError> {
        let partitions = self.partitions(topic, live).await?;
        let place = (&*self.name(topic), live.generation);
        self.offsets.committed(&self.group_name(group), place, partitions).await
    }

    /// The partitions of whose records Kafka itself will delete some before long, though `group` has not read them.
    pub async fn endangered(&self, group: &str) -> Result<Vec<Endangered>, PortError> {
        let mut endangered = Vec::new();
        for (topic, live) in self.catalogue.all() {
            let groups = self.catalogue.groups(&topic);
            let config = self.topics.config(&self.name(&topic)).await?;
            let millis = config.get("retention.ms").and_then(|millis| millis.parse::<u64>().ok());
            let Some(kept_for) = millis.map(Duration::from_millis).filter(|_| groups.contains(group)) else { continue };
            let near = self.clock.now().saturating_sub(kept_for * NEAR.0 / NEAR.1);
            let committed = self.committed(group, &topic, live).await?;
            let extents = self.extents(&topic, live).await?;
            let younger = self.offsets.since(&self.name(&topic), extents.len() as u32, near).await?;
            for ((extent, younger), committed) in extents.iter().zip(younger).zip(committed) {
                let unread: Position = committed.position.max(extent.start);
                if unread.0 < younger.unwrap_or(extent.end.0) {
                    endangered.push(Endangered { topic: topic.clone(), partition: extent.partition, kept_for });
                }
            }
        }
        Ok(endangered)
    }
}
