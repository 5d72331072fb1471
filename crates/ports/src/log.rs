//! The log: ordered, durable records by topic, and the groups that work through them.

use std::{ops::Add, sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{Deletion, Partition, Position, Readings, Rejudgement, Timestamp, Topic, TypeVersion};

use crate::{
    PortError,
    progress::{Mark, Progress},
};

/// Ordered, durable records by topic.
///
/// * A topic has partitions, numbered from 0. The records of one sensor (or document key) are all in one partition. Positions
///   in a partition are dense: the first record has 0, each next one more; none is used twice, not even after a crash or
///   after retention took the record.
/// * **Durability**: what [`append`](Self::append) answered survives any crash of process or machine. A batch is appended
///   whole or not at all per partition. Before the answer nothing of it is delivered.
/// * **Acceptance time**: the log stamps each record with `accepted_at`; within a partition it never goes back, even where the
///   clock does, unless from a time more than a day ahead of the clock, which a wrong clock gave. While the clock is not
///   [believed](crate::Clock::believed), `append` answers `Unavailable` and retention takes nothing.
/// * **Retention**: records of a [`TopicKind::Records`] topic may go once they are older than its retention *and* every group
///   that ever committed there has read them. One stamped more than a day ahead of the clock is as old as the time it was seen first. Of a [`TopicKind::Documents`] topic the newest document per key is kept for ever.
/// * **Bounds**: where a bound (queue, size, disk) is reached, `append` answers `Full`, `Unavailable` or `DiskFull` and has
///   appended nothing.
#[async_trait]
pub trait Log: Send + Sync {
    /// Creates a topic; one that exists already is left as it is. Idempotent.
    ///
    /// # Errors
    /// `Unavailable` or `DiskFull`; `Conflict` where it exists as another kind.
    async fn create_topic(&self, topic: &Topic, kind: TopicKind) -> Result<(), PortError>;

    /// Removes a topic with its records and the positions of its groups. Idempotent. A topic created later under the same name starts
    /// behind the positions of the removed one, never at one that was used.
    ///
    /// # Errors
    /// `Unavailable` or `DiskFull`.
    async fn delete_topic(&self, topic: &Topic) -> Result<(), PortError>;

    /// Appends a batch in order and answers when it is durable.
    ///
    /// # Errors
    /// `NotFound` for an unknown topic; `Full`, `Unavailable`, `DiskFull`: nothing was appended, or (a crash in between)
    /// nobody knows, so that the caller may try again because a reading has one effect; `Failed` when writes have failed for good.
    async fn append(&self, topic: &Topic, batch: Batch) -> Result<Appended, PortError>;

    /// Opens a reader of one partition, at `from` or, where that is gone, at the first record still there.
    ///
    /// # Errors
    /// `NotFound` for an unknown topic or partition, `Unavailable`.
    async fn reader(&self, topic: &Topic, partition: Partition, from: Position) -> Result<Box<dyn Reader>, PortError>;

    /// Opens a member of a consumer group, subscribed to nothing yet.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn consumer(&self, group: &str) -> Result<Box<dyn Consumer>, PortError>;

    /// What each partition of a topic holds, by partition number.
    ///
    /// # Errors
    /// `NotFound` for an unknown topic, `Unavailable`.
    async fn extents(&self, topic: &Topic) -> Result<Vec<Extent>, PortError>;

    /// What a group has committed on a topic, by partition number; the default where it has committed nothing.
    ///
    /// # Errors
    /// `NotFound` for an unknown topic, `Unavailable`.
    async fn committed(&self, group: &str, topic: &Topic) -> Result<Vec<Committed>, PortError>;

    /// How far the topics of records are, and a group on them: of all that have changed since `since` was answered, the default of which is
    /// the beginning. Others may be among them; removed ones are not. Costs no more than what has changed, where the log can know that.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn progress(&self, group: &str, since: Mark) -> Result<Progress, PortError>;

    /// Says whether appends can be taken now.
    ///
    /// # Errors
    /// The error that an append would meet.
    async fn ready(&self) -> Result<(), PortError>;
}

/// What a topic holds and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicKind {
    /// Readings, deletions and rejudgements, kept for the log's retention.
    Records,
    /// Documents with a key; the newest of each key is kept for ever (compaction). One partition.
    Documents,
    /// Documents kept for the log's retention, whatever their key. One partition.
    Notices,
}

/// What is appended in one call.
#[derive(Debug, Clone, PartialEq)]
pub enum Batch {
    /// Readings, all stamped with one version of their sensor type.
    Readings {
        /// The version ingest checked them by.
        type_version: TypeVersion,
        /// The readings.
        readings: Readings,
    },
    /// Deletions of ranges of readings.
    Deletions(Vec<Deletion>),
    /// Stretches of readings to be judged again.
    Rejudgements(Vec<Rejudgement>),
    /// Documents, for topics that hold such.
    Documents(Vec<Document>),
}

impl Batch {
    /// How many records it makes.
    pub fn len(&self) -> usize {
        match self {
            Self::Readings { readings, .. } => readings.len(),
            Self::Deletions(deletions) => deletions.len(),
            Self::Rejudgements(rejudgements) => rejudgements.len(),
            Self::Documents(documents) => documents.len(),
        }
    }

    /// Says whether it makes none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A text under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The key, at most 512 bytes.
    pub key: String,
    /// The document; `None` removes the key.
    pub body: Option<Arc<[u8]>>,
}

/// Where an append ended up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The acceptance time of its records (the latest, where partitions differ).
    pub accepted_at: Timestamp,
    /// Position of the batch's first record in its partition; for topics of one partition.
    pub first_position: Position,
}

/// First and next position of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The partition.
    pub partition: Partition,
    /// Position of the oldest record still there; `end` where there is none.
    pub start: Position,
    /// Position the next record gets: as many records were ever appended.
    pub end: Position,
}

/// Consecutive records of one partition, with one acceptance time.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// Their topic.
    pub topic: Topic,
    /// Their partition.
    pub partition: Partition,
    /// Position of the first; the others follow without a gap.
    pub first_position: Position,
    /// When the log took them.
    pub accepted_at: Timestamp,
    /// What they are.
    pub content: Content,
}

impl Delivery {
    /// The position behind the last record.
    pub fn next_position(&self) -> Position {
        self.first_position.after(self.content.len() as u64)
    }
}

/// What delivered records are.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Readings stamped with one type version; `None` where another program wrote them: judged by the newest.
    Readings {
        /// The version ingest checked them by.
        type_version: Option<TypeVersion>,
        /// The readings. Their properties are those the writer knew, in its order.
        readings: Readings,
    },
    /// Deletions.
    Deletions(Vec<Deletion>),
    /// Stretches of readings to be judged again.
    Rejudgements(Vec<Rejudgement>),
    /// Documents. In a compacted topic each is delivered alone, at its position; positions of replaced ones are skipped.
    Documents(Vec<Document>),
    /// Records nobody can read.
    Undecodable(Undecodable),
}

impl Content {
    /// How many records these are.
    pub fn len(&self) -> usize {
        match self {
            Self::Readings { readings, .. } => readings.len(),
            Self::Deletions(deletions) => deletions.len(),
            Self::Rejudgements(rejudgements) => rejudgements.len(),
            Self::Documents(documents) => documents.len(),
            Self::Undecodable(undecodable) => undecodable.count as usize,
        }
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Records whose bytes make no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecodable {
    /// How many positions they take.
    pub count: u32,
    /// Their bytes, at most the first 64 KiB.
    pub bytes: Vec<u8>,
    /// What is wrong with them.
    pub reason: String,
}

/// Reads one partition in order.
#[async_trait]
pub trait Reader: Send {
    /// The next records, up to about `records_max` (a batch is not cut); waits up to `wait` where there are none yet, then answers
    /// with none. In position order; positions are missing only where compaction or retention took them.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`; `NotFound` when the topic was removed.
    async fn next(&mut self, records_max: usize, wait: Duration) -> Result<Vec<Delivery>, PortError>;
}

/// A member of a group that shares the partitions of its topics.
///
/// Each partition is with one member at a time. A partition new to this member starts at the group's committed position. Members
/// work side by side: while a group shares out its partitions, what is asked of one may wait until the others were polled or dropped.
#[async_trait]
pub trait Consumer: Send {
    /// Sets the topics this member works on; unknown topics are joined when they appear.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn subscribe(&mut self, topics: &[Topic]) -> Result<(), PortError>;

    /// The next records of its partitions, up to about `records_max` in all (a batch is not cut); waits up to `wait` where there are none,
    /// then answers with none. Those of one partition follow each other in the answer, in position order. Partitions take turns, and one
    /// without records costs nothing. What was polled before need not be committed yet; its partition may be taken away, and even come back
    /// from another member, while this waits.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`. Where one partition can't be read, the error names it and later polls answer with the others for a while.
    async fn poll(&mut self, records_max: usize, wait: Duration) -> Result<Vec<Delivery>, PortError>;

    /// What the group had committed when this member got the partition, or what this member committed since.
    fn committed(&self, topic: &Topic, partition: Partition) -> Committed;

    /// Saves position and totals together, of any number of partitions at once; answers one by one, in order. A commit never outlives, in any
    /// crash, a store write that returned before it.
    ///
    /// # Errors
    /// Of each: `Conflict` where the partition is another member's by now: what was done since the last commit is done again there;
    /// `Unavailable`, `DiskFull`, `Failed`.
    async fn commit_all(&mut self, commits: &[(Topic, Committed)]) -> Vec<Result<(), PortError>>;

    /// The same for one partition.
    ///
    /// # Errors
    /// As [`commit_all`](Self::commit_all).
    async fn commit(&mut self, topic: &Topic, committed: Committed) -> Result<(), PortError> {
        let answers = self.commit_all(&[(topic.clone(), committed)]).await;
        answers.into_iter().next().unwrap_or(Ok(()))
    }

    /// Goes back to the committed position of one partition, after a failure: what was polled of it since is delivered again, after `pause`.
    /// All other partitions go on. Nothing comes of it where the partition is not this member's.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn hold_back(&mut self, topic: &Topic, partition: Partition, pause: Duration) -> Result<(), PortError>;
}

/// How far a group is on a partition and what became of the records before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Committed {
    /// The partition.
    pub partition: Partition,
    /// The next position to read.
    pub position: Position,
    /// What became of all records before it; its [`sum`](Totals::sum) is `position`.
    pub totals: Totals,
}

/// What became of the records of a partition: promise 1 in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Made a new row.
    pub stored: u64,
    /// Changed nothing.
    pub duplicate: u64,
    /// Changed a row.
    pub revised: u64,
    /// Went to the dead letters.
    pub dead_lettered: u64,
    /// Were deletions, and applied.
    pub deletion: u64,
    /// Had stored readings judged again.
    pub rejudgement: u64,
    /// Were gone before the group read them: a topic that started behind its first position.
    pub skipped: u64,
}

impl Totals {
    /// All records accounted for.
    pub fn sum(&self) -> u64 {
        let of_readings = self.stored + self.duplicate + self.revised + self.dead_lettered;
        of_readings + self.deletion + self.rejudgement + self.skipped
    }
}

impl Add for Totals {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            stored: self.stored + other.stored,
            duplicate: self.duplicate + other.duplicate,
            revised: self.revised + other.revised,
            dead_lettered: self.dead_lettered + other.dead_lettered,
            deletion: self.deletion + other.deletion,
            rejudgement: self.rejudgement + other.rejudgement,
            skipped: self.skipped + other.skipped,
        }
    }
}
