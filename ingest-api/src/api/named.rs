//! The sensors that a request names for work in the background.

use domain::{SensorId, SensorTypeId};

use crate::{App, Code, Problem};

/// The most sensors that a request names.
const SENSORS_MAX: usize = 1_000;

/// Checks the member `sensor_ids`: left out for all, or some that are there and of the type.
///
/// # Errors
/// 422 where there are none or too many, or one is of another type; 404 for one that is not there.
pub(super) fn check_sensors(app: &App, ids: Option<&[SensorId]>, sensor_type: &SensorTypeId) -> Result<(), Problem> {
    let Some(ids) = ids else { return Ok(()) };
    if ids.is_empty() {
        return Err(Problem::new(Code::Invalid, "`sensor_ids` is empty: leave it out for all sensors"));
    }
    if ids.len() > SENSORS_MAX {
        let detail = format!("`sensor_ids` names `{}` sensors: at most `{SENSORS_MAX}`", ids.len());
        return Err(Problem::new(Code::Invalid, detail));
    }
    for id in ids {
        let sensor = app.ports.registry.sensor(id.as_str());
        let sensor = sensor.ok_or_else(|| Problem::not_found("sensor", id.as_str()))?;
        if sensor.sensor_type != *sensor_type {
            let detail = format!("sensor `{id}` is of type `{}`, not `{sensor_type}`", sensor.sensor_type);
            return Err(Problem::new(Code::Invalid, detail));
        }
    }
    Ok(())
}
