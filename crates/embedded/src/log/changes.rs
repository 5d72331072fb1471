//! Which topics of records have changed, in the order of their last change, so that whoever follows them asks for nothing twice.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

use ports::{Mark, TopicKind};

use super::topics::TopicState;

/// Counts changes and remembers the last one of each topic.
#[derive(Default)]
pub(crate) struct Changes(Mutex<Last>);

#[derive(Default)]
struct Last {
    count: u64,
    topics: BTreeMap<u64, Arc<TopicState>>,
}

impl Changes {
    /// Takes note that a topic, or what a group has committed there, has changed.
    pub fn touch(&self, topic: &Arc<TopicState>) {
        if topic.kind != TopicKind::Records {
            return;
        }
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.count += 1;
        let (now, before) = (last.count, topic.changed.swap(last.count, Ordering::Relaxed));
        last.topics.remove(&before);
        last.topics.insert(now, Arc::clone(topic));
    }

    /// Forgets a removed topic.
    pub fn forget(&self, topic: &TopicState) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).topics.remove(&topic.changed.load(Ordering::Relaxed));
    }

    /// The topics that have changed since a mark, and the mark of now.
    pub fn since(&self, mark: Mark) -> (Mark, Vec<Arc<TopicState>>) {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let topics = last.topics.range(mark.0.saturating_add(1)..).map(|(_, topic)| Arc::clone(topic));
        (Mark(last.count), topics.collect())
    }
}
