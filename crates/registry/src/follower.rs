//! Follows the topic `registry` and keeps the state that everybody in this process reads.
//!
//! **Invariant:** only this task changes the state, and only by what the topic says. It notices when compaction took documents it
//! had not read yet, and then starts over from the beginning, as a process that starts would.

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use domain::{Partition, Position, Topic};
use ports::{Batch, Content, Delivery, ErrorKind, Log, PortError, Reader};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    document::{self, Entry},
    state::State,
};

/// The most documents read in one go.
const DOCUMENTS_MAX: usize = 10_000;
/// The most documents appended in one repair.
const REPAIRS_MAX: usize = 1_000;
/// How long one read waits for new documents.
const WAIT: Duration = Duration::from_secs(1);
/// The first and the longest pause after a failure of the log.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What the follower and the handles of one process share.
pub(crate) struct Shared {
    pub(crate) log: Arc<dyn Log>,
    state: RwLock<State>,
    /// Position behind the last document applied.
    pub(crate) applied: watch::Sender<u64>,
    /// Moves at every change of a sensor type.
    pub(crate) type_changes: watch::Sender<u64>,
    /// What keeps the follower from following.
    obstacle: Mutex<Option<String>>,
}

impl Shared {
    pub(crate) fn new(log: Arc<dyn Log>) -> Self {
        let (applied, type_changes) = (watch::channel(0).0, watch::channel(0).0);
        Self { log, state: RwLock::default(), applied, type_changes, obstacle: Mutex::default() }
    }

    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What keeps the follower from following, in words.
    pub(crate) fn obstacle(&self) -> Option<String> {
        self.obstacle.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_obstacle(&self, obstacle: Option<String>) {
        *self.obstacle.lock().unwrap_or_else(PoisonError::into_inner) = obstacle;
    }

    fn publish(&self, applied: u64) {
        let changes = self.state().type_changes();
        self.type_changes.send_if_modified(|seen| std::mem::replace(seen, changes) != changes);
        self.applied.send_replace(applied);
    }
}

/// The task that follows the topic.
pub(crate) struct Follower {
    shared: Arc<Shared>,
    reader: Box<dyn Reader>,
    /// Position behind the last document applied.
    applied: u64,
    /// The topic's end before the read under way: what is missing up to there, compaction took.
    end_before: u64,
    no_repair_before: Instant,
}

impl Follower {
    /// Reads the topic to its end.
    pub(crate) async fn open(shared: Arc<Shared>) -> Result<Self, PortError> {
        let (state, reader, applied) = replay(&*shared.log, State::default()).await?;
        *shared.state_mut() = state;
        let mut follower = Self { shared, reader, applied, end_before: applied, no_repair_before: Instant::now() };
        follower.settle(applied).await;
        follower.shared.publish(applied);
        Ok(follower)
    }

    /// Follows until it is aborted, or until the log can't be trusted any more.
    pub(crate) async fn run(mut self) {
        let mut pause = PAUSE.0;
        loop {
            match self.step().await {
                Ok(()) => {
                    if self.shared.obstacle().is_some() {
                        tracing::info!("the registry follows its topic again");
                        self.shared.set_obstacle(None);
                    }
                    pause = PAUSE.0;
                }
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    tracing::error!(%error, "the registry stops following its topic");
                    self.shared.set_obstacle(Some(format!("the registry's topic can't be trusted: {error}")));
                    return;
                }
                Err(error) => {
                    if self.shared.obstacle().is_none() {
                        tracing::warn!(%error, "the registry can't follow its topic; it keeps trying");
                    }
                    self.shared.set_obstacle(Some(format!("the registry's topic can't be read: {error}")));
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE.1);
                    self.reopen().await;
                }
            }
        }
    }

    async fn reopen(&mut self) {
        let opened = self.shared.log.reader(&Topic::registry(), Partition(0), Position(self.applied)).await;
        // Where even that fails, the next step meets the old reader's error and comes here again.
        if let Ok(reader) = opened {
            self.reader = reader;
        }
    }

    async fn step(&mut self) -> Result<(), PortError> {
        let deliveries = self.reader.next(DOCUMENTS_MAX, WAIT).await?;
        if deliveries.is_empty() {
            self.applied = self.applied.max(self.end_before);
            self.end_before = end(&*self.shared.log).await?;
        }
        if has_gap(self.applied, &deliveries) {
            let seed = State::after(&self.shared.state());
            let (state, reader, applied) = replay(&*self.shared.log, seed).await?;
            *self.shared.state_mut() = state;
            (self.reader, self.applied) = (reader, applied);
        } else if let Some(last) = deliveries.last() {
            self.applied = last.next_position().0;
            apply(&mut self.shared.state_mut(), decode(deliveries));
        }
        self.shared.publish(self.applied);
        let unsettled = self.shared.state().is_unsettled();
        if unsettled {
            let end = end(&*self.shared.log).await?;
            self.settle(end).await;
            self.shared.publish(self.applied);
        }
        Ok(())
    }

    /// Once at the end of the topic: takes out what belongs to nothing, and appends what the topic should say.
    async fn settle(&mut self, end: u64) {
        if self.applied < end || !self.shared.state().is_unsettled() {
            return;
        }
        let repairs = {
            let mut state = self.shared.state_mut();
            state.settle();
            state.repairs(REPAIRS_MAX)
        };
        if repairs.is_empty() || Instant::now() < self.no_repair_before {
            return;
        }
        tracing::info!(
            documents = repairs.len(),
            "repairing the registry's topic: others wrote the same keys, or a type is gone"
        );
        if let Err(error) = self.shared.log.append(&Topic::registry(), Batch::Documents(repairs)).await {
            tracing::warn!(%error, "the registry's topic can't be repaired now; it is tried again");
            self.no_repair_before = Instant::now() + PAUSE.1;
        }
    }
}

/// Reads the topic from its start to the end it has now.
async fn replay(log: &dyn Log, mut state: State) -> Result<(State, Box<dyn Reader>, u64), PortError> {
    let end = end(log).await?;
    let mut reader = log.reader(&Topic::registry(), Partition(0), Position(0)).await?;
    let mut applied = 0;
    while applied < end {
        let deliveries = reader.next(DOCUMENTS_MAX, WAIT).await?;
        // Nothing more although the end is further on: compaction took the last ones.
        applied = deliveries.last().map_or(end, |last| last.next_position().0);
        apply(&mut state, decode(deliveries));
    }
    Ok((state, reader, applied))
}

async fn end(log: &dyn Log) -> Result<u64, PortError> {
    let extents = log.extents(&Topic::registry()).await?;
    Ok(extents.first().map_or(0, |extent| extent.end.0))
}

fn has_gap(applied: u64, deliveries: &[Delivery]) -> bool {
    let mut expected = applied;
    deliveries.iter().any(|delivery| {
        let gap = delivery.first_position.0 > expected;
        expected = delivery.next_position().0;
        gap
    })
}

/// A document as it was read, or the key of one that can't be and what is wrong with it (nothing any more, where it was removed).
type Decoded = Result<(Position, Entry), (String, Option<String>)>;

fn decode(deliveries: Vec<Delivery>) -> Vec<Decoded> {
    let mut decoded = Vec::new();
    for delivery in deliveries {
        let first = delivery.first_position;
        match delivery.content {
            Content::Documents(documents) => {
                for (document, index) in documents.into_iter().zip(0..) {
                    let entry = document::read(&document).map(|entry| (first.after(index), entry));
                    let fault = |fault| (document.key, document.body.is_some().then_some(fault));
                    decoded.push(entry.map_err(fault));
                }
            }
            Content::Undecodable(undecodable) => {
                decoded.push(Err((format!("position {first}"), Some(undecodable.reason))))
            }
            Content::Readings { .. } | Content::Deletions(_) | Content::Rejudgements(_) => {
                decoded.push(Err((format!("position {first}"), Some("not a document".to_owned()))));
            }
        }
    }
    decoded
}

fn apply(state: &mut State, decoded: Vec<Decoded>) {
    for entry in decoded {
        match entry {
            Ok((position, entry)) => state.apply(position, entry),
            Err((key, None)) => state.forget_fault(&key),
            Err((key, Some(fault))) => {
                tracing::error!(key, fault, "a document of the registry can't be read and is left out");
                state.note_fault(key, fault);
            }
        }
    }
}
