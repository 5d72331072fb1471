//! A line each second while a simulation runs, on standard error.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::simulate::load::Counters;
use crate::simulate::metrics::MetricsWatch;

/// How far apart the lines are.
const INTERVAL: Duration = Duration::from_secs(1);

/// Shows what all connections do.
pub struct Progress {
    counters: Arc<Counters>,
    began: Instant,
    accepted_before: u64,
    quiet: bool,
}

impl Progress {
    /// Makes the progress of a simulation that began; a quiet one only follows the metrics.
    pub fn new(counters: Arc<Counters>, began: Instant, quiet: bool) -> Self {
        Self { counters, began, accepted_before: 0, quiet }
    }

    /// Shows a line each second, until dropped.
    pub async fn show(&mut self, mut metrics: Option<&mut MetricsWatch>) -> Infallible {
        let mut ticks = tokio::time::interval_at((self.began + INTERVAL).into(), INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let pending = match &mut metrics {
                Some(metrics) => metrics.poll().await.ok().map(|metrics| metrics.pending),
                None => None,
            };
            let line = self.line(pending);
            if !self.quiet {
                eprintln!("{line}");
            }
        }
    }

    fn line(&mut self, pending: Option<u64>) -> String {
        let accepted = self.counters.accepted.load(Ordering::Relaxed);
        let rejected = self.counters.rejected.load(Ordering::Relaxed);
        let retries = self.counters.retries.load(Ordering::Relaxed);
        let seconds = self.began.elapsed().as_secs();
        let since = accepted - std::mem::replace(&mut self.accepted_before, accepted);
        let pending = pending.map_or("not known".to_owned(), |pending| pending.to_string());
        format!(
            "{seconds:>4} s: accepted {accepted} (+{since}), rejected {rejected}, retries {retries}, pending {pending}"
        )
    }
}
