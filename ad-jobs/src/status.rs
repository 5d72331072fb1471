//! What keeps detection from going on, for whoever asks whether it is well.

use std::sync::{Arc, Mutex, PoisonError};

/// What keeps detection from going on at the moment, if anything; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Status(Arc<Mutex<Option<String>>>);

impl Status {
    /// What it waits for, in words for a person; `None` while it goes on.
    pub fn obstacle(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes note; answers whether that is news: it goes on where it did not, or the other way round.
    pub(crate) fn set(&self, obstacle: Option<String>) -> bool {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = now.is_some() != obstacle.is_some();
        *now = obstacle;
        is_news
    }
}
