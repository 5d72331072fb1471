//! What Prometheus is told of detection by the process that did it.

use std::time::Duration;

use domain::{AnomalyKind, Run, RunState, SensorTypeId};
use ports::{Effect, Recorded};
use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGaugeVec, Opts};

/// Windows that were scanned because something arrived in them, by sensor type and state: `done`, or `failed` and tried again.
pub const RUNS: &str = "iot_hub_detection_runs_total";
/// Runs that were asked for and have ended, by sensor type and state: `done`, `failed`, `cancelled`.
pub const REQUESTED: &str = "iot_hub_detection_requested_runs_total";
/// Anomalies that were not known before, by sensor type and kind.
pub const ANOMALIES: &str = "iot_hub_detection_anomalies_total";
/// Values that were judged, by sensor type.
pub const POINTS: &str = "iot_hub_detection_points_total";
/// Datastreams that were looked at, by sensor type.
pub const DATASTREAMS: &str = "iot_hub_detection_datastreams_total";
/// Datastreams that could not be judged, by sensor type and reason.
pub const FAILURES: &str = "iot_hub_detection_failures_total";
/// How long a run takes, in seconds.
pub const DURATION: &str = "iot_hub_detection_run_duration_seconds";
/// How long the oldest window has been due that is not scanned yet, in seconds, by sensor type and share; 0 where none is.
pub const LAG: &str = "iot_hub_detection_lag_seconds";

/// The metrics of detection in one process; clones share them.
#[derive(Clone)]
pub struct Metrics {
    runs: IntCounterVec,
    requested: IntCounterVec,
    anomalies: IntCounterVec,
    points: IntCounterVec,
    datastreams: IntCounterVec,
    failures: IntCounterVec,
    duration: Histogram,
    lag: IntGaugeVec,
}

impl Metrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// Where they are registered already.
    pub fn register(registry: &prometheus::Registry) -> prometheus::Result<Self> {
        let counter = |name, help, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let duration = HistogramOpts::new(DURATION, "Duration of one run of detection")
            .buckets(prometheus::exponential_buckets(0.01, 4.0, 9)?);
        let lag = Opts::new(LAG, "How long the oldest window has been due that is not scanned yet");
        let metrics = Self {
            runs: counter(RUNS, "Runs of detection by this process", &["sensor_type", "state"])?,
            requested: counter(
                REQUESTED,
                "Runs that were asked for and that this process ended",
                &["sensor_type", "state"],
            )?,
            anomalies: counter(ANOMALIES, "Anomalies found first by this process", &["sensor_type", "kind"])?,
            points: counter(POINTS, "Values judged by detection", &["sensor_type"])?,
            datastreams: counter(DATASTREAMS, "Datastreams that detection looked at", &["sensor_type"])?,
            failures: counter(FAILURES, "Datastreams that detection could not judge", &["sensor_type", "reason"])?,
            duration: Histogram::with_opts(duration)?,
            lag: IntGaugeVec::new(lag, &["sensor_type", "share"])?,
        };
        let Self { runs, requested, anomalies, points, datastreams, failures, .. } = &metrics;
        for counter in [runs, requested, anomalies, points, datastreams, failures] {
            registry.register(Box::new(counter.clone()))?;
        }
        registry.register(Box::new(metrics.duration.clone()))?;
        registry.register(Box::new(metrics.lag.clone()))?;
        Ok(metrics)
    }

    /// Takes note of what became of anomalies.
    pub(crate) fn found(&self, recorded: &[Recorded]) {
        for Recorded { kept, .. } in recorded.iter().filter(|recorded| recorded.effect == Effect::New) {
            let kind = match kept.kind {
                AnomalyKind::Point => "point",
                AnomalyKind::Outage => "outage",
                AnomalyKind::LevelShift => "level-shift",
            };
            self.anomalies.with_label_values(&[kept.sensor_type.as_str(), kind]).inc();
        }
    }

    /// Takes note of a run that is done.
    pub(crate) fn done(&self, run: &Run, took: Duration) {
        let sensor_type = run.sensor_type.as_str();
        self.runs.with_label_values(&[sensor_type, "done"]).inc();
        self.points.with_label_values(&[sensor_type]).inc_by(run.points);
        self.datastreams.with_label_values(&[sensor_type]).inc_by(run.datastreams_done);
        for (reason, count) in &run.failures {
            self.failures.with_label_values(&[sensor_type, reason.as_str()]).inc_by(*count);
        }
        self.duration.observe(took.as_secs_f64());
    }

    /// Takes note of a run that was asked for and has ended.
    pub(crate) fn requested(&self, run: &Run) {
        let state = match run.state {
            RunState::Done => "done",
            RunState::Cancelled => "cancelled",
            RunState::Failed => "failed",
            RunState::Waiting | RunState::Running => return,
        };
        self.requested.with_label_values(&[run.sensor_type.as_str(), state]).inc();
    }

    /// Takes note of a run that broke off.
    pub(crate) fn failed(&self, sensor_type: &SensorTypeId) {
        self.runs.with_label_values(&[sensor_type.as_str(), "failed"]).inc();
    }

    /// Takes note of how long a share's next window has been due.
    pub(crate) fn lag(&self, sensor_type: &SensorTypeId, share: u32, lag: Duration) {
        let seconds = i64::try_from(lag.as_secs()).unwrap_or(i64::MAX);
        self.lag.with_label_values(&[sensor_type.as_str(), &share.to_string()]).set(seconds);
    }
}
