//! A log or a store whose next calls fail when told to and whose calls are counted, for tests of what their users do then and of how much
//! they ask for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use domain::{Deletion, Judged, Partition, Position, SensorId, SensorType, SensorTypeId, Timestamp, Topic};

use crate::{
    Appended, Batch, Bucket, BucketQuery, Committed, Consumer, Delivery, ErrorKind, Extent, Judge, Log, Mark, Outcome,
    PortError, Progress, Reader, ReadingQuery, Revisions, Scan, SensorQuery, SensorRows, SensorSummary, Store,
    TopicKind,
};

/// A call that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// [`Log::append`].
    Append,
    /// [`Consumer::poll`].
    Poll,
    /// Each commit of [`Consumer::commit_all`].
    Commit,
    /// [`Store::prepare`].
    Prepare,
    /// [`Store::write`].
    Write,
    /// [`Store::revise`].
    Revise,
    /// [`Store::delete`].
    Delete,
    /// [`Store::scan`].
    Scan,
}

/// Whether a call that fails has done its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It has done nothing.
    None,
    /// It has done everything, but its answer was lost.
    Done,
}

/// A log or a store whose calls answer `Unavailable` when told to.
pub struct Faulty<P: ?Sized> {
    inner: Arc<P>,
    faults: Arc<Faults>,
}

impl<P: ?Sized> Clone for Faulty<P> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), faults: Arc::clone(&self.faults) }
    }
}

/// How many calls are still to fail and how, and how much was asked for.
#[derive(Default)]
struct Faults {
    to_fail: Mutex<BTreeMap<Call, (u32, Effect)>>,
    calls: Mutex<BTreeMap<Call, u64>>,
    rows_scanned: AtomicU64,
    damaged: Mutex<BTreeSet<SensorId>>,
}

impl<P: ?Sized> Faulty<P> {
    /// Passes every call on, until told to fail.
    pub fn new(inner: Arc<P>) -> Self {
        Self { inner, faults: Arc::default() }
    }

    /// Makes the next `count` calls of this sort answer `Unavailable`; 0 ends it.
    pub fn fail_next(&self, call: Call, count: u32, effect: Effect) {
        self.faults.to_fail.lock().unwrap_or_else(PoisonError::into_inner).insert(call, (count, effect));
    }

    /// How many calls of this sort are still to fail.
    pub fn left_to_fail(&self, call: Call) -> u32 {
        let faults = self.faults.to_fail.lock().unwrap_or_else(PoisonError::into_inner);
        faults.get(&call).map_or(0, |(count, _)| *count)
    }

    /// How many calls of this sort there were.
    pub fn calls(&self, call: Call) -> u64 {
        let calls = self.faults.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.get(&call).copied().unwrap_or(0)
    }

    /// Makes scans answer `Corrupt` in place of the rows of a sensor, or lets them be read again.
    pub fn damage(&self, sensor_id: &SensorId, is_damaged: bool) {
        let mut damaged = self.faults.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        if is_damaged {
            damaged.insert(sensor_id.clone());
        } else {
            damaged.remove(sensor_id);
        }
    }

    /// How many rows scans have answered.
    pub fn rows_scanned(&self) -> u64 {
        self.faults.rows_scanned.load(Ordering::Relaxed)
    }
}

impl Faults {
    /// Does the work, unless this call is to fail.
    async fn around<T>(&self, call: Call, work: impl Future<Output = Result<T, PortError>>) -> Result<T, PortError> {
        *self.calls.lock().unwrap_or_else(PoisonError::into_inner).entry(call).or_default() += 1;
        let fault = {
            let mut faults = self.to_fail.lock().unwrap_or_else(PoisonError::into_inner);
            faults.get_mut(&call).filter(|(count, _)| *count > 0).map(|(count, effect)| {
                *count -= 1;
                *effect
            })
        };
        let Some(effect) = fault else { return work.await };
        if effect == Effect::Done {
            work.await?;
        }
        Err(PortError::new(ErrorKind::Unavailable, format!("`{call:?}` was told to fail")))
    }
}

#[async_trait]
impl<L: Log + ?Sized> Log for Faulty<L> {
    async fn create_topic(&self, topic: &Topic, kind: TopicKind) -> Result<(), PortError> {
        self.inner.create_topic(topic, kind).await
    }

    async fn delete_topic(&self, topic: &Topic) -> Result<(), PortError> {
        self.inner.delete_topic(topic).await
    }

    async fn append(&self, topic: &Topic, batch: Batch) -> Result<Appended, PortError> {
        self.faults.around(Call::Append, self.inner.append(topic, batch)).await
    }

    async fn reader(&self, topic: &Topic, partition: Partition, from: Position) -> Result<Box<dyn Reader>, PortError> {
        self.inner.reader(topic, partition, from).await
    }

    async fn consumer(&self, group: &str) -> Result<Box<dyn Consumer>, PortError> {
        let inner = self.inner.consumer(group).await?;
        Ok(Box::new(FaultyConsumer { inner, faults: Arc::clone(&self.faults) }))
    }

    async fn extents(&self, topic: &Topic) -> Result<Vec<Extent>, PortError> {
        self.inner.extents(topic).await
    }

    async fn committed(&self, group: &str, topic: &Topic) -> Result<Vec<Committed>, PortError> {
        self.inner.committed(group, topic).await
    }

    async fn progress(&self, group: &str, since: Mark) -> Result<Progress, PortError> {
        self.inner.progress(group, since).await
    }

    async fn ready(&self) -> Result<(), PortError> {
        self.inner.ready().await
    }
}

struct FaultyConsumer {
    inner: Box<dyn Consumer>,
    faults: Arc<Faults>,
}

#[async_trait]
impl Consumer for FaultyConsumer {
    async fn subscribe(&mut self, topics: &[Topic]) -> Result<(), PortError> {
        self.inner.subscribe(topics).await
    }

    async fn poll(&mut self, records_max: usize, wait: Duration) -> Result<Vec<Delivery>, PortError> {
        self.faults.around(Call::Poll, self.inner.poll(records_max, wait)).await
    }

    fn committed(&self, topic: &Topic, partition: Partition) -> Committed {
        self.inner.committed(topic, partition)
    }

    async fn commit_all(&mut self, commits: &[(Topic, Committed)]) -> Vec<Result<(), PortError>> {
        let mut answers = Vec::new();
        for (topic, committed) in commits {
            answers.push(self.faults.around(Call::Commit, self.inner.commit(topic, *committed)).await);
        }
        answers
    }

    async fn hold_back(&mut self, topic: &Topic, partition: Partition, pause: Duration) -> Result<(), PortError> {
        self.inner.hold_back(topic, partition, pause).await
    }
}

#[async_trait]
impl<S: Store + ?Sized> Store for Faulty<S> {
    async fn prepare(&self, sensor_type: &SensorType) -> Result<(), PortError> {
        self.faults.around(Call::Prepare, self.inner.prepare(sensor_type)).await
    }

    async fn write(
        &self,
        sensor_type: &SensorTypeId,
        judged: &Judged,
        judge: &dyn Judge,
    ) -> Result<Vec<Outcome>, PortError> {
        self.faults.around(Call::Write, self.inner.write(sensor_type, judged, judge)).await
    }

    async fn revise(&self, sensor_type: &SensorTypeId, revisions: &Revisions) -> Result<u64, PortError> {
        self.faults.around(Call::Revise, self.inner.revise(sensor_type, revisions)).await
    }

    async fn delete(
        &self,
        sensor_type: &SensorTypeId,
        deletion: &Deletion,
        position: Position,
    ) -> Result<u64, PortError> {
        self.faults.around(Call::Delete, self.inner.delete(sensor_type, deletion, position)).await
    }

    async fn scan(&self, sensor_type: &SensorTypeId, query: &ReadingQuery) -> Result<Box<dyn Scan>, PortError> {
        let inner = self.faults.around(Call::Scan, self.inner.scan(sensor_type, query)).await?;
        Ok(Box::new(FaultyScan { inner, faults: Arc::clone(&self.faults), passed_over: None }))
    }

    async fn latest(&self, sensor_type: &SensorTypeId, query: &SensorQuery) -> Result<Judged, PortError> {
        self.inner.latest(sensor_type, query).await
    }

    async fn summaries(
        &self,
        sensor_type: &SensorTypeId,
        query: &SensorQuery,
    ) -> Result<Vec<SensorSummary>, PortError> {
        self.inner.summaries(sensor_type, query).await
    }

    async fn buckets(&self, sensor_type: &SensorTypeId, query: &BucketQuery) -> Result<Vec<Bucket>, PortError> {
        self.inner.buckets(sensor_type, query).await
    }

    async fn expire(&self, sensor_type: &SensorTypeId, before: Timestamp) -> Result<u64, PortError> {
        self.inner.expire(sensor_type, before).await
    }

    async fn remove(&self, sensor_type: &SensorTypeId) -> Result<(), PortError> {
        self.inner.remove(sensor_type).await
    }

    async fn ready(&self) -> Result<(), PortError> {
        self.inner.ready().await
    }
}

struct FaultyScan {
    inner: Box<dyn Scan>,
    faults: Arc<Faults>,
    /// The damaged sensor whose rows are left out.
    passed_over: Option<SensorId>,
}

#[async_trait]
impl Scan for FaultyScan {
    async fn next(&mut self, rows_max: usize) -> Result<Option<SensorRows>, PortError> {
        loop {
            let Some(of_sensor) = self.inner.next(rows_max).await? else { return Ok(None) };
            if self.passed_over.as_ref() == Some(&of_sensor.sensor_id) {
                continue;
            }
            let is_damaged = {
                let damaged = self.faults.damaged.lock().unwrap_or_else(PoisonError::into_inner);
                damaged.contains(&of_sensor.sensor_id)
            };
            if is_damaged {
                let message = format!("readings of sensor `{}` can't be read", of_sensor.sensor_id);
                self.passed_over = Some(of_sensor.sensor_id);
                return Err(PortError::new(ErrorKind::Corrupt, message));
            }
            self.faults.rows_scanned.fetch_add(of_sensor.rows.len() as u64, Ordering::Relaxed);
            return Ok(Some(of_sensor));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ManualClock,
        memory::{LogSettings, MemoryLog},
    };

    #[tokio::test]
    async fn calls_fail_as_often_as_told_and_their_effect_is_as_told() {
        let log = MemoryLog::new(Arc::new(ManualClock::default()), LogSettings::default());
        let faulty = Faulty::new(Arc::new(log));
        let topic = Topic::dead_letters();
        faulty.create_topic(&topic, TopicKind::Notices).await.expect("a topic");
        let batch = || Batch::Documents(vec![crate::Document { key: "a".to_owned(), body: None }]);
        let mut ends = Vec::new();
        for (count, effect) in [(1, Effect::None), (1, Effect::Done), (0, Effect::None)] {
            faulty.fail_next(Call::Append, count, effect);
            let answer = faulty.append(&topic, batch()).await;
            assert_eq!(answer.is_err_and(|error| error.kind() == ErrorKind::Unavailable), count == 1);
            assert_eq!(faulty.left_to_fail(Call::Append), 0);
            ends.push(faulty.extents(&topic).await.expect("extents")[0].end);
        }
        assert_eq!(ends, [0, 1, 2].map(Position));
    }
}
