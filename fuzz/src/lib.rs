//! What the fuzz targets parse against: the built-in type `emb`, one sensor of it and one of another type.

use std::{collections::HashMap, sync::LazyLock};

use domain::{Sensor, SensorId, SensorType, SensorTypeId, Timestamp};
use ingest_api::input::{BodyFault, Bounds, Parsed, Target};

static SENSOR_TYPE: LazyLock<SensorType> = LazyLock::new(|| {
    let (id, draft) = registry::built_in_types().into_iter().find(|(id, _)| id.as_str() == "emb").expect("emb");
    SensorType::first(id, 1, draft).expect("a valid type")
});

static SENSORS: LazyLock<HashMap<SensorId, Sensor>> = LazyLock::new(|| {
    let sensor = |(id, sensor_type): (&str, &str)| {
        let id = SensorId::parse(id).expect("an id");
        let sensor_type = SensorTypeId::parse(sensor_type).expect("an id");
        (id.clone(), Sensor { id, number: 1, sensor_type, name: None, place: None, group: None })
    };
    HashMap::from([("emb3", "emb"), ("p", "power")].map(sensor))
});

/// Bounds small enough to be met.
const BOUNDS: Bounds = Bounds { items_max: 64, rejected_max: 8 };

/// Runs a parser and checks what must hold whatever the input.
pub fn check(parse: impl FnOnce(&Target<'_>) -> Result<Parsed, BodyFault>) {
    let now = Timestamp::parse("2020-01-01T00:00:00Z").expect("a time");
    let target = Target { sensor_type: &SENSOR_TYPE, sensors: &*SENSORS, now, bounds: BOUNDS, repeated_hour: None };
    let Ok(parsed) = parse(&target) else { return };
    assert_eq!(parsed.readings.len(), parsed.indices.len());
    assert!(parsed.readings.len() + parsed.rejected_count <= BOUNDS.items_max);
    assert_eq!(parsed.rejected.len(), parsed.rejected_count.min(BOUNDS.rejected_max));
    assert!(parsed.indices.is_sorted_by(|one, next| one < next));
    let latest = now.saturating_add(Timestamp::AHEAD_MAX);
    assert!(parsed.readings.times().iter().all(|time| (Timestamp::EARLIEST_PHENOMENON..=latest).contains(time)));
    for rejection in &parsed.rejected {
        assert!(!rejection.reason.is_empty() && rejection.value.len() <= 1_000 && rejection.reason.len() <= 10_000);
        assert!(!rejection.value.chars().any(char::is_control), "{rejection:?}");
    }
}
