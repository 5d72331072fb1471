//! Replays: stored readings are judged again, part by part, through the log.
//!
//! A replay is cut into parts, each a record among the readings of its sensor, which quality control carries out between them and tells of in
//! topic `replay-parts`. How far a replay is stands in the compacted topic `replays`, under its id.
//!
//! **Invariant:** only so many parts are on their way that readings do not wait long behind them. A replay runs in the process that took it:
//! where that ends, no more parts are appended, and the replay is shown as interrupted.

mod parts;
mod record;
mod run;

use std::sync::Arc;

use ports::{ErrorKind, PortError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use record::{Replay, Scope, State};

pub(crate) use record::{at_random, cancel, list, save};
pub(crate) use run::run;

/// The most replays that run at once in a process.
pub(crate) const RUNNING_MAX: usize = 4;

/// How many replays may still begin.
#[derive(Clone)]
pub(crate) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(RUNNING_MAX)))
    }
}

impl Room {
    /// Room for one more; `None` where there is none now.
    pub(crate) fn take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).try_acquire_owned().ok()
    }
}

/// Takes a topic that is not there for an empty one.
fn or_none<T>(found: Result<T, PortError>) -> Result<Option<T>, PortError> {
    match found {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}
