//! Sensors whose first reading another program wrote: registered like those whose first reading was posted.

use std::collections::HashSet;

use domain::{SensorId, SensorTypeId};
use ports::{Content, Delivery, ErrorKind, PortError};
use registry::{FirstReadingRefusal, Registry, RegistryError};

/// Registers the sensors that nobody knows of readings without a version; answers those for which there is no room.
///
/// # Errors
/// `Unavailable`, `NotFound` where the sensor type is gone.
pub(crate) async fn register(
    registry: &Registry,
    sensor_type: &SensorTypeId,
    deliveries: &[Delivery],
) -> Result<HashSet<SensorId>, PortError> {
    let unknown = unknown(registry, deliveries);
    if unknown.is_empty() {
        return Ok(HashSet::new());
    }
    let registered = registry.register_first_readings(sensor_type, &unknown).await.map_err(|error| match error {
        RegistryError::Port(error) => error,
        RegistryError::UnknownSensorType(_) => PortError::new(ErrorKind::NotFound, error.to_string()),
        other => PortError::new(ErrorKind::Unavailable, other.to_string()),
    })?;
    let is_refused = |answer: &Result<_, _>| matches!(answer, Err(FirstReadingRefusal::TooManySensors { .. }));
    Ok(unknown.into_iter().zip(registered).filter(|(_, answer)| is_refused(answer)).map(|(id, _)| id).collect())
}

/// Each once.
fn unknown(registry: &Registry, deliveries: &[Delivery]) -> Vec<SensorId> {
    let sensors = registry.lookup();
    let mut seen = HashSet::new();
    let mut unknown = Vec::new();
    for delivery in deliveries {
        let Content::Readings { type_version: None, readings } = &delivery.content else { continue };
        for reading in readings.iter() {
            let id = reading.sensor_id;
            if sensors.get(id.as_str()).is_none() && seen.insert(id.clone()) {
                unknown.push(id.clone());
            }
        }
    }
    unknown
}
