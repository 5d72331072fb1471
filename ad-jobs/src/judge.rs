//! Judges the datastreams of sensors: from rows to anomalies, without I/O.
//!
//! **Invariant:** in guarded mode values flagged 4 or 9 are not usable; what an optional property did not say is no reading of it.

mod settings;

use std::collections::BTreeMap;

use detect::{
    Cell, Sample, find_period,
    guarded::{self, Kind, State},
    strict::{self, Refusal},
    to_grid,
};
use domain::{Anomaly, AnomalyKind, Flag, PropertyId, Rows, RunId, SensorId, SensorTypeId, Severity, Timestamp};

use crate::gaps::without_gaps;
use settings::{Method, PropertySettings, Strict};
pub use settings::{Settings, TypeSettings, fingerprint};

/// The detector, as it is named in runs and in anomalies that are points.
pub const DETECTOR: &str = domain::S_H_ESD;
/// Grows when the same values may have other findings.
pub const DETECTOR_VERSION: u32 = 1;
/// Why a datastream was not judged.
const TOO_LITTLE_HISTORY: &str = "too little history";
/// The same, in strict mode, where its season is to be found.
const NO_SEASON: &str = "no season";
/// The same, where strict mode refuses gaps.
const GAPS: &str = "missing values between others";
/// The same, where numbers are too large to be computed with.
const MAGNITUDE: &str = "values beyond 1e150";

/// One sensor's readings, by property, and which of them are to be judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    sensor_id: SensorId,
    first: Timestamp,
    last: Timestamp,
    /// Of each property; empty where it is not judged.
    samples: Vec<Vec<Sample>>,
}

impl Work {
    /// Nothing yet; values from `first` to `last`, both inclusive, are to be judged.
    pub fn new(sensor_id: SensorId, first: Timestamp, last: Timestamp, settings: &TypeSettings) -> Self {
        Self { sensor_id, first, last, samples: vec![Vec::new(); settings.properties.len()] }
    }

    /// Takes in rows, which come in time order.
    pub fn take(&mut self, rows: &Rows, settings: &TypeSettings) {
        for row in rows.iter() {
            let time_micros = row.row.phenomenon_time.as_micros();
            let of_properties = self.samples.iter_mut().zip(&settings.properties);
            for ((samples, property), (value, flag)) in of_properties.zip(row.values.iter().zip(row.flags)) {
                if property.is_none() || (value.is_absent() && *flag != Flag::Missing) {
                    continue;
                }
                let usable = !matches!(flag, Flag::Fail | Flag::Missing);
                samples.push(Sample { time_micros, value: value.as_number(), usable });
            }
        }
    }

    /// Says whether there are values to judge.
    pub fn has_new(&self) -> bool {
        self.samples.iter().flatten().any(|sample| self.is_new(sample))
    }

    fn is_new(&self, sample: &Sample) -> bool {
        self.first.as_micros() <= sample.time_micros && sample.time_micros <= self.last.as_micros()
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

/// Something anomalous in a datastream, with the readings where it starts and ends.
struct Found {
    kind: Kind,
    start: usize,
    end: Option<usize>,
    value: Option<f64>,
    expected: Option<f64>,
    score: f64,
}

/// Judges sensors one by one.
pub fn judge(work: &[Work], settings: &TypeSettings, run: &RunId, now: Timestamp) -> Judged {
    let mut judged = Judged::default();
    for sensor in work {
        for (samples, of_property) in sensor.samples.iter().zip(&settings.properties) {
            let Some(of_property) = of_property else { continue };
            judged.datastreams += 1;
            let new = samples.iter().filter(|sample| sensor.is_new(sample)).count();
            judged.points += new as u64;
            if new == 0 {
                continue;
            }
            let (found, failure) = match &of_property.method {
                Method::Guarded(guarded) => judge_guarded(sensor, samples, settings, guarded),
                Method::Strict(strict) => judge_strict(sensor, samples, strict),
            };
            if let Some(failure) = failure {
                *judged.failures.entry(failure).or_default() += 1;
            }
            let datastream =
                Datastream { sensor_type: &settings.sensor_type, sensor_id: &sensor.sensor_id, of_property };
            judged.anomalies.extend(found.iter().map(|found| datastream.anomaly(found, samples, run, now)));
        }
    }
    judged
}

fn judge_guarded(
    sensor: &Work,
    samples: &[Sample],
    settings: &TypeSettings,
    guarded: &guarded::Settings,
) -> (Vec<Found>, Option<&'static str>) {
    let cells = to_grid(samples, i64::try_from(settings.step.as_micros()).unwrap_or(i64::MAX));
    let is_new = |cell: &Cell| cell.sample().is_some_and(|sample| sensor.is_new(&samples[sample]));
    let (Some(from), Some(to)) = (cells.iter().position(is_new), cells.iter().rposition(is_new)) else {
        return (Vec::new(), None);
    };
    let scan = guarded::scan(&cells, from..to + 1, guarded);
    let failure = matches!(scan.state, State::TooLittleHistory { .. }).then_some(TOO_LITTLE_HISTORY);
    let found = scan.findings.iter().filter_map(|finding| {
        let guarded::Finding { kind, start, end, value, expected, score } = *finding;
        let end = end.and_then(|end| cells[end].sample());
        Some(Found { kind, start: cells[start].sample()?, end, value, expected, score })
    });
    (found.collect(), failure)
}

/// Looks at readings one behind the other, as they are, and keeps what is found in those that are new.
fn judge_strict(sensor: &Work, samples: &[Sample], strict: &Strict) -> (Vec<Found>, Option<&'static str>) {
    let values: Vec<f64> = samples.iter().map(|sample| sample.value.unwrap_or(f64::NAN)).collect();
    let (rows, values) = without_gaps(&values, strict.gaps);
    let mut settings = strict.settings;
    if settings.period == 0 {
        let present: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
        let Some(period) = find_period(&present, &strict.likely) else { return (Vec::new(), Some(NO_SEASON)) };
        settings.period = period;
    }
    let anomalies = match strict::anomalies(&values, &settings) {
        Ok(anomalies) => anomalies,
        Err(refusal) => return (Vec::new(), Some(reason(refusal))),
    };
    let found = anomalies.iter().filter(|anomaly| sensor.is_new(&samples[rows[anomaly.index]]));
    let found = found.map(|anomaly| Found {
        kind: Kind::Point,
        start: rows[anomaly.index],
        end: None,
        value: Some(anomaly.value),
        expected: Some(anomaly.expected),
        score: anomaly.deviation / (anomaly.deviation + anomaly.critical),
    });
    (found.collect(), None)
}

fn reason(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Gap(_) => GAPS,
        Refusal::Season(detect::SeasonError::Magnitude { .. }) => MAGNITUDE,
        // Shares and periods were checked with the definition.
        Refusal::Season(_) | Refusal::AnomaliesMax(_) | Refusal::Alpha(_) => TOO_LITTLE_HISTORY,
    }
}

/// Whose values were judged, and how.
struct Datastream<'a> {
    sensor_type: &'a SensorTypeId,
    sensor_id: &'a SensorId,
    of_property: &'a PropertySettings,
}

impl Datastream<'_> {
    fn anomaly(&self, found: &Found, samples: &[Sample], run: &RunId, now: Timestamp) -> Anomaly {
        // A shift starts where a point was found before: their detectors tell their ids apart.
        let (kind, detector) = match found.kind {
            Kind::Point => (AnomalyKind::Point, DETECTOR),
            Kind::Outage => (AnomalyKind::Outage, "outage"),
            Kind::LevelShift => (AnomalyKind::LevelShift, "level-shift"),
        };
        let time = |sample: usize| Timestamp::from_micros(samples[sample].time_micros);
        let property: &PropertyId = &self.of_property.property;
        Anomaly {
            sensor_type: self.sensor_type.clone(),
            sensor_id: self.sensor_id.clone(),
            property: property.clone(),
            phenomenon_time: time(found.start),
            until: found.end.map(time),
            kind,
            value: found.value,
            expected: found.expected,
            score: found.score,
            severity: Severity::of(found.score),
            detector: detector.to_owned(),
            detector_version: DETECTOR_VERSION,
            settings: self.of_property.fingerprint.clone(),
            run: run.clone(),
            found_at: now,
        }
    }
}
