//! Sensor types, rows and a judge for the tests of the store.

use std::time::Duration;

use distributed::store::ElasticStore;
use domain::{
    Flag, Judged, Label, LabelRule, ObservedProperty, Position, PropertyId, Row, RowRef, Rows, SensorId, SensorType,
    SensorTypeDraft, SensorTypeId, Timestamp, TypeVersion, Value,
};
use ports::{Judge, Outcome, ReadingQuery, Store};

pub fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("a time")
}

pub fn sensor(text: &str) -> SensorId {
    SensorId::parse(text).expect("an id")
}

pub fn number(number: f64) -> Value {
    Value::number(number).expect("a finite number")
}

/// A version of type `emb` with properties `p0`, `p1`, …
pub fn emb(version: TypeVersion, width: usize) -> SensorType {
    let of = |index| ObservedProperty {
        id: PropertyId::parse(&format!("p{index}")).expect("an id"),
        name: String::new(),
        unit: "1".to_owned(),
        gross_range: None,
        required: false,
        resolution: None,
        qc: domain::QualityControl::default(),
        detection: domain::Detection::default(),
    };
    let definition = SensorTypeDraft {
        name: String::new(),
        description: String::new(),
        sampling_interval: Duration::from_secs(1),
        retention: None,
        anomaly_flags: LabelRule::default(),
        properties: (0..width).map(of).collect(),
        csv: None,
        detection: domain::Detection::default(),
    };
    SensorType::assemble(SensorTypeId::parse("emb").expect("an id"), 1, version, definition)
}

/// Fails numbers above 100; what is missing is flagged 9, what is absent 2.
pub struct AboveHundred;

impl Judge for AboveHundred {
    fn judge(&self, _: TypeVersion, values: &[Value]) -> (Vec<Flag>, Label) {
        let flag = |value: &Value| match value.as_number() {
            Some(number) if number > 100.0 => Flag::Fail,
            Some(_) => Flag::Good,
            None if value.is_absent() => Flag::NotEvaluated,
            None => Flag::Missing,
        };
        let flags: Vec<Flag> = values.iter().map(flag).collect();
        let label = LabelRule::default().label(&flags);
        (flags, label)
    }
}

/// Rows of sensor, time and values, at positions from `from` on.
pub fn judged(from: u64, rows: &[(&str, Timestamp, &[Value])]) -> Judged {
    let width = rows.iter().map(|(_, _, values)| values.len()).max().unwrap_or(1);
    let mut judged = Judged { sensor_ids: Vec::new(), rows: Rows::new(width) };
    for ((sensor_id, phenomenon_time, values), position) in rows.iter().zip(from..) {
        let position = Position(position);
        let (flags, label) = AboveHundred.judge(1, values);
        let row = Row {
            phenomenon_time: *phenomenon_time,
            accepted_at: time("2017-02-08T15:00:00Z"),
            position,
            first_position: position,
            type_version: 1,
            label,
        };
        judged.rows.push(RowRef { row, values, flags: &flags });
        judged.sensor_ids.push(sensor(sensor_id));
    }
    judged
}

/// Writes rows of type `emb`.
pub async fn write(store: &ElasticStore, from: u64, rows: &[(&str, Timestamp, &[Value])]) -> Vec<Outcome> {
    store.write(&emb(1, 1).id, &judged(from, rows), &AboveHundred).await.expect("a write")
}

/// Sensor, time and values of each row that a scan answers.
pub async fn scanned(store: &ElasticStore, query: &ReadingQuery) -> Vec<(String, Timestamp, Vec<Value>)> {
    let mut scan = store.scan(&emb(1, 1).id, query).await.expect("a scan");
    let mut found = Vec::new();
    while let Some(some) = scan.next(1_000).await.expect("rows") {
        let row = |row: RowRef<'_>| (some.sensor_id.to_string(), row.row.phenomenon_time, row.values.to_vec());
        found.extend(some.rows.iter().map(row));
    }
    found
}
