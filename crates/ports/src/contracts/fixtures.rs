//! Names, readings, sensor types and judged rows that the contracts work with, and a reproducible source of chance.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use domain::{
    Flag, Judged, Label, LabelRule, ObservedProperty, Position, PropertyId, Readings, Row, RowRef, Rows, SensorId,
    SensorType, SensorTypeDraft, SensorTypeId, Timestamp, Topic, TypeVersion, Value,
};

use crate::{Batch, Document, Judge};

/// 2017-02-08T15:00:00Z, where the clocks of the contracts start.
pub(super) const START: Timestamp = Timestamp::from_micros(1_486_566_000_000_000);

/// A name that no other test has, on whatever server it runs.
pub(super) fn unique(what: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock behind 1970");
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{what}-{:x}-{:x}-{count}", std::process::id(), since.as_micros())
}

/// A sensor type id that no other test has.
pub(super) fn unique_type() -> SensorTypeId {
    SensorTypeId::parse(&unique("t")).expect("letters, digits and hyphens")
}

/// A topic of readings that no other test has.
pub(super) fn unique_topic() -> Topic {
    Topic::readings(&unique_type())
}

pub(super) fn sensor(number: u64) -> SensorId {
    SensorId::parse(&format!("s{number}")).expect("a letter and digits")
}

pub(super) fn number(number: f64) -> Value {
    Value::number(number).expect("a finite number")
}

/// `START` and that many seconds.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(START.as_micros() + seconds * 1_000_000)
}

pub(super) fn property(index: usize) -> PropertyId {
    PropertyId::parse(&format!("p{index}")).expect("a letter and digits")
}

/// The first `width` properties.
pub(super) fn properties(width: usize) -> Arc<[PropertyId]> {
    (0..width).map(property).collect()
}

/// Readings of one property, one for each sensor number and second given; each value is its index.
pub(super) fn readings(identities: impl IntoIterator<Item = (u64, i64)>) -> Batch {
    let mut readings = Readings::new(properties(1));
    for (index, (sensor_number, second)) in identities.into_iter().enumerate() {
        readings.push(sensor(sensor_number), at(second), &[number(index as f64)]);
    }
    Batch::Readings { type_version: 1, readings }
}

pub(super) fn document(key: &str, body: Option<&str>) -> Document {
    Document { key: key.to_owned(), body: body.map(|body| body.as_bytes().into()) }
}

/// A version of a sensor type with this many properties.
pub(super) fn sensor_type(id: &SensorTypeId, version: TypeVersion, width: usize) -> SensorType {
    let unit = || "1".to_owned();
    let of = |id| ObservedProperty {
        id,
        name: String::new(),
        unit: unit(),
        gross_range: None,
        required: false,
        qc: Default::default(),
        detection: Default::default(),
        resolution: None,
    };
    let definition = SensorTypeDraft {
        name: String::new(),
        description: String::new(),
        sampling_interval: Duration::from_secs(1),
        retention: None,
        anomaly_flags: LabelRule::default(),
        properties: properties(width).iter().cloned().map(of).collect(),
        csv: None,
        detection: Default::default(),
    };
    SensorType::assemble(id.clone(), 1, version, definition)
}

/// Fails numbers above 100 per version, flags what is missing 9 and what is absent 2. Even versions take only what is missing for an anomaly.
pub(super) struct TestJudge;

impl Judge for TestJudge {
    fn judge(&self, type_version: TypeVersion, values: &[Value]) -> (Vec<Flag>, Label) {
        let flag = |value: &Value| match value.as_number() {
            Some(number) if number > 100.0 * f64::from(type_version) => Flag::Fail,
            Some(_) => Flag::Good,
            None if value.is_absent() => Flag::NotEvaluated,
            None => Flag::Missing,
        };
        let flags: Vec<Flag> = values.iter().map(flag).collect();
        let anomalies: &[u8] = if type_version.is_multiple_of(2) { &[9] } else { &[4, 9] };
        let label = LabelRule::new(anomalies).expect("flags of anomalies").label(&flags);
        (flags, label)
    }
}

/// A record of the log that is to be written to a store.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    pub(super) sensor_id: SensorId,
    pub(super) time: Timestamp,
    pub(super) position: u64,
    pub(super) type_version: TypeVersion,
    pub(super) values: Vec<Value>,
}

impl Record {
    /// A record of version 1, with numbers for values.
    pub(super) fn of(sensor_number: u64, second: i64, position: u64, numbers: &[f64]) -> Self {
        let values = numbers.iter().map(|n| number(*n)).collect();
        Self { sensor_id: sensor(sensor_number), time: at(second), position, type_version: 1, values }
    }

    /// When the log took it: every position a millisecond later than the one before.
    pub(super) fn accepted_at(&self) -> Timestamp {
        START.saturating_add(Duration::from_millis(self.position))
    }
}

/// The records as quality control hands them to the store.
pub(super) fn judged(records: &[Record]) -> Judged {
    let width = records.iter().map(|record| record.values.len()).max().unwrap_or(1);
    let mut judged = Judged { sensor_ids: Vec::new(), rows: Rows::new(width) };
    for record in records {
        let (flags, label) = TestJudge.judge(record.type_version, &record.values);
        let row = Row {
            phenomenon_time: record.time,
            accepted_at: record.accepted_at(),
            position: Position(record.position),
            first_position: Position(record.position),
            type_version: record.type_version,
            label,
        };
        judged.sensor_ids.push(record.sensor_id.clone());
        judged.rows.push(RowRef { row, values: &record.values, flags: &flags });
    }
    judged
}

/// Numbers that look random and follow from a seed (SplitMix64: Steele, Lea and Flood 2014, "Fast splittable pseudorandom
/// number generators", figure 13).
pub(super) struct Chance(pub(super) u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is at least 1.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True once in `times`.
    pub(super) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}
