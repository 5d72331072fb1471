//! How the values of a sensor type are judged: what its definition says, and defaults where it says nothing.
//!
//! **Invariant:** a property's fingerprint changes with everything that its findings depend on besides the values, and with nothing else.

use std::time::Duration;

use detect::{
    Direction,
    guarded::{self, Season},
    strict::{self, Threshold},
};
use domain::{
    Detection, DetectionDirection, DetectionGaps, DetectionMode, DetectionThreshold, HISTORY_STEPS_DEFAULT,
    ObservedProperty, PropertyId, SensorType, SensorTypeId,
};
use serde_json::{Map, Value, json};

/// Microseconds of a day.
const DAY_MICROS: u64 = 86_400_000_000;

/// How values are judged where their type does not say.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How many steps of the type's sampling interval before a value it is judged by, at least.
    pub history_steps: u32,
    /// The greatest share of values that may be anomalies.
    pub anomalies_max: f64,
    /// Chance of finding an anomaly where there is none.
    pub alpha: f64,
}

impl Default for Settings {
    /// Four weeks of hourly readings.
    fn default() -> Self {
        Self { history_steps: HISTORY_STEPS_DEFAULT, anomalies_max: 0.2, alpha: 0.05 }
    }
}

/// How the values of one type are judged.
#[derive(Debug, Clone, PartialEq)]
pub struct TypeSettings {
    pub(super) sensor_type: SensorTypeId,
    pub(super) step: Duration,
    history_steps: u32,
    /// Of each property how it is judged; `None` where it is not.
    pub(super) properties: Vec<Option<PropertySettings>>,
    /// All of it as JSON text.
    pub parameters: String,
    /// What tells these settings from others, in 16 hexadecimal digits.
    pub fingerprint: String,
}

/// How the values of one property are judged.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PropertySettings {
    pub property: PropertyId,
    pub method: Method,
    pub fingerprint: String,
}

/// A method with its parameters.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Method {
    Guarded(guarded::Settings),
    Strict(Strict),
}

/// The published method over readings as they are.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Strict {
    /// Its period is 0 where it is to be found.
    pub settings: strict::Settings,
    /// Seasons that are likely where it is to be found.
    pub likely: [usize; 2],
    pub gaps: DetectionGaps,
}

impl Settings {
    /// The settings for a type: what it says and, where it says nothing, these.
    pub fn for_type(&self, sensor_type: &SensorType) -> TypeSettings {
        let definition = &sensor_type.definition;
        let step = definition.sampling_interval;
        let history_steps = definition.detection_history(self.history_steps);
        let scale = Scale::new(step, history_steps);
        let (mut properties, mut parameters) = (Vec::new(), Map::new());
        for property in &definition.properties {
            let detection = property.detection.over(&definition.detection);
            let Some((method, said)) = self.method(&detection, property, &scale) else {
                properties.push(None);
                continue;
            };
            let fingerprint = hexadecimal(&said);
            properties.push(Some(PropertySettings { property: property.id.clone(), method, fingerprint }));
            parameters.insert(property.id.to_string(), said);
        }
        let parameters = Value::Object(parameters);
        TypeSettings {
            sensor_type: sensor_type.id.clone(),
            step,
            history_steps,
            properties,
            fingerprint: hexadecimal(&parameters),
            parameters: parameters.to_string(),
        }
    }

    /// How a property is judged, and the same in JSON; `None` where it is not.
    fn method(&self, detection: &Detection, property: &ObservedProperty, scale: &Scale) -> Option<(Method, Value)> {
        match detection.mode.unwrap_or_default() {
            DetectionMode::Guarded => Some(self.guarded(detection, property, scale)),
            DetectionMode::Strict => Some(self.strict(detection, scale)),
            DetectionMode::Off => None,
        }
    }

    fn guarded(&self, detection: &Detection, property: &ObservedProperty, scale: &Scale) -> (Method, Value) {
        let season = match detection.period {
            None => Season::Find { likely: scale.likely },
            Some(0) => Season::None,
            Some(period) => Season::Of(period as usize),
        };
        let settings = guarded::Settings {
            season,
            anomalies_max: detection.max_anoms.unwrap_or(self.anomalies_max),
            alpha: detection.alpha.unwrap_or(self.alpha),
            direction: direction(detection),
            resolution: property.resolution,
            ..guarded::Settings::default()
        };
        let said = json!({
            "mode": "guarded",
            "step_us": scale.step_micros,
            "history": scale.history_steps,
            "period": detection.period,
            "likely_periods": if detection.period.is_none() { Some(scale.likely) } else { None },
            "max_anoms": settings.anomalies_max,
            "alpha": settings.alpha,
            "direction": detection.direction.unwrap_or_default(),
            "resolution": property.resolution,
        });
        (Method::Guarded(settings), said)
    }

    fn strict(&self, detection: &Detection, scale: &Scale) -> (Method, Value) {
        let threshold = detection.threshold.map(|threshold| match threshold {
            DetectionThreshold::MedMax => Threshold::MedianOfMaxima,
            DetectionThreshold::P95 => Threshold::Percentile95,
            DetectionThreshold::P99 => Threshold::Percentile99,
        });
        let settings = strict::Settings {
            period: detection.period.unwrap_or(0) as usize,
            anomalies_max: detection.max_anoms.unwrap_or(self.anomalies_max),
            alpha: detection.alpha.unwrap_or(self.alpha),
            direction: direction(detection),
            piece: detection.long_term.map(|steps| steps as usize),
            threshold,
            only_last: detection.only_last.unwrap_or(false),
        };
        let gaps = detection.gaps.unwrap_or_default();
        let said = json!({
            "mode": "strict",
            "step_us": scale.step_micros,
            "history": scale.history_steps,
            "period": detection.period,
            "likely_periods": if detection.period.is_none() { Some(scale.likely) } else { None },
            "max_anoms": settings.anomalies_max,
            "alpha": settings.alpha,
            "direction": detection.direction.unwrap_or_default(),
            "long_term": detection.long_term,
            "threshold": detection.threshold,
            "only_last": settings.only_last,
            "gaps": gaps,
        });
        (Method::Strict(Strict { settings, likely: scale.likely, gaps }), said)
    }
}

fn direction(detection: &Detection) -> Direction {
    match detection.direction.unwrap_or_default() {
        DetectionDirection::Both => Direction::Both,
        DetectionDirection::Pos => Direction::Positive,
        DetectionDirection::Neg => Direction::Negative,
    }
}

/// What a type says of time.
struct Scale {
    step_micros: u64,
    history_steps: u32,
    /// Steps of a day and of a week, 0 where they do not fit into the history three times.
    likely: [usize; 2],
}

impl Scale {
    fn new(step: Duration, history_steps: u32) -> Self {
        let step_micros = u64::try_from(step.as_micros()).unwrap_or(u64::MAX).max(1);
        let likely = [1, 7].map(|days| {
            let steps = usize::try_from(days * DAY_MICROS / step_micros).unwrap_or(usize::MAX);
            if steps <= history_steps as usize / 3 { steps } else { 0 }
        });
        Self { step_micros, history_steps, likely }
    }
}

impl TypeSettings {
    /// How long before a value its history starts.
    pub fn history(&self) -> Duration {
        self.step * self.history_steps
    }

    /// The same in steps.
    pub fn history_steps(&self) -> usize {
        self.history_steps as usize
    }

    /// Kind of the sensors.
    pub fn sensor_type(&self) -> &SensorTypeId {
        &self.sensor_type
    }

    /// How many datastreams of a sensor are judged.
    pub fn datastreams(&self) -> usize {
        self.properties.iter().flatten().count()
    }
}

fn hexadecimal(said: &Value) -> String {
    format!("{:016x}", fingerprint(said.to_string().as_bytes()))
}

/// FNV-1a, 64 bits: the same on every machine and in every version (Fowler, Noll and Vo).
pub fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use domain::SensorTypeDraft;

    use super::*;

    fn settings(of_type: &str, of_property: &str) -> TypeSettings {
        let text = format!(
            r#"{{"sampling_interval": "1h", "properties": [{{"id": "a", "unit": "1", "detection": {of_property}}}, {{"id": "b", "unit": "1"}}], "detection": {of_type}}}"#
        );
        let draft: SensorTypeDraft = serde_json::from_str(&text).expect("a definition");
        let id = SensorTypeId::parse("emb").expect("an id");
        Settings::default().for_type(&SensorType::first(id, 1, draft).expect("valid"))
    }

    fn fingerprints(settings: &TypeSettings) -> Vec<Option<&str>> {
        settings.properties.iter().map(|p| p.as_ref().map(|p| p.fingerprint.as_str())).collect()
    }

    #[test]
    fn a_fingerprint_is_of_its_property_alone() {
        let plain = settings("{}", "{}");
        let one = settings("{}", r#"{"alpha": 0.01}"#);
        assert_ne!(fingerprints(&plain)[0], fingerprints(&one)[0]);
        assert_eq!(fingerprints(&plain)[1], fingerprints(&one)[1]);
        assert_ne!(plain.fingerprint, one.fingerprint);
        let same = settings(r#"{"alpha": 0.05, "every": "1h"}"#, r#"{"direction": "both"}"#);
        assert_eq!(fingerprints(&plain), fingerprints(&same));
        let off = settings("{}", r#"{"mode": "off"}"#);
        assert_eq!(fingerprints(&off)[0], None);
        assert_eq!((off.datastreams(), plain.datastreams()), (1, 2));
    }

    #[test]
    fn strict_mode_takes_its_parameters() {
        let of_type = r#"{"mode": "strict", "period": 24, "long_term": 336, "threshold": "p99", "only_last": true, "gaps": "drop", "direction": "neg"}"#;
        let strict = settings(of_type, r#"{"mode": "guarded", "period": 0}"#);
        let methods: Vec<&Method> = strict.properties.iter().flatten().map(|property| &property.method).collect();
        let [Method::Guarded(guarded), Method::Strict(strict)] = methods[..] else { panic!("{methods:?}") };
        assert_eq!(guarded.season, Season::None);
        let expected = strict::Settings {
            period: 24,
            piece: Some(336),
            threshold: Some(Threshold::Percentile99),
            only_last: true,
            direction: Direction::Negative,
            ..strict::Settings::default()
        };
        assert_eq!((strict.settings, strict.gaps), (expected, DetectionGaps::Drop));
    }

    #[test]
    fn likely_seasons_fit_into_the_history_three_times() {
        let plain = settings("{}", "{}");
        let short = settings(r#"{"history": 100}"#, "{}");
        let likely = |settings: &TypeSettings| {
            let Some(PropertySettings { method: Method::Guarded(guarded), .. }) = &settings.properties[0] else {
                panic!("guarded is the default");
            };
            guarded.season
        };
        assert_eq!(likely(&plain), Season::Find { likely: [24, 168] });
        assert_eq!(likely(&short), Season::Find { likely: [24, 0] });
    }
}
