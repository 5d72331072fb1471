//! What the contracts need of a backend that they run on.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{Log, ManualClock, Store};

/// A log and a store under test, alone in a place of their own, and what a test may do to them.
///
/// Handles that [`log`](Self::log) and [`store`](Self::store) gave out, with their readers, consumers and scans, are dropped by the
/// contracts before they call [`reopen`](Self::reopen) or [`disturb`](Self::disturb).
#[async_trait]
pub trait Backend: Send + Sync + Sized + 'static {
    /// Opens an empty one.
    async fn start(settings: Settings) -> Self;

    /// The log.
    fn log(&self) -> Arc<dyn Log>;

    /// The store.
    fn store(&self) -> Arc<dyn Store>;

    /// The clock that the log goes by.
    fn clock(&self) -> Arc<ManualClock>;

    /// Ends it and opens it again in the same place. One that lives in memory goes on.
    async fn reopen(&mut self, ending: Ending);

    /// Does at once what the log does from time to time: applies retention and compaction.
    async fn maintain(&self) {}

    /// Does something between two operations of a test that nobody may notice, such as to flush, to merge, or to close and
    /// open again; `step` counts the calls.
    async fn disturb(&mut self, step: u64) {
        let _ = step;
    }
}

/// What a contract wants of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long it keeps records.
    pub retention: Duration,
    /// Whether its bound is to be so low that fewer than 500,000 readings of one value each reach it.
    pub small: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { retention: Duration::from_secs(7 * 24 * 3600), small: false }
    }
}

/// How a backend ends before it is opened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It is closed.
    Closed,
    /// Its process is killed: what it had not yet made safe is gone.
    Killed,
}

impl Ending {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Closed, Self::Killed];
}
