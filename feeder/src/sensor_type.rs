//! What the feeder needs to know of a sensor type, as `GET /v1/sensor-types/{id}` tells it.

use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;

use crate::hub::Hub;

/// A kind of sensor.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SensorType {
    /// Its id, as `emb`.
    pub id: String,
    /// Its name for people.
    #[serde(default)]
    pub name: Option<String>,
    /// How far apart its readings usually are.
    #[serde(default, deserialize_with = "duration_text")]
    pub sampling_interval: Option<Duration>,
    /// What it measures, in the order of the type.
    pub properties: Vec<Property>,
    /// How its CSV files are written; none for a type that has no such files.
    #[serde(default)]
    pub csv: Option<Dialect>,
}

/// An observed property.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Property {
    /// Its id, as `ph`.
    pub id: String,
    /// The range outside of which a value cannot be right.
    #[serde(default)]
    pub gross_range: Option<GrossRange>,
    /// The step between two values the sensor can tell apart.
    #[serde(default)]
    pub resolution: Option<f64>,
}

/// The spans of a gross range, bounds inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct GrossRange {
    /// What the sensor can report.
    pub fail: (f64, f64),
    /// What is usual where it stands.
    #[serde(default)]
    pub suspect: Option<(f64, f64)>,
}

/// A CSV dialect.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Dialect {
    /// What each column holds: a property's id, `date`, `time`, `phenomenon_time`, `sensor_id`, or `-` for nothing.
    pub columns: Vec<String>,
    /// Whether each file begins with a line of column names.
    pub header: bool,
    /// The time zone of `date` and `time`, an IANA name.
    pub time_zone: String,
}

impl Default for Dialect {
    fn default() -> Self {
        Self { columns: Vec::new(), header: false, time_zone: "UTC".to_owned() }
    }
}

impl SensorType {
    /// Fetches a type from a hub; `None` when the hub does not know it or stopping was asked for.
    ///
    /// # Errors
    ///
    /// As [`Hub::get`].
    pub async fn fetch(hub: &mut Hub, id: &str) -> anyhow::Result<Option<Self>> {
        hub.get(&format!("/v1/sensor-types/{id}")).await
    }
}

fn duration_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    text.map(|text| humantime::parse_duration(&text).map_err(serde::de::Error::custom)).transpose()
}

/// Checks an id that becomes part of a URL: ASCII letters, digits, `.`, `_`, `:` and `-`, 1 to 128 of them.
///
/// # Errors
///
/// Names `item`, the id and the rule.
pub fn check_id(item: &str, id: &str) -> anyhow::Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    let valid = (1..=128).contains(&id.len()) && id.bytes().all(allowed) && id.as_bytes()[0].is_ascii_alphanumeric();
    valid.then_some(()).with_context(|| {
        format!(
            "{item}: `{id}` is not 1 to 128 ASCII letters, digits, `.`, `_`, `:` or `-`, the first a letter or digit"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_is_read_as_the_hub_tells_it() {
        let emb: SensorType = serde_json::from_str(
            r#"{"id":"emb","name":"Groundwater borehole","sampling_interval":"1h","retention":null,"number":1,"version":3,
            "properties":[{"id":"sec","unit":"uS/cm","gross_range":{"fail":[5,100000],"suspect":[100,2000]},"resolution":1},
            {"id":"ph","unit":"[pH]","gross_range":{"fail":[1,13]},"resolution":null}],
            "csv":{"columns":["date","time","sec","ph"],"header":false,"missing":["(na)"],"time_zone":"UTC"}}"#,
        )
        .expect("valid");
        assert_eq!(emb.sampling_interval, Some(Duration::from_secs(3600)));
        assert_eq!(emb.properties[0].gross_range.expect("given").suspect, Some((100.0, 2000.0)));
        assert_eq!((emb.properties[1].resolution, emb.csv.expect("given").columns.len()), (None, 4));
    }

    #[test]
    fn id_that_would_change_the_url_is_refused() {
        assert!(check_id("sensor", "emb3").is_ok());
        for id in ["", "a/b", "-a", "a b", "a?b", "ä", &"a".repeat(129)] {
            assert!(check_id("sensor", id).is_err(), "{id}");
        }
    }
}
