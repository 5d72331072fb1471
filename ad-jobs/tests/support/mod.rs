//! A sensor type of one property, and rows of it in a store.

use std::time::Duration;

use domain::{
    Detection, Flag, GrossRange, Judged, Label, LabelRule, ObservedProperty, Position, PropertyId, QualityControl, Row,
    RowRef, Rows, SensorId, SensorType, SensorTypeDraft, SensorTypeId, Span, Timestamp, TypeVersion, Value,
};
use ports::{Judge, Store};

/// Microseconds of an hour.
pub const HOUR_MICROS: i64 = 3_600_000_000;

/// Flags below 5 as failed, as the built-in type does.
pub struct AtLeastFive;

impl Judge for AtLeastFive {
    fn judge(&self, _: TypeVersion, values: &[Value]) -> (Vec<Flag>, Label) {
        let flag = |value: &Value| match value.as_number() {
            Some(number) if number < 5.0 => Flag::Fail,
            Some(_) => Flag::Good,
            None => Flag::Missing,
        };
        let flags: Vec<Flag> = values.iter().map(flag).collect();
        let label = LabelRule::default().label(&flags);
        (flags, label)
    }
}

/// What the type says.
pub fn definition() -> SensorTypeDraft {
    let property = ObservedProperty {
        id: PropertyId::parse("sec").expect("an id"),
        name: String::new(),
        unit: "uS/cm".to_owned(),
        gross_range: Some(GrossRange { fail: Span(5.0, 100_000.0), suspect: None }),
        required: true,
        resolution: Some(1.0),
        qc: QualityControl::default(),
        detection: Detection::default(),
    };
    SensorTypeDraft {
        name: String::new(),
        description: String::new(),
        sampling_interval: Duration::from_secs(3600),
        retention: None,
        anomaly_flags: LabelRule::default(),
        properties: vec![property],
        csv: None,
        detection: Detection::default(),
    }
}

/// The type's id.
pub fn type_id() -> SensorTypeId {
    SensorTypeId::parse("emb").expect("an id")
}

/// The type itself.
pub fn sensor_type() -> SensorType {
    SensorType::first(type_id(), 1, definition()).expect("it is valid")
}

/// A reading of a sensor.
pub struct Stored<'a> {
    /// The sensor.
    pub sensor: &'a str,
    /// Hour of its phenomenon time since 1970.
    pub hour: i64,
    /// What was read.
    pub value: f64,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Where it is in the log.
    pub position: u64,
}

/// Puts a reading into a store.
pub async fn store(store: &dyn Store, reading: Stored<'_>) {
    let sensor_type = sensor_type();
    store.prepare(&sensor_type).await.expect("room for the type");
    let values = [Value::number(reading.value).expect("finite")];
    let (flags, label) = AtLeastFive.judge(1, &values);
    let row = Row {
        phenomenon_time: Timestamp::from_micros(reading.hour * HOUR_MICROS),
        accepted_at: reading.accepted_at,
        position: Position(reading.position),
        first_position: Position(reading.position),
        type_version: 1,
        label,
    };
    let mut rows = Rows::new(1);
    rows.push(RowRef { row, values: &values, flags: &flags });
    let judged = Judged { sensor_ids: vec![SensorId::parse(reading.sensor).expect("an id")], rows };
    store.write(&sensor_type.id, &judged, &AtLeastFive).await.expect("written");
}
