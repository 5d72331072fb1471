//! Quality control: follows the readings of every sensor type in the log, flags each value, labels each reading and writes it to the
//! store.
//!
//! One reading's walk: [`run`] polls it, `plan` judges it by the version of the type it was stamped with (`checks::gross_range`) and puts it
//! into a write with its neighbours, `effects` writes that and appends the dead letters, `consumer` commits position and totals together.
//!
//! Where a type has tests that look beyond the value, `follow` judges what comes in order by what `tails` remembers, before the write; after it,
//! `windowed` reads a slice of rows around each late reading (`judge::Slice`), revises what has other flags now, and tells topic `judged.{type}`.
//!
//! A part of a replay comes as a record among the readings of its sensor and is carried out between them (`rejudge`).
//!
//! **Invariant:** write, then commit: never the other way round. Of each topic, appended = stored + duplicate + revised + dead-lettered
//! + deletion + rejudgement + skipped + pending.

mod aside;
mod consumer;
mod dead_letters;
mod effects;
mod first_readings;
mod flag_metrics;
mod follow;
mod judgement;
pub mod metrics;
mod named;
mod notices;
mod plan;
mod rejudge;
mod retention;
mod retry;
mod status;
mod tails;
mod windowed;

use std::{convert::Infallible, sync::Arc, time::Duration};

use ports::{Clock, Log, PortError, Store};
use registry::Registry;
use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
    time::sleep,
};

pub use consumer::GROUP;
pub use metrics::Metrics;
pub use retry::Backoff;
pub use status::Status;

use crate::{
    consumer::{POLL_WAIT, Worker},
    metrics::Progress,
    retry::{Failure, Retry, stopped},
};

/// What quality control works on.
#[derive(Clone)]
pub struct Ports {
    /// Where readings come from and dead letters go to.
    pub log: Arc<dyn Log>,
    /// Where judged readings go to.
    pub store: Arc<dyn Store>,
    /// The sensor types and sensors.
    pub registry: Registry,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
}

/// How quality control works.
#[derive(Debug, Clone)]
pub struct Config {
    /// About the most records in one poll, and in one write to the store; while they are written, as many more may be polled.
    pub records_max: usize,
    /// How long a poll waits for records: also how soon a new sensor type flows and a stop is noticed.
    pub poll_wait: Duration,
    /// Pauses while the log or the store is away.
    pub backoff: Backoff,
    /// Time between two looks at how far the log has grown, for the metrics.
    pub refresh_interval: Duration,
    /// Time between two rounds of retention.
    pub retention_interval: Duration,
    /// How long the batch in hand may take after the stop signal; then it is left for the next start.
    pub stop_wait_max: Duration,
    /// Tells whoever keeps a clone what keeps quality control from going on.
    pub status: Status,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            records_max: 32_768,
            poll_wait: POLL_WAIT,
            backoff: Backoff::default(),
            refresh_interval: Duration::from_millis(250),
            retention_interval: Duration::from_secs(3600),
            stop_wait_max: Duration::from_secs(5),
            status: Status::default(),
        }
    }
}

/// Why quality control ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log or the store answered what no retry mends, and nothing goes on without.
    #[error("quality control can't go on: {0}")]
    Port(#[from] PortError),
    /// One of its tasks ended early.
    #[error("quality control can't go on: one of its tasks ended early")]
    Task(#[from] JoinError),
}

/// The counters of promise 1 in a process that does not judge readings and is asked how far those who do are.
#[derive(Clone)]
pub struct ProgressReport(Progress);

impl ProgressReport {
    /// Makes the counters and registers them.
    ///
    /// # Errors
    /// Where they are registered already.
    pub fn register(metrics: &prometheus::Registry) -> prometheus::Result<Self> {
        Progress::register(metrics).map(Self)
    }

    /// Keeps the counters in line with the log, for ever.
    pub async fn run(self, log: Arc<dyn Log>, registry: Registry, interval: Duration) -> Infallible {
        consumer::refresh(log, registry, self.0, interval).await
    }
}

/// Judges readings until the stop signal: finishes the batch in hand, commits, returns. What can't be processed is put aside and tried again,
/// while all else goes on.
///
/// # Errors
/// [`Error::Port`] where it can't begin; [`Error::Task`].
pub async fn run(ports: Ports, config: Config, metrics: &Metrics, stop: watch::Receiver<bool>) -> Result<(), Error> {
    let ports = Arc::new(ports);
    // Both end with this function, because the set aborts its tasks when it is dropped.
    let mut companions = JoinSet::new();
    let (log, registry, progress) = (Arc::clone(&ports.log), ports.registry.clone(), metrics.progress().clone());
    companions.spawn(consumer::refresh(log, registry, progress, config.refresh_interval));
    let (store, registry, clock) = (Arc::clone(&ports.store), ports.registry.clone(), Arc::clone(&ports.clock));
    companions.spawn(retention::run(store, registry, clock, config.retention_interval));
    let retry = Retry::new(config.backoff, config.status.clone(), stop.clone());
    let work = async {
        match Worker::join(&ports, &config, metrics, retry).await {
            Ok(worker) => worker.work().await,
            Err(Failure::Stopped) => Ok(()),
            Err(Failure::Port(error)) => Err(error),
        }
    };
    let out_of_time = async {
        stopped(stop).await;
        sleep(config.stop_wait_max).await;
    };
    tokio::select! {
        ended = work => Ok(ended?),
        Some(ended) = companions.join_next() => match ended? {},
        () = out_of_time => {
            tracing::warn!("the batch in hand is left for the next start: the log or the store takes too long");
            Ok(())
        }
    }
}
