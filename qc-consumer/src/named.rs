//! Which topics have series of their own in the metrics: the first to come, up to a bound; all others share one.
//!
//! **Invariant:** a topic keeps its name, or the lack of one, for as long as the process lives, so that no counter goes back.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use domain::Topic;

/// The most topics with series of their own.
pub(crate) const TOPICS_MAX: usize = 1_000;
/// Stands for all others: no name has a parenthesis.
pub(crate) const OTHERS: &str = "(others)";

/// The topics with names; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Named(Arc<Mutex<HashSet<Topic>>>);

impl Named {
    /// The name under which a topic is counted.
    pub(crate) fn name<'a>(&self, topic: &'a Topic) -> &'a str {
        let mut named = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_named = named.contains(topic) || named.len() < TOPICS_MAX && named.insert(topic.clone());
        if is_named { topic.as_str() } else { OTHERS }
    }
}
