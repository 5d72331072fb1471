//! Settings of detection, of a sensor type as a whole and of each of its properties.
//!
//! What a property says counts before what its type says, and that before the defaults. The detectors themselves, with what their
//! parameters come from, are in the crate `detect`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{SensorTypeDraft, SensorTypeFault, duration_text, sensor_type::Faults, value::serialize_optional_number};

/// Steps of history where nobody says how many: four weeks of hourly readings.
pub const HISTORY_STEPS_DEFAULT: u32 = 672;
/// The fewest steps of history: without a season, so many values must come before one that is judged.
pub const HISTORY_STEPS_MIN: u32 = 48;
/// The most steps of history: three weeks of minutes fit in, as a weekly season needs them.
pub const HISTORY_STEPS_MAX: u32 = 50_000;
/// How many seasons the history holds at least.
pub const HISTORY_SEASONS_MIN: u32 = 3;
/// The longest time between two looks.
const EVERY_MAX: Duration = Duration::from_secs(86_400);

/// How values are looked at. What is not given is not serialized.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detection {
    /// The method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<DetectionMode>,
    /// Steps of one season; 0 for none. Found by autocorrelation if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<u32>,
    /// The greatest share of values that may be anomalies.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "serialize_optional_number")]
    pub max_anoms: Option<f64>,
    /// Chance of finding an anomaly where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "serialize_optional_number")]
    pub alpha: Option<f64>,
    /// On which side of the level to look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<DetectionDirection>,
    /// Strict mode: steps that share a median and a season.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long_term: Option<u32>,
    /// Strict mode: leaves anomalies below a level out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<DetectionThreshold>,
    /// Strict mode: leaves anomalies before the last season out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_last: Option<bool>,
    /// Strict mode: what to do with missing values between others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gaps: Option<DetectionGaps>,
    /// Of a type as a whole: time from one look to the next.
    #[serde(default, with = "duration_text::option", skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
    /// Of a type as a whole: how many steps before a value it is judged by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<u32>,
}

/// How anomalies are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DetectionMode {
    /// The published method made fit for sensors.
    #[default]
    Guarded,
    /// The published method as it is.
    Strict,
    /// Not at all.
    Off,
}

/// On which side of the level an anomaly may lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DetectionDirection {
    /// On either.
    #[default]
    Both,
    /// Above it.
    Pos,
    /// Below it.
    Neg,
}

/// A level that the greatest values of all seasons give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DetectionThreshold {
    /// Their median.
    MedMax,
    /// Their 95th percentile.
    P95,
    /// Their 99th percentile.
    P99,
}

/// What strict mode does with missing values between others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DetectionGaps {
    /// Does not judge the datastream, as the published method would not.
    #[default]
    Refuse,
    /// Leaves them out.
    Drop,
    /// Puts what a line between their neighbours has in their place.
    Interpolate,
}

impl Detection {
    /// Says whether nothing is given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These settings, and what they leave open by others. A mode that is given leaves the others' parameters of strict mode behind, where
    /// it is another one.
    #[must_use]
    pub fn over(&self, others: &Self) -> Self {
        let is_strict = self.mode.or(others.mode) == Some(DetectionMode::Strict);
        let strict = if is_strict || self.mode.is_none() { others.clone() } else { Self::default() };
        Self {
            mode: self.mode.or(others.mode),
            period: self.period.or(others.period),
            max_anoms: self.max_anoms.or(others.max_anoms),
            alpha: self.alpha.or(others.alpha),
            direction: self.direction.or(others.direction),
            long_term: self.long_term.or(strict.long_term),
            threshold: self.threshold.or(strict.threshold),
            only_last: self.only_last.or(strict.only_last),
            gaps: self.gaps.or(strict.gaps),
            every: self.every.or(others.every),
            history: self.history.or(others.history),
        }
    }

    fn is_strict(&self) -> bool {
        self.mode == Some(DetectionMode::Strict)
    }

    fn has_strict_parameters(&self) -> bool {
        self.long_term.is_some() || self.threshold.is_some() || self.only_last.is_some() || self.gaps.is_some()
    }

    fn check_of_type(&self, key: &str, faults: &mut Faults) {
        if let Some(every) = self.every {
            let in_bounds = (Duration::from_secs(1)..=EVERY_MAX).contains(&every);
            faults.unless(in_bounds, format!("{key}.every"), duration_text::print(every), "from 1s to 1d");
        }
        if let Some(history) = self.history {
            let in_bounds = (HISTORY_STEPS_MIN..=HISTORY_STEPS_MAX).contains(&history);
            faults.unless(in_bounds, format!("{key}.history"), history, "from 48 to 50,000 steps");
        }
        self.check(key, self, faults);
    }

    fn check_of_property(&self, key: &str, of_type: &Self, faults: &mut Faults) {
        let rule = "is said of a sensor type as a whole, in its own `detection`";
        if let Some(every) = self.every {
            faults.unless(false, format!("{key}.every"), duration_text::print(every), rule);
        }
        if let Some(history) = self.history {
            faults.unless(false, format!("{key}.history"), history, rule);
        }
        self.check(key, &self.over(of_type), faults);
    }

    /// Checks what is given here; `whole` is that with what it leaves open.
    fn check(&self, key: &str, whole: &Self, faults: &mut Faults) {
        let at = |rest: &str| format!("{key}.{rest}");
        if let Some(period) = self.period {
            let none = period == 0 && !whole.is_strict();
            let in_bounds = (2..=HISTORY_STEPS_MAX / HISTORY_SEASONS_MIN).contains(&period);
            let rule = if whole.is_strict() {
                "from 2 to 16,666 steps; strict mode needs a season"
            } else {
                "from 2 to 16,666 steps, or 0 for no season"
            };
            faults.unless(none || in_bounds, at("period"), period, rule);
        }
        let is_said_here = self.period.is_some() || self.history.is_some();
        if let (Some(period), Some(history), true) = (whole.period, whole.history, is_said_here) {
            let fits = u64::from(period) * u64::from(HISTORY_SEASONS_MIN) <= u64::from(history);
            faults.unless(fits, at("period"), period, "at most a third of `history`");
        }
        if let Some(share) = self.max_anoms {
            faults.unless(share > 0.0 && share < 0.5, at("max_anoms"), share, "greater than 0 and less than 0.5");
        }
        if let Some(alpha) = self.alpha {
            faults.unless(alpha > 0.0 && alpha < 1.0, at("alpha"), alpha, "greater than 0 and less than 1");
        }
        if self.has_strict_parameters() && !whole.is_strict() {
            let given = "`long_term`, `threshold`, `only_last` or `gaps`";
            faults.unless(false, key, given, "these are parameters of `mode` = `strict`");
        }
        if let Some(long_term) = self.long_term {
            let seasons = 2 * u64::from(whole.period.unwrap_or(2)) + 1;
            let in_bounds = (seasons..=2 * u64::from(HISTORY_STEPS_MAX)).contains(&u64::from(long_term));
            faults.unless(in_bounds, at("long_term"), long_term, "more than two seasons, at most 100,000 steps");
        }
    }
}

impl SensorTypeDraft {
    pub(crate) fn check_detection(&self, faults: &mut Faults) {
        self.detection.check_of_type("detection", faults);
        for property in &self.properties {
            let key = format!("properties.{}.detection", property.id);
            property.detection.check_of_property(&key, &self.detection, faults);
        }
    }

    /// The same type with other settings of detection for all of its properties: those that are given count before all others.
    ///
    /// # Errors
    /// Every [`SensorTypeFault`] that there is then.
    pub fn with_detection(&self, given: &Detection) -> Result<Self, Vec<SensorTypeFault>> {
        let mut faults = Faults::default();
        if let Some(every) = given.every {
            let rule = "is said of a sensor type alone: a run is not repeated";
            faults.unless(false, "detection.every", duration_text::print(every), rule);
        }
        let mut changed = self.clone();
        changed.detection = given.over(&self.detection);
        changed.detection.check_of_type("detection", &mut faults);
        // Else each property would name the same again.
        faults.into_result()?;
        let of_property = Detection { every: None, history: None, ..given.clone() };
        for property in &mut changed.properties {
            property.detection = of_property.over(&property.detection);
        }
        let mut faults = Faults::default();
        changed.check_detection(&mut faults);
        faults.into_result().map(|()| changed)
    }

    /// How many steps before a value it is judged by: what the type says, else `default`, or more where a season needs more.
    pub fn detection_history(&self, default: u32) -> u32 {
        if let Some(history) = self.detection.history {
            return history;
        }
        let periods = self.properties.iter().filter_map(|property| property.detection.over(&self.detection).period);
        // One season more than is needed, for values that are missing.
        let wanted = periods.max().unwrap_or(0).saturating_mul(HISTORY_SEASONS_MIN + 1);
        default.max(wanted).clamp(HISTORY_STEPS_MIN, HISTORY_STEPS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(of_type: &str, of_property: &str) -> SensorTypeDraft {
        let text = format!(
            r#"{{"sampling_interval": "1h", "properties": [{{"id": "a", "unit": "1", "detection": {of_property}}}, {{"id": "b", "unit": "1"}}], "detection": {of_type}}}"#
        );
        serde_json::from_str(&text).expect("the keys are known")
    }

    fn shown(faults: Vec<SensorTypeFault>) -> Vec<String> {
        faults.iter().map(|fault| format!("{}: {}", fault.key, fault.value)).collect()
    }

    #[track_caller]
    fn check(of_type: &str, of_property: &str, expected: &[&str]) {
        let faults = draft(of_type, of_property).check().err().unwrap_or_default();
        assert_eq!(shown(faults), expected, "{of_type} {of_property}");
    }

    #[test]
    fn settings_read_back_as_they_were_written() {
        let of_type = r#"{"mode":"strict","period":24,"max_anoms":0.1,"alpha":0.01,"direction":"pos","long_term":336,"threshold":"med_max","only_last":true,"gaps":"interpolate","every":"5m","history":336}"#;
        check(of_type, "{}", &[]);
        let read = draft(of_type, r#"{"mode":"off"}"#);
        assert_eq!(serde_json::to_string(&read.detection).expect("written"), of_type);
        assert_eq!(serde_json::to_string(&read.properties[0].detection).expect("written"), r#"{"mode":"off"}"#);
        let without = serde_json::to_string(&draft("{}", "{}")).expect("written");
        assert!(!without.contains("detection"), "{without}");
        assert!(serde_json::from_str::<Detection>(r#"{"periods": 24}"#).is_err());
    }

    #[test]
    fn faults_name_key_and_value() {
        check(r#"{"every": "999ms", "history": 47}"#, "{}", &["detection.every: 999ms", "detection.history: 47"]);
        check("{}", r#"{"every": "1m"}"#, &["properties.a.detection.every: 1m"]);
        check("{}", r#"{"period": 1}"#, &["properties.a.detection.period: 1"]);
        check("{}", r#"{"period": 0}"#, &[]);
        check(r#"{"mode": "strict"}"#, r#"{"period": 0}"#, &["properties.a.detection.period: 0"]);
        check(r#"{"history": 60}"#, r#"{"period": 24}"#, &["properties.a.detection.period: 24"]);
        check("{}", r#"{"max_anoms": 0.5}"#, &["properties.a.detection.max_anoms: 0.5"]);
        check(r#"{"alpha": 0}"#, "{}", &["detection.alpha: 0"]);
        check(
            "{}",
            r#"{"long_term": 336}"#,
            &["properties.a.detection: `long_term`, `threshold`, `only_last` or `gaps`"],
        );
        check(r#"{"mode": "strict"}"#, r#"{"long_term": 336}"#, &[]);
        check(r#"{"mode": "strict"}"#, r#"{"period": 24, "long_term": 48}"#, &["properties.a.detection.long_term: 48"]);
    }

    #[test]
    fn what_is_given_counts_before_the_property_and_that_before_the_type() {
        let draft = draft(r#"{"mode": "strict", "period": 24, "gaps": "drop"}"#, r#"{"period": 12, "alpha": 0.01}"#);
        let given = Detection { alpha: Some(0.1), history: Some(100), ..Detection::default() };
        let changed = draft.with_detection(&given).expect("valid");
        assert_eq!(changed.detection.history, Some(100));
        let whole = |index: usize| changed.properties[index].detection.over(&changed.detection);
        assert_eq!((whole(0).period, whole(0).alpha), (Some(12), Some(0.1)));
        assert_eq!((whole(1).period, whole(1).gaps), (Some(24), Some(DetectionGaps::Drop)));
        let guarded = Detection { mode: Some(DetectionMode::Guarded), ..Detection::default() };
        assert_eq!(draft.with_detection(&guarded).expect("valid").properties[0].detection.gaps, None);
        let long = Detection { history: Some(48), every: Some(Duration::from_secs(60)), ..Detection::default() };
        let faults = shown(draft.with_detection(&long).expect_err("a season that does not fit"));
        assert_eq!(faults, ["detection.every: 1m", "detection.period: 24"]);
        let wrong = Detection { max_anoms: Some(0.7), ..Detection::default() };
        let faults = shown(draft.with_detection(&wrong).expect_err("too great a share"));
        assert_eq!(faults, ["detection.max_anoms: 0.7"], "once, not for each property again");
    }

    #[test]
    fn a_long_season_has_a_long_history() {
        assert_eq!(draft("{}", "{}").detection_history(672), 672);
        assert_eq!(draft("{}", r#"{"period": 1440}"#).detection_history(672), 5_760);
        assert_eq!(draft(r#"{"history": 4320}"#, r#"{"period": 1440}"#).detection_history(672), 4_320);
    }
}
