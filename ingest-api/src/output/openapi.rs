//! The shapes of the answers, for the OpenAPI description.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

/// A page of readings.
#[derive(Debug, ToSchema)]
#[schema(example = json!({
    "items": [{
        "sensor_id": "emb3", "phenomenon_time": "2017-02-08T15:00:00Z",
        "sec": 904, "ph": 7.34, "water_level": 27.24, "water_temp": 11.3, "tdg": null,
        "qc": "anomaly", "flags": {"sec": 1, "ph": 1, "water_level": 1, "water_temp": 1, "tdg": 9}
    }],
    "next_cursor": null
}))]
pub struct ReadingsPage {
    /// The readings, by sensor id, then phenomenon time.
    pub items: Vec<StoredReading>,
    /// What to send as `cursor` for the next page; null behind the last.
    pub next_cursor: Option<String>,
}

/// A reading with its judgement; each property of the sensor type is a member beside these, null where it is missing.
#[derive(Debug, Serialize, ToSchema)]
pub struct StoredReading {
    /// Id of the sensor.
    pub sensor_id: String,
    /// The time it speaks of: RFC 3339, UTC.
    pub phenomenon_time: String,
    /// The properties.
    #[serde(flatten)]
    pub values: BTreeMap<String, Option<f64>>,
    /// `normal`, or `anomaly` where a value failed or is missing.
    pub qc: String,
    /// QARTOD flag of each property: 1 good, 2 not evaluated, 3 suspect, 4 fail, 9 missing.
    pub flags: BTreeMap<String, u8>,
}

/// Statistics of a datastream in intervals.
#[derive(Debug, ToSchema)]
#[schema(example = json!({
    "sensor_id": "emb3", "property": "sec", "unit": "uS/cm", "interval": "1h",
    "items": [{"start": "2017-02-08T15:00:00Z", "count": 1, "mean": 904, "min": 904, "max": 904, "stddev": 0}]
}))]
pub struct Buckets {
    /// Id of the sensor.
    pub sensor_id: String,
    /// Id of the observed property.
    pub property: String,
    /// Its unit, in UCUM.
    pub unit: String,
    /// Width of a bucket, as asked for.
    pub interval: String,
    /// The buckets that have values, in order of time.
    pub items: Vec<BucketItem>,
}

/// Statistics of one interval, as far as they were asked for; null where one is beyond a 64-bit float.
#[derive(Debug, ToSchema)]
pub struct BucketItem {
    /// First time of the interval.
    pub start: String,
    /// How many values.
    pub count: Option<u64>,
    /// Their mean.
    pub mean: Option<f64>,
    /// The least.
    pub min: Option<f64>,
    /// The greatest.
    pub max: Option<f64>,
    /// Their population standard deviation.
    pub stddev: Option<f64>,
}

/// How many values have which flag.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "sensor_type": "emb",
    "items": [{"sensor_id": "emb3", "readings": 2, "anomalies": 1, "flags": {"sec": {"1": 2}, "ph": {"1": 1, "9": 1}},
        "tests": {"sec": {"gross_range": {"1": 2}}, "ph": {"gross_range": {"1": 1, "9": 1}}}}]
}))]
pub struct FlagSummary {
    /// Id of the sensor type.
    pub sensor_type: String,
    /// The sensors that have readings, by id.
    pub items: Vec<SensorFlags>,
}

/// How many values of a sensor have which flag.
#[derive(Debug, Serialize, ToSchema)]
pub struct SensorFlags {
    /// Id of the sensor.
    pub sensor_id: String,
    /// How many readings.
    pub readings: u64,
    /// How many of them are labelled `anomaly`.
    pub anomalies: u64,
    /// Of each property, by flag: how many values; flags that no value has are left out.
    pub flags: BTreeMap<String, BTreeMap<String, u64>>,
    /// The same of each property's tests, whose flags these roll up.
    pub tests: BTreeMap<String, BTreeMap<&'static str, BTreeMap<String, u64>>>,
}

/// A page of a sensor's readings with the flags of every test.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "sensor_type": "emb-qartod", "sensor_id": "emb3",
    "items": [{"phenomenon_time": "2017-02-08T15:00:00Z", "type_version": 1, "qc": "anomaly",
        "flags": {"sec": 4}, "tests": {"sec": {"gross_range": 1, "spike": 4, "rate_of_change": 3, "flat_line": 1}}}],
    "next_cursor": null
}))]
pub struct FlagsPage {
    /// Id of the sensor type.
    pub sensor_type: String,
    /// Id of the sensor.
    pub sensor_id: String,
    /// Its readings, in the order of their times.
    pub items: Vec<FlaggedReading>,
    /// What to send as `cursor` for the next page; null behind the last.
    pub next_cursor: Option<String>,
}

/// What each test says of each value of a reading.
#[derive(Debug, Serialize, ToSchema)]
pub struct FlaggedReading {
    /// The time it speaks of: RFC 3339, UTC.
    pub phenomenon_time: String,
    /// Version of the sensor type that judged it.
    pub type_version: u32,
    /// Its label.
    pub qc: &'static str,
    /// QARTOD flag of each property, as it is stored.
    pub flags: BTreeMap<String, u8>,
    /// Of each property that the version has, the flag of each of its tests.
    pub tests: BTreeMap<String, BTreeMap<&'static str, u8>>,
}
