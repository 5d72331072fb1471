//! What a simulation did: printed for a person, written as JSON for a program.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::hub::{Rejection, Retries};
use crate::simulate::Options;
use crate::simulate::faults::{FaultCounts, Faults};

/// The version of the JSON form; it changes when a field changes its meaning or goes.
pub const FORMAT_VERSION: u32 = 1;

/// A simulation's result.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Version of this form: 1.
    pub format_version: u32,
    /// What was asked for, defaults filled in.
    pub settings: Settings,
    /// When posting began by the feeder's clock, RFC 3339 in UTC.
    pub started_at: String,
    /// From the first post to the last answer.
    pub elapsed_seconds: f64,
    /// Whether it was stopped before its end.
    pub stopped_early: bool,
    /// Readings that the hub accepted.
    pub accepted: u64,
    /// Readings that the hub refused.
    pub rejected: u64,
    /// The first of those that differ in more than their index.
    pub rejections: Vec<Rejection>,
    /// Posts that the hub answered with a decision.
    pub requests: u64,
    /// Posts that were sent again, by cause.
    pub retries: Retries,
    /// Accepted readings by elapsed seconds.
    pub accepted_per_second: f64,
    /// Answered posts by elapsed seconds.
    pub requests_per_second: f64,
    /// From sending a post to its whole answer, the attempt that was answered.
    pub latency_ms: Latency,
    /// The longest that a post of a paced run was sent after it was due: beyond the interval, the hub did not keep up.
    pub lag_ms_max: f64,
    /// Faults made.
    pub faults_made: FaultCounts,
    /// When everything was queryable; none when that is not known, see `queryable_unknown`.
    pub queryable: Option<Queryable>,
    /// Why `queryable` is none.
    pub queryable_unknown: Option<String>,
}

/// What a simulation was asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Settings {
    /// The hub's URL.
    pub hub: String,
    /// The type of the sensors.
    pub sensor_type: String,
    /// How many sensors.
    pub sensors: u32,
    /// What their ids begin with.
    pub sensor_prefix: String,
    /// What was posted as fast as possible.
    pub backfill: Option<StepSettings>,
    /// What was posted when due.
    pub live: Option<StepSettings>,
    /// Readings per post.
    pub batch: usize,
    /// Connections used.
    pub connections: usize,
    /// Where chance began.
    pub seed: u64,
    /// How likely each kind of fault was.
    pub faults: Faults,
    /// Whether the sensors were registered first.
    pub registered: bool,
}

/// Phenomenon times one interval apart.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepSettings {
    /// The first one, RFC 3339 in UTC; none is the real time.
    pub start: Option<String>,
    /// How far apart they are.
    pub interval_seconds: f64,
    /// Readings of each sensor; none is until stopped.
    pub readings_per_sensor: Option<u64>,
}

/// Percentiles in milliseconds, to three digits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Latency {
    /// The median.
    pub p50: f64,
    /// 90 of 100 are at most this.
    pub p90: f64,
    /// 99 of 100 are at most this.
    pub p99: f64,
    /// 999 of 1000 are at most this.
    pub p99_9: f64,
    /// The longest.
    pub max: f64,
    /// The mean.
    pub mean: f64,
}

/// The longest latency that is told from longer ones, in microseconds: more than any answer is waited for.
const LATENCY_MAX: u64 = 120_000_000;

/// Makes a histogram of microseconds for [`Latency::of`].
pub fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect("the bounds are constant and in order")
}

impl Latency {
    /// Reads the percentiles from microseconds.
    pub fn of(microseconds: &Histogram<u64>) -> Self {
        let at = |quantile| microseconds.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: microseconds.max() as f64 / 1e3,
            mean: microseconds.mean() / 1e3,
        }
    }
}

/// When everything that the type's topic held was queryable, from the hub's metrics.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Queryable {
    /// From the first post until nothing was pending.
    pub after_seconds: f64,
    /// From the last answer until nothing was pending.
    pub after_last_accepted_seconds: f64,
    /// Readings processed in any way since the first post.
    pub processed: u64,
    /// Of those, stored as new.
    pub stored: u64,
    /// Of those, equal to one stored before.
    pub duplicate: u64,
    /// Of those, merged with one stored before.
    pub revised: u64,
    /// Of those, put to the dead letters.
    pub dead_lettered: u64,
    /// `stored` by `after_seconds`.
    pub stored_per_second: f64,
    /// The most readings seen pending at once.
    pub pending_max: u64,
    /// From accepted to queryable, estimated from the hub's histogram; none beyond its last bound.
    pub freshness_ms: Freshness,
}

/// Quantiles of the freshness in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Freshness {
    /// The median.
    pub p50: Option<f64>,
    /// 99 of 100 are at most this.
    pub p99: Option<f64>,
    /// 999 of 1000 are at most this.
    pub p99_9: Option<f64>,
}

/// Divides a count by a time; 0 for no time.
pub fn per_second(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
}

impl Report {
    /// The report of a run that was stopped before it knew the type of its sensors.
    pub(super) fn of_nothing(options: &Options) -> Self {
        let settings = Settings {
            hub: options.hub.clone(),
            sensor_type: options.sensor_type.clone(),
            sensors: options.sensors,
            sensor_prefix: options.sensor_prefix.clone(),
            batch: options.batch,
            seed: options.seed,
            faults: options.faults,
            ..Settings::default()
        };
        Self {
            format_version: FORMAT_VERSION,
            settings,
            started_at: jiff::Timestamp::now().to_string(),
            stopped_early: true,
            queryable_unknown: Some("stopped".to_owned()),
            ..Self::default()
        }
    }

    /// Writes the report as JSON.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let context = || format!("report `{}`: cannot be written", path.display());
        let mut json = serde_json::to_vec_pretty(self).with_context(context)?;
        json.push(b'\n');
        std::fs::write(path, json).with_context(context)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for rejection in &self.rejections {
            let field = rejection.field_name().unwrap_or("reading");
            writeln!(f, "refused: {field}: `{}`: {}", rejection.value_text(100), rejection.reason)?;
        }
        if self.stopped_early {
            writeln!(f, "stopped before its end")?;
        }
        writeln!(
            f,
            "accepted   {} readings in {:.2} s, {:.0}/s",
            self.accepted, self.elapsed_seconds, self.accepted_per_second
        )?;
        let Retries { too_many_requests, unavailable, network } = self.retries;
        writeln!(f, "rejected   {}", self.rejected)?;
        writeln!(f, "requests   {}, {:.0}/s", self.requests, self.requests_per_second)?;
        writeln!(
            f,
            "retries    {} (too many requests {too_many_requests}, unavailable {unavailable}, network {network})",
            self.retries.total()
        )?;
        let Latency { p50, p90, p99, p99_9, max, .. } = self.latency_ms;
        writeln!(f, "latency    p50 {p50:.3} p90 {p90:.3} p99 {p99:.3} p99.9 {p99_9:.3} max {max:.3} ms")?;
        match (&self.queryable, &self.queryable_unknown) {
            (Some(queryable), _) => queryable.fmt(f),
            (None, reason) => write!(f, "queryable  not known: {}", reason.as_deref().unwrap_or("not asked")),
        }
    }
}

impl fmt::Display for Queryable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |ms: Option<f64>| ms.map_or("not known".to_owned(), |ms| format!("{ms:.0} ms"));
        write!(
            f,
            "queryable  all {:.2} s after the first post, {:.3} s after the last answer: {} stored, {:.0}/s \
             (duplicate {}, revised {}, dead-lettered {}), pending at most {}, freshness p50 {} p99 {}",
            self.after_seconds,
            self.after_last_accepted_seconds,
            self.stored,
            self.stored_per_second,
            self.duplicate,
            self.revised,
            self.dead_lettered,
            self.pending_max,
            shown(self.freshness_ms.p50),
            shown(self.freshness_ms.p99),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_is_told_from_microseconds_to_a_minute() {
        let mut histogram = latency_histogram();
        for microseconds in [50, 5_000, 500_000, 60_000_000] {
            histogram.saturating_record(microseconds);
        }
        let latency = Latency::of(&histogram);
        let near = |shown: f64, ms: f64| assert!((shown / ms - 1.0).abs() < 0.001, "{shown} is not {ms}");
        near(latency.p50, 5.0);
        near(latency.p99, 60_000.0);
        near(latency.max, 60_000.0);
    }
}
