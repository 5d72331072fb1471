//! What the path and the parameters of a request name, looked up in the registry.

use std::sync::Arc;

use domain::{Sensor, SensorId, SensorType};
use ports::{ErrorKind, PortError};

use crate::{App, Code, Problem, problem::printable};

/// The sensor of this id.
///
/// # Errors
/// `NotFound`.
pub fn sensor(app: &App, id: &str) -> Result<Arc<Sensor>, Problem> {
    app.ports.registry.sensor(id).ok_or_else(|| {
        let problem = Problem::not_found("sensor", id);
        let detail = format!("{}; `GET /v1/sensors` lists those there are", problem.detail());
        Problem::new(Code::NotFound, detail).with("sensor_id", printable(id))
    })
}

/// Checks that every sensor is there and of the type.
///
/// # Errors
/// `NotFound` for a sensor that is not there, `BadRequest` for one of another type.
pub fn all_of_type(app: &App, ids: &[SensorId], sensor_type: &SensorType) -> Result<(), Problem> {
    for id in ids {
        let found = sensor(app, id.as_str())?;
        if found.sensor_type != sensor_type.id {
            let rule = format!(
                "is a sensor of type `{}`, not of `{}`: ask `/v1/readings/{}`",
                found.sensor_type, sensor_type.id, found.sensor_type
            );
            return Err(Problem::parameter("sensor_id", id.as_str(), rule));
        }
    }
    Ok(())
}

/// Index of a type's property.
///
/// # Errors
/// The rule, listing the properties there are.
pub fn property_index(sensor_type: &SensorType, id: &str) -> Result<usize, String> {
    sensor_type.property_index(id).ok_or_else(|| {
        format!("is not a property of `{}`, which has {}", sensor_type.id, property_ids(sensor_type).join(", "))
    })
}

/// Ids of a type's properties.
pub fn property_ids(sensor_type: &SensorType) -> Vec<&str> {
    sensor_type.property_ids.iter().map(|id| id.as_str()).collect()
}

/// Takes a sensor type that the store does not know for one without rows: nothing of it was processed yet.
///
/// # Errors
/// Every other error.
pub fn or_empty<T>(found: Result<T, PortError>, empty: impl FnOnce() -> T) -> Result<T, PortError> {
    match found {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(empty()),
        other => other,
    }
}
