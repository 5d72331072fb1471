//! The log in memory: topics, their partitions, and readers of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use domain::{Partition, Position, Readings, SensorId, Timestamp, Topic, TypeVersion};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{
    group::{Group, Member},
    partition::Records,
};
use crate::{
    Appended, Batch, Clock, Committed, Consumer, Content, Delivery, ErrorKind, Extent, Log, Mark, PortError, Progress,
    Reader, Standing, TopicKind, Undecodable,
};

/// The longest key of a document, in bytes.
const KEY_SIZE_MAX: usize = 512;
/// The most bytes that are kept of what can't be decoded.
const UNDECODABLE_SIZE_MAX: usize = 64 * 1024;
/// The longest that anything waits, so that a deadline can be told: a year.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a log in memory is like.
#[derive(Debug, Clone, Copy)]
pub struct LogSettings {
    /// Partitions of each topic of readings, at least 1.
    pub partitions: u32,
    /// How long records are kept after they were accepted.
    pub retention: Duration,
    /// The most records that all topics of readings may hold together; beyond it, `append` answers `Full`.
    pub records_max: usize,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { partitions: 1, retention: Duration::from_secs(7 * 24 * 3600), records_max: usize::MAX }
    }
}

/// A log that lives as long as the process; clones share it.
#[derive(Clone)]
pub struct MemoryLog(Arc<Shared>);

/// What the log, its readers and its consumers share.
pub(super) struct Shared {
    clock: Arc<dyn Clock>,
    settings: LogSettings,
    state: Mutex<State>,
    /// Moves whenever somebody who waits may have something to do.
    changes: watch::Sender<u64>,
}

/// Everything the log holds.
#[derive(Default)]
pub(super) struct State {
    pub(super) topics: BTreeMap<Topic, TopicState>,
    /// First free position of each partition of the topics that were removed.
    floors: BTreeMap<Topic, Vec<u64>>,
    pub(super) groups: BTreeMap<String, Group>,
    /// Numbers topics, members and assignments; never used twice.
    numbers: u64,
    /// Counts the changes of topics and of what groups have committed there.
    touches: u64,
}

/// One topic.
pub(super) struct TopicState {
    kind: TopicKind,
    /// Tells it from one of the same name that was removed.
    number: u64,
    /// The change that was its last.
    touched: u64,
    pub(super) partitions: Vec<Records>,
}

impl MemoryLog {
    /// A log without topics.
    pub fn new(clock: Arc<dyn Clock>, settings: LogSettings) -> Self {
        let (changes, _) = watch::channel(0);
        Self(Arc::new(Shared { clock, settings, state: Mutex::default(), changes }))
    }

    /// Appends one record that nobody can read to a topic's first partition, as another program might: an aid for tests.
    ///
    /// # Errors
    /// `NotFound` for an unknown topic.
    pub fn append_undecodable(&self, topic: &Topic, bytes: &[u8], reason: &str) -> Result<Appended, PortError> {
        let bytes = bytes[..bytes.len().min(UNDECODABLE_SIZE_MAX)].to_vec();
        let content = Content::Undecodable(Undecodable { count: 1, bytes, reason: reason.to_owned() });
        let now = self.0.clock.believed()?;
        let mut state = self.0.lock();
        let (accepted_at, first_position) = state.topic_mut(topic)?.partitions[0].push(now, content);
        state.touch(topic);
        drop(state);
        self.0.changed();
        Ok(Appended { accepted_at, first_position })
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops what is old and read, where the clock is believed.
    fn expire(&self, state: &mut State) {
        if let Ok(now) = self.clock.believed() {
            state.expire(now, self.settings.retention);
        }
    }

    pub(super) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Asks again at every change until there is something, or until `wait` has passed.
    pub(super) async fn wait_until<F>(&self, deadline: Instant, mut ask: F) -> Result<Vec<Delivery>, PortError>
    where
        F: FnMut(&mut State) -> Result<Vec<Delivery>, PortError>,
    {
        let mut changes = self.changes.subscribe();
        loop {
            let deliveries = ask(&mut self.lock())?;
            if !deliveries.is_empty() {
                return Ok(deliveries);
            }
            if timeout_at(deadline, changes.changed()).await.is_err() {
                return Ok(Vec::new());
            }
        }
    }
}

impl State {
    pub(super) fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Takes note that a topic, or what a group has committed there, has changed.
    pub(super) fn touch(&mut self, topic: &Topic) {
        self.touches += 1;
        if let Some(state) = self.topics.get_mut(topic) {
            state.touched = self.touches;
        }
    }

    pub(super) fn topic(&self, topic: &Topic) -> Result<&TopicState, PortError> {
        self.topics.get(topic).ok_or_else(|| unknown(topic))
    }

    fn topic_mut(&mut self, topic: &Topic) -> Result<&mut TopicState, PortError> {
        self.topics.get_mut(topic).ok_or_else(|| unknown(topic))
    }

    /// Drops what is older than `retention` and read by every group that ever committed on its topic.
    fn expire(&mut self, now: Timestamp, retention: Duration) {
        for (topic, state) in self.topics.iter_mut().filter(|(_, state)| state.kind != TopicKind::Documents) {
            for (records, number) in state.partitions.iter_mut().zip(0..) {
                let read = self.groups.values().filter_map(|group| group.read_to(topic, Partition(number))).min();
                if records.expire(now, retention, read.map_or(u64::MAX, |position| position.0)) {
                    self.touches += 1;
                    state.touched = self.touches;
                }
            }
        }
    }

    /// What a group has committed on each partition of a topic.
    fn committed(&self, group: &str, topic: &Topic, state: &TopicState) -> Vec<Committed> {
        let of = |partition| match self.groups.get(group) {
            Some(group) => group.committed(topic, partition),
            None => Committed { partition, ..Committed::default() },
        };
        (0..).map(Partition).zip(&state.partitions).map(|(partition, _)| of(partition)).collect()
    }

    /// How many records all topics of readings hold.
    fn held(&self) -> usize {
        let records = self.topics.values().filter(|topic| topic.kind == TopicKind::Records);
        records.flat_map(|topic| &topic.partitions).map(Records::len).sum()
    }

    /// Says whether `records` more would be too many.
    fn check_room(&self, records: usize, records_max: usize) -> Result<(), PortError> {
        if self.held().saturating_add(records) <= records_max {
            return Ok(());
        }
        Err(PortError::new(ErrorKind::Full, format!("the log holds its `{records_max}` records, the most it may")))
    }
}

fn unknown(topic: &Topic) -> PortError {
    PortError::new(ErrorKind::NotFound, format!("there is no topic `{topic}`"))
}

#[async_trait]
impl Log for MemoryLog {
    async fn create_topic(&self, topic: &Topic, kind: TopicKind) -> Result<(), PortError> {
        let mut state = self.0.lock();
        if let Some(existing) = state.topics.get(topic) {
            return match existing.kind == kind {
                true => Ok(()),
                false => {
                    let message =
                        format!("topic `{topic}` exists as `{:?}` and can't become `{kind:?}`", existing.kind);
                    Err(PortError::new(ErrorKind::Conflict, message))
                }
            };
        }
        let partitions = if kind == TopicKind::Records { self.0.settings.partitions.max(1) } else { 1 };
        let floors = state.floors.get(topic).cloned().unwrap_or_default();
        let floor = |partition: u32| floors.get(partition as usize).copied().unwrap_or(0);
        let partitions = (0..partitions).map(|partition| Records::starting_at(floor(partition))).collect();
        let number = state.next_number();
        state.topics.insert(topic.clone(), TopicState { kind, number, touched: 0, partitions });
        state.touch(topic);
        state.share_partitions();
        self.0.changed();
        Ok(())
    }

    async fn delete_topic(&self, topic: &Topic) -> Result<(), PortError> {
        let mut state = self.0.lock();
        let Some(removed) = state.topics.remove(topic) else { return Ok(()) };
        let floors = state.floors.entry(topic.clone()).or_default();
        floors.resize(floors.len().max(removed.partitions.len()), 0);
        for (floor, records) in floors.iter_mut().zip(&removed.partitions) {
            *floor = records.end();
        }
        for group in state.groups.values_mut() {
            group.forget(topic);
        }
        state.share_partitions();
        self.0.changed();
        Ok(())
    }

    async fn append(&self, topic: &Topic, batch: Batch) -> Result<Appended, PortError> {
        let now = self.0.clock.believed()?;
        let mut state = self.0.lock();
        state.expire(now, self.0.settings.retention);
        let kind = state.topic(topic)?.kind;
        check_batch(topic, kind, &batch)?;
        if kind == TopicKind::Records {
            state.check_room(batch.len(), self.0.settings.records_max)?;
        }
        let partitions = &mut state.topic_mut(topic)?.partitions;
        let appended = match batch {
            Batch::Documents(documents) if kind == TopicKind::Documents => {
                vec![partitions[0].push_compacted(now, documents)]
            }
            batch => {
                let parts = split(batch, partitions.len());
                parts.into_iter().map(|(partition, content)| partitions[partition].push(now, content)).collect()
            }
        };
        let end = Position(partitions[0].end());
        state.touch(topic);
        self.0.changed();
        let accepted_at = appended.iter().map(|(accepted_at, _)| *accepted_at).max().unwrap_or(now);
        let first_position = appended.first().map_or(end, |(_, position)| *position);
        Ok(Appended { accepted_at, first_position })
    }

    async fn reader(&self, topic: &Topic, partition: Partition, from: Position) -> Result<Box<dyn Reader>, PortError> {
        let state = self.0.lock();
        let found = state.topic(topic)?;
        if partition.0 as usize >= found.partitions.len() {
            let message = format!("topic `{topic}` has no partition `{partition}`");
            return Err(PortError::new(ErrorKind::NotFound, message));
        }
        let (shared, topic, number) = (Arc::clone(&self.0), topic.clone(), found.number);
        Ok(Box::new(MemoryReader { shared, topic, number, partition, next: from.0 }))
    }

    async fn consumer(&self, group: &str) -> Result<Box<dyn Consumer>, PortError> {
        Ok(Box::new(Member::join(Arc::clone(&self.0), group)))
    }

    async fn extents(&self, topic: &Topic) -> Result<Vec<Extent>, PortError> {
        let mut state = self.0.lock();
        self.0.expire(&mut state);
        let partitions = (0..).map(Partition).zip(&state.topic(topic)?.partitions);
        Ok(partitions.map(|(partition, records)| records.extent(partition)).collect())
    }

    async fn committed(&self, group: &str, topic: &Topic) -> Result<Vec<Committed>, PortError> {
        let state = self.0.lock();
        Ok(state.committed(group, topic, state.topic(topic)?))
    }

    async fn progress(&self, group: &str, since: Mark) -> Result<Progress, PortError> {
        let mut state = self.0.lock();
        self.0.expire(&mut state);
        let is_wanted = |its: &TopicState| its.kind == TopicKind::Records && its.touched > since.0;
        let wanted = state.topics.iter().filter(|(_, its)| is_wanted(its));
        let standings = wanted.map(|(topic, its)| Standing {
            topic: topic.clone(),
            extents: (0..).map(Partition).zip(&its.partitions).map(|(number, its)| its.extent(number)).collect(),
            committed: state.committed(group, topic, its),
        });
        Ok(Progress { mark: Mark(state.touches), standings: standings.collect() })
    }

    async fn ready(&self) -> Result<(), PortError> {
        self.0.clock.believed()?;
        self.0.lock().check_room(1, self.0.settings.records_max)
    }
}

/// Says whether a topic of this kind takes such a batch.
fn check_batch(topic: &Topic, kind: TopicKind, batch: &Batch) -> Result<(), PortError> {
    let documents = if let Batch::Documents(documents) = batch { documents.as_slice() } else { &[] };
    if matches!(batch, Batch::Documents(_)) == (kind == TopicKind::Records) {
        let message = format!("topic `{topic}` holds `{kind:?}`, not what the batch is made of");
        return Err(PortError::new(ErrorKind::Rejected, message));
    }
    if let Some(document) = documents.iter().find(|document| document.key.len() > KEY_SIZE_MAX) {
        let message = format!("a document's key has `{}` bytes: at most {KEY_SIZE_MAX}", document.key.len());
        return Err(PortError::new(ErrorKind::Rejected, message));
    }
    Ok(())
}

/// Parts a batch by partition, that of its first record first; each keeps the batch's order.
fn split(batch: Batch, partitions: usize) -> Vec<(usize, Content)> {
    match batch {
        Batch::Readings { type_version, readings } => split_readings(type_version, &readings, partitions),
        Batch::Deletions(deletions) => {
            split_by(deletions, partitions, |deletion| &deletion.sensor_id, Content::Deletions)
        }
        Batch::Rejudgements(all) => split_by(all, partitions, |one| &one.sensor_id, Content::Rejudgements),
        Batch::Documents(documents) => vec![(0, Content::Documents(documents))],
    }
}

fn split_readings(type_version: TypeVersion, readings: &Readings, partitions: usize) -> Vec<(usize, Content)> {
    let places: Vec<usize> = readings.sensor_ids().iter().map(|id| partition_of(id, partitions)).collect();
    let mut parts = Vec::new();
    for place in in_order(&places) {
        let mut part = Readings::new(readings.properties().clone());
        for (reading, _) in readings.iter().zip(&places).filter(|(_, its)| **its == place) {
            part.push(reading.sensor_id.clone(), reading.phenomenon_time, reading.values);
        }
        parts.push((place, Content::Readings { type_version: Some(type_version), readings: part }));
    }
    parts
}

fn split_by<T: Clone>(
    records: Vec<T>,
    partitions: usize,
    sensor_id: impl Fn(&T) -> &SensorId,
    content: impl Fn(Vec<T>) -> Content,
) -> Vec<(usize, Content)> {
    let places: Vec<usize> = records.iter().map(|record| partition_of(sensor_id(record), partitions)).collect();
    let mut parts = Vec::new();
    for place in in_order(&places) {
        let here = records.iter().zip(&places).filter(|(_, its)| **its == place);
        parts.push((place, content(here.map(|(record, _)| record.clone()).collect())));
    }
    parts
}

/// The partitions that occur, each once, in the order in which they do.
fn in_order(places: &[usize]) -> Vec<usize> {
    let mut seen = BTreeSet::new();
    places.iter().copied().filter(|place| seen.insert(*place)).collect()
}

/// The partition of a sensor's records: a stable hash of its id (FNV-1a, 64 bits), modulo the partitions.
fn partition_of(sensor_id: &SensorId, partitions: usize) -> usize {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = sensor_id.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, step);
    (hash % partitions as u64) as usize
}

struct MemoryReader {
    shared: Arc<Shared>,
    topic: Topic,
    number: u64,
    partition: Partition,
    next: u64,
}

#[async_trait]
impl Reader for MemoryReader {
    async fn next(&mut self, records_max: usize, wait: Duration) -> Result<Vec<Delivery>, PortError> {
        let Self { topic, number, partition, next, .. } = self;
        let ask = |state: &mut State| {
            let found = state.topic(topic)?;
            if found.number != *number {
                return Err(unknown(topic));
            }
            Ok(found.partitions[partition.0 as usize].read(topic, *partition, *next, records_max))
        };
        let deliveries = self.shared.wait_until(Instant::now() + wait.min(WAIT_MAX), ask).await?;
        if let Some(last) = deliveries.last() {
            self.next = last.next_position().0;
        }
        Ok(deliveries)
    }
}
