//! One device: its id, its type, where it stands.

use serde::{Deserialize, Serialize};

use crate::{SensorId, SensorTypeId, value::serialize_number};

/// A device of a sensor type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sensor {
    /// Unique in the hub.
    pub id: SensorId,
    /// Never reused.
    pub number: u64,
    /// What it is; bound by its registration or its first reading, for ever.
    pub sensor_type: SensorTypeId,
    /// What people call it, up to 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// What it belongs to, up to 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// A place on Earth, WGS 84.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Degrees north, -90 to 90.
    #[serde(serialize_with = "serialize_number")]
    pub latitude: f64,
    /// Degrees east, -180 to 180.
    #[serde(serialize_with = "serialize_number")]
    pub longitude: f64,
}

/// What is wrong with a sensor's description.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SensorFault {
    /// The latitude or longitude is off the globe.
    #[error("`{field}` of `{value}` is outside {low} to {high} degrees")]
    Place {
        /// `place.latitude` or `place.longitude`.
        field: &'static str,
        /// What was given.
        value: f64,
        /// The lowest allowed.
        low: f64,
        /// The highest allowed.
        high: f64,
    },
    /// A text is too long or has control characters.
    #[error("`{0}` must be at most 200 characters, none of them control characters")]
    Text(&'static str),
}

impl SensorFault {
    /// The field at fault.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Place { field, .. } | Self::Text(field) => field,
        }
    }
}

impl Sensor {
    /// Checks place and texts.
    ///
    /// # Errors
    /// The first [`SensorFault`] found.
    pub fn check(&self) -> Result<(), SensorFault> {
        for (field, text) in [("name", &self.name), ("group", &self.group)] {
            if text.as_ref().is_some_and(|text| text.chars().count() > 200 || text.chars().any(char::is_control)) {
                return Err(SensorFault::Text(field));
            }
        }
        let Some(place) = self.place else { return Ok(()) };
        for (field, value, limit) in
            [("place.latitude", place.latitude, 90.0), ("place.longitude", place.longitude, 180.0)]
        {
            if !(-limit..=limit).contains(&value) {
                return Err(SensorFault::Place { field, value, low: -limit, high: limit });
            }
        }
        Ok(())
    }
}
