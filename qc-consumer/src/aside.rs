//! Partitions that can't be processed now: each is left alone for a growing pause, while all others go on.
//!
//! **Invariant:** what is put aside is not committed, and is delivered again from the committed position after the pause.

use std::{collections::HashMap, time::Duration};

use domain::{Partition, Topic};
use ports::{ErrorKind, PortError};

use crate::{Backoff, Status};

/// What is put aside at the moment.
pub(crate) struct Aside {
    backoff: Backoff,
    status: Status,
    /// The pause after the next failure of each.
    pauses: HashMap<(Topic, Partition), Duration>,
}

impl Aside {
    /// Nothing is put aside yet.
    pub(crate) fn new(backoff: Backoff, status: Status) -> Self {
        Self { backoff, status, pauses: HashMap::new() }
    }

    /// Puts a partition aside because of an error; answers for how long.
    pub(crate) fn put(&mut self, topic: &Topic, partition: Partition, error: &PortError) -> Duration {
        if is_lost(error) {
            tracing::warn!(%topic, %partition, %error, "going back to what is committed: the partition or its topic changed hands");
            return self.backoff.first;
        }
        let next = self.pauses.entry((topic.clone(), partition)).or_insert(self.backoff.first);
        let pause = *next;
        *next = (pause * 2).min(self.backoff.longest);
        if pause == self.backoff.first {
            if error.is_transient() {
                tracing::warn!(%topic, %partition, %error, "records wait; they are tried again until it works, and all others go on");
            } else {
                tracing::error!(%topic, %partition, %error, "records can't be processed; they are tried again, and all others go on");
            }
        }
        self.status.set(&part(topic, partition), Some(format!("`{topic}`, partition {partition}: {error}")));
        pause
    }

    /// Takes note that a partition goes on.
    pub(crate) fn goes_on(&mut self, topic: &Topic, partition: Partition) {
        if !self.pauses.is_empty() && self.pauses.remove(&(topic.clone(), partition)).is_some() {
            tracing::info!(%topic, %partition, "records are processed again");
            self.status.set(&part(topic, partition), None);
        }
    }

    /// Forgets what is put aside of other topics than these.
    pub(crate) fn keep_only(&mut self, is_kept: impl Fn(&Topic) -> bool) {
        let status = &self.status;
        self.pauses.retain(|(topic, partition), _| {
            let kept = is_kept(topic);
            if !kept {
                status.set(&part(topic, *partition), None);
            }
            kept
        });
    }
}

fn part(topic: &Topic, partition: Partition) -> String {
    format!("{topic}/{partition}")
}

/// Says whether what was polled is to be polled again, by whoever has the partition now.
fn is_lost(error: &PortError) -> bool {
    error.kind() == ErrorKind::Conflict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_begin_anew() {
        let status = Status::default();
        let (first, longest) = (Duration::from_millis(100), Duration::from_millis(300));
        let mut aside = Aside::new(Backoff { first, longest }, status.clone());
        let (topic, partition) = (Topic::from_name("readings.t"), Partition(1));
        let away = PortError::new(ErrorKind::Unavailable, "away");
        let pauses: Vec<_> = (0..4).map(|_| aside.put(&topic, partition, &away).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 300, 300]);
        assert_eq!(status.obstacle().as_deref(), Some("`readings.t`, partition 1: away"));
        aside.goes_on(&topic, Partition(0));
        assert!(status.obstacle().is_some());
        aside.goes_on(&topic, partition);
        assert_eq!((status.obstacle(), aside.put(&topic, partition, &away)), (None, first));
        aside.keep_only(|_| false);
        assert_eq!(status.obstacle(), None);
    }

    #[test]
    fn a_partition_that_changed_hands_is_no_obstacle() {
        let status = Status::default();
        let mut aside = Aside::new(Backoff::default(), status.clone());
        let lost = PortError::new(ErrorKind::Conflict, "another has it");
        assert_eq!(aside.put(&Topic::from_name("readings.t"), Partition(0), &lost), Backoff::default().first);
        assert_eq!(status.obstacle(), None);
    }
}
