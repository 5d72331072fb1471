//! The log in the data folder: entries of records under (topic, position), written by one committer that shares each fsync
//! among all who wait.
//!
//! **Invariant:** an entry is visible only after it was synced, and everything else in the folder is written behind it in the
//! same journal: whatever prefix of the journal survives a crash is consistent.

mod changes;
mod chores;
mod committer;
mod consumer;
mod groups;
mod keys;
mod reader;
#[cfg(test)]
mod tests;
mod topics;
mod verify;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, TrySendError},
    },
    thread::JoinHandle,
    time::Duration,
};

use async_trait::async_trait;
use domain::{Partition, Position, Topic};
use fjall::{Database, Keyspace};
use ports::{
    Appended, Batch, Clock, Committed, Consumer, ErrorKind, Extent, Log, Mark, PortError, Progress, Reader, Standing,
    TopicKind,
};
use tokio::sync::{oneshot, watch};

use crate::{
    disk::{Disk, Need},
    error, records_codec,
};
use changes::Changes;
use committer::{Append, Committer, Request};
use groups::Members;
use topics::{TopicState, Topics};
pub(crate) use verify::verify;

/// The most appends that wait for a commit.
const QUEUE_MAX: usize = 4_096;

/// What the log needs of the data folder.
pub(crate) struct Keyspaces {
    /// (topic number, first position, count) to an entry of records.
    pub records: Keyspace,
    /// (topic number, document key) to the position of its newest document.
    pub document_keys: Keyspace,
    /// Topics by name, and their extents by number.
    pub topics: Keyspace,
    /// (topic number, group) to what the group has committed.
    pub groups: Keyspace,
}

/// Bounds of the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub retention: Duration,
    pub size_max: u64,
}

pub(crate) struct Shared {
    pub database: Database,
    pub keyspaces: Keyspaces,
    pub topics: Topics,
    pub clock: Arc<dyn Clock>,
    pub disk: Arc<Disk>,
    pub bounds: Bounds,
    /// Moves whenever a waiting reader should look again.
    pub changed: watch::Sender<u64>,
    pub changes: Changes,
    pub members: Members,
    member_last: AtomicU64,
}

impl Shared {
    /// Tells whoever follows a topic that it has changed.
    fn tell(&self, topic: &Arc<TopicState>) {
        self.changes.touch(topic);
        topic.groups.tell_owners(topic);
    }

    /// Tells the readers that something has changed.
    fn wake(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn topic(&self, topic: &Topic) -> Result<Arc<TopicState>, PortError> {
        self.topics
            .get(topic)
            .ok_or_else(|| PortError::new(ErrorKind::NotFound, format!("there is no topic `{topic}`")))
    }
}

/// [`Log`] in the data folder; one partition per topic.
pub(crate) struct EmbeddedLog {
    shared: Arc<Shared>,
    requests: SyncSender<Request>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

impl EmbeddedLog {
    pub fn open(
        database: Database,
        keyspaces: Keyspaces,
        clock: Arc<dyn Clock>,
        disk: Arc<Disk>,
        bounds: Bounds,
    ) -> Result<Self, PortError> {
        let topics = Topics::load(&keyspaces)?;
        let (changed, _) = watch::channel(0);
        let shared = Arc::new(Shared {
            database,
            keyspaces,
            topics,
            clock,
            disk,
            bounds,
            changed,
            changes: Changes::default(),
            members: Members::default(),
            member_last: AtomicU64::new(0),
        });
        let (requests, queue) = std::sync::mpsc::sync_channel(QUEUE_MAX);
        shared.topics.all().iter().for_each(|topic| shared.changes.touch(topic));
        let committer = Committer::new(Arc::clone(&shared), queue)?;
        let thread = std::thread::Builder::new().name("log-committer".into()).spawn(move || committer.run());
        let thread =
            thread.map_err(|e| PortError::new(ErrorKind::Unavailable, "no thread for the log").with_source(e))?;
        Ok(Self { shared, requests, committer: Mutex::new(Some(thread)) })
    }

    /// Applies retention now instead of at the next look.
    pub async fn apply_retention(&self) -> Result<(), PortError> {
        self.ask(|reply| Request::ApplyRetention { reply }).await
    }

    /// Finishes what waits for a commit and stops; appends are refused from then on.
    pub fn close(&self) {
        let thread = self.committer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = self.requests.send(Request::Stop);
            let _ = thread.join();
        }
    }

    async fn ask<T>(
        &self,
        make: impl FnOnce(oneshot::Sender<Result<T, PortError>>) -> Request,
    ) -> Result<T, PortError> {
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(make(reply)).map_err(|refused| match refused {
            TrySendError::Full(_) => {
                PortError::new(ErrorKind::Full, format!("{QUEUE_MAX} appends wait for the disk already"))
            }
            TrySendError::Disconnected(_) => error::stopped(),
        })?;
        answer.await.unwrap_or_else(|_| Err(error::stopped()))
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Log for EmbeddedLog {
    async fn create_topic(&self, topic: &Topic, kind: TopicKind) -> Result<(), PortError> {
        match self.shared.topics.get(topic) {
            Some(state) if state.kind == kind => Ok(()),
            Some(_) => Err(PortError::new(ErrorKind::Conflict, format!("topic `{topic}` exists as another kind"))),
            None => self.ask(|reply| Request::Create { topic: topic.clone(), kind, reply }).await,
        }
    }

    async fn delete_topic(&self, topic: &Topic) -> Result<(), PortError> {
        self.ask(|reply| Request::Delete { topic: topic.clone(), reply }).await
    }

    async fn append(&self, topic: &Topic, batch: Batch) -> Result<Appended, PortError> {
        let topic = self.shared.topic(topic)?;
        let segment = records_codec::encode_segment(&batch);
        self.ask(|reply| Request::Append(Append { topic, batch, segment, reply })).await
    }

    async fn reader(&self, topic: &Topic, partition: Partition, from: Position) -> Result<Box<dyn Reader>, PortError> {
        let state = self.shared.topic(topic)?;
        if partition != Partition(0) {
            return Err(PortError::new(ErrorKind::NotFound, format!("topic `{topic}` has no partition {partition}")));
        }
        Ok(Box::new(reader::EmbeddedReader::new(Arc::clone(&self.shared), state, from)))
    }

    async fn consumer(&self, group: &str) -> Result<Box<dyn Consumer>, PortError> {
        let member = self.shared.member_last.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Box::new(consumer::EmbeddedConsumer::new(Arc::clone(&self.shared), group, member)))
    }

    async fn extents(&self, topic: &Topic) -> Result<Vec<Extent>, PortError> {
        Ok(vec![extent_of(&*self.shared.topic(topic)?)])
    }

    async fn committed(&self, group: &str, topic: &Topic) -> Result<Vec<Committed>, PortError> {
        Ok(vec![self.shared.topic(topic)?.groups.committed(group)])
    }

    async fn progress(&self, group: &str, since: Mark) -> Result<Progress, PortError> {
        let (mark, topics) = self.shared.changes.since(since);
        let standing = |topic: &Arc<TopicState>| Standing {
            topic: topic.name.clone(),
            extents: vec![extent_of(topic)],
            committed: vec![topic.groups.committed(group)],
        };
        Ok(Progress { mark, standings: topics.iter().map(standing).collect() })
    }

    async fn ready(&self) -> Result<(), PortError> {
        self.shared.clock.believed()?;
        self.shared.disk.check(Need::Accept)?;
        self.shared.topics.check_size(self.shared.bounds.size_max)?;
        let closed =
            self.committer.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_none_or(JoinHandle::is_finished);
        if closed { Err(error::stopped()) } else { Ok(()) }
    }
}

fn extent_of(topic: &TopicState) -> Extent {
    let extent = topic.extent();
    Extent { partition: Partition(0), start: Position(extent.start), end: Position(extent.end) }
}
