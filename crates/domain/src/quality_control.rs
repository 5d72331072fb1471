//! Settings of the QARTOD tests of an observed property, besides its gross range.
//!
//! Every test tells two thresholds apart: beyond `suspect` a value is flagged 3, beyond `fail` 4. One of them may be left out. The tests
//! themselves, with the sections of the manuals they come from, are in the crate `checks`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{PropertyId, SensorId, Span, duration_text, sensor_type::Faults, value::serialize_optional_number};

/// The most readings a test looks back on.
pub const WINDOW_READINGS_MAX: u32 = 4_096;
/// The most sensors that are compared with each other.
const NEIGHBOURS_MAX: usize = 16;
/// The most climatologies of a property.
const CLIMATES_MAX: usize = 64;

/// Which tests a property's values go through.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QualityControl {
    /// Whether readings come often enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
    /// What is usual at which time of the year; of several that speak of a month the last counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub climatology: Vec<Climate>,
    /// Whether a value stands out between its neighbours in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spike: Option<Spike>,
    /// Whether values change too fast.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_of_change: Option<RateOfChange>,
    /// Whether values stay the same for too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flat_line: Option<FlatLine>,
    /// Whether values vary too little.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attenuated_signal: Option<AttenuatedSignal>,
    /// Whether a value agrees with another property or other sensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbour: Option<Neighbour>,
}

/// Settings of the gap test: the longest time since the reading before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// After a longer one a value is suspect.
    #[serde(default, with = "duration_text::option", skip_serializing_if = "Option::is_none")]
    pub suspect: Option<Duration>,
    /// After a longer one it fails.
    #[serde(default, with = "duration_text::option", skip_serializing_if = "Option::is_none")]
    pub fail: Option<Duration>,
}

/// Settings of the climatology test: what is usual in some months.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Climate {
    /// The months it speaks of, 1 to 12, in UTC: one, or those of a season.
    pub months: Vec<u8>,
    /// Outside of it a value is suspect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspect: Option<Span>,
    /// Outside of it a value fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail: Option<Span>,
}

/// Settings of the spike test, in the property's unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spike {
    /// A larger spike is suspect.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "serialize_optional_number")]
    pub suspect: Option<f64>,
    /// A larger spike fails.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "serialize_optional_number")]
    pub fail: Option<f64>,
    /// How large a spike is.
    #[serde(default)]
    pub method: SpikeMethod,
}

/// How large a spike is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpikeMethod {
    /// The distance from the mean of the values before and behind.
    #[default]
    Average,
    /// The lesser of the distances from the values before and behind, where both lie on the same side; else 0.
    Differential,
}

/// Settings of the rate of change test, in the property's unit per second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateOfChange {
    /// A faster change is suspect.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "serialize_optional_number")]
    pub suspect: Option<f64>,
    /// A faster change fails.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "serialize_optional_number")]
    pub fail: Option<f64>,
}

/// Settings of the flat line test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlatLine {
    /// Values whose range is less than it are the same, in the property's unit.
    #[serde(serialize_with = "crate::value::serialize_number")]
    pub tolerance: f64,
    /// The same for so long is suspect; counted in readings, as many as the sampling interval fits in.
    #[serde(default, with = "duration_text::option", skip_serializing_if = "Option::is_none")]
    pub suspect: Option<Duration>,
    /// The same for so long fails.
    #[serde(default, with = "duration_text::option", skip_serializing_if = "Option::is_none")]
    pub fail: Option<Duration>,
}

/// Settings of the attenuated signal test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttenuatedSignal {
    /// How far it looks back, this far back not included.
    #[serde(with = "duration_text")]
    pub over: Duration,
    /// How variation is measured.
    #[serde(default)]
    pub measure: SignalMeasure,
    /// With fewer values, the one that is judged among them, it is not evaluated.
    #[serde(default = "two")]
    pub values_min: u32,
    /// Less variation is suspect, in the property's unit.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "serialize_optional_number")]
    pub suspect: Option<f64>,
    /// Less variation fails.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "serialize_optional_number")]
    pub fail: Option<f64>,
}

fn two() -> u32 {
    2
}

/// How variation is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalMeasure {
    /// Population standard deviation.
    #[default]
    StandardDeviation,
    /// Greatest less least.
    Range,
}

/// Settings of the neighbour test: what a value is compared with, and how far apart they may be, in the property's unit.
///
/// Either another property of the same reading, or what the other named sensors said of this property at about the same time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbour {
    /// The other property.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub property: Option<PropertyId>,
    /// Sensors that are neighbours of each other; a sensor that is not named is not evaluated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sensors: Vec<SensorId>,
    /// How far apart in time readings of neighbouring sensors may be, inclusive.
    #[serde(default, with = "duration_text::option", skip_serializing_if = "Option::is_none")]
    pub within: Option<Duration>,
    /// A greater difference is suspect.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "serialize_optional_number")]
    pub suspect: Option<f64>,
    /// A greater difference fails.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "serialize_optional_number")]
    pub fail: Option<f64>,
}

impl FlatLine {
    /// How many readings before the one that is judged have to be the same for `threshold`.
    pub fn readings(threshold: Duration, sampling_interval: Duration) -> u32 {
        let readings = threshold.as_micros() / sampling_interval.as_micros().max(1);
        u32::try_from(readings).unwrap_or(u32::MAX)
    }
}

impl QualityControl {
    /// Says whether there is no test.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Checks the settings of a property; `others` are the other properties of its type.
    pub(crate) fn check(&self, key: &str, sampling_interval: Duration, others: &[&PropertyId], faults: &mut Faults) {
        let at = |rest: &str| format!("{key}.{rest}");
        if let Some(Gap { suspect, fail }) = self.gap {
            thresholds(&at("gap"), (suspect, fail), faults);
        }
        let climates = self.climatology.len();
        faults.unless(climates <= CLIMATES_MAX, at("climatology"), climates, "at most 64 climatologies");
        for climate in &self.climatology {
            climate.check(&at("climatology"), faults);
        }
        if let Some(Spike { suspect, fail, .. }) = self.spike {
            thresholds(&at("spike"), (suspect, fail), faults);
        }
        if let Some(RateOfChange { suspect, fail }) = self.rate_of_change {
            thresholds(&at("rate_of_change"), (suspect, fail), faults);
        }
        if let Some(flat_line) = &self.flat_line {
            flat_line.check(&at("flat_line"), sampling_interval, faults);
        }
        if let Some(attenuated) = &self.attenuated_signal {
            attenuated.check(&at("attenuated_signal"), sampling_interval, faults);
        }
        if let Some(neighbour) = &self.neighbour {
            neighbour.check(&at("neighbour"), others, faults);
        }
    }
}

/// A threshold: positive and finite.
trait Threshold: PartialOrd + Copy {
    fn is_threshold(self) -> bool;
    fn print(self) -> String;
}

impl Threshold for f64 {
    fn is_threshold(self) -> bool {
        self.is_finite() && self > 0.0
    }

    fn print(self) -> String {
        self.to_string()
    }
}

impl Threshold for Duration {
    fn is_threshold(self) -> bool {
        !self.is_zero() && self <= Duration::from_secs(36_525 * 86_400)
    }

    fn print(self) -> String {
        duration_text::print(self)
    }
}

/// Checks that one of two thresholds is there, that they are positive, and that what fails is not suspect before.
fn thresholds<T: Threshold>(key: &str, (suspect, fail): (Option<T>, Option<T>), faults: &mut Faults) {
    faults.unless(suspect.is_some() || fail.is_some(), key, "neither", "`suspect`, `fail` or both");
    for (name, threshold) in [("suspect", suspect), ("fail", fail)] {
        let Some(threshold) = threshold else { continue };
        faults.unless(threshold.is_threshold(), format!("{key}.{name}"), threshold.print(), "greater than zero");
    }
    if let (Some(suspect), Some(fail)) = (suspect, fail) {
        let rule = "what fails lies beyond what is suspect";
        faults.unless(suspect <= fail, format!("{key}.fail"), fail.print(), rule);
    }
}

impl Climate {
    fn check(&self, key: &str, faults: &mut Faults) {
        let months = format!("{:?}", self.months);
        let are_months = !self.months.is_empty() && self.months.iter().all(|month| (1..=12).contains(month));
        faults.unless(are_months, format!("{key}.months"), months, "months, 1 to 12");
        let some = self.suspect.is_some() || self.fail.is_some();
        faults.unless(some, key, "neither", "`suspect`, `fail` or both");
        for (name, span) in [("suspect", self.suspect), ("fail", self.fail)] {
            let Some(Span(low, high)) = span else { continue };
            let ordered = low.is_finite() && high.is_finite() && low <= high;
            let shown = format!("[{low}, {high}]");
            faults.unless(ordered, format!("{key}.{name}"), &shown, "[low, high] with low <= high");
            let within = self.fail.is_none_or(|fail| fail.contains(low) && fail.contains(high));
            faults.unless(within, format!("{key}.{name}"), shown, "within the fail span");
        }
    }
}

impl FlatLine {
    fn check(&self, key: &str, sampling_interval: Duration, faults: &mut Faults) {
        let tolerance = self.tolerance;
        faults.unless(tolerance.is_threshold(), format!("{key}.tolerance"), tolerance, "greater than zero");
        thresholds(key, (self.suspect, self.fail), faults);
        for (name, threshold) in [("suspect", self.suspect), ("fail", self.fail)] {
            let Some(threshold) = threshold else { continue };
            let readings = Self::readings(threshold, sampling_interval);
            let rule = "from 2 to 4,096 sampling intervals";
            let in_bounds = (2..=WINDOW_READINGS_MAX).contains(&readings);
            faults.unless(in_bounds, format!("{key}.{name}"), duration_text::print(threshold), rule);
        }
    }
}

impl AttenuatedSignal {
    fn check(&self, key: &str, sampling_interval: Duration, faults: &mut Faults) {
        let readings = FlatLine::readings(self.over, sampling_interval);
        let in_bounds = (2..=WINDOW_READINGS_MAX).contains(&readings);
        let over = duration_text::print(self.over);
        faults.unless(in_bounds, format!("{key}.over"), over, "from 2 to 4,096 sampling intervals");
        let values_min = self.values_min;
        let rule = "from 2 to 4,096 values";
        faults.unless((2..=WINDOW_READINGS_MAX).contains(&values_min), format!("{key}.values_min"), values_min, rule);
        // What fails varies less than what is suspect.
        thresholds(key, (self.suspect.or(self.fail), None), faults);
        if let Some(fail) = self.fail {
            faults.unless(fail.is_threshold(), format!("{key}.fail"), fail, "greater than zero");
            let ordered = self.suspect.is_none_or(|suspect| fail <= suspect);
            faults.unless(ordered, format!("{key}.fail"), fail, "what fails varies less than what is suspect");
        }
    }
}

impl Neighbour {
    fn check(&self, key: &str, others: &[&PropertyId], faults: &mut Faults) {
        let one = self.property.is_some() == self.sensors.is_empty();
        faults.unless(one, key, "both or neither", "either `property` or `sensors`");
        if let Some(property) = &self.property {
            let known = others.contains(&property);
            faults.unless(known, format!("{key}.property"), property, "another property of the type");
        }
        let sensors = self.sensors.len();
        let distinct = self.sensors.iter().collect::<std::collections::HashSet<_>>().len() == sensors;
        let named = sensors == 0 || (distinct && (2..=NEIGHBOURS_MAX).contains(&sensors));
        faults.unless(named, format!("{key}.sensors"), sensors, "from 2 to 16 sensors, each once");
        let timed = self.within.is_some() != self.sensors.is_empty();
        faults.unless(timed, format!("{key}.within"), "with or without", "given with `sensors`, and only then");
        if let Some(within) = self.within {
            faults.unless(within.is_threshold(), format!("{key}.within"), within.print(), "greater than zero");
        }
        thresholds(key, (self.suspect, self.fail), faults);
    }
}

#[cfg(test)]
mod tests {
    use crate::SensorTypeDraft;

    fn draft(qc: &str) -> Result<SensorTypeDraft, serde_json::Error> {
        serde_json::from_str(&format!(
            r#"{{"sampling_interval": "1h", "properties": [{{"id": "a", "unit": "1", "qc": {qc}}}, {{"id": "b", "unit": "1"}}]}}"#
        ))
    }

    /// Every fault as `key: value`, with the start of the key, the same for all, left out.
    #[track_caller]
    fn check(qc: &str, expected: &[&str]) {
        let faults = draft(qc).expect("the keys are known").check().err().unwrap_or_default();
        let shown = |fault: &crate::SensorTypeFault| {
            format!("{}: {}", fault.key.strip_prefix("properties.a.qc.").unwrap_or(&fault.key), fault.value)
        };
        assert_eq!(faults.iter().map(shown).collect::<Vec<_>>(), expected, "{qc}");
    }

    #[test]
    fn settings_read_back_as_they_were_written() {
        let qc = concat!(
            r#"{"gap":{"suspect":"2h"},"climatology":[{"months":[12,1],"suspect":[0,5.5]}],"#,
            r#""spike":{"suspect":10,"fail":50,"method":"average"},"rate_of_change":{"suspect":0.00003},"#,
            r#""flat_line":{"tolerance":0.5,"suspect":"1d","fail":"3d"},"#,
            r#""attenuated_signal":{"over":"1d","measure":"standard_deviation","values_min":2,"suspect":1},"#,
            r#""neighbour":{"sensors":["x","y"],"within":"30m","suspect":1}}"#
        );
        check(qc, &[]);
        let written = serde_json::to_string(&draft(qc).expect("read").properties[0].qc).expect("written");
        assert_eq!(written.replace("0.00003", "3e-5").replace("3e-05", "3e-5"), qc.replace("0.00003", "3e-5"));
        assert!(draft("{}").is_ok_and(|draft| draft.properties[0].qc.is_empty()));
        let without = serde_json::to_string(&draft("{}").expect("read").properties[0]).expect("written");
        assert!(!without.contains("qc"), "{without}");
        assert!(draft(r#"{"spikes": {"fail": 1}}"#).is_err() && draft(r#"{"gap": {"fail": 5}}"#).is_err());
    }

    #[test]
    fn thresholds_are_positive_and_in_order() {
        check(r#"{"spike": {}}"#, &["spike: neither"]);
        check(r#"{"spike": {"suspect": 0, "fail": -1}}"#, &["spike.suspect: 0", "spike.fail: -1", "spike.fail: -1"]);
        check(r#"{"gap": {"suspect": "2h", "fail": "1h"}}"#, &["gap.fail: 1h"]);
        check(r#"{"rate_of_change": {"suspect": 2, "fail": 1}}"#, &["rate_of_change.fail: 1"]);
        check(r#"{"attenuated_signal": {"over": "1d", "suspect": 1, "fail": 2}}"#, &["attenuated_signal.fail: 2"]);
        check(r#"{"attenuated_signal": {"over": "1d", "suspect": 2, "fail": 1}}"#, &[]);
    }

    #[test]
    fn windows_are_from_two_to_the_most_readings() {
        check(r#"{"flat_line": {"tolerance": 1, "fail": "2h"}}"#, &[]);
        check(
            r#"{"flat_line": {"tolerance": 0, "fail": "119m"}}"#,
            &["flat_line.tolerance: 0", "flat_line.fail: 119m"],
        );
        check(r#"{"flat_line": {"tolerance": 1, "fail": "4097h"}}"#, &["flat_line.fail: 4097h"]);
        check(
            r#"{"attenuated_signal": {"over": "1h", "values_min": 1, "fail": 1}}"#,
            &["attenuated_signal.over: 1h", "attenuated_signal.values_min: 1"],
        );
    }

    #[test]
    fn climates_have_months_and_ordered_spans() {
        check(
            r#"{"climatology": [{"months": [0], "suspect": [2, 1]}]}"#,
            &["climatology.months: [0]", "climatology.suspect: [2, 1]"],
        );
        check(r#"{"climatology": [{"months": [], "fail": [1, 2]}]}"#, &["climatology.months: []"]);
        check(
            r#"{"climatology": [{"months": [1]}, {"months": [2], "suspect": [0, 3], "fail": [1, 4]}]}"#,
            &["climatology: neither", "climatology.suspect: [0, 3]"],
        );
    }

    #[test]
    fn neighbour_is_another_property_or_other_sensors() {
        check(r#"{"neighbour": {"property": "b", "fail": 1}}"#, &[]);
        check(r#"{"neighbour": {"property": "a", "fail": 1}}"#, &["neighbour.property: a"]);
        check(r#"{"neighbour": {"fail": 1}}"#, &["neighbour: both or neither"]);
        check(
            r#"{"neighbour": {"sensors": ["x", "x"], "fail": 1}}"#,
            &["neighbour.sensors: 2", "neighbour.within: with or without"],
        );
    }
}
