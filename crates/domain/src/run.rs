//! One execution of a detector over a window, stored so that it can be repeated.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Anomaly, Detection, Id, IdKind, PropertyId, SensorId, SensorTypeId, Timestamp};

/// The detector that there is, as it is named in runs and in anomalies that are points: Seasonal Hybrid ESD.
pub const S_H_ESD: &str = "s-h-esd";
/// The most anomalies that a dry run keeps; the others are counted.
pub const RUN_FOUND_MAX: usize = 1_000;

/// Marks ids of runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunKind {}

/// Id of a run: `[A-Za-z0-9][A-Za-z0-9._:-]{0,199}`.
pub type RunId = Id<RunKind>;

impl IdKind for RunKind {
    const WHAT: &'static str = "run id";
    const RULE: &'static str = "a letter or digit, then up to 199 of letters, digits, `.`, `_`, `:` and `-`";

    fn allows(text: &[u8]) -> bool {
        matches!(text, [first, rest @ ..] if first.is_ascii_alphanumeric() && rest.len() <= 199
            && rest.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-')))
    }
}

/// One execution of a detector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id: of a scheduled run made of what it does, so that a repetition after a crash is the same run.
    pub id: RunId,
    /// Name of the detector.
    pub detector: String,
    /// Its version.
    pub detector_version: u32,
    /// Fingerprint of its settings, 16 hexadecimal digits.
    pub settings: String,
    /// The settings themselves, as JSON text.
    pub parameters: String,
    /// Kind of the sensors it looks at.
    pub sensor_type: SensorTypeId,
    /// Which share of the sensors, if not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<u32>,
    /// From when: of a scheduled run acceptance times, of one that was asked for phenomenon times.
    pub from: Timestamp,
    /// To when, exclusive.
    pub to: Timestamp,
    /// Why it runs.
    pub trigger: Trigger,
    /// Whether what it finds is only counted.
    pub dry: bool,
    /// How far it is.
    pub state: RunState,
    /// When it started; of one that waits, when it was asked for.
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How many datastreams it has to look at.
    pub datastreams: u64,
    /// How many of them it is done with.
    pub datastreams_done: u64,
    /// How many values it has seen that were to be judged.
    pub points: u64,
    /// How many anomalies it has found, known ones among them.
    pub anomalies: u64,
    /// How many datastreams could not be judged, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failures: BTreeMap<String, u64>,
    /// Whether somebody asked it to stop.
    #[serde(default)]
    pub cancel_requested: bool,
    /// Of a run that was asked for, what was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RunRequest>,
    /// Of a dry run what it would have recorded, the first [`RUN_FOUND_MAX`] it has found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub found: Vec<Anomaly>,
    /// Of a scheduled run under way, how far it is: whoever goes on with it goes on there. Its counts are of what is before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<RunPlace>,
}

/// How far a run is in the canonical order of readings: everything of the sensors before this one, and of this one everything before a
/// phenomenon time, was judged, recorded and published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunPlace {
    /// The sensor.
    pub sensor_id: SensorId,
    /// The first phenomenon time that is not done.
    pub before: Timestamp,
}

/// What a run is to look at, and how.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RunRequest {
    /// These sensors; all of the type if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor_ids: Option<Vec<SensorId>>,
    /// These properties; all of the type if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<Vec<PropertyId>>,
    /// Settings that count before those of the type and its properties.
    #[serde(default, skip_serializing_if = "Detection::is_empty")]
    pub detection: Detection,
}

/// Why a run runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// Its time has come.
    Schedule,
    /// Somebody asked for it.
    Request,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Nobody has begun it.
    Waiting,
    /// It is under way.
    Running,
    /// It has seen all.
    Done,
    /// It could not go on.
    Failed,
    /// It was stopped because somebody asked.
    Cancelled,
}

impl RunState {
    /// Says whether nothing more comes of a run in this state.
    pub fn has_ended(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }
}
