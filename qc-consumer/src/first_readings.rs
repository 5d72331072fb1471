//! Sensors that nobody knows of readings in the log: those whose first reading another program wrote, and those that were removed
//! after a reading of theirs was accepted. Both are registered, like those whose first reading was posted: what is accepted is kept.

use std::collections::HashSet;

use domain::{SensorId, SensorTypeId};
use ports::{Content, Delivery, ErrorKind, PortError};
use registry::{FirstReadingRefusal, FirstReadings, Registry, RegistryError};

/// Registers the sensors that nobody knows; answers those for which there is no room.
///
/// # Errors
/// `Unavailable`, `NotFound` where the sensor type is gone.
pub(crate) async fn register(
    registry: &Registry,
    sensor_type: &SensorTypeId,
    deliveries: &[Delivery],
) -> Result<HashSet<SensorId>, PortError> {
    if unknown(registry, deliveries).is_empty() {
        return Ok(HashSet::new());
    }
    // Another process may have registered them a moment ago.
    registry.catch_up().await.map_err(port_error)?;
    let unknown = unknown(registry, deliveries);
    if unknown.is_empty() {
        return Ok(HashSet::new());
    }
    let registered = registry.register_first_readings(sensor_type, &unknown, FirstReadings::InLog).await;
    let registered = registered.map_err(port_error)?;
    let is_refused = |answer: &Result<_, _>| matches!(answer, Err(FirstReadingRefusal::TooManySensors { .. }));
    Ok(unknown.into_iter().zip(registered).filter(|(_, answer)| is_refused(answer)).map(|(id, _)| id).collect())
}

/// What a failed change of the registry means to who processes records.
pub(crate) fn port_error(error: RegistryError) -> PortError {
    match error {
        RegistryError::Port(error) => error,
        RegistryError::UnknownSensorType(_) => PortError::new(ErrorKind::NotFound, error.to_string()),
        other => PortError::new(ErrorKind::Unavailable, other.to_string()),
    }
}

/// Each once.
fn unknown(registry: &Registry, deliveries: &[Delivery]) -> Vec<SensorId> {
    let sensors = registry.lookup();
    let mut seen = HashSet::new();
    let mut unknown = Vec::new();
    for delivery in deliveries {
        let Content::Readings { readings, .. } = &delivery.content else { continue };
        for id in readings.sensor_ids() {
            if sensors.get(id.as_str()).is_none() && seen.insert(id.clone()) {
                unknown.push(id.clone());
            }
        }
    }
    unknown
}
