//! Judges the datastreams of sensors in guarded mode: from rows to anomalies, without I/O.
//!
//! **Invariant:** values flagged 4 or 9 are not usable; what an optional property did not say is no reading of it.

use std::{collections::BTreeMap, time::Duration};

use detect::{
    Sample,
    guarded::{self, Finding, Kind, Season, State},
    to_grid,
};
use domain::{
    Anomaly, AnomalyKind, Flag, PropertyId, Rows, RunId, SensorId, SensorType, SensorTypeId, Severity, Timestamp,
};

/// The detector, as it is named in runs and in anomalies that are points.
pub const DETECTOR: &str = "s-h-esd";
/// Grows when the same values may have other findings.
pub const DETECTOR_VERSION: u32 = 1;
/// Why a datastream was not judged.
const TOO_LITTLE_HISTORY: &str = "too little history";
/// Microseconds of a day.
const DAY_MICROS: u64 = 86_400_000_000;

/// How values are judged, whatever their type.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How many steps of the type's sampling interval before a value it is judged by.
    pub history_steps: u32,
    /// The greatest share of values that may be anomalies.
    pub anomalies_max: f64,
    /// Chance of finding an anomaly where there is none.
    pub alpha: f64,
}

impl Default for Settings {
    /// Four weeks of hourly readings.
    fn default() -> Self {
        Self { history_steps: 672, anomalies_max: 0.2, alpha: 0.05 }
    }
}

/// How the values of one type are judged.
#[derive(Debug, Clone, PartialEq)]
pub struct TypeSettings {
    sensor_type: SensorTypeId,
    step: Duration,
    history_steps: u32,
    /// Of each property its id and settings.
    properties: Vec<(PropertyId, guarded::Settings)>,
    /// All of it as JSON text.
    pub parameters: String,
    /// What tells these settings from others, in 16 hexadecimal digits.
    pub fingerprint: String,
}

impl Settings {
    /// The settings for a type: with its sampling interval and the resolution of each property.
    pub fn for_type(&self, sensor_type: &SensorType) -> TypeSettings {
        let step = sensor_type.definition.sampling_interval;
        let steps_of = |days: u64| usize::try_from(days * DAY_MICROS / (step.as_micros() as u64).max(1)).unwrap_or(0);
        // A season must fit into the history three times.
        let fits = |steps: usize| if steps <= self.history_steps as usize / 3 { steps } else { 0 };
        let likely = [fits(steps_of(1)), fits(steps_of(7))];
        let properties = sensor_type.definition.properties.iter().map(|property| {
            let settings = guarded::Settings {
                season: Season::Find { likely },
                anomalies_max: self.anomalies_max,
                alpha: self.alpha,
                resolution: property.resolution,
                ..guarded::Settings::default()
            };
            (property.id.clone(), settings)
        });
        let resolutions: BTreeMap<&str, Option<f64>> =
            sensor_type.definition.properties.iter().map(|p| (p.id.as_str(), p.resolution)).collect();
        let parameters = serde_json::json!({
            "mode": "guarded",
            "step_us": step.as_micros() as u64,
            "history_steps": self.history_steps,
            "likely_seasons": likely,
            "anomalies_max": self.anomalies_max,
            "alpha": self.alpha,
            "resolutions": resolutions,
        });
        let parameters = parameters.to_string();
        TypeSettings {
            sensor_type: sensor_type.id.clone(),
            step,
            history_steps: self.history_steps,
            properties: properties.collect(),
            fingerprint: format!("{:016x}", fingerprint(parameters.as_bytes())),
            parameters,
        }
    }
}

impl TypeSettings {
    /// How long before a value its history starts.
    pub fn history(&self) -> Duration {
        self.step * self.history_steps
    }
}

/// FNV-1a, 64 bits: the same on every machine and in every version (Fowler, Noll and Vo).
pub fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// One sensor's readings, by property, and which of them are to be judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    sensor_id: SensorId,
    first: Timestamp,
    last: Timestamp,
    samples: Vec<Vec<Sample>>,
}

impl Work {
    /// Nothing yet; values from `first` to `last`, both inclusive, are to be judged.
    pub fn new(sensor_id: SensorId, first: Timestamp, last: Timestamp, settings: &TypeSettings) -> Self {
        Self { sensor_id, first, last, samples: vec![Vec::new(); settings.properties.len()] }
    }

    /// Takes in rows, which come in time order.
    pub fn take(&mut self, rows: &Rows) {
        for row in rows.iter() {
            let time_micros = row.row.phenomenon_time.as_micros();
            for ((samples, value), flag) in self.samples.iter_mut().zip(row.values).zip(row.flags) {
                if value.is_absent() && *flag != Flag::Missing {
                    continue;
                }
                let usable = !matches!(flag, Flag::Fail | Flag::Missing);
                samples.push(Sample { time_micros, value: value.as_number(), usable });
            }
        }
    }
}

/// What came of judging.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Judged {
    /// What was found.
    pub anomalies: Vec<Anomaly>,
    /// How many datastreams were looked at.
    pub datastreams: u64,
    /// How many values there were to judge.
    pub points: u64,
    /// How many datastreams were not judged, by reason.
    pub failures: BTreeMap<&'static str, u64>,
}

/// Judges sensors one by one.
pub fn judge(work: &[Work], settings: &TypeSettings, run: &RunId, now: Timestamp) -> Judged {
    let mut judged = Judged::default();
    for sensor in work {
        for (samples, (property, of_property)) in sensor.samples.iter().zip(&settings.properties) {
            judged.datastreams += 1;
            let (first, last) = (sensor.first.as_micros(), sensor.last.as_micros());
            let is_new = |sample: &Sample| first <= sample.time_micros && sample.time_micros <= last;
            judged.points += samples.iter().filter(|sample| is_new(sample)).count() as u64;
            let cells = to_grid(samples, settings.step.as_micros() as i64);
            let is_new_cell = |cell: &detect::Cell| cell.sample().is_some_and(|sample| is_new(&samples[sample]));
            let (Some(from), Some(to)) = (cells.iter().position(is_new_cell), cells.iter().rposition(is_new_cell))
            else {
                continue;
            };
            let scan = guarded::scan(&cells, from..to + 1, of_property);
            if matches!(scan.state, State::TooLittleHistory { .. }) {
                *judged.failures.entry(TOO_LITTLE_HISTORY).or_default() += 1;
            }
            let time = |cell: usize| {
                let sample = cells[cell].sample().map(|sample| samples[sample].time_micros);
                sample.map(Timestamp::from_micros)
            };
            judged.anomalies.extend(scan.findings.iter().filter_map(|finding| {
                let times = (time(finding.start)?, finding.end.and_then(time));
                Some(anomaly(finding, times, (&sensor.sensor_id, property), settings, (run, now)))
            }));
        }
    }
    judged
}

fn anomaly(
    finding: &Finding,
    (start, end): (Timestamp, Option<Timestamp>),
    (sensor_id, property): (&SensorId, &PropertyId),
    settings: &TypeSettings,
    (run, now): (&RunId, Timestamp),
) -> Anomaly {
    // A shift starts where a point was found before: their detectors tell their ids apart.
    let (kind, detector) = match finding.kind {
        Kind::Point => (AnomalyKind::Point, DETECTOR),
        Kind::Outage => (AnomalyKind::Outage, "outage"),
        Kind::LevelShift => (AnomalyKind::LevelShift, "level-shift"),
    };
    Anomaly {
        sensor_type: settings.sensor_type.clone(),
        sensor_id: sensor_id.clone(),
        property: property.clone(),
        phenomenon_time: start,
        until: end,
        kind,
        value: finding.value,
        expected: finding.expected,
        score: finding.score,
        severity: Severity::of(finding.score),
        detector: detector.to_owned(),
        detector_version: DETECTOR_VERSION,
        settings: settings.fingerprint.clone(),
        run: run.clone(),
        found_at: now,
    }
}
