//! The OpenAPI description, assembled from the handlers, and the shapes that it names.

mod detection;
mod quality_control;
mod replays;
mod runs;

use std::collections::BTreeMap;

use utoipa::{OpenApi, ToSchema};

use self::{
    detection::{PropertyDetection, TypeDetection},
    quality_control::QualityControl,
};
pub use self::{
    replays::{Replay, ReplayRequest, Replays},
    runs::{AnomaliesPage, Run, RunRequest, RunsPage},
};
use crate::{
    api::{self, dead_letters, health, readings, sensor_types, sensors},
    output::OutputApi,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "IoT-Hub",
        description = "Sensor readings in over a durable log, labelled by quality control, and out again. Errors are problem details (RFC 9457).",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    paths(
        readings::post,
        readings::delete,
        readings::post_lines,
        sensor_types::list,
        sensor_types::get,
        sensor_types::put,
        sensor_types::delete,
        sensors::list,
        sensors::get,
        sensors::put,
        sensors::delete,
        dead_letters::list,
        dead_letters::get,
        dead_letters::replay,
        api::replays::begin,
        api::replays::list,
        api::replays::get,
        api::replays::end,
        api::runs::begin,
        api::runs::list,
        api::runs::get,
        api::runs::cancel,
        health::root,
        health::live,
        health::ready,
        health::metrics,
    ),
    components(schemas(RepeatedHour)),
    tags(
        (name = "Readings", description = "Readings in and out"),
        (name = "Quality control", description = "Flags, counted and given anew"),
        (name = "Detection", description = "Anomalies that no single value shows, and the runs that look for them"),
        (name = "Sensor types", description = "Kinds of sensors: observed properties, ranges, CSV dialect"),
        (name = "Sensors", description = "Devices: type, name, place, group"),
        (name = "Dead letters", description = "What could not be processed, and why"),
        (name = "Health", description = "How the hub is"),
    )
)]
struct IngestApi;

/// The description of all routes of the service.
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = IngestApi::openapi();
    document.merge(OutputApi::openapi());
    // `HEAD` is described by its `GET`, but an id may name one operation only.
    for item in document.paths.paths.values_mut() {
        if let Some(head) = &mut item.head {
            head.operation_id = None;
        }
    }
    document
}

/// What became of the items of a request.
#[derive(ToSchema)]
#[schema(example = json!({"accepted": 1, "rejected": [{"index": 1, "field": "ph", "value": "abc", "reason": "must be a number or null"}]}))]
pub struct Accepted {
    /// How many items the log holds on disk.
    pub accepted: u64,
    /// The refused items, at most the first 1,000.
    pub rejected: Vec<Rejection>,
    /// How many were refused, where `rejected` does not list them all.
    #[schema(nullable = false)]
    pub rejected_count: Option<u64>,
}

/// What becomes of a sensor that has readings, or may have.
#[derive(ToSchema)]
#[schema(example = json!({"sensor": "emb3", "removal": "begun", "detail": "its readings are deleted when quality control reaches the deletion; then the sensor is gone"}))]
pub struct SensorRemoval {
    /// The sensor.
    pub sensor: String,
    /// How far it is: `begun`.
    pub removal: String,
    /// What happens next, in words.
    pub detail: String,
}

/// Which of its two times a local time means that came twice.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum RepeatedHour {
    /// The earlier one.
    First,
    /// The later one.
    Second,
}

/// Why an item was refused.
#[derive(ToSchema)]
pub struct Rejection {
    /// The item, counted from 0; blank lines and a CSV header row do not count.
    pub index: u32,
    /// The field at fault; empty where it is the item as a whole.
    pub field: String,
    /// What was given there, cut to 80 characters.
    pub value: String,
    /// The rule it breaks; further faults of the item behind it.
    pub reason: String,
    /// In how many seconds the same item may be accepted; not there where it never will be.
    #[schema(nullable = false)]
    pub retry_after_s: Option<u64>,
}

/// An error: problem details (RFC 9457). Members beside these depend on `type`.
#[derive(ToSchema)]
#[schema(example = json!({"type": "urn:iot-hub:problem:not-found", "title": "Not found", "status": 404, "detail": "there is no sensor type `emc`"}))]
pub struct ProblemDetails {
    /// The kind of problem.
    pub r#type: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong in this case.
    pub detail: String,
}

/// Sensor types by id.
#[derive(ToSchema)]
pub struct SensorTypes {
    /// The newest version of each.
    pub items: Vec<SensorType>,
}

/// One version of a sensor type.
#[derive(ToSchema)]
pub struct SensorType {
    /// Id, part of routes and of the topic's name.
    pub id: String,
    /// An integer that is never reused.
    pub number: u64,
    /// Counts the changes of the definition from 1.
    pub version: u32,
    /// What defines it.
    #[schema(inline)]
    #[serde(flatten)]
    pub definition: SensorTypeDefinition,
}

/// What defines a sensor type.
#[derive(ToSchema)]
#[schema(example = json!({
    "name": "Groundwater borehole", "sampling_interval": "1h",
    "properties": [{"id": "sec", "name": "Specific electrical conductance", "unit": "uS/cm", "gross_range": {"fail": [5, 100000], "suspect": [100, 2000]}, "required": true, "resolution": 1}],
    "csv": {"columns": ["date", "time", "sec"], "missing": ["(na)"], "time_zone": "UTC"}
}))]
pub struct SensorTypeDefinition {
    /// What people call it.
    #[schema(required = false)]
    pub name: String,
    /// What it is for.
    #[schema(required = false)]
    pub description: String,
    /// Time between two readings of one sensor: `1s`, `15m`, `1h`, `1d`.
    pub sampling_interval: String,
    /// How long readings are kept, counted from their phenomenon time; for ever if not given.
    pub retention: Option<String>,
    /// Which flags of a value make its reading an anomaly: some of 3, 4 and 9; `[4, 9]` if not given.
    #[schema(required = false, min_items = 1, example = json!([4, 9]))]
    pub anomaly_flags: Vec<u8>,
    /// What it measures, in the order of its answers.
    pub properties: Vec<ObservedProperty>,
    /// How its CSV files without a header row look.
    pub csv: Option<CsvDialect>,
    /// How its values are looked at by detection, as far as no property says otherwise.
    #[schema(required = false)]
    pub detection: TypeDetection,
}

/// A quantity that a sensor type measures.
#[derive(ToSchema)]
pub struct ObservedProperty {
    /// Id, the field name in a reading: a lower-case letter, then lower-case letters, digits and `_`.
    pub id: String,
    /// What people call it.
    #[schema(required = false)]
    pub name: String,
    /// Unit in UCUM, case sensitive.
    pub unit: String,
    /// QARTOD gross range test.
    pub gross_range: Option<GrossRange>,
    /// The other QARTOD tests.
    #[schema(required = false)]
    pub qc: QualityControl,
    /// How its values are looked at by detection.
    #[schema(required = false)]
    pub detection: PropertyDetection,
    /// Whether a reading without it is an anomaly.
    #[schema(required = false)]
    pub required: bool,
    /// The smallest difference the sensor can tell.
    pub resolution: Option<f64>,
}

/// Spans of the gross range test, `[low, high]`, both inclusive.
#[derive(ToSchema)]
pub struct GrossRange {
    /// Outside, a value is flagged 4.
    #[schema(min_items = 2, max_items = 2)]
    pub fail: Vec<f64>,
    /// Outside, a value is flagged 3.
    #[schema(min_items = 2, max_items = 2)]
    pub suspect: Option<Vec<f64>>,
}

/// How a type's CSV files look.
#[derive(ToSchema)]
pub struct CsvDialect {
    /// What each column holds: a property's id, `date`, `time`, `phenomenon_time`, `sensor_id`, or `-` for nothing of interest.
    pub columns: Vec<String>,
    /// Whether the first line names the columns and is left out.
    #[schema(required = false)]
    pub header: bool,
    /// Texts that stand for a missing value, besides an empty cell and `NaN`.
    #[schema(required = false)]
    pub missing: Vec<String>,
    /// IANA time zone of times without an offset. Of an hour that comes twice the order of the lines tells which is meant.
    #[schema(required = false)]
    pub time_zone: String,
}

/// A page of sensors.
#[derive(ToSchema)]
pub struct SensorsPage {
    /// The sensors, by id.
    pub items: Vec<Sensor>,
    /// What to send as `cursor` for the next page; null behind the last.
    pub next_cursor: Option<String>,
}

/// A sensor with the extent of its readings.
#[derive(ToSchema)]
pub struct Sensor {
    /// Unique in the hub.
    pub id: String,
    /// An integer that is never reused.
    pub number: u64,
    /// What is said of it.
    #[schema(inline)]
    #[serde(flatten)]
    pub description: SensorDescription,
    /// How many readings it has.
    pub count: u64,
    /// Its earliest phenomenon time.
    pub first_time: Option<String>,
    /// Its latest phenomenon time.
    pub last_time: Option<String>,
}

/// What is said of a sensor.
#[derive(ToSchema)]
#[schema(example = json!({"sensor_type": "emb", "name": "Borehole 3", "place": {"latitude": 53.8, "longitude": -2.9}, "group": "lancashire"}))]
pub struct SensorDescription {
    /// Id of its sensor type, fixed for ever.
    pub sensor_type: String,
    /// What people call it, up to 200 characters.
    pub name: Option<String>,
    /// Where it stands.
    pub place: Option<Place>,
    /// What it belongs to, up to 200 characters.
    pub group: Option<String>,
}

/// A place on Earth, WGS 84.
#[derive(ToSchema)]
pub struct Place {
    /// Degrees north.
    #[schema(minimum = -90, maximum = 90)]
    pub latitude: f64,
    /// Degrees east.
    #[schema(minimum = -180, maximum = 180)]
    pub longitude: f64,
}

/// A page of dead letters.
#[derive(ToSchema)]
pub struct DeadLettersPage {
    /// The dead letters, oldest first.
    pub items: Vec<DeadLetter>,
    /// What to send as `cursor` for the next page; null behind the last.
    pub next_cursor: Option<String>,
}

/// A deletion of readings that could not be carried out whole.
#[derive(ToSchema)]
pub struct DeadDeletion {
    /// The sensor.
    pub sensor_id: String,
    /// First phenomenon time, inclusive.
    pub from: String,
    /// Last phenomenon time, exclusive.
    pub to: String,
}

/// What could not be processed; has `payload`, `deletion` or `payload_base64`.
#[derive(ToSchema)]
pub struct DeadLetter {
    /// Its id, for reading and replaying it.
    pub id: u64,
    /// Version of this form.
    pub format: u32,
    /// Name of the topic the record came by.
    pub topic: String,
    /// Its partition there.
    pub partition: u32,
    /// Its position there.
    pub position: u64,
    /// How many consecutive records it stands for, where more than one.
    #[schema(nullable = false)]
    pub count: Option<u32>,
    /// The sensor that sent it, where that is known.
    #[schema(nullable = false)]
    pub sensor_id: Option<String>,
    /// Why it could not be processed.
    pub reason: String,
    /// When the log took it.
    pub accepted_at: String,
    /// The reading as JSON text, as it could be posted again.
    #[schema(nullable = false)]
    pub payload: Option<String>,
    /// A deletion of readings.
    #[schema(nullable = false)]
    pub deletion: Option<DeadDeletion>,
    /// The first bytes of records that make no sense.
    #[schema(nullable = false)]
    pub payload_base64: Option<String>,
}

/// Whether the hub is ready.
#[derive(ToSchema)]
#[schema(example = json!({"ready": false, "parts": [{"name": "log", "ready": false, "reason": "the disk is full"}]}))]
pub struct Readiness {
    /// Whether all parts are.
    pub ready: bool,
    /// Each part: `name`, `ready` and, where it is not, `reason`.
    pub parts: Vec<BTreeMap<String, serde_json::Value>>,
}
