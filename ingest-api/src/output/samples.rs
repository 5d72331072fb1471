//! Sensor types and rows for the tests of this folder.

use std::sync::Arc;

use domain::{
    Flag, LabelRule, ObservedProperty, Position, PropertyId, Row, RowRef, Rows, SensorId, SensorType, SensorTypeDraft,
    SensorTypeId, Timestamp, Value,
};

/// A type of the properties named, in `uS/cm`.
pub fn sensor_type(id: &str, properties: &[&str]) -> Arc<SensorType> {
    let property = |id: &&str| ObservedProperty {
        id: PropertyId::parse(id).expect("a property id"),
        name: String::new(),
        unit: "uS/cm".to_owned(),
        gross_range: None,
        required: false,
        qc: Default::default(),
        detection: Default::default(),
        resolution: None,
    };
    let draft = SensorTypeDraft {
        name: String::new(),
        description: String::new(),
        sampling_interval: std::time::Duration::from_secs(1),
        retention: None,
        anomaly_flags: LabelRule::default(),
        properties: properties.iter().map(property).collect(),
        csv: None,
        detection: Default::default(),
    };
    Arc::new(SensorType::first(SensorTypeId::parse(id).expect("a type id"), 1, draft).expect("a valid type"))
}

/// A sensor's id.
pub fn sensor(id: &str) -> SensorId {
    SensorId::parse(id).expect("a sensor id")
}

/// A value.
pub fn number(number: f64) -> Value {
    Value::number(number).expect("finite")
}

/// Appends a row of this time.
pub fn push(rows: &mut Rows, micros: i64, values: &[Value], flags: &[Flag]) {
    let time = Timestamp::from_micros(micros);
    let row = Row {
        phenomenon_time: time,
        accepted_at: time,
        position: Position(0),
        first_position: Position(0),
        type_version: 1,
        label: LabelRule::default().label(flags),
    };
    rows.push(RowRef { row, values, flags });
}
