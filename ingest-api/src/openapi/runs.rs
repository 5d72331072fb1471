//! The shapes of runs of a detector and of anomalies.

use std::collections::BTreeMap;

use utoipa::ToSchema;

use super::detection::RunDetection;

/// A run that is asked for.
#[derive(ToSchema)]
#[schema(example = json!({
    "sensor_type": "emb", "sensor_ids": ["emb3"], "properties": ["sec"], "from": "2017-02-01T00:00:00Z", "to": "2017-03-01T00:00:00Z",
    "detection": {"alpha": 0.01}, "dry": true
}))]
pub struct RunRequest {
    /// Id of the sensor type.
    pub sensor_type: String,
    /// Only these sensors, at most 1,000; all of the type where it is left out.
    #[schema(nullable = false)]
    pub sensor_ids: Option<Vec<String>>,
    /// Only these properties; all of the type where it is left out.
    #[schema(nullable = false)]
    pub properties: Option<Vec<String>>,
    /// First phenomenon time, inclusive.
    pub from: String,
    /// Last phenomenon time, exclusive.
    pub to: String,
    /// The detector: `s-h-esd`, which is also the one if not given.
    #[schema(nullable = false)]
    pub detector: Option<String>,
    /// Settings that count before those of the type and its properties.
    #[schema(required = false)]
    pub detection: RunDetection,
    /// Whether nothing is recorded: the run itself shows what it would record.
    #[schema(required = false)]
    pub dry: bool,
}

/// A page of runs.
#[derive(ToSchema)]
pub struct RunsPage {
    /// Those that started last first, without what dry ones have found.
    pub items: Vec<Run>,
    /// What to send as `cursor` for the next page; null behind the last.
    pub next_cursor: Option<String>,
}

/// One execution of a detector.
#[derive(ToSchema)]
#[schema(example = json!({
    "id": "emb-644b2a1d3c900-1b7f03ac", "detector": "s-h-esd", "detector_version": 1, "settings": "5b18f4ffbed21548",
    "parameters": {"sec": {"mode": "guarded", "history": 672, "max_anoms": 0.2, "alpha": 0.01}},
    "sensor_type": "emb", "from": "2017-02-01T00:00:00Z", "to": "2017-03-01T00:00:00Z", "trigger": "request", "dry": true, "state": "done",
    "started_at": "2026-11-25T20:00:01Z", "ended_at": "2026-11-25T20:00:02Z", "datastreams": 1, "datastreams_done": 1, "points": 672,
    "anomalies": 1, "cancel_requested": false,
    "request": {"sensor_ids": ["emb3"], "properties": ["sec"], "detection": {"alpha": 0.01}},
    "found": [{
        "id": "emb3/sec/2017-02-08T15:00:00Z/s-h-esd/0d1f9be6c2d2a3a1", "sensor_type": "emb", "sensor_id": "emb3", "property": "sec",
        "phenomenon_time": "2017-02-08T15:00:00Z", "kind": "point", "value": 904, "expected": 845, "score": 0.93, "severity": "high",
        "detector": "s-h-esd", "detector_version": 1, "settings": "0d1f9be6c2d2a3a1", "run": "emb-644b2a1d3c900-1b7f03ac",
        "found_at": "2026-11-25T20:00:02Z"
    }]
}))]
pub struct Run {
    /// Its id.
    pub id: String,
    /// Name of the detector.
    pub detector: String,
    /// Its version; 0 until the run has begun.
    pub detector_version: u32,
    /// What tells its settings from others; empty until the run has begun.
    pub settings: String,
    /// The settings by property; empty until the run has begun.
    pub parameters: BTreeMap<String, serde_json::Value>,
    /// Id of the sensor type.
    pub sensor_type: String,
    /// Of a scheduled run which share of the sensors.
    #[schema(nullable = false)]
    pub share: Option<u32>,
    /// From when: of a scheduled run acceptance times, of one that was asked for phenomenon times.
    pub from: String,
    /// To when, exclusive.
    pub to: String,
    /// Why it runs.
    pub trigger: Trigger,
    /// Whether nothing is recorded.
    pub dry: bool,
    /// How far it is.
    pub state: RunState,
    /// When it started; of one that waits, when it was asked for.
    pub started_at: String,
    /// When it ended.
    #[schema(nullable = false)]
    pub ended_at: Option<String>,
    /// How many datastreams it has to look at.
    pub datastreams: u64,
    /// How many of them it is done with.
    pub datastreams_done: u64,
    /// How many values it has judged.
    pub points: u64,
    /// How many anomalies it has found, known ones among them.
    pub anomalies: u64,
    /// How many datastreams could not be judged, by reason; why the run failed.
    #[schema(required = false)]
    pub failures: BTreeMap<String, u64>,
    /// Whether somebody asked it to stop.
    pub cancel_requested: bool,
    /// Of a run that was asked for, what was asked for.
    #[schema(nullable = false)]
    pub request: Option<Request>,
    /// Of a dry run what it would have recorded, at most 1,000, by phenomenon time.
    #[schema(required = false)]
    pub found: Vec<Anomaly>,
}

/// What a run was asked to look at, and how.
#[derive(ToSchema)]
pub struct Request {
    /// Only these sensors.
    #[schema(nullable = false)]
    pub sensor_ids: Option<Vec<String>>,
    /// Only these properties.
    #[schema(nullable = false)]
    pub properties: Option<Vec<String>>,
    /// Settings that count before those of the type and its properties.
    #[schema(required = false)]
    pub detection: RunDetection,
}

/// Why a run runs.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub enum Trigger {
    /// Its time has come.
    Schedule,
    /// Somebody asked for it.
    Request,
}

/// How far a run is.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub enum RunState {
    /// Nobody has begun it.
    Waiting,
    /// It is under way.
    Running,
    /// It has seen all.
    Done,
    /// It could not go on; `failures` says why.
    Failed,
    /// It was stopped because somebody asked; what it had recorded stays.
    Cancelled,
}

/// A page of anomalies.
#[derive(ToSchema)]
#[schema(example = json!({
    "items": [{
        "id": "emb3/sec/2017-02-08T15:00:00Z/s-h-esd/0d1f9be6c2d2a3a1", "sensor_type": "emb", "sensor_id": "emb3", "property": "sec",
        "phenomenon_time": "2017-02-08T15:00:00Z", "kind": "point", "value": 904, "expected": 845, "score": 0.93, "severity": "high",
        "detector": "s-h-esd", "detector_version": 1, "settings": "0d1f9be6c2d2a3a1", "run": "emb-644b2a1d3c900-1b7f03ac",
        "found_at": "2026-11-25T20:00:02Z"
    }],
    "next_cursor": null
}))]
pub struct AnomaliesPage {
    /// The anomalies, by phenomenon time, then id.
    pub items: Vec<Anomaly>,
    /// What to send as `cursor` for the next page; null behind the last.
    pub next_cursor: Option<String>,
}

/// What a detector found in a datastream.
#[derive(ToSchema)]
pub struct Anomaly {
    /// Its id: datastream, time, detector and settings, the same in every run.
    pub id: String,
    /// Id of the sensor type.
    pub sensor_type: String,
    /// Id of the sensor.
    pub sensor_id: String,
    /// Id of the observed property.
    pub property: String,
    /// When it was, or started.
    pub phenomenon_time: String,
    /// Of an outage, the time of the first usable value behind it; not there while there is none.
    #[schema(nullable = false)]
    pub until: Option<String>,
    /// What it is.
    pub kind: AnomalyKind,
    /// What was read; nothing of an outage.
    #[schema(nullable = false)]
    pub value: Option<f64>,
    /// What was expected.
    #[schema(nullable = false)]
    pub expected: Option<f64>,
    /// From 0 to 1; 0.5 is critical.
    pub score: f64,
    /// The same for people: from twice critical on `medium`, from five times on `high`.
    pub severity: Severity,
    /// Name of the detector.
    pub detector: String,
    /// Its version.
    pub detector_version: u32,
    /// What tells its settings from others.
    pub settings: String,
    /// The run that found it first.
    pub run: String,
    /// When that was.
    pub found_at: String,
}

/// What an anomaly is.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub enum AnomalyKind {
    /// A value that does not fit.
    Point,
    /// A time of unusable values.
    Outage,
    /// A lasting change of the level.
    LevelShift,
}

/// How much an anomaly matters.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub enum Severity {
    /// Less than twice critical.
    Low,
    /// Less than five times critical.
    Medium,
    /// Five times critical or more.
    High,
}
