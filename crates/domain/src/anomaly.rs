//! What a detector found: a fact of the run that found it.
//!
//! **Invariant:** an anomaly's id says which datastream, when, by which detector with which settings, and nothing of the run: the
//! same finding has the same id in every run.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    PropertyId, RunId, SensorId, SensorTypeId, Timestamp,
    value::{serialize_number, serialize_optional_number},
};

/// Identity of an anomaly: `{sensor_id}/{property}/{phenomenon_time}/{detector}/{settings}`, at most 400 bytes. Ordered by its bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AnomalyId(Arc<str>);

impl AnomalyId {
    /// Takes a stored id back.
    pub fn from_text(text: &str) -> Self {
        Self(text.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AnomalyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a detector found in a datastream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Anomaly {
    /// Kind of sensor.
    pub sensor_type: SensorTypeId,
    /// The sensor.
    pub sensor_id: SensorId,
    /// The observed property.
    pub property: PropertyId,
    /// When it was, or started.
    pub phenomenon_time: Timestamp,
    /// Of an outage, the time of the first usable value behind it; `None` while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What it is.
    pub kind: AnomalyKind,
    /// What was read, in the property's unit; nothing of an outage.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "serialize_optional_number")]
    pub value: Option<f64>,
    /// What was expected.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "serialize_optional_number")]
    pub expected: Option<f64>,
    /// From 0 to 1; 0.5 is critical.
    #[serde(serialize_with = "serialize_number")]
    pub score: f64,
    /// The same for people.
    pub severity: Severity,
    /// Name of the detector.
    pub detector: String,
    /// Its version, with which the same input has the same findings.
    pub detector_version: u32,
    /// Fingerprint of its settings, 16 hexadecimal digits.
    pub settings: String,
    /// The run that found it first.
    pub run: RunId,
    /// When that was.
    pub found_at: Timestamp,
}

impl Anomaly {
    /// Its identity.
    pub fn id(&self) -> AnomalyId {
        let Self { sensor_id, property, phenomenon_time, detector, settings, .. } = self;
        AnomalyId(format!("{sensor_id}/{property}/{phenomenon_time}/{detector}/{settings}").into())
    }
}

/// What an anomaly is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnomalyKind {
    /// A value that does not fit.
    Point,
    /// A time of unusable values.
    Outage,
    /// A lasting change of the level.
    LevelShift,
}

/// How much an anomaly matters, by its score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Less than twice critical.
    Low,
    /// Less than five times critical.
    Medium,
    /// Five times critical or more.
    High,
}

impl Severity {
    /// The severity of a score: deviation over the sum of deviation and critical value.
    pub fn of(score: f64) -> Self {
        match score {
            score if score >= 5.0 / 6.0 => Self::High,
            score if score >= 2.0 / 3.0 => Self::Medium,
            _ => Self::Low,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_finding_has_the_same_id_in_every_run() {
        let anomaly = |run: &str| Anomaly {
            sensor_type: SensorTypeId::parse("emb").expect("an id"),
            sensor_id: SensorId::parse("emb3").expect("an id"),
            property: PropertyId::parse("sec").expect("an id"),
            phenomenon_time: Timestamp::parse("2017-02-08T15:00:00Z").expect("a time"),
            until: None,
            kind: AnomalyKind::Point,
            value: Some(904.0),
            expected: Some(845.0),
            score: 0.9375,
            severity: Severity::of(0.9375),
            detector: "s-h-esd".to_owned(),
            detector_version: 1,
            settings: "00000000000000ff".to_owned(),
            run: RunId::parse(run).expect("an id"),
            found_at: Timestamp::from_micros(0),
        };
        assert_eq!(anomaly("one").id(), anomaly("two").id());
        assert_eq!(anomaly("one").id().as_str(), "emb3/sec/2017-02-08T15:00:00Z/s-h-esd/00000000000000ff");
        let text = serde_json::to_string(&anomaly("one")).expect("it can be written");
        assert!(text.contains(r#""kind":"point","value":904,"expected":845,"score":0.9375"#), "{text}");
        assert_eq!(serde_json::from_str::<Anomaly>(&text).expect("it can be read"), anomaly("one"));
    }

    #[test]
    fn severity_goes_by_multiples_of_the_critical_value() {
        for (deviation, severity) in
            [(1.0, Severity::Low), (2.0, Severity::Medium), (4.9, Severity::Medium), (5.1, Severity::High)]
        {
            assert_eq!(Severity::of(deviation / (deviation + 1.0)), severity, "{deviation}");
        }
    }
}
