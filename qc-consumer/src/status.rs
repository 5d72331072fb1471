//! What keeps quality control from going on, for whoever asks whether it is well.

use std::sync::{Arc, Mutex, PoisonError};

/// What keeps the consumer from going on at the moment, if anything; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Status(Arc<Mutex<Option<String>>>);

impl Status {
    /// What it waits for, in words for a person; `None` while it goes on.
    pub fn obstacle(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, obstacle: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = obstacle;
    }
}
