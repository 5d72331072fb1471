//! What may go and what must stay: the hub's own retention, and the bound of what it holds.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::{Partition, Position, Timestamp, Topic};
use ports::{Committed, ErrorKind, Extent, Mark, PortError, Progress, SeenAhead, Standing, TopicKind, latest_stamp};
use rdkafka::Offset;
use tokio::time::Instant;

use super::{Shared, catalogue::Live, offsets::Asked};

/// How long it is believed how much the log holds.
const BELIEVED: Duration = Duration::from_secs(10);
/// How many times as long as a count took it is believed, at least.
const COUNTING: u32 = 20;
/// How long it is believed what Kafka says of a topic's own retention.
const CONFIGS_BELIEVED: Duration = Duration::from_secs(600);
/// The most topics in one request for their configuration.
const CONFIGS_MAX: usize = 200;
/// How long it is believed that the log is full.
const BELIEVED_FULL: Duration = Duration::from_millis(200);
/// What part of a topic's own retention the oldest unread record may have lived through before it is told: four fifths.
const NEAR: (u32, u32) = (4, 5);

/// How many records the topics of readings hold together, as far as this process knows.
#[derive(Default)]
pub(super) struct Room {
    held: AtomicU64,
    /// When it was counted last, and how long that took.
    counted: Mutex<Option<(Instant, Duration)>>,
    counting: tokio::sync::Mutex<()>,
}

impl Room {
    /// Counts records that were appended.
    pub fn take(&self, records: usize) {
        self.held.fetch_add(records as u64, Ordering::Relaxed);
    }

    /// How long ago it was counted; `None` where it never was.
    fn age(&self) -> Option<Duration> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).map(|(at, _)| at.elapsed())
    }

    /// How long a count is believed: longer where counting takes long.
    fn believed(&self) -> Duration {
        let counted = *self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.map_or(BELIEVED, |(_, took)| BELIEVED.max(took * COUNTING))
    }

    fn set(&self, held: u64, took: Duration) {
        self.held.store(held, Ordering::Relaxed);
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), took));
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
    /// Says whether `records` more may be held. What others have appended is counted now and then, behind the back of appends.
    pub async fn check_room(self: &Arc<Self>, records: usize) -> Result<(), PortError> {
        let records_max = self.settings.records_max;
        let is_full = || self.room.held.load(Ordering::Relaxed).saturating_add(records as u64) > records_max;
        match self.room.age() {
            None => self.count(BELIEVED).await?,
            Some(_) if is_full() => self.count(BELIEVED_FULL).await?,
            Some(age) if age >= self.room.believed() => self.count_aside(),
            Some(_) => {}
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
        if self.room.age().is_some_and(|age| age < longest) {
            return Ok(());
        }
        self.count_now().await
    }

    /// Counts what is held while appends go on, unless somebody else is counting.
    fn count_aside(self: &Arc<Self>) {
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let Ok(_counting) = shared.room.counting.try_lock() else { return };
            if let Err(error) = shared.count_now().await {
                // Appends meet the same, and tell it.
                tracing::debug!(%error, "what the log holds can't be counted");
            }
        });
    }

    async fn count_now(&self) -> Result<(), PortError> {
        let began = Instant::now();
        let is_records = |(_, live): &(Topic, Live)| live.kind == TopicKind::Records;
        let topics: Vec<_> = self.catalogue.all().into_iter().filter(is_records).collect();
        let extents = self.extents_of(&topics).await?;
        self.room.set(extents.iter().flatten().flatten().map(|its| its.end.0 - its.start.0).sum(), began.elapsed());
        Ok(())
    }

    /// Deletes what is older than the retention and read by every group that ever committed on its topic.
    pub async fn apply_retention(&self) -> Result<(), PortError> {
        self.read_catalogue().await?;
        let now = self.clock.believed()?;
        let before = now.saturating_sub(self.settings.retention);
        let mut topics = self.catalogue.all_with_groups();
        topics.retain(|(_, live, _)| live.kind != TopicKind::Documents);
        let places: Vec<_> = topics.iter().map(|(topic, live, _)| (topic.clone(), *live)).collect();
        let asked = self.asked(&places).await?;
        let extents = self.offsets.extents_of(&asked).await?;
        let mut young = self.offsets.since_of(&asked, before).await?;
        self.pass_over_ahead(&asked, &extents, &mut young, now).await?;
        let mut keep_from: Vec<Vec<u64>> = Vec::with_capacity(topics.len());
        for (extents, young) in extents.iter().zip(young) {
            let ends = extents.iter().flatten().map(|extent| extent.end.0);
            keep_from.push(ends.zip(young.unwrap_or_default()).map(|(end, young)| young.unwrap_or(end)).collect());
        }
        let groups: BTreeSet<&String> = topics.iter().flat_map(|(_, _, groups)| groups).collect();
        for group in groups {
            let its: Vec<usize> = (0..topics.len()).filter(|index| topics[*index].2.contains(group)).collect();
            let places: Vec<_> = its.iter().map(|index| places[*index].clone()).collect();
            for (index, committed) in its.iter().zip(self.committed_of(group, &places).await?) {
                for (keep, committed) in keep_from[*index].iter_mut().zip(committed) {
                    *keep = (*keep).min(committed.position.0);
                }
            }
        }
        let mut gone = Vec::new();
        for ((name, _), (extents, keep_from)) in asked.iter().zip(extents.iter().zip(&keep_from)) {
            let old = extents.iter().flatten().zip(keep_from).filter(|(extent, keep)| **keep > extent.start.0);
            gone.extend(old.map(|(extent, keep)| (name.as_str(), extent.partition.0, Offset::Offset(*keep as i64))));
        }
        self.topics.delete_records(gone).await?;
        self.count_now().await
    }

    /// Passes over the records that stand before what is young by their stamps, where these are ahead of the clock: they are as old as
    /// the time at which they were seen first.
    async fn pass_over_ahead(
        &self,
        asked: &[Asked],
        extents: &[Option<Vec<Extent>>],
        young: &mut [Option<Vec<Option<u64>>>],
        now: Timestamp,
    ) -> Result<(), PortError> {
        let ahead = self.offsets.since_of(asked, latest_stamp(now)).await?;
        let mut fronts = self.ahead.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut still = HashMap::new();
        for (((name, _), extents), (young, ahead)) in asked.iter().zip(extents).zip(young.iter_mut().zip(ahead)) {
            let partitions = young.iter_mut().flatten().zip(ahead.into_iter().flatten());
            for (extent, (young, ahead)) in extents.iter().flatten().zip(partitions) {
                let (Some(first), true) = (*young, ahead.is_some() && *young == ahead) else { continue };
                let place = (name.clone(), extent.partition.0);
                let known = fronts.get(&place).filter(|seen| first < seen.end);
                let seen = known.copied().unwrap_or(SeenAhead { at: now, end: extent.end.0 });
                if now.since(seen.at) > self.settings.retention {
                    *young = Some(seen.end);
                }
                still.insert(place, seen);
            }
        }
        *fronts = still;
        Ok(())
    }

    /// Topics by their names on Kafka, each with how many partitions it has; those that are not on Kafka any more have one.
    pub async fn asked(&self, topics: &[(Topic, Live)]) -> Result<Vec<Asked>, PortError> {
        let partitions = self.partitions_of(topics).await?;
        Ok(topics.iter().zip(partitions).map(|((topic, _), partitions)| (self.name(topic), partitions)).collect())
    }

    /// Where the partitions of topics start and end; `None` for a topic that is not on Kafka any more.
    pub async fn extents_of(&self, topics: &[(Topic, Live)]) -> Result<Vec<Option<Vec<Extent>>>, PortError> {
        self.offsets.extents_of(&self.asked(topics).await?).await
    }

    /// Where each partition of a topic starts and ends.
    pub async fn extents(&self, topic: &Topic, live: Live) -> Result<Vec<Extent>, PortError> {
        let partitions = self.partitions(topic, live).await?;
        self.offsets.extents(&self.name(topic), partitions).await
    }

    /// What a group has committed on each partition of topics.
    pub async fn committed_of(&self, group: &str, topics: &[(Topic, Live)]) -> Result<Vec<Vec<Committed>>, PortError> {
        let asked = self.asked(topics).await?;
        let asked: Vec<_> = asked.into_iter().zip(topics).map(|(asked, (_, live))| (asked, live.generation)).collect();
        self.offsets.committed_of(&self.group_name(group), &asked).await
    }

    /// What a group has committed on each partition of a topic.
    pub async fn committed(&self, group: &str, topic: &Topic, live: Live) -> Result<Vec<Committed>, PortError> {
        let partitions = self.partitions(topic, live).await?;
        let asked = [((self.name(topic), partitions), live.generation)];
        Ok(self.offsets.committed_of(&self.group_name(group), &asked).await?.remove(0))
    }

    /// How far the topics of records are, and a group on them: all of them, because Kafka does not say which have changed.
    pub async fn progress(&self, group: &str) -> Result<Progress, PortError> {
        let is_records = |(_, live): &(Topic, Live)| live.kind == TopicKind::Records;
        let topics: Vec<_> = self.catalogue.all().into_iter().filter(is_records).collect();
        // What is committed first: it is never behind the end.
        let committed = self.committed_of(group, &topics).await?;
        let extents = self.extents_of(&topics).await?;
        let standing = |((topic, _), (committed, extents)): (_, (_, Option<_>))| {
            Some(Standing { topic, extents: extents?, committed })
        };
        let standings = topics.into_iter().zip(committed.into_iter().zip(extents)).filter_map(standing).collect();
        Ok(Progress { mark: Mark::default(), standings })
    }

    /// The partitions of whose records Kafka itself will delete some before long, though `group` has not read them.
    pub async fn endangered(&self, group: &str) -> Result<Vec<Endangered>, PortError> {
        let mut topics = self.catalogue.all_with_groups();
        topics.retain(|(_, _, groups)| groups.iter().any(|its| its == group));
        let mut endangered = Vec::new();
        for ((topic, live, _), kept_for) in topics.iter().zip(self.kept_for(&topics).await?) {
            let Some(kept_for) = kept_for else { continue };
            let near = self.clock.now().saturating_sub(kept_for * NEAR.0 / NEAR.1);
            let committed = self.committed(group, topic, *live).await?;
            let extents = self.extents(topic, *live).await?;
            let younger = self.offsets.since_of(&[(self.name(topic), extents.len() as u32)], near).await?.remove(0);
            for ((extent, younger), committed) in extents.iter().zip(younger.unwrap_or_default()).zip(committed) {
                let unread: Position = committed.position.max(extent.start);
                if unread.0 < younger.unwrap_or(extent.end.0) {
                    let (topic, partition) = (topic.clone(), extent.partition);
                    endangered.push(Endangered { topic, partition, kept_for });
                }
            }
        }
        Ok(endangered)
    }

    /// How long Kafka itself keeps the records of topics; `None` where it leaves that to the hub, as for all topics that the hub made.
    async fn kept_for(&self, topics: &[(Topic, Live, Vec<String>)]) -> Result<Vec<Option<Duration>>, PortError> {
        let is_known = |topic: &Topic| self.kept.known(topic).is_some();
        let unknown: Vec<&Topic> = topics.iter().map(|(topic, _, _)| topic).filter(|topic| !is_known(topic)).collect();
        for part in unknown.chunks(CONFIGS_MAX) {
            let names: Vec<String> = part.iter().map(|topic| self.name(topic)).collect();
            let configs = self.topics.configs_of(&names.iter().map(String::as_str).collect::<Vec<_>>()).await?;
            for (topic, name) in part.iter().zip(&names) {
                let millis = configs.get(name).and_then(|config| config.get("retention.ms"));
                let kept_for = millis.and_then(|millis| millis.parse().ok()).map(Duration::from_millis);
                self.kept.learn(topic, kept_for);
            }
        }
        Ok(topics.iter().map(|(topic, _, _)| self.kept.known(topic).flatten()).collect())
    }
}

/// By name of the topic on Kafka and partition, where what is stamped ahead of the clock stands before all that is young.
#[derive(Default)]
pub(super) struct AheadFronts(Mutex<HashMap<(String, u32), SeenAhead>>);

/// How long Kafka itself keeps the records of which topic, as far as it was asked lately.
#[derive(Default)]
pub(super) struct KeptFor(Mutex<HashMap<Topic, (Instant, Option<Duration>)>>);

impl KeptFor {
    fn known(&self, topic: &Topic) -> Option<Option<Duration>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(topic).filter(|(asked, _)| asked.elapsed() < CONFIGS_BELIEVED).map(|(_, kept_for)| *kept_for)
    }

    fn learn(&self, topic: &Topic, kept_for: Option<Duration>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(topic.clone(), (Instant::now(), kept_for));
    }
}
