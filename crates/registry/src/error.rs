//! What can go wrong with the registry, by what the caller tells its user.

use domain::{SensorFault, SensorId, SensorTypeFault, SensorTypeId};
use ports::PortError;

/// Why a change of the registry was not made.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The definition of a sensor type breaks rules, or changes what may not change.
    #[error("sensor type `{id}`: {}", join(.faults))]
    SensorType {
        /// The type.
        id: SensorTypeId,
        /// Everything that is wrong with the definition.
        faults: Vec<SensorTypeFault>,
    },
    /// The description of a sensor breaks a rule.
    #[error("sensor `{id}`: {fault}")]
    Sensor {
        /// The sensor.
        id: SensorId,
        /// What is wrong with it.
        fault: SensorFault,
    },
    /// There is no such sensor type.
    #[error("there is no sensor type `{0}`: make it first")]
    UnknownSensorType(SensorTypeId),
    /// The sensor is of another type.
    #[error("sensor `{id}` is bound to sensor type `{bound_to}` and can't become `{wanted}`")]
    BoundToOtherType {
        /// The sensor.
        id: SensorId,
        /// Its type.
        bound_to: SensorTypeId,
        /// The type that was asked for.
        wanted: SensorTypeId,
    },
    /// The hub has as many sensors as it may.
    #[error("there are `{sensors_max}` sensors, the most that this hub is set to take")]
    TooManySensors {
        /// The bound.
        sensors_max: usize,
    },
    /// Other processes changed the same thing again and again; the caller may try again.
    #[error("`{0}` was changed by others at the same time, again and again: try again")]
    Contended(String),
    /// The change is in the log, but this process has not seen it come back in time; the caller may try again.
    #[error("the registry has not caught up with position `{position}` of its topic within {waited_s} s: {obstacle}")]
    Behind {
        /// The position that was waited for.
        position: u64,
        /// How long was waited.
        waited_s: u64,
        /// What holds the follower up, as far as known.
        obstacle: String,
    },
    /// The log refused.
    #[error(transparent)]
    Port(#[from] PortError),
}

impl RegistryError {
    /// Says whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Port(error) => error.is_transient(),
            Self::Behind { .. } | Self::Contended(_) => true,
            _ => false,
        }
    }

    /// Says whether it clashes with what is registered already (HTTP 409).
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::SensorType { faults, .. } => faults.iter().any(|fault| fault.conflict),
            Self::BoundToOtherType { .. } => true,
            _ => false,
        }
    }
}

/// Why a first reading did not register its sensor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FirstReadingRefusal {
    /// The sensor is of another type.
    #[error("the sensor is bound to sensor type `{bound_to}`")]
    BoundToOtherType {
        /// Its type.
        bound_to: SensorTypeId,
    },
    /// The hub has as many sensors as it may.
    #[error("there are `{sensors_max}` sensors, the most that this hub is set to take")]
    TooManySensors {
        /// The bound.
        sensors_max: usize,
    },
    /// First readings have registered as many sensors as they may a minute; the reading may be sent again.
    #[error(
        "first readings register at most `{per_minute}` sensors a minute: send it again in {retry_after_s} s, or register the sensor by name"
    )]
    TooFast {
        /// The bound.
        per_minute: usize,
        /// When to send it again, in seconds.
        retry_after_s: u64,
    },
}

impl FirstReadingRefusal {
    /// In how many seconds the same reading may be accepted without anybody changing anything.
    pub fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::TooFast { retry_after_s, .. } => Some(*retry_after_s),
            Self::BoundToOtherType { .. } | Self::TooManySensors { .. } => None,
        }
    }
}

fn join(faults: &[SensorTypeFault]) -> String {
    faults.iter().map(SensorTypeFault::to_string).collect::<Vec<_>>().join("; ")
}
