//! How far topics are, and groups on them.

use domain::Topic;

use crate::{Committed, Extent};

/// A moment in the life of a log, by which it tells what has changed since; the default is before everything. It means nothing to another
/// log, nor to the same one after it was opened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark(pub u64);

/// What has changed since a mark.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    /// The mark to ask by the next time.
    pub mark: Mark,
    /// Each topic that has changed, once.
    pub standings: Vec<Standing>,
}

/// How far a topic of records is, and a group on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The topic.
    pub topic: Topic,
    /// What each partition holds, by partition number.
    pub extents: Vec<Extent>,
    /// What the group has committed, by partition number; the default where it has committed nothing.
    pub committed: Vec<Committed>,
}

impl Standing {
    /// How many records the group has not read. Those that are gone do not count.
    pub fn pending(&self) -> u64 {
        let unread = |(extent, committed): (&Extent, &Committed)| {
            extent.end.0.saturating_sub(committed.position.max(extent.start).0)
        };
        self.extents.iter().zip(&self.committed).map(unread).sum()
    }
}
