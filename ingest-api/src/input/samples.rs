//! Sensor types and sensors for the tests of the parsers.

use std::collections::HashMap;

use domain::{Sensor, SensorId, SensorType, SensorTypeDraft, SensorTypeId, Timestamp};

use super::{Bounds, Target};

/// The built-in type of an id.
fn built_in(id: &str) -> SensorType {
    let drafts: Vec<(SensorTypeId, SensorTypeDraft)> = registry::built_in_types();
    let (id, draft) = drafts.into_iter().find(|(built_in, _)| built_in.as_str() == id).expect("a built-in type");
    SensorType::first(id, 1, draft).expect("a valid definition")
}

/// Five properties, with a dialect.
pub fn emb() -> SensorType {
    built_in("emb")
}

/// One property.
pub fn power() -> SensorType {
    built_in("power")
}

/// What a target borrows. The sensor `emb3` is known and of the type, `other` of another type.
pub struct Fixture {
    sensor_type: SensorType,
    sensors: HashMap<SensorId, Sensor>,
    bounds: Bounds,
}

impl Fixture {
    pub fn new(sensor_type: SensorType) -> Self {
        let other = SensorTypeId::parse("another").expect("an id");
        let sensors = [("emb3", &sensor_type.id), ("other", &other)].map(|(id, sensor_type)| {
            let id = SensorId::parse(id).expect("an id");
            let sensor_type = sensor_type.clone();
            (id.clone(), Sensor { id, number: 1, sensor_type, name: None, place: None, group: None })
        });
        let sensors = HashMap::from(sensors);
        Self { sensor_type, sensors, bounds: Bounds { items_max: 100, rejected_max: 10 } }
    }

    pub fn target(&self) -> Target<'_> {
        let now = Timestamp::parse("2020-01-01T00:00:00Z").expect("a time");
        Target { sensor_type: &self.sensor_type, sensors: &self.sensors, now, bounds: self.bounds, repeated_hour: None }
    }
}
